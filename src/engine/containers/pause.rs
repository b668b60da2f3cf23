//! `pause` and `unpause`: the kernel's freezer. It alone knows whether a container stands still.

use std::path::Path;

use super::moves::{self, Move};
use crate::{
    engine::{
        Engine,
        cgroup::{self, Group},
    },
    model::{
        Context, Error, ErrorKind, Result,
        container::{ContainerRecord, ContainerState},
    },
    storage::containers::Status,
};

impl Engine {
    /// Stops every process of a running container where it is.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it does not run or stands still already;
    /// [`ErrorKind::Unsupported`] if it has no cgroup.
    pub fn pause(&self, container: &str) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        let now = state(&directory.state()?);
        // It may stand still only as long as a `commit` reads it.
        if now == ContainerState::Paused && self.stay_still(&directory).unwrap_or_default() {
            self.note_container(&record, "pause", &[]);
            return Ok(());
        }
        let (group, record) = self.group_to_freeze(container, Move::Pause)?;
        let frozen = group.freeze(true);
        if frozen.is_err() {
            let _ = group.freeze(false);
        }
        frozen.system(|| format!("cannot pause container {container}"))?;
        let _ = self.stay_still(&directory);
        self.note_container(&record, "pause", &[]);
        Ok(())
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it is not paused.
    pub fn unpause(&self, container: &str) -> Result<()> {
        let (group, record) = self.group_to_freeze(container, Move::Unpause)?;
        group
            .freeze(false)
            .system(|| format!("cannot unpause container {container}"))?;
        self.note_container(&record, "unpause", &[]);
        Ok(())
    }

    fn group_to_freeze(&self, container: &str, wanted: Move) -> Result<(Group, ContainerRecord)> {
        let (directory, record) = self.store.find_container(container)?;
        let status = directory.state()?;
        moves::check(wanted, state(&status), &record, container)?;
        let what = match wanted {
            Move::Pause => "cannot pause container",
            _ => "cannot unpause container",
        };
        let group = group_of(&status)?.ok_or_else(|| no_group(what, container))?;
        Ok((group, record))
    }
}

/// The cgroup of a running container, if it has one.
pub(super) fn group_of(status: &Status) -> Result<Option<Group>> {
    let running = status.state == ContainerState::Running;
    match status
        .start
        .as_ref()
        .and_then(|start| start.cgroup.as_ref())
    {
        Some(path) if running => Group::open(path),
        _ => Ok(None),
    }
}

/// A container without one was started where none could be made.
pub(super) fn no_group(what: &str, container: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{what} {container}: it has no cgroup"),
    )
    .with_hint("`coracle doctor` says what is missing; start it anew once that is there")
}

/// Removes the groups of a run that ended without its supervisor, with whatever is left in them.
/// The container's lock must be held, or its run known to be over. Groups of other stores lie
/// beside, so only those that the start record names are looked at.
pub(super) fn remove_left_groups(status: &Status) {
    let Some(start) = &status.start else { return };
    let is_own = |path: &Path| path.is_absolute() && path.exists();
    if let Some(path) = start.cgroup.as_deref().filter(|path| is_own(path))
        && let Ok(Some(group)) = Group::open(path)
    {
        let _ = group.remove();
    }
    cgroup::v1::remove(&start.legacy_cgroups);
}

/// Docker's state: one that runs may stand still, and any may be about to go.
pub(super) fn state(status: &Status) -> ContainerState {
    if status.removing {
        return ContainerState::Removing;
    }
    if status.damaged {
        return ContainerState::Dead;
    }
    match group_of(status) {
        Ok(Some(group)) if group.is_frozen() => ContainerState::Paused,
        _ => status.state,
    }
}

/// Lets a container that was told to end go on, so that it can.
pub(super) fn thaw(status: &Status) {
    if let Ok(Some(group)) = group_of(status)
        && group.is_frozen()
    {
        let _ = group.freeze(false);
    }
}
