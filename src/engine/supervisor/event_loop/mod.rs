//! The supervisor's one loop: it waits on descriptors only (poll(2) on pidfd, signalfd, sockets,
//! pipes, the timer of `--timeout`), with no threads.
//!
//! Output goes to the log first, then to every attached client. A client that does not keep up
//! holds the program back, as a full pipe would; nothing is dropped.

mod clients;
mod streams;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    event::{PollFlags, Timespec},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

use self::clients::Client;
pub(super) use self::streams::StreamEnds;
use super::{log::LogWriter, orphans::Orphans};
use crate::{
    model::{Context, Result},
    sys::{poll::PollSet, process, signals},
};

#[derive(Debug)]
pub(super) struct EventLoop<'a> {
    init: &'a OwnedFd,
    listener: OwnedFd,
    signals: Option<OwnedFd>,
    orphans: Option<Orphans>,
    timer: Option<OwnedFd>,
    streams: StreamEnds,
    /// Input that the program has not taken yet; no more is accepted meanwhile.
    pending_input: Vec<u8>,
    input_ended: bool,
    log: Option<LogWriter>,
    clients: Vec<Client>,
    exit_code: Option<i32>,
    buffer: Vec<u8>,
}

/// What a descriptor that has become ready belongs to.
#[derive(Clone, Copy, Debug)]
enum Source {
    Init,
    Listener,
    Signals,
    Timer,
    Input,
    Output(usize),
    Client(usize),
}

impl<'a> EventLoop<'a> {
    pub(super) fn new(
        init: &'a OwnedFd,
        listener: OwnedFd,
        streams: StreamEnds,
        log: Option<LogWriter>,
    ) -> Self {
        EventLoop {
            init,
            listener,
            // The container's end is told by its pidfd.
            signals: signals::descriptor(&signals::SignalSet::all().without(libc::SIGCHLD)).ok(),
            orphans: None,
            timer: None,
            streams,
            pending_input: Vec::new(),
            input_ended: false,
            log,
            clients: Vec::new(),
            exit_code: None,
            buffer: Vec::new(),
        }
    }

    /// The container has no pid namespace of its own: orphans are reaped, and whoever is left when
    /// the first process has ended is killed.
    pub(super) fn look_after(&mut self, orphans: Orphans) {
        self.orphans = Some(orphans);
        self.signals = signals::descriptor(&signals::SignalSet::all()).ok();
    }

    /// Kills the first process after so many seconds.
    pub(super) fn end_after(&mut self, seconds: u32) -> Result<()> {
        let timer = timer(seconds).system(|| "cannot set the timer of --timeout".to_owned())?;
        self.timer = Some(timer);
        Ok(())
    }

    /// Runs until the container has ended and all its output has been read; its exit code.
    pub(super) fn run_until_exit(&mut self) -> Result<i32> {
        loop {
            if let Some(code) = self.exit_code {
                self.drain();
                return Ok(code);
            }
            for (source, ready) in self.wait()? {
                match source {
                    Source::Init => self.note_end()?,
                    Source::Timer => {
                        self.timer = None;
                        let _ = process::signal(self.init, libc::SIGKILL);
                    }
                    Source::Listener => self.accept(),
                    Source::Signals => self.forward_signal(),
                    Source::Input => self.feed_input(),
                    Source::Output(index) => self.read_output(index),
                    Source::Client(index) => self.serve(index, ready),
                }
            }
            self.tidy();
        }
    }

    fn note_end(&mut self) -> Result<()> {
        let code = process::reap(self.init).system(|| "cannot reap the container".to_owned())?;
        if let Some(orphans) = self.orphans.take() {
            // A /proc that cannot be read must not hide the end.
            let _ = orphans.end_all();
        }
        self.exit_code = Some(code);
        Ok(())
    }

    /// Waits for the next events. Whatever would only pile up is not waited for.
    fn wait(&mut self) -> Result<Vec<(Source, PollFlags)>> {
        let congested = self.clients.iter().any(|client| !client.waiting.is_empty());
        let mut set = PollSet::with_capacity(6 + self.clients.len());
        set.add(Source::Init, self.init.as_fd(), PollFlags::IN);
        set.add(Source::Listener, self.listener.as_fd(), PollFlags::IN);
        if let Some(signals) = &self.signals {
            set.add(Source::Signals, signals.as_fd(), PollFlags::IN);
        }
        if let Some(timer) = &self.timer {
            set.add(Source::Timer, timer.as_fd(), PollFlags::IN);
        }
        if let Some(input) = &self.streams.input
            && !self.pending_input.is_empty()
        {
            set.add(Source::Input, input.as_fd(), PollFlags::OUT);
        }
        if !congested {
            for (index, output) in self.streams.outputs.iter().enumerate() {
                let Some((_, output)) = output else { continue };
                set.add(Source::Output(index), output.as_fd(), PollFlags::IN);
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if self.pending_input.is_empty() {
                flags |= PollFlags::IN;
            }
            if !client.waiting.is_empty() {
                flags |= PollFlags::OUT;
            }
            set.add(Source::Client(index), client.socket.as_fd(), flags);
        }
        set.wait().system(|| "cannot wait for events".to_owned())
    }

    /// A signal to the supervisor (a shutdown, most likely) is meant for the container.
    fn forward_signal(&mut self) {
        let Some(descriptor) = &self.signals else {
            return;
        };
        while let Ok(Some(number)) = signals::next(descriptor) {
            if number == libc::SIGCHLD {
                if let Some(orphans) = &self.orphans {
                    orphans.reap();
                }
            } else if number != libc::SIGPIPE {
                let _ = process::signal(self.init, number);
            }
        }
    }
}

/// Becomes readable after so many seconds, timerfd_create(2).
fn timer(seconds: u32) -> io::Result<OwnedFd> {
    let nothing = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let after = Itimerspec {
        it_interval: nothing,
        it_value: Timespec {
            tv_sec: seconds.into(),
            tv_nsec: 0,
        },
    };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &after)?;
    Ok(timer)
}
