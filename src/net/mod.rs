//! A container's network, without helper programs: everything is a message to the kernel or a
//! packet.
//!
//! | module | what it does | where it runs |
//! |---|---|---|
//! | [`netlink`] | the wire: links, addresses, routes (rtnetlink(7)) and nf_tables, in batches | – |
//! | [`bridge`] | the bridge of a network and the pair of links of a container | network process |
//! | [`firewall`] | root's: masquerading, published ports, isolation, as elements of one table | network process |
//! | [`guard`] | containers speak for themselves alone | network process |
//! | [`router`] | the namespace that an ordinary user's bridges are in | network process |
//! | [`relay`] | between that namespace and the world | network process |
//! | [`names`] | the DNS server at 127.0.0.11 | network process, and the container's namespace |
//! | [`confine`] | what is taken from the network process | network process |
//! | [`process`] | the network process, which brings these together | a child of the supervisor |
//!
//! What the kernel is told lasts as long as something holds it: links go with the container's
//! network namespace, the rootless router with the last process that holds its namespace. Only
//! root's bridges and the firewall's elements stay behind when a process is killed; the next
//! attachment finds them by the leases of storage and puts them right.

pub mod bridge;
pub mod confine;
pub mod firewall;
pub mod guard;
mod inside;
#[cfg(test)]
mod lab;
pub mod lower_link;
pub mod names;
pub mod netlink;
pub mod process;
pub mod relay;
pub mod router;
pub mod sysctl;
