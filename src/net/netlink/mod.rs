//! Netlink (netlink(7), RFC 3549) for the two families a container's network needs: links,
//! addresses, routes and rules ([`route`]), and the firewall ([`nft`]).
//!
//! Requests are written into a [`Batch`] and leave in *one* send: what netlink costs is mostly the
//! system calls and the wait for the kernel's one lock over all links. The kernel answers within
//! the send, so all answers are there when it returns. It is asked to confirm the last request
//! only; of the others it sends errors alone. Each request has a label, and an error names the one
//! that failed, with the errno and the kernel's own words ([`Refusal`], [`errno`]).
//!
//! - A batch of route requests is *not* one transaction: a request that fails does not undo those
//!   before it, and those after it are still tried. An errno that does no harm is given with the
//!   request ([`Batch::push_unless`]).
//! - A batch of firewall requests *is* one transaction: all or nothing.
//!
//! ```no_run
//! # use coracle::net::netlink::{Batch, Socket, route};
//! # fn main() -> coracle::model::Result<()> {
//! let mut socket = Socket::route()?;
//! let mut batch = Batch::new();
//! batch.push("add the bridge br0", route::NewLink::bridge("br0").index(7).up().request());
//! batch.push("give br0 its address", route::add_address(7, "10.88.0.1/16".parse().unwrap()));
//! socket.send(batch)?;
//! # Ok(()) }
//! ```

use std::{
    borrow::Cow,
    fmt, io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags},
};

use crate::{
    model::{Error, ErrorKind, Result},
    sys,
};

pub mod conntrack;
mod message;
pub mod nft;
pub mod route;

use message::{Answer, HEADER};
pub use message::{Attributes, Message};

/// Flags of `nlmsg_flags`, linux/netlink.h.
pub const REQUEST: u16 = 0x1;
pub const ACK: u16 = 0x4;
pub const DUMP: u16 = 0x300;
pub const REPLACE: u16 = 0x100;
/// Fail if it exists.
pub const EXCLUSIVE: u16 = 0x200;
pub const CREATE: u16 = 0x400;
pub const APPEND: u16 = 0x800;

const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const DUMP_INTERRUPTED: u16 = 0x10;
const CAPPED: u16 = 0x100;
const WITH_ATTRIBUTES: u16 = 0x200;

const NETFILTER_BATCH_BEGIN: u16 = 0x10;
const NETFILTER_BATCH_END: u16 = 0x11;

/// No part of an answer is longer (`NETLINK_GOODSIZE` of the kernel, with room).
const RECEIVE: usize = 64 << 10;

/// Why the kernel refused a request: the source of the [`Error`] that says which request it was.
#[derive(Debug)]
pub struct Refusal {
    pub errno: Errno,
    /// The kernel's words (`NLMSGERR_ATTR_MSG`), if it had some.
    pub words: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = io::Error::from(self.errno);
        match &self.words {
            Some(words) => write!(f, "{words}: {cause}"),
            None => cause.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// The errno of an error of this module.
pub fn errno(error: &Error) -> Option<Errno> {
    let source = std::error::Error::source(error)?;
    Some(source.downcast_ref::<Refusal>()?.errno)
}

/// `what` is a request's label; it completes "cannot …".
fn refused(what: &str, errno: Errno, words: Option<String>) -> Error {
    let kind = match errno {
        Errno::PERM | Errno::ACCESS => ErrorKind::Permission,
        Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => ErrorKind::Unsupported,
        Errno::EXIST | Errno::BUSY => ErrorKind::Conflict,
        _ => ErrorKind::System,
    };
    Error::new(kind, format!("cannot {what}")).with_source(Refusal { errno, words })
}

fn failed(what: &str, cause: &io::Error) -> Error {
    refused(what, Errno::from_io_error(cause).unwrap_or(Errno::IO), None)
}

struct Entry {
    /// Of its header in the batch's bytes.
    start: usize,
    label: Cow<'static, str>,
    harmless: &'static [Errno],
}

/// Requests that leave together, in order.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Batch {
    pub fn new() -> Self {
        Batch::default()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of requests.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a request; `label` completes "cannot …".
    pub fn push(&mut self, label: impl Into<Cow<'static, str>>, request: Message) {
        self.push_unless(&[], label, request);
    }

    /// Adds a request that may fail with one of `harmless`. In a batch for the firewall such an
    /// error is passed over in silence as well, but nothing of the batch has happened.
    pub fn push_unless(
        &mut self,
        harmless: &'static [Errno],
        label: impl Into<Cow<'static, str>>,
        request: Message,
    ) {
        self.entries.push(Entry {
            start: self.bytes.len(),
            label: label.into(),
            harmless,
        });
        request.finish_into(&mut self.bytes);
    }

    pub fn append(&mut self, other: Batch) {
        let shift = self.bytes.len();
        self.bytes.extend(other.bytes);
        let moved = other.entries.into_iter().map(|entry| Entry {
            start: entry.start + shift,
            ..entry
        });
        self.entries.extend(moved);
    }

    /// Numbers the requests from `first` and asks for a confirmation of the last.
    fn number(&mut self, first: u32) {
        let last = self.entries.len().saturating_sub(1);
        for (index, entry) in self.entries.iter().enumerate() {
            let header = &mut self.bytes[entry.start..entry.start + HEADER];
            let mut flags = u16::from_ne_bytes([header[6], header[7]]) | REQUEST;
            if index == last {
                flags |= ACK;
            }
            header[6..8].copy_from_slice(&flags.to_ne_bytes());
            header[8..12].copy_from_slice(&first.wrapping_add(index as u32).to_ne_bytes());
        }
    }

    fn refusal(&self, index: usize, errno: Errno, words: Option<String>) -> Option<Error> {
        let entry = self.entries.get(index).or(self.entries.first())?;
        (!entry.harmless.contains(&errno)).then(|| refused(&entry.label, errno, words))
    }
}

/// An answer to a question: its type and what follows the header.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub kind: u16,
    pub payload: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    Route,
    Netfilter,
}

/// A netlink socket. It acts on the network namespace in which it was made, whichever thread uses
/// it.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    family: Family,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Of rtnetlink(7), in the calling thread's network namespace.
    pub fn route() -> Result<Self> {
        Socket::open(Family::Route).map_err(|cause| failed("open a netlink socket", &cause))
    }

