//! Where connections come in that no firewall gives to a listener: a *door* is a listener at one port
//! of all addresses, opened when a held packet for that port is put back.
//!
//! It takes only what comes by its relay's device: containers of one network connect to the same
//! ports, and each must find its own relay. What the kernel sends for a connection goes that way, too,
//! until somebody has accepted it and it is released from the device.
//!
//! All of this is done on the router's thread, which has the rights for it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    time::Instant,
};

use rustix::{
    event::epoll::{self, EventFlags},
    io::Errno,
    net::SocketType,
};

use super::{
    slots::{Kind, Slot, Slots},
    sockets,
};
use crate::{net::router::Router, sys::socket};

/// Open at once; the one that was not used for longest closes for a new one.
const MOST: usize = 256;
const BACKLOG: i32 = 4096;

#[derive(Debug)]
struct Door {
    listener: OwnedFd,
    ipv4: bool,
    port: u16,
    used: Instant,
}

#[derive(Debug)]
pub struct Doors {
    /// The relay's device.
    link: u32,
    router: Router,
    doors: Slots<Door>,
}

impl Doors {
    pub fn new(link: u32, router: Router) -> Self {
        Doors {
            link,
            router,
            doors: Slots::default(),
        }
    }

    /// There is a door for connections to this destination from now on.
    pub fn open(&mut self, epoll: &OwnedFd, destination: SocketAddr) -> Result<(), Errno> {
        let (ipv4, port) = (destination.is_ipv4(), destination.port());
        let is_it = |door: &Door| door.port == port && door.ipv4 == ipv4;
        let there = self.doors.iter().find(|(_, door)| is_it(door));
        let there = there.map(|(slot, _)| slot);
        if let Some(door) = there.and_then(|slot| self.doors.get_mut(slot)) {
            door.used = Instant::now();
            return Ok(());
        }
        if self.doors.len() >= MOST {
            let oldest = self.doors.iter().min_by_key(|(_, door)| door.used);
            if let Some(oldest) = oldest.map(|(slot, _)| slot) {
                self.doors.remove(oldest);
            }
        }
        let link = self.link;
        let listener = self.router.inside(move || Ok(listen(link, ipv4, port)));
        let listener = listener.map_err(|_| Errno::PIPE)?;
        let door = Door {
            listener: listener
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?,
            ipv4,
            port,
            used: Instant::now(),
        };
        let slot = self.doors.insert(door);
        if let Some(door) = self.doors.get_mut(slot) {
            epoll::add(
                epoll,
                &door.listener,
                slot.event(Kind::Door),
                EventFlags::IN,
            )?;
        }
        Ok(())
    }

    /// What this connection sends goes straight to the container from now on, or very soon.
    pub fn release(&self, accepted: &OwnedFd) {
        // Whatever fails: it goes on as it began, which is only slower.
        if let Ok(accepted) = accepted.try_clone() {
            let release = move || drop(socket::bind_to_link(&accepted, 0));
            let _ = self.router.later(release);
        }
    }

    pub fn get(&mut self, slot: Slot) -> Option<&OwnedFd> {
        self.doors.get_mut(slot).map(|door| &door.listener)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &OwnedFd)> {
        self.doors.iter().map(|(slot, door)| (slot, &door.listener))
    }
}

fn listen(link: u32, ipv4: bool, port: u16) -> io::Result<OwnedFd> {
    let any: IpAddr = match ipv4 {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let any = SocketAddr::new(any, port);
    let listener = sockets::make(socket::family_of(&any), SocketType::STREAM, true)?;
    socket::bind_to_link(&listener, link)?;
    rustix::net::sockopt::set_socket_keepalive(&listener, true)?;
    rustix::net::bind(&listener, &any)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}
