//! The plan's public form: a bundle of the OCI runtime specification, a folder with a
//! `config.json` and a root file system.
//!
//! | file | what |
//! |---|---|
//! | [`export`] | [`SandboxPlan`](super::plan::SandboxPlan) → configuration, for `coracle spec` |
//! | [`read`] | text → configuration, with limits |
//! | [`request`] | configuration → [`ContainerSpec`](crate::model::ContainerSpec): what `run` has flags for |
//! | [`refine`] | what it says more exactly, into the plan that the planner made of that |
//! | [`mounts`] | its mounts, as steps of the plan |
//!
//! What cannot be honoured is an error if it protects or limits, and a notice otherwise.
//!
//! Pure, as the planner is: what is read from a disk arrives as a value.

mod devices;
mod export;
mod mounts;
mod read;
mod refine;
mod request;
mod resources;
mod seccomp;

pub use export::{export, to_json};
pub use read::{MAX_BYTES, parse};
pub use refine::Refinement;
pub use request::{Request, request, root};

/// The version of the runtime specification that is written
/// (<https://github.com/opencontainers/runtime-spec>): the oldest that has words for a plan, since
/// runtimes refuse versions that are newer than they are.
pub const VERSION: &str = "1.0.2";
