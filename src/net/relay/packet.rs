//! The few packets that reach this process as packets: what a container sends to the trap of its
//! router (RFC 791, 8200, 9293, 792, 4443), and the answers that are made up for it.
//!
//! Everything read here is hostile. Offsets are fixed, every access is checked, nothing is
//! reassembled and no option or extension header is followed: what is not understood is
//! [`Packet::Other`], or `None` if it is a fragment or no IP packet at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;

use crate::sys::datagram::SendError;

/// Numbers of protocols, and of the parts of TCP's flags field.
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// The extension header of IPv6.
const FRAGMENT: u8 = 44;
const RESET_AND_ACKNOWLEDGE: u8 = 0x14;
const SYN: u8 = 0x02;
/// FIN, SYN, RST and ACK.
const OPENING: u8 = 0x17;

/// Two ends of a conversation, as the container sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// What a container has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The first packet of a TCP connection.
    Syn(Tuple),
    /// An ICMP echo request: everything behind its identifier and sequence number is `payload`.
    Echo {
        source: IpAddr,
        destination: IpAddr,
        identifier: u16,
        sequence: u16,
        payload: &'a [u8],
    },
    /// A datagram of UDP, or the first fragment of one.
    Datagram(Tuple),
    /// Another fragment.
    Fragment { protocol: u8 },
    /// Anything else that has the header of IP.
    Other {
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
    },
}

/// Why a packet does not reach its destination, as routers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    Network,
    Host,
    Protocol,
    Port,
    /// Somebody does not allow it.
    Prohibited,
    /// It is longer than this, in bytes, and is not to be cut into fragments.
    TooLong(u16),
}

impl Unreachable {
    /// What an error of the socket that sent it says, as far as ICMP can say it.
    pub fn of(error: SendError) -> Option<Unreachable> {
        Some(match Errno::from_raw_os_error(error.errno) {
            Errno::CONNREFUSED => Unreachable::Port,
            Errno::HOSTUNREACH | Errno::HOSTDOWN => Unreachable::Host,
            Errno::NETUNREACH => Unreachable::Network,
            // Among others: net.ipv4.ping_group_range does not have this user's group.
            Errno::ACCESS | Errno::PERM => Unreachable::Prohibited,
            Errno::MSGSIZE if error.mtu > 0 => {
                Unreachable::TooLong(u16::try_from(error.mtu).unwrap_or(u16::MAX))
            }
            _ => return None,
        })
    }

    /// Type and code, and the four bytes behind the checksum; RFC 792, 1191, 4443.
    fn head(self, six: bool) -> [u8; 8] {
        let [high, low] = match self {
            Unreachable::TooLong(mtu) => mtu.to_be_bytes(),
            _ => [0, 0],
        };
        let kind = match (self, six) {
            (Unreachable::TooLong(_), true) => 2,
            (_, true) => 1,
            (_, false) => 3,
        };
        [kind, self.code(six), 0, 0, 0, 0, high, low]
    }

    fn code(self, six: bool) -> u8 {
        match (self, six) {
            (Unreachable::Network, _) | (Unreachable::TooLong(_), true) => 0,
            (Unreachable::TooLong(_), false) => 4,
            (Unreachable::Host, false) => 1,
            (Unreachable::Protocol, false) => 2,
            (Unreachable::Port, false) => 3,
            (Unreachable::Prohibited, false) => 13,
            (Unreachable::Prohibited | Unreachable::Protocol, true) => 1,
            (Unreachable::Host, true) => 3,
            (Unreachable::Port, true) => 4,
        }
    }
}

/// The header of IP, and what it carries.
struct Carried<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    part: Part,
    payload: &'a [u8],
}

/// How much of what was sent a packet carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    First,
    Later,
}

impl Part {
    /// Of a field in which an offset is below, or above, a flag for "more fragments".
    fn of(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Part::Whole,
            (0, true) => Part::First,
            _ => Part::Later,
        }
    }
}

