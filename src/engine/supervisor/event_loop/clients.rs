//! The commands at the other end of the container's socket: who they are, what they ask, what they
//! still have to be told.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{event::PollFlags, io::Errno};

use super::{
    super::{
        log::Stream,
        protocol::{self, Attachment, Event, MAX_PAYLOAD, Request},
    },
    EventLoop, Source,
    direct::Direct,
    standstill::Standstill,
};
use crate::sys::{packet, poll::PollSet, process};

/// A command that has connected.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) attachment: Attachment,
    detached: bool,
    /// It reads no more.
    deaf: bool,
    pub(super) gone: bool,
    /// It has asked for a health check.
    pub(super) awaits_check: bool,
    /// It has been told of the end, and goes when that has arrived.
    pub(super) leaving: bool,
    pub(super) standstill: Standstill,
    /// Packets that its socket had no room for.
    pub(super) waiting: VecDeque<Vec<u8>>,
    /// Its own streams, if it has handed them over.
    pub(super) direct: [Option<Direct>; 2],
}

impl EventLoop {
    pub(in super::super) fn add_client(&mut self, socket: OwnedFd, attachment: Attachment) {
        let client = Client {
            socket,
            attachment,
            detached: false,
            deaf: false,
            gone: false,
            awaits_check: false,
            leaving: false,
            standstill: Standstill::No,
            waiting: VecDeque::new(),
            direct: [None, None],
        };
        self.clients.push(client);
        if attachment.output && !self.streams.is_terminal {
            // It has handed over its streams, or will not any more.
            self.serve(self.clients.len() - 1, PollFlags::IN);
        }
    }

