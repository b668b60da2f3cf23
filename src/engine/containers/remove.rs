//! `rm`: a container and all that belongs to it.

use super::{
    ending::{Watch, is_up},
    moves::{self, Move},
};
use crate::{
    engine::Engine,
    model::{Error, ErrorKind, Result, container::ContainerRecord, signal::SIGKILL},
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
        let wanted = match force {
            true => Move::RemoveByForce,
            false => Move::Remove,
        };
        moves::check(wanted, super::state_of(&directory)?, &record, container)?;
        // Others see that it goes while this waits for its end. Somebody else may have said so, or
        // the container be gone.
        let _mark = directory.mark_removing();
        for _ in 0..TRIES {
            if is_gone(&self.store.container(directory.id()))? {
                // It was removed by itself (`--rm`) or by somebody else.
                return Ok(());
            }
            let lock = match directory.hold_after_copies() {
                // Removed just now: a lock file cannot be made there any more.
                Err(_) if is_gone(&self.store.container(directory.id()))? => return Ok(()),
                lock => lock?,
            };
            if let Some(lock) = lock {
                super::pause::remove_left_groups(&directory.state()?);
                self.forget_ports(directory.id())?;
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
            self.await_end(&directory, &record, wanted)?;
        }
        Err(busy(&record))
    }

    /// Returns when the container's lock may be free.
    fn await_end(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        wanted: Move,
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
            Some(mut watch) if wanted == Move::RemoveByForce => {
                self.note_kill(record, SIGKILL);
                watch.kill(&status, true).map(drop)
            }
            _ if wanted == Move::Remove && is_up(&status) => {
                moves::check(wanted, status.state, record, &record.name).map(drop)
            }
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
