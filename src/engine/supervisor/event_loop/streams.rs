//! The program's streams: input that it has not taken yet, output to the log and the clients.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{super::log::Stream, EventLoop};
use crate::{
    model::{Context, Result},
    sys::process,
};

/// Read at once: with its records it still fits the processor's nearest large cache.
const PIECE: usize = 256 << 10;
/// What a pipe holds, pipe(7), and what it may be made to hold: all of a user's together have 64 MiB
/// before new ones are made tiny.
const DEFAULT_PIPE: usize = 64 << 10;
pub(super) const LARGE_PIPE: usize = 512 << 10;
/// A program of which so much waits at once writes faster than it is read. Less than a pipe holds:
/// a last page that is not quite full may be followed by nothing.
const MUCH: usize = DEFAULT_PIPE / 2;

/// What came of [`EventLoop::pass_directly`].
enum Passed {
    Nothing,
    /// So many bytes into a pipe of the client with this number.
    Bytes(usize, usize),
    /// The client has no room.
    Later,
}

/// Our ends of the program's streams.
#[derive(Debug, Default)]
pub(in super::super) struct StreamEnds {
    pub(super) input: Option<OwnedFd>,
    pub(super) outputs: Vec<Option<(Stream, OwnedFd)>>,
    pub(super) is_terminal: bool,
    /// Which of the pipes were made larger.
    is_large: [bool; 2],
}

impl StreamEnds {
    pub(in super::super) fn of_pipes(
        input: Option<OwnedFd>,
        output: OwnedFd,
        error_output: OwnedFd,
    ) -> Self {
        let outputs = vec![
            Some((Stream::Stdout, output)),
            Some((Stream::Stderr, error_output)),
        ];
        StreamEnds {
            input,
            outputs,
            is_terminal: false,
            is_large: [false; 2],
        }
    }

    /// A terminal's master is both directions, and both output streams in one.
    pub(in super::super) fn of_terminal(master: OwnedFd) -> Result<Self> {
        let what = || "cannot set up the terminal".to_owned();
        rustix::io::ioctl_fionbio(&master, true).system(what)?;
        let output = master.try_clone().system(what)?;
        Ok(StreamEnds {
            input: Some(master),
            outputs: vec![Some((Stream::Stdout, output))],
            is_terminal: true,
            is_large: [true; 2],
        })
    }
}

impl EventLoop {
    /// Reads what is left in the streams, without waiting: everybody who could write has ended with
    /// the container, or (a descriptor that was passed out of it) does not count.
    pub(super) fn drain(&mut self) {
        // More than any pipe holds. Who has such a descriptor could write for ever.
        const ROUNDS: usize = 1024;
        for _ in 0..ROUNDS {
            let (indices, mut polled): (Vec<usize>, Vec<PollFd<'_>>) = self
                .streams
                .outputs
                .iter()
                .enumerate()
                .filter_map(|(index, output)| Some((index, output.as_ref()?)))
                .map(|(index, (_, output))| (index, PollFd::new(output, PollFlags::IN)))
                .unzip();
            let at_once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            if polled.is_empty() || !matches!(poll(&mut polled, Some(&at_once)), Ok(1..)) {
                break;
            }
            let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
            for (index, ready) in indices.into_iter().zip(ready) {
                // Nobody writes any more, so that an end without input has nothing before it.
                match ready {
                    PollFlags::HUP => self.end_output(index),
                    _ if ready.is_empty() => {}
                    _ => self.read_output(index),
                }
            }
        }
        for index in 0..self.streams.outputs.len() {
            self.end_output(index);
        }
    }

    pub(super) fn feed_input(&mut self) {
        let Some(input) = &self.streams.input else {
            return;
        };
        match rustix::io::write(input, &self.pending_input) {
            Ok(written) => {
                self.pending_input.drain(..written);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // The program has closed its end: the rest goes nowhere.
            Err(_) => {
                self.pending_input.clear();
                self.close_input();
            }
        }
        if self.pending_input.is_empty() && self.input_ended {
            self.close_input();
        }
    }

    fn close_input(&mut self) {
        if !self.streams.is_terminal {
            self.streams.input = None;
        }
    }

    /// A client has no more input.
    pub(super) fn end_input(&mut self) {
        if !self.input_once {
            return;
        }
        self.input_ended = true;
        if self.pending_input.is_empty() {
            self.close_input();
        }
    }

    pub(super) fn read_output(&mut self, index: usize) {
        let Some((stream, output)) = &self.streams.outputs[index] else {
            return;
        };
        let stream = *stream;
        self.busy = true;
        let (first, most) = match self.pass_directly(stream, output) {
            Passed::Nothing => (None, PIECE),
            Passed::Bytes(client, count) => (Some(client), count),
            // What is left when the container has ended is kept for the client.
            Passed::Later if self.exit_code.is_some() => (None, PIECE),
            Passed::Later => return,
        };
        self.buffer.resize(PIECE, 0);
        let count = match rustix::io::read(output, &mut self.buffer[..most]) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            // A terminal whose other side is closed.
            Err(_) => 0,
        };
        if count >= MUCH && !self.streams.is_large[index] {
            // The program is faster than this: larger pieces cost both less. Best effort.
            self.streams.is_large[index] = true;
            let _ = rustix::pipe::fcntl_setpipe_size(output, LARGE_PIPE);
        }
        if count == 0 {
            self.end_output(index);
            return;
        }
        let bytes = &self.buffer[..count];
        if let Some(log) = &mut self.log {
            log.write(stream, bytes);
        }
        let clients = self.clients.iter_mut().enumerate();
        for (_, client) in
            clients.filter(|(number, client)| client.wants_output() && Some(*number) != first)
        {
            client.give(stream, bytes);
        }
    }

    /// Duplicates output into a client's pipe, without copying it (tee(2)); it is still to be read.
    fn pass_directly(&self, stream: Stream, output: &OwnedFd) -> Passed {
        for (number, client) in self.clients.iter().enumerate() {
            let Some(direct) = &client.direct[stream as usize] else {
                continue;
            };
            if client.wants_output() && direct.takes_pages() {
                return match direct.duplicate(output, PIECE) {
                    Ok(0) => Passed::Nothing,
                    Ok(count) => Passed::Bytes(number, count),
                    Err(rustix::io::Errno::AGAIN) => Passed::Later,
                    // No reader any more, most likely: it is found out by writing.
                    Err(_) => Passed::Nothing,
                };
            }
        }
        Passed::Nothing
    }

    /// Gives back the room of a busy time.
    pub(super) fn rest(&mut self) {
        self.busy = false;
        self.buffer = Vec::new();
        if let Some(log) = &mut self.log {
            log.rest();
        }
        let streams = &mut self.streams;
        for (output, is_large) in streams.outputs.iter().zip(&mut streams.is_large) {
            if let Some((_, pipe)) = output
                && *is_large
                && !streams.is_terminal
            {
                *is_large = rustix::pipe::fcntl_setpipe_size(pipe, DEFAULT_PIPE).is_err();
            }
        }
        process::forget_program_pages();
    }

    /// A stream that has ended leaves an empty place, so that the numbers of this round stay right.
    pub(super) fn end_output(&mut self, index: usize) {
        if let Some((stream, _)) = self.streams.outputs[index].take()
            && let Some(log) = &mut self.log
        {
            log.end(stream);
        }
    }
}
