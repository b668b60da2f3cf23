//! The container's health in the loop: who asks for a check is answered when one has ended, and an
//! unhealthy container is dealt with as its check says.

use std::os::fd::OwnedFd;

use super::{
    super::{
        health::{HealthPlan, Monitor, Part, Report, Step},
        protocol::{After, Event, Wish},
    },
    EventLoop,
};
use crate::{
    model::{Result, health::OnFailure},
    sys::{process, signals},
};

impl EventLoop {
    /// Looks after the health of the run that goes on. `begin` makes a monitor for its first
    /// process; without descriptors left there is none, and the container runs all the same.
    pub(in super::super) fn look_after_health(
        &mut self,
        plan: Option<HealthPlan>,
        begin: impl FnOnce(HealthPlan, OwnedFd) -> Result<Monitor>,
    ) {
        match (plan, &mut self.health) {
            (None, _) => self.end_health(),
            (Some(plan), Some(monitor)) => monitor.change(plan),
            (Some(plan), None) => {
                let Some(Ok(init)) = self.init.as_ref().map(OwnedFd::try_clone) else {
                    return;
                };
                if let Ok(monitor) = begin(plan, init) {
                    self.health = Some(Box::new(monitor));
                    // What a check leaves behind becomes this process's child.
                    self.signals = signals::descriptor(&signals::SignalSet::all()).ok();
                }
            }
        }
    }

    /// What a command wants to have checked from now on, once.
    pub(in super::super) fn wanted_health(&mut self) -> Option<Option<Box<HealthPlan>>> {
        self.health_wanted.take()
    }

    pub(super) fn tend_health(&mut self, part: Part) {
        if let Some(monitor) = &mut self.health {
            let step = monitor.advance(part);
            self.take_step(step);
        }
    }

    /// A client wants a check, or the result of the one that runs.
    pub(super) fn check_health(&mut self, client: usize) {
        let Some(monitor) = &mut self.health else {
            return self.clients[client].tell(&Event::Checked(None));
        };
        self.clients[client].awaits_check = true;
        let step = monitor.check_now();
        self.take_step(step);
    }

    /// Another check from now on, or none. One of a newer program that cannot be understood is the
    /// next start's.
    pub(super) fn change_health(&mut self, client: usize, plan: &[u8]) {
        if let Ok(plan) = serde_json::from_slice(plan) {
            self.health_wanted = Some(plan);
        }
        self.clients[client].tell(&Event::HealthTaken);
    }

    /// No more checks: the run is over, or nobody wants them.
    pub(super) fn end_health(&mut self) {
        if let Some(monitor) = self.health.take() {
            monitor.end();
        }
        self.tell_checked(None);
    }

    /// Reaps children that nobody waits for: orphans of the container, and what a check has left
    /// behind. As long as one runs none is touched, since it reaps its own.
    pub(super) fn reap_strays(&self) {
        let checking = self
            .health
            .as_ref()
            .is_some_and(|monitor| monitor.is_checking());
        match (&self.orphans, &self.init) {
            _ if checking => {}
            (Some(orphans), _) => orphans.reap(),
            (None, Some(init)) => process::reap_others(init),
            (None, None) => {}
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Kill => self.signal_init(libc::SIGKILL),
            Step::Checked(report) => {
                self.tell_checked(Some(report));
                self.reap_strays();
                if report.changed {
                    self.health_news = Some(report.status);
                }
                self.deal_with_failure(report.act);
            }
        }
    }

    fn tell_checked(&mut self, report: Option<Report>) {
        let found = report.map(|report| (report.passed, report.status));
        for client in &mut self.clients {
            if std::mem::take(&mut client.awaits_check) {
                client.tell(&Event::Checked(found));
            }
        }
    }

    /// The policy of restarts decides what comes after a kill.
    fn deal_with_failure(&mut self, act: OnFailure) {
        let Some(monitor) = &mut self.health else {
            return;
        };
        let (signal, after) = match act {
            OnFailure::None => return,
            OnFailure::Kill => (libc::SIGKILL, None),
            OnFailure::Stop => (monitor.plan().stop_signal, Some(After::Rest)),
            OnFailure::Restart => (monitor.plan().stop_signal, Some(After::Start)),
        };
        monitor.await_end();
        let by_hand = false;
        self.wish = self.wish.and(Wish { by_hand, after });
        self.signal_init(signal);
    }
}
