//! Networks: one method of [`Engine`] a verb, and what containers need of them.
//!
//! Definitions and leases are kept by the store; what they become in the kernel is the business of
//! each container's network process. Two of Docker's names stand for no network of ours but are
//! shown among them: `host` and `none`.

mod connect;
mod create;
mod leases;
mod live;
mod ports;
mod show;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::Engine;
use crate::{
    model::{
        ContainerId, Error, ErrorKind, Result,
        event::{Attributes, Event, EventType},
        host::UserMode,
        network::{DEFAULT_NETWORK, Driver, Network, NetworkId},
    },
    net::{bridge, firewall, guard, netlink},
};

pub use create::NetworkRequest;
pub(in crate::engine) use leases::network_names;
pub(in crate::engine) use ports::{exposed_map, exposed_ports, shown as shown_ports, wanted_ports};

/// One line of `network ls`.
#[derive(Clone, Debug)]
pub struct NetworkSummary {
    pub id: String,
    pub name: String,
    /// `host` and `null` too.
    pub driver: String,
    /// RFC 3339, UTC.
    pub created: String,
    pub ipv4: bool,
    pub ipv6: bool,
    pub internal: bool,
    pub labels: BTreeMap<String, String>,
    /// It was made by somebody.
    pub custom: bool,
    /// The containers that name it, running or not.
    pub used_by: Vec<ContainerId>,
}

/// Docker's names that are modes of a container here, each with its driver.
const MODES: [(&str, &str); 2] = [("host", "host"), ("none", "null")];

/// Of those: always the same, and nobody else's.
fn mode_id(name: &str) -> NetworkId {
    use sha2::{Digest, Sha256};
    NetworkId::from_random(Sha256::digest(name).into())
}

fn is_mode(typed: &str) -> Option<(&'static str, &'static str)> {
    MODES.into_iter().find(|(name, _)| {
        let id = mode_id(name);
        typed == *name || (typed.len() >= 12 && id.as_str().starts_with(typed))
    })
}

