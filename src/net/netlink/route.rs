//! rtnetlink(7): links, addresses, routes and routing rules; linux/if_link.h, if_addr.h,
//! rtnetlink.h, fib_rules.h.
//!
//! Requests are values ([`Message`]) for a [`super::Batch`]; questions take a socket. A link's
//! number may be chosen by the one who makes it, so that the requests after it in the same batch
//! can name it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use ipnet::IpNet;
use rustix::io::Errno;

use crate::model::Result;

use super::{
    Attributes, CREATE, DUMP, EXCLUSIVE, Message, REPLACE, Reply, Socket, errno,
    message::{number, text},
};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;

const UNSPECIFIED: u8 = 0;
const INET: u8 = 2;
const INET6: u8 = 10;

const UP: u32 = 1;

/// `IFLA_…`
mod link {
    pub const ADDRESS: u16 = 1;
    pub const NAME: u16 = 3;
    pub const MTU: u16 = 4;
    pub const PARENT: u16 = 5;
    pub const MASTER: u16 = 10;
    pub const OPERATING: u16 = 16;
    pub const INFO: u16 = 18;
    pub const GROUP: u16 = 27;
    pub const NAMESPACE: u16 = 28;
    pub const INFO_KIND: u16 = 1;
    pub const INFO_DATA: u16 = 2;
    pub const VETH_PEER: u16 = 1;
    pub const INFO_PORT_KIND: u16 = 4;
    pub const INFO_PORT_DATA: u16 = 5;
    pub const PORT_HAIRPIN: u16 = 4;
    pub const PORT_ISOLATED: u16 = 33;
    pub const PORT_LOCKED: u16 = 39;
}

/// A link's hardware address.
pub type HardwareAddress = [u8; 6];

/// Modes of a macvlan, `MACVLAN_MODE_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    Private = 1,
    Vepa = 2,
    Bridge = 4,
    Passthru = 8,
}

/// Modes of an ipvlan, `IPVLAN_MODE_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpvlanMode {
    L2 = 0,
    L3 = 1,
    L3s = 2,
}

/// What sort of link is made.
#[derive(Clone, Debug)]
enum LinkKind<'a> {
    Bridge,
    Dummy,
    Veth { peer: Box<NewLink<'a>> },
    Vlan { parent: u32, id: u16 },
    Macvlan { parent: u32, mode: MacvlanMode },
    Ipvlan { parent: u32, mode: IpvlanMode },
}

/// A link to be made, or one end of a pair.
#[derive(Clone, Debug)]
pub struct NewLink<'a> {
    kind: Option<LinkKind<'a>>,
    index: u32,
    properties: LinkChange<'a>,
}

impl<'a> NewLink<'a> {
    fn new(name: &'a str, kind: Option<LinkKind<'a>>) -> Self {
        NewLink {
            kind,
            index: 0,
            properties: LinkChange {
                name: Some(name),
                ..LinkChange::default()
            },
        }
    }

    pub fn bridge(name: &'a str) -> Self {
        NewLink::new(name, Some(LinkKind::Bridge))
    }

    pub fn dummy(name: &'a str) -> Self {
        NewLink::new(name, Some(LinkKind::Dummy))
    }

    /// The other end of a pair, for [`NewLink::veth`]. It cannot be made up: that takes a request
    /// of its own once both are there.
    pub fn end(name: &'a str) -> Self {
        NewLink::new(name, None)
    }

    /// A pair of Ethernet links, veth(4).
    pub fn veth(name: &'a str, peer: NewLink<'a>) -> Self {
        NewLink::end(name).pair_with(peer)
    }

    /// Makes a pair of two ends.
    #[must_use]
    pub fn pair_with(mut self, peer: NewLink<'a>) -> Self {
        let peer = Box::new(peer);
        self.kind = Some(LinkKind::Veth { peer });
        self
    }

    /// The part of the link `parent` whose frames bear the tag `id`, IEEE 802.1Q.
    pub fn vlan(name: &'a str, parent: u32, id: u16) -> Self {
        NewLink::new(name, Some(LinkKind::Vlan { parent, id }))
    }

