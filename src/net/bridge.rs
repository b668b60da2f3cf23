//! The bridge of a network, and the pair of links that makes a container one of its ports.
//!
//! ```text
//!   bridge (its address is the containers' gateway)
//!    ├── veth1234567 ═══ eth0 │ container's network namespace
//!    └── veth89abcde ═══ eth0 │ another's
//! ```
//!
//! The bridge is in the namespace of the socket that is given: the host's for root, the router
//! namespace's for an ordinary user. Settings (sysctls) go to the namespace of the calling thread,
//! so it must be the same.
//!
//! A bridge is made by whoever needs it first, and put up last: one that is up is complete. Any
//! number may try at once; each of the steps may be done twice. It stays when the last container
//! goes. A killed process leaves at most a bridge that is not up, which the next one finishes.
//!
//! Attaching is two sends: the pair, made with its inner end already in the container's namespace
//! under its name; and inside, addresses, up, routes. On the way out there is none: the pair goes
//! with the container's namespace.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::BorrowedFd,
    time::Duration,
};

use ipnet::IpNet;
use rustix::io::Errno;

use crate::{
    model::{
        Context, Error, ErrorKind, Result,
        network::{Driver, Endpoint, Mac, Network},
    },
    net::{
        guard, inside, lower_link,
        netlink::{
            Batch, Socket, errno,
            route::{self, LinkChange, NewLink, PortChange, RouteKind},
        },
        sysctl,
    },
};

/// What Ethernet carries, if nothing else is known; bytes.
const USUAL_MTU: u32 = 1500;

/// A bridge that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The number of the link.
    pub index: u32,
    /// Bytes; of its ports too, if nothing else was asked for.
    pub mtu: u32,
    /// It was not there, or not complete, and has been made.
    pub made: bool,
}

/// Returns the network's bridge, which is made if it is not there or not complete.
pub fn ensure(socket: &mut Socket, network: &Network) -> Result<Bridge> {
    match found(socket, network)? {
        Some(link) if link.up => Ok(Bridge {
            index: link.index,
            mtu: link.mtu,
            made: false,
        }),
        _ => repair(socket, network),
    }
}