impl Engine {
    /// All networks, by name; `host` and `none` among them.
    pub fn networks(&self) -> Result<Vec<NetworkSummary>> {
        let mut users = self.network_users()?;
        let own = self.store.networks()?.into_iter().map(|network| {
            let custom = !network.is_default();
            NetworkSummary {
                id: network.id.to_string(),
                driver: network.driver.to_string(),
                ipv4: network.subnet(true).is_some(),
                ipv6: network.ipv6,
                internal: network.internal,
                custom,
                used_by: users.remove(&network.name).unwrap_or_default(),
                created: network.created,
                labels: network.labels,
                name: network.name,
            }
        });
        let mut networks: Vec<NetworkSummary> = own.collect();
        for (name, driver) in MODES {
            networks.push(NetworkSummary {
                id: mode_id(name).to_string(),
                name: name.to_owned(),
                driver: driver.to_owned(),
                created: String::new(),
                ipv4: true,
                ipv6: false,
                internal: false,
                labels: BTreeMap::new(),
                custom: false,
                used_by: users.remove(name).unwrap_or_default(),
            });
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// Which containers name which network, running or not.
    fn network_users(&self) -> Result<HashMap<String, Vec<ContainerId>>> {
        let mut users: HashMap<String, Vec<ContainerId>> = HashMap::new();
        for listed in self.store.list_containers(true)? {
            for name in network_names(&listed.record.spec.network) {
                users
                    .entry(name)
                    .or_default()
                    .push(listed.record.id.clone());
            }
        }
        Ok(users)
    }

    /// Whether there is such a network.
    pub fn network_exists(&self, network: &str) -> Result<bool> {
        match self.store.resolve_network(network) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NoSuchNetwork => {
                Ok(is_mode(network).is_some())
            }
            Err(error) => Err(error),
        }
    }

    /// The whole name of a network, by its name or a beginning of its ID: for filters.
    pub fn network_name(&self, network: &str) -> Result<String> {
        match is_mode(network) {
            Some((name, _)) => Ok(name.to_owned()),
            None => Ok(self.store.resolve_network(network)?.name),
        }
    }

    /// Removes a network that no running container is in.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchNetwork`]; [`ErrorKind::Conflict`]; [`ErrorKind::Permission`] for those
    /// that are always there.
    pub fn remove_network(&self, network: &str) -> Result<()> {
        let network = self.own_network(network, "removed")?;
        let changing = self.store.change_networks_alone()?;
        // The definition goes last: without it nobody would know of the bridge.
        changing.remove(&network, || self.forget_in_kernel(&network))?;
        drop(changing);
        self.note_network("destroy", &network, &[]);
        Ok(())
    }

    /// Root's bridge and the firewall's elements outlive the network's containers. What cannot be
    /// removed now harms nobody: a network of that bridge finds it, and makes it its own.
    fn forget_in_kernel(&self, network: &Network) {
        if *self.user.mode() != UserMode::Root || network.driver != Driver::Bridge {
            return;
        }
        let forgotten = netlink::Socket::netfilter()
            .and_then(|mut socket| {
                guard::forget(&mut socket, network)?;
                firewall::forget(&mut socket, network)
            })
            .and_then(|()| bridge::remove(&mut netlink::Socket::route()?, network));
        if let Err(error) = forgotten {
            log::debug!("{}", error.one_line());
        }
    }

    /// The same for all networks of a store that goes, and its containers with it. What containers of
    /// another store of root's are in stays.
    pub(in crate::engine) fn forget_all_in_kernel(&self) -> Result<()> {
        if *self.user.mode() != UserMode::Root {
            return Ok(());
        }
        let mut links = netlink::Socket::route()?;
        for network in self.store.networks()? {
            if !bridge::is_used(&mut links, &network)? {
                self.forget_in_kernel(&network);
            }
        }
        let mut tables = netlink::Socket::netfilter()?;
        guard::remove_unused(&mut tables)?;
        firewall::remove_unused(&mut tables)
    }

    /// One that was made by somebody.
    fn own_network(&self, typed: &str, what: &str) -> Result<Network> {
        let predefined = |name: &str| {
            Error::new(
                ErrorKind::Permission,
                format!("{name} is a pre-defined network and cannot be {what}"),
            )
        };
        if let Some((name, _)) = is_mode(typed) {
            return Err(predefined(name));
        }
        let network = self.store.resolve_network(typed)?;
        if network.is_default() {
            return Err(predefined(DEFAULT_NETWORK));
        }
        Ok(network)
    }

    /// Removes those of the networks that no container names; which.
    pub fn prune_networks(&self, names: &[String]) -> Result<Vec<String>> {
        self.store.sweep_leases()?;
        for container in self.store.void_ports(None, usize::MAX)? {
            self.forget_ports(&container)?;
        }
        let mut removed = Vec::new();
        for name in names {
            let unused = !self.network_users()?.contains_key(name);
            if unused && self.remove_network(name).is_ok() {
                removed.push(name.clone());
            }
        }
        self.note_prune(EventType::Network, 0);
        Ok(removed)
    }

    /// Adds and drops servers that a network's containers ask for what it does not know.
    pub fn update_network(
        &self,
        network: &str,
        add: &[IpAddr],
        drop_servers: &[IpAddr],
    ) -> Result<()> {
        let found = self.own_network(network, "updated")?;
        let changing = self.store.change_networks_alone()?;
        // As it is now, with nobody else changing it.
        let mut found = self.own_network(found.id.as_str(), "updated")?;
        for server in drop_servers {
            let before = found.dns_servers.len();
            found.dns_servers.retain(|other| other != server);
            if found.dns_servers.len() == before {
                return Err(Error::invalid(format!(
                    "cannot drop DNS server {server}: network {} does not have it",
                    found.name
                )));
            }
        }
        for server in add {
            if !found.dns_servers.contains(server) {
                found.dns_servers.push(*server);
            }
        }
        changing.put(&found)?;
        drop(changing);
        self.note_network("update", &found, &[]);
        Ok(())
    }

    /// Notes what was done to a network.
    pub(in crate::engine) fn note_network(
        &self,
        action: &'static str,
        network: &Network,
        more: &[(&str, &str)],
    ) {
        let mut attributes = Attributes::from([
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.driver.to_string()),
        ]);
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        attributes.extend(more);
        let id = network.id.as_str();
        self.store
            .note_event(Event::new(EventType::Network, action, id, attributes));
    }
}
