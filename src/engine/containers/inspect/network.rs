//! `NetworkSettings`, and what `HostConfig` and `Config` say of networks, in Docker's keys and order.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::Object;
use crate::{
    engine::{Engine, PublishedPort, networks},
    model::{
        ContainerId, ContainerSpec, Result,
        attachment::Attachment,
        container::{ContainerRecord, ContainerState, NetworkMode},
        network::{DEFAULT_NETWORK, Endpoint, Network, endpoint_id},
        publish::Port,
    },
    storage::containers::Status,
};

impl Engine {
    /// What a running container holds; of one that does not run, what it has asked for.
    pub(super) fn network_settings(
        &self,
        record: &ContainerRecord,
        status: &Status,
    ) -> Result<Value> {
        let running = matches!(
            status.state,
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
        );
        let endpoints = match running {
            true => self.endpoints_of(record)?,
            false => Vec::new(),
        };
        let bound = match running {
            true => networks::shown_ports(&self.store.ports(&record.id)?.ports),
            false => Vec::new(),
        };
        // The old keys show the default network's, as Docker has them.
        let default = endpoints
            .iter()
            .find(|endpoint| endpoint.network_name == DEFAULT_NETWORK);
        let key = match &status.start {
            Some(start) if running => format!("/proc/{}/ns/net", start.init.pid),
            _ => String::new(),
        };
        let mut object = Object::default();
        object.put("Bridge", json!(""));
        object.put(
            "SandboxID",
            json!(if running { record.id.as_str() } else { "" }),
        );
        object.put("SandboxKey", json!(key));
        object.put("Ports", self.ports(record, running, &bound));
        object.put("HairpinMode", json!(false));
        object.put("LinkLocalIPv6Address", json!(""));
        object.put("LinkLocalIPv6PrefixLen", json!(0));
        object.put_all(
            &["SecondaryIPAddresses", "SecondaryIPv6Addresses"],
            &Value::Null,
        );
        let place = Place::of(default);
        let id = default.map(|endpoint| endpoint_id(&endpoint.network, &record.id));
        object.put("EndpointID", json!(id.unwrap_or_default()));
        object.put("Gateway", json!(place.gateway));
        object.put("GlobalIPv6Address", json!(place.ipv6.0));
        object.put("GlobalIPv6PrefixLen", json!(place.ipv6.1));
        object.put("IPAddress", json!(place.ipv4.0));
        object.put("IPPrefixLen", json!(place.ipv4.1));
        object.put("IPv6Gateway", json!(place.gateway6));
        object.put("MacAddress", json!(place.mac));
        object.put("Networks", self.networks_of(record, &endpoints)?);
        Ok(object.done())
    }

    fn networks_of(&self, record: &ContainerRecord, endpoints: &[Endpoint]) -> Result<Value> {
        let mut shown = Map::new();
        let mode = &record.spec.network;
        if matches!(
            mode,
            NetworkMode::None | NetworkMode::Host | NetworkMode::Private(_)
        ) {
            let plain = Attachment::default();
            shown.insert(mode.to_string(), endpoint(&plain, None, None, &record.id));
        }
        for attachment in mode.attachments() {
            let name = &attachment.network;
            let network = self.store.network(name)?;
            let held = endpoints.iter().find(|one| one.network_name == *name);
            let one = endpoint(&attachment, network.as_ref(), held, &record.id);
            shown.insert(name.clone(), one);
        }
        Ok(Value::Object(shown))
    }

    /// All ports that are exposed, each with those of the host that stand for it.
    fn ports(&self, record: &ContainerRecord, running: bool, bound: &[PublishedPort]) -> Value {
        let mut ports: BTreeMap<Port, Vec<Value>> = BTreeMap::new();
        if running {
            let image = record.image_id.as_ref();
            let image = image.and_then(|id| self.image_config(id).ok());
            let exposed = networks::exposed_ports(&record.spec, &image.unwrap_or_default());
            ports.extend(exposed.into_iter().map(|port| (port, Vec::new())));
        }
        for one in bound {
            let Ok(port) = format!("{}/{}", one.port, one.protocol).parse() else {
                continue;
            };
            let host = json!({
                "HostIp": one.host_ip.to_string(),
                "HostPort": one.host_port.to_string(),
            });
            ports.entry(port).or_default().push(host);
        }
        let shown = |(port, hosts): (Port, Vec<Value>)| {
            let hosts = match hosts.is_empty() {
                true => Value::Null,
                false => json!(hosts),
            };
            (port.to_string(), hosts)
        };
        Value::Object(ports.into_iter().map(shown).collect())
    }
}