    /// A link with a hardware address of its own on the link `parent`.
    pub fn macvlan(name: &'a str, parent: u32, mode: MacvlanMode) -> Self {
        NewLink::new(name, Some(LinkKind::Macvlan { parent, mode }))
    }

    /// A link that shares the hardware address of the link `parent`.
    pub fn ipvlan(name: &'a str, parent: u32, mode: IpvlanMode) -> Self {
        NewLink::new(name, Some(LinkKind::Ipvlan { parent, mode }))
    }

    /// Its number; the kernel chooses if it is not given.
    #[must_use]
    pub fn index(mut self, index: u32) -> Self {
        self.index = index;
        self
    }

    #[must_use]
    pub fn mac(mut self, mac: HardwareAddress) -> Self {
        self.properties.mac = Some(mac);
        self
    }

    /// In bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.properties.mtu = Some(mtu);
        self
    }

    /// The bridge it is a port of.
    #[must_use]
    pub fn master(mut self, index: u32) -> Self {
        self.properties.master = Some(index);
        self
    }

    /// A number by which rules know it, whatever it is called.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.properties.group = Some(group);
        self
    }

    #[must_use]
    pub fn up(mut self) -> Self {
        self.properties.up = Some(true);
        self
    }

    /// The network namespace it appears in.
    #[must_use]
    pub fn in_namespace(mut self, namespace: BorrowedFd<'a>) -> Self {
        self.properties.namespace = Some(namespace);
        self
    }

    /// Fails with EEXIST if the name or the number is taken.
    pub fn request(&self) -> Message {
        let flags = CREATE | EXCLUSIVE;
        let mut message = Message::new(NEW_LINK, flags, &self.head());
        self.write_attributes(&mut message);
        message
    }

    fn head(&self) -> [u8; 16] {
        self.properties.head(self.index)
    }

    fn write_attributes(&self, message: &mut Message) {
        self.properties.write(message);
        if let Some(parent) = self.kind.as_ref().and_then(LinkKind::parent) {
            message.put_u32(link::PARENT, parent);
        }
        if let Some(kind) = &self.kind {
            message.nest(link::INFO, |info| kind.write(info));
        }
    }
}

impl LinkKind<'_> {
    fn parent(&self) -> Option<u32> {
        match self {
            LinkKind::Vlan { parent, .. }
            | LinkKind::Macvlan { parent, .. }
            | LinkKind::Ipvlan { parent, .. } => Some(*parent),
            LinkKind::Bridge | LinkKind::Dummy | LinkKind::Veth { .. } => None,
        }
    }

    fn write(&self, info: &mut Message) {
        let name = match self {
            LinkKind::Bridge => "bridge",
            LinkKind::Dummy => "dummy",
            LinkKind::Veth { .. } => "veth",
            LinkKind::Vlan { .. } => "vlan",
            LinkKind::Macvlan { .. } => "macvlan",
            LinkKind::Ipvlan { .. } => "ipvlan",
        };
        info.put_text(link::INFO_KIND, name);
        match self {
            LinkKind::Bridge | LinkKind::Dummy => {}
            LinkKind::Veth { peer } => {
                info.nest(link::INFO_DATA, |data| {
                    data.nest(link::VETH_PEER, |end| {
                        end.raw(&peer.head());
                        peer.write_attributes(end);
                    });
                });
            }
            LinkKind::Vlan { id, .. } => {
                info.nest(link::INFO_DATA, |data| {
                    data.put_u16(1, *id);
                });
            }
            LinkKind::Macvlan { mode, .. } => {
                info.nest(link::INFO_DATA, |data| {
                    data.put_u32(1, *mode as u32);
                });
            }
            LinkKind::Ipvlan { mode, .. } => {
                info.nest(link::INFO_DATA, |data| {
                    data.put_u16(1, *mode as u16);
                });
            }
        }
    }
}

/// `struct ifinfomsg`: family, type, index, flags, which flags to change.
fn link_head(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&change.to_ne_bytes());
    head
}

/// What can be said of a link: of one that is made, or to change one that exists, which is named
/// by its number.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkChange<'a> {
    pub up: Option<bool>,
    pub name: Option<&'a str>,
    pub mac: Option<HardwareAddress>,
    pub mtu: Option<u32>,
    /// 0: of no bridge any more.
    pub master: Option<u32>,
    /// A number by which rules know it.
    pub group: Option<u32>,
    pub namespace: Option<BorrowedFd<'a>>,
}

