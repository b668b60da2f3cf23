//! What a network and a container put into the firewall's sets and maps, as values.

use std::net::IpAddr;

use crate::{
    model::{
        network::{Driver, Endpoint, Network},
        publish::{PortMapping, Protocol},
    },
    net::netlink::nft::{Element, concatenation, interface},
};

/// In the order of [`of_ports`].
pub(super) const PORT_MAPS: [&str; 4] = ["ports4", "ports4_at", "ports6", "ports6_at"];

/// The key of a network in `bridges`.
pub(super) fn bridge(network: &Network) -> [u8; 16] {
    interface(&network.interface)
}

/// Set, element, and whether the network has it.
pub(super) fn of_network(network: &Network) -> Vec<(&'static str, Element, bool)> {
    let one = || Element::key(bridge(network));
    let pair = || Element::key([bridge(network), bridge(network)].concat());
    let internal = network.internal;
    let mut all = vec![
        ("bridges", one(), true),
        ("pairs", pair(), true),
        ("inside", pair(), network.icc),
        ("masquerade", one(), network.masquerade && !internal),
        ("internal", one(), internal),
        ("open", one(), !network.isolate && !internal),
    ];
    for subnet in &network.subnets {
        let key = |address| concatenation(&[&bridge(network), &octets(address)]);
        let home = Element::key(key(subnet.net.network())).last(key(subnet.net.broadcast()));
        let set = if subnet.is_ipv4() { "homes4" } else { "homes6" };
        all.push((set, home, true));
    }
    all
}

/// The elements of a container's published ports, for each of the maps.
pub(super) fn of_ports(
    network: &Network,
    endpoint: &Endpoint,
    ports: &[PortMapping],
) -> [(&'static str, Vec<Element>); 4] {
    if network.internal || network.driver != Driver::Bridge {
        return PORT_MAPS.map(|map| (map, Vec::new()));
    }
    let addresses: Vec<IpAddr> = endpoint.addresses.iter().map(ipnet::IpNet::addr).collect();
    leading_to(&addresses, network.publish_on, ports)
}

/// The same by a container's addresses; ports without an address of the host are on `host`.
pub(super) fn leading_to(
    addresses: &[IpAddr],
    host: Option<IpAddr>,
    ports: &[PortMapping],
) -> [(&'static str, Vec<Element>); 4] {
    let mut maps = PORT_MAPS.map(|map| (map, Vec::new()));
    for mapping in ports {
        let host = mapping.host_ip.or(host);
        for ipv4 in [true, false] {
            let to = addresses.iter().find(|to| to.is_ipv4() == ipv4);
            if let Some(element) = to.and_then(|to| of_port(*to, mapping, host)) {
                let any = host.is_none_or(|address| address.is_unspecified());
                let map = usize::from(!ipv4) * 2 + usize::from(!any);
                maps[map].1.push(element);
            }
        }
    }
    maps
}

fn of_port(to: IpAddr, mapping: &PortMapping, host: Option<IpAddr>) -> Option<Element> {
    let port = mapping.host_port?;
    if host.is_some_and(|address| address.is_ipv4() != to.is_ipv4() || address.is_loopback()) {
        return None;
    }
    let protocol = [protocol_number(mapping.protocol)];
    let port = port.to_be_bytes();
    let key = match host.filter(|address| !address.is_unspecified()) {
        Some(address) => concatenation(&[&octets(address), &protocol, &port]),
        None => concatenation(&[&protocol, &port]),
    };
    let value = concatenation(&[&octets(to), &mapping.container_port.to_be_bytes()]);
    Some(Element::key(key).value(value))
}

/// `IPPROTO_…`
fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// Whether an element of a map of ports leads to one of the container's addresses.
pub(super) fn leads_to(element: &Element, endpoint: &Endpoint) -> bool {
    let Some(value) = &element.value else {
        return false;
    };
    let mut addresses = endpoint.addresses.iter().map(|net| octets(net.addr()));
    addresses.any(|octets| {
        // The port behind it takes a register of four bytes.
        value.len() == octets.len() + 4 && value.starts_with(&octets)
    })
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