/// Makes the bridge, or puts right whatever is wrong with it.
pub fn repair(socket: &mut Socket, network: &Network) -> Result<Bridge> {
    let name = &network.interface;
    let mut new = NewLink::bridge(name);
    // Without an address of its own a bridge takes that of a port, and another one when that port
    // goes: neighbours would look for the gateway where it no longer is.
    if let Some(mac) = own_mac(network) {
        new = new.mac(mac);
    }
    let mut batch = Batch::new();
    batch.push_unless(
        &[Errno::EXIST],
        format!("add the bridge {name}"),
        new.request(),
    );
    socket.send(batch)?;
    let bridge = found(socket, network)?.ok_or_else(|| {
        Error::new(
            ErrorKind::System,
            format!("the bridge {name} is gone again"),
        )
    })?;

    if network.ipv6 {
        sysctl::set(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
        // Containers are no routers for the host, and nobody else has the gateway's address.
        sysctl::set(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
        sysctl::set(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
    } else {
        sysctl::set(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
    }

    let mtu = match network.mtu {
        Some(mtu) => mtu,
        None => mtu_of_way_out(socket)?,
    };
    let mut batch = Batch::new();
    for subnet in &network.subnets {
        let length = subnet.net.prefix_len();
        let own = subnet.gateway.and_then(|own| IpNet::new(own, length).ok());
        if let Some(own) = own {
            let what = format!("give the bridge {name} the address {own}");
            batch.push(what, route::add_address(bridge.index, own));
        }
    }
    // Said of a bridge that exists, the MTU no longer follows the smallest of its ports.
    let change = LinkChange {
        mtu: Some(mtu),
        up: Some(true),
        ..LinkChange::default()
    };
    batch.push(
        format!("set up the bridge {name}"),
        change.request(bridge.index),
    );
    socket.send(batch)?;
    Ok(Bridge {
        index: bridge.index,
        mtu,
        made: true,
    })
}

/// Removes the network's bridge, if it is there and was made by us; about 20 ms. The name is the
/// user's to choose: what has it may be another's.
pub fn remove(socket: &mut Socket, network: &Network) -> Result<()> {
    let link = route::link_named(socket, &network.interface)?;
    let own = own_mac(network);
    let Some(link) = link.filter(|link| link.kind == "bridge" && own.is_some() && link.mac == own)
    else {
        return Ok(());
    };
    let mut batch = Batch::new();
    batch.push_unless(
        &[Errno::NODEV],
        format!("remove the bridge {}", network.interface),
        route::delete_link(link.index),
    );
    socket.send(batch)
}

/// Whether links of containers are on the network's bridge. The kernel takes the link of a container
/// away some time after the container has ended; that is waited for, within limits.
pub fn is_used(socket: &mut Socket, network: &Network) -> Result<bool> {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        let links = route::links(socket)?;
        let mut bridges = links.iter().filter(|link| link.name == network.interface);
        let Some(bridge) = bridges.next() else {
            return Ok(false);
        };
        if links.iter().all(|link| link.master != Some(bridge.index)) {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// That of a bridge that we have made.
pub(super) fn own_mac(network: &Network) -> Option<route::HardwareAddress> {
    let mut gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway);
    gateways.next().map(|gateway| Mac::of_address(gateway).0)
}

fn found(socket: &mut Socket, network: &Network) -> Result<Option<route::Link>> {
    let link = route::link_named(socket, &network.interface)?;
    match link {
        Some(link) if link.kind != "bridge" => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the interface {} exists and is no bridge",
                network.interface
            ),
        )
        .with_hint("remove it, or make the network with another --interface-name")),
        link => Ok(link),
    }
}

/// The MTU of the link by which packets to the world leave.
fn mtu_of_way_out(socket: &mut Socket) -> Result<u32> {
    Ok(match way_out(socket)? {
        Some(link) if (1280..=65535).contains(&link.mtu) => link.mtu,
        _ => USUAL_MTU,
    })
}

/// The link of the default route. The addresses are of documentation (RFC 5737, RFC 3849), which
/// nobody has a route of its own to, but for laboratories; nothing is sent.
pub(super) fn way_out(socket: &mut Socket) -> Result<Option<route::Link>> {
    let far: [IpAddr; 3] = [
        Ipv4Addr::new(192, 0, 2, 1).into(),
        Ipv4Addr::new(198, 51, 100, 1).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    ];
    for address in far {
        let found = route::route_to(socket, address)?;
        let found = found.filter(|route| route.kind == RouteKind::Unicast);
        if let Some(index) = found.and_then(|route| route.device) {
            return route::link_numbered(socket, index);
        }
    }
    Ok(None)
}

/// Gives the container whose network namespace is `namespace` its link, addresses and routes.
/// `outside` is a socket of rtnetlink(7) in the namespace where the network's bridge or parent is.
/// If it fails, nothing stays.
pub fn attach(
    outside: &mut Socket,
    network: &Network,
    endpoint: &Endpoint,
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    let mut within = inside::enter(network, endpoint, namespace)?;
    let mut outer = None;
    match network.driver {
        Driver::Bridge => {
            let bridge = ensure(outside, network)?;
            outer = Some(add_pair(outside, network, endpoint, bridge, namespace)?);
        }
        Driver::Macvlan | Driver::Ipvlan => lower_link::add(outside, network, endpoint, namespace)?,
    }
    let configured = inside::configure(&mut within, network, endpoint).inspect_err(|_| {
        inside::remove_link(&mut within, endpoint).ok();
    });
    configured?;
    outer.map_or(Ok(()), |outer| open_port(outside, endpoint, &outer))
}

/// Makes the bridge take the container's frames from its port, and no others, and waits until they
/// pass.
fn open_port(socket: &mut Socket, endpoint: &Endpoint, outer: &str) -> Result<()> {
    let Some(link) = route::link_named(socket, outer)? else {
        return Ok(());
    };
    let mut batch = Batch::new();
    let what = format!("tell the bridge whose frames {outer} takes");
    batch.push(what, route::add_station(link.index, endpoint.mac.0));
    socket.send(batch)?;
    match link.operating {
        true => Ok(()),
        false => await_carrier(socket, outer),
    }
}

/// Waits until the bridge lets packets of the port pass. The kernel tells it that both ends are up
/// from a work queue, by and by; a program that is faster loses its first packet, which is an ARP
/// request, and the answer to the next one comes a second later. Since Linux 6.9 the question by
/// itself hurries it.
fn await_carrier(socket: &mut Socket, outer: &str) -> Result<()> {
    for _ in 0..20 {
        match route::link_named(socket, outer)? {
            Some(link) if !link.operating => std::thread::sleep(Duration::from_millis(1)),
            _ => break,
        }
    }
    Ok(())
}

/// Takes the container's link of this network away while it runs; about 20 ms.
pub fn detach_live(endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<()> {
    inside::remove_link(&mut Socket::route_in(namespace)?, endpoint)
}

fn add_pair(
    socket: &mut Socket,
    network: &Network,
    endpoint: &Endpoint,
    bridge: Bridge,
    namespace: BorrowedFd<'_>,
) -> Result<String> {
    // One that was asked for may still be the last run's, which the kernel is about to remove.
    let given = endpoint.host_interface.is_some();
    let mut patience = if given { 25 } else { 2 };
    loop {
        let outer = match &endpoint.host_interface {
            Some(name) => name.clone(),
            None => random_name()?,
        };
        let taken = match socket.send(pair(network, endpoint, bridge, &outer, namespace)) {
            Ok(()) => return Ok(outer),
            Err(error) if errno(&error) == Some(Errno::EXIST) => error,
            Err(error) => return Err(error),
        };
        if patience == 0 {
            return Err(taken.with_hint(format!(
                "{outer} or, in the container, {} is the name of another interface",
                endpoint.interface
            )));
        }
        patience -= 1;
        if given {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn pair(
    network: &Network,
    endpoint: &Endpoint,
    bridge: Bridge,
    outer: &str,
    namespace: BorrowedFd<'_>,
) -> Batch {
    let mtu = endpoint.mtu.unwrap_or(bridge.mtu);
    let inner = NewLink::end(&endpoint.interface)
        .mtu(mtu)
        .mac(endpoint.mac.0)
        .in_namespace(namespace);
    let veth = NewLink::end(outer).mtu(mtu);
    let veth = veth.pair_with(inner).master(bridge.index);
    let veth = veth.group(guard::group(network)).up();
    let mut batch = Batch::new();
    let what = format!(
        "make the pair {outer}, {} on {}",
        endpoint.interface, network.interface
    );
    batch.push(what, veth.request());
    let port = PortChange {
        isolated: !network.icc,
        hairpin: filters_frames(),
        locked: true,
    };
    batch.push(format!("set the port {outer}"), port.request(outer));
    batch
}

/// Whether bridged frames go through the firewall of packets (br_netfilter). Then what a container
/// sends to a port that it has published itself is translated while it is still a frame, and the
/// bridge must send it back the way it came.
fn filters_frames() -> bool {
    sysctl::get("bridge/bridge-nf-call-iptables").is_some_and(|on| on != "0")
}

/// As Docker names them: `veth` and seven digits, so that an administrator knows what it is.
fn random_name() -> Result<String> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .system(|| "cannot get random bytes".to_owned())?;
    let number = u32::from_ne_bytes(bytes) >> 4;
    Ok(format!("veth{number:07x}"))
}

#[cfg(test)]
mod tests;
