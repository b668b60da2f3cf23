//! `stop`: ask politely, then kill.

use std::time::{Duration, Instant};

use super::{
    ending::{END_LIMIT, Ending, Watch, goes_on, is_up},
    pause::thaw,
};
use crate::{
    engine::{Engine, plan, supervisor::protocol::Wish},
    model::{
        Result,
        container::ContainerRecord,
        image::ProcessDefaults,
        signal::{SIGKILL, SIGTERM, parse_signal},
    },
    storage::{ContainerDir, containers::Status},
};

/// Docker's, seconds.
const DEFAULT_TIMEOUT: i64 = 10;

/// A container that runs and was asked to end.
struct Stopping {
    directory: ContainerDir,
    record: ContainerRecord,
    signal: i32,
    /// How long it may take; `None` is for ever.
    limit: Option<Duration>,
    /// When that is over.
    deadline: Option<Instant>,
    watch: Watch,
    status: Status,
}

impl Engine {
    /// Sends the stop signal and, after `timeout` seconds (-1 waits for ever), SIGKILL; returns
    /// when the end is written down; its restart policy does not start it again. `None` for both is
    /// as the container says. One that does not run is stopped already.
    pub fn stop(&self, container: &str, signal: Option<i32>, timeout: Option<i64>) -> Result<()> {
        match self.begin_to_stop(container, signal, timeout)? {
            Some(stopping) => self.see_stopped(stopping),
            None => Ok(()),
        }
    }

    /// Stops several containers as [`Self::stop`] does, in the time that the slowest takes: all are
    /// asked before one is waited for. `told` hears of each, by its place and in their order.
    pub fn stop_all(
        &self,
        containers: &[String],
        signal: Option<i32>,
        timeout: Option<i64>,
        told: &mut dyn FnMut(usize, Result<()>),
    ) {
        let mut outcomes: Vec<Option<Result<()>>> = Vec::with_capacity(containers.len());
        let mut stopping = Vec::new();
        for (place, container) in containers.iter().enumerate() {
            outcomes.push(match self.begin_to_stop(container, signal, timeout) {
                Ok(Some(begun)) => {
                    stopping.push((place, begun));
                    None
                }
                Ok(None) => Some(Ok(())),
                Err(error) => Some(Err(error)),
            });
        }
        // Whose time is over first is killed first, without another's being waited for.
        stopping.sort_by_key(|(_, begun)| (begun.deadline.is_none(), begun.deadline));
        let mut next = 0;
        let mut tell = |outcomes: &mut Vec<Option<Result<()>>>| {
            while let Some(outcome) = outcomes.get_mut(next).and_then(Option::take) {
                told(next, outcome);
                next += 1;
            }
        };
        tell(&mut outcomes);
        for (place, begun) in stopping {
            outcomes[place] = Some(self.see_stopped(begun));
            tell(&mut outcomes);
        }
    }

    /// Asks a container to end; `None` if it does not run.
    fn begin_to_stop(
        &self,
        container: &str,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<Option<Stopping>> {
        let (directory, record) = self.store.find_container(container)?;
        let signal = signal.unwrap_or_else(|| self.stop_signal(&record));
        let timeout = self.stop_timeout(&record, timeout);
        let limit = match signal {
            SIGKILL => Some(END_LIMIT),
            _ => u64::try_from(timeout).ok().map(Duration::from_secs),
        };
        self.ask_to_end(directory, record, signal, limit)
    }

    fn ask_to_end(
        &self,
        directory: ContainerDir,
        record: ContainerRecord,
        signal: i32,
        limit: Option<Duration>,
    ) -> Result<Option<Stopping>> {
        let Some(watch) = Watch::begin(&self.store, &directory)? else {
            return Ok(None);
        };
        let status = directory.state()?;
        if !is_up(&status) {
            return Ok(None);
        }
        watch.wish(Wish::STOP);
        watch.signal(&status, signal)?;
        self.note_kill(&record, signal);
        thaw(&status);
        Ok(Some(Stopping {
            directory,
            record,
            signal,
            limit,
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
            watch,
            status,
        }))
    }

    /// Waits for the end, and brings it about when the time is over.
    fn see_stopped(&self, mut stopping: Stopping) -> Result<()> {
        loop {
            let now = Instant::now();
            let left = stopping
                .deadline
                .map(|deadline| deadline.saturating_duration_since(now));
            if stopping.watch.wait(left)? == Ending::NotYet {
                self.note_kill(&stopping.record, SIGKILL);
                stopping.watch.kill(&stopping.status, false)?;
            }
            let record = stopping.record.clone();
            // What it ended by itself before it heard of the wish may have begun anew.
            let again = match goes_on(&stopping.status, &stopping.directory)? {
                true => self.ask_to_end(
                    stopping.directory,
                    stopping.record,
                    stopping.signal,
                    stopping.limit,
                )?,
                false => None,
            };
            match again {
                Some(again) => stopping = again,
                None => {
                    self.note_container(&record, "stop", &[]);
                    return Ok(());
                }
            }
        }
    }

    /// Sends SIGKILL to those of several containers that run, without waiting: for `rm -f`, which
    /// then takes one after the other away, and says what could not be done.
    pub fn kill_ahead(&self, containers: &[String]) {
        for container in containers {
            if let Ok((directory, record)) = self.store.find_container(container) {
                let _ = self.ask_to_end(directory, record, SIGKILL, None);
            }
        }
    }

    /// Seconds, -1 is for ever: as asked, or as the container says.
    pub(super) fn stop_timeout(&self, record: &ContainerRecord, asked: Option<i64>) -> i64 {
        let of_container = record.spec.stop_timeout;
        asked.or(of_container).unwrap_or(DEFAULT_TIMEOUT)
    }

    /// What ends the container politely: its own signal, its image's, or SIGTERM. An image that is
    /// damaged or says nonsense must not make its containers unstoppable.
    pub(super) fn stop_signal(&self, record: &ContainerRecord) -> i32 {
        let of_image = || self.image_config(record.image_id.as_ref()?).ok()?.config;
        stop_signal(record, of_image)
    }
}

/// [`Engine::stop_signal`] where the image may be at hand; it is asked last.
pub(super) fn stop_signal(
    record: &ContainerRecord,
    image: impl FnOnce() -> Option<ProcessDefaults>,
) -> i32 {
    let of_image = || parse_signal(&image()?.stop_signal?).ok();
    let systemd =
        || plan::wants_systemd(&record.spec, &record.path).then_some(plan::SYSTEMD_STOP_SIGNAL);
    let asked = record.spec.stop_signal.or_else(systemd);
    asked.or_else(of_image).unwrap_or(SIGTERM)
}
