//! What has happened: how every verb notes it, and how it is read again.
//!
//! Whoever does a thing notes it, right after it is done: the command, or, for what happens to a
//! running program (start, die, oom, health, restart, the end of a `--rm` container), its supervisor.
//! Noting never fails and never changes what the verb returns.

//!
//! Reading follows the journal without polling: it waits for a change (inotify(7)), for the end of the
//! time that was asked for (a timer on the clock that events are dated by) and for its own reader to
//! go away.

use std::{
    borrow::Cow,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFlags, Timespec},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

use super::Engine;
use crate::{
    model::{
        Context, Digest, Result,
        container::ContainerRecord,
        event::{Attributes, Event, EventType, container_attributes},
        image::ImageConfig,
    },
    sys::poll::PollSet,
};

/// Which events are wanted. With neither moment, and followed, those that are yet to come; else also
/// those that are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventOptions<'a> {
    /// Nanoseconds after the Unix epoch.
    pub since: Option<i128>,
    pub until: Option<i128>,
    /// Wait for more: until that moment, or for ever.
    pub follow: bool,
    /// Where the events are written: when its other end is gone, nobody waits for them.
    pub output: Option<BorrowedFd<'a>>,
}

/// An event of a container whose image is at hand.
pub(in crate::engine) fn container_event(
    record: &ContainerRecord,
    image: &ImageConfig,
    action: impl Into<Cow<'static, str>>,
) -> Event {
    let labels = image
        .config
        .as_ref()
        .and_then(|config| config.labels.as_ref());
    let attributes = container_attributes(record, labels);
    Event::new(EventType::Container, action, record.id.as_str(), attributes)
}

impl Engine {
    /// Notes what was done to a container, with more attributes than every event has (`signal` of
    /// `kill`, `exitCode` of `die`).
    pub(in crate::engine) fn note_container(
        &self,
        record: &ContainerRecord,
        action: impl Into<Cow<'static, str>>,
        more: &[(&str, &str)],
    ) {
        self.store
            .note_event(self.container_event(record, action, more));
    }

    /// The same, not yet written down: for several events at once, and before a container goes.
    pub(in crate::engine) fn container_event(
        &self,
        record: &ContainerRecord,
        action: impl Into<Cow<'static, str>>,
        more: &[(&str, &str)],
    ) -> Event {
        let image = record
            .image_id
            .as_ref()
            .and_then(|id| self.image_config(id).ok());
        let mut event = container_event(record, &image.unwrap_or_default(), action);
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        event.actor.attributes.extend(more);
        event
    }

    /// Notes that a signal was sent to a container's program.
    pub(in crate::engine) fn note_kill(&self, record: &ContainerRecord, signal: i32) {
        self.note_container(record, "kill", &[("signal", &signal.to_string())]);
    }

    /// Notes the volumes that a container is started with.
    pub(in crate::engine) fn note_mounts(&self, record: &ContainerRecord) {
        for mount in &record.spec.mounts {
            let Some(volume) = mount.volume() else {
                continue;
            };
            let more = [
                ("container", record.id.as_str()),
                ("destination", mount.target.as_str()),
                ("propagation", ""),
                ("read/write", if mount.read_only { "false" } else { "true" }),
            ];
            self.note_volume("mount", &volume.name, &more);
        }
    }

    /// Notes what was done to an image: `id` is its ID, or its name for `pull` and `push`; `name` as
    /// it was called. `labels_of` is the image whose labels are attributes, if it is still there.
    pub(in crate::engine) fn note_image(
        &self,
        action: &'static str,
        id: &str,
        name: &str,
        labels_of: Option<&Digest>,
    ) {
        let config = labels_of.and_then(|id| self.image_config(id).ok());
        let labels = config.and_then(|config| config.config?.labels);
        let mut attributes = labels.unwrap_or_default();
        attributes.insert("name".to_owned(), name.to_owned());
        self.store
            .note_event(Event::new(EventType::Image, action, id, attributes));
    }

    /// Notes what was done to a volume.
    pub(in crate::engine) fn note_volume(
        &self,
        action: &'static str,
        name: &str,
        more: &[(&str, &str)],
    ) {
        let mut attributes = Attributes::from([("driver".to_owned(), "local".to_owned())]);
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        attributes.extend(more);
        self.store
            .note_event(Event::new(EventType::Volume, action, name, attributes));
    }

    /// Notes that all that was not used of a kind is gone, and how many bytes that freed.
    pub(in crate::engine) fn note_prune(&self, kind: EventType, reclaimed: u64) {
        let attributes = Attributes::from([("reclaimed".to_owned(), reclaimed.to_string())]);
        self.store
            .note_event(Event::new(kind, "prune", "", attributes));
    }
}

#[derive(Clone, Copy)]
enum Source {
    Journal,
    Timer,
    Output,
}

impl Engine {
    /// Hands what has happened to `sink`, oldest first.
    ///
    /// # Errors
    /// Those of the system and of `sink`.
    pub fn events(
        &self,
        options: &EventOptions<'_>,
        sink: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<()> {
        let what = || "cannot wait for events".to_owned();
        let past = options.since.is_some() || options.until.is_some() || !options.follow;
        let timer = options.until.map(alarm).transpose().system(what)?;
        let mut journal = self.store.events(past)?;
        let mut wanted = |event: Event| {
            let time = i128::from(event.time_nano);
            let early = options.since.is_some_and(|since| time < since);
            let late = options.until.is_some_and(|until| time > until);
            if early || late { Ok(()) } else { sink(event) }
        };
        let mut over = !options.follow;
        loop {
            journal.read_on(&mut wanted)?;
            if over {
                return Ok(());
            }
            let mut set = PollSet::with_capacity(3);
            set.add(Source::Journal, journal.changes(), PollFlags::IN);
            if let Some(timer) = &timer {
                set.add(Source::Timer, timer.as_fd(), PollFlags::IN);
            }
            if let Some(output) = options.output {
                // Asked for nothing, it still tells that it broke.
                set.add(Source::Output, output, PollFlags::empty());
            }
            for (source, _) in set.wait().system(what)? {
                match source {
                    Source::Journal => {}
                    // What was written before is read once more.
                    Source::Timer => over = true,
                    Source::Output => return Ok(()),
                }
            }
        }
    }
}

/// Becomes readable at a moment, at once if that has passed; a clock that is set counts.
fn alarm(moment: i128) -> rustix::io::Result<OwnedFd> {
    let timer = rustix::time::timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
    // 0 would be no alarm at all.
    let moment = moment.max(1);
    let nanoseconds = 1_000_000_000;
    let at = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec {
            tv_sec: i64::try_from(moment / nanoseconds).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(moment % nanoseconds).unwrap_or(0),
        },
    };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &at)?;
    Ok(timer)
}
