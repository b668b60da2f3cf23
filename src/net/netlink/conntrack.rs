//! Connection tracking, linux/netfilter/nfnetlink_conntrack.h: forgetting flows.
//!
//! A flow is translated as its first packet was for as long as it goes on. Of UDP that may be for
//! ever: a client that keeps sending from the same port would not notice that the container it
//! speaks to is gone, and that there is another one.

use std::net::IpAddr;

use rustix::io::Errno;

use crate::model::Result;

use super::{Message, Socket, errno, nft::Family};

const SUBSYSTEM: u16 = 1;
const DELETE: u16 = 2;

/// Forgets the flows of `protocol` (`IPPROTO_…`) that are answered by this address, whatever
/// address they were sent to. `socket` is of the firewall. A kernel that cannot choose flows so
/// (before Linux 6.12) forgets none.
pub fn forget_answered_by(socket: &mut Socket, address: IpAddr, protocol: u8) -> Result<()> {
    match socket.ask("forget flows to a container", &request(address, protocol)) {
        Err(error) if matches!(errno(&error), Some(Errno::INVAL | Errno::OPNOTSUPP)) => Ok(()),
        done => done.map(drop),
    }
}

fn request(address: IpAddr, protocol: u8) -> Message {
    const REPLY: u16 = 2;
    const ADDRESSES: u16 = 1;
    const TRANSPORT: u16 = 2;
    const PROTOCOL: u16 = 1;
    const FILTER: u16 = 25;
    const OF_REPLY: u16 = 2;
    const BY_SOURCE: u32 = 1;
    const BY_PROTOCOL: u32 = 1 << 3;
    let (family, source, octets) = match address {
        IpAddr::V4(address) => (Family::Ipv4, 1, address.octets().to_vec()),
        IpAddr::V6(address) => (Family::Ipv6, 3, address.octets().to_vec()),
    };
    let mut message = Message::new(SUBSYSTEM << 8 | DELETE, 0, &[family as u8, 0, 0, 0]);
    message.nest(REPLY, |tuple| {
        tuple.nest(ADDRESSES, |addresses| {
            addresses.put(source, &octets);
        });
        tuple.nest(TRANSPORT, |transport| {
            transport.put_u8(PROTOCOL, protocol);
        });
    });
    message.nest(FILTER, |filter| {
        filter.put_u32(OF_REPLY, BY_SOURCE | BY_PROTOCOL);
    });
    message
}
