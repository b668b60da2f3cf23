//! What a command does while it watches a container: its terminal and streams on one side, the
//! supervisor's socket on the other.
//!
//! The command only copies. If it is killed, the container goes on; if the supervisor is, the
//! socket closes and the command says so.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

use super::streams::{self, DetachKeys, Terminal, write_all};
use crate::{
    engine::{
        AttachOptions,
        supervisor::protocol::{Attachment, Event, MAX_PAYLOAD, Request},
    },
    model::{Context, Error, ErrorKind, Result},
    sys::{packet, signals},
};

pub(super) use super::streams::terminal_size;

/// Waits for the supervisor's word that the program runs.
pub(super) fn await_start(socket: &OwnedFd) -> Result<()> {
    // A failure's text is the longest first word.
    let mut buffer = vec![0; 16 << 10];
    let (length, _) = packet::receive(socket, &mut buffer, true)
        .system(|| "cannot hear from the supervisor".to_owned())?;
    match Event::parse(&buffer[..length]) {
        Some(Event::Started(_)) => Ok(()),
        Some(Event::Failed { kind, message }) => Err(Error::new(kind, message)),
        _ => Err(Error::new(
            ErrorKind::System,
            "the container's supervisor ended before it could start the container",
        )),
    }
}

pub(super) struct Session<'a> {
    pub socket: OwnedFd,
    /// The container has a terminal.
    pub terminal: bool,
    pub attachment: Attachment,
    pub options: &'a AttachOptions,
}

impl Session<'_> {
    /// Copies until the container ends: its exit code, or `None` if the user detached.
    pub(super) fn run(&self) -> Result<Option<i32>> {
        let what = || "cannot watch the container".to_owned();
        let _raw = if self.terminal && self.attachment.stdin {
            Terminal::make_raw()?
        } else {
            None
        };
        // Signals become readable, so that none is lost between two reads.
        let caught = self.caught_signals();
        let before = signals::block_only(&caught).system(what)?;
        let pending = signals::descriptor(&caught).system(what)?;
        let outcome = self.copy(&pending);
        signals::block_only(&before).system(what)?;
        outcome
    }

    /// Without a proxy the usual signals act on this command alone.
    fn caught_signals(&self) -> signals::SignalSet {
        const TO_US: [i32; 1] = [libc::SIGWINCH];
        const FORWARDED: [i32; 9] = [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGTERM,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGALRM,
            libc::SIGCONT,
            libc::SIGWINCH,
        ];
        signals::SignalSet::of(if self.options.sig_proxy {
            &FORWARDED
        } else {
            &TO_US
        })
    }

    fn copy(&self, pending: &OwnedFd) -> Result<Option<i32>> {
        let what = || "cannot watch the container".to_owned();
        let mut keys = DetachKeys::new(&self.options.detach_keys);
        let mut input_open = self.attachment.stdin;
        let mut buffer = vec![0; MAX_PAYLOAD + 1];
        let stdin = streams::input();
        loop {
            let mut polled = vec![
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(pending.as_fd(), PollFlags::IN),
            ];
            if input_open {
                polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
            match poll(&mut polled, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno).system(what),
            }
            let ready: Vec<bool> = polled
                .iter()
                .map(|entry| !entry.revents().is_empty())
                .collect();
            if ready[1] {
                self.forward_signals(pending)?;
            }
            if ready.get(2) == Some(&true) {
                match self.forward_input(&mut keys, &mut buffer)? {
                    Input::More => {}
                    Input::Ended => input_open = false,
                    Input::Detached => return Ok(None),
                }
            }
            if ready[0]
                && let Some(code) = self.show(&mut buffer)?
            {
                return Ok(Some(code));
            }
        }
    }

    fn forward_signals(&self, pending: &OwnedFd) -> Result<()> {
        while let Some(signal) =
            signals::next(pending).system(|| "cannot read signals".to_owned())?
        {
            let request = match signal {
                libc::SIGWINCH => match terminal_size().filter(|_| self.terminal) {
                    Some((rows, columns)) => Request::Resize { rows, columns },
                    None => continue,
                },
                // The container was not stopped when we were.
                libc::SIGCONT => continue,
                other => Request::Signal(other),
            };
            // A supervisor that is gone is noticed at its socket.
            let _ = request.send(&self.socket);
        }
        Ok(())
    }

    fn forward_input(&self, keys: &mut DetachKeys, buffer: &mut [u8]) -> Result<Input> {
        let count = match rustix::io::read(streams::input(), &mut buffer[..MAX_PAYLOAD / 2]) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(Input::More),
            // A terminal that hung up.
            Err(_) => 0,
        };
        if count == 0 {
            let _ = Request::InputEnd.send(&self.socket);
            return Ok(Input::Ended);
        }
        let mut passed = Vec::with_capacity(count);
        let detached = if self.terminal {
            keys.filter(&buffer[..count], &mut passed)
        } else {
            passed.extend_from_slice(&buffer[..count]);
            false
        };
        if !passed.is_empty() {
            let _ = Request::Input(&passed).send(&self.socket);
        }
        if detached {
            let _ = Request::Detach.send(&self.socket);
            return Ok(Input::Detached);
        }
        Ok(Input::More)
    }

    /// Shows what the supervisor sent; the exit code when the container has ended.
    fn show(&self, buffer: &mut [u8]) -> Result<Option<i32>> {
        let (length, _) = packet::receive(&self.socket, buffer, true)
            .system(|| "cannot hear from the supervisor".to_owned())?;
        if length == 0 {
            return Err(Error::new(
                ErrorKind::System,
                "the container's supervisor was killed, and the container with it",
            ));
        }
        match Event::parse(&buffer[..length]) {
            Some(Event::Output(bytes)) => write_all(streams::output(), bytes),
            Some(Event::ErrorOutput(bytes)) => write_all(streams::error_output(), bytes),
            Some(Event::Exited(code)) => return Ok(Some(code)),
            _ => {}
        }
        Ok(None)
    }
}

enum Input {
    More,
    Ended,
    Detached,
}
