//! The host's firewall, as root needs it: a way out, published ports, and walls between networks.
//!
//! One table, `inet coracle`, that nobody else writes to and that touches nothing of others. Its
//! rules never change (they are a value: [`rules`]); what comes and goes are elements of its sets
//! and maps:
//!
//! | set or map | element | made by |
//! |---|---|---|
//! | `bridges` | a network's bridge | the network's first container |
//! | `pairs` | (bridge, bridge) of the same network | ″ |
//! | `inside` | the same, if containers of the network reach each other | ″ |
//! | `homes4`, `homes6` | a bridge and the addresses of its network | ″ |
//! | `masquerade` | a bridge whose containers leave with the host's address | ″ |
//! | `internal` | a bridge with no way out | ″ |
//! | `open` | a bridge that containers of other networks reach (`isolate=false`) | ″ |
//! | `ports4`, `ports6` | protocol, port → container, port | the container |
//! | `ports4_at`, `ports6_at` | the same for one address of the host | ″ |
//!
//! Adding and removing them are single transactions of a few microseconds, in any order, by any
//! number of processes at once. A killed process leaves its elements behind: whoever gets the address
//! of its container removes them ([`claim`]), and whoever publishes the same port replaces them.
//!
//! Connections to published ports from this host's loopback addresses are none of this table's:
//! the network process itself listens there.
//!
//! # Beside others
//!
//! Rules of other tables see the same packets, and a packet passes only if all let it pass. Docker
//! (when it turned forwarding on) and ufw drop what is forwarded and not theirs; firewalld refuses
//! it by zones. No table can overrule them: [`obstacles`] finds them and says what to do. Who
//! flushes all tables (`nft flush ruleset`) takes ours too: the next container makes it anew for
//! its own network, and `network reload` for each that runs ([`repair`], [`attach`]).

use std::net::IpAddr;

use ipnet::IpNet;
use rustix::io::Errno;

use crate::{
    model::{
        Result,
        network::{Endpoint, Network},
        publish::{PortMapping, Protocol},
    },
    net::{
        netlink::{
            Batch, Socket, conntrack, errno,
            nft::{Element, Table},
        },
        sysctl,
    },
};

mod elements;
mod obstacles;
mod rules;

pub use obstacles::{Obstacle, obstacles};

use elements::{PORT_MAPS, leading_to, leads_to, of_network, of_ports};

const TABLE: Table<'static> = Table::inet("coracle");

/// Makes sure that the table knows the network, and that the kernel forwards. One question if all
/// is as it should be. `socket` is of nf_tables, the network of the driver `bridge`.
pub fn ensure(socket: &mut Socket, network: &Network) -> Result<()> {
    match TABLE.has(socket, "bridges", &elements::bridge(network))? {
        true => Ok(()),
        false => repair(socket, network),
    }
}

/// The same without asking first: chains, rules and the network's elements are put right, whatever
/// somebody has done to them; ports are left as they are.
pub fn repair(socket: &mut Socket, network: &Network) -> Result<()> {
    forward(network)?;
    let mut batch = rules::table();
    batch.append(network_elements(network));
    match socket.send(batch) {
        // A table of another version of this program, whose sets are of other types.
        Err(error) if errno(&error) == Some(Errno::EXIST) => {
            let mut batch = rules::new_table();
            batch.append(network_elements(network));
            socket.send(batch)
        }
        done => done,
    }
}

fn forward(network: &Network) -> Result<()> {
    if network.internal {
        return Ok(());
    }
    if network.subnet(true).is_some() {
        sysctl::forward_ipv4()?;
    }
    if network.subnet(false).is_some() {
        sysctl::forward_ipv6()?;
    }
    Ok(())
}

/// The network's elements, and none that it had under other options.
fn network_elements(network: &Network) -> Batch {
    let mut batch = Batch::new();
    for (set, element, wanted) in of_network(network) {
        let element = [element];
        // What was just added is there to be removed: an element that is not there is no error.
        add(&mut batch, set, &element);
        if !wanted {
            remove(&mut batch, set, &element);
        }
    }
    batch
}

fn add(batch: &mut Batch, set: &'static str, elements: &[Element]) {
    for request in TABLE.add(set, elements) {
        batch.push(format!("add to the firewall's {set}"), request);
    }
}

fn remove(batch: &mut Batch, set: &'static str, elements: &[Element]) {
    for request in TABLE.remove(set, elements) {
        batch.push(format!("remove from the firewall's {set}"), request);
    }
}

