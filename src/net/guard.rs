//! Each container speaks for itself alone: what it sends on its bridge bears its own addresses, whatever
//! raw sockets it has.
//!
//! Two things see to that. The bridge takes only frames with the container's hardware address from its
//! port ([`super::bridge`]: a locked port, Linux 5.16). And a table of the family `bridge` knows which
//! hardware address has which address of IP; in nft(8)'s words:
//!
//! ```text
//! chain prerouting                                 # filter: frames that come in by ports of bridges
//!     iifgroup != @networks accept                 # somebody else's bridge
//!     iifgroup . ip saddr @taken4 iifgroup . ip saddr . ether saddr != @owners4 drop
//!     arp:      the same of the sender's addresses
//!     ip6 saddr, and the target of a neighbour advertisement: the same with @taken6, @owners6
//!     icmpv6 type { 134, 137 } drop                # router advertisements, redirects (CVE-2020-10749)
//!     udp sport . dport { 67 . 68, 547 . 546 } drop          # answers of DHCP servers
//! ```
//!
//! The ports of a network are a group of links, whose number is made of the network's ID: few kernels
//! know bridges by their names here. `taken` are the addresses of the network's containers and of its gateway. An address that nobody has
//! is free: a container may take it in addition (keepalived(8) and the like live by it).
//!
//! **Elements are added when a container is attached, and never removed one by one**: one that stays
//! behind says that an address belongs to the hardware address that goes with it, which is true of the
//! next container that gets it. So there are never more than addresses. They go with the router
//! namespace, or with root's network ([`forget`]). Who loses the table (`nft flush ruleset`) gets it
//! again with the next container, and its own elements with `network reload`.
//!
//! A kernel without nf_tables for bridges does without: containers then are as apart as Docker's.

use std::net::{IpAddr, Ipv6Addr};

use rustix::io::Errno;

use super::{
    bridge,
    netlink::{
        Batch, Socket, errno,
        nft::{
            BaseChain, ChainKind, Comparison, Element, Expression, Family, Field, Hook, Meta,
            Register, Set, Table, Type, Verdict, concatenation,
        },
    },
};
use crate::model::{
    Error, Result,
    network::{Driver, Endpoint, Network},
};

const TABLE: Table<'static> = Table {
    family: Family::Bridge,
    name: "coracle",
};

const NETWORKS: &str = "networks";
const SETS: [Set<'static>; 5] = [
    Set::of(NETWORKS, &[Type::Group]),
    Set::of("taken4", &[Type::Group, Type::Ipv4]),
    Set::of("taken6", &[Type::Group, Type::Ipv6]),
    Set::of("owners4", &[Type::Group, Type::Ipv4, Type::Ethernet]),
    Set::of("owners6", &[Type::Group, Type::Ipv6, Type::Ethernet]),
];

/// `NF_BR_PRI_FILTER_BRIDGED`: before br_netfilter shows frames to the firewall of packets.
const FILTER: i32 = -200;

/// Makes the container's addresses its own, from now on. `socket` is of nf_tables in the namespace of
/// the network's bridge.
pub fn attach(socket: &mut Socket, network: &Network, endpoint: &Endpoint) -> Result<()> {
    if network.driver != Driver::Bridge {
        return Ok(());
    }
    without_support(own(socket, || elements(network, endpoint)))
}

fn own(socket: &mut Socket, elements: impl Fn() -> Elements) -> Result<()> {
    // Asked first: a batch that fails costs a grace period of the kernel's RCU, 10 ms and more.
    if TABLE.exists(socket)? {
        let added = socket.send(add(Batch::new(), elements()));
        if added.as_ref().err().and_then(errno) != Some(Errno::NOENT) {
            return added;
        }
    }
    match socket.send(add(table(), elements())) {
        // A table of another version of this program.
        Err(error) if errno(&error) == Some(Errno::EXIST) => {
            let mut batch = Batch::new();
            batch.push("remove the guard's old table", TABLE.delete());
            batch.append(add(table(), elements()));
            socket.send(batch)
        }
        made => made,
    }
}

