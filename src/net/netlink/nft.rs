//! The firewall, nf_tables: a table of our own with chains, rules, sets and maps;
//! linux/netfilter/nf_tables.h. `nft list ruleset` shows what is made here.
//!
//! A rule is a list of small steps ([`Expression`]) over registers: one loads a field of the packet,
//! the next compares it and ends the rule if it differs, the last gives the verdict. What comes and
//! goes with a container is never a rule but an element of a set or map ([`Element`]): adding and
//! removing one costs the same however many there are, needs no order and no rule's number.
//!
//! A batch of these requests is one transaction ([`super::Socket::send`]).

use rustix::io::Errno;

use crate::model::Result;

use super::{
    Attributes, Batch, CREATE, DUMP, EXCLUSIVE, Message, Reply, Socket, errno, message::text,
};

mod expression;
pub use expression::*;

/// `NFNL_SUBSYS_NFTABLES`
pub(super) const SUBSYSTEM: u8 = 10;

/// `NFT_MSG_…`
mod request {
    pub const NEW_TABLE: u8 = 0;
    pub const GET_TABLE: u8 = 1;
    pub const DELETE_TABLE: u8 = 2;
    pub const NEW_CHAIN: u8 = 3;
    pub const NEW_RULE: u8 = 6;
    pub const DELETE_RULE: u8 = 8;
    pub const NEW_SET: u8 = 9;
    pub const NEW_ELEMENT: u8 = 12;
    pub const GET_ELEMENT: u8 = 13;
    pub const DELETE_ELEMENT: u8 = 14;
}

const LIST_ELEMENT: u16 = 1;

/// Elements of one request: the list's length is told in 16 bits.
const AT_ONCE: usize = 256;

/// Which packets a table sees, `NFPROTO_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    Ipv4 = 2,
    Bridge = 7,
    Ipv6 = 10,
}

/// Where a chain is called, `NF_INET_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// What a chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    Filter,
    Nat,
    /// Packets of this host whose mark is changed are routed again.
    Route,
}

/// A chain that the kernel calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    pub hook: Hook,
    pub kind: ChainKind,
    /// Lower is earlier; linux/netfilter_ipv4.h has the usual ones (-300 raw, -150 mangle,
    /// -100 destination NAT, 0 filter, 100 source NAT).
    pub priority: i32,
}

/// `enum nft_datatypes` of nft(8): only how it prints keys and values. A concatenation packs the
/// types of its parts into one number, six bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Ipv4 = 7,
    Ipv6 = 8,
    Ethernet = 9,
    Protocol = 12,
    Port = 13,
    Mark = 19,
    /// A group of links.
    Group = 35,
    Interface = 41,
}

impl Type {
    /// In bytes.
    pub fn length(self) -> usize {
        match self {
            Type::Ipv4 | Type::Mark | Type::Group => 4,
            Type::Ipv6 | Type::Interface => 16,
            Type::Ethernet => 6,
            Type::Protocol => 1,
            Type::Port => 2,
        }
    }
}

impl Type {
    /// Its length as a part of a key.
    fn describe(self, parts: &mut Message) {
        parts.nest(LIST_ELEMENT, |part| {
            part.put_u32_be(1, self.length() as u32);
        });
    }
}

fn packed(types: &[Type]) -> u32 {
    types.iter().fold(0, |all, kind| all << 6 | *kind as u32)
}

/// The length in registers: parts of a concatenation begin at multiples of four bytes.
fn packed_length(types: &[Type]) -> usize {
    match types {
        [single] => single.length(),
        parts => parts
            .iter()
            .map(|part| part.length().next_multiple_of(4))
            .sum(),
    }
}

/// What a map's elements hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Data(&'a [Type]),
    Verdict,
}

/// A set, or a map if it has values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    pub name: &'a str,
    pub key: &'a [Type],
    pub value: Option<Value<'a>>,
    /// Its elements are ranges: of a single key from one element to the next that is its end
    /// ([`range`]), of a concatenation from `key` to `last`.
    pub interval: bool,
}

