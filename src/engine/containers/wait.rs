//! `wait`: until a container has ended.

use super::ending::{Ending, Watch, exit_code};
use crate::{engine::Engine, model::Result};

impl Engine {
    /// Waits until the container does not run and returns its exit code; 0 at once for one that
    /// never ran, as Docker. 137 if its supervisor was killed.
    pub fn wait(&self, container: &str) -> Result<i32> {
        let (directory, _) = self.store.find_container(container)?;
        let watch = Watch::begin(&self.store, &directory)?;
        if let Some(mut watch) = watch
            && let Ending::Exited(code) = watch.wait(None)?
        {
            return Ok(code);
        }
        Ok(exit_code(&directory.state()?).unwrap_or(0))
    }
}
