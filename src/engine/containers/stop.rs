//! `stop`: ask politely, then kill.

use std::time::Duration;

use super::{
    ending::{END_LIMIT, Ending, Watch},
    pause::thaw,
};
use crate::{
    engine::{Engine, plan},
    model::{
        Result,
        container::{ContainerRecord, ContainerState},
        signal::{SIGKILL, SIGTERM, parse_signal},
    },
};

/// Docker's, seconds.
const DEFAULT_TIMEOUT: i64 = 10;

impl Engine {
    /// Sends the stop signal and, after `timeout` seconds (-1 waits for ever), SIGKILL; returns
    /// when the end is written down. `None` for both is as the container says. One that does not
    /// run is stopped already.
    pub fn stop(&self, container: &str, signal: Option<i32>, timeout: Option<i64>) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        let Some(mut watch) = Watch::begin(&self.store, &directory)? else {
            return Ok(());
        };
        let status = directory.state()?;
        if status.state != ContainerState::Running {
            return Ok(());
        }
        let signal = match signal {
            Some(signal) => signal,
            None => self.stop_signal(&record),
        };
        let timeout = timeout
            .or(record.spec.stop_timeout)
            .unwrap_or(DEFAULT_TIMEOUT);
        let limit = u64::try_from(timeout).ok().map(Duration::from_secs);
        let limit = if signal == SIGKILL {
            Some(END_LIMIT)
        } else {
            limit
        };
        watch.signal(&status, signal)?;
        self.note_kill(&record, signal);
        thaw(&status);
        if watch.wait(limit)? == Ending::NotYet {
            self.note_kill(&record, SIGKILL);
            watch.kill(&status, false)?;
        }
        self.note_container(&record, "stop", &[]);
        Ok(())
    }

    /// What ends the container politely: its own signal, its image's, or SIGTERM. An image that is
    /// damaged or says nonsense must not make its containers unstoppable.
    pub(super) fn stop_signal(&self, record: &ContainerRecord) -> i32 {
        let of_image = || {
            let image = self.image_config(record.image_id.as_ref()?).ok()?;
            parse_signal(&image.config?.stop_signal?).ok()
        };
        let systemd =
            || plan::wants_systemd(&record.spec, &record.path).then_some(plan::SYSTEMD_STOP_SIGNAL);
        let asked = record.spec.stop_signal.or_else(systemd);
        asked.or_else(of_image).unwrap_or(SIGTERM)
    }
}
