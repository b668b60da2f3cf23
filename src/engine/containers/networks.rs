//! The networks that a container is connected to when it starts.

use std::net::IpAddr;

use super::{create::with_exact_modes, run::absolute};
use crate::{
    engine::{Engine, networks::wanted_ports, supervisor::network_files},
    model::{
        Result,
        container::{ContainerRecord, NetworkMode},
        host::UserMode,
        image::ImageConfig,
        network::{Endpoint, Mac, Network, Subnet},
        private_network::PrivateNetwork,
    },
    net::process::{Connection, NetworkPlan},
    storage::{ContainerDir, ContainerLock},
};

impl Engine {
    /// What its network process has to know. Its lock is held: addresses are taken.
    pub(super) fn network_plan(
        &self,
        record: &ContainerRecord,
        image: &ImageConfig,
        lock: &ContainerLock,
    ) -> Result<Option<Box<NetworkPlan>>> {
        let spec = &record.spec;
        if !spec.network.is_connected() {
            return Ok(None);
        }
        let alone = match &spec.network {
            NetworkMode::Private(wanted) => Some(wanted),
            _ => None,
        };
        let connections = match alone {
            Some(wanted) => vec![private_network(record, wanted)?],
            None => self.lease_networks(record, lock)?,
        };
        let published = wanted_ports(spec, image, &connections);
        Ok(Some(Box::new(NetworkPlan {
            container: record.id.clone(),
            root: absolute(self.store.root_path())?,
            runroot: absolute(self.store.runroot_path())?,
            connections: connections
                .into_iter()
                .map(|(network, endpoint)| Connection { network, endpoint })
                .collect(),
            published,
            dns: spec.dns.clone(),
            private: alone.is_some(),
            host_loopback: alone.is_some_and(|wanted| wanted.host_loopback),
            backend: self.network_backend,
            routed: alone.is_some() || *self.user.mode() != UserMode::Root,
        })))
    }

    /// The container's files about its networks, once its addresses are known.
    pub(super) fn write_network_files(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        hostname: Option<&str>,
        plan: &NetworkPlan,
    ) -> Result<()> {
        let endpoints = plan.endpoints();
        let connections = network_files::Connections {
            endpoints: &endpoints,
            host: &plan.host(),
        };
        with_exact_modes(|| network_files::write(directory.fd(), record, hostname, connections))
    }
}

/// A network that no other container is in.
fn private_network(
    record: &ContainerRecord,
    wanted: &PrivateNetwork,
) -> Result<(Network, Endpoint)> {
    let (address, gateway) = (wanted.own(), IpAddr::from(wanted.router()));
    let network = Network {
        // There is nobody to be found.
        dns: false,
        interface: "private".to_owned(),
        mtu: wanted.mtu,
        subnets: vec![Subnet::new(address.trunc().into(), Some(gateway))],
        ..Network::new("private", record.id.as_str().parse()?)
    };
    let endpoint = Endpoint {
        network: network.id.clone(),
        network_name: network.name.clone(),
        interface: wanted.interface.as_deref().unwrap_or("eth0").to_owned(),
        host_interface: None,
        addresses: vec![address.into()],
        gateways: vec![gateway],
        mac: wanted
            .mac
            .unwrap_or_else(|| Mac::of_address(address.addr().into())),
        names: Vec::new(),
        default_route: true,
        mtu: wanted.mtu,
        metric: None,
        link_local: Vec::new(),
    };
    Ok((network, endpoint))
}