impl LinkChange<'_> {
    pub fn request(&self, index: u32) -> Message {
        let mut message = Message::new(SET_LINK, 0, &self.head(index));
        self.write(&mut message);
        message
    }

    fn head(&self, index: u32) -> [u8; 16] {
        let up = if self.up == Some(true) { UP } else { 0 };
        let change = if self.up.is_some() { UP } else { 0 };
        link_head(index, up, change)
    }

    fn write(&self, message: &mut Message) {
        if let Some(name) = self.name {
            message.put_text(link::NAME, name);
        }
        if let Some(mac) = &self.mac {
            message.put(link::ADDRESS, mac);
        }
        if let Some(mtu) = self.mtu {
            message.put_u32(link::MTU, mtu);
        }
        if let Some(master) = self.master {
            message.put_u32(link::MASTER, master);
        }
        if let Some(group) = self.group {
            message.put_u32(link::GROUP, group);
        }
        if let Some(namespace) = self.namespace {
            message.put_u32(link::NAMESPACE, namespace.as_raw_fd() as u32);
        }
    }
}

/// Makes the link go up.
pub fn set_up(index: u32) -> Message {
    let change = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    change.request(index)
}

/// In bytes.
pub fn set_mtu(index: u32, mtu: u32) -> Message {
    let change = LinkChange {
        mtu: Some(mtu),
        ..LinkChange::default()
    };
    change.request(index)
}

/// How a bridge treats one of its ports, bridge(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortChange {
    /// Frames from it reach no other port that is isolated too, but the bridge itself.
    pub isolated: bool,
    /// Frames may leave by the port they came in by.
    pub hairpin: bool,
    /// It takes only frames of hardware addresses that the bridge was told of ([`add_station`]).
    /// Linux 5.16; older ones take no notice.
    pub locked: bool,
}

impl PortChange {
    /// For the port of this name.
    pub fn request(&self, name: &str) -> Message {
        let mut message = Message::new(NEW_LINK, 0, &link_head(0, 0, 0));
        message.put_text(link::NAME, name);
        message.nest(link::INFO, |info| {
            info.put_text(link::INFO_PORT_KIND, "bridge");
            info.nest(link::INFO_PORT_DATA, |data| {
                data.put_u8(link::PORT_HAIRPIN, self.hairpin.into());
                data.put_u8(link::PORT_ISOLATED, self.isolated.into());
                data.put_u8(link::PORT_LOCKED, self.locked.into());
            });
        });
        message
    }
}

/// Tells a bridge that this hardware address is behind its port `index`, for as long as that is there.
pub fn add_station(index: u32, mac: HardwareAddress) -> Message {
    const BRIDGE: u8 = 7;
    const STATIC: u16 = 0x40;
    const OF_MASTER: u8 = 4;
    const LINK_ADDRESS: u16 = 2;
    // `struct ndmsg`: family, index, state, flags, type.
    let mut head = [0; 12];
    head[0] = BRIDGE;
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..10].copy_from_slice(&STATIC.to_ne_bytes());
    head[10] = OF_MASTER;
    let mut message = Message::new(NEW_NEIGHBOUR, CREATE | REPLACE, &head);
    message.put(LINK_ADDRESS, &mac);
    message
}

/// Takes about 20 ms, which the kernel waits for readers of its lists: nothing that a user waits
/// for deletes links. A link goes by itself with its namespace.
pub fn delete_link(index: u32) -> Message {
    Message::new(DELETE_LINK, 0, &link_head(index, 0, 0))
}

