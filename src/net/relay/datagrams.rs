//! UDP: each flow is a pair of sockets, and the kernel finds the right one for every datagram but
//! the first.
//!
//! - To the world: the first datagram comes to a listener, with where it was sent to. Then one socket
//!   in the router has *that* address and is connected to the container, the other one, in the host's
//!   namespace, is connected to the destination.
//! - Of a published port: all datagrams come to its one socket. Each client has a socket in the
//!   router that has the client's address; answers leave by the published port's own.
//!
//! Datagrams that the kernel has joined stay joined, and those that are of one size and of one flow
//! are sent joined.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::{self, EventFlags},
    io::Errno,
    net::{AddressFamily, SocketType},
};

use super::{
    bound::Bound,
    packet::{self, Tuple, Unreachable},
    places,
    slots::{Kind, Slot, Slots},
    sockets::Sockets,
    trap::Trap,
};
use crate::sys::{
    datagram::{self, Datagram, MOST_JOINED, Received, SendError, Way},
    socket,
};

/// Flows of one container; the one that was idle longest goes for a new one.
const MOST_FLOWS: usize = 4096;
/// As connection tracking has it: without an answer, and with one.
const UNANSWERED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(180);
/// A question by DNS has one answer.
const NAMES: u16 = 53;
const NAME_ANSWERED: Duration = Duration::from_secs(5);
/// Wanted for each socket; what is given is limited by net.core.rmem_max.
const BUFFER: usize = 4 << 20;
/// The kernel does not take more in one call, with its headers.
const MOST_BYTES: usize = 65000;

/// The end of a flow in the world.
#[derive(Debug)]
enum Outside {
    Connected(OwnedFd),
    /// A published port's socket and the address of this host that the client knows.
    Published(Arc<Bound>, usize, Way),
}

#[derive(Debug)]
struct Flow {
    inside: OwnedFd,
    outside: Outside,
    key: Key,
    used: Instant,
    answered: bool,
    /// What answers of the container are to a client of a published port.
    answer: Option<Tuple>,
}

/// Whose flow it is: what the container has sent where, or who has sent to a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Out(Tuple),
    In {
        client: SocketAddr,
        local: Option<IpAddr>,
        port: Slot,
    },
}

/// Where the loop's other parts are needed.
pub struct Around<'a> {
    pub epoll: &'a OwnedFd,
    pub sockets: &'a mut Sockets,
    pub trap: Option<&'a Trap>,
    pub host_loopback: bool,
}

/// Where a published port leads.
#[derive(Clone, Copy, Debug)]
pub struct Inward {
    /// The container's address and port.
    pub to: SocketAddr,
    /// The client's, if the container is to see it.
    pub from: Option<SocketAddr>,
}

impl Inward {
    /// What the container's answers are, if they leave its network.
    fn answer(&self) -> Option<Tuple> {
        Some(Tuple {
            source: self.to,
            destination: self.from?,
        })
    }
}

#[derive(Default)]
pub struct Datagrams {
    flows: Slots<Flow>,
    by_key: HashMap<Key, Slot>,
    /// What containers answer to clients of published ports that they see.
    answers: HashMap<Tuple, Slot>,
    received: Received,
}

impl Datagrams {
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Datagrams of flows that are new, or were when they were sent.
    pub fn listener(&mut self, around: &mut Around<'_>, listener: &OwnedFd) {
        let mut received = std::mem::take(&mut self.received);
        if received.receive(listener).is_ok() {
            for datagram in received.iter() {
                let (Some(source), Some(destination)) = (datagram.source, datagram.destination)
                else {
                    continue;
                };
                let tuple = Tuple {
                    source,
                    destination,
                };
                self.out(around, tuple, datagram);
            }
        }
        self.received = received;
    }

    fn out(&mut self, around: &mut Around<'_>, tuple: Tuple, datagram: Datagram<'_>) {
        if let Some(slot) = self.flow_out(around, tuple) {
            self.send_out(around.trap, slot, [datagram].into_iter());
        }
    }

    /// The flow of what the container sends there.
    fn flow_out(&mut self, around: &mut Around<'_>, tuple: Tuple) -> Option<Slot> {
        let key = Key::Out(tuple);
        if let Some(slot) = self.by_key.get(&key) {
            return Some(*slot);
        }
        match open_out(around, &tuple) {
            Ok((inside, outside)) => {
                Some(self.insert(around, key, inside, Outside::Connected(outside)))
            }
            Err(error) => {
                tell(around.trap, &tuple, &error);
                None
            }
        }
    }

