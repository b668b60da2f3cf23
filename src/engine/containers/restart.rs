//! `restart`: stopped, and started again by this program, whichever started it before.

use super::moves::{self, Move};
use crate::{
    engine::{Engine, StartOptions},
    model::Result,
};

impl Engine {
    /// Stops a container as [`Self::stop`] does, if it runs, and starts it.
    pub fn restart(
        &self,
        container: &str,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        let state = super::state_of(&directory)?;
        moves::check(Move::Restart, state, &record, container)?;
        self.stop(container, signal, timeout)?;
        self.start(container, StartOptions { attach: None })
            .map(drop)
    }
}
