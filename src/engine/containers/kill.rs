//! `kill`: a signal for the container's first process.

use super::{
    ending::{Watch, goes_on, is_up},
    moves::{self, Move},
    pause::thaw,
};
use crate::{
    engine::{
        Engine,
        supervisor::protocol::{After, Wish},
    },
    model::{Result, container::ContainerState, signal::SIGKILL},
};

impl Engine {
    /// Any signal marks the container as stopped by hand; SIGKILL and its stop signal also keep its
    /// restart policy from starting it again after this run. Between two runs only that happens.
    ///
    /// After SIGKILL it waits for the end, as Docker does, so that `rm` may follow.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::model::ErrorKind::Conflict) if it does not run.
    pub fn kill(&self, container: &str, signal: i32) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        // What the table finds legal now may be over when it is done.
        let refusal = || {
            let state = super::state_of(&directory).unwrap_or(ContainerState::Exited);
            let over = match state {
                ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {
                    ContainerState::Exited
                }
                state => state,
            };
            moves::check(Move::Kill, over, &record, container).map(drop)
        };
        let stop_signal = self.stop_signal(&record);
        while let Some(mut watch) = Watch::begin(&self.store, &directory)? {
            let status = directory.state()?;
            if !is_up(&status) {
                break;
            }
            if signal != SIGKILL {
                let ends = signal == stop_signal;
                watch.wish(Wish {
                    by_hand: true,
                    after: ends.then_some(After::Rest),
                });
                if !watch.signal(&status, signal)? {
                    break;
                }
                self.note_kill(&record, signal);
                if ends {
                    thaw(&status);
                }
                return Ok(());
            }
            self.note_kill(&record, signal);
            watch.kill(&status, false)?;
            if !goes_on(&status, &directory)? {
                return Ok(());
            }
        }
        refusal()
    }
}