/// Reads one packet. `None` if it is no packet of IP, or shorter than it says.
pub fn parse(packet: &[u8]) -> Option<Packet<'_>> {
    let carried = carried(packet)?;
    let protocol = carried.protocol;
    match (carried.part, protocol) {
        (Part::Whole | Part::First, UDP) if carried.payload.len() >= 8 => {
            return Some(Packet::Datagram(tuple(&carried)?));
        }
        (Part::First | Part::Later, _) => return Some(Packet::Fragment { protocol }),
        (Part::Whole, _) => {}
    }
    let other = Packet::Other {
        source: carried.source,
        destination: carried.destination,
        protocol: carried.protocol,
    };
    let six = carried.source.is_ipv6();
    let payload = carried.payload;
    Some(match carried.protocol {
        TCP if payload.len() >= 20 && payload[13] & OPENING == SYN => Packet::Syn(tuple(&carried)?),
        ICMP if !six && payload.len() >= 8 && payload[..2] == [8, 0] => echo(&carried)?,
        ICMPV6 if six && payload.len() >= 8 && payload[..2] == [128, 0] => echo(&carried)?,
        _ => other,
    })
}

/// The two ends of a conversation over TCP or UDP.
fn tuple(carried: &Carried<'_>) -> Option<Tuple> {
    Some(Tuple {
        source: SocketAddr::new(carried.source, number(carried.payload, 0)?),
        destination: SocketAddr::new(carried.destination, number(carried.payload, 2)?),
    })
}

fn echo<'a>(carried: &Carried<'a>) -> Option<Packet<'a>> {
    Some(Packet::Echo {
        source: carried.source,
        destination: carried.destination,
        identifier: number(carried.payload, 4)?,
        sequence: number(carried.payload, 6)?,
        payload: carried.payload.get(8..)?,
    })
}

fn carried(packet: &[u8]) -> Option<Carried<'_>> {
    match packet.first()? >> 4 {
        4 => carried_by_four(packet),
        6 => carried_by_six(packet),
        _ => None,
    }
}

fn carried_by_four(packet: &[u8]) -> Option<Carried<'_>> {
    let header = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(number(packet, 2)?);
    if header < 20 || total < header {
        return None;
    }
    let address = |at| Some(Ipv4Addr::from(quad(packet, at)?).into());
    let fragment = number(packet, 6)?;
    Some(Carried {
        source: address(12)?,
        destination: address(16)?,
        protocol: *packet.get(9)?,
        part: Part::of(fragment & 0x1fff, fragment & 0x2000 != 0),
        payload: packet.get(header..total)?,
    })
}

fn carried_by_six(packet: &[u8]) -> Option<Carried<'_>> {
    let (length, mut protocol) = (usize::from(number(packet, 4)?), *packet.get(6)?);
    let mut payload = packet.get(40..40 + length)?;
    let mut part = Part::Whole;
    if protocol == FRAGMENT {
        let fragment = number(payload, 2)?;
        part = Part::of(fragment & 0xfff8, fragment & 1 != 0);
        protocol = *payload.first()?;
        payload = payload.get(8..)?;
    }
    let address = |at| {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes).into())
    };
    Some(Carried {
        source: address(8)?,
        destination: address(24)?,
        protocol,
        part,
        payload,
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(pair))
}

fn quad(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(four))
}

/// The answer of a host on which nobody listens at that port: a reset of the connection that
/// `syn`, a packet for which [`parse`] has said [`Packet::Syn`], opens.
pub fn refusal(syn: &[u8]) -> Option<Vec<u8>> {
    let carried = carried(syn)?;
    let tcp = carried.payload;
    let header = usize::from(*tcp.get(12)? >> 4) * 4;
    let data = tcp.len().checked_sub(header.max(20))?;
    // The SYN counts as one, and so does every byte that came with it.
    let acknowledged = quad(tcp, 4)?
        .wrapping_add(1)
        .wrapping_add(u32::try_from(data).ok()?);
    let mut answer = Vec::with_capacity(20);
    answer.extend_from_slice(tcp.get(2..4)?);
    answer.extend_from_slice(tcp.get(..2)?);
    answer.extend_from_slice(&[0; 4]);
    answer.extend_from_slice(&acknowledged.to_be_bytes());
    answer.extend_from_slice(&[5 << 4, RESET_AND_ACKNOWLEDGE]);
    answer.extend_from_slice(&[0; 6]);
    Some(wrap(
        carried.destination,
        carried.source,
        TCP,
        16,
        &mut answer,
    ))
}