    pub(super) fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let socket = match rustix::net::accept_with(&self.listener, flags) {
            Ok(socket) => socket,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                // The listener would be called ready again at once.
                self.crowded = true;
                return;
            }
            Err(_) => return,
        };
        // The folder lets nobody else in; this holds if somebody opens it.
        let peer =
            nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials);
        if peer.is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw()) {
            self.add_client(socket, Attachment::default());
        }
    }

    pub(super) fn serve(&mut self, index: usize, ready: PollFlags) {
        if ready.contains(PollFlags::OUT) {
            self.clients[index].flush();
        }
        if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        self.buffer.resize(MAX_PAYLOAD + 1, 0);
        let socket = &self.clients[index].socket;
        let mut descriptors = Vec::new();
        let length = match packet::receive_with(socket, &mut self.buffer, false) {
            Ok((length, received)) => {
                descriptors = received;
                length
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => 0,
        };
        if length == 0 {
            self.clients[index].gone = true;
            let client = &self.clients[index];
            if client.attachment.stdin && !client.detached && !client.leaving {
                self.end_input();
            }
            return;
        }
        let packet = std::mem::take(&mut self.buffer);
        match Request::parse(&packet[..length]) {
            Some(Request::Outputs) => self.clients[index].take_outputs(descriptors),
            Some(request) => self.answer(index, &request),
            None => {}
        }
        self.buffer = packet;
    }

    fn answer(&mut self, index: usize, request: &Request<'_>) {
        match *request {
            Request::Attach(attachment) => {
                self.clients[index].attachment = attachment;
                if self.init.is_some() {
                    self.clients[index].tell(&Event::Started(self.pid));
                }
            }
            // It speaks of a run that is over.
            _ if self.clients[index].leaving => {}
            Request::Input(bytes)
                if self.clients[index].attachment.stdin && self.streams.input.is_some() =>
            {
                self.pending_input.extend_from_slice(bytes);
                self.feed_input();
            }
            Request::Input(_) | Request::Outputs => {}
            Request::InputEnd => self.end_input(),
            Request::Signal(number) => self.signal_init(number),
            Request::Wish(wish) => self.wish = self.wish.and(wish),
            Request::StartNow => self.start_now = self.init.is_none(),
            Request::HoldStill => self.clients[index].standstill = Standstill::Asked,
            Request::StayStill => self.clients[index].standstill = Standstill::ToStay,
            Request::CheckHealth => self.check_health(index),
            Request::Health(plan) => self.change_health(index, plan),
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
    pub(super) fn tidy(&mut self) {
        let attached = self.clients.len();
        self.clients.retain(|client| !client.is_done());
        if self.clients.is_empty() && attached > 0 {
            // Nobody watches any more: from here on this process mostly waits.
            self.buffer = Vec::new();
            process::forget_program_pages();
        }
        self.pending_input.shrink_to(MAX_PAYLOAD);
    }

    /// Hears what has been sent until now, by clients that have only just connected too.
    pub(super) fn hear_clients(&mut self) {
        // More than anybody in earnest says at once.
        const ROUNDS: usize = 64;
        for _ in 0..ROUNDS {
            let mut set = PollSet::with_capacity(1 + self.clients.len());
            if !self.crowded {
                set.add(Source::Listener, self.listener.as_fd(), PollFlags::IN);
            }
            for (index, client) in self.clients.iter().enumerate() {
                if !client.gone {
                    set.add(Source::Client(index), client.socket.as_fd(), PollFlags::IN);
                }
            }
            let Ok(ready) = set.ready_now() else { return };
            if ready.is_empty() {
                return;
            }
            for (source, flags) in ready {
                match source {
                    Source::Client(index) => self.serve(index, flags),
                    _ => self.accept(),
                }
            }
        }
    }

    /// Tells every client of the end. They go when that has arrived; nobody waits for it.
    pub(in super::super) fn let_go(&mut self, code: i32) {
        self.bid_farewell(code);
        self.tidy();
    }

    fn bid_farewell(&mut self, code: i32) {
        let farewell = Event::Exited(code).encode();
        for client in &mut self.clients {
            if !client.leaving {
                client.leaving = true;
                if !client.deaf {
                    client.waiting.push_back(farewell.clone());
                }
            }
            client.flush();
        }
    }

    /// [`Self::let_go`], and waits until everybody has gone. A client that is stopped holds up
    /// nobody else, only the end of this process.
    pub(in super::super) fn say_goodbye(&mut self, code: i32) {
        self.bid_farewell(code);
        loop {
            self.clients.retain(|client| !client.is_done());
            let mut set = PollSet::with_capacity(2 * self.clients.len());
            for (index, client) in self.clients.iter().enumerate() {
                client.add_to(&mut set, index, PollFlags::empty());
            }
            if self.clients.is_empty() {
                return;
            }
            let Ok(ready) = set.wait() else { return };
            for (source, flags) in ready {
                match source {
                    Source::Direct(index, stream) => self.clients[index].advance(stream),
                    Source::Client(index) if flags.intersects(PollFlags::HUP | PollFlags::ERR) => {
                        self.clients[index].gone = true;
                    }
                    Source::Client(index) => self.clients[index].flush(),
                    _ => {}
                }
            }
        }
    }
}

impl Client {
    /// The program is held back until it has taken what it was sent.
    pub(super) fn is_congested(&self) -> bool {
        let direct = self.direct.iter().flatten().any(Direct::is_congested);
        (direct || !self.waiting.is_empty()) && !self.leaving
    }

    pub(super) fn wants_output(&self) -> bool {
        self.attachment.output && !self.deaf && !self.gone && !self.leaving
    }

    fn is_done(&self) -> bool {
        self.gone || (self.leaving && (self.deaf || self.waiting.is_empty()))
    }

    /// Sends a short message, behind what waits already.
    pub(super) fn tell(&mut self, event: &Event<'_>) {
        if !self.deaf {
            self.waiting.push_back(event.encode());
            self.flush();
        }
    }

    /// Nobody reads any more; what was said before may still be here.
    fn grow_deaf(&mut self) {
        self.deaf = true;
        self.waiting.clear();
    }

    /// What it has to be waited for, besides what it may say.
    pub(super) fn add_to<'fd>(
        &'fd self,
        set: &mut PollSet<'fd, Source>,
        index: usize,
        mut flags: PollFlags,
    ) {
        for (stream, direct) in [Stream::Stdout, Stream::Stderr].iter().zip(&self.direct) {
            if let Some(direct) = direct.as_ref().filter(|direct| direct.is_congested()) {
                let source = Source::Direct(index, *stream);
                set.add(source, direct.descriptor(), PollFlags::OUT);
            }
        }
        if !self.waiting.is_empty() && !self.owes_output() {
            flags |= PollFlags::OUT;
        }
        set.add(Source::Client(index), self.socket.as_fd(), flags);
    }

    fn take_outputs(&mut self, descriptors: Vec<OwnedFd>) {
        for (direct, descriptor) in self.direct.iter_mut().zip(descriptors) {
            *direct = Some(Direct::new(descriptor));
        }
    }

    /// A stream of its own has room again.
    pub(super) fn advance(&mut self, stream: Stream) {
        let unread = self.direct[stream as usize]
            .as_mut()
            .and_then(Direct::advance);
        if let Some(unread) = unread {
            // The program goes on; the command finds out in its own way that nobody reads it.
            self.direct[stream as usize] = None;
            if !self.leaving {
                self.give(stream, &unread);
            }
        }
        if self.leaving {
            self.flush();
        }
    }

    /// Nothing else is told before its streams have all that they are to have.
    fn owes_output(&self) -> bool {
        self.leaving && self.direct.iter().flatten().any(Direct::owes)
    }

    pub(super) fn give(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(direct) = &mut self.direct[stream as usize] {
            if direct.give(bytes) {
                return;
            }
            self.direct[stream as usize] = None;
        }
        for packet in bytes.chunks(MAX_PAYLOAD) {
            self.pass_on(stream, packet);
        }
    }

    fn pass_on(&mut self, stream: Stream, bytes: &[u8]) {
        let error_stream = stream == Stream::Stderr;
        if self.waiting.is_empty() {
            match protocol::send_output(&self.socket, error_stream, bytes) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return self.grow_deaf(),
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
        if self.owes_output() {
            return;
        }
        if self.leaving {
            // Whoever reads them sees their end no later than the command does.
            self.direct = [None, None];
        }
        while let Some(packet) = self.waiting.front() {
            match protocol::send_packet(&self.socket, packet, false) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.grow_deaf(),
            }
        }
    }
}
