//! The steps of a rule, `nft --debug=netlink` prints them so too.

use crate::net::netlink::Message;

use super::Family;

pub(super) const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// A register. Those of 16 bytes and those of 4 bytes lie over each other: `wide(1)` is
/// `slot(0)` to `slot(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u32);

impl Register {
    /// The first register of 16 bytes.
    pub const FIRST: Register = Register(1);
    pub const SECOND: Register = Register(2);

    /// The nth of 16 registers of 4 bytes, from 0.
    pub const fn slot(number: u32) -> Self {
        Register(8 + number)
    }
}

/// `NFT_META_…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// The Ethernet type, two bytes in the network's order.
    LinkProtocol = 1,
    Mark = 3,
    /// The number of the link the packet came in by.
    InputIndex = 4,
    OutputIndex = 5,
    /// Its name, 16 bytes ([`super::interface`]).
    InputName = 6,
    OutputName = 7,
    /// One byte: 2 IPv4, 10 IPv6.
    NetworkProtocol = 15,
    /// One byte: 6 TCP, 17 UDP …
    TransportProtocol = 16,
    /// The group of the link it came in by, four bytes in the machine's byte order.
    InputGroup = 21,
}

/// `NFT_CT_…`: what connection tracking knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// 2 established, 4 related, 8 new …
    State = 0,
    /// 0x20: its destination was translated.
    Status = 2,
    Mark = 3,
}

/// Which header an offset is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// A field of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub header: Header,
    pub offset: u32,
    pub length: u32,
}

impl Field {
    const fn new(header: Header, offset: u32, length: u32) -> Self {
        Field {
            header,
            offset,
            length,
        }
    }
    pub const SOURCE_V4: Field = Field::new(Header::Network, 12, 4);
    pub const DESTINATION_V4: Field = Field::new(Header::Network, 16, 4);
    pub const SOURCE_V6: Field = Field::new(Header::Network, 8, 16);
    pub const DESTINATION_V6: Field = Field::new(Header::Network, 24, 16);
    pub const SOURCE_PORT: Field = Field::new(Header::Transport, 0, 2);
    pub const DESTINATION_PORT: Field = Field::new(Header::Transport, 2, 2);
    pub const TCP_FLAGS: Field = Field::new(Header::Transport, 13, 1);
    /// Both ports.
    pub const PORTS: Field = Field::new(Header::Transport, 0, 4);
    pub const ICMP_TYPE: Field = Field::new(Header::Transport, 0, 1);
    /// Whom a neighbour advertisement is about, RFC 4861, 4.4.
    pub const NEIGHBOUR_TARGET: Field = Field::new(Header::Transport, 8, 16);
    /// The sender's addresses, RFC 826.
    pub const ARP_SENDER_LINK: Field = Field::new(Header::Network, 8, 6);
    pub const ARP_SENDER: Field = Field::new(Header::Network, 14, 4);
    pub const LINK_SOURCE: Field = Field::new(Header::Link, 6, 6);
}

/// `NFT_CMP_…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal = 0,
    NotEqual = 1,
    Less = 2,
    Greater = 4,
}

/// What becomes of the packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Drop,
    Accept,
    Return,
    Jump(String),
    Goto(String),
}

impl Verdict {
    fn code(&self) -> i32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Jump(_) => -3,
            Verdict::Goto(_) => -4,
            Verdict::Return => -5,
        }
    }

    /// As the value of `NFTA_…_DATA`.
    pub(super) fn write(&self, data: &mut Message) {
        data.nest(DATA_VERDICT, |verdict| {
            verdict.put_u32_be(1, self.code().cast_unsigned());
            if let Verdict::Jump(chain) | Verdict::Goto(chain) = self {
                verdict.put_text(2, chain);
            }
        });
    }

    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        use crate::net::netlink::{Attributes, message::text};
        let attributes = Attributes::new(Attributes::new(data).find(DATA_VERDICT)?);
        let code = i32::from_be_bytes(*attributes.find(1)?.first_chunk()?);
        let chain = || attributes.find(2).map(text);
        match code {
            0 => Some(Verdict::Drop),
            1 => Some(Verdict::Accept),
            -3 => Some(Verdict::Jump(chain()?)),
            -4 => Some(Verdict::Goto(chain()?)),
            -5 => Some(Verdict::Return),
            _ => None,
        }
    }
}

