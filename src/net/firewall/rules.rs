//! The table's chains, rules, sets and maps: the same for every host. In nft(8)'s words:
//!
//! ```text
//! chain forward                            # filter: who may send what through this host
//!     ct state established,related accept
//!     iifname . oifname @inside accept     # within a network, if bridged packets come here
//!     iifname @internal drop
//!     oifname @internal drop
//!     ct status dnat accept                # to a published port
//!     iifname . oifname @pairs drop        # within a network without `inside`
//!     iifname @bridges oifname @open accept
//!     oifname @bridges drop                # of another network, or of a neighbour of the host
//! chain prerouting, chain output           # nat: what comes in, what this host sends
//!     fib daddr type local jump publish
//! chain publish
//!     ip daddr 127.0.0.0/8 return          # the network process listens there
//!     ip6 daddr ::1 return
//!     dnat ip to ip daddr . meta l4proto . th dport map @ports4_at
//!     dnat ip to meta l4proto . th dport map @ports4
//!     (and the same for IPv6)
//! chain postrouting                        # nat: what leaves
//!     ct status dnat oifname . ip saddr @homes4 masquerade   # hairpin
//!     ct status dnat oifname . ip6 saddr @homes6 masquerade
//!     iifname . oifname @pairs accept
//!     iifname @masquerade masquerade
//! ```
//!
//! *Within a network first*: with br_netfilter, bridged packets go through `forward` too.
//!
//! *Hairpin*: a container that calls a port published by one of its own network, or by itself,
//! through the host's address must get its answers by the host as well; so the host's address is
//! put in for its own. It is known by its address, since with br_netfilter there is no `iifname` here.

use crate::net::netlink::{
    Batch,
    nft::{
        ADDRESS_LOCAL, Asked, BaseChain, ChainKind, Comparison, Expression, Family, Field, Hook,
        Meta, Register, Set, Tracked, Translation, Type, Value, Verdict,
    },
};

use super::TABLE;

const IPV4: u8 = 2;
const IPV6: u8 = 10;

const SETS: &[Set<'static>] = &[
    homes("homes4", &[Type::Interface, Type::Ipv4]),
    homes("homes6", &[Type::Interface, Type::Ipv6]),
    Set::of("bridges", &[Type::Interface]),
    Set::of("pairs", &[Type::Interface, Type::Interface]),
    Set::of("inside", &[Type::Interface, Type::Interface]),
    Set::of("masquerade", &[Type::Interface]),
    Set::of("internal", &[Type::Interface]),
    Set::of("open", &[Type::Interface]),
    map(
        "ports4",
        &[Type::Protocol, Type::Port],
        &[Type::Ipv4, Type::Port],
    ),
    map(
        "ports4_at",
        &[Type::Ipv4, Type::Protocol, Type::Port],
        &[Type::Ipv4, Type::Port],
    ),
    map(
        "ports6",
        &[Type::Protocol, Type::Port],
        &[Type::Ipv6, Type::Port],
    ),
    map(
        "ports6_at",
        &[Type::Ipv6, Type::Protocol, Type::Port],
        &[Type::Ipv6, Type::Port],
    ),
];

const fn homes(name: &'static str, key: &'static [Type]) -> Set<'static> {
    Set {
        interval: true,
        ..Set::of(name, key)
    }
}