    /// Whether there is a socket for what the container sends there, which is made if there is none.
    pub fn expects(&mut self, around: &mut Around<'_>, tuple: Tuple) -> bool {
        self.answers.contains_key(&tuple) || self.flow_out(around, tuple).is_some()
    }

    /// Datagrams for a published port. `inward`: where those of a client go.
    pub fn published(
        &mut self,
        around: &mut Around<'_>,
        (slot, bound, index): (Slot, &Arc<Bound>, usize),
        inward: impl Fn(SocketAddr) -> Option<Inward>,
    ) {
        let mut received = std::mem::take(&mut self.received);
        if received.receive(&bound.sockets[index]).is_ok() {
            for datagram in received.iter() {
                let Some(client) = datagram.source else {
                    continue;
                };
                let local = datagram.destination.map(|address| address.ip());
                let key = Key::In {
                    client,
                    local,
                    port: slot,
                };
                let flow = match self.by_key.get(&key) {
                    Some(flow) => *flow,
                    None => {
                        let Some(inward) = inward(client) else {
                            continue;
                        };
                        let Ok(inside) = open_in(around, inward) else {
                            continue;
                        };
                        let way = Way {
                            to: Some(client),
                            from: local,
                        };
                        let outside = Outside::Published(bound.clone(), index, way);
                        let slot = self.insert(around, key, inside, outside);
                        if let (Some(flow), Some(answer)) =
                            (self.flows.get_mut(slot), inward.answer())
                        {
                            flow.answer = Some(answer);
                            self.answers.insert(answer, slot);
                        }
                        slot
                    }
                };
                if let Some(flow) = self.flows.get_mut(flow) {
                    flow.used = Instant::now();
                    let _ = pass_on(&flow.inside, Way::default(), [datagram].into_iter());
                }
            }
        }
        self.received = received;
    }

    /// A flow has datagrams, or an error, on one of its sockets.
    pub fn happened(&mut self, trap: Option<&Trap>, slot: Slot, kind: Kind) {
        let mut received = std::mem::take(&mut self.received);
        if let Some(flow) = self.flows.get_mut(slot) {
            let from = match (&flow.outside, kind) {
                (Outside::Connected(outside), Kind::FlowOutside) => outside,
                _ => &flow.inside,
            };
            match received.receive(from) {
                Err(_) => {
                    if let (Key::Out(tuple), Kind::FlowOutside) = (&flow.key, kind) {
                        tell_errors(trap, tuple, from);
                    }
                }
                Ok(()) if kind == Kind::FlowInside => self.send_out(trap, slot, received.iter()),
                Ok(()) => {
                    flow.used = Instant::now();
                    flow.answered = true;
                    let _ = pass_on(&flow.inside, Way::default(), received.iter());
                }
            }
        }
        self.received = received;
    }

