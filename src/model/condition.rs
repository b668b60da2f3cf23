//! What one may wait for a container to be, in Podman's and Docker's words.

use std::str::FromStr;

use super::{Error, Result, container::ContainerState};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does not run, and is not about to: Docker's default.
    NotRunning,
    /// The end of a run that is going on, or of the one that begins next.
    NextExit,
    /// It is not there any more.
    Removed,
    State(ContainerState),
    Healthy,
    Unhealthy,
}

const WORDS: &str = "created, running, paused, restarting, exited (or stopped), removed, removing, healthy, unhealthy, not-running or next-exit";

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "not-running" => Condition::NotRunning,
            "next-exit" => Condition::NextExit,
            "removed" => Condition::Removed,
            "healthy" => Condition::Healthy,
            "unhealthy" => Condition::Unhealthy,
            // A container is prepared when it starts: Podman's other two are the same here.
            "created" | "configured" | "initialized" => Condition::State(ContainerState::Created),
            "running" => Condition::State(ContainerState::Running),
            "paused" => Condition::State(ContainerState::Paused),
            "restarting" => Condition::State(ContainerState::Restarting),
            "exited" | "stopped" => Condition::State(ContainerState::Exited),
            "removing" => Condition::State(ContainerState::Removing),
            "dead" => Condition::State(ContainerState::Dead),
            _ => {
                return Err(Error::invalid(format!("invalid condition {text:?}"))
                    .with_hint(format!("one of {WORDS}")));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_words_and_dockers_are_known() {
        for (text, condition) in [
            ("stopped", Condition::State(ContainerState::Exited)),
            ("exited", Condition::State(ContainerState::Exited)),
            ("configured", Condition::State(ContainerState::Created)),
            ("running", Condition::State(ContainerState::Running)),
            ("next-exit", Condition::NextExit),
            ("removed", Condition::Removed),
        ] {
            assert_eq!(text.parse::<Condition>().unwrap(), condition, "{text}");
        }
        for text in ["", "Running", "stopping", "running,paused"] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
