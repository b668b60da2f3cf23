//! Looks after a running container's health: runs its check again and again, and writes down what
//! was found.
//!
//! A container without a check has no monitor, which costs it nothing. One with a check has one
//! timer: it says when the next check is due (an interval after the last one has ended), then when
//! the running one has taken too long, and at last when a container that was asked to end because it
//! is unhealthy has not. It runs on the monotonic clock, so that nobody who sets the time changes
//! anything. There is at most one check at a time; `healthcheck run` asks for the next one now, or
//! waits for the one that runs.
//!
//! What was found goes into `health.json` after every check, as a whole and never flushed: it is of
//! one run, which it names, and nothing after a crash of the machine.

mod check;
mod machine;

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFlags, Timespec},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};
use serde::{Deserialize, Serialize};

use self::{check::Check, machine::Machine};
use super::{Container, event_loop::EventLoop, runs::Run};
use crate::{
    engine::{cgroup::Group, plan::ProcessPlan, sandbox::JoinPlan},
    model::{
        Context, Error, ErrorKind, Result,
        health::{HealthCheck, HealthResult, HealthStatus, OnFailure},
    },
    storage::ContainerDir,
    sys::{poll::PollSet, process},
};

impl Container<'_> {
    /// Has the run's health checked, if there is something to check.
    pub(super) fn look_after_health(&self, watch: &mut EventLoop, run: &Run) {
        let plan = self.plan.health.as_deref().cloned();
        watch.look_after_health(plan, |plan, init| {
            let gone = || Error::new(ErrorKind::Conflict, "the container is not running");
            let start = self.directory.start_record()?.ok_or_else(gone)?;
            let join = JoinPlan {
                init: start.init,
                namespaces: start.namespaces,
                process: ProcessPlan {
                    terminal: false,
                    ..self.plan.sandbox.process.clone()
                },
                cgroup: start.cgroup,
                legacy_cgroups: start.legacy_cgroups,
            };
            let place = Place {
                join,
                init,
                started: start.started,
                begun: run.begun,
                directory: self.store.container(&self.plan.id)?,
            };
            Monitor::begin(plan, place)
        });
    }
}

/// What a supervisor is told to do for a container's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPlan {
    pub check: HealthCheck,
    /// What asks an unhealthy container to end, and how long it has; `None` is for ever.
    pub stop_signal: i32,
    pub stop_timeout: Option<Duration>,
}

/// A run of the program, as its checks need to know it.
#[derive(Debug)]
pub(super) struct Place {
    /// As for `exec`; the command is the check's.
    pub join: JoinPlan,
    /// The first process.
    pub init: OwnedFd,
    /// When it was started: as in the start record, and on the clock of the checks.
    pub started: String,
    pub begun: Instant,
    pub directory: ContainerDir,
}

#[derive(Debug)]
pub(super) struct Monitor {
    place: Place,
    plan: HealthPlan,
    machine: Machine,
    timer: OwnedFd,
    /// The check that runs, and how old the container was when it began.
    current: Option<(Check, Duration)>,
    /// The container has been asked to end.
    ending: bool,
}

/// What one of its descriptors is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Timer,
    Check(check::Part),
}

/// What the loop has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Tell who waits for it, and everybody if the status has changed.
    Checked(Report),
    /// The container was asked to end, and has not.
    Kill,
}

/// What a check has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub passed: bool,
    pub status: HealthStatus,
    pub changed: bool,
    pub act: OnFailure,
}