/// `RTN_…` as the type of an address: of this host, or one that many have.
pub const ADDRESS_UNICAST: u32 = 1;
pub const ADDRESS_LOCAL: u32 = 2;

/// `fib`: which field the routing table is asked about, `NFTA_FIB_F_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Source = 1,
    Destination = 2,
}

/// `NF_NAT_MANIP_…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    Source = 0,
    Destination = 1,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression<'a> {
    Load(Meta, Register),
    /// Sets a property (the mark) from a register.
    Store(Meta, Register),
    Field(Field, Register),
    /// Writes a register into the packet; `checksum`: where the transport's lies, counted from
    /// its header.
    Rewrite {
        field: Field,
        from: Register,
        checksum: Checksum,
    },
    Compare(Register, Comparison, Vec<u8>),
    /// `register = register & mask`, of the mask's length.
    Mask(Register, Vec<u8>),
    /// Goes on if the set has the key.
    InSet(&'a str, Register),
    NotInSet(&'a str, Register),
    /// Goes on if the map has the key, with the value in a register.
    Map {
        map: &'a str,
        key: Register,
        value: Register,
    },
    /// The verdict of the map's element; goes on if there is none.
    VerdictMap {
        map: &'a str,
        key: Register,
    },
    Immediate(Register, Vec<u8>),
    Verdict(Verdict),
    /// The type of an address ([`ADDRESS_LOCAL`] …), four bytes in the machine's byte order.
    AddressType(Asked, Register),
    Tracked(Tracked, Register),
    Track(Tracked, Register),
    /// Translates to the address and the port in registers.
    Translate {
        what: Translation,
        family: Family,
        address: Register,
        port: Option<Register>,
    },
    /// Source translation to the address of the link it leaves by.
    Masquerade,
    /// Destination translation to this host, to the port in a register.
    Redirect(Option<Register>),
    /// Delivers to the transparent socket on the port in a register.
    TransparentProxy(Register),
    /// Refuses with an ICMP error "administratively prohibited" of the packet's family.
    Reject,
    Counter,
    /// Keeps the packet from connection tracking.
    NotTracked,
}

/// Which checksum a rewriting corrects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// A field of TCP, whose checksum lies at 16, or of UDP, at 6.
    Transport(u32),
    /// An address: the header's (IPv4, at 10) and, by the pseudo header, the transport's.
    Ipv4Header,
    /// An address of IPv6: by the pseudo header, the transport's.
    Ipv6Address,
}

