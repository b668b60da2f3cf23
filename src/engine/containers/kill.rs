//! `kill`: a signal for the container's first process.

use super::{
    ending::{Watch, not_running},
    pause::thaw,
};
use crate::{
    engine::Engine,
    model::{Result, container::ContainerState, signal::SIGKILL},
};

impl Engine {
    /// After SIGKILL it waits for the end, as Docker does, so that `rm` may follow.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::model::ErrorKind::Conflict) if it does not run.
    pub fn kill(&self, container: &str, signal: i32) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        let refusal = || not_running("cannot kill container", container, &directory);
        let mut watch = Watch::begin(&self.store, &directory)?.ok_or_else(refusal)?;
        let status = directory.state()?;
        if status.state != ContainerState::Running {
            return Err(refusal());
        }
        if signal == SIGKILL {
            self.note_kill(&record, signal);
            watch.kill(&status, false)?;
            Ok(())
        } else if watch.signal(&status, signal)? {
            self.note_kill(&record, signal);
            if signal == self.stop_signal(&record) {
                thaw(&status);
            }
            Ok(())
        } else {
            Err(refusal())
        }
    }
}
