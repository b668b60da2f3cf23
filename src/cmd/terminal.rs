//! What commands that watch a container share: the detach keys and the check for a terminal.

use clap::Args;

use super::{Session, failure::Failure, ui};
use crate::{
    engine::RunOutcome,
    model::{Error, Result},
};

/// Docker's default.
const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

#[derive(Args)]
pub struct DetachFlags {
    /// Keys that leave the container running, ctrl-p,ctrl-q if nothing is said
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
}

#[derive(Args)]
pub struct SignalFlags {
    /// Send signals for this process to the program
    #[arg(
        long,
        action = clap::ArgAction::Set,
        default_value = "true",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub sig_proxy: bool,
}

impl DetachFlags {
    /// The flag, the settings, or Docker's default.
    pub fn keys(&self, session: &Session) -> Result<Vec<u8>> {
        let text = self
            .detach_keys
            .as_deref()
            .filter(|keys| !keys.is_empty())
            .or(session.settings.detach_keys.as_deref())
            .unwrap_or(DETACH_KEYS);
        parse_keys(text)
    }
}

/// `ctrl-p,ctrl-q`, `a,b`, `ctrl-@`: single characters, control codes from `@` to `_`, or `DEL`.
fn parse_keys(text: &str) -> Result<Vec<u8>> {
    let key = |part: &str| match part.as_bytes() {
        [byte] => Some(*byte),
        [b'c', b't', b'r', b'l', b'-', code] => match code {
            b'a'..=b'z' | b'@' | b'['..=b'_' => Some(code & 0x1f),
            _ => None,
        },
        b"DEL" => Some(127),
        _ => None,
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|part| {
            key(part).ok_or_else(|| {
                Error::invalid(format!(
                    "Invalid detach keys ({text}) provided: {part:?} is no key"
                ))
                .with_hint(
                    "a list such as ctrl-p,ctrl-q or a,b; ctrl- goes with a to z and @ [ \\ ] ^ _",
                )
            })
        })
        .collect()
}

/// A terminal in the container needs one out here, if its input is connected.
pub fn check_tty(stdin: bool, tty: bool) -> std::result::Result<(), Failure> {
    if stdin && tty && !ui::stdin_is_terminal() {
        return Err(Failure::Plain(
            "the input device is not a TTY".to_owned(),
            1,
        ));
    }
    Ok(())
}

/// The exit code of a command that watched.
pub fn exit_code(outcome: &RunOutcome) -> u8 {
    match outcome {
        RunOutcome::Detached(_) => 0,
        RunOutcome::Exited(code) => low_byte(*code),
        RunOutcome::Left(code) => *code,
    }
}

/// What a parent sees of an exit code.
pub fn low_byte(code: i32) -> u8 {
    (code & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::parse_keys;

    #[test]
    fn detach_keys_are_characters_or_control_codes() {
        let keys = |text| parse_keys(text).ok();
        assert_eq!(keys("ctrl-p,ctrl-q"), Some(vec![16, 17]));
        assert_eq!(keys("ctrl-@,ctrl-[,ctrl-_,x"), Some(vec![0, 27, 31, b'x']));
        assert_eq!(
            keys("ctrl-\\,ctrl-],ctrl-^,DEL"),
            Some(vec![28, 29, 30, 127])
        );
        assert_eq!(keys("ctrl-A"), None);
        assert_eq!(keys("ctrl-"), None);
        assert_eq!(keys("ab"), None);
        assert_eq!(keys("a,,b"), None);
    }
}
