//! The plan's public form: a bundle of the OCI runtime specification, a folder with a
//! `config.json` and a root file system.
//!
//! | file | what |
//! |---|---|
//! | [`export`] | [`SandboxPlan`](super::plan::SandboxPlan) → configuration, for `coracle spec` |
//!
//! Pure, as the planner is: what is read from a disk arrives as a value.

mod export;

pub use export::{export, to_json};

/// The version of the runtime specification that is written: <https://github.com/opencontainers/runtime-spec>.
pub const VERSION: &str = "1.2.0";
