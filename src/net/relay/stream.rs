//! One TCP connection as a pair of sockets: what comes out of one goes into the other.
//!
//! Each direction begins with a buffer that all share: for small messages two calls are less than
//! three. After a large read it goes by way of a pipe (splice(2)): the bytes are never copied, and
//! segments that the kernel has joined stay joined. It goes back when the reads get small.
//!
//! Both sockets are watched edge-triggered for everything at once, so nothing is ever changed about
//! that; what the kernel has said is kept in [`Side`].

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown},
    pipe::SpliceFlags,
};

use super::{
    packet::Tuple,
    pipes::{PIPE, Pipe, Pipes},
};
use crate::sys::socket;

/// Rounds a direction has before it is another connection's turn.
const ROUNDS: usize = 16;
/// A read of this size is worth a pipe.
const LARGE: usize = 32 << 10;
/// One by way of a pipe that is smaller is not.
const SMALL: usize = 4 << 10;

/// What is to be done with a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Wait for an event.
    Wait,
    /// It has more to do, when it is its turn again.
    Again,
    /// Both directions have ended.
    Over,
    /// It is broken: both ends are to see a reset.
    Broken,
}

/// One of the two sockets.
#[derive(Debug)]
struct Side {
    socket: OwnedFd,
    readable: bool,
    writable: bool,
    /// The peer has closed: there is an end to read, however short the reads are.
    ending: bool,
}

/// One of the two directions.
#[derive(Debug, Default)]
struct Direction {
    /// Read and not yet written, from `written` on.
    rest: Vec<u8>,
    written: usize,
    /// A pipe, while something is in it, and how much.
    pipe: Option<(Pipe, usize)>,
    splicing: bool,
    /// The end was read.
    ended: bool,
    /// And passed on.
    closed: bool,
}

#[derive(Debug)]
pub struct Stream {
    sides: [Side; 2],
    directions: [Direction; 2],
    /// In which direction the first bytes go is not known before the second side is connected.
    connected: bool,
    /// What it is called in the trap's list, if it came from there.
    pub tuple: Option<Tuple>,
    /// It is in the list of those that have more to do.
    pub waits_its_turn: bool,
}

impl Stream {
    /// Of a socket in the container's direction and one in the world's. The second is connected
    /// already, and so is the first if `connected`.
    pub fn new(inside: OwnedFd, outside: OwnedFd, connected: bool, tuple: Option<Tuple>) -> Self {
        let side = |socket| Side {
            socket,
            // What is there when it begins to be watched is told.
            readable: false,
            writable: true,
            ending: false,
        };
        Stream {
            sides: [side(inside), side(outside)],
            directions: [Direction::default(), Direction::default()],
            connected,
            tuple,
            waits_its_turn: false,
        }
    }

    pub fn sockets(&self) -> [&OwnedFd; 2] {
        [&self.sides[0].socket, &self.sides[1].socket]
    }

    /// The container's address.
    pub fn container(&self) -> Option<IpAddr> {
        let peer = rustix::net::getpeername(&self.sides[0].socket).ok()??;
        Some(SocketAddr::try_from(peer).ok()?.ip())
    }

    /// Notes what the kernel says about a side.
    pub fn happened(&mut self, side: usize, events: EventFlags) -> Turn {
        let state = &mut self.sides[side];
        let error = events.contains(EventFlags::ERR);
        if error && (!self.connected || self.directions[side].ended) {
            return Turn::Broken;
        }
        // What came before a reset is still there to be read, and then the reset.
        let ending = error || events.intersects(EventFlags::RDHUP | EventFlags::HUP);
        state.readable |= ending || events.contains(EventFlags::IN);
        state.writable |= error || events.contains(EventFlags::OUT);
        state.ending |= ending;
        if !self.connected {
            // Neither end nor error: this is the answer to our SYN.
            self.connected = side == 0 && events.contains(EventFlags::OUT);
        }
        Turn::Again
    }

