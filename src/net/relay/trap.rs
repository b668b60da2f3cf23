//! The trap: the first packet of a connection is held until the world has answered, so that the
//! container sees what a host without a relay would see.
//!
//! The packet comes through a TUN device, which in the router is the way to the world for the
//! container's SYNs. A connection of our own is begun to where it wants to go. When that is
//! there, the very same packet is put back into the router, where it now comes from the device, and
//! so goes to the listener ([`super::worker`]): the kernel answers it, with all options. If there is
//! nobody, the container gets the reset or the ICMP error that says why.
//!
//! Without a firewall that leads connections to listeners, there is a [door](super::doors) for it by
//! then, and all that follows comes through the device, too, and is put back at once.

use std::{
    collections::HashMap,
    io::IoSlice,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::{self, EventFlags},
    io::Errno,
    net::SocketType,
};

use super::{
    doors::Doors,
    packet::{self, Tuple, Unreachable},
    places,
    slots::{Kind, Slot, Slots},
};
use crate::sys::{socket, tun};

/// Connections that may be under way at once; the container asks again for what is over.
const MOST_DIALS: usize = 8192;
/// How long a connection that was made waits for the container to take it.
const HELD: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Hold {
    Dialing,
    Ready(OwnedFd, Instant),
    Relayed,
    /// A second packet was put back since then. It may be the beginning of a new connection of that
    /// name, whose end of the world is not there yet.
    Again(Instant),
}

/// A connection to the world that is not there yet.
#[derive(Debug)]
struct Dial {
    socket: OwnedFd,
    tuple: Tuple,
    waits: Waits,
}

/// What waits for a connection to the world.
#[derive(Debug)]
enum Waits {
    /// The container's packet, as it came out of the device.
    Syn(Vec<u8>),
    /// A connection that the container has made already.
    Accepted(OwnedFd),
}

/// The two ends of a connection: the container's, the world's.
pub type Ends = (OwnedFd, OwnedFd);

#[derive(Debug)]
pub struct Trap {
    pub tun: OwnedFd,
    pub host_loopback: bool,
    /// Where every packet comes through the device.
    pub doors: Option<Doors>,
    holds: HashMap<Tuple, Hold>,
    dials: Slots<Dial>,
}

impl Trap {
    pub fn new(tun: OwnedFd, host_loopback: bool, doors: Option<Doors>) -> Self {
        Trap {
            tun,
            host_loopback,
            doors,
            holds: HashMap::new(),
            dials: Slots::default(),
        }
    }

    /// A SYN of the container's. Whether it was put back already: then there is a connection to be
    /// accepted, for all that happens at once.
    pub fn syn(&mut self, epoll: &OwnedFd, tuple: Tuple, syn: &[u8]) -> bool {
        match self.holds.get(&tuple) {
            // It asks again; so will the answer come.
            Some(Hold::Dialing) => false,
            // What was put back got lost, or this belongs to a new connection, which then is the
            // kernel's to tell from the old one.
            Some(Hold::Ready(..)) => self.put_syn_back(epoll, &tuple, syn),
            Some(Hold::Relayed | Hold::Again(_)) => {
                self.holds.insert(tuple, Hold::Again(Instant::now()));
                self.put_syn_back(epoll, &tuple, syn)
            }
            None => self.dial(epoll, tuple, syn).unwrap_or_else(|errno| {
                self.refuse(syn, errno);
                false
            }),
        }
    }

    /// Whether the connection is there already, as within a host or a quiet network.
    fn dial(&mut self, epoll: &OwnedFd, tuple: Tuple, syn: &[u8]) -> Result<bool, Errno> {
        if self.dials.len() >= MOST_DIALS {
            return Ok(false);
        }
        let (socket, connected) = self.connect(&tuple)?;
        if connected {
            return Ok(self.ready(epoll, tuple, socket, syn));
        }
        let waits = Waits::Syn(syn.to_vec());
        self.wait(
            epoll,
            Dial {
                socket,
                tuple,
                waits,
            },
        )?;
        self.holds.insert(tuple, Hold::Dialing);
        Ok(false)
    }