impl<'a> Set<'a> {
    /// Of single keys, without values.
    pub const fn of(name: &'a str, key: &'a [Type]) -> Self {
        Set {
            name,
            key,
            value: None,
            interval: false,
        }
    }
}

/// One element; keys and values as the registers hold them ([`concatenation`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub verdict: Option<Verdict>,
    /// Of a set of ranges: the first key that does not belong to the range any more.
    pub end_of_range: bool,
    /// Of a set of ranges of concatenations: the last of each part that belongs to the range.
    pub last: Option<Vec<u8>>,
}

impl Element {
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Element {
            key: key.into(),
            value: None,
            verdict: None,
            end_of_range: false,
            last: None,
        }
    }

    #[must_use]
    pub fn last(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.last = Some(key.into());
        self
    }

    #[must_use]
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = Some(value.into());
        self
    }

    #[must_use]
    pub fn verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = Some(verdict);
        self
    }

    fn write(&self, list: &mut Message) {
        const KEY: u16 = 1;
        const DATA: u16 = 2;
        const FLAGS: u16 = 3;
        const LAST_KEY: u16 = 10;
        const INTERVAL_END: u32 = 1;
        list.nest(LIST_ELEMENT, |element| {
            element.nest(KEY, |key| {
                key.put(expression::DATA_VALUE, &self.key);
            });
            if let Some(value) = &self.value {
                element.nest(DATA, |data| {
                    data.put(expression::DATA_VALUE, value);
                });
            }
            if let Some(verdict) = &self.verdict {
                element.nest(DATA, |data| verdict.write(data));
            }
            if let Some(last) = &self.last {
                element.nest(LAST_KEY, |key| {
                    key.put(expression::DATA_VALUE, last);
                });
            }
            if self.end_of_range {
                element.put_u32_be(FLAGS, INTERVAL_END);
            }
        });
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let attributes = Attributes::new(bytes);
        let value = |bytes| Attributes::new(bytes).find(expression::DATA_VALUE);
        let data = attributes.find(2);
        let flags = attributes.find(3).and_then(<[u8]>::first_chunk::<4>);
        Some(Element {
            key: value(attributes.find(1)?)?.to_vec(),
            value: data.and_then(value).map(<[u8]>::to_vec),
            verdict: data.and_then(Verdict::parse),
            end_of_range: flags.is_some_and(|flags| u32::from_be_bytes(*flags) & 1 != 0),
            last: attributes.find(10).and_then(value).map(<[u8]>::to_vec),
        })
    }
}

/// Parts of a key or value, each filled up to four bytes.
pub fn concatenation(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(part);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

/// A link's name as a key: 16 bytes, filled up with NULs.
pub fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (byte, character) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *byte = character;
    }
    bytes
}

/// The start and the end of a range for a set of ranges. One that ends with the last key of all
/// has no end.
pub fn range(start: &[u8], last: &[u8]) -> Vec<Element> {
    let mut elements = vec![Element::key(start)];
    let mut end = last.to_vec();
    for byte in end.iter_mut().rev() {
        let (next, carry) = byte.overflowing_add(1);
        *byte = next;
        if !carry {
            elements.push(Element {
                end_of_range: true,
                ..Element::key(end)
            });
            break;
        }
    }
    elements
}

/// A table, named by its family and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    pub family: Family,
    pub name: &'a str,
}

impl<'a> Table<'a> {
    pub const fn inet(name: &'a str) -> Self {
        let family = Family::Inet;
        Table { family, name }
    }

    /// `nfgenmsg`, and the table's name, which is attribute 1 of every request.
    fn message(&self, request: u8, flags: u16) -> Message {
        let kind = u16::from(SUBSYSTEM) << 8 | u16::from(request);
        let mut message = Message::new(kind, flags, &[self.family as u8, 0, 0, 0]);
        message.put_text(1, self.name);
        message
    }

    /// Makes the table unless it is there.
    pub fn create(&self) -> Message {
        let mut message = self.message(request::NEW_TABLE, CREATE);
        message.put_u32_be(2, 0);
        message
    }

