//! The sockets inside the container's network namespace, and how questions to port 53 get there.
//!
//! A program in the container may want port 53 of all addresses for itself. So the sockets have
//! another port, and the headers of packets are rewritten, without any state: `nft list ruleset`
//! inside shows
//!
//! ```text
//! table ip coracle-names {
//!   chain questions { type filter hook output priority raw;
//!     ip daddr 127.0.0.11 udp dport 53 udp dport set PORT    # and the same of tcp
//!   }
//!   chain answers { type filter hook prerouting priority raw;
//!     ip saddr 127.0.0.11 udp sport PORT udp sport set 53    # and the same of tcp
//!   }
//! }
//! ```
//!
//! Both chains come before connection tracking, which notices nothing. Where the kernel has no
//! nf_tables, the sockets have port 53 of the address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket},
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, sockopt},
};

use crate::{
    model::{Context, Result},
    net::netlink::{
        Batch, Message, Socket, errno,
        nft::{
            BaseChain, ChainKind, Checksum, Comparison, Expression, Family, Field, Hook, Meta,
            Register, Table,
        },
    },
    sys,
};

/// Where programs in a container ask: Docker's address, which configurations name.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
const TABLE: Table<'_> = Table {
    family: Family::Ipv4,
    name: "coracle-names",
};
/// `NF_IP_PRI_RAW`, linux/netfilter_ipv4.h.
const RAW: i32 = -300;
/// Octets of questions that may wait while the responder is not scheduled.
const WAITING: usize = 1 << 20;
const BACKLOG: i32 = 128;

/// Where questions come in, over UDP and TCP. They belong to the namespace they were made in.
#[derive(Debug)]
pub struct Sockets {
    pub(super) datagrams: UdpSocket,
    pub(super) listener: TcpListener,
    /// To ask servers inside.
    pub(super) netns: Option<OwnedFd>,
}

/// Makes them in a network namespace, which this process may enter, on a thread that ends there.
/// The loopback link is up afterwards: a socket that was bound before has no address of its own to
/// answer from.
pub fn sockets(netns: BorrowedFd<'_>) -> Result<Sockets> {
    let made = sys::netns::within(netns, || {
        sys::process::bring_loopback_up()?;
        // Any failure of the firewall has the same remedy.
        Ok(behind_port_53().or_else(|_| bind(SocketAddrV4::new(ADDRESS, PORT))))
    });
    let entered = || "cannot enter the container's network namespace".to_owned();
    let listening = || format!("cannot listen for questions at {ADDRESS}");
    Ok(Sockets {
        netns: Some(netns.try_clone_to_owned().system(entered)?),
        ..made.system(entered)?.system(listening)?
    })
}

fn behind_port_53() -> io::Result<Sockets> {
    let sockets = bind(SocketAddrV4::new(ADDRESS, 0))?;
    let ports = Ports {
        udp: sockets.datagrams.local_addr()?.port(),
        tcp: sockets.listener.local_addr()?.port(),
    };
    lead(ports).map_err(io::Error::other)?;
    Ok(sockets)
}

/// In a namespace that an earlier process has served, its table goes first. Not always: closing the
/// socket by which something was deleted waits until no processor uses that any more, some 15 ms.
fn lead(ports: Ports) -> Result<()> {
    let mut socket = Socket::netfilter()?;
    match socket.send(rules(TABLE.create_new(), ports)) {
        Err(error) if errno(&error) == Some(Errno::EXIST) => {
            let mut removal = Batch::new();
            removal.push("remove an earlier responder's rules", TABLE.delete());
            removal.append(rules(TABLE.create_new(), ports));
            socket.send(removal)
        }
        sent => sent,
    }
}

/// In the namespace of the calling thread.
pub(super) fn bind(address: SocketAddrV4) -> io::Result<Sockets> {
    let datagrams = socket(SocketType::DGRAM, address)?;
    // More than the system's limit needs a right over the host; less will do.
    let _ = sockopt::set_socket_recv_buffer_size_force(&datagrams, WAITING)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&datagrams, WAITING));
    let listener = socket(SocketType::STREAM, address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(Sockets {
        datagrams: datagrams.into(),
        listener: listener.into(),
        netns: None,
    })
}