/// The link is named, not numbered: its number may have been given to another since.
pub fn delete_link_by_name(name: &str) -> Message {
    let mut message = Message::new(DELETE_LINK, 0, &link_head(0, 0, 0));
    message.put_text(link::NAME, name);
    message
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn from_octets(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// `IFA_…`
mod address {
    pub const ADDRESS: u16 = 1;
    pub const LOCAL: u16 = 2;
    pub const BROADCAST: u16 = 4;
    pub const FLAGS: u16 = 8;
    /// `IFA_F_NODAD`: nobody else has it, so it need not be asked for.
    pub const NO_DUPLICATE_DETECTION: u32 = 0x02;
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
fn address_message(kind: u16, flags: u16, index: u32, net: IpNet) -> Message {
    let mut head = [family(net.addr()), net.prefix_len(), 0, 0, 0, 0, 0, 0];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(kind, flags, &head);
    let own = octets(net.addr());
    message.put(address::LOCAL, &own);
    message.put(address::ADDRESS, &own);
    message
}

/// Gives the link an address with the length of its network; idempotent. Of IPv6, duplicates are
/// not looked for: it can be used at once.
pub fn add_address(index: u32, net: IpNet) -> Message {
    let mut message = address_message(NEW_ADDRESS, CREATE | REPLACE, index, net);
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            message.put(address::BROADCAST, &net.broadcast().octets());
        }
        IpNet::V4(_) => {}
        IpNet::V6(_) => {
            message.put_u32(address::FLAGS, address::NO_DUPLICATE_DETECTION);
        }
    }
    message
}

pub fn delete_address(index: u32, net: IpNet) -> Message {
    address_message(DELETE_ADDRESS, 0, index, net)
}

/// `RTN_…`: what becomes of a packet on this route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RouteKind {
    #[default]
    Unicast = 1,
    /// Delivered on this host.
    Local = 2,
    Blackhole = 6,
    /// Answered with an ICMP error.
    Unreachable = 7,
}