/// A router's word that `packet` goes nowhere, with as much of it as the sender needs to know which
/// one it was. Nothing is said about errors, broadcasts and the like (RFC 1122, 3.2.2).
pub fn unreachable(packet: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    let carried = carried(packet)?;
    if carried.part == Part::Later {
        return None;
    }
    let six = carried.source.is_ipv6();
    let error = match carried.protocol {
        ICMP if !six => !matches!(carried.payload.first()?, 0 | 8),
        ICMPV6 if six => *carried.payload.first()? < 128,
        _ => false,
    };
    if error || !is_one_host(carried.source) || !is_one_host(carried.destination) {
        return None;
    }
    let (protocol, most) = match six {
        false => (ICMP, 576 - 28),
        true => (ICMPV6, 1280 - 48),
    };
    let mut message = why.head(six).to_vec();
    message.extend_from_slice(&packet[..packet.len().min(most)]);
    Some(wrap(
        carried.destination,
        carried.source,
        protocol,
        2,
        &mut message,
    ))
}

/// The answer to an echo request.
pub fn echo_reply(
    source: IpAddr,
    destination: IpAddr,
    identifier: u16,
    sequence: u16,
    payload: &[u8],
) -> Vec<u8> {
    let (kind, protocol) = match source {
        IpAddr::V4(_) => (0, ICMP),
        IpAddr::V6(_) => (129, ICMPV6),
    };
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&identifier.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(payload);
    wrap(source, destination, protocol, 2, &mut message)
}

/// The headers of a datagram that a container has sent, as an error quotes them: the datagram
/// itself is gone when the error comes.
pub fn datagram_headers(tuple: &Tuple) -> Vec<u8> {
    let mut header = Vec::with_capacity(8);
    header.extend_from_slice(&tuple.source.port().to_be_bytes());
    header.extend_from_slice(&tuple.destination.port().to_be_bytes());
    header.extend_from_slice(&[0, 8, 0, 0]);
    wrap(
        tuple.source.ip(),
        tuple.destination.ip(),
        UDP,
        6,
        &mut header,
    )
}

/// Whether an address can be that of one host.
fn is_one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !four.is_broadcast() && !four.is_multicast() && !four.is_unspecified(),
        IpAddr::V6(six) => !six.is_multicast() && !six.is_unspecified(),
    }
}

/// Puts the header of IP before `carried`, whose checksum at `checksum_at` is filled in first.
fn wrap(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    checksum_at: usize,
    carried: &mut [u8],
) -> Vec<u8> {
    let length = u16::try_from(carried.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(40 + carried.len());
    let pseudo = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = length.saturating_add(20);
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&total.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, 64, protocol, 0, 0]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
            let checksum = !folded(sum(&packet));
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            match protocol {
                ICMP => 0,
                _ => sum(&packet[12..20]) + u64::from(protocol) + u64::from(length),
            }
        }
        (source, destination) => {
            let octets = |address| match address {
                IpAddr::V4(four) => Ipv4Addr::to_ipv6_mapped(&four).octets(),
                IpAddr::V6(six) => six.octets(),
            };
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[protocol, 64]);
            packet.extend_from_slice(&octets(source));
            packet.extend_from_slice(&octets(destination));
            sum(&packet[8..40]) + u64::from(protocol) + u64::from(length)
        }
    };
    if let Some(place) = carried.get_mut(checksum_at..checksum_at + 2) {
        place.fill(0);
    }
    let checksum = !folded(pseudo + sum(carried));
    if let Some(place) = carried.get_mut(checksum_at..checksum_at + 2) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    packet.extend_from_slice(carried);
    packet
}