fn socket(kind: SocketType, address: SocketAddrV4) -> io::Result<OwnedFd> {
    let socket = sys::socket::make(AddressFamily::INET, kind)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Those that the sockets really have.
#[derive(Clone, Copy)]
struct Ports {
    udp: u16,
    tcp: u16,
}

fn rules(table: Message, ports: Ports) -> Batch {
    let mut batch = Batch::new();
    let mut push = |request| batch.push("lead questions to the responder for names", request);
    push(table);
    for (chain, hook) in [("questions", Hook::Output), ("answers", Hook::Prerouting)] {
        let base = BaseChain {
            hook,
            kind: ChainKind::Filter,
            priority: RAW,
        };
        push(TABLE.chain(chain, Some(base)));
    }
    for protocol in [UDP, TCP] {
        let port = match protocol.number {
            17 => ports.udp,
            _ => ports.tcp,
        };
        push(protocol.rule(
            "questions",
            Field::DESTINATION_V4,
            Field::DESTINATION_PORT,
            (PORT, port),
        ));
        push(protocol.rule(
            "answers",
            Field::SOURCE_V4,
            Field::SOURCE_PORT,
            (port, PORT),
        ));
    }
    batch
}

/// A transport, by its number in the IP header and where its checksum lies in its own.
#[derive(Clone, Copy)]
struct Transport {
    number: u8,
    checksum: u32,
}

const UDP: Transport = Transport {
    number: 17,
    checksum: 6,
};
const TCP: Transport = Transport {
    number: 6,
    checksum: 16,
};

impl Transport {
    /// Packets that have our address and the first port there get the second.
    fn rule(self, chain: &str, address: Field, port: Field, (from, to): (u16, u16)) -> Message {
        let register = Register::FIRST;
        let equal = |value: &[u8]| Expression::Compare(register, Comparison::Equal, value.to_vec());
        let steps = [
            Expression::Load(Meta::TransportProtocol, register),
            equal(&[self.number]),
            Expression::Field(address, register),
            equal(&ADDRESS.octets()),
            Expression::Field(port, register),
            equal(&from.to_be_bytes()),
            Expression::Immediate(register, to.to_be_bytes().to_vec()),
            Expression::Rewrite {
                field: port,
                from: register,
                checksum: Checksum::Transport(self.checksum),
            },
        ];
        TABLE.rule(chain, &steps)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpStream},
        os::fd::AsFd,
        time::Duration,
    };

    use super::*;

    /// Needs the rights of root over a new network namespace, as `unshare -Urn` gives them.
    #[test]
    fn port_53_leads_to_the_sockets_and_stays_free() {
        let Ok(namespace) = sys::netns::new() else {
            return;
        };
        // An earlier responder's rules are no obstacle.
        drop(sockets(namespace.as_fd()).unwrap());
        let Sockets {
            datagrams,
            listener,
            netns: _,
        } = sockets(namespace.as_fd()).unwrap();
        datagrams.set_nonblocking(false).unwrap();
        datagrams
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_ne!(datagrams.local_addr().unwrap().port(), PORT);
        let there = SocketAddr::from((ADDRESS, PORT));
        let taken = sys::netns::within(namespace.as_fd(), || {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
            let own = (UdpSocket::bind(any)?, TcpListener::bind(any)?);
            let client = UdpSocket::bind("127.0.0.1:0")?;
            client.connect(there)?;
            client.send(b"question")?;
            let stream = TcpStream::connect_timeout(&there, Duration::from_secs(5))?;
            Ok((own, client, stream))
        });
        let (_own, client, mut stream) = taken.unwrap();
        let mut buffer = [0; 16];
        let (length, from) = datagrams.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        datagrams.send_to(b"answer", from).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        // It is connected: it takes packets of that address and port only.
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(b"hello").unwrap();
        stream.read_exact(&mut buffer[..5]).unwrap();
        assert_eq!(&buffer[..5], b"hello");
    }
}
