//! What a container sees of its network: a link with its name and hardware address, addresses,
//! routes. Requests go through a socket made in the container's network namespace.
//!
//! A container of a network without IPv6 has none on that link, not even an address of the link's
//! own: nothing that another container announces on the bridge (router advertisements,
//! CVE-2020-10749) can give it a route. With IPv6 it does not listen to routers either.

use std::{net::IpAddr, os::fd::BorrowedFd};

use ipnet::IpNet;
use rustix::io::Errno;

use crate::{
    model::{
        Context, Error, ErrorKind, Result,
        network::{Endpoint, Mac, Network},
    },
    net::{
        netlink::{
            Batch, Socket,
            route::{self, Route},
        },
        sysctl,
    },
    sys,
};

/// Opens a socket in the container's namespace, and sets there what links are born with: it must
/// be called before the container's end of the link is made.
pub(super) fn enter(
    network: &Network,
    endpoint: &Endpoint,
    namespace: BorrowedFd<'_>,
) -> Result<Socket> {
    let entered = sys::netns::within(namespace, || Ok(prepare(network, endpoint)));
    entered.system(|| "cannot enter the container's network namespace".to_owned())?
}

fn prepare(network: &Network, endpoint: &Endpoint) -> Result<Socket> {
    if endpoint.address(false).is_some() || network.ipv6 {
        sysctl::set("ipv6/conf/default/disable_ipv6", "0")?;
        sysctl::set("ipv6/conf/default/accept_ra", "0")?;
        // The address was leased: nobody is asked, and a second's waiting is saved.
        sysctl::set("ipv6/conf/default/accept_dad", "0")?;
    } else {
        sysctl::set("ipv6/conf/default/disable_ipv6", "1")?;
    }
    let usual_mac = endpoint
        .addresses
        .iter()
        .any(|net| Mac::of_address(net.addr()) == endpoint.mac);
    if !usual_mac {
        // Neighbours may remember the address with another container's hardware address.
        sysctl::set("ipv4/conf/default/arp_notify", "1")?;
    }
    Socket::route()
}

/// Gives the link its addresses, puts it up, and adds the routes.
pub(super) fn configure(socket: &mut Socket, network: &Network, endpoint: &Endpoint) -> Result<()> {
    let name = &endpoint.interface;
    let link = route::link_named(socket, name)?;
    let index = link
        .ok_or_else(|| {
            let gone = format!("the container's interface {name} is gone again");
            Error::new(ErrorKind::System, gone)
        })?
        .index;
    let mut batch = Batch::new();
    let of_link = endpoint
        .link_local
        .iter()
        .filter_map(|own| link_local(*own));
    for net in endpoint.addresses.iter().copied().chain(of_link) {
        let what = format!("give the container's interface {name} the address {net}");
        batch.push(what, route::add_address(index, net));
    }
    batch.push(
        format!("set up the container's interface {name}"),
        route::set_up(index),
    );
    for route in routes(network, endpoint, index) {
        let gateway = route.gateway.map(|gateway| format!(" by {gateway}"));
        let what = format!(
            "add the container's route to {}{}",
            route.destination,
            gateway.unwrap_or_default()
        );
        batch.push(what, route.add());
    }
    socket.send(batch)
}

/// The network of addresses of the link's own, RFC 3927 and RFC 4291.
fn link_local(own: IpAddr) -> Option<IpNet> {
    IpNet::new(own, if own.is_ipv4() { 16 } else { 64 }).ok()
}

fn routes(network: &Network, endpoint: &Endpoint, index: u32) -> Vec<Route> {
    let mut routes = Vec::new();
    let families = endpoint.addresses.iter().map(|net| net.addr().is_ipv4());
    for ipv4 in families {
        if network.internal || !endpoint.default_route {
            continue;
        }
        let Some(gateway) = endpoint.gateway(ipv4) else {
            continue;
        };
        let default = if ipv4 {
            Route::default_v4()
        } else {
            Route::default_v6()
        };
        let mut route = default.via(gateway).device(index).metric(endpoint.metric);
        route.on_link = !endpoint.addresses.iter().any(|net| net.contains(&gateway));
        routes.push(route);
    }
    for wanted in &network.routes {
        let reachable = endpoint
            .addresses
            .iter()
            .any(|net| net.contains(&wanted.gateway));
        // Of a family that this container has no address of.
        if reachable {
            let route = Route::to(wanted.destination).via(wanted.gateway);
            routes.push(route.device(index).metric(wanted.metric));
        }
    }
    routes
}

/// Removes the container's end of the link, and with it the other one.
pub(super) fn remove_link(socket: &mut Socket, endpoint: &Endpoint) -> Result<()> {
    let mut batch = Batch::new();
    batch.push_unless(
        &[Errno::NODEV],
        format!("remove the container's interface {}", endpoint.interface),
        route::delete_link_by_name(&endpoint.interface),
    );
    socket.send(batch)
}
