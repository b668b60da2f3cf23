//! Addresses for a container that is about to start, and their end.

use crate::{
    engine::Engine,
    model::{
        ContainerSpec, Error, Result,
        attachment::Attachment,
        container::{ContainerRecord, NetworkMode},
        network::{DEFAULT_NETWORK, Endpoint, Network, check_interface_name},
    },
    storage::{ContainerLock, network_leases::LeaseRequest},
};

/// Docker's option for the name of interfaces without their number.
const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";

impl Engine {
    /// Checks the networks of a request and puts their names where ids or parts of ids stand.
    ///
    /// # Errors
    /// `NoSuchNetwork`; `InvalidArgument` if a network is named twice.
    pub(in crate::engine) fn settle_networks(&self, spec: &mut ContainerSpec) -> Result<()> {
        for link in &spec.dns.links {
            self.store.find_container(&link.container)?;
        }
        let NetworkMode::Networks(attachments) = &mut spec.network else {
            return Ok(());
        };
        for index in 0..attachments.len() {
            let network = self.store.resolve_network(&attachments[index].network)?;
            let (before, rest) = attachments.split_at_mut(index);
            if before.iter().any(|other| other.network == network.name) {
                return Err(Error::invalid(format!(
                    "network {:?} is specified multiple times",
                    network.name
                )));
            }
            rest[0].network = network.name;
        }
        Ok(())
    }

    /// Takes addresses in all networks of a container that is about to start, in their order; none
    /// for a container without networks. They are void with the lock, so that nobody has to give back
    /// those of a start that fails.
    ///
    /// # Errors
    /// `NoSuchNetwork`; `Conflict` if an address is taken, or all are.
    pub(in crate::engine) fn lease_networks(
        &self,
        record: &ContainerRecord,
        _lock: &ContainerLock,
    ) -> Result<Vec<(Network, Endpoint)>> {
        let attachments = record.spec.network.attachments();
        let networks = attachments
            .iter()
            .map(|attachment| self.store.resolve_network(&attachment.network))
            .collect::<Result<Vec<Network>>>()?;
        let gateway = default_gateway(&attachments, &networks);
        let interfaces = interfaces(&attachments, &networks)?;
        let mut leased = Vec::with_capacity(networks.len());
        for (index, network) in networks.into_iter().enumerate() {
            let attachment = &attachments[index];
            let names = names_in(record, attachment);
            let request = LeaseRequest {
                container: &record.id,
                name: &record.name,
                attachment,
                interface: &interfaces[index],
                names: &names,
                default_route: gateway == Some(index),
                live: false,
            };
            match self.store.lease_addresses(&network, &request) {
                Ok(endpoint) => leased.push((network, endpoint)),
                Err(error) => {
                    self.release_networks(record, &leased);
                    return Err(error);
                }
            }
        }
        Ok(leased)
    }

    /// Has the neighbours of a running container find it by its new name.
    pub(in crate::engine) fn rename_in_networks(
        &self,
        record: &ContainerRecord,
        old: &str,
    ) -> Result<()> {
        for endpoint in self.endpoints_of(record)? {
            let leases = self.store.lock_leases(&endpoint.network)?;
            leases.rename_member(&record.id, old, &record.name)?;
        }
        Ok(())
    }

    /// An ordinary user's network is in a namespace that belongs to one of her user namespaces, so its
    /// containers have to be in that: begins or joins it.
    pub(in crate::engine) fn begin_namespace_of_networks(&self, mode: &NetworkMode) -> Result<()> {
        let is_shared = matches!(mode, NetworkMode::Bridge | NetworkMode::Networks(_));
        if !is_shared || !self.user.may_choose_namespace() {
            return Ok(());
        }
        for attachment in mode.attachments() {
            let network = self.store.network(&attachment.network)?;
            let holder = network.map(|network| self.store.router_holder(&network.id));
            if let Some(holder) = holder.transpose()?.flatten()
                && self.user.join_namespace_of(holder.pid).unwrap_or(false)
            {
                return Ok(());
            }
        }
        self.user.begin_common_namespace(&self.store)
    }

    /// Gives addresses back. What cannot be is void with the container's lock.
    pub(in crate::engine) fn release_networks(
        &self,
        record: &ContainerRecord,
        leased: &[(Network, Endpoint)],
    ) {
        for (_, endpoint) in leased {
            if let Err(error) = self.store.release_endpoint(endpoint, &record.id) {
                log::debug!("{}", error.one_line());
            }
        }
    }
}