/// Addresses as texts and lengths; nothing is "" and 0.
#[derive(Default)]
struct Place {
    ipv4: (String, u8),
    ipv6: (String, u8),
    gateway: String,
    gateway6: String,
    mac: String,
}

impl Place {
    fn of(endpoint: Option<&Endpoint>) -> Place {
        let Some(endpoint) = endpoint else {
            return Place::default();
        };
        let address = |ipv4: bool| {
            let net = endpoint.address(ipv4);
            net.map_or_else(Default::default, |net: &IpNet| {
                (net.addr().to_string(), net.prefix_len())
            })
        };
        let gateway = |ipv4: bool| {
            let gateway = endpoint.gateway(ipv4);
            gateway.map_or_else(String::new, |gateway| gateway.to_string())
        };
        Place {
            ipv4: address(true),
            ipv6: address(false),
            gateway: gateway(true),
            gateway6: gateway(false),
            mac: endpoint.mac.to_string(),
        }
    }
}

fn endpoint(
    asked: &Attachment,
    network: Option<&Network>,
    held: Option<&Endpoint>,
    container: &ContainerId,
) -> Value {
    let place = Place::of(held);
    let filled = |list: &[String]| match list.is_empty() {
        true => Value::Null,
        false => json!(list),
    };
    let mac = asked.mac.map(|mac| mac.to_string());
    let mut object = Object::default();
    object.put("IPAMConfig", ipam_config(asked));
    object.put("Links", Value::Null);
    object.put("Aliases", filled(&asked.aliases));
    object.put(
        "MacAddress",
        json!(if held.is_some() {
            place.mac
        } else {
            mac.unwrap_or_default()
        }),
    );
    object.put(
        "DriverOpts",
        match asked.driver_options.is_empty() {
            true => Value::Null,
            false => json!(asked.driver_options),
        },
    );
    object.put("GwPriority", json!(asked.gateway_priority));
    let network_id = network.map(|network| network.id.to_string());
    object.put("NetworkID", json!(network_id.unwrap_or_default()));
    let id = held.map(|held| endpoint_id(&held.network, container));
    object.put("EndpointID", json!(id.unwrap_or_default()));
    object.put("Gateway", json!(place.gateway));
    object.put("IPAddress", json!(place.ipv4.0));
    object.put("IPPrefixLen", json!(place.ipv4.1));
    object.put("IPv6Gateway", json!(place.gateway6));
    object.put("GlobalIPv6Address", json!(place.ipv6.0));
    object.put("GlobalIPv6PrefixLen", json!(place.ipv6.1));
    object.put(
        "DNSNames",
        held.map_or(Value::Null, |held| filled(&held.names)),
    );
    object.done()
}

fn ipam_config(asked: &Attachment) -> Value {
    let mut config = Object::default();
    config.put_some("IPv4Address", asked.ip4);
    config.put_some("IPv6Address", asked.ip6);
    let link_local = (!asked.link_local.is_empty()).then_some(&asked.link_local);
    config.put_some("LinkLocalIPs", link_local);
    match config.done() {
        Value::Object(map) if map.is_empty() => Value::Null,
        filled => filled,
    }
}

/// `HostConfig.PortBindings`: what was asked for.
pub(super) fn port_bindings(spec: &ContainerSpec) -> Value {
    let mut bindings: BTreeMap<Port, Vec<Value>> = BTreeMap::new();
    for mapping in &spec.published {
        let host_ip = mapping.host_ip.map(|address| address.to_string());
        bindings.entry(mapping.port()).or_default().push(json!({
            "HostIp": host_ip.unwrap_or_default(),
            "HostPort": mapping.host_port_text(),
        }));
    }
    let shown = |(port, hosts): (Port, Vec<Value>)| (port.to_string(), json!(hosts));
    Value::Object(bindings.into_iter().map(shown).collect())
}

/// `HostConfig.Links`: `/CONTAINER:/THIS/ALIAS`
pub(super) fn links(record: &ContainerRecord) -> Value {
    let links = &record.spec.dns.links;
    if links.is_empty() {
        return Value::Null;
    }
    let name = &record.name;
    let shown = links
        .iter()
        .map(|link| json!(format!("/{}:/{name}/{}", link.container, link.alias)));
    shown.collect()
}
