//! `restart`: stopped, and started again by this program, whichever started it before.
//!
//! A container that removes itself at its end (`--rm`) would be gone in between: its supervisor,
//! whose end that is, starts it again itself.

use std::time::Duration;

use super::{
    ending::{END_LIMIT, Ending, Watch, is_up},
    moves::{self, Move},
    pause::thaw,
    session,
};
use crate::{
    engine::{
        Engine, StartOptions,
        supervisor::protocol::{After, Wish},
    },
    model::{Error, ErrorKind, Result, container::ContainerRecord, signal::SIGKILL},
    storage::ContainerDir,
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
        if record.spec.auto_remove {
            self.restart_in_place(&directory, &record, signal, timeout)?;
        } else {
            self.stop(container, signal, timeout)?;
            self.start(container, StartOptions { attach: None })?;
        }
        self.note_container(&record, "restart", &[]);
        Ok(())
    }

    fn restart_in_place(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<()> {
        let refusal = || {
            let text = format!(
                "cannot restart container {}: it is not running",
                record.name
            );
            Error::new(ErrorKind::Conflict, text)
        };
        let mut watch = Watch::begin(&self.store, directory)?.ok_or_else(refusal)?;
        let status = directory.state()?;
        if !is_up(&status) {
            return Err(refusal());
        }
        watch.wish(Wish {
            by_hand: true,
            after: Some(After::Start),
        });
        let signal = signal.unwrap_or_else(|| self.stop_signal(record));
        watch.signal(&status, signal)?;
        self.note_kill(record, signal);
        thaw(&status);
        let timeout = self.stop_timeout(record, timeout);
        let limit = u64::try_from(timeout).ok().map(Duration::from_secs);
        if watch.wait(limit)? == Ending::NotYet {
            watch.signal(&status, SIGKILL)?;
            self.note_kill(record, SIGKILL);
            if watch.wait(Some(END_LIMIT))? == Ending::NotYet {
                let message = "the container was killed but has not ended";
                return Err(Error::new(ErrorKind::Timeout, message));
            }
        }
        // Heard once it runs again.
        let anew = Watch::begin(&self.store, directory)?.and_then(Watch::into_socket);
        let socket = anew.ok_or_else(refusal)?;
        session::await_start(&socket).map(drop)
    }
}
