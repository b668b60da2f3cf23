//! The container's health in the loop: who asks for a check is answered when one has ended, and an
//! unhealthy container is dealt with as its check says.

use super::{
    super::{
        health::{HealthPlan, Monitor, Part, Report, Step},
        protocol::Event,
    },
    EventLoop,
};
use crate::{
    model::health::OnFailure,
    sys::{process, signals},
};

impl EventLoop<'_> {
    /// Runs the checks of the container, which has just been started or got its first one.
    pub(in super::super) fn look_after_health(&mut self, monitor: Monitor) {
        self.health = Some(Box::new(monitor));
        // What a check leaves behind becomes this process's child.
        self.signals = signals::descriptor(&signals::SignalSet::all()).ok();
    }

    /// The check that somebody wants instead of none, once.
    pub(super) fn wanted_health(&mut self) -> Option<HealthPlan> {
        self.health_wanted.take().map(|plan| *plan)
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

    /// Another check from now on, or none.
    pub(super) fn change_health(&mut self, client: usize, plan: &[u8]) {
        // Of a newer program, perhaps: the next start understands it or says why not.
        if let Ok(plan) = serde_json::from_slice::<Option<HealthPlan>>(plan) {
            match (plan, &mut self.health) {
                (Some(plan), Some(monitor)) => monitor.change(plan),
                (Some(plan), None) => self.health_wanted = Some(Box::new(plan)),
                (None, _) => self.end_health(),
            }
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

    pub(super) fn is_checking(&self) -> bool {
        self.health
            .as_ref()
            .is_some_and(|monitor| monitor.is_checking())
    }

    /// Reaps children that nobody waits for: orphans of the container, and what a check has left
    /// behind. As long as one runs none is touched, since it reaps its own.
    pub(super) fn reap_strays(&self) {
        if self.is_checking() {
            return;
        }
        match &self.orphans {
            Some(orphans) => orphans.reap(),
            None => process::reap_others(self.init),
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Kill => {
                let _ = process::signal(self.init, libc::SIGKILL);
            }
            Step::Checked(report) => {
                self.tell_checked(Some(report));
                self.reap_strays();
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

    fn deal_with_failure(&mut self, act: OnFailure) {
        let Some(monitor) = &mut self.health else {
            return;
        };
        let signal = match act {
            OnFailure::None => return,
            OnFailure::Kill => libc::SIGKILL,
            OnFailure::Stop | OnFailure::Restart => {
                monitor.await_end();
                monitor.plan().stop_signal
            }
        };
        let _ = process::signal(self.init, signal);
    }
}