/// The same in the calling thread's namespace, whose kernel may have no nf_tables at all.
pub fn attach_here(network: &Network, endpoint: &Endpoint) -> Result<()> {
    let attached = Socket::netfilter();
    without_support(attached.and_then(|mut socket| attach(&mut socket, network, endpoint)))
}

fn without_support(sent: Result<()>) -> Result<()> {
    let missing = |error: &Error| {
        let unsupported = [Errno::AFNOSUPPORT, Errno::OPNOTSUPP, Errno::PROTONOSUPPORT];
        errno(error).is_some_and(|errno| unsupported.contains(&errno))
    };
    match sent {
        Err(error) if missing(&error) => Ok(()),
        sent => sent,
    }
}

/// The group of links that the network's ports are.
pub(super) fn group(network: &Network) -> u32 {
    let first = network.id.as_str().get(..8);
    let number = first.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    // 0 is that of all other links.
    number.unwrap_or(1).max(1)
}

/// Forgets a network that is removed.
pub fn forget(socket: &mut Socket, network: &Network) -> Result<()> {
    let group = group(network).to_ne_bytes();
    let mut batch = Batch::new();
    for set in SETS {
        let mut gone = match TABLE.elements(socket, set.name) {
            Err(error) if errno(&error) == Some(Errno::NOENT) => return Ok(()),
            found => found?,
        };
        gone.retain(|element| element.key.starts_with(&group));
        for request in TABLE.remove(set.name, &gone) {
            batch.push(format!("remove from the guard's {}", set.name), request);
        }
    }
    socket.send(batch)
}

/// Removes the table if no network is in it any more.
pub fn remove_unused(socket: &mut Socket) -> Result<()> {
    without_support(TABLE.delete_unless_used(socket, NETWORKS))
}

