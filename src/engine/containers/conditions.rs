//! `wait --condition`: until a container is in one of several states.
//!
//! Nothing is asked again and again. Whatever changes a container's state changes a file of its
//! folder (a record is replaced, the folder renamed away) or its cgroup's switch, which inotify(7)
//! tells; that its supervisor was killed, the supervisor's socket and process do. All of them only
//! wake: what has come of it is looked at in the container's state.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    event::PollFlags,
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};

use super::{
    ending::{Ending, Watch, exit_code},
    pause,
};
use crate::{
    engine::Engine,
    model::{
        Context, Error, ErrorKind, Result,
        condition::Condition,
        container::{ContainerRecord, ContainerState},
        health::HealthStatus,
    },
    storage::{ContainerDir, containers::Status},
    sys::poll::PollSet,
};

/// Docker's for a container that has no exit code.
const NO_CODE: i32 = -1;

impl Engine {
    /// Waits until the first of these containers meets one of the conditions: its place, and the
    /// exit code of its last run, or -1 if it is not over.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchContainer`] if one is not there, or goes before it can meet any.
    pub fn wait_for(&self, containers: &[String], wanted: &[Condition]) -> Result<(usize, i32)> {
        let waiter = |typed: &String| Waiter::begin(self, typed);
        let mut waiters = containers.iter().map(waiter).collect::<Result<Vec<_>>>()?;
        loop {
            for (place, waiter) in waiters.iter_mut().enumerate() {
                if let Some(code) = waiter.look(self, wanted)? {
                    return Ok((place, code));
                }
            }
            let mut set = PollSet::with_capacity(2 * waiters.len());
            for (place, waiter) in waiters.iter().enumerate() {
                set.add(place, waiter.changes.as_fd(), PollFlags::IN);
                if let Some(end) = waiter.watch.as_ref().and_then(Watch::descriptor) {
                    set.add(place, end, PollFlags::IN);
                }
            }
            set.wait().system(cannot_wait)?;
            for waiter in &waiters {
                waiter.drain()?;
            }
        }
    }
}

struct Waiter {
    directory: ContainerDir,
    record: ContainerRecord,
    changes: OwnedFd,
    watch: Option<Watch>,
    /// Of the last run that was over when this began.
    past: Option<String>,
    /// The code of a run that has ended since.
    ended: Option<i32>,
    /// The code of the last run, while the container was there.
    last: Option<i32>,
}

impl Waiter {
    fn begin(engine: &Engine, typed: &str) -> Result<Waiter> {
        let (directory, record) = engine.store.find_container(typed)?;
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let changes = changes.system(cannot_wait)?;
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&changes, directory.path(), flags) {
            // Removed just now, which the first look finds.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).system(cannot_wait),
        }
        let past = directory.state()?.exit.and_then(|exit| exit.started);
        Ok(Waiter {
            directory,
            record,
            changes,
            watch: None,
            past,
            ended: None,
            last: None,
        })
    }

    /// The answer, if a condition is met.
    fn look(&mut self, engine: &Engine, wanted: &[Condition]) -> Result<Option<i32>> {
        self.hear_of_end()?;
        if self.watch.is_none() {
            self.watch = Watch::begin(&engine.store, &self.directory)?;
        }
        let gone = matches!(
            engine.store.container(self.directory.id()),
            Err(error) if error.kind() == ErrorKind::NoSuchContainer
        );
        if gone {
            return self.look_back(wanted).map(Some);
        }
        let status = self.directory.state()?;
        self.last = exit_code(&status);
        self.watch_group(&status, wanted);
        for condition in wanted {
            if self.meets(engine, *condition, &status)? {
                return Ok(Some(self.code(&status)));
            }
        }
        Ok(None)
    }

    /// The container is not there any more.
    fn look_back(&self, wanted: &[Condition]) -> Result<i32> {
        let over = |condition: &Condition| {
            matches!(
                condition,
                Condition::Removed
                    | Condition::NotRunning
                    | Condition::NextExit
                    | Condition::State(
                        ContainerState::Exited | ContainerState::Removing | ContainerState::Dead
                    )
            )
        };
        if wanted.iter().any(over) {
            return Ok(self.ended.or(self.last).unwrap_or(0));
        }
        Err(Error::new(
            ErrorKind::NoSuchContainer,
            format!("container {} was removed meanwhile", self.record.name),
        ))
    }

    fn meets(&self, engine: &Engine, condition: Condition, status: &Status) -> Result<bool> {
        let state = pause::state(status);
        let ended = || {
            let exit = status.exit.as_ref();
            self.ended.is_some() || exit.is_some_and(|exit| exit.started != self.past)
        };
        Ok(match condition {
            Condition::State(wanted) => state == wanted,
            Condition::NotRunning => !matches!(
                status.state,
                ContainerState::Running | ContainerState::Restarting
            ),
            Condition::NextExit => ended(),
            Condition::Removed => false,
            Condition::Healthy => self.health(engine)? == Some(HealthStatus::Healthy),
            Condition::Unhealthy => self.health(engine)? == Some(HealthStatus::Unhealthy),
        })
    }

    fn health(&self, engine: &Engine) -> Result<Option<HealthStatus>> {
        engine.health(self.directory.id().as_str())
    }

    fn code(&self, status: &Status) -> i32 {
        match status.state {
            ContainerState::Running => self.ended.unwrap_or(NO_CODE),
            ContainerState::Created => 0,
            _ => exit_code(status).or(self.ended).unwrap_or(NO_CODE),
        }
    }

    /// What the supervisor has said. One that starts the program anew says no more to this client.
    fn hear_of_end(&mut self) -> Result<()> {
        let Some(watch) = &mut self.watch else {
            return Ok(());
        };
        match watch.wait(Some(Duration::ZERO))? {
            Ending::NotYet => return Ok(()),
            Ending::Exited(code) => self.ended = Some(code),
            Ending::Gone => self.ended = exit_code(&self.directory.state()?),
        }
        self.watch = None;
        Ok(())
    }

    /// Pausing is a word written into the cgroup; every run has another group.
    fn watch_group(&self, status: &Status, wanted: &[Condition]) {
        let cares = wanted.iter().any(|condition| {
            matches!(
                condition,
                Condition::State(ContainerState::Paused | ContainerState::Running)
            )
        });
        let group = status
            .start
            .as_ref()
            .and_then(|start| start.cgroup.as_deref());
        if let Some(group) = group.filter(|group: &&Path| cares && group.is_absolute()) {
            // It may just have gone with its run.
            let switch = group.join("cgroup.freeze");
            let _ = inotify::add_watch(&self.changes, switch, WatchFlags::MODIFY);
        }
    }

    fn drain(&self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.changes, &mut buffer) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno).system(cannot_wait),
            }
        }
    }
}

fn cannot_wait() -> String {
    "cannot wait for the container".to_owned()
}