/// The sum of the 16-bit words, RFC 1071.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u64::from(u16::from_be_bytes([pair[0], low]))
    });
    words.sum()
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checksum_is_right(packet: &[u8]) -> bool {
        let carried = carried(packet).unwrap();
        let pseudo = match (packet[0] >> 4, carried.protocol) {
            (4, ICMP) => 0,
            (4, _) => sum(&packet[12..20]) + u64::from(carried.protocol),
            _ => sum(&packet[8..40]) + u64::from(carried.protocol),
        };
        let length = match (packet[0] >> 4, carried.protocol) {
            (4, ICMP) => 0,
            _ => carried.payload.len() as u64,
        };
        folded(pseudo + length + sum(carried.payload)) == 0xffff
            && (packet[0] >> 4 == 6 || folded(sum(&packet[..20])) == 0xffff)
    }

    fn syn(source: SocketAddr, destination: SocketAddr, sequence: u32, data: &[u8]) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend_from_slice(&source.port().to_be_bytes());
        tcp.extend_from_slice(&destination.port().to_be_bytes());
        tcp.extend_from_slice(&sequence.to_be_bytes());
        tcp.extend_from_slice(&[0, 0, 0, 0, 6 << 4, SYN, 0, 9, 0, 0, 0, 0, 2, 4, 5, 180]);
        tcp.extend_from_slice(data);
        wrap(source.ip(), destination.ip(), TCP, 16, &mut tcp)
    }

    /// The packet as one fragment, `offset` times eight octets behind the first.
    fn fragment(packet: &[u8], offset: u16, more: bool) -> Vec<u8> {
        let mut made = packet.to_vec();
        if packet[0] >> 4 == 4 {
            made[6..8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
            return made;
        }
        let length = u16::from_be_bytes([packet[4], packet[5]]) + 8;
        made[4..6].copy_from_slice(&length.to_be_bytes());
        made[6] = FRAGMENT;
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        made.splice(40..40, [packet[6], 0, high, low, 0, 0, 0, 7]);
        made
    }

    fn address() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        prop_oneof![
            any::<([u8; 4], [u8; 4], u16, u16)>()
                .prop_map(|(a, b, p, q)| ((a, p).into(), (b, q).into())),
            any::<([u8; 16], [u8; 16], u16, u16)>()
                .prop_map(|(a, b, p, q)| ((a, p).into(), (b, q).into())),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), four: bool) {
            if let Some(first) = bytes.first_mut() {
                *first = if four { 0x40 | *first & 15 } else { 0x60 | *first & 15 };
            }
            if let Some(packet) = parse(&bytes) {
                if let Packet::Syn(_) = packet {
                    let _ = refusal(&bytes);
                }
                if let Some(error) = unreachable(&bytes, Unreachable::Host) {
                    prop_assert!(checksum_is_right(&error));
                    // Nobody answers an error.
                    prop_assert_eq!(unreachable(&error, Unreachable::Host), None);
                }
            }
        }

        #[test]
        fn a_connection_is_recognised_and_refused((source, destination) in address(), sequence: u32, data in proptest::collection::vec(any::<u8>(), 0..50)) {
            let packet = syn(source, destination, sequence, &data);
            prop_assert!(checksum_is_right(&packet));
            prop_assert_eq!(parse(&packet), Some(Packet::Syn(Tuple { source, destination })));
            for length in 0..packet.len() {
                prop_assert_eq!(parse(&packet[..length]), None);
            }
            let answer = refusal(&packet).unwrap();
            prop_assert!(checksum_is_right(&answer));
            let tcp = carried(&answer).unwrap();
            prop_assert_eq!(tcp.source, destination.ip());
            prop_assert_eq!(tcp.destination, source.ip());
            prop_assert_eq!(number(tcp.payload, 2), Some(source.port()));
            let expected = sequence.wrapping_add(1).wrapping_add(data.len() as u32);
            prop_assert_eq!(quad(tcp.payload, 8), Some(expected));
        }

        #[test]
        fn a_datagram_is_recognised_by_its_first_fragment((source, destination) in address(), data in proptest::collection::vec(any::<u8>(), 0..50), offset in 1_u16..0x1fff, more: bool) {
            let tuple = Tuple { source, destination };
            let mut udp = datagram_headers(&tuple).split_off(if source.is_ipv4() { 20 } else { 40 });
            udp.extend_from_slice(&data);
            let packet = wrap(source.ip(), destination.ip(), UDP, 6, &mut udp);
            prop_assert_eq!(parse(&packet), Some(Packet::Datagram(tuple)));
            for length in 0..packet.len() {
                prop_assert_eq!(parse(&packet[..length]), None);
            }
            let first = fragment(&packet, 0, true);
            prop_assert_eq!(parse(&first), Some(Packet::Datagram(tuple)));
            let later = fragment(&packet, offset, more);
            prop_assert_eq!(parse(&later), Some(Packet::Fragment { protocol: UDP }));
            prop_assert_eq!(unreachable(&later, Unreachable::Host), None);
        }

        #[test]
        fn an_echo_reply_has_what_was_asked((source, destination) in address(), identifier: u16, sequence: u16, payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let (source, destination) = (source.ip(), destination.ip());
            let reply = echo_reply(source, destination, identifier, sequence, &payload);
            prop_assert!(checksum_is_right(&reply));
            // A reply is a request but for its type, which the checksum covers.
            let mut request = reply.clone();
            let (at, kind) = if source.is_ipv4() { (20, 8) } else { (40, 128) };
            request[at] = kind;
            let expected = Packet::Echo { source, destination, identifier, sequence, payload: &payload };
            prop_assert_eq!(parse(&request), Some(expected));
        }
    }
}
