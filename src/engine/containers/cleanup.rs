//! `init` and `cleanup`: Podman's steps before a start and after an end, of which little is left
//! to do here. A container is prepared when it starts, by the processes that it starts with, and
//! everything the kernel keeps for it goes with them.

use super::moves::{self, Legal, Move};
use crate::{
    engine::Engine,
    model::{Error, ErrorKind, Result},
};

impl Engine {
    /// Whether the container could be started, as far as its state is concerned.
    pub fn check_startable(&self, container: &str) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        let state = super::state_of(&directory)?;
        match moves::check(Move::Start, state, &record, container)? {
            Legal::Go => Ok(()),
            Legal::Done => Err(Error::new(
                ErrorKind::Conflict,
                format!("container {} has been started already", record.id),
            )),
        }
    }

    /// Removes what a run whose supervisor was killed has left in the kernel, and the container too
    /// if it was to go at its end. Returns the image that it was made from.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it runs.
    pub fn clean_up(&self, container: &str) -> Result<String> {
        let (directory, record) = self.store.find_container(container)?;
        let image = record.spec.image.clone();
        let Some(lock) = directory.hold_after_copies()? else {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "container {} is running or paused, refusing to clean up",
                    record.id
                ),
            )
            .with_hint(format!("stop it first: coracle stop {}", record.name)));
        };
        super::pause::remove_left_groups(&directory.state()?);
        drop(lock);
        if record.spec.auto_remove {
            self.enter_user_namespace()?;
            self.store.remove_if_over(&record.id)?;
        }
        Ok(image)
    }
}