    /// Fails with EEXIST if it is there.
    pub fn create_new(&self) -> Message {
        let mut message = self.message(request::NEW_TABLE, CREATE | EXCLUSIVE);
        message.put_u32_be(2, 0);
        message
    }

    /// With all that is in it. To delete one that may not be there, create it before.
    pub fn delete(&self) -> Message {
        self.message(request::DELETE_TABLE, 0)
    }

    /// Removes the table with all that is in it, unless this set has elements.
    pub fn delete_unless_used(&self, socket: &mut Socket, set: &str) -> Result<()> {
        if !self.exists(socket)? || !self.elements(socket, set)?.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        let what = format!("remove the firewall's table {}", self.name);
        // Somebody else may be faster.
        batch.push_unless(&[Errno::NOENT], what, self.delete());
        socket.send(batch)
    }

    /// Makes a chain unless it is there; `base`: the kernel calls it, with verdict `accept` for
    /// what comes to its end.
    pub fn chain(&self, name: &str, base: Option<BaseChain>) -> Message {
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const POLICY: u16 = 5;
        const KIND: u16 = 7;
        let mut message = self.message(request::NEW_CHAIN, CREATE);
        message.put_text(NAME, name);
        if let Some(base) = base {
            message.nest(HOOK, |hook| {
                hook.put_u32_be(1, base.hook as u32);
                hook.put_u32_be(2, base.priority.cast_unsigned());
            });
            message.put_u32_be(POLICY, 1);
            let kind = match base.kind {
                ChainKind::Filter => "filter",
                ChainKind::Nat => "nat",
                ChainKind::Route => "route",
            };
            message.put_text(KIND, kind);
        }
        message
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&self, chain: &str) -> Message {
        let mut message = self.message(request::DELETE_RULE, 0);
        message.put_text(2, chain);
        message
    }