impl Monitor {
    /// For a run that has just begun.
    pub(super) fn begin(plan: HealthPlan, place: Place) -> Result<Monitor> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)
            .system(|| "cannot make the timer of the health check".to_owned())?;
        let mut monitor = Monitor {
            machine: Machine::new(plan.check.clone(), &place.started),
            place,
            plan,
            timer,
            current: None,
            ending: false,
        };
        monitor.await_next();
        Ok(monitor)
    }

    pub(super) fn plan(&self) -> &HealthPlan {
        &self.plan
    }

    /// Another check from now on; one that runs is the last of the old.
    pub(super) fn change(&mut self, plan: HealthPlan) {
        self.machine.change(plan.check.clone());
        self.plan = plan;
        if self.current.is_none() && !self.ending {
            self.await_next();
        }
    }

    pub(super) fn is_checking(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn watch<'fd, S: Copy>(
        &'fd self,
        set: &mut PollSet<'fd, S>,
        source: impl Fn(Part) -> S,
    ) {
        set.add(source(Part::Timer), self.timer.as_fd(), PollFlags::IN);
        if let Some((check, _)) = &self.current {
            check.watch(set, |part| source(Part::Check(part)));
        }
    }

    /// Does what a descriptor is ready for.
    pub(super) fn advance(&mut self, part: Part) -> Step {
        match part {
            Part::Timer => {
                // Only if it has run out since: another event of this round may have set it anew.
                if rustix::io::read(&self.timer, &mut [0; 8]).is_err() {
                    return Step::Nothing;
                }
                if self.ending {
                    return Step::Kill;
                }
                self.time_is_over()
            }
            Part::Check(part) => {
                let most = self.plan.check.output;
                let is_over = self
                    .current
                    .as_mut()
                    .is_some_and(|(check, _)| check.advance(part, most));
                match self.current.take() {
                    Some((check, up)) if is_over => {
                        let result = check.into_result(self.machine.probe(), most);
                        self.note(result, up)
                    }
                    current => {
                        self.current = current;
                        Step::Nothing
                    }
                }
            }
        }
    }

    /// Checks at once, unless a check runs already. A check that cannot begin is over.
    pub(super) fn check_now(&mut self) -> Step {
        if self.current.is_some() || self.ending {
            return Step::Nothing;
        }
        let up = self.place.begun.elapsed();
        self.place
            .join
            .process
            .arguments
            .clone_from(&self.machine.probe().command);
        match Check::begin(&self.place.join, self.place.init.as_fd()) {
            Ok(check) => {
                self.current = Some((check, up));
                self.set_timer(Some(self.machine.probe().timeout));
                Step::Nothing
            }
            Err(error) => self.note(check::not_begun(&error), up),
        }
    }

    /// Asks to be told when the container has had its time to end.
    pub(super) fn await_end(&mut self) {
        self.ending = true;
        self.set_timer(self.plan.stop_timeout);
    }

    /// The first process has ended: nothing of a check is left behind.
    pub(super) fn end(mut self) {
        if let Some((check, _)) = self.current.take() {
            check.abandon();
        }
    }

    fn time_is_over(&mut self) -> Step {
        let frozen = self.is_frozen();
        match &mut self.current {
            // Who stands still cannot be late.
            Some(_) if frozen => {
                self.set_timer(Some(self.machine.probe().timeout));
                Step::Nothing
            }
            Some((check, _)) => {
                check.kill();
                Step::Nothing
            }
            None if frozen => {
                self.await_next();
                Step::Nothing
            }
            None => self.check_now(),
        }
    }

    fn note(&mut self, result: HealthResult, up: Duration) -> Step {
        let passed = result.exit_code == 0;
        let outcome = self.machine.note(result, up);
        // On a full disk the last results stay; the next ones may fit.
        let _ = self.place.directory.put_health(self.machine.record());
        self.await_next();
        // What starting the check has touched.
        process::forget_program_pages();
        Step::Checked(Report {
            passed,
            status: self.machine.record().status,
            changed: outcome.changed,
            act: outcome.act,
        })
    }

    fn await_next(&mut self) {
        let delay = self.machine.wait(self.place.begun.elapsed());
        self.set_timer(delay);
    }

    /// Sets the timer, or stops it.
    fn set_timer(&self, delay: Option<Duration>) {
        let nothing = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A delay of 0 would stop it.
        let delay = delay.map(|delay| delay.max(Duration::from_nanos(1)));
        let after = Itimerspec {
            it_interval: nothing,
            it_value: delay
                .and_then(|delay| Timespec::try_from(delay).ok())
                .unwrap_or(nothing),
        };
        // Fails for no value that fits the type.
        let _ = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &after);
    }

    /// Whether the container stands still (`pause`).
    fn is_frozen(&self) -> bool {
        let path = self.place.join.cgroup.as_deref();
        let group = path.and_then(|path| Group::open(path).ok().flatten());
        group.is_some_and(|group| group.is_frozen())
    }
}