    /// A connection that was begun, and whether it is there.
    fn connect(&self, tuple: &Tuple) -> Result<(OwnedFd, bool), Errno> {
        let to = places::real(tuple.destination, self.host_loopback).ok_or(Errno::HOSTUNREACH)?;
        let socket = open(to)?;
        // The first one begins it, the second one asks how it is.
        for _ in 0..2 {
            match rustix::net::connect(&socket, &to) {
                Ok(()) | Err(Errno::ISCONN) => return Ok((socket, true)),
                Err(Errno::INPROGRESS | Errno::ALREADY) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok((socket, false))
    }

    fn wait(&mut self, epoll: &OwnedFd, dial: Dial) -> Result<(), Errno> {
        let slot = self.dials.insert(dial);
        if let Some(dial) = self.dials.get_mut(slot) {
            let flags = EventFlags::OUT | EventFlags::ET;
            epoll::add(epoll, &dial.socket, slot.event(Kind::Dial), flags)?;
        }
        Ok(())
    }

    fn ready(&mut self, epoll: &OwnedFd, tuple: Tuple, socket: OwnedFd, syn: &[u8]) -> bool {
        self.holds
            .insert(tuple, Hold::Ready(socket, Instant::now()));
        self.put_syn_back(epoll, &tuple, syn)
    }

    /// Whether there is somebody now who takes it.
    fn put_syn_back(&mut self, epoll: &OwnedFd, tuple: &Tuple, syn: &[u8]) -> bool {
        if let Some(doors) = &mut self.doors
            && doors.open(epoll, tuple.destination).is_err()
        {
            // No descriptors or memory left: the container asks again.
            return false;
        }
        self.put_back(syn);
        true
    }

    /// The world has answered, or will not. What is returned was accepted before and is complete now.
    pub fn dialed(&mut self, epoll: &OwnedFd, slot: Slot) -> Option<(Ends, Tuple)> {
        let Dial {
            socket,
            tuple,
            waits,
        } = self.dials.remove(slot)?;
        // Whoever has it next asks for other events.
        let _ = epoll::delete(epoll, &socket);
        let result = rustix::net::sockopt::socket_error(&socket);
        match (result.and_then(|result| result), waits) {
            (Ok(()), Waits::Syn(syn)) => {
                self.ready(epoll, tuple, socket, &syn);
            }
            (Ok(()), Waits::Accepted(inside)) => return Some(((inside, socket), tuple)),
            (Err(errno), Waits::Syn(syn)) => {
                self.holds.remove(&tuple);
                self.refuse(&syn, errno);
            }
            (Err(_), Waits::Accepted(inside)) => self.give_up(&inside, &tuple),
        }
        None
    }

    /// The container has made this connection by now. It is returned with the one to the world, if
    /// that is there.
    pub fn accepted(&mut self, epoll: &OwnedFd, inside: OwnedFd, tuple: &Tuple) -> Option<Ends> {
        let hold = self.holds.get_mut(tuple);
        let Some(hold) = hold.filter(|hold| !matches!(hold, Hold::Dialing)) else {
            // Not one that came through the trap.
            let _ = socket::reset_on_close(&inside);
            return None;
        };
        match std::mem::replace(hold, Hold::Relayed) {
            Hold::Ready(socket, _) => Some((inside, socket)),
            // The end of the earlier one was not known when the packet was put back.
            _ => self.dial_late(epoll, inside, *tuple),
        }
    }

    fn dial_late(&mut self, epoll: &OwnedFd, inside: OwnedFd, tuple: Tuple) -> Option<Ends> {
        let begun = match self.dials.len() < MOST_DIALS {
            true => self.connect(&tuple),
            false => Err(Errno::NOBUFS),
        };
        match begun {
            Ok((socket, true)) => return Some((inside, socket)),
            Ok((socket, false)) => {
                let waits = Waits::Accepted(inside);
                let _ = self.wait(
                    epoll,
                    Dial {
                        socket,
                        tuple,
                        waits,
                    },
                );
            }
            Err(_) => self.give_up(&inside, &tuple),
        }
        None
    }

    fn give_up(&mut self, inside: &OwnedFd, tuple: &Tuple) {
        self.over(tuple);
        let _ = socket::reset_on_close(inside);
    }

    /// A connection is over: the next one of that name is another one, which may be here already.
    pub fn over(&mut self, tuple: &Tuple) {
        if let Some(Hold::Relayed) = self.holds.get(tuple) {
            self.holds.remove(tuple);
        }
    }

    /// Whether somebody may fail to come for something.
    pub fn holds_any(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Forgets what nobody has come for.
    pub fn expire(&mut self, now: Instant) {
        self.holds.retain(|_, hold| match hold {
            Hold::Ready(_, since) | Hold::Again(since) => now.duration_since(*since) < HELD,
            _ => true,
        });
    }

    fn refuse(&self, syn: &[u8], errno: Errno) {
        let syn = syn.get(tun::HEADER..).unwrap_or_default();
        let answer = match errno {
            Errno::CONNREFUSED | Errno::CONNRESET => packet::refusal(syn),
            Errno::NETUNREACH => packet::unreachable(syn, Unreachable::Network),
            Errno::HOSTUNREACH | Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::ADDRNOTAVAIL => {
                packet::unreachable(syn, Unreachable::Host)
            }
            Errno::ACCESS | Errno::PERM => packet::unreachable(syn, Unreachable::Prohibited),
            // No descriptors or memory left: the container asks again.
            _ => None,
        };
        if let Some(answer) = answer {
            self.send(&answer);
        }
    }

    /// Puts a packet into the router. A full queue loses it, as networks do.
    pub fn send(&self, packet: &[u8]) {
        let parts = [IoSlice::new(&[0; tun::HEADER]), IoSlice::new(packet)];
        let _ = rustix::io::writev(self.tun.as_fd(), &parts);
    }

    /// Puts back what came out of the device.
    pub fn put_back(&self, frame: &[u8]) {
        let _ = rustix::io::write(self.tun.as_fd(), frame);
    }
}

fn open(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket::make(socket::family_of(&to), SocketType::STREAM)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
    Ok(socket)
}
