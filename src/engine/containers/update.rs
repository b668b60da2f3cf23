//! `update`: other limits, for a running container at once, and for every later start.

use super::{
    moves::{self, Move},
    pause::{self, group_of, no_group},
};
use crate::{
    engine::{Engine, plan},
    model::{
        ContainerSpec, Error, ErrorKind, Result,
        container::{ContainerRecord, ContainerState},
        resources::Resources,
        restart::RestartPolicy,
    },
    storage::{ContainerDir, Durability, containers::Status},
};

impl Engine {
    /// Lays `changes` over the container's limits, gives it another restart policy, which its
    /// supervisor reads at the next end, and changes what else of its request may be changed: its
    /// health check at once, its variables and the limits of its processes from the next start on.
    /// The kernel is asked first: what it refuses is not written down.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the limits contradict each other or make no sense to the
    /// kernel; [`ErrorKind::Unsupported`] if the container runs and one cannot hold.
    pub fn update(
        &self,
        container: &str,
        changes: &Resources,
        restart: Option<RestartPolicy>,
        change: &dyn Fn(&mut ContainerSpec) -> Result<()>,
    ) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        // Of two updates the second begins with what the first has left.
        let _alone = self.store.change_container_alone(&record.id)?;
        let mut record = directory.record()?;
        let status = directory.state()?;
        moves::check(Move::Update, pause::state(&status), &record, container)?;
        if restart.is_some() && record.spec.auto_remove {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "Cannot update container {}: Restart policy cannot be updated because AutoRemove is enabled for the container",
                    record.id
                ),
            ));
        }
        let mut spec = record.spec.clone();
        change(&mut spec)?;
        spec.restart = restart.unwrap_or(spec.restart);
        if *changes != Resources::default() {
            self.change_limits(container, (&directory, &status), &record, changes)?;
        }
        let before = std::mem::replace(&mut record.spec, spec);
        if record.spec != before {
            directory.put_record(&record)?;
        }
        if record.spec.health != before.health {
            self.tell_health(&directory, &record)?;
        }
        self.note_container(&record, "update", &[]);
        Ok(())
    }

    fn change_limits(
        &self,
        container: &str,
        (directory, status): (&ContainerDir, &Status),
        record: &ContainerRecord,
        changes: &Resources,
    ) -> Result<()> {
        let before = effective(directory, record)?;
        let after = before.updated(changes)?;
        if status.state == ContainerState::Running {
            let group = group_of(status)?;
            let group = group.ok_or_else(|| no_group("cannot update container", container))?;
            let old = plan::cgroup::cgroup(&before, false)?;
            let new = plan::cgroup::cgroup(&after, false)?;
            let legacy = status
                .start
                .as_ref()
                .map_or(&[][..], |start| &start.legacy_cgroups);
            crate::engine::cgroup::change(&group, legacy, &old, &new)?;
        }
        let durability = if record.spec.auto_remove {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        directory.put_resources(&after, durability)
    }
}

/// The limits as they are now: what was asked for at first, or the last update's outcome.
pub(super) fn effective(directory: &ContainerDir, record: &ContainerRecord) -> Result<Resources> {
    match directory.resources() {
        Ok(Some(updated)) => Ok(updated),
        Ok(None) => Ok(record.spec.resources.clone()),
        Err(error) if error.kind() == ErrorKind::NoSuchContainer => {
            Ok(record.spec.resources.clone())
        }
        Err(error) => Err(error),
    }
}
