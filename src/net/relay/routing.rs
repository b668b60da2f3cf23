//! What makes a container's packets in the router go to its relay: see "What several containers
//! share" at the head of [`super`]. All of this is done on the router's thread.

use std::net::IpAddr;

use ipnet::IpNet;
use rustix::io::Errno;

use super::Way;
use crate::{
    model::{Error, ErrorKind, Result, backend::Backend},
    net::{
        netlink::{
            self, Batch, Socket,
            nft::Element,
            route::{self, LinkChange, Route, Rule},
        },
        router::furnish::{RELAY4, RELAY6, TABLE, TO_CONTAINERS, TO_LISTENERS},
    },
};

/// No packet is too long for the trap. (What came in fragments comes to it in fragments all the same.)
const LARGEST: u32 = 65535;
/// The numbers of routing tables of devices begin here, and those of addresses behind them.
const OF_DEVICES: u32 = 0x800;
const RESERVED: u32 = 0x1000;

/// Raises the device, and returns its number.
pub fn raise(device: &str, backend: Backend) -> Result<u32> {
    let mut socket = Socket::route()?;
    let link = route::link_named(&mut socket, device)?;
    let index = link.map(|link| link.index).ok_or_else(|| {
        Error::new(
            ErrorKind::System,
            format!("there is no link {device} in the router"),
        )
    })?;
    // What it inherits may be strict.
    let setting = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
    let _ = std::fs::write(setting, "0");
    let change = LinkChange {
        up: Some(true),
        mtu: Some(LARGEST),
        ..LinkChange::default()
    };
    let mut batch = Batch::new();
    batch.push("raise the relay's link", change.request(index));
    if backend == Backend::Tun {
        lead_through(device, index, &mut batch);
    }
    socket.send(batch)?;
    Ok(index)
}

/// What is not the container's but comes from the device goes to the container, and what is sent by
/// way of it finds a route. All rules about devices stay when they go, and are as good for the next one
/// of that name.
fn lead_through(device: &str, index: u32, batch: &mut Batch) {
    let number = device.trim_start_matches(char::is_alphabetic);
    let own = OF_DEVICES + number.parse().unwrap_or(0) % (RESERVED - OF_DEVICES);
    for ipv6 in [false, true] {
        let answers = Rule {
            ipv6,
            input: Some(device.to_owned()),
            table: TO_CONTAINERS,
            priority: Some(12),
            ..Rule::default()
        };
        let out = Rule {
            input: None,
            output: Some(device.to_owned()),
            table: own,
            ..answers.clone()
        };
        let route = match ipv6 {
            false => Route::default_v4(),
            true => Route::default_v6(),
        };
        let route = route.device(index).table(own);
        let known = known(ipv6);
        batch.push_unless(known, "route answers to the container", answers.add());
        batch.push_unless(known, "route what goes by the relay", out.add());
        batch.push_unless(known, "route to the relay's device", route.add());
    }
}

/// What the container has sent is delivered here when it comes from the device, and nowhere else:
/// its network's other containers are the bridge's affair.
fn deliver(net: IpNet, device: &str) -> Rule {
    Rule {
        ipv6: net.addr().is_ipv6(),
        source: Some(net.trunc()),
        input: Some(device.to_owned()),
        table: TO_LISTENERS,
        priority: Some(11),
        ..Rule::default()
    }
}

/// Errors if a rule is there, or the kernel has no IPv6.
fn known(ipv6: bool) -> &'static [Errno] {
    match ipv6 {
        false => &[Errno::EXIST],
        true => &[Errno::EXIST, Errno::AFNOSUPPORT, Errno::OPNOTSUPP],
    }
}

/// Leads what comes from these addresses to the relay, whatever an earlier container with one of
/// them has left.
pub fn add(addresses: &[IpNet], way: &Way) -> Result<()> {
    let mut batch = Batch::new();
    for net in addresses {
        let address = net.addr();
        let rule = rule(address);
        let to = default_route(address).device(way.index).table(rule.table);
        batch.push("route the container to its relay", to.add());
        batch.push_unless(
            &[Errno::EXIST],
            "route by the container's address",
            rule.add(),
        );
        if way.port.is_none() {
            let deliver = deliver(*net, &way.device).add();
            batch.push_unless(
                &[Errno::EXIST],
                "deliver what comes from the relay",
                deliver,
            );
        }
    }
    Socket::route()?.send(batch)?;
    let Some(port) = way.port else {
        return Ok(());
    };
    let elements = |addresses| elements(addresses, port);
    let mut socket = Socket::netfilter()?;
    let added = socket.send(elements(addresses));
    match &added {
        // Of somebody who was killed.
        Err(error) if netlink::errno(error) == Some(Errno::EXIST) => {
            for net in addresses {
                let gone = remove_element(net.addr());
                let _ = socket.send(gone);
            }
            socket.send(elements(addresses))
        }
        _ => added,
    }
}

/// The reverse. What is not there is not missed.
pub fn remove(addresses: &[IpNet], way: &Way) -> Result<()> {
    let gone: &[Errno] = &[Errno::NOENT, Errno::SRCH, Errno::AFNOSUPPORT];
    let mut batch = Batch::new();
    for net in addresses {
        let label = "remove the rule of the container's address";
        batch.push_unless(gone, label, rule(net.addr()).delete());
    }
    Socket::route()?.send(batch)?;
    if way.port.is_none() {
        return Ok(());
    }
    let mut socket = Socket::netfilter()?;
    for net in addresses {
        match socket.send(remove_element(net.addr())) {
            Err(error) if netlink::errno(&error) != Some(Errno::NOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn elements(addresses: &[IpNet], port: u16) -> Batch {
    let mut batch = Batch::new();
    for net in addresses {
        let element = Element::key(octets(net.addr())).value(port.to_be_bytes());
        for request in TABLE.add(map(net.addr()), &[element]) {
            batch.push("lead the container's connections to its relay", request);
        }
    }
    batch
}

fn remove_element(address: IpAddr) -> Batch {
    let mut batch = Batch::new();
    for request in TABLE.remove(map(address), &[Element::key(octets(address))]) {
        batch.push("remove the container's way to its relay", request);
    }
    batch
}

fn map(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => RELAY4,
        IpAddr::V6(_) => RELAY6,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn default_route(address: IpAddr) -> Route {
    match address {
        IpAddr::V4(_) => Route::default_v4(),
        IpAddr::V6(_) => Route::default_v6(),
    }
}

/// The same for an address whoever has it: one that was left behind is as good as a new one.
fn rule(address: IpAddr) -> Rule {
    Rule {
        ipv6: address.is_ipv6(),
        source: Some(address.into()),
        table: table(address),
        priority: Some(20),
        ..Rule::default()
    }
}

/// The number of the routing table of an address. Those of IPv4 and IPv6 do not meet; two addresses
/// of IPv6 in one network would have to differ in both halves to share a number.
fn table(address: IpAddr) -> u32 {
    let number = match address {
        IpAddr::V4(four) => u32::from(four),
        IpAddr::V6(six) => {
            let bits = u128::from(six);
            (0..4).fold(0, |folded, part| folded ^ (bits >> (32 * part)) as u32)
        }
    };
    if number < RESERVED {
        number + RESERVED
    } else {
        number
    }
}
