//! This command's own terminal and streams, lent to a container: what passes here is the
//! container's word, not ours (that is `cmd::ui`'s).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getpgrp;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};

use crate::{
    model::{Context, Result},
    sys::signals,
};

pub(super) fn input() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

pub(super) fn input_is_terminal() -> bool {
    isatty(input())
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
    /// `None` if standard input is not a terminal. In the background this stops the command, as for
    /// every program that wants the terminal (SIGTTOU), until it is brought to the front.
    pub(super) fn make_raw() -> Result<Option<Terminal>> {
        let stdin = input();
        if !isatty(stdin) {
            return Ok(None);
        }
        let what = || "cannot set the terminal to raw mode".to_owned();
        let before = tcgetattr(stdin).system(what)?;
        let terminal = Terminal { before };
        terminal.take().system(what)?;
        Ok(Some(terminal))
    }

    /// Raw again, after this command stood still: a shell sets its own modes meanwhile.
    pub(super) fn take(&self) -> std::result::Result<(), rustix::io::Errno> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(input(), OptionalActions::Now, &raw)
    }

    /// As it was. A terminal that is gone, or that belongs to somebody else by now (a shell that put
    /// this command into the background), is left alone.
    pub(super) fn give_back(&self) {
        let in_front = tcgetpgrp(input()).map(|group| group == getpgrp());
        if in_front != Ok(false) {
            let _ = tcsetattr(input(), OptionalActions::Now, &self.before);
        }
    }

    /// What must not end or stop this command, or let it go on, without a word to the terminal.
    pub(super) const SIGNALS: [i32; 6] = [
        libc::SIGTSTP,
        libc::SIGCONT,
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
    ];

    /// Acts on a caught signal that stops this command or lets it go on; whether it was one.
    pub(super) fn suspend_or_resume(&self, signal: i32) -> bool {
        match signal {
            libc::SIGTSTP => {
                self.give_back();
                signals::stop_here();
            }
            libc::SIGCONT => {}
            _ => return false,
        }
        // A terminal that is gone tells so by its end of file.
        let _ = self.take();
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Rows and columns of the terminal on standard output or input.
pub(super) fn terminal_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(output())
        .or_else(|_| tcgetwinsize(input()))
        .ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// What a write to somebody else's descriptor may hold without waiting once poll(2) calls it
/// writable: `PIPE_BUF`, pipe(7). Those streams are shared with the caller, so they cannot be made
/// non-blocking.
pub(super) const WITHOUT_WAITING: usize = 4096;

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Going,
    /// The reader of a pipe went away (EPIPE).
    NoReader,
    /// The place takes nothing (a full disk, a terminal that hung up): that is not the container's
    /// fault, which runs on; what it said is in its log.
    Dropped,
}

/// Bytes on their way to a reader that may be slow. Nothing is read for it while there are any, so
/// they are few; and nobody waits for it, so signals and the other direction go on.
#[derive(Debug, Default)]
pub(super) struct Outflow {
    pending: Vec<u8>,
    written: usize,
}

impl Outflow {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Writes at most `limit` bytes to a descriptor that poll(2) calls writable.
    pub(super) fn advance(&mut self, to: impl AsFd, limit: usize) -> Flow {
        let rest = &self.pending[self.written..];
        match rustix::io::write(to, &rest[..rest.len().min(limit)]) {
            Ok(count) => self.written += count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(errno) => {
                self.clear();
                return match errno {
                    rustix::io::Errno::PIPE => Flow::NoReader,
                    _ => Flow::Dropped,
                };
            }
        }
        if self.written == self.pending.len() {
            self.clear();
        }
        Flow::Going
    }

    /// Writes what is left, however long it takes.
    pub(super) fn finish(&mut self, to: impl AsFd) {
        while !self.is_empty() {
            let mut entry = [PollFd::new(&to, PollFlags::OUT)];
            let _ = poll(&mut entry, None);
            self.advance(&to, WITHOUT_WAITING);
        }
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.written = 0;
    }
}

/// What a read brought.
pub(super) enum Input {
    Bytes(usize),
    /// Try again when poll(2) says so.
    Later,
    Ended,
}

/// Reads from a descriptor that poll(2) calls readable. A terminal whose other side is closed fails
/// with EIO: that is its end.
pub(super) fn read(from: impl AsFd, buffer: &mut [u8]) -> Input {
    match rustix::io::read(from, buffer) {
        Ok(0) => Input::Ended,
        Ok(count) => Input::Bytes(count),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Input::Later,
        Err(_) => Input::Ended,
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
        if self.sequence.is_empty() {
            passed.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            // What was begun may end in the beginning of another try (`aab` in `aaab`).
            while self.matched > 0 && self.sequence[self.matched] != byte {
                passed.push(self.sequence[0]);
                let held = &self.sequence[1..self.matched];
                let shorter = (0..=held.len())
                    .rev()
                    .find(|&length| held.ends_with(&self.sequence[..length]))
                    .unwrap_or(0);
                passed.extend_from_slice(&held[..held.len() - shorter]);
                self.matched = shorter;
            }
            if self.sequence[self.matched] != byte {
                passed.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.sequence.len() {
                return true;
            }
        }
        false
    }

    /// What was held back, once nothing more can come.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.matched);
        self.sequence[..held].to_vec()
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
        assert_eq!(typed(b"aab", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(typed(b"aab", &[b"a", b"a", b"c"]), (b"aac".to_vec(), false));
        assert_eq!(typed(b"abab!", &[b"ababab!"]), (b"ab".to_vec(), true));
    }

    #[test]
    fn nothing_typed_is_lost_at_the_end() {
        let (mut keys, mut passed) = (DetachKeys::new(b"\x10\x11"), Vec::new());
        assert!(!keys.filter(b"x\x10", &mut passed));
        assert_eq!((passed, keys.rest()), (b"x".to_vec(), vec![0x10]));
        assert_eq!(keys.rest(), b"");
    }
}
