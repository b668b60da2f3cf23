//! macvlan and ipvlan: a container's link is a part of one of the host's links, its *parent*
//! (ip-link(8)). Frames go straight to the network out there: no bridge, no firewall, no
//! translation, and by the kernel's design no way between the container and its own host.
//!
//! Root only: the parent is in the host's namespace.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::{
    model::{
        Error, ErrorKind, Result,
        network::{Driver, Endpoint, LinkMode, Network},
    },
    net::{
        bridge,
        netlink::{
            Batch, Socket, errno,
            route::{self, IpvlanMode, MacvlanMode, NewLink},
        },
    },
};

/// Makes the container's link in its namespace, under its name.
pub(super) fn add(
    socket: &mut Socket,
    network: &Network,
    endpoint: &Endpoint,
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    let parent = parent(socket, network)?;
    let name = &endpoint.interface;
    let mut link = match network.driver {
        Driver::Ipvlan => NewLink::ipvlan(name, parent.index, ipvlan_mode(network.mode)),
        _ => NewLink::macvlan(name, parent.index, macvlan_mode(network.mode)).mac(endpoint.mac.0),
    };
    if let Some(mtu) = endpoint.mtu.or(network.mtu) {
        link = link.mtu(mtu);
    }
    let mut batch = Batch::new();
    let what = format!(
        "make the {} interface {name} on {}",
        network.driver, parent.name
    );
    batch.push(what, link.in_namespace(namespace).request());
    socket.send(batch).map_err(|error| match errno(&error) {
        Some(Errno::OPNOTSUPP) => error.with_hint(format!("modprobe {}", network.driver)),
        Some(Errno::BUSY) => error.with_hint(format!(
            "{} is the parent of a network of another driver or mode",
            parent.name
        )),
        _ => error,
    })
}

fn macvlan_mode(mode: Option<LinkMode>) -> MacvlanMode {
    match mode {
        Some(LinkMode::Private) => MacvlanMode::Private,
        Some(LinkMode::Vepa) => MacvlanMode::Vepa,
        Some(LinkMode::Passthru) => MacvlanMode::Passthru,
        _ => MacvlanMode::Bridge,
    }
}

fn ipvlan_mode(mode: Option<LinkMode>) -> IpvlanMode {
    match mode {
        Some(LinkMode::L3) => IpvlanMode::L3,
        Some(LinkMode::L3s) => IpvlanMode::L3s,
        _ => IpvlanMode::L2,
    }
}

/// The network's parent: the link it names, or that of the default route. `eth0.10` is made if
/// there is an `eth0`: its part with the VLAN tag 10, as Docker does.
fn parent(socket: &mut Socket, network: &Network) -> Result<route::Link> {
    let Some(name) = &network.parent else {
        return bridge::way_out(socket)?.ok_or_else(|| {
            let message = format!("the network {} has no parent interface", network.name);
            Error::new(ErrorKind::Unsupported, message)
                .with_hint("this host has no default route: name one with -o parent=NAME")
        });
    };
    if let Some(link) = route::link_named(socket, name)? {
        return Ok(link);
    }
    if let Some((lower, tag)) = vlan(name)
        && let Some(lower) = route::link_named(socket, lower)?
    {
        let mut batch = Batch::new();
        let tagged = NewLink::vlan(name, lower.index, tag).up();
        batch.push_unless(&[Errno::EXIST], format!("make {name}"), tagged.request());
        socket.send(batch)?;
    }
    route::link_named(socket, name)?.ok_or_else(|| {
        let message = format!(
            "the network {} has the parent interface {name}, which this host does not have",
            network.name
        );
        Error::new(ErrorKind::Unsupported, message)
    })
}

/// `eth0.10` as a link and a tag, IEEE 802.1Q: 1 to 4094.
fn vlan(name: &str) -> Option<(&str, u16)> {
    let (lower, tag) = name.rsplit_once('.')?;
    let tag = tag.parse().ok().filter(|tag| (1..4095).contains(tag))?;
    Some((lower, tag))
}