/// Publishes the container's ports, which the caller holds: no other process of ours publishes the
/// same. Nothing is sent if there are none.
pub fn attach(
    socket: &mut Socket,
    network: &Network,
    endpoint: &Endpoint,
    ports: &[PortMapping],
) -> Result<()> {
    let wanted = of_ports(network, endpoint, ports);
    if wanted.iter().all(|(_, elements)| elements.is_empty()) {
        return Ok(());
    }
    let mut batch = Batch::new();
    for (map, elements) in &wanted {
        add(&mut batch, map, elements);
    }
    match socket.send(batch) {
        Err(error) if errno(&error) == Some(Errno::EXIST) => replace(socket, &wanted),
        done => done,
    }
}

/// Adds elements whose keys a killed process left behind with other values.
fn replace(socket: &mut Socket, wanted: &[(&'static str, Vec<Element>)]) -> Result<()> {
    let mut batch = Batch::new();
    for (map, elements) in wanted {
        let mut stale = TABLE.elements(socket, map)?;
        stale.retain(|old| elements.iter().any(|new| new.key == old.key && new != old));
        remove(&mut batch, map, &stale);
        add(&mut batch, map, elements);
    }
    socket.send(batch)
}

/// Takes the container's published ports back; to be called while the caller still holds them.
pub fn detach(
    socket: &mut Socket,
    network: &Network,
    endpoint: &Endpoint,
    ports: &[PortMapping],
) -> Result<()> {
    let mut batch = Batch::new();
    for (map, elements) in of_ports(network, endpoint, ports) {
        remove(&mut batch, map, &elements);
    }
    match socket.send(batch) {
        Err(error) if errno(&error) == Some(Errno::NOENT) => {
            take_back(socket, of_ports(network, endpoint, ports))?;
        }
        done => done?,
    }
    forget_flows(socket, endpoint.addresses.iter().map(IpNet::addr), ports)
}

/// Makes clients that go on sending UDP find who publishes the port next.
fn forget_flows(
    socket: &mut Socket,
    addresses: impl Iterator<Item = IpAddr>,
    ports: &[PortMapping],
) -> Result<()> {
    const UDP: u8 = 17;
    if ports.iter().any(|port| port.protocol == Protocol::Udp) {
        for address in addresses {
            conntrack::forget_answered_by(socket, address, UDP)?;
        }
    }
    Ok(())
}

/// Takes back what a killed process published for a container with these addresses, but not what
/// others have published on the same ports since.
pub fn sweep(socket: &mut Socket, addresses: &[IpAddr], ports: &[PortMapping]) -> Result<()> {
    take_back(socket, leading_to(addresses, None, ports))?;
    forget_flows(socket, addresses.iter().copied(), ports)
}

fn take_back(socket: &mut Socket, published: [(&'static str, Vec<Element>); 4]) -> Result<()> {
    if !TABLE.exists(socket)? {
        return Ok(());
    }
    for (map, mut gone) in published {
        if gone.is_empty() {
            continue;
        }
        let there = TABLE.elements(socket, map)?;
        gone.retain(|element| there.contains(element));
        let mut batch = Batch::new();
        remove(&mut batch, map, &gone);
        // Somebody else was faster.
        match socket.send(batch) {
            Err(error) if errno(&error) == Some(Errno::NOENT) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Takes back whatever leads to the container's addresses: ports of a killed container that had them
/// before. To be called before its own are published.
pub fn claim(socket: &mut Socket, endpoint: &Endpoint) -> Result<()> {
    for map in PORT_MAPS {
        let mut stale = TABLE.elements(socket, map)?;
        stale.retain(|element| leads_to(element, endpoint));
        if stale.is_empty() {
            continue;
        }
        let mut batch = Batch::new();
        remove(&mut batch, map, &stale);
        match socket.send(batch) {
            // Somebody else was faster.
            Err(error) if errno(&error) == Some(Errno::NOENT) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Forgets a network that is removed.
pub fn forget(socket: &mut Socket, network: &Network) -> Result<()> {
    if !TABLE.exists(socket)? {
        return Ok(());
    }
    let mut batch = Batch::new();
    for (set, element, _) in of_network(network) {
        add(&mut batch, set, std::slice::from_ref(&element));
        remove(&mut batch, set, &[element]);
    }
    socket.send(batch)
}

/// Removes the table if no network is in it any more.
pub fn remove_unused(socket: &mut Socket) -> Result<()> {
    TABLE.delete_unless_used(socket, "bridges")
}

#[cfg(test)]
mod tests;
