//! `system resume`: after the machine has started, what shall run is started again.
//!
//! Nothing is written down about having been here: a container that runs is left alone, and who
//! starts one holds its lock, so that two at once, or one that is killed, do no harm.

use crate::{
    engine::Engine,
    model::{Result, restart::RestartPolicy},
    storage::ContainerDir,
};

impl Engine {
    /// Starts the containers whose policy says so, oldest first: one that shares another's
    /// namespaces was made later than that one. `started` is told of each that was started or could
    /// not be, with its name.
    ///
    /// # Errors
    /// Only one that concerns all of them.
    pub fn resume(&self, mut started: impl FnMut(&str, Result<()>)) -> Result<()> {
        for (directory, record) in self.store.containers()? {
            if record.spec.auto_remove {
                // Its end was not seen, and what removes it must not keep the others from starting.
                let _ = self.store.remove_if_over(&record.id);
                continue;
            }
            if record.spec.restart == RestartPolicy::No {
                continue;
            }
            match self.resume_one(directory) {
                Ok(false) => {}
                Ok(true) => started(&record.name, Ok(())),
                Err(error) => started(&record.name, Err(error)),
            }
        }
        Ok(())
    }

    /// Whether it was started just now.
    fn resume_one(&self, directory: ContainerDir) -> Result<bool> {
        let Some(lock) = directory.hold_after_copies()? else {
            return Ok(false);
        };
        // With the lock held: somebody may have started and stopped it meanwhile.
        let record = directory.record()?;
        let last = directory.state()?.last_run();
        if !record.spec.restart.holds_after_boot(last) {
            return Ok(false);
        }
        self.start_held(directory, record, lock, None)?;
        Ok(true)
    }
}
