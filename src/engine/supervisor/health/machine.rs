//! What a result of a check means: a function of what was known, with no clock and no kernel.
//!
//! ```text
//!              startup probe succeeds             a check succeeds
//!   (startup) ───────────────────────▶ starting ──────────────────▶ healthy ◀─┐
//!       │ too many failures                │ `retries` failures in a row │      │ a check
//!       ▼                                  ▼ (none count in the          ▼      │ succeeds
//!    restart                               │  start period)         unhealthy ──┘
//!                                          └────────────────────────▶ │
//!                                                                      ▼ --health-on-failure
//! ```

use std::time::Duration;

use crate::model::health::{
    HealthCheck, HealthRecord, HealthResult, HealthStatus, OnFailure, Probe,
};

#[derive(Debug)]
pub(super) struct Machine {
    check: HealthCheck,
    record: HealthRecord,
    /// Successes and failures in a row of the startup probe, as long as that is what is run.
    startup: Option<(u32, u32)>,
    /// The startup probe has just succeeded.
    at_once: bool,
}

/// What has to be done about a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The status is another one than before.
    pub changed: bool,
    pub act: OnFailure,
}

impl Machine {
    /// For a run that has just started.
    pub(super) fn new(check: HealthCheck, started: &str) -> Machine {
        Machine {
            startup: check.startup.as_ref().map(|_| (0, 0)),
            record: HealthRecord::begin(started),
            at_once: false,
            check,
        }
    }

    /// Another check from now on. Docker's and Podman's rule: what is known stays.
    pub(super) fn change(&mut self, check: HealthCheck) {
        if check.startup.is_none() {
            self.startup = None;
        }
        self.check = check;
    }

    pub(super) fn record(&self) -> &HealthRecord {
        &self.record
    }

    /// What is to be run next.
    pub(super) fn probe(&self) -> &Probe {
        match (&self.check.startup, self.startup) {
            (Some(startup), Some(_)) => &startup.probe,
            _ => &self.check.probe,
        }
    }

    /// How long to wait now for the next check; `up` is how long the container has been running.
    /// Nothing if checks are run by hand only.
    pub(super) fn wait(&self, up: Duration) -> Option<Duration> {
        if self.check.by_hand {
            return None;
        }
        let starting = self.record.status == HealthStatus::Starting;
        Some(match () {
            () if self.at_once => Duration::ZERO,
            () if self.startup.is_some() => self.probe().interval,
            () if starting && up < self.check.start_period => self.check.start_interval,
            () => self.check.probe.interval,
        })
    }

