//! `--chmod`: octal, or symbolic as for chmod(1).

use crate::model::{Error, Result};

/// What becomes of a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ModeChange {
    Exactly(u32),
    Steps(Vec<Step>),
}

/// `WHO OP PERMISSIONS`, of a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bits of `u`, `g`, `o` as in a mode: 0700, 0070, 0007.
    who: u32,
    operation: Operation,
    permissions: Permissions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Permissions {
    /// `rwxXst`: bits for everybody; those of `X` if somebody may execute it, or it is a directory.
    Bits { bits: u32, execute_if_any: bool },
    /// What one of the others has: how far its bits are shifted.
    Copied(u32),
}

const SET_IDS: u32 = 0o6000;
const STICKY: u32 = 0o1000;

impl ModeChange {
    pub fn parse(text: &str) -> Result<ModeChange> {
        let wrong = || {
            Error::invalid(format!("invalid chmod parameter: {text:?}"))
                .with_hint("octal (0755), or symbolic as for chmod(1): u=rwX,go=rX, +x")
        };
        if text.starts_with(|letter: char| letter.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok();
            let mode = mode.filter(|mode| *mode <= 0o7777).ok_or_else(wrong)?;
            return Ok(ModeChange::Exactly(mode));
        }
        let mut steps = Vec::new();
        for clause in text.split(',') {
            clause_steps(clause, &mut steps).ok_or_else(wrong)?;
        }
        Ok(ModeChange::Steps(steps))
    }

    /// The twelve bits that a file with these gets.
    pub fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        match self {
            ModeChange::Exactly(mode) => *mode,
            ModeChange::Steps(steps) => steps
                .iter()
                .fold(mode & 0o7777, |mode, step| step.apply(mode, is_folder)),
        }
    }
}

impl Step {
    fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let everybody = match self.permissions {
            Permissions::Copied(shift) => ((mode >> shift) & 7) * 0o111,
            Permissions::Bits {
                bits,
                execute_if_any,
            } => match execute_if_any && (is_folder || mode & 0o111 != 0) {
                true => bits | 0o111,
                false => bits,
            },
        };
        let mut mask = self.who;
        if self.who & 0o700 != 0 {
            mask |= 0o4000;
        }
        if self.who & 0o070 != 0 {
            mask |= 0o2000;
        }
        if self.who == 0o777 {
            mask |= STICKY;
        }
        let bits = everybody & mask;
        match self.operation {
            Operation::Add => mode | bits,
            Operation::Remove => mode & !bits,
            // A directory keeps set-id bits that nobody speaks of, as with GNU's chmod.
            Operation::Set if is_folder => (mode & !(mask & !SET_IDS)) | bits,
            Operation::Set => (mode & !mask) | bits,
        }
    }
}

/// `[ugoa]*([-+=](PERMISSIONS|[ugo]))+`
fn clause_steps(clause: &str, steps: &mut Vec<Step>) -> Option<()> {
    let begin = clause.find(['+', '-', '='])?;
    let mut who = 0;
    for letter in clause[..begin].chars() {
        who |= match letter {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    let who = if begin == 0 { 0o777 } else { who };
    let mut letters = clause[begin..].chars().peekable();
    while let Some(letter) = letters.next() {
        let operation = match letter {
            '+' => Operation::Add,
            '-' => Operation::Remove,
            '=' => Operation::Set,
            _ => return None,
        };
        let copied = letters.next_if(|letter| matches!(letter, 'u' | 'g' | 'o'));
        let permissions = match copied {
            Some('u') => Permissions::Copied(6),
            Some('g') => Permissions::Copied(3),
            Some(_) => Permissions::Copied(0),
            None => {
                let (mut bits, mut execute_if_any) = (0, false);
                while let Some(letter) = letters.next_if(|letter| letter.is_alphabetic()) {
                    match letter {
                        'r' => bits |= 0o444,
                        'w' => bits |= 0o222,
                        'x' => bits |= 0o111,
                        'X' => execute_if_any = true,
                        's' => bits |= SET_IDS,
                        't' => bits |= STICKY,
                        _ => return None,
                    }
                }
                Permissions::Bits {
                    bits,
                    execute_if_any,
                }
            }
        };
        steps.push(Step {
            who,
            operation,
            permissions,
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (text, before, file, folder) in [
            ("755", 0o600, 0o755, 0o755),
            ("0644", 0o7777, 0o644, 0o644),
            ("4755", 0o600, 0o4755, 0o4755),
            ("+x", 0o644, 0o755, 0o755),
            ("a-w", 0o666, 0o444, 0o444),
            ("u=rwX,go=rX", 0o600, 0o644, 0o755),
            ("u=rwX,go=rX", 0o700, 0o755, 0o755),
            ("go=", 0o777, 0o700, 0o700),
            ("g=u", 0o750, 0o770, 0o770),
            ("o=g-w", 0o670, 0o675, 0o675),
            ("u+s,+t", 0o755, 0o5755, 0o5755),
            ("u-x+w", 0o555, 0o655, 0o655),
            ("=r", 0o4755, 0o444, 0o4444),
        ] {
            let change = ModeChange::parse(text).unwrap();
            assert_eq!(change.apply(before, false), file, "{text}");
            assert_eq!(change.apply(before, true), folder, "{text}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in [
            "", "8", "77777", "rwx", "z+x", "+q", "u", "755,", "u+x,", "0x1",
        ] {
            assert!(ModeChange::parse(text).is_err(), "{text:?}");
        }
    }
}
