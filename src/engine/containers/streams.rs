//! This command's own terminal and streams, lent to a container: what passes here is the
//! container's word, not ours (that is `cmd::ui`'s).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::model::{Context, Result};

pub(super) fn input() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

pub(super) fn output() -> BorrowedFd<'static> {
    rustix::stdio::stdout()
}

pub(super) fn error_output() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}

/// Standard input in raw mode, until this is dropped.
pub(super) struct Terminal {
    before: Termios,
}

impl Terminal {
    /// `None` if standard input is not a terminal.
    pub(super) fn make_raw() -> Result<Option<Terminal>> {
        let stdin = input();
        if !isatty(stdin) {
            return Ok(None);
        }
        let what = || "cannot set the terminal to raw mode".to_owned();
        let before = tcgetattr(stdin).system(what)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw).system(what)?;
        Ok(Some(Terminal { before }))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(input(), OptionalActions::Now, &self.before);
    }
}

/// Rows and columns of the terminal on standard output or input.
pub(super) fn terminal_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(output())
        .or_else(|_| tcgetwinsize(input()))
        .ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Writes all bytes. A reader that went away is not an error of the container's: it runs on, and
/// what it says from here on is in its log.
pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut entry = [rustix::event::PollFd::new(
                    &to,
                    rustix::event::PollFlags::OUT,
                )];
                let _ = rustix::event::poll(&mut entry, None);
            }
            Err(_) => return,
        }
    }
}

/// Looks for the sequence of keys that detaches. Bytes of a sequence that was begun are held back
/// until it is clear that it is another one.
pub(super) struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    pub(super) fn new(sequence: &[u8]) -> Self {
        DetachKeys {
            sequence: sequence.to_vec(),
            matched: 0,
        }
    }

    /// Appends to `passed` what is for the program; whether the sequence is complete.
    pub(super) fn filter(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if self.sequence.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return true;
                }
                continue;
            }
            passed.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(self.sequence.first() == Some(&byte));
            if self.matched == 0 {
                passed.push(byte);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8], pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut filter = DetachKeys::new(keys);
        let mut passed = Vec::new();
        let detached = pieces.iter().any(|piece| filter.filter(piece, &mut passed));
        (passed, detached)
    }

    #[test]
    fn the_sequence_detaches_even_in_pieces() {
        assert_eq!(
            typed(b"\x10\x11", &[b"ab\x10\x11cd"]),
            (b"ab".to_vec(), true)
        );
        assert_eq!(
            typed(b"\x10\x11", &[b"ab\x10", b"\x11"]),
            (b"ab".to_vec(), true)
        );
    }

    #[test]
    fn a_begun_sequence_reaches_the_program_when_it_is_another() {
        assert_eq!(
            typed(b"\x10\x11", &[b"\x10", b"x"]),
            (b"\x10x".to_vec(), false)
        );
        assert_eq!(
            typed(b"\x10\x11", &[b"\x10\x10\x11"]),
            (b"\x10".to_vec(), true)
        );
        assert_eq!(typed(b"", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }
}
