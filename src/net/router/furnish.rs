//! What a router namespace has from the beginning, whoever joins: settings, routes, and what gives a
//! container's packets to its relay. That depends on what the kernel has ([`Backend`]).
//!
//! With nf_tables and TPROXY, rules of a firewall:
//!
//! ```text
//! chain prerouting (mangle):
//!   from a relay's device: TCP     → to the socket of the connection, else to the listener of its
//!                                    source address (map), mark 1
//!   from a relay's device: other   → on its way: an answer that the relay has made up
//!   not to one other host          → the router's own services, broadcasts
//!   a SYN                          → on its way, that is into the relay's device (rule by source)
//!   other TCP                      → to the socket of the connection, mark 1
//!   TCP without one                → a reset: away; else on its way, as a SYN
//!   UDP                            → to the socket of the flow, else to the listener, mark 1
//! routing: mark 1 → delivered here, whatever the destination
//! ```
//!
//! TCP without a socket is asked for twice, by way of the device: while the kernel puts a connection
//! in the place of the request for it, a packet that another processor delivers may find neither,
//! and the listener would answer the container's first bytes with a reset.
//!
//! Without, routes do it, and every packet takes the way through the relay's device ([`super::super::relay::routing`] adds
//! what is of one relay):
//!
//! ```text
//! from a container                       → into its relay's device
//! from there, the container's            → delivered here, whatever the destination
//! from there, made up or of a socket     → to the container
//! ```
//!
//! A packet must not find its socket before it has been on that way: the kernel would look for one
//! on arrival (`ip_early_demux`), and drop the packet then, for it is to be forwarded. That this
//! setting is off is also how whoever joins knows what the namespace was furnished for.
//!
//! Nothing here tracks connections.

use std::{fs, io};

use rustix::io::Errno;

use crate::{
    model::{Context, Error, ErrorKind, Result, backend::Backend},
    net::netlink::{
        Batch, Socket,
        nft::{
            ADDRESS_UNICAST, Asked, BaseChain, ChainKind, Comparison, Expression, Field, Hook,
            Meta, Register, Set, Table, Type, Value, Verdict,
        },
        route::{self, Route, RouteKind, Rule},
    },
};

/// Ours alone, in each namespace of ours.
pub const TABLE: Table<'static> = Table::inet("coracle");
/// The ports of listeners by the container's address.
pub const RELAY4: &str = "relay4";
pub const RELAY6: &str = "relay6";
/// Of the packets that are delivered to listeners.
const MARK: u32 = 1;
/// The table that delivers them; those of containers are numbered by addresses, which are larger.
pub const TO_LISTENERS: u32 = 100;
/// The routes to the containers' networks, rtnetlink(7) `RT_TABLE_MAIN`: there are no others in it.
pub const TO_CONTAINERS: u32 = 254;
const LO: u32 = 1;

const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Relays do not listen there: theirs are chosen by the kernel.
const NOBODYS_PORT: u16 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// Settings of the namespace, below /proc/sys/net: the calling thread's.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    // Packets come back from the relay's device that have the container's address.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // A flow's socket has the port of its other end, whatever that is; the relay has no capability.
    ("ipv4/ip_unprivileged_port_start", "0"),
    // A client may come back from the same port before the last connection is forgotten.
    ("ipv4/tcp_tw_reuse", "1"),
    ("ipv4/ip_local_port_range", "1024 65535"),
    // Frames between containers are not to run through the rules: TPROXY's choice of a socket is
    // lost on the way up from a bridge. Not there without br_netfilter.
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];

/// See the head of this module.
const EARLY_DEMUX: &str = "/proc/sys/net/ipv4/ip_early_demux";

/// Errors that a kernel without IPv6 has for its routes.
pub const NO_IPV6: &[Errno] = &[Errno::AFNOSUPPORT, Errno::OPNOTSUPP];

/// What the calling thread's namespace was furnished for.
pub fn backend() -> Result<Backend> {
    let setting =
        fs::read(EARLY_DEMUX).system(|| "cannot read the settings of the router".to_owned())?;
    Ok(match setting.first() {
        Some(b'0') => Backend::Tun,
        _ => Backend::Tproxy,
    })
}

/// Makes all this in the calling thread's namespace, which is new.
///
/// # Errors
/// `Unsupported` if the kernel does not have what the wanted backend needs.
pub fn furnish(wanted: Option<Backend>) -> Result<Backend> {
    for (name, value) in SETTINGS {
        match fs::write(format!("/proc/sys/net/{name}"), value) {
            // Without IPv6 or bridges there is nothing to set.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.system(|| format!("cannot set net/{name} in the router"))?,
        }
    }
    let mut links = Batch::new();
    links.push("raise lo in the router", route::set_up(LO));
    for ipv6 in [false, true] {
        let route = match ipv6 {
            false => Route::default_v4(),
            true => Route::default_v6(),
        };
        let route = route.device(LO).table(TO_LISTENERS).kind(RouteKind::Local);
        let harmless = if ipv6 { NO_IPV6 } else { &[] };
        links.push_unless(harmless, "route to the relays", route.add());
        let rule = Rule {
            ipv6,
            mark: Some(MARK),
            table: TO_LISTENERS,
            priority: Some(10),
            ..Rule::default()
        };
        links.push_unless(harmless, "route by marks", rule.add());
    }
    Socket::route()?.send(links)?;
    if wanted != Some(Backend::Tun) {
        let sent = Socket::netfilter().and_then(|mut socket| socket.send(firewall()));
        match sent {
            Ok(()) => return Ok(Backend::Tproxy),
            Err(cause) if wanted.is_some() => return Err(no_tproxy().with_source(cause)),
            Err(_) => {}
        }
    }
    fs::write(EARLY_DEMUX, "0").system(|| "cannot set ip_early_demux in the router".to_owned())?;
    Ok(Backend::Tun)
}