    /// Moves what can be moved.
    pub fn turn(&mut self, scratch: &mut [u8], pipes: &mut Pipes) -> Turn {
        if !self.connected {
            return Turn::Wait;
        }
        let mut again = false;
        for from in 0..2 {
            let (source, sink) = match &mut self.sides {
                [a, b] if from == 0 => (a, b),
                [a, b] => (b, a),
            };
            match self.directions[from].turn(source, sink, scratch, pipes) {
                Ok(more) => again |= more,
                Err(_) => return Turn::Broken,
            }
        }
        if self.directions.iter().all(|direction| direction.closed) {
            return Turn::Over;
        }
        if again { Turn::Again } else { Turn::Wait }
    }

    /// Lets both ends see a reset, when the sockets are closed.
    pub fn abort(&self) {
        for side in &self.sides {
            let _ = socket::reset_on_close(&side.socket);
        }
    }

    /// Pipes that go with it, because something is in them.
    pub fn pipes(&self) -> usize {
        let used = self
            .directions
            .iter()
            .filter(|direction| direction.pipe.is_some());
        used.count()
    }
}

impl Direction {
    /// Whether there is more to do.
    fn turn(
        &mut self,
        source: &mut Side,
        sink: &mut Side,
        scratch: &mut [u8],
        pipes: &mut Pipes,
    ) -> Result<bool, Errno> {
        for _ in 0..ROUNDS {
            if self.closed || !self.flush(sink, pipes)? {
                return Ok(false);
            }
            if self.ended {
                let _ = rustix::net::shutdown(&sink.socket, Shutdown::Write);
                self.closed = true;
                return Ok(false);
            }
            if !source.readable {
                return Ok(false);
            }
            let pipe = if self.splicing { pipes.take() } else { None };
            let read = match pipe {
                Some(pipe) => self.splice(source, pipe, pipes),
                None => self.copy(source, sink, scratch),
            };
            match read {
                Err(Errno::AGAIN) => source.readable = false,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(0) => self.ended = true,
                Ok(_) => {}
            }
        }
        Ok(true)
    }

    /// Writes what was read before. Whether nothing of it is left.
    fn flush(&mut self, sink: &mut Side, pipes: &mut Pipes) -> Result<bool, Errno> {
        while let Some((pipe, filled)) = &mut self.pipe {
            if !sink.writable {
                return Ok(false);
            }
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            match rustix::pipe::splice(&pipe.read, None, &sink.socket, None, *filled, flags) {
                Err(Errno::AGAIN) => sink.writable = false,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(count) => *filled = filled.saturating_sub(count),
            }
            if *filled == 0
                && let Some((pipe, _)) = self.pipe.take()
            {
                pipes.put(pipe);
            }
        }
        while self.written < self.rest.len() {
            if !sink.writable {
                return Ok(false);
            }
            self.written += send(sink, &self.rest[self.written..])?;
            if self.written == self.rest.len() {
                (self.rest, self.written) = (Vec::new(), 0);
            }
        }
        Ok(true)
    }

    fn splice(&mut self, source: &Side, pipe: Pipe, pipes: &mut Pipes) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match rustix::pipe::splice(&source.socket, None, &pipe.write, None, PIPE, flags) {
            Ok(count) if count > 0 => {
                self.splicing = count >= SMALL;
                self.pipe = Some((pipe, count));
                Ok(count)
            }
            nothing => {
                pipes.put(pipe);
                nothing
            }
        }
    }

    fn copy(
        &mut self,
        source: &mut Side,
        sink: &mut Side,
        scratch: &mut [u8],
    ) -> Result<usize, Errno> {
        let (count, _) = rustix::net::recv(&source.socket, &mut *scratch, RecvFlags::DONTWAIT)?;
        self.splicing = count >= LARGE;
        // Less than there is room for is all there was, unless an end may be behind it.
        if count < scratch.len() && !source.ending {
            source.readable = false;
        }
        let mut sent = 0;
        while sent < count && sink.writable {
            sent += send(sink, &scratch[sent..count])?;
        }
        if sent < count {
            self.rest = scratch[sent..count].to_vec();
        }
        Ok(count)
    }
}

/// As much as fits; nothing is left to write to if it is less than all.
fn send(sink: &mut Side, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::net::send(
        &sink.socket,
        bytes,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    ) {
        Err(Errno::AGAIN) => {
            sink.writable = false;
            Ok(0)
        }
        Err(Errno::INTR) => Ok(0),
        other => other,
    }
}