impl Expression<'_> {
    /// As an expression: name, data.
    pub(super) fn write(&self, item: &mut Message) {
        item.put_text(1, self.name());
        item.nest(2, |data| self.write_data(data));
    }

    fn name(&self) -> &'static str {
        match self {
            Expression::Load(..) | Expression::Store(..) => "meta",
            Expression::Field(..) | Expression::Rewrite { .. } => "payload",
            Expression::Compare(..) => "cmp",
            Expression::Mask(..) => "bitwise",
            Expression::InSet(..)
            | Expression::NotInSet(..)
            | Expression::Map { .. }
            | Expression::VerdictMap { .. } => "lookup",
            Expression::Immediate(..) | Expression::Verdict(_) => "immediate",
            Expression::AddressType(..) => "fib",
            Expression::Tracked(..) | Expression::Track(..) => "ct",
            Expression::Translate { .. } => "nat",
            Expression::Masquerade => "masq",
            Expression::Redirect(_) => "redir",
            Expression::TransparentProxy(_) => "tproxy",
            Expression::Reject => "reject",
            Expression::Counter => "counter",
            Expression::NotTracked => "notrack",
        }
    }

    fn write_data(&self, data: &mut Message) {
        const VERDICT_REGISTER: u32 = 0;
        match self {
            Expression::Load(key, register) => numbers(data, &[(1, register.0), (2, *key as u32)]),
            Expression::Store(key, register) => numbers(data, &[(2, *key as u32), (3, register.0)]),
            Expression::Field(field, register) => {
                numbers(data, &[(1, register.0)]);
                field.write(data);
            }
            Expression::Rewrite {
                field,
                from,
                checksum,
            } => {
                field.write(data);
                numbers(data, &[(5, from.0)]);
                checksum.write(data);
            }
            Expression::Compare(register, comparison, value) => {
                numbers(data, &[(1, register.0), (2, *comparison as u32)]);
                put_value(data, 3, value);
            }
            Expression::Mask(register, mask) => {
                let length = mask.len() as u32;
                numbers(data, &[(1, register.0), (2, register.0), (3, length)]);
                put_value(data, 4, mask);
                put_value(data, 5, &vec![0; mask.len()]);
            }
            Expression::InSet(set, key) => put_lookup(data, set, &[(2, key.0)]),
            Expression::NotInSet(set, key) => put_lookup(data, set, &[(2, key.0), (5, 1)]),
            Expression::Map { map, key, value } => {
                put_lookup(data, map, &[(2, key.0), (3, value.0)]);
            }
            Expression::VerdictMap { map, key } => {
                put_lookup(data, map, &[(2, key.0), (3, VERDICT_REGISTER)]);
            }
            Expression::Immediate(register, value) => {
                numbers(data, &[(1, register.0)]);
                put_value(data, 2, value);
            }
            Expression::Verdict(verdict) => {
                numbers(data, &[(1, VERDICT_REGISTER)]);
                data.nest(2, |value| verdict.write(value));
            }
            _ => self.write_rest(data),
        }
    }

    /// Those that need modules of their own in the kernel.
    fn write_rest(&self, data: &mut Message) {
        const ADDRESS_TYPE: u32 = 3;
        const REJECT_ANY_FAMILY: u32 = 2;
        const PROHIBITED: u8 = 3;
        match self {
            Expression::AddressType(asked, register) => {
                numbers(
                    data,
                    &[(1, register.0), (2, ADDRESS_TYPE), (3, *asked as u32)],
                );
            }
            Expression::Tracked(key, register) => {
                numbers(data, &[(1, register.0), (2, *key as u32)]);
            }
            Expression::Track(key, register) => numbers(data, &[(2, *key as u32), (4, register.0)]),
            Expression::Translate {
                what,
                family,
                address,
                port,
            } => {
                let (what, family) = (*what as u32, *family as u32);
                numbers(data, &[(1, what), (2, family), (3, address.0)]);
                if let Some(port) = port {
                    numbers(data, &[(5, port.0)]);
                }
            }
            Expression::Redirect(Some(port)) => numbers(data, &[(1, port.0)]),
            Expression::TransparentProxy(port) => numbers(data, &[(1, 0), (3, port.0)]),
            Expression::Reject => {
                numbers(data, &[(1, REJECT_ANY_FAMILY)]);
                data.put_u8(2, PROHIBITED);
            }
            _ => {}
        }
    }
}

impl Field {
    fn write(&self, data: &mut Message) {
        numbers(
            data,
            &[(2, self.header as u32), (3, self.offset), (4, self.length)],
        );
    }
}

impl Checksum {
    fn write(self, data: &mut Message) {
        const INTERNET: u32 = 1;
        const PSEUDO_HEADER: u32 = 1;
        match self {
            Checksum::Transport(offset) => numbers(data, &[(6, INTERNET), (7, offset)]),
            Checksum::Ipv4Header => numbers(data, &[(6, INTERNET), (7, 10), (8, PSEUDO_HEADER)]),
            Checksum::Ipv6Address => numbers(data, &[(6, 0), (8, PSEUDO_HEADER)]),
        }
    }
}

fn numbers(data: &mut Message, attributes: &[(u16, u32)]) {
    for (kind, value) in attributes {
        data.put_u32_be(*kind, *value);
    }
}

fn put_value(data: &mut Message, kind: u16, value: &[u8]) {
    data.nest(kind, |nested| {
        nested.put(DATA_VALUE, value);
    });
}

fn put_lookup(data: &mut Message, set: &str, attributes: &[(u16, u32)]) {
    data.put_text(1, set);
    numbers(data, attributes);
}
