//! How the packets of one network's container get out and in: forwarded by the kernel, or relayed.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use super::Connection;
use crate::{
    model::{
        Context, Result,
        network::{Driver, Network},
        publish::PortMapping,
    },
    net::{
        bridge, firewall, guard, netlink,
        relay::{Options, Relay, bound::Bound},
        router::Router,
    },
};

/// A network that the container is connected to.
pub(super) struct Connected {
    pub connection: Connection,
    pub way: Way,
    /// The container's ports lead here; they do so from one run to the next.
    pub published: bool,
}

pub(super) enum Way {
    /// The kernel forwards, as the firewall says; clients on the host's own loopback are relayed.
    Forwarded {
        route: netlink::Socket,
        firewall: netlink::Socket,
        loopback: Option<Relay>,
    },
    /// An internal network has no relay.
    Relayed {
        router: Router,
        relay: Option<Relay>,
    },
}

impl Way {
    pub fn forwarded(connection: &Connection) -> Result<Way> {
        let network = &connection.network;
        let mut route = netlink::Socket::route()?;
        let mut firewall = netlink::Socket::netfilter()?;
        if has_bridge(network) {
            bridge::ensure(&mut route, network)?;
            firewall::ensure(&mut firewall, network)?;
        }
        Ok(Way::Forwarded {
            route,
            firewall,
            loopback: None,
        })
    }

    pub fn relayed(router: Router, network: &Network, options: Options) -> Result<Way> {
        let relay = match network.internal {
            true => None,
            false => Some(Relay::start(Some(&router), options)?),
        };
        Ok(Way::Relayed { router, relay })
    }
}

impl Connected {
    /// The link, and the container's place in the firewall or in the relay.
    pub fn attach(&mut self, namespace: BorrowedFd<'_>) -> Result<()> {
        let Connection { network, endpoint } = &self.connection;
        match &mut self.way {
            Way::Forwarded {
                route, firewall, ..
            } => {
                bridge::attach(route, network, endpoint, namespace)?;
                if has_bridge(network) {
                    guard::attach(firewall, network, endpoint)?;
                    firewall::claim(firewall, endpoint)?;
                }
                Ok(())
            }
            Way::Relayed { router, relay } => {
                let namespace = namespace
                    .try_clone_to_owned()
                    .system(|| "cannot hold the container's network namespace".to_owned())?;
                let (there, held) = (network.clone(), endpoint.clone());
                router.inside(move || {
                    let mut outside = netlink::Socket::route()?;
                    bridge::attach(&mut outside, &there, &held, namespace.as_fd())?;
                    guard::attach_here(&there, &held)
                })?;
                match relay {
                    Some(relay) => relay.add_endpoint(endpoint),
                    None => Ok(()),
                }
            }
        }
    }

    /// What is outside of the container, where others can remove it.
    pub fn restore(&mut self) -> Result<()> {
        let Connection { network, endpoint } = &self.connection;
        match &mut self.way {
            Way::Forwarded {
                route, firewall, ..
            } if has_bridge(network) => {
                self.published = false;
                bridge::repair(route, network)?;
                firewall::repair(firewall, network)?;
                guard::attach(firewall, network, endpoint)
            }
            Way::Forwarded { .. } | Way::Relayed { .. } => Ok(()),
        }
    }

    /// The ports lead here from now on.
    pub fn publish(&mut self, bound: &[Arc<Bound>]) -> Result<()> {
        if self.published {
            return Ok(());
        }
        let Connection { network, endpoint } = &self.connection;
        match &mut self.way {
            Way::Forwarded {
                firewall, loopback, ..
            } => {
                firewall::attach(firewall, network, endpoint, &mappings(bound))?;
                let relay = Relay::start(None, Options::default())?;
                relay.publish(bound, endpoint)?;
                *loopback = Some(relay);
            }
            Way::Relayed { relay, .. } => {
                if let Some(relay) = relay {
                    relay.publish(bound, endpoint)?;
                }
            }
        }
        self.published = true;
        Ok(())
    }

    /// Nothing leads here any more.
    pub fn let_go(&mut self, bound: &[Arc<Bound>]) -> Result<()> {
        let Connection { network, endpoint } = &self.connection;
        match &mut self.way {
            Way::Forwarded { firewall, .. } => {
                firewall::detach(firewall, network, endpoint, &mappings(bound))
            }
            Way::Relayed { relay, .. } => match relay {
                Some(relay) => relay.remove_endpoint(endpoint),
                None => Ok(()),
            },
        }
    }
}

/// Otherwise its containers are on the network of one of the host's links, whose gateway is somebody
/// else: a bridge with the gateway's address would cut the host off.
fn has_bridge(network: &Network) -> bool {
    network.driver == Driver::Bridge
}

fn mappings(bound: &[Arc<Bound>]) -> Vec<PortMapping> {
    bound.iter().map(|bound| bound.mapping.clone()).collect()
}

/// The network's bridge in the router's namespace.
pub(super) fn ensure_inside(router: &Router, network: &Network) -> Result<()> {
    let network = network.clone();
    router.inside(move || {
        bridge::ensure(&mut netlink::Socket::route()?, &network)?;
        Ok(())
    })
}