    /// Takes a result in; `up` is how long the container had been running when the check began.
    pub(super) fn note(&mut self, result: HealthResult, up: Duration) -> Outcome {
        let well = result.exit_code == 0;
        self.record.log.push(result);
        let surplus = self.record.log.len().saturating_sub(self.check.results);
        self.record.log.drain(..surplus);
        self.at_once = false;
        if let Some((successes, failures)) = self.startup {
            return self.note_startup(well, successes, failures);
        }
        let before = self.record.status;
        if well {
            self.record.failing_streak = 0;
            self.record.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || up >= self.check.start_period {
            self.record.failing_streak = self.record.failing_streak.saturating_add(1);
            if self.record.failing_streak >= self.check.retries {
                self.record.status = HealthStatus::Unhealthy;
            }
        }
        let changed = self.record.status != before;
        let act = match self.record.status {
            HealthStatus::Unhealthy if changed => self.check.on_failure,
            _ => OnFailure::None,
        };
        Outcome { changed, act }
    }

    fn note_startup(&mut self, well: bool, successes: u32, failures: u32) -> Outcome {
        let Some(startup) = &self.check.startup else {
            self.startup = None;
            return Outcome::default();
        };
        let mut act = OnFailure::None;
        self.startup = match well {
            true if successes + 1 >= startup.successes => {
                self.at_once = true;
                None
            }
            true => Some((successes + 1, 0)),
            false => {
                let failures = failures.saturating_add(1);
                if startup.retries > 0 && failures >= startup.retries {
                    act = OnFailure::Restart;
                }
                Some((0, failures))
            }
        };
        Outcome {
            changed: false,
            act,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::StartupCheck;

    const SECOND: Duration = Duration::from_secs(1);

    fn check() -> HealthCheck {
        HealthCheck {
            probe: probe("check"),
            start_period: Duration::ZERO,
            start_interval: 2 * SECOND,
            retries: 3,
            startup: None,
            on_failure: OnFailure::None,
            by_hand: false,
            results: 5,
            output: 4096,
        }
    }

    fn probe(name: &str) -> Probe {
        Probe {
            command: vec![name.to_owned()],
            interval: 30 * SECOND,
            timeout: SECOND,
        }
    }

    fn result(exit_code: i32) -> HealthResult {
        HealthResult {
            start: String::new(),
            end: String::new(),
            exit_code,
            output: String::new(),
        }
    }

    /// What the results do, one a second from the first second on: the status' first letter in
    /// capitals when it changes, and the streak.
    fn story(machine: &mut Machine, results: &[i32]) -> String {
        let mut words = Vec::new();
        for (number, code) in results.iter().enumerate() {
            let outcome = machine.note(result(*code), SECOND * (number as u32 + 1));
            let letter = match machine.record().status {
                HealthStatus::Starting => 's',
                HealthStatus::Healthy => 'h',
                HealthStatus::Unhealthy => 'u',
            };
            let letter = match outcome.changed {
                true => letter.to_ascii_uppercase(),
                false => letter,
            };
            words.push(format!("{letter}{}", machine.record().failing_streak));
        }
        words.join(" ")
    }

    #[test]
    fn results_make_the_status() {
        for (results, expected) in [
            (&[0, 0][..], "H0 h0"),
            (&[1, 1, 1, 1], "s1 s2 U3 u4"),
            (&[1, 1, 0, 1], "s1 s2 H0 h1"),
            (&[0, 1, 1, 1, 0], "H0 h1 h2 U3 H0"),
            (&[0, 1, 1, 0, 1, 1, 1], "H0 h1 h2 h0 h1 h2 U3"),
            (&[-1, 2, 137], "s1 s2 U3"),
        ] {
            let told = story(&mut Machine::new(check(), "now"), results);
            assert_eq!(told, expected, "{results:?}");
        }
    }

    #[test]
    fn failures_do_not_count_in_the_start_period() {
        let slow = HealthCheck {
            start_period: 4 * SECOND,
            retries: 2,
            ..check()
        };
        let mut machine = Machine::new(slow.clone(), "now");
        assert_eq!(story(&mut machine, &[1, 1, 1, 1, 1]), "s0 s0 s0 s1 U2");
        // Once it was well, it has started.
        let mut machine = Machine::new(slow, "now");
        assert_eq!(story(&mut machine, &[1, 0, 1, 1]), "s0 H0 h1 U2");
    }

    #[test]
    fn the_next_check_is_due_an_interval_after_the_last() {
        let slow = HealthCheck {
            start_period: 10 * SECOND,
            ..check()
        };
        let mut machine = Machine::new(slow, "now");
        assert_eq!(machine.wait(Duration::ZERO), Some(2 * SECOND));
        assert_eq!(machine.wait(10 * SECOND), Some(30 * SECOND));
        machine.note(result(0), SECOND);
        assert_eq!(machine.wait(SECOND), Some(30 * SECOND));
        let by_hand = HealthCheck {
            by_hand: true,
            ..check()
        };
        assert_eq!(Machine::new(by_hand, "now").wait(SECOND), None);
    }

    #[test]
    fn who_becomes_unhealthy_is_dealt_with_once() {
        let deadly = HealthCheck {
            on_failure: OnFailure::Kill,
            retries: 2,
            ..check()
        };
        let mut machine = Machine::new(deadly, "now");
        let acts: Vec<OnFailure> = [1, 1, 1, 0, 1, 1]
            .into_iter()
            .map(|code| machine.note(result(code), SECOND).act)
            .collect();
        let (none, kill) = (OnFailure::None, OnFailure::Kill);
        assert_eq!(acts, [none, kill, none, none, none, kill]);
    }

    #[test]
    fn the_startup_probe_goes_first() {
        let startup = StartupCheck {
            probe: Probe {
                interval: 7 * SECOND,
                ..probe("startup")
            },
            retries: 3,
            successes: 2,
        };
        let two_steps = HealthCheck {
            startup: Some(startup),
            ..check()
        };
        let mut machine = Machine::new(two_steps, "now");
        assert_eq!(machine.probe().command, ["startup"]);
        assert_eq!(machine.wait(SECOND), Some(7 * SECOND));
        assert_eq!(story(&mut machine, &[1, 1, 0, 1, 0]), "s0 s0 s0 s0 s0");
        assert_eq!(machine.probe().command, ["startup"]);
        machine.note(result(0), SECOND);
        assert_eq!(machine.probe().command, ["check"]);
        assert_eq!(machine.wait(SECOND), Some(Duration::ZERO));
        assert_eq!(story(&mut machine, &[0]), "H0");
        assert_eq!(machine.wait(SECOND), Some(30 * SECOND));
    }

    #[test]
    fn a_container_that_does_not_come_up_is_started_anew() {
        let startup = StartupCheck {
            probe: probe("startup"),
            retries: 2,
            successes: 1,
        };
        let two_steps = HealthCheck {
            startup: Some(startup),
            ..check()
        };
        let mut machine = Machine::new(two_steps, "now");
        assert_eq!(machine.note(result(1), SECOND).act, OnFailure::None);
        assert_eq!(machine.note(result(1), SECOND).act, OnFailure::Restart);
    }

    #[test]
    fn the_last_results_are_kept() {
        let few = HealthCheck {
            results: 2,
            ..check()
        };
        let mut machine = Machine::new(few, "now");
        story(&mut machine, &[1, 2, 3, 4]);
        let codes: Vec<i32> = machine.record().log.iter().map(|it| it.exit_code).collect();
        assert_eq!(codes, [3, 4]);
    }
}