/// Under which names a container is found in a network: its own, its short ID, its host name, and
/// its aliases there.
pub(super) fn names_in(record: &ContainerRecord, attachment: &Attachment) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    let more = attachment
        .aliases
        .iter()
        .map(String::as_str)
        .chain([record.id.short()])
        .chain(record.spec.hostname.as_deref());
    for name in more {
        // DNS knows no case (RFC 4343).
        if !names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Which network the default route leads to: of those that have a way out, the one with the highest
/// priority, and of equals the first.
fn default_gateway(attachments: &[Attachment], networks: &[Network]) -> Option<usize> {
    let leads_out = |network: &Network| {
        let has_gateway = network
            .subnets
            .iter()
            .any(|subnet| subnet.gateway.is_some());
        !network.internal && !network.no_default_route && has_gateway
    };
    (0..networks.len())
        .filter(|index| leads_out(&networks[*index]))
        .min_by_key(|index| std::cmp::Reverse(attachments[*index].gateway_priority))
}

/// The names of the interfaces inside: what was asked for, and `eth0`, `eth1`, … for the others.
fn interfaces(attachments: &[Attachment], networks: &[Network]) -> Result<Vec<String>> {
    let asked = |name: &str| {
        attachments
            .iter()
            .filter(|attachment| attachment.interface.as_deref() == Some(name))
            .count()
    };
    let mut given: Vec<String> = Vec::with_capacity(attachments.len());
    for (attachment, network) in attachments.iter().zip(networks) {
        match &attachment.interface {
            Some(name) if asked(name) > 1 || name == "lo" => {
                return Err(Error::invalid(format!(
                    "interface name {name:?} is asked for more than once"
                )));
            }
            Some(name) => given.push(name.clone()),
            None => {
                let taken = |name: &str| asked(name) > 0 || given.iter().any(|one| one == name);
                given.push(free_interface(network, taken)?);
            }
        }
    }
    Ok(given)
}

/// The first `eth0`, `eth1`, … that is not taken.
pub(super) fn free_interface(network: &Network, taken: impl Fn(&str) -> bool) -> Result<String> {
    let prefix = network.options.get(INTERFACE_PREFIX);
    let prefix = prefix.map_or("eth", String::as_str);
    let mut numbers = 0_u32..;
    let name = numbers
        .find_map(|number| Some(format!("{prefix}{number}")).filter(|name| !taken(name)))
        .unwrap_or_default();
    check_interface_name(&name)?;
    Ok(name)
}

/// What `inspect` and lists call the networks of a mode.
pub(in crate::engine) fn network_names(mode: &NetworkMode) -> Vec<String> {
    match mode {
        NetworkMode::None => vec!["none".to_owned()],
        NetworkMode::Host => vec!["host".to_owned()],
        NetworkMode::Bridge => vec![DEFAULT_NETWORK.to_owned()],
        NetworkMode::Private(_) => vec!["private".to_owned()],
        NetworkMode::Networks(attachments) => attachments
            .iter()
            .map(|attachment| attachment.network.clone())
            .collect(),
        // Who shares another's network is in none of her own.
        NetworkMode::Container(_) | NetworkMode::Path(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::{NetworkId, Subnet};

    fn network(name: &str, gateway: bool) -> Network {
        let mut network = Network::new(name, NetworkId::of_default());
        network.subnets.push(Subnet::new(
            "10.1.0.0/24".parse().unwrap(),
            gateway.then(|| "10.1.0.1".parse().unwrap()),
        ));
        network
    }

    #[test]
    fn the_default_route_is_by_priority_and_then_by_order() {
        let networks = [network("a", false), network("b", true), network("c", true)];
        let mut attachments = ["a", "b", "c"].map(Attachment::to);
        assert_eq!(default_gateway(&attachments, &networks), Some(1));
        attachments[2].gateway_priority = 1;
        attachments[0].gateway_priority = 9;
        assert_eq!(default_gateway(&attachments, &networks), Some(2));
        let internal = Network {
            internal: true,
            ..network("d", true)
        };
        assert_eq!(default_gateway(&[Attachment::to("d")], &[internal]), None);
    }

    #[test]
    fn interfaces_are_numbered_around_those_that_are_named() {
        let networks = [network("a", true), network("b", true), network("c", true)];
        let mut attachments = ["a", "b", "c"].map(Attachment::to);
        assert_eq!(
            interfaces(&attachments, &networks).unwrap(),
            ["eth0", "eth1", "eth2"]
        );
        attachments[1].interface = Some("eth0".to_owned());
        assert_eq!(
            interfaces(&attachments, &networks).unwrap(),
            ["eth1", "eth0", "eth2"]
        );
        attachments[2].interface = Some("eth0".to_owned());
        assert!(interfaces(&attachments, &networks).is_err());
        let named = Network {
            options: [(INTERFACE_PREFIX.to_owned(), "net".to_owned())].into(),
            ..network("a", true)
        };
        assert_eq!(
            interfaces(&[Attachment::to("a")], &[named]).unwrap(),
            ["net0"]
        );
    }
}