    /// Of nf_tables, in the calling thread's network namespace.
    pub fn netfilter() -> Result<Self> {
        Socket::open(Family::Netfilter)
            .map_err(|cause| failed("open a netlink socket of the firewall", &cause))
    }

    /// Of rtnetlink(7), in another network namespace; needs CAP_SYS_ADMIN over it.
    pub fn route_in(namespace: BorrowedFd<'_>) -> Result<Self> {
        sys::netns::within(namespace, || Socket::open(Family::Route))
            .map_err(|cause| failed("enter the container's network namespace", &cause))
    }

    /// Of nf_tables, in another network namespace; needs CAP_SYS_ADMIN over it.
    pub fn netfilter_in(namespace: BorrowedFd<'_>) -> Result<Self> {
        sys::netns::within(namespace, || Socket::open(Family::Netfilter))
            .map_err(|cause| failed("enter the container's network namespace", &cause))
    }

    fn open(family: Family) -> io::Result<Self> {
        let protocol = match family {
            // The first of all, 0: what the kernel takes if none is named.
            Family::Route => None,
            Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        Ok(Socket {
            socket: sys::netlink::socket(protocol)?,
            family,
            sequence: 1,
            buffer: Vec::new(),
        })
    }

    /// Sends all requests at once. The first that fails harmfully is the error; of a route batch
    /// the others have been tried all the same, of a firewall batch nothing has happened.
    pub fn send(&mut self, mut batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.entries.len();
        let first = self.sequence.wrapping_add(1);
        batch.number(first);
        self.sequence = first.wrapping_add(count as u32);
        match self.family {
            Family::Route => self.write(&batch.entries[0].label, &batch.bytes)?,
            Family::Netfilter => {
                let enclosed = enclosed(&batch.bytes, first.wrapping_sub(1), self.sequence);
                self.write(&batch.entries[0].label, &enclosed)?;
            }
        }
        self.outcome(&batch, first)
    }

    /// Reads the answers to a batch whose first request has the number `first`.
    fn outcome(&mut self, batch: &Batch, first: u32) -> Result<()> {
        let last = batch.entries.len() - 1;
        let label = batch.entries[0].label.clone();
        let mut refusals: Vec<(usize, Error)> = Vec::new();
        let mut over = false;
        loop {
            // All answers are there already; waiting for the last is for a kernel that is not so.
            let flags = match over {
                true => RecvFlags::DONTWAIT,
                false => RecvFlags::empty(),
            };
            let Some(length) = self.read(&label, flags)? else {
                break;
            };
            for answer in message::answers(&self.buffer[..length]) {
                let Some((errno, words)) = answer.error() else {
                    continue;
                };
                // What refuses a firewall's batch as a whole bears the number before the first.
                let index = answer.sequence.wrapping_sub(first) as usize;
                over |= index >= last;
                if let Some(errno) = errno {
                    refusals.extend(batch.refusal(index, errno, words).map(|r| (index, r)));
                }
            }
        }
        refusals.sort_by_key(|(index, _)| *index);
        refusals
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, refusal)| Err(refusal))
    }

    /// Asks one question (`RTM_GET…`, `NFT_MSG_GET…`) and returns the answers; with [`DUMP`] among
    /// its flags, all of the kernel's list.
    pub fn ask(&mut self, label: &'static str, question: &Message) -> Result<Vec<Reply>> {
        // The kernel says when its list changed while it was read; it is never busy for ever.
        for _ in 0..16 {
            if let Some(replies) = self.ask_once(label, question.clone())? {
                return Ok(replies);
            }
        }
        Err(refused(label, Errno::INTR, None))
    }

    fn ask_once(&mut self, label: &'static str, question: Message) -> Result<Option<Vec<Reply>>> {
        let mut batch = Batch::new();
        batch.push(label, question);
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        batch.number(sequence);
        self.write(label, &batch.bytes)?;
        let (mut replies, mut interrupted) = (Vec::new(), false);
        loop {
            let Some(length) = self.read(label, RecvFlags::empty())? else {
                return Err(refused(label, Errno::IO, None));
            };
            for answer in message::answers(&self.buffer[..length]) {
                if answer.sequence != sequence {
                    continue;
                }
                interrupted |= answer.flags & DUMP_INTERRUPTED != 0;
                match answer.kind {
                    NOOP => {}
                    ERROR | DONE => match answer.error() {
                        Some((Some(errno), words)) => {
                            return Err(refused(label, errno, words));
                        }
                        _ => return Ok((!interrupted).then_some(replies)),
                    },
                    kind => replies.push(Reply {
                        kind,
                        payload: answer.payload.to_vec(),
                    }),
                }
            }
        }
    }

    fn write(&self, label: &str, bytes: &[u8]) -> Result<()> {
        let send = || rustix::net::send(&self.socket, bytes, SendFlags::empty());
        let sent = match send() {
            // Longer than what a socket may send at once: root may raise that.
            Err(Errno::MSGSIZE) => rustix::net::sockopt::set_socket_send_buffer_size_force(
                &self.socket,
                2 * bytes.len(),
            )
            .and_then(|()| send()),
            sent => sent,
        };
        match sent {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => Err(refused(label, Errno::MSGSIZE, None)),
            Err(errno) => Err(refused(label, errno, None)),
        }
    }

    /// Receives one datagram into the buffer; nothing if there is none and waiting is not wanted.
    fn read(&mut self, label: &str, flags: RecvFlags) -> Result<Option<usize>> {
        if self.buffer.is_empty() {
            // Zeroed by the allocator, which has most of it from the kernel, untouched.
            self.buffer = vec![0; RECEIVE];
        }
        loop {
            let flags = flags | RecvFlags::TRUNC;
            match rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), flags) {
                Ok((_, length)) if length > RECEIVE => {
                    return Err(refused(label, Errno::MSGSIZE, None));
                }
                Ok((length, _)) => return Ok(Some(length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(refused(label, errno, None)),
            }
        }
    }
}

