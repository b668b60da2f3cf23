//! Whether, and after how long, a container that has ended is started again: Docker's rules, as a
//! pure decision.
//!
//! The delay is 100 ms at first and doubles with every restart, up to a minute; a run of ten seconds
//! or more begins it anew. `on-failure:N` counts every restart since a command started the container.

use std::time::Duration;

use super::protocol::{After, Wish};
use crate::model::restart::RestartPolicy;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A run of this length was no failure to start.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub code: i32,
    pub wish: Wish,
    pub length: Duration,
}

/// The restarts since a command started the container; those that a command asked for do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Restarts {
    pub count: u32,
    delay: Duration,
}

impl Restarts {
    /// After how long the next run begins; `None` if there is none.
    pub(super) fn next(&mut self, policy: RestartPolicy, end: End) -> Option<Duration> {
        let wanted = match (end.wish.after, policy) {
            (Some(After::Rest), _) => false,
            (Some(After::Start), _) => return Some(Duration::ZERO),
            (None, RestartPolicy::No) => false,
            (None, RestartPolicy::Always) => true,
            (None, RestartPolicy::UnlessStopped) => !end.wish.by_hand,
            (None, RestartPolicy::OnFailure { most }) => {
                end.code != 0 && (most == 0 || self.count < most)
            }
        };
        if !wanted {
            return None;
        }
        self.delay = match self.delay {
            _ if end.length >= GOOD_RUN => FIRST_DELAY,
            Duration::ZERO => FIRST_DELAY,
            before => (before * 2).min(LONGEST_DELAY),
        };
        self.count = self.count.saturating_add(1);
        Some(self.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_HAND: Wish = Wish {
        by_hand: true,
        after: None,
    };
    const STOPPED: Wish = Wish {
        by_hand: true,
        after: Some(After::Rest),
    };
    const SHUT_DOWN: Wish = Wish {
        by_hand: false,
        after: Some(After::Rest),
    };
    const STARTED: Wish = Wish {
        by_hand: true,
        after: Some(After::Start),
    };

    fn end(code: i32, wish: Wish) -> End {
        End {
            code,
            wish,
            length: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_policy_decides() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        let none = Wish::default();
        let any = OnFailure { most: 0 };
        for (policy, code, wish, again) in [
            (No, 0, none, false),
            (No, 1, none, false),
            (No, 1, STARTED, true),
            (Always, 0, none, true),
            (Always, 1, none, true),
            (Always, 0, BY_HAND, true),
            (Always, 137, STOPPED, false),
            (Always, 143, SHUT_DOWN, false),
            (UnlessStopped, 0, none, true),
            (UnlessStopped, 1, none, true),
            (UnlessStopped, 129, BY_HAND, false),
            (UnlessStopped, 137, STOPPED, false),
            (UnlessStopped, 0, STARTED, true),
            (any, 0, none, false),
            (any, 1, none, true),
            (any, 129, BY_HAND, true),
            (any, 137, STOPPED, false),
            (OnFailure { most: 1 }, 1, none, true),
        ] {
            let next = Restarts::default().next(policy, end(code, wish));
            assert_eq!(next.is_some(), again, "{policy} {code} {wish:?}");
        }
    }

    #[test]
    fn failures_are_counted() {
        let mut restarts = Restarts::default();
        let policy = RestartPolicy::OnFailure { most: 2 };
        let failure = end(1, Wish::default());
        assert!(restarts.next(policy, failure).is_some());
        assert!(restarts.next(policy, failure).is_some());
        assert_eq!(restarts.next(policy, failure), None);
        assert_eq!(restarts.count, 2);
        // `update` may allow more meanwhile.
        let more = RestartPolicy::OnFailure { most: 3 };
        assert!(restarts.next(more, failure).is_some());
    }

    #[test]
    fn the_delay_doubles_up_to_a_minute() {
        let mut restarts = Restarts::default();
        let mut delays = Vec::new();
        for _ in 0..12 {
            let next = restarts.next(RestartPolicy::Always, end(1, Wish::default()));
            delays.push(next.unwrap().as_millis());
        }
        let expected = [
            100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000,
        ];
        assert_eq!(delays, expected);
    }

    #[test]
    fn a_good_run_begins_the_delay_anew() {
        let mut restarts = Restarts::default();
        let short = end(1, Wish::default());
        let long = End {
            length: GOOD_RUN,
            ..short
        };
        let mut next = |end| restarts.next(RestartPolicy::Always, end).unwrap();
        assert_eq!(next(short), Duration::from_millis(100));
        assert_eq!(next(short), Duration::from_millis(200));
        assert_eq!(next(long), Duration::from_millis(100));
        assert_eq!(next(short), Duration::from_millis(200));
    }
}
