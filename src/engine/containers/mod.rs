//! Containers: one file a verb, and the session between a command and a supervisor.

mod changes;
mod cleanup;
mod commit;
mod conditions;
mod copy;
mod create;
mod dependents;
mod duplicate;
mod ending;
pub mod exec;
mod exists;
mod export;
mod health;
mod hook_folders;
mod inspect;
mod kill;
mod list;
mod log_plan;
pub mod logs;
mod moves;
mod neighbours;
mod networks;
mod own_ids;
mod own_root;
mod pause;
mod prune;
mod remove;
mod rename;
mod restart;
mod resume;
mod root_view;
mod run;
mod runtime_spec;
mod session;
mod size;
mod standstill;
mod stats;
mod stop;
mod streams;
mod top;
mod update;
mod wait;

pub(in crate::engine) use changes::compare;
pub use changes::{Change, ChangeKind};
pub use copy::{Copied, CopyEnd, CopyRequest};
pub(in crate::engine) use run::absolute;
/// Docker's state of a container.
pub(super) fn state_of(
    directory: &crate::storage::ContainerDir,
) -> crate::model::Result<crate::model::container::ContainerState> {
    Ok(pause::state(&directory.state()?))
}