const fn map(name: &'static str, key: &'static [Type], value: &'static [Type]) -> Set<'static> {
    Set {
        name,
        key,
        value: Some(Value::Data(value)),
        interval: false,
    }
}

/// Before a filter's, after connection tracking (-200).
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

const CHAINS: &[(&str, Option<BaseChain>)] = &[
    (
        "forward",
        Some(base(Hook::Forward, ChainKind::Filter, FILTER)),
    ),
    ("publish", None),
    (
        "prerouting",
        Some(base(Hook::Prerouting, ChainKind::Nat, DESTINATION_NAT)),
    ),
    (
        "output",
        Some(base(Hook::Output, ChainKind::Nat, DESTINATION_NAT)),
    ),
    (
        "postrouting",
        Some(base(Hook::Postrouting, ChainKind::Nat, SOURCE_NAT)),
    ),
];

const fn base(hook: Hook, kind: ChainKind, priority: i32) -> BaseChain {
    BaseChain {
        hook,
        kind,
        priority,
    }
}

/// Makes the table, or puts its chains and rules right and leaves its elements alone.
pub(super) fn table() -> Batch {
    let mut batch = Batch::new();
    batch.push("make the firewall's table", TABLE.create());
    for set in SETS {
        let what = format!("make the firewall's set {}", set.name);
        batch.push(what, TABLE.set(set));
    }
    for (chain, base) in CHAINS {
        let what = format!("make the firewall's chain {chain}");
        batch.push(what, TABLE.chain(chain, *base));
        // Whoever comes second writes the same rules, not the same ones again.
        batch.push("empty a chain of the firewall", TABLE.flush_chain(chain));
    }
    for (chain, rules) in rules() {
        for rule in rules {
            let what = format!("add a rule to the firewall's chain {chain}");
            batch.push(what, TABLE.rule(chain, &rule));
        }
    }
    batch
}

/// Makes the table anew, empty.
pub(super) fn new_table() -> Batch {
    let mut batch = Batch::new();
    batch.push("make the firewall's table", TABLE.create());
    batch.push("remove the firewall's old table", TABLE.delete());
    batch.append(table());
    batch
}

type Rule = Vec<Expression<'static>>;

fn rules() -> Vec<(&'static str, Vec<Rule>)> {
    vec![
        ("forward", forward()),
        ("prerouting", vec![to_this_host()]),
        ("output", vec![to_this_host()]),
        ("publish", publish()),
        ("postrouting", postrouting()),
    ]
}

fn forward() -> Vec<Rule> {
    let accept = || vec![Expression::Verdict(Verdict::Accept)];
    let drop = || vec![Expression::Verdict(Verdict::Drop)];
    let input = || name(Meta::InputName);
    let output = || name(Meta::OutputName);
    vec![
        [tracked(Tracked::State, ESTABLISHED | RELATED), accept()].concat(),
        [names(), in_set("inside"), accept()].concat(),
        [input(), in_set("internal"), drop()].concat(),
        [output(), in_set("internal"), drop()].concat(),
        [tracked(Tracked::Status, DESTINATION_TRANSLATED), accept()].concat(),
        [names(), in_set("pairs"), drop()].concat(),
        [
            input(),
            in_set("bridges"),
            output(),
            in_set("open"),
            accept(),
        ]
        .concat(),
        [output(), in_set("bridges"), drop()].concat(),
    ]
}

fn to_this_host() -> Rule {
    let register = Register::FIRST;
    vec![
        Expression::AddressType(Asked::Destination, register),
        Expression::Compare(
            register,
            Comparison::Equal,
            ADDRESS_LOCAL.to_ne_bytes().to_vec(),
        ),
        Expression::Verdict(Verdict::Jump("publish".to_owned())),
    ]
}

fn publish() -> Vec<Rule> {
    let register = Register::FIRST;
    let back = || vec![Expression::Verdict(Verdict::Return)];
    let loopback = |field, address: &[u8], mask: Option<&[u8]>| -> Rule {
        let mut rule = vec![Expression::Field(field, register)];
        rule.extend(mask.map(|mask| Expression::Mask(register, mask.to_vec())));
        rule.push(Expression::Compare(
            register,
            Comparison::Equal,
            address.to_vec(),
        ));
        rule
    };
    let v4 = loopback(
        Field::DESTINATION_V4,
        &[127, 0, 0, 0],
        Some(&[255, 0, 0, 0]),
    );
    let mut own = [0; 16];
    own[15] = 1;
    let v6 = loopback(Field::DESTINATION_V6, &own, None);
    vec![
        [protocol(IPV4), v4, back()].concat(),
        [protocol(IPV6), v6, back()].concat(),
        to_container("ports4_at", Family::Ipv4, true),
        to_container("ports4", Family::Ipv4, false),
        to_container("ports6_at", Family::Ipv6, true),
        to_container("ports6", Family::Ipv6, false),
    ]
}

/// Looks up protocol and port, behind the destination's address if it counts, and translates to
/// the container's address and port.
fn to_container(map: &'static str, family: Family, at: bool) -> Rule {
    let (number, field, words) = match family {
        Family::Ipv6 => (IPV6, Field::DESTINATION_V6, 4),
        _ => (IPV4, Field::DESTINATION_V4, 1),
    };
    let key = Register::slot(0);
    let after_address = if at { words } else { 0 };
    // The longest key has six registers, the longest value five, of sixteen.
    let (value, port) = (Register::slot(8), Register::slot(8 + words));
    let mut rule = protocol(number);
    if at {
        rule.push(Expression::Field(field, key));
    }
    rule.extend([
        Expression::Load(Meta::TransportProtocol, Register::slot(after_address)),
        Expression::Field(Field::DESTINATION_PORT, Register::slot(after_address + 1)),
        Expression::Map { map, key, value },
        Expression::Translate {
            what: Translation::Destination,
            family,
            address: value,
            port: Some(port),
        },
    ]);
    rule
}

fn postrouting() -> Vec<Rule> {
    let masquerade = || vec![Expression::Masquerade];
    let hairpin = |number, source, homes| {
        [
            protocol(number),
            tracked(Tracked::Status, DESTINATION_TRANSLATED),
            name(Meta::OutputName),
            vec![Expression::Field(source, Register::SECOND)],
            in_set(homes),
            masquerade(),
        ]
        .concat()
    };
    let accept = vec![Expression::Verdict(Verdict::Accept)];
    vec![
        hairpin(IPV4, Field::SOURCE_V4, "homes4"),
        hairpin(IPV6, Field::SOURCE_V6, "homes6"),
        [names(), in_set("pairs"), accept].concat(),
        [name(Meta::InputName), in_set("masquerade"), masquerade()].concat(),
    ]
}

fn protocol(number: u8) -> Rule {
    vec![
        Expression::Load(Meta::NetworkProtocol, Register::FIRST),
        Expression::Compare(Register::FIRST, Comparison::Equal, vec![number]),
    ]
}

fn name(which: Meta) -> Rule {
    vec![Expression::Load(which, Register::FIRST)]
}

/// The link it came in by and the one it leaves by.
fn names() -> Rule {
    vec![
        Expression::Load(Meta::InputName, Register::FIRST),
        Expression::Load(Meta::OutputName, Register::SECOND),
    ]
}

fn in_set(set: &'static str) -> Rule {
    vec![Expression::InSet(set, Register::FIRST)]
}

/// Bits of `NFT_CT_STATE` and of `NFT_CT_STATUS` (`IPS_DST_NAT`).
const ESTABLISHED: u32 = 2;
const RELATED: u32 = 4;
const DESTINATION_TRANSLATED: u32 = 0x20;

fn tracked(what: Tracked, bits: u32) -> Rule {
    let register = Register::FIRST;
    vec![
        Expression::Tracked(what, register),
        Expression::Mask(register, bits.to_ne_bytes().to_vec()),
        Expression::Compare(register, Comparison::NotEqual, vec![0; 4]),
    ]
}
