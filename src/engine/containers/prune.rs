//! `container prune`: all that do not run.

use crate::{
    engine::{ContainerSummary, Engine},
    model::{ContainerId, ErrorKind, Result, container::ContainerState, event::EventType},
    storage::ContainerDir,
    sys::tree_size,
};

impl Engine {
    /// Removes the containers that do not run and are `chosen`, oldest first; which, and how many
    /// bytes of the disk that frees. One that somebody starts meanwhile stays. Volumes stay.
    pub fn prune_containers(
        &self,
        chosen: &dyn Fn(&ContainerSummary) -> bool,
    ) -> Result<(Vec<ContainerId>, u64)> {
        let over = |summary: &ContainerSummary| {
            let over = [
                ContainerState::Created,
                ContainerState::Exited,
                ContainerState::Dead,
            ];
            over.contains(&summary.state)
        };
        let mut ids = Vec::new();
        for summary in self.containers(true, false)?.iter().rev() {
            if over(summary) && chosen(summary) {
                ids.push(summary.id.clone());
            }
        }
        let (mut removed, mut bytes) = (Vec::new(), 0);
        if !ids.is_empty() {
            self.enter_user_namespace()?;
        }
        for id in ids {
            match self.store.container(&id) {
                Ok(directory) => {
                    if let Some(freed) = self.remove_if_over(&directory)? {
                        removed.push(id);
                        bytes += freed;
                    }
                }
                // Somebody else was faster.
                Err(error) if error.kind() == ErrorKind::NoSuchContainer => {}
                Err(error) => return Err(error),
            }
        }
        self.note_prune(EventType::Container, bytes);
        Ok((removed, bytes))
    }

    /// What removing it has freed; `None` if it runs, or is being started or removed.
    fn remove_if_over(&self, directory: &ContainerDir) -> Result<Option<u64>> {
        // Without its directory there is no lock to be made.
        let Ok(Some(lock)) = directory.try_hold() else {
            return Ok(None);
        };
        // Removed a moment ago.
        let Ok(record) = directory.record() else {
            return Ok(None);
        };
        super::pause::remove_left_groups(&directory.state()?);
        let top = rustix::io::fcntl_dupfd_cloexec(directory.fd(), 0);
        let bytes = top.and_then(|top| tree_size::on_disk(&top)).unwrap_or(0);
        // Its image may go with it.
        let destroyed = self.container_event(&record, "destroy", &[]);
        self.store.remove_container(directory, lock)?;
        self.store.note_event(destroyed);
        Ok(Some(bytes))
    }
}