    fn send_out<'d>(
        &mut self,
        trap: Option<&Trap>,
        slot: Slot,
        datagrams: impl Iterator<Item = Datagram<'d>> + Clone,
    ) {
        let Some(flow) = self.flows.get_mut(slot) else {
            return;
        };
        flow.used = Instant::now();
        let sent = match &flow.outside {
            Outside::Connected(outside) => pass_on(outside, Way::default(), datagrams),
            Outside::Published(bound, index, way) => {
                flow.answered = true;
                pass_on(&bound.sockets[*index], *way, datagrams)
            }
        };
        if let (Err(error), Key::Out(tuple)) = (sent, &flow.key) {
            tell(trap, tuple, &error);
        }
    }

    fn insert(&mut self, around: &Around<'_>, key: Key, inside: OwnedFd, outside: Outside) -> Slot {
        if self.by_key.len() >= MOST_FLOWS {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.used);
            if let Some((oldest, _)) = oldest {
                self.remove(oldest);
            }
        }
        let slot = self.flows.insert(Flow {
            inside,
            outside,
            key,
            used: Instant::now(),
            answered: false,
            answer: None,
        });
        self.by_key.insert(key, slot);
        if let Some(flow) = self.flows.get_mut(slot) {
            let watch = |socket, kind| {
                let _ = epoll::add(around.epoll, socket, slot.event(kind), EventFlags::IN);
            };
            watch(&flow.inside, Kind::FlowInside);
            if let Outside::Connected(outside) = &flow.outside {
                watch(outside, Kind::FlowOutside);
            }
        }
        slot
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(flow) = self.flows.remove(slot) {
            self.by_key.remove(&flow.key);
            let answer = flow.answer;
            if let Some(answer) = answer.filter(|answer| self.answers.get(answer) == Some(&slot)) {
                self.answers.remove(&answer);
            }
        }
    }

    /// Forgets the flows of published ports, and of containers' addresses, that this is said of.
    pub fn forget(&mut self, gone: impl Fn(Slot) -> bool, is_gone: impl Fn(IpAddr) -> bool) {
        let flows = self.flows.iter();
        let gone = flows.filter(|(_, flow)| match flow.key {
            Key::In { port, .. } => gone(port),
            Key::Out(tuple) => is_gone(tuple.source.ip()),
        });
        let gone: Vec<Slot> = gone.map(|(slot, _)| slot).collect();
        gone.into_iter().for_each(|slot| self.remove(slot));
    }

    /// Forgets idle flows.
    pub fn expire(&mut self, now: Instant) {
        let limit = |flow: &Flow| match flow.key {
            _ if !flow.answered => UNANSWERED,
            Key::Out(tuple) if tuple.destination.port() == NAMES => NAME_ANSWERED,
            _ => ANSWERED,
        };
        let flows = self.flows.iter();
        let idle = flows.filter(|(_, flow)| now.duration_since(flow.used) > limit(flow));
        let idle: Vec<Slot> = idle.map(|(slot, _)| slot).collect();
        idle.into_iter().for_each(|slot| self.remove(slot));
    }
}

/// The two sockets of a flow to the world.
fn open_out(around: &mut Around<'_>, tuple: &Tuple) -> io::Result<(OwnedFd, OwnedFd)> {
    let to = places::real(tuple.destination, around.host_loopback).ok_or(Errno::HOSTUNREACH)?;
    let family = socket::family_of(&to);
    let outside = socket::make(family, SocketType::DGRAM)?;
    socket::receive_errors(&outside, family)?;
    rustix::net::connect(&outside, &to)?;
    enlarge(&outside);
    let inward = Inward {
        to: tuple.source,
        from: Some(tuple.destination),
    };
    Ok((open_in(around, inward)?, outside))
}

/// A socket in the router that is connected to the container.
fn open_in(around: &mut Around<'_>, inward: Inward) -> io::Result<OwnedFd> {
    let family = socket::family_of(&inward.to);
    let inside = around.sockets.take(family, SocketType::DGRAM)?;
    if let Some(from) = inward.from {
        rustix::net::bind(&inside, &from)?;
    }
    rustix::net::connect(&inside, &inward.to)?;
    enlarge(&inside);
    Ok(inside)
}

/// Best effort: a flow works without.
fn enlarge(socket: &OwnedFd) {
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(socket, BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, BUFFER);
    let _ = socket::receive_joined(socket);
}

/// Makes a listener for flows ready, whose family is this.
pub fn prepare(listener: &OwnedFd, family: AddressFamily) -> io::Result<()> {
    socket::receive_original_destination(listener, family)?;
    rustix::net::sockopt::set_socket_reuseaddr(listener, true)?;
    enlarge(listener);
    Ok(())
}

/// Makes the socket of a published port ready.
pub fn prepare_published(socket: &OwnedFd, family: AddressFamily) -> io::Result<()> {
    socket::receive_local_address(socket, family)?;
    enlarge(socket);
    Ok(())
}

/// Says to the container what has been said of its datagrams. Those that are kept must be taken, or the
/// socket would never be quiet.
fn tell_errors(trap: Option<&Trap>, tuple: &Tuple, outside: &OwnedFd) {
    for _ in 0..datagram::MOST {
        match datagram::next_error(outside) {
            Ok(Some(error)) => tell(trap, tuple, error),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// Says to the container what has become of a datagram, as far as ICMP can.
fn tell(trap: Option<&Trap>, tuple: &Tuple, error: impl Into<SendError>) {
    let why = Unreachable::of(error.into());
    let answer = why.and_then(|why| packet::unreachable(&packet::datagram_headers(tuple), why));
    if let (Some(trap), Some(answer)) = (trap, answer) {
        trap.send(&answer);
    }
}

/// Sends datagrams in their order, those of one size together. What the kernel has no room for is
/// lost, as UDP has it; the first other error is returned when all have been tried.
fn pass_on<'d>(
    socket: &OwnedFd,
    way: Way,
    datagrams: impl Iterator<Item = Datagram<'d>> + Clone,
) -> io::Result<()> {
    let mut first_error = Ok(());
    let mut run = Run::default();
    let mut send = |run: &mut Run<'d>| {
        if let Err(error) = run.send(socket, way)
            && first_error.is_ok()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            first_error = Err(error);
        }
    };
    for datagram in datagrams {
        if !run.takes(&datagram) {
            send(&mut run);
        }
        run.push(&datagram);
    }
    send(&mut run);
    first_error
}

