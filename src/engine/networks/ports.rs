//! Ports: which of a container's are to stand for ports of the host, and which do.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde_json::{Value, json};

use crate::{
    engine::{Engine, PublishedPort},
    model::{
        ContainerId, ContainerSpec, Result,
        host::UserMode,
        image::{ImageConfig, ProcessDefaults},
        network::{Endpoint, Network},
        publish::{Port, PortMapping},
    },
    net,
    storage::ContainerDir,
};

/// What is to be bound for a container when it starts: what `-p` says, and with `-P` all that the
/// image or the user exposes and no `-p` names; on the address that the network publishes on, if none
/// was named. Ports come in the order given.
pub(in crate::engine) fn wanted_ports(
    spec: &ContainerSpec,
    image: &ImageConfig,
    leased: &[(Network, Endpoint)],
) -> Vec<PortMapping> {
    let mut wanted = spec.published.clone();
    if spec.publish_all {
        for port in exposed_ports(spec, image) {
            if !wanted.iter().any(|mapping| mapping.port() == port) {
                wanted.push(PortMapping {
                    host_ip: None,
                    host_port: None,
                    host_port_last: None,
                    container_port: port.number,
                    protocol: port.protocol,
                });
            }
        }
    }
    // Of the network that the packets come by.
    let way_in = leased.iter().find(|(_, endpoint)| endpoint.default_route);
    if let Some((network, _)) = way_in.or(leased.first()) {
        for mapping in &mut wanted {
            mapping.host_ip = mapping.host_ip.or(network.publish_on);
        }
    }
    wanted
}

/// Those of the image and of `--expose`, each once, sorted. What an image says and makes no sense is
/// no port.
pub(in crate::engine) fn exposed_ports(spec: &ContainerSpec, image: &ImageConfig) -> Vec<Port> {
    let defaults = image.config.as_ref();
    let of_image = defaults.and_then(|config| config.exposed_ports.as_ref());
    let mut ports: Vec<Port> = of_image
        .into_iter()
        .flat_map(|ports| ports.keys())
        .filter_map(|port| port.parse().ok())
        .chain(spec.exposed.iter().copied())
        .chain(spec.published.iter().map(PortMapping::port))
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

/// Docker's `ExposedPorts` of a container: the image's and the user's.
pub(in crate::engine) fn exposed_map(
    spec: &ContainerSpec,
    image: &ProcessDefaults,
) -> Option<BTreeMap<String, Value>> {
    let mut ports = image.exposed_ports.clone().unwrap_or_default();
    let published = spec.published.iter().map(PortMapping::port);
    for port in spec.exposed.iter().copied().chain(published) {
        ports.entry(port.to_string()).or_insert_with(|| json!({}));
    }
    Some(ports).filter(|ports| !ports.is_empty())
}

impl Engine {
    /// The ports of the host that stand for a container's, by port; none if it does not run.
    pub fn published_ports(&self, container: &str) -> Result<Vec<PublishedPort>> {
        let (directory, _) = self.store.find_container(container)?;
        self.bound_ports(&directory)
    }

    /// Takes back what a container that does not run has published, if its supervisor was killed.
    pub(in crate::engine) fn forget_ports(&self, container: &ContainerId) -> Result<()> {
        let routed = *self.user.mode() != UserMode::Root;
        net::process::forget_ports(&self.store, container, routed)
    }

    pub(in crate::engine) fn bound_ports(
        &self,
        directory: &ContainerDir,
    ) -> Result<Vec<PublishedPort>> {
        if !directory.is_held()? {
            return Ok(Vec::new());
        }
        Ok(shown(&self.store.ports(directory.id())?.ports))
    }
}

/// One without an address stands for all, of both families.
pub(in crate::engine) fn shown(bound: &[PortMapping]) -> Vec<PublishedPort> {
    let mut ports = Vec::with_capacity(bound.len());
    for mapping in bound {
        let addresses = match mapping.host_ip {
            Some(address) => vec![address],
            None => vec![
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ],
        };
        ports.extend(addresses.into_iter().map(|host_ip| PublishedPort {
            port: mapping.container_port,
            protocol: mapping.protocol.to_string(),
            host_ip,
            host_port: mapping.host_port.unwrap_or(0),
        }));
    }
    let key = |port: &PublishedPort| (port.port, port.protocol.clone(), port.host_ip.is_ipv6());
    ports.sort_by_key(key);
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::publish::{parse_expose, parse_publish};

    #[test]
    fn publishing_all_leaves_out_what_is_published_by_hand() {
        let spec = ContainerSpec {
            published: parse_publish("8080:80").unwrap(),
            exposed: [parse_expose("80").unwrap(), parse_expose("53/udp").unwrap()].concat(),
            publish_all: true,
            ..ContainerSpec::default()
        };
        let wanted = wanted_ports(&spec, &ImageConfig::default(), &[]);
        let ports: Vec<String> = wanted
            .iter()
            .map(|mapping| format!("{}:{}", mapping.host_port_text(), mapping.port()))
            .collect();
        assert_eq!(ports, ["8080:80/tcp", ":53/udp"]);
    }

    #[test]
    fn a_port_without_an_address_is_shown_for_both_families() {
        let shown = shown(&parse_publish("8080:80").unwrap());
        let addresses: Vec<String> = shown.iter().map(|port| port.host_ip.to_string()).collect();
        assert_eq!(addresses, ["0.0.0.0", "::"]);
    }
}