/// Why there is no firewall.
pub fn no_tproxy() -> Error {
    let missing = "the kernel has no nf_tables with tproxy";
    Error::new(ErrorKind::Unsupported, missing)
        .with_hint("ask an administrator for `modprobe -a nf_tables nft_tproxy nft_fib_inet`")
}

/// The table with its maps and rules.
pub fn firewall() -> Batch {
    let mut batch = Batch::new();
    batch.push("make the router's table", TABLE.create());
    for (name, key) in [(RELAY4, Type::Ipv4), (RELAY6, Type::Ipv6)] {
        let map = Set {
            name,
            key: &[key],
            value: Some(Value::Data(&[Type::Port])),
            interval: false,
        };
        batch.push("make the router's maps", TABLE.set(&map));
    }
    let base = BaseChain {
        hook: Hook::Prerouting,
        kind: ChainKind::Filter,
        priority: -150,
    };
    batch.push(
        "make the router's chain",
        TABLE.chain("prerouting", Some(base)),
    );
    for (label, rule) in rules() {
        batch.push(label, TABLE.rule("prerouting", &rule));
    }
    batch
}

type Labelled = (&'static str, Vec<Expression<'static>>);

fn rules() -> Vec<Labelled> {
    let accept = || Expression::Verdict(Verdict::Accept);
    let protocol = |number| is(Meta::TransportProtocol, number);
    let families = [(IPV4, RELAY4), (IPV6, RELAY6)];
    let mut rules = Vec::new();
    for (family, map) in families {
        let parts = [
            from_relay(),
            protocol(TCP),
            flags(RST, 0),
            to_listener(family, map),
        ];
        rules.push(("add the rule for packets put back (tproxy)", parts.concat()));
    }
    let on_its_way = [from_relay(), vec![accept()]];
    rules.push(("add the rule for answers", on_its_way.concat()));
    let not_to_one = vec![
        Expression::AddressType(Asked::Destination, Register::FIRST),
        compare(Comparison::NotEqual, ADDRESS_UNICAST.to_ne_bytes().to_vec()),
        accept(),
    ];
    rules.push(("add the rule for local packets (fib)", not_to_one));
    let held = [
        protocol(TCP),
        flags(FIN | SYN | RST | ACK, SYN),
        vec![accept()],
    ];
    rules.push(("add the rule for packets to be held", held.concat()));
    let nobodys = Expression::Immediate(Register::FIRST, NOBODYS_PORT.to_be_bytes().to_vec());
    let of_connections = [protocol(TCP), vec![nobodys], to_socket()];
    let label = "add the rule for connections (tproxy)";
    rules.push((label, of_connections.concat()));
    let late = [
        protocol(TCP),
        flags(RST, RST),
        vec![Expression::Verdict(Verdict::Drop)],
    ];
    rules.push(("add the rule for late resets", late.concat()));
    let of_none = [protocol(TCP), vec![accept()]];
    rules.push(("add the rule for what has no connection", of_none.concat()));
    for (family, map) in families {
        let parts = [protocol(UDP), to_listener(family, map)];
        rules.push(("add the rule for datagrams (tproxy)", parts.concat()));
    }
    rules
}

fn compare(comparison: Comparison, value: Vec<u8>) -> Expression<'static> {
    Expression::Compare(Register::FIRST, comparison, value)
}

fn is(meta: Meta, value: u8) -> Vec<Expression<'static>> {
    vec![
        Expression::Load(meta, Register::FIRST),
        compare(Comparison::Equal, vec![value]),
    ]
}

/// Their devices are called so by [`crate::sys::tun::open`]; nobody else's are.
fn from_relay() -> Vec<Expression<'static>> {
    vec![
        Expression::Load(Meta::InputName, Register::FIRST),
        compare(Comparison::Equal, b"relay".to_vec()),
    ]
}

/// Those of TCP that `mask` names are these.
fn flags(mask: u8, value: u8) -> Vec<Expression<'static>> {
    vec![
        Expression::Field(Field::TCP_FLAGS, Register::FIRST),
        Expression::Mask(Register::FIRST, vec![mask]),
        compare(Comparison::Equal, vec![value]),
    ]
}

/// To the listener of the packet's source, if it has one.
fn to_listener(family: u8, map: &'static str) -> Vec<Expression<'static>> {
    let source = match family {
        IPV4 => Field::SOURCE_V4,
        _ => Field::SOURCE_V6,
    };
    let mut rule = is(Meta::NetworkProtocol, family);
    rule.extend([
        Expression::Field(source, Register::FIRST),
        Expression::Map {
            map,
            key: Register::FIRST,
            value: Register::FIRST,
        },
    ]);
    rule.extend(to_socket());
    rule
}

/// To the socket of the packet's connection, else to the listener at the port in the register; the
/// next rule if there is neither.
fn to_socket() -> Vec<Expression<'static>> {
    vec![
        Expression::TransparentProxy(Register::FIRST),
        Expression::Immediate(Register::FIRST, MARK.to_ne_bytes().to_vec()),
        Expression::Store(Meta::Mark, Register::FIRST),
        Expression::Verdict(Verdict::Accept),
    ]
}
