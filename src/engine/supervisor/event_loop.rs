//! The supervisor's one loop: it waits on descriptors only (poll(2) on pidfd, signalfd, sockets,
//! pipes, the timer of `--timeout`), with no threads.
//!
//! Output goes to the log first, then to every attached client. A client that does not keep up
//! holds the program back, as a full pipe would; nothing is dropped.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

use super::{
    log::{LogWriter, Stream},
    orphans::Orphans,
    protocol::{self, Attachment, Event, MAX_PAYLOAD, Request},
};
use crate::{
    model::{Context, Result},
    sys::{packet, poll::PollSet, process, signals},
};

/// Our ends of the program's streams.
#[derive(Debug, Default)]
pub(super) struct StreamEnds {
    input: Option<OwnedFd>,
    outputs: Vec<Option<(Stream, OwnedFd)>>,
    is_terminal: bool,
}

impl StreamEnds {
    pub(super) fn of_pipes(input: Option<OwnedFd>, output: OwnedFd, error_output: OwnedFd) -> Self {
        let outputs = vec![
            Some((Stream::Stdout, output)),
            Some((Stream::Stderr, error_output)),
        ];
        StreamEnds {
            input,
            outputs,
            is_terminal: false,
        }
    }

    /// A terminal's master is both directions, and both output streams in one.
    pub(super) fn of_terminal(master: OwnedFd) -> Result<Self> {
        let what = || "cannot set up the terminal".to_owned();
        rustix::io::ioctl_fionbio(&master, true).system(what)?;
        let output = master.try_clone().system(what)?;
        Ok(StreamEnds {
            input: Some(master),
            outputs: vec![Some((Stream::Stdout, output))],
            is_terminal: true,
        })
    }
}

