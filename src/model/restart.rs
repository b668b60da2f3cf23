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