/// Datagrams that can be sent in one call: all of one size, the last may be smaller.
#[derive(Default)]
struct Run<'d> {
    parts: Vec<IoSlice<'d>>,
    segment: usize,
    count: usize,
    bytes: usize,
    /// A smaller one was the last.
    full: bool,
}

impl<'d> Run<'d> {
    fn takes(&self, datagram: &Datagram<'_>) -> bool {
        let size = datagram_size(datagram);
        let count = datagram.bytes.len().div_ceil(size.max(1)).max(1);
        self.parts.is_empty()
            || !self.full
                && size > 0
                && (size == self.segment || count == 1 && size < self.segment)
                && self.count + count <= MOST_JOINED
                && self.bytes + datagram.bytes.len() <= MOST_BYTES
    }

    fn push(&mut self, datagram: &Datagram<'d>) {
        let size = datagram_size(datagram);
        if self.parts.is_empty() {
            self.segment = size;
        }
        self.parts.push(IoSlice::new(datagram.bytes));
        self.count += datagram.bytes.len().div_ceil(size.max(1)).max(1);
        self.bytes += datagram.bytes.len();
        self.full = size == 0 || !datagram.bytes.len().is_multiple_of(self.segment.max(1));
    }

    /// And begins another one.
    fn send(&mut self, socket: &OwnedFd, way: Way) -> io::Result<()> {
        let parts = std::mem::take(&mut self.parts);
        let (segment, count) = (self.segment, self.count);
        *self = Run::default();
        if parts.is_empty() {
            return Ok(());
        }
        if count == 1 {
            return datagram::send(socket, &parts, 0, way);
        }
        let joined = u16::try_from(segment).unwrap_or(0);
        match datagram::send(socket, &parts, joined, way) {
            // They do not fit the path, or the path cannot do it: one by one, maybe in fragments.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE)
                ) =>
            {
                let mut last = Ok(());
                for single in parts.iter().flat_map(|part| part.chunks(segment)) {
                    last = datagram::send(socket, &[IoSlice::new(single)], 0, way);
                }
                last
            }
            sent => sent,
        }
    }
}

fn datagram_size(datagram: &Datagram<'_>) -> usize {
    match datagram.segment {
        0 => datagram.bytes.len(),
        size => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runs in which datagrams of these sizes (and joined ones) leave, in datagrams.
    fn runs(datagrams: &[(usize, usize)]) -> Vec<usize> {
        let room = vec![0; 65536];
        let (mut run, mut counts) = (Run::default(), Vec::new());
        for &(length, segment) in datagrams {
            let datagram = Datagram {
                source: None,
                destination: None,
                segment,
                bytes: &room[..length],
            };
            if !run.takes(&datagram) {
                counts.push(run.count);
                run = Run::default();
            }
            run.push(&datagram);
        }
        counts.push(run.count);
        counts
    }

    #[test]
    fn datagrams_of_one_size_leave_together() {
        assert_eq!(runs(&[(100, 0), (100, 0), (50, 0), (100, 0)]), [3, 1]);
        assert_eq!(runs(&[(50, 0), (100, 0)]), [1, 1]);
        assert_eq!(runs(&[(0, 0), (0, 0), (7, 0)]), [1, 1, 1]);
        assert_eq!(runs(&[(300, 100), (100, 0), (250, 100), (100, 0)]), [7, 1]);
        assert_eq!(runs(&[(10, 0); 70]), [64, 6]);
        assert_eq!(runs(&[(1400, 0); 64]), [46, 18]);
        assert_eq!(runs(&[(65507, 0), (65507, 0)]), [1, 1]);
    }
}