/// The firewall takes its requests between two messages that make them a transaction.
fn enclosed(requests: &[u8], begin: u32, end: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(requests.len() + 2 * (HEADER + 4));
    let border = |kind: u16, sequence: u32, bytes: &mut Vec<u8>| {
        // nfgenmsg: family unspecified, version 0, the subsystem in the byte order of networks.
        let head = [0, 0, 0, nft::SUBSYSTEM];
        let mut message = Message::new(kind, REQUEST, &head);
        message.set_sequence(sequence);
        message.finish_into(bytes);
    };
    border(NETFILTER_BATCH_BEGIN, begin, &mut bytes);
    bytes.extend_from_slice(requests);
    border(NETFILTER_BATCH_END, end, &mut bytes);
    bytes
}

impl Answer<'_> {
    /// For a confirmation or an error: the errno (none: done) and the kernel's words.
    fn error(&self) -> Option<(Option<Errno>, Option<String>)> {
        if !matches!(self.kind, ERROR | DONE) {
            return None;
        }
        let code = self.payload.first_chunk::<4>();
        let code = code.map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        let errno = (code < 0).then(|| Errno::from_raw_os_error(code.saturating_neg()));
        let words = errno.and_then(|_| self.words());
        Some((errno, words))
    }

    fn words(&self) -> Option<String> {
        const MESSAGE: u16 = 1;
        if self.flags & WITH_ATTRIBUTES == 0 {
            return None;
        }
        // After the errno stands the request: its header alone (capped) or all of it.
        let request = self.payload.get(4..)?;
        let length = u32::from_ne_bytes(*request.first_chunk::<4>()?) as usize;
        let skipped = match (self.kind, self.flags & CAPPED) {
            (DONE, _) => 0,
            (_, 0) => length.checked_next_multiple_of(4)?,
            _ => HEADER,
        };
        let found = Attributes::new(request.get(skipped..)?).find(MESSAGE)?;
        let text = found.strip_suffix(&[0]).unwrap_or(found);
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests;
