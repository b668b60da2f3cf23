//! Clients that ask over TCP: each message after its length in two octets (RFC 1035, 4.2.2), several
//! of them on one connection, answered in any order (RFC 7766).
//!
//! What they make us hold is bounded: so many connections, on each so many questions under way and
//! so much of an answer that is not taken, and none of them for ever.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::event::epoll::{self, EventData, EventFlags};

const MOST_CONNECTIONS: usize = 32;
/// Questions of a connection that wait for a server.
const MOST_UNDER_WAY: usize = 16;
/// Octets of answers that a client has not taken, beyond which nothing more is read of it.
const MOST_OUTPUT: usize = 64 << 10;
/// Without a question or an answer.
const IDLE: Duration = Duration::from_secs(10);

/// The connections, by their token in the event loop.
#[derive(Debug, Default)]
pub struct Clients {
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    under_way: usize,
    /// The client sends no more.
    ended: bool,
    heard: Instant,
}

impl Clients {
    /// Takes a connection in; if there are too many, the one that was quiet longest goes.
    pub fn add(&mut self, epoll: &OwnedFd, token: u64, stream: TcpStream, now: Instant) {
        if self.connections.len() >= MOST_CONNECTIONS {
            let quietest = self.connections.iter().min_by_key(|(_, one)| one.heard);
            if let Some(token) = quietest.map(|(token, _)| *token) {
                self.connections.remove(&token);
            }
        }
        let nonblocking = stream.set_nonblocking(true).is_ok();
        let data = EventData::new_u64(token);
        if nonblocking && epoll::add(epoll, &stream, data, EventFlags::IN).is_ok() {
            let connection = Connection {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                under_way: 0,
                ended: false,
                heard: now,
            };
            self.connections.insert(token, connection);
        }
    }

    pub fn has(&self, token: u64) -> bool {
        self.connections.contains_key(&token)
    }

    /// Reads and writes what can be at once.
    pub fn ready(&mut self, token: u64, flags: EventFlags, buffer: &mut [u8], now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        connection.heard = now;
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let readable = flags.contains(EventFlags::IN) && connection.wants_input();
        if broken || (readable && !connection.read(buffer)) || !connection.write() {
            self.connections.remove(&token);
        }
    }

    /// The next whole question of a client that has not too many under way.
    pub fn next_message(&mut self, token: u64) -> Option<Vec<u8>> {
        let connection = self.connections.get_mut(&token)?;
        if connection.under_way >= MOST_UNDER_WAY || connection.output.len() >= MOST_OUTPUT {
            return None;
        }
        let length = usize::from(u16::from_be_bytes(*connection.input.first_chunk()?));
        let message = connection.input.get(2..2 + length)?.to_vec();
        connection.input.drain(..2 + length);
        connection.under_way += 1;
        Some(message)
    }

    /// An answer, or `None` if there will not be any.
    pub fn answer(&mut self, token: u64, answer: Option<&[u8]>, now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        connection.under_way = connection.under_way.saturating_sub(1);
        connection.heard = now;
        if let Some(answer) = answer
            && let Ok(length) = u16::try_from(answer.len())
        {
            connection.output.extend(length.to_be_bytes());
            connection.output.extend(answer);
        }
        if !connection.write() {
            self.connections.remove(&token);
        }
    }

    /// Asks the event loop for what the connection needs next, or lets go of one that is done.
    pub fn settle(&mut self, epoll: &OwnedFd, token: u64) {
        let Some(connection) = self.connections.get(&token) else {
            return;
        };
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, connection.wants_input());
        flags.set(EventFlags::OUT, !connection.output.is_empty());
        let data = EventData::new_u64(token);
        let failed = epoll::modify(epoll, &connection.stream, data, flags).is_err();
        if failed || connection.is_done() {
            self.connections.remove(&token);
        }
    }

    /// When the first of them has been idle for too long.
    pub fn deadline(&self) -> Option<Instant> {
        let heard = self.connections.values().map(|one| one.heard);
        heard.min().map(|first| first + IDLE)
    }

    pub fn expire(&mut self, now: Instant) {
        self.connections
            .retain(|_, connection| now < connection.heard + IDLE);
    }
}

impl Connection {
    fn wants_input(&self) -> bool {
        !self.ended && self.under_way < MOST_UNDER_WAY && self.output.len() < MOST_OUTPUT
    }

    fn is_done(&self) -> bool {
        self.ended && self.under_way == 0 && self.output.is_empty()
    }

    /// Once: what is left is told again. `false` if the connection has broken.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.input.extend(&buffer[..count]),
            Err(error) => return passes(&error),
        }
        true
    }

    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return passes(&error),
            }
        }
        true
    }
}

/// Whether it is only too early.
pub fn passes(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock)
}
