//! Sockets of published ports, in the host's namespace: bound before the container starts, so that
//! `run` can say what is taken. As root they only serve clients on the host's loopback, and keep
//! others from the port.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType},
};

use super::datagrams;
use crate::{
    model::{
        Error, ErrorKind, Result,
        publish::{PortMapping, Protocol},
    },
    sys::socket,
};

/// Choices of a random port that is free on all addresses.
const TRIES: usize = 64;
const BACKLOG: i32 = 4096;

/// A published port and its sockets.
#[derive(Debug)]
pub struct Bound {
    /// With the host's port that it has got.
    pub mapping: PortMapping,
    /// One for each family that it has; none for SCTP, which is not relayed.
    pub sockets: Vec<OwnedFd>,
}

/// Binds all of them, or none. TCP listens already: who connects before the container is there waits.
///
/// # Errors
/// `Conflict` if a port is taken, `Permission` if it is one that only root may have,
/// `InvalidArgument` for an address that is none of this host's.
pub fn bind_published(mappings: &[PortMapping]) -> Result<Vec<Bound>> {
    mappings.iter().map(bind).collect()
}

fn bind(mapping: &PortMapping) -> Result<Bound> {
    let bound = |port, sockets| {
        let mut mapping = mapping.clone();
        (mapping.host_port, mapping.host_port_last) = (Some(port), None);
        Bound { mapping, sockets }
    };
    let Some(first) = mapping.host_port.filter(|&port| port > 0) else {
        let mut last = None;
        for _ in 0..TRIES {
            match bind_to(mapping, 0) {
                Ok((port, sockets)) => return Ok(bound(port, sockets)),
                Err((address, errno)) => last = Some(explain(mapping, address, errno)),
            }
        }
        return Err(last.unwrap_or_else(|| Error::new(ErrorKind::Conflict, "no port is free")));
    };
    if mapping.protocol == Protocol::Sctp {
        return Ok(bound(first, Vec::new()));
    }
    let last = mapping.host_port_last.unwrap_or(first).max(first);
    let mut taken = None;
    for port in first..=last {
        match bind_to(mapping, port) {
            Ok((port, sockets)) => return Ok(bound(port, sockets)),
            Err((address, errno)) => taken = Some((address, errno)),
        }
    }
    let (address, errno) = taken.unwrap_or((addresses(mapping)[0], Errno::ADDRINUSE));
    Err(explain(mapping, address, errno))
}

fn addresses(mapping: &PortMapping) -> Vec<IpAddr> {
    match mapping.host_ip {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    }
}

type Taken = (u16, Vec<OwnedFd>);

/// One socket for each address of the mapping, on this port (0: any that is free on all of them).
fn bind_to(mapping: &PortMapping, mut port: u16) -> Result<Taken, (IpAddr, Errno)> {
    let mut sockets = Vec::with_capacity(2);
    for address in addresses(mapping) {
        match bind_one(SocketAddr::new(address, port), mapping.protocol) {
            Ok((bound, socket)) => {
                port = bound;
                sockets.push(socket);
            }
            // A host without IPv6, which was not asked for by name.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
                if mapping.host_ip.is_none() && address.is_ipv6() => {}
            Err(errno) => return Err((address, errno)),
        }
    }
    Ok((port, sockets))
}

fn bind_one(address: SocketAddr, protocol: Protocol) -> Result<(u16, OwnedFd), Errno> {
    let family = socket::family_of(&address);
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
        Protocol::Sctp => return Err(Errno::PROTONOSUPPORT),
    };
    let socket = socket::make(family, kind).map_err(errno)?;
    if kind == SocketType::STREAM {
        // Connections of an earlier container may not be forgotten yet. (Of UDP it would let two have
        // one port.)
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    match kind {
        // Only this tells whether another one listens.
        SocketType::STREAM => rustix::net::listen(&socket, BACKLOG)?,
        _ => datagrams::prepare_published(&socket, family).map_err(errno)?,
    }
    let bound = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((bound.port(), socket))
}

/// Which port of which address, and what to do about it.
fn explain(mapping: &PortMapping, address: IpAddr, errno: Errno) -> Error {
    let host_port = match (mapping.host_port, mapping.host_port_last) {
        (Some(first), Some(last)) if last > first => format!("ports {first}-{last}"),
        (Some(port), _) => format!("port {port}"),
        (None, _) => "a random port".to_owned(),
    };
    let protocol = mapping.protocol;
    let (kind, why, hint) = match errno {
        Errno::ADDRINUSE => (
            ErrorKind::Conflict,
            "it is in use",
            "another container or program has it: `coracle ps` and `ss -lntup` tell which"
                .to_owned(),
        ),
        Errno::ACCESS | Errno::PERM => (
            ErrorKind::Permission,
            "only root may have it",
            format!(
                "publish one from {} on, or lower net.ipv4.ip_unprivileged_port_start",
                first_unprivileged()
            ),
        ),
        Errno::ADDRNOTAVAIL => (
            ErrorKind::InvalidArgument,
            "this host does not have that address",
            "leave the address out to publish on all of them".to_owned(),
        ),
        _ => (ErrorKind::System, "it cannot be bound", String::new()),
    };
    let message = format!("cannot publish {host_port}/{protocol} on {address}: {why}");
    let error = Error::new(kind, message).with_source(io::Error::from(errno));
    if hint.is_empty() {
        error
    } else {
        error.with_hint(hint)
    }
}

fn first_unprivileged() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let number = text.ok().and_then(|text| text.trim().parse().ok());
    number.unwrap_or(1024)
}

/// The family of a socket that was bound.
pub fn family(socket: &OwnedFd) -> Option<AddressFamily> {
    let name = rustix::net::getsockname(socket).ok()?;
    Some(name.address_family())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> PortMapping {
        PortMapping {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            host_port: text.parse().ok(),
            host_port_last: None,
            container_port: 80,
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let any = PortMapping {
                protocol,
                ..mapping("")
            };
            let first = bind_published(std::slice::from_ref(&any)).unwrap();
            let port = first[0].mapping.host_port.unwrap();
            let same = PortMapping {
                host_port: Some(port),
                ..any
            };
            let error = bind_published(std::slice::from_ref(&same)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            let expected =
                format!("cannot publish port {port}/{protocol} on 127.0.0.1: it is in use");
            assert_eq!(error.message(), expected);

            // Of a range, one that is free.
            let range = PortMapping {
                host_port_last: Some(port.saturating_add(20)),
                ..same
            };
            let second = bind_published(std::slice::from_ref(&range)).unwrap();
            assert!(second[0].mapping.host_port > Some(port));
        }
    }

    #[test]
    fn an_address_of_somebody_else_is_named() {
        let elsewhere = PortMapping {
            host_ip: "192.0.2.1".parse().ok(),
            ..mapping("8080")
        };
        let error = bind_published(&[elsewhere]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
