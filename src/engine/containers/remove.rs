//! `rm`: a container and all that belongs to it.

use super::ending::{Watch, is_up};
use crate::{
    engine::Engine,
    model::{
        Error, ErrorKind, Result,
        container::{ContainerRecord, ContainerState},
        signal::SIGKILL,
    },
    storage::ContainerDir,
};

/// How often a container may be found busy again (started anew by somebody else) before giving up.
const TRIES: usize = 8;

impl Engine {
    /// Removes a container; `force` kills it first if it runs. With `volumes` those that were made
    /// for it alone, without a name, go too.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it runs and `force` is not set; [`ErrorKind::NoSuchContainer`].
    pub fn remove_container(&self, container: &str, force: bool, volumes: bool) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        for _ in 0..TRIES {
            if is_gone(&self.store.container(directory.id()))? {
                // It was removed by itself (`--rm`) or by somebody else.
                return Ok(());
            }
            let lock = match directory.try_hold() {
                // Removed just now: a lock file cannot be made there any more.
                Err(_) if is_gone(&self.store.container(directory.id()))? => return Ok(()),
                lock => lock?,
            };
            if let Some(lock) = lock {
                super::pause::remove_left_groups(&directory.state()?);
                self.enter_user_namespace()?;
                // Its image may go with it.
                let destroyed = self.container_event(&record, "destroy", &[]);
                if volumes {
                    self.store.remove_container_and_volumes(&directory, lock)?;
                } else {
                    self.store.remove_container(&directory, lock)?;
                }
                self.store.note_event(destroyed);
                return Ok(());
            }
            self.await_end(&directory, &record, force)?;
        }
        Err(busy(&record))
    }

    /// Returns when the container's lock may be free.
    fn await_end(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        force: bool,
    ) -> Result<()> {
        let watch = Watch::begin(&self.store, directory)?;
        let status = directory.state()?;
        let ending = status.exit.is_some() && !is_up(&status);
        match watch {
            // Its record is written: the supervisor is about to let go.
            Some(mut watch) if ending => {
                watch.wait(Some(super::ending::END_LIMIT))?;
                Ok(())
            }
            Some(mut watch) if force => {
                self.note_kill(record, SIGKILL);
                watch.kill(&status, true).map(drop)
            }
            _ if is_up(&status) && !force => Err(running(record, status.state)),
            // Being started or removed, or over since we tried its lock.
            _ if directory.is_held()? => Err(busy(record)),
            _ => Ok(()),
        }
    }
}

fn is_gone(found: &Result<ContainerDir>) -> Result<bool> {
    match found {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::NoSuchContainer => Ok(true),
        Err(error) => Err(Error::new(error.kind(), error.one_line())),
    }
}

fn running(record: &ContainerRecord, state: ContainerState) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "cannot remove container \"/{}\": container is {state}: stop the container before removing or force remove",
            record.name
        ),
    )
    .with_hint(format!("`coracle rm -f {}` kills and removes it", record.name))
}

fn busy(record: &ContainerRecord) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "cannot remove container \"/{}\": it is being started or removed",
            record.name
        ),
    )
    .with_hint("try again in a moment")
}
