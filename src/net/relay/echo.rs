//! ICMP echo: a container's `ping` goes on by a socket that needs no privileges, icmp(7), with an
//! identifier of the kernel's; the answer comes back with the container's.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::{self, EventFlags},
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags},
};

use super::{
    packet::{self, Unreachable},
    places,
    slots::{Kind, Slot, Slots},
    trap::Trap,
};
use crate::sys::{
    datagram::{self, SendError},
    socket,
};

/// Programs of a container that ping at the same time.
const MOST: usize = 256;
const IDLE: Duration = Duration::from_secs(30);
const HEADER: usize = 8;

/// Who asks whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub identifier: u16,
}

#[derive(Debug)]
struct Echo {
    socket: OwnedFd,
    asked: Asked,
    /// The last request, as errors quote it.
    request: Vec<u8>,
    used: Instant,
}

#[derive(Debug, Default)]
pub struct Echoes {
    echoes: Slots<Echo>,
    by_asked: HashMap<Asked, Slot>,
}

impl Echoes {
    pub fn is_empty(&self) -> bool {
        self.by_asked.is_empty()
    }

    /// Passes a request on. `packet` is all of it.
    pub fn request(
        &mut self,
        epoll: &OwnedFd,
        trap: &Trap,
        asked: Asked,
        (sequence, payload): (u16, &[u8]),
        packet: &[u8],
    ) {
        let passed = self.slot(epoll, trap, asked).and_then(|slot| {
            let echo = self.echoes.get_mut(slot).ok_or(Errno::NOENT)?;
            echo.used = Instant::now();
            echo.request.clear();
            echo.request.extend_from_slice(packet);
            let kind = match asked.destination {
                IpAddr::V4(_) => 8,
                IpAddr::V6(_) => 128,
            };
            // The kernel fills in checksum and identifier.
            let mut message = vec![kind, 0, 0, 0, 0, 0];
            message.extend_from_slice(&sequence.to_be_bytes());
            message.extend_from_slice(payload);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            rustix::net::send(&echo.socket, &message, flags).map_err(io::Error::from)
        });
        if let Err(error) = passed {
            refuse(trap, packet, SendError::from(&error));
        }
    }

    fn slot(&mut self, epoll: &OwnedFd, trap: &Trap, asked: Asked) -> io::Result<Slot> {
        if let Some(slot) = self.by_asked.get(&asked) {
            return Ok(*slot);
        }
        if self.by_asked.len() >= MOST {
            return Err(Errno::NOBUFS.into());
        }
        let to = places::real(SocketAddr::new(asked.destination, 0), trap.host_loopback)
            .ok_or(Errno::HOSTUNREACH)?;
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket::make_echo(family)?;
        socket::receive_errors(&socket, family)?;
        rustix::net::connect(&socket, &to)?;
        let slot = self.echoes.insert(Echo {
            socket,
            asked,
            request: Vec::new(),
            used: Instant::now(),
        });
        self.by_asked.insert(asked, slot);
        if let Some(echo) = self.echoes.get_mut(slot) {
            epoll::add(epoll, &echo.socket, slot.event(Kind::Echo), EventFlags::IN)?;
        }
        Ok(slot)
    }

    /// An answer, or an error, is there.
    pub fn happened(&mut self, trap: &Trap, slot: Slot, scratch: &mut [u8]) {
        let Some(echo) = self.echoes.get_mut(slot) else {
            return;
        };
        match rustix::net::recv(&echo.socket, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((length, _)) => {
                let Some(answer) = scratch.get(..length).filter(|_| length >= HEADER) else {
                    return;
                };
                let sequence = u16::from_be_bytes([answer[6], answer[7]]);
                let Asked {
                    source,
                    destination,
                    identifier,
                } = echo.asked;
                let reply = packet::echo_reply(
                    destination,
                    source,
                    identifier,
                    sequence,
                    &answer[HEADER..],
                );
                trap.send(&reply);
            }
            // One that was kept.
            Err(_) => {
                while let Ok(error) = datagram::next_error(&echo.socket) {
                    if let Some(error) = error {
                        refuse(trap, &echo.request, error);
                    }
                }
            }
        }
    }

    pub fn expire(&mut self, now: Instant) {
        let echoes = self.echoes.iter();
        let idle = echoes.filter(|(_, echo)| now.duration_since(echo.used) > IDLE);
        let idle: Vec<(Slot, Asked)> = idle.map(|(slot, echo)| (slot, echo.asked)).collect();
        for (slot, asked) in idle {
            self.echoes.remove(slot);
            self.by_asked.remove(&asked);
        }
    }
}

fn refuse(trap: &Trap, packet: &[u8], error: SendError) {
    let answer = Unreachable::of(error).and_then(|why| packet::unreachable(packet, why));
    if let Some(answer) = answer {
        trap.send(&answer);
    }
}