/// A command that has connected.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    attachment: Attachment,
    detached: bool,
    gone: bool,
    /// Packets that its socket had no room for.
    waiting: VecDeque<Vec<u8>>,
}

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

    pub(super) fn add_client(&mut self, socket: OwnedFd, attachment: Attachment) {
        let client = Client {
            socket,
            attachment,
            detached: false,
            gone: false,
            waiting: VecDeque::new(),
        };
        self.clients.push(client);
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

    /// Reads what is left in the streams, without waiting: everybody who could write has ended with
    /// the container, or (a descriptor that was passed out of it) does not count.
    fn drain(&mut self) {
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
            let ready: Vec<bool> = polled
                .iter()
                .map(|entry| !entry.revents().is_empty())
                .collect();
            for (index, _) in indices.into_iter().zip(ready).filter(|(_, ready)| *ready) {
                self.read_output(index);
            }
        }
        for index in 0..self.streams.outputs.len() {
            self.end_output(index);
        }
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

    fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else {
            return;
        };
        // The folder lets nobody else in; this holds if somebody opens it.
        let peer =
            nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials);
        if peer.is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw()) {
            self.add_client(socket, Attachment::default());
        }
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

    fn feed_input(&mut self) {
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

    fn end_input(&mut self) {
        self.input_ended = true;
        if self.pending_input.is_empty() {
            self.close_input();
        }
    }

    fn read_output(&mut self, index: usize) {
        let Some((stream, output)) = &self.streams.outputs[index] else {
            return;
        };
        let stream = *stream;
        self.buffer.resize(MAX_PAYLOAD, 0);
        let count = match rustix::io::read(output, &mut self.buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            // A terminal whose other side is closed.
            Err(_) => 0,
        };
        if count == 0 {
            self.end_output(index);
            return;
        }
        let bytes = &self.buffer[..count];
        if let Some(log) = &mut self.log {
            // A full disk must not stop the program; its output still reaches the clients.
            let _ = log.write(stream, bytes);
        }
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.attachment.output && !client.gone)
        {
            client.give(stream, bytes);
        }
    }

    /// A stream that has ended leaves an empty place, so that the numbers of this round stay right.
    fn end_output(&mut self, index: usize) {
        if let Some((stream, _)) = self.streams.outputs[index].take()
            && let Some(log) = &mut self.log
        {
            let _ = log.end(stream);
        }
    }

    fn serve(&mut self, index: usize, ready: PollFlags) {
        if ready.contains(PollFlags::OUT) {
            self.clients[index].flush();
        }
        if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        self.buffer.resize(MAX_PAYLOAD + 1, 0);
        let received = packet::receive(&self.clients[index].socket, &mut self.buffer, false);
        let length = match received {
            Ok((length, _)) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => 0,
        };
        if length == 0 {
            self.clients[index].gone = true;
            let client = &self.clients[index];
            // Docker's StdinOnce: who was attached to the input ends it by going.
            if client.attachment.stdin && !client.detached {
                self.end_input();
            }
            return;
        }
        let packet = std::mem::take(&mut self.buffer);
        if let Some(request) = Request::parse(&packet[..length]) {
            self.answer(index, &request);
        }
        self.buffer = packet;
    }

    fn answer(&mut self, index: usize, request: &Request<'_>) {
        match *request {
            Request::Attach(attachment) => self.clients[index].attachment = attachment,
            Request::Input(bytes)
                if self.clients[index].attachment.stdin && self.streams.input.is_some() =>
            {
                self.pending_input.extend_from_slice(bytes);
                self.feed_input();
            }
            Request::Input(_) => {}
            Request::InputEnd => self.end_input(),
            Request::Signal(number) => {
                let _ = process::signal(self.init, number);
            }
            Request::Detach => self.clients[index].detached = true,
            Request::Resize { rows, columns } => {
                if let Some(terminal) = self
                    .streams
                    .input
                    .as_ref()
                    .filter(|_| self.streams.is_terminal)
                {
                    let size = rustix::termios::Winsize {
                        ws_row: rows,
                        ws_col: columns,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    let _ = rustix::termios::tcsetwinsize(terminal, size);
                }
            }
        }
    }

    /// Drops what has ended since the last round, and the room of a busy one.
    fn tidy(&mut self) {
        let attached = self.clients.len();
        self.clients.retain(|client| !client.gone);
        if self.clients.is_empty() && attached > 0 {
            // Nobody watches any more: from here on this process mostly waits.
            self.buffer = Vec::new();
            process::forget_program_pages();
        }
        self.pending_input.shrink_to(MAX_PAYLOAD);
    }

    /// Sends every client what it still waits for, and then the end. A client that is stopped
    /// holds up nobody else, only the end of this process.
    pub(super) fn say_goodbye(&mut self, code: i32) {
        let farewell = Event::Exited(code).encode();
        for client in &mut self.clients {
            client.waiting.push_back(farewell.clone());
            client.flush();
        }
        loop {
            self.clients
                .retain(|client| !client.gone && !client.waiting.is_empty());
            let mut polled: Vec<PollFd<'_>> = self
                .clients
                .iter()
                .map(|client| PollFd::new(&client.socket, PollFlags::OUT))
                .collect();
            if polled.is_empty()
                || matches!(poll(&mut polled, None), Err(errno) if errno != rustix::io::Errno::INTR)
            {
                return;
            }
            let ready: Vec<bool> = polled
                .iter()
                .map(|entry| !entry.revents().is_empty())
                .collect();
            for (client, _) in self
                .clients
                .iter_mut()
                .zip(ready)
                .filter(|(_, ready)| *ready)
            {
                client.flush();
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

impl Client {
    fn give(&mut self, stream: Stream, bytes: &[u8]) {
        let error_stream = stream == Stream::Stderr;
        if self.waiting.is_empty() {
            match protocol::send_output(&self.socket, error_stream, bytes) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        let event = if error_stream {
            Event::ErrorOutput(bytes)
        } else {
            Event::Output(bytes)
        };
        self.waiting.push_back(event.encode());
    }

    fn flush(&mut self) {
        while let Some(packet) = self.waiting.front() {
            match protocol::send_packet(&self.socket, packet, false) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }
}