    /// Appends a rule to a chain.
    pub fn rule(&self, chain: &str, expressions: &[Expression<'_>]) -> Message {
        let mut message = self.message(request::NEW_RULE, CREATE | super::APPEND);
        message.put_text(2, chain);
        message.nest(4, |list| {
            for expression in expressions {
                list.nest(LIST_ELEMENT, |item| expression.write(item));
            }
        });
        message
    }

    /// Makes a set or map unless it is there.
    pub fn set(&self, set: &Set<'_>) -> Message {
        const INTERVAL: u32 = 4;
        const MAP: u32 = 8;
        const CONCATENATION: u32 = 0x80;
        const VERDICTS: u32 = 0xffff_ff00;
        let mut message = self.message(request::NEW_SET, CREATE);
        let interval = match (set.interval, set.key) {
            (false, _) => 0,
            (true, [_]) => INTERVAL,
            (true, _) => INTERVAL | CONCATENATION,
        };
        let map = if set.value.is_some() { MAP } else { 0 };
        message.put_text(2, set.name);
        message.put_u32_be(3, interval | map);
        message.put_u32_be(4, packed(set.key));
        message.put_u32_be(5, packed_length(set.key) as u32);
        match set.value {
            Some(Value::Data(types)) => {
                message.put_u32_be(6, packed(types));
                message.put_u32_be(7, packed_length(types) as u32);
            }
            Some(Value::Verdict) => {
                message.put_u32_be(6, VERDICTS);
            }
            None => {}
        }
        if interval & CONCATENATION != 0 {
            message.nest(9, |description| {
                description.nest(2, |parts| {
                    set.key.iter().for_each(|part| part.describe(parts));
                });
            });
        }
        if set.key == [Type::Interface] {
            // Only nft(8) reads it: the key is text, not a number of the network's byte order.
            message.put(13, &[0, 4, 1, 0, 0, 0]);
        }
        // Rules of the same batch find it by its name; the number must be there all the same.
        message.put_u32_be(10, 1);
        message
    }

    /// Adds elements; those that are there are left alone, but in a map one with another value is
    /// an error (EEXIST).
    pub fn add(&self, set: &str, elements: &[Element]) -> Vec<Message> {
        self.elements_request(request::NEW_ELEMENT, CREATE, set, elements)
    }

    /// Removes elements; one that is not there is an error (ENOENT).
    pub fn remove(&self, set: &str, elements: &[Element]) -> Vec<Message> {
        self.elements_request(request::DELETE_ELEMENT, 0, set, elements)
    }

    fn elements_request(
        &self,
        request: u8,
        flags: u16,
        set: &str,
        elements: &[Element],
    ) -> Vec<Message> {
        let request = |part: &[Element]| {
            let mut message = self.message(request, flags);
            message.put_text(2, set);
            message.nest(3, |list| {
                part.iter().for_each(|element| element.write(list));
            });
            message
        };
        elements.chunks(AT_ONCE).map(request).collect()
    }

    /// Whether the table is there.
    pub fn exists(&self, socket: &mut Socket) -> Result<bool> {
        let question = self.message(request::GET_TABLE, 0);
        is_there(socket.ask("look up the firewall's table", &question))
    }

    /// Whether the set is there and has this key.
    pub fn has(&self, socket: &mut Socket, set: &str, key: &[u8]) -> Result<bool> {
        let element = [Element::key(key)];
        let question = self.elements_request(request::GET_ELEMENT, 0, set, &element);
        is_there(socket.ask("look up an element of the firewall", &question[0]))
    }

    /// All elements of a set; ENOENT if there is no such set.
    pub fn elements(&self, socket: &mut Socket, set: &str) -> Result<Vec<Element>> {
        let mut question = self.message(request::GET_ELEMENT, DUMP);
        question.put_text(2, set);
        let replies = socket.ask("list the firewall's elements", &question)?;
        Ok(replies.iter().flat_map(elements_of).collect())
    }
}

fn is_there(answer: Result<Vec<Reply>>) -> Result<bool> {
    match answer {
        Ok(replies) => Ok(!replies.is_empty()),
        Err(error) if errno(&error) == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn elements_of(reply: &Reply) -> Vec<Element> {
    const HEAD: usize = 4;
    let list = Attributes::after(&reply.payload, HEAD).find(3);
    let list = Attributes::new(list.unwrap_or_default());
    list.filter_map(|(_, element)| Element::parse(element))
        .collect()
}

/// The chains of all tables, for those who want to know who else decides over packets.
pub fn foreign_chains(socket: &mut Socket) -> Result<Vec<ForeignChain>> {
    const GET_CHAIN: u16 = 4;
    let kind = u16::from(SUBSYSTEM) << 8 | GET_CHAIN;
    let question = Message::new(kind, DUMP, &[0, 0, 0, 0]);
    let replies = socket.ask("list the firewall's chains", &question)?;
    Ok(replies.iter().filter_map(ForeignChain::parse).collect())
}

/// A chain of whatever table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChain {
    pub table: String,
    pub name: String,
    /// Where the kernel calls it, `NF_INET_…` (see [`Hook`]); nothing if only rules do.
    pub hook: Option<u32>,
    pub priority: i32,
    /// Its policy is to drop.
    pub drops: bool,
}

impl ForeignChain {
    fn parse(reply: &Reply) -> Option<Self> {
        let attributes = Attributes::after(&reply.payload, 4);
        let four = |value: &[u8]| Some(u32::from_be_bytes(*value.first_chunk()?));
        let hook = Attributes::new(attributes.find(4).unwrap_or_default());
        Some(ForeignChain {
            table: text(attributes.find(1)?),
            name: text(attributes.find(3)?),
            hook: hook.find(1).and_then(four),
            priority: hook.find(2).and_then(four).unwrap_or(0).cast_signed(),
            drops: attributes.find(5).and_then(four) == Some(0),
        })
    }
}

/// All parsers of this file, for the tests that feed them anything.
#[cfg(test)]
pub(super) fn parse_any(reply: &Reply) {
    elements_of(reply);
    ForeignChain::parse(reply);
}
