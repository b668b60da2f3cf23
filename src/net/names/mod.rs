//! Names of containers: the DNS server at 127.0.0.11 of a container's network namespace.
//!
//! ```text
//! container's namespace                        host's namespace
//!   program ── 127.0.0.11:53 ─┐
//!     header rewriting (nft)  │
//!   127.0.0.11:RANDOM ────────┴─> Responder ──> a name of ours: Directory, answered at once
//!     sockets made there by       (a thread)──> any other: the host's resolvers, or --dns
//!     a thread that went in
//! ```
//!
//! **Use**, from the process that owns a container's network, on a thread in the host's namespace:
//!
//! ```text
//! let sockets = names::sockets(netns)?;                   // made inside, port 53 led to them
//! let directory = LeaseDirectory::open(store, networks.clone(), own)?;  // OwnNames::of(…)
//! let (upstream, options) = Upstream::of(&record.spec.dns, &networks);
//! let responder = Responder::start(sockets, Box::new(directory), upstream, options)?;
//! responder.replace(directory, upstream, options);        // networks were connected live
//! drop(responder);                                        // the thread has ended
//! ```
//!
//! * [`Directory`] says who has a name or an address on the container's networks:
//!   [`LeaseDirectory`] as their leases say it, [`Table`] from memory.
//! * [`Upstream`] says whom everything else is asked of: the servers of a resolv.conf(5) that is read
//!   anew when it changes, or fixed ones.
//! * [`Options::forward`] is off when all networks of the container are internal: other names do not
//!   exist then.
//!
//! **Answers** have a time to live of zero, so that a container which comes back with another address
//! is found there at once. A name of ours that lacks the asked type is answered with no record
//! (NODATA), never asked of others. Several owners of a name come in turn. Search domains are the
//! client's part.
//!
//! **Forwarded** messages go out as they came but for their id, so that EDNS passes, and come back
//! the same way: over UDP from a port of its own each, over TCP if the client uses TCP. An answer is
//! believed if it comes from the server's address to that port, with the id, about the question.
//! Identical questions under way are asked once, and only so many questions are under way at a time:
//! both bound what a loop (our question coming back to us through a server in a container) can cost.
//!
//! Everything that comes from the container or from a server is hostile: messages are read by
//! `hickory-proto`, and what a client can make us hold is bounded ([`responder`], [`clients`]).
//!
//! RFC 1035 (messages, TCP), RFC 2308 (NODATA), RFC 5452 (forged answers), RFC 6891 (EDNS), RFC 7766
//! (TCP). A crash leaves nothing: sockets and rules go with their process and their namespace.

mod answer;
mod clients;
mod directory;
mod forward;
mod leases;
mod message;
mod responder;
mod sockets;
#[cfg(test)]
mod tests;
mod upstream;

pub use answer::{Reaction, react};
pub use directory::{Directory, Owner, Table};
pub use leases::{LeaseDirectory, OwnNames};
pub use message::{Question, Verdict, judge};
pub use responder::{Options, Responder};
pub use sockets::{Sockets, sockets};
pub use upstream::{Server, Upstream};