/// Of each of the sets.
type Elements = [(&'static str, Vec<Element>); 5];

fn add(mut batch: Batch, elements: Elements) -> Batch {
    for (set, elements) in elements {
        for request in TABLE.add(set, &elements) {
            batch.push(format!("add to the guard's {set}"), request);
        }
    }
    batch
}

/// In the order of [`SETS`].
fn elements(network: &Network, endpoint: &Endpoint) -> Elements {
    let group = group(network).to_ne_bytes();
    let mut sets = SETS.map(|set| (set.name, Vec::new()));
    sets[0].1.push(Element::key(group));
    let mut own: Vec<IpAddr> = endpoint.addresses.iter().map(ipnet::IpNet::addr).collect();
    own.extend(&endpoint.link_local);
    let gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway);
    let mut gateways: Vec<IpAddr> = gateways.collect();
    if network.ipv6 {
        own.push(link_local(endpoint.mac.0).into());
        gateways.extend(bridge::own_mac(network).map(|mac| IpAddr::from(link_local(mac))));
    }
    for address in own.iter().chain(&gateways) {
        let taken = concatenation(&[&group, &octets(*address)]);
        sets[1 + usize::from(address.is_ipv6())]
            .1
            .push(Element::key(taken));
    }
    for address in own {
        let owner = concatenation(&[&group, &octets(address), &endpoint.mac.0]);
        sets[3 + usize::from(address.is_ipv6())]
            .1
            .push(Element::key(owner));
    }
    for (_, elements) in &mut sets {
        // One that a request names twice is an error of it.
        elements.sort();
        elements.dedup();
    }
    sets
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address that a link gives itself, RFC 4291, appendix A.
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    let [ab, ce, fd, ef] = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    Ipv6Addr::new(0xfe80, 0, 0, 0, ab, ce, fd, ef)
}

fn table() -> Batch {
    let mut batch = Batch::new();
    batch.push("make the guard's table", TABLE.create());
    for set in SETS {
        batch.push("make the guard's sets", TABLE.set(&set));
    }
    let base = BaseChain {
        hook: Hook::Prerouting,
        kind: ChainKind::Filter,
        priority: FILTER,
    };
    batch.push("make the guard's chain", TABLE.chain(CHAIN, Some(base)));
    // Whoever comes second writes the same rules, not the same ones again.
    batch.push("empty the guard's chain", TABLE.flush_chain(CHAIN));
    for rule in rules() {
        batch.push("add a rule to the guard's chain", TABLE.rule(CHAIN, &rule));
    }
    batch
}

const CHAIN: &str = "prerouting";
type Rule = Vec<Expression<'static>>;

/// The group, then an address of IP, then the hardware address.
const KEY: Register = Register::slot(0);
const ADDRESS: Register = Register::slot(1);
const HARDWARE_4: Register = Register::slot(2);
const HARDWARE_6: Register = Register::slot(5);
/// Of comparisons, before the key is there.
const OTHER: Register = Register::slot(12);

fn rules() -> Vec<Rule> {
    // Ethernet types.
    let [ipv4, ipv6, arp] = [[8, 0], [0x86, 0xdd], [8, 6]];
    let drop = || vec![Expression::Verdict(Verdict::Drop)];
    let foreign = vec![
        Expression::Load(Meta::InputGroup, KEY),
        Expression::NotInSet(NETWORKS, KEY),
        Expression::Verdict(Verdict::Accept),
    ];
    let stolen = |address, hardware| match address {
        Field { length: 4, .. } => owned(address, hardware, HARDWARE_4, ["taken4", "owners4"]),
        _ => owned(address, hardware, HARDWARE_6, ["taken6", "owners6"]),
    };
    let ether = Field::LINK_SOURCE;
    let of = |protocol: [u8; 2]| {
        vec![
            Expression::Load(Meta::LinkProtocol, OTHER),
            Expression::Compare(OTHER, Comparison::Equal, protocol.to_vec()),
        ]
    };
    let mut rules = vec![
        foreign,
        [of(ipv4), stolen(Field::SOURCE_V4, ether), drop()].concat(),
        [
            of(arp),
            stolen(Field::ARP_SENDER, Field::ARP_SENDER_LINK),
            drop(),
        ]
        .concat(),
        [of(ipv6), stolen(Field::SOURCE_V6, ether), drop()].concat(),
        [
            neighbour(136),
            stolen(Field::NEIGHBOUR_TARGET, ether),
            drop(),
        ]
        .concat(),
    ];
    rules.extend([134, 137].map(|kind| [neighbour(kind), drop()].concat()));
    rules.extend([(67_u16, 68_u16), (547, 546)].map(|ports| [datagram(ports), drop()].concat()));
    rules
}

/// Goes on if the address is somebody's, but not of who has this hardware address.
fn owned(
    address: Field,
    hardware: Field,
    behind: Register,
    [taken, owners]: [&'static str; 2],
) -> Rule {
    vec![
        Expression::Load(Meta::InputGroup, KEY),
        Expression::Field(address, ADDRESS),
        Expression::InSet(taken, KEY),
        Expression::Field(hardware, behind),
        Expression::NotInSet(owners, KEY),
    ]
}

fn transport(protocol: u8, field: Field, value: Vec<u8>) -> Rule {
    vec![
        Expression::Load(Meta::TransportProtocol, OTHER),
        Expression::Compare(OTHER, Comparison::Equal, vec![protocol]),
        Expression::Field(field, OTHER),
        Expression::Compare(OTHER, Comparison::Equal, value),
    ]
}

/// A message of ICMPv6 of this type.
fn neighbour(kind: u8) -> Rule {
    transport(58, Field::ICMP_TYPE, vec![kind])
}

/// UDP from the first port to the second.
fn datagram((source, destination): (u16, u16)) -> Rule {
    let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    transport(17, Field::PORTS, ports)
}

#[cfg(test)]
mod tests;