/// The main table, `RT_TABLE_MAIN`.
pub const MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`
pub const LOCAL: u32 = 255;

/// A route, as it is made or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Of length 0: the default route.
    pub destination: IpNet,
    pub gateway: Option<IpAddr>,
    /// The number of the link.
    pub device: Option<u32>,
    pub table: u32,
    pub metric: Option<u32>,
    pub kind: RouteKind,
    /// The gateway is taken to be on the link, whatever the addresses say.
    pub on_link: bool,
}

impl Route {
    pub fn to(destination: IpNet) -> Self {
        Route {
            destination,
            gateway: None,
            device: None,
            table: MAIN,
            metric: None,
            kind: RouteKind::Unicast,
            on_link: false,
        }
    }

    pub fn default_v4() -> Self {
        Route::to(IpNet::V4(ipnet::Ipv4Net::default()))
    }

    pub fn default_v6() -> Self {
        Route::to(IpNet::V6(ipnet::Ipv6Net::default()))
    }

    #[must_use]
    pub fn via(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    #[must_use]
    pub fn device(mut self, index: u32) -> Self {
        self.device = Some(index);
        self
    }

    #[must_use]
    pub fn table(mut self, table: u32) -> Self {
        self.table = table;
        self
    }

    #[must_use]
    pub fn metric(mut self, metric: Option<u32>) -> Self {
        self.metric = metric;
        self
    }

    #[must_use]
    pub fn kind(mut self, kind: RouteKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds it, or replaces the one with the same destination, table and metric.
    pub fn add(&self) -> Message {
        self.message(NEW_ROUTE, CREATE | REPLACE)
    }

    pub fn delete(&self) -> Message {
        self.message(DELETE_ROUTE, 0)
    }

    /// `struct rtmsg`: family, lengths, TOS, table, protocol, scope, type, flags.
    fn message(&self, kind: u16, flags: u16) -> Message {
        const STATIC: u8 = 4;
        const ON_LINK: u32 = 4;
        let scope = match (self.kind, self.gateway) {
            (RouteKind::Local, _) => 254,
            (RouteKind::Unicast, None) => 253,
            _ => 0,
        };
        let protocol = if kind == NEW_ROUTE { STATIC } else { 0 };
        let scope = if kind == NEW_ROUTE { scope } else { 255 };
        let mut head = routing_head(family(self.destination.addr()), self.table);
        head[1] = self.destination.prefix_len();
        head[5] = protocol;
        head[6] = scope;
        head[7] = self.kind as u8;
        let on_link = if self.on_link { ON_LINK } else { 0 };
        head[8..12].copy_from_slice(&on_link.to_ne_bytes());
        let mut message = Message::new(kind, flags, &head);
        message.put_u32(rta::TABLE, self.table);
        if self.destination.prefix_len() > 0 {
            message.put(rta::DESTINATION, &octets(self.destination.network()));
        }
        if let Some(gateway) = self.gateway {
            message.put(rta::GATEWAY, &octets(gateway));
        }
        if let Some(device) = self.device {
            message.put_u32(rta::DEVICE, device);
        }
        if let Some(metric) = self.metric {
            message.put_u32(rta::METRIC, metric);
        }
        message
    }
}

/// What `struct rtmsg` and `struct fib_rule_hdr` have in common; a table with a larger number is
/// named by an attribute alone.
fn routing_head(family: u8, table: u32) -> [u8; 12] {
    let mut head = [0; 12];
    head[0] = family;
    head[4] = u8::try_from(table).unwrap_or(0);
    head
}

/// `RTA_…`
mod rta {
    pub const DESTINATION: u16 = 1;
    pub const DEVICE: u16 = 4;
    pub const GATEWAY: u16 = 5;
    pub const METRIC: u16 = 6;
    pub const TABLE: u16 = 15;
}

/// A routing rule, ip-rule(8): packets that are all of this are routed by `table`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub ipv6: bool,
    pub source: Option<IpNet>,
    pub mark: Option<u32>,
    /// The link they came in by.
    pub input: Option<String>,
    /// The link that a socket of this host wants them to leave by.
    pub output: Option<String>,
    pub table: u32,
    pub priority: Option<u32>,
}

impl Rule {
    /// Fails with EEXIST if the same rule is there.
    pub fn add(&self) -> Message {
        self.message(NEW_RULE, CREATE | EXCLUSIVE)
    }

    pub fn delete(&self) -> Message {
        self.message(DELETE_RULE, 0)
    }

    /// `struct fib_rule_hdr`: family, lengths, TOS, table, two reserved, action, flags.
    fn message(&self, kind: u16, flags: u16) -> Message {
        const TO_TABLE: u8 = 1;
        const SOURCE: u16 = 2;
        const INPUT: u16 = 3;
        const PRIORITY: u16 = 6;
        const MARK: u16 = 10;
        const TABLE: u16 = 15;
        const OUTPUT: u16 = 17;
        let mut head = routing_head(if self.ipv6 { INET6 } else { INET }, self.table);
        head[2] = self.source.map_or(0, |net| net.prefix_len());
        head[7] = TO_TABLE;
        let mut message = Message::new(kind, flags, &head);
        message.put_u32(TABLE, self.table);
        if let Some(source) = self.source {
            message.put(SOURCE, &octets(source.network()));
        }
        if let Some(mark) = self.mark {
            message.put_u32(MARK, mark);
        }
        if let Some(input) = &self.input {
            message.put_text(INPUT, input);
        }
        if let Some(output) = &self.output {
            message.put_text(OUTPUT, output);
        }
        if let Some(priority) = self.priority {
            message.put_u32(PRIORITY, priority);
        }
        message
    }
}

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `bridge`, `veth` …; empty for a device of the machine's.
    pub kind: String,
    pub mac: Option<HardwareAddress>,
    pub mtu: u32,
    pub master: Option<u32>,
    pub up: bool,
    /// Packets pass: it is up, has a carrier, and the kernel has drawn its conclusions from that
    /// (`IF_OPER_UP`, RFC 2863).
    pub operating: bool,
}

impl Link {
    fn parse(reply: &Reply) -> Option<Self> {
        const HEAD: usize = 16;
        let head = reply.payload.first_chunk::<HEAD>()?;
        let mut found = Link {
            index: number(&head[4..])?,
            name: String::new(),
            kind: String::new(),
            mac: None,
            mtu: 0,
            master: None,
            up: number(&head[8..])? & UP != 0,
            operating: false,
        };
        for (kind, value) in Attributes::after(&reply.payload, HEAD) {
            match kind {
                link::NAME => found.name = text(value),
                link::ADDRESS => found.mac = value.try_into().ok(),
                link::MTU => found.mtu = number(value)?,
                link::MASTER => found.master = number(value),
                link::OPERATING => found.operating = value == [6],
                link::INFO => {
                    let name = Attributes::new(value).find(link::INFO_KIND);
                    found.kind = name.map(text).unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(found)
    }
}

/// All links of the namespace.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    let question = Message::new(GET_LINK, DUMP, &link_head(0, 0, 0));
    let replies = socket.ask("list the network's links", &question)?;
    Ok(replies.iter().filter_map(Link::parse).collect())
}

/// The link of this name, if there is one.
pub fn link_named(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let mut question = Message::new(GET_LINK, 0, &link_head(0, 0, 0));
    question.put_text(link::NAME, name);
    one_link(socket, &question)
}

/// The link of this number, if there is one.
pub fn link_numbered(socket: &mut Socket, index: u32) -> Result<Option<Link>> {
    one_link(socket, &Message::new(GET_LINK, 0, &link_head(index, 0, 0)))
}

fn one_link(socket: &mut Socket, question: &Message) -> Result<Option<Link>> {
    match socket.ask("look up a network link", question) {
        Ok(replies) => Ok(replies.iter().find_map(Link::parse)),
        Err(error) if errno(&error) == Some(Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The number of the link.
    pub index: u32,
    pub net: IpNet,
}

impl Address {
    fn parse(reply: &Reply) -> Option<Self> {
        const HEAD: usize = 8;
        let head = reply.payload.first_chunk::<HEAD>()?;
        let attributes = Attributes::after(&reply.payload, HEAD);
        // Of a point-to-point link, `ADDRESS` is the other side's.
        let own = attributes.find(address::LOCAL);
        let own = from_octets(own.or_else(|| attributes.find(address::ADDRESS))?)?;
        Some(Address {
            index: number(&head[4..])?,
            net: IpNet::new(own, head[1]).ok()?,
        })
    }
}

/// All addresses of the namespace.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>> {
    let question = Message::new(GET_ADDRESS, DUMP, &[UNSPECIFIED, 0, 0, 0, 0, 0, 0, 0]);
    let replies = socket.ask("list the network's addresses", &question)?;
    Ok(replies.iter().filter_map(Address::parse).collect())
}

impl Route {
    fn parse(reply: &Reply) -> Option<Self> {
        const HEAD: usize = 12;
        let head = reply.payload.first_chunk::<HEAD>()?;
        let attributes = Attributes::after(&reply.payload, HEAD);
        let kind = match head[7] {
            1 => RouteKind::Unicast,
            2 => RouteKind::Local,
            6 => RouteKind::Blackhole,
            7 => RouteKind::Unreachable,
            _ => return None,
        };
        let any: IpAddr = match head[0] {
            INET => Ipv4Addr::UNSPECIFIED.into(),
            INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let destination = match attributes.find(rta::DESTINATION) {
            Some(value) => from_octets(value)?,
            None => any,
        };
        let four = |kind| attributes.find(kind).and_then(number);
        Some(Route {
            destination: IpNet::new(destination, head[1]).ok()?,
            gateway: attributes.find(rta::GATEWAY).and_then(from_octets),
            device: four(rta::DEVICE),
            table: four(rta::TABLE).unwrap_or(u32::from(head[4])),
            metric: four(rta::METRIC),
            kind,
            on_link: number(&head[8..])? & 4 != 0,
        })
    }
}

/// The way that a packet to this address takes, if there is one.
pub fn route_to(socket: &mut Socket, address: IpAddr) -> Result<Option<Route>> {
    let mut head = [0; 12];
    head[0] = family(address);
    head[1] = if address.is_ipv4() { 32 } else { 128 };
    let mut question = Message::new(GET_ROUTE, 0, &head);
    question.put(rta::DESTINATION, &octets(address));
    match socket.ask("look up a route", &question) {
        Ok(replies) => Ok(replies.iter().find_map(Route::parse)),
        Err(error)
            if matches!(
                errno(&error),
                Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::INVAL | Errno::ACCESS)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// All routes of the namespace, of all tables.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>> {
    let question = Message::new(GET_ROUTE, DUMP, &[0; 12]);
    let replies = socket.ask("list the network's routes", &question)?;
    Ok(replies.iter().filter_map(Route::parse).collect())
}

/// All parsers of this file, for the tests that feed them anything.
#[cfg(test)]
pub(super) fn parse_any(reply: &Reply) {
    Link::parse(reply);
    Address::parse(reply);
    Route::parse(reply);
}
