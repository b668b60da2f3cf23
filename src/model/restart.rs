//! When a container that has ended is started again: `--restart`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// Docker's restart policies. A container that was stopped by a command is never started again by
/// its supervisor; after a reboot [`RestartPolicy::Always`] starts it all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    #[default]
    No,
    /// After an end with another code than 0, at most so often; 0 is without limit.
    OnFailure {
        most: u32,
    },
    Always,
    UnlessStopped,
}

impl RestartPolicy {
    /// Without its number.
    pub fn name(self) -> &'static str {
        match self {
            RestartPolicy::No => "no",
            RestartPolicy::OnFailure { .. } => "on-failure",
            RestartPolicy::Always => "always",
            RestartPolicy::UnlessStopped => "unless-stopped",
        }
    }

    /// How often at most; 0 is without limit.
    pub fn most(self) -> u32 {
        match self {
            RestartPolicy::OnFailure { most } => most,
            _ => 0,
        }
    }
}

/// What is known of a container's last run when the machine has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastRun {
    /// No program of it has ever run.
    Never,
    /// Nobody saw the end: it ran when the machine stopped, or its supervisor was killed.
    Unseen { restarts: u32 },
    Ended {
        code: i32,
        by_hand: bool,
        restarts: u32,
    },
}

impl RestartPolicy {
    /// Whether a container that does not run is started when the machine has been.
    pub fn holds_after_boot(self, last: LastRun) -> bool {
        let (failed, by_hand, restarts) = match last {
            LastRun::Never => return false,
            LastRun::Unseen { restarts } => (true, false, restarts),
            LastRun::Ended {
                code,
                by_hand,
                restarts,
            } => (code != 0, by_hand, restarts),
        };
        match self {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !by_hand,
            RestartPolicy::OnFailure { most } => {
                failed && !by_hand && (most == 0 || restarts < most)
            }
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = Error;

    /// `no`, `on-failure[:MOST]`, `always` or `unless-stopped`; nothing is `no`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, most) = match text.split_once(':') {
            Some((name, most)) => (name, Some(most)),
            None => (text, None),
        };
        let policy = match name {
            "" | "no" => RestartPolicy::No,
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => {
                let most = match most {
                    None | Some("") => 0,
                    Some(most) => most.parse().map_err(|_| {
                        Error::invalid(format!(
                            "invalid restart policy {text:?}: maximum retry count must be a number, 0 or more"
                        ))
                    })?,
                };
                return Ok(RestartPolicy::OnFailure { most });
            }
            _ => {
                return Err(Error::invalid(format!(
                    "invalid restart policy {text:?}: unknown policy {name:?}; use one of \"no\", \"always\", \"on-failure[:MOST]\" or \"unless-stopped\""
                )));
            }
        };
        match most {
            None => Ok(policy),
            Some(_) => Err(Error::invalid(format!(
                "invalid restart policy {text:?}: maximum retry count can only be used with on-failure"
            ))),
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most() {
            0 => f.write_str(self.name()),
            most => write!(f, "{}:{most}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_written() {
        for text in [
            "no",
            "always",
            "unless-stopped",
            "on-failure",
            "on-failure:3",
        ] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        assert_eq!("".parse::<RestartPolicy>().unwrap(), RestartPolicy::No);
        assert_eq!(
            "on-failure:0".parse::<RestartPolicy>().unwrap(),
            RestartPolicy::OnFailure { most: 0 }
        );
    }

    #[test]
    fn after_a_boot_the_policy_looks_at_the_last_run() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        let ended = |code, by_hand| LastRun::Ended {
            code,
            by_hand,
            restarts: 2,
        };
        let unseen = LastRun::Unseen { restarts: 2 };
        let (any, two, three) = (
            OnFailure { most: 0 },
            OnFailure { most: 2 },
            OnFailure { most: 3 },
        );
        for (policy, last, starts) in [
            (No, unseen, false),
            (No, ended(1, false), false),
            (Always, LastRun::Never, false),
            (Always, unseen, true),
            (Always, ended(0, false), true),
            (Always, ended(0, true), true),
            (UnlessStopped, LastRun::Never, false),
            (UnlessStopped, unseen, true),
            (UnlessStopped, ended(0, false), true),
            (UnlessStopped, ended(0, true), false),
            (any, LastRun::Never, false),
            (any, unseen, true),
            (any, ended(0, false), false),
            (any, ended(1, false), true),
            (any, ended(137, true), false),
            (two, unseen, false),
            (three, unseen, true),
            (three, ended(1, false), true),
        ] {
            assert_eq!(policy.holds_after_boot(last), starts, "{policy} {last:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "sometimes",
            "always:3",
            "on-failure:-1",
            "on-failure:x",
            "Always",
        ] {
            assert!(text.parse::<RestartPolicy>().is_err(), "{text}");
        }
    }
}
