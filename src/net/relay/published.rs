//! Where a connection or a datagram for a published port goes, and from whom the container sees it.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use ipnet::IpNet;
use rustix::{io::Errno, net::SocketType};

use super::{bound::Bound, datagrams::Inward, sockets::Sockets};
use crate::{model::publish::Protocol, sys::socket};

/// One socket of a published port, in use.
#[derive(Debug)]
pub struct Published {
    pub bound: Arc<Bound>,
    /// Of the sockets of `bound`.
    pub index: usize,
    /// The container's, with the lengths of their networks: at most one of each family.
    pub addresses: Arc<[IpNet]>,
    /// Sockets towards the container may have any address.
    pub transparent: bool,
}

impl Published {
    pub fn socket(&self) -> &OwnedFd {
        &self.bound.sockets[self.index]
    }

    pub fn protocol(&self) -> Protocol {
        self.bound.mapping.protocol
    }

    /// Where this client's bytes go. The container sees the client's address, unless it could not
    /// answer there by its gateway: addresses of loopback, of links, of its own network and of the other
    /// family. Then it sees the gateway's.
    pub fn inward(&self, client: SocketAddr) -> Option<Inward> {
        let same = |net: &&IpNet| net.addr().is_ipv4() == client.is_ipv4();
        let mut addresses = self.addresses.iter();
        let net = addresses.find(same).or(self.addresses.first())?;
        let to = SocketAddr::new(net.addr(), self.bound.mapping.container_port);
        let ip = client.ip();
        let far = match ip {
            std::net::IpAddr::V4(four) => !four.is_link_local(),
            std::net::IpAddr::V6(six) => !six.is_unicast_link_local(),
        };
        let keep = self.transparent
            && same(&net)
            && far
            && !ip.is_loopback()
            && !ip.is_unspecified()
            && !net.contains(&ip);
        Some(Inward {
            to,
            from: keep.then_some(client),
        })
    }
}

/// A connection to the container that has been begun.
pub fn connect(sockets: &mut Sockets, inward: Inward) -> Result<OwnedFd, Errno> {
    match connect_from(sockets, inward.to, inward.from) {
        // The client has another connection to this port of the container, by another published
        // port, or its last one is not forgotten yet: its address at least can be kept.
        Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) if inward.from.is_some() => {
            let from = inward.from.map(|from| SocketAddr::new(from.ip(), 0));
            connect_from(sockets, inward.to, from)
        }
        other => other,
    }
}

fn connect_from(
    sockets: &mut Sockets,
    to: SocketAddr,
    from: Option<SocketAddr>,
) -> Result<OwnedFd, Errno> {
    let made = sockets.take(socket::family_of(&to), SocketType::STREAM);
    let made = made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if let Some(from) = from {
        rustix::net::bind(&made, &from)?;
    }
    match rustix::net::connect(&made, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(made),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::publish::PortMapping;

    #[test]
    fn the_container_sees_clients_that_it_can_answer() {
        let published = |addresses: &[&str]| Published {
            bound: Arc::new(Bound {
                mapping: PortMapping {
                    host_ip: None,
                    host_port: Some(8080),
                    host_port_last: None,
                    container_port: 80,
                    protocol: Protocol::Tcp,
                },
                sockets: Vec::new(),
            }),
            index: 0,
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
            transparent: true,
        };
        let seen = |published: &Published, client: &str| {
            let inward = published.inward(client.parse().unwrap()).unwrap();
            (
                inward.to.to_string(),
                inward.from.map(|from| from.to_string()),
            )
        };
        let both = published(&["10.88.0.2/16", "fd88::2/64"]);
        let far = |to: &str, client: &str| (to.to_owned(), Some(client.to_owned()));
        let near = |to: &str| (to.to_owned(), None);
        for client in ["203.0.113.9:5000", "192.168.1.4:5000"] {
            assert_eq!(seen(&both, client), far("10.88.0.2:80", client));
        }
        assert_eq!(
            seen(&both, "[2001:db8::9]:5000"),
            far("[fd88::2]:80", "[2001:db8::9]:5000")
        );
        for client in ["127.0.0.1:5000", "10.88.7.7:5000", "169.254.3.4:5000"] {
            assert_eq!(seen(&both, client), near("10.88.0.2:80"));
        }
        for client in ["[::1]:5000", "[fe80::1]:5000", "[fd88::77]:5000"] {
            assert_eq!(seen(&both, client), near("[fd88::2]:80"));
        }
        let four = published(&["10.88.0.2/16"]);
        assert_eq!(seen(&four, "[2001:db8::9]:5000"), near("10.88.0.2:80"));
    }
}
