//! `network inspect`, in Docker's keys and order.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{is_mode, mode_id};
use crate::{
    engine::Engine,
    model::{
        Result,
        network::{Network, Subnet, endpoint_id},
    },
    storage::network_leases::Member,
};

/// Go's zero time: of what is there without having been made.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// One object as Docker's `network inspect` shows it, with the containers that are in it now.
    ///
    /// # Errors
    /// [`crate::model::ErrorKind::NoSuchNetwork`]
    pub fn inspect_network(&self, network: &str) -> Result<Value> {
        if let Some((name, driver)) = is_mode(network) {
            return Ok(mode(name, driver));
        }
        let network = self.store.resolve_network(network)?;
        let members = self.store.network_members(&network.id)?;
        Ok(shown(&network, &members))
    }
}

fn shown(network: &Network, members: &[Member]) -> Value {
    let created = match network.created.as_str() {
        "" => NEVER,
        created => created,
    };
    let config: Vec<Value> = network.subnets.iter().map(subnet).collect();
    let containers: Map<String, Value> = members
        .iter()
        .map(|one| (one.container.to_string(), member(network, one)))
        .collect();
    object(&[
        ("Name", json!(network.name)),
        ("Id", json!(network.id)),
        ("Created", json!(created)),
        ("Scope", json!("local")),
        ("Driver", json!(network.driver)),
        ("EnableIPv4", json!(network.subnet(true).is_some())),
        ("EnableIPv6", json!(network.ipv6)),
        (
            "IPAM",
            json!({
                "Driver": if config.is_empty() { "null" } else { "default" },
                "Options": {},
                "Config": config,
            }),
        ),
        ("Internal", json!(network.internal)),
        ("Attachable", json!(false)),
        ("Ingress", json!(false)),
        ("ConfigFrom", json!({"Network": ""})),
        ("ConfigOnly", json!(false)),
        ("Containers", Value::Object(containers)),
        ("Options", json!(network.options)),
        ("Labels", json!(network.labels)),
    ])
}

fn mode(name: &str, driver: &str) -> Value {
    let empty = BTreeMap::<String, String>::new();
    object(&[
        ("Name", json!(name)),
        ("Id", json!(mode_id(name))),
        ("Created", json!(NEVER)),
        ("Scope", json!("local")),
        ("Driver", json!(driver)),
        ("EnableIPv4", json!(true)),
        ("EnableIPv6", json!(false)),
        (
            "IPAM",
            json!({"Driver": "default", "Options": null, "Config": null}),
        ),
        ("Internal", json!(false)),
        ("Attachable", json!(false)),
        ("Ingress", json!(false)),
        ("ConfigFrom", json!({"Network": ""})),
        ("ConfigOnly", json!(false)),
        ("Containers", json!(empty)),
        ("Options", json!(empty)),
        ("Labels", json!(empty)),
    ])
}

fn object(pairs: &[(&str, Value)]) -> Value {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    Value::Object(pairs.collect())
}

fn subnet(subnet: &Subnet) -> Value {
    let mut config = Map::new();
    config.insert("Subnet".to_owned(), json!(subnet.net));
    if let Some(range) = &subnet.range {
        config.insert("IPRange".to_owned(), json!(range.to_string()));
    }
    if let Some(gateway) = subnet.gateway {
        config.insert("Gateway".to_owned(), json!(gateway));
    }
    if !subnet.reserved.is_empty() {
        config.insert("AuxiliaryAddresses".to_owned(), json!(subnet.reserved));
    }
    Value::Object(config)
}

fn member(network: &Network, member: &Member) -> Value {
    let endpoint = &member.endpoint;
    let address = |ipv4: bool| {
        let net = endpoint.address(ipv4);
        net.map_or_else(String::new, ToString::to_string)
    };
    json!({
        "Name": member.name,
        "EndpointID": endpoint_id(&network.id, &member.container),
        "MacAddress": endpoint.mac.to_string(),
        "IPv4Address": address(true),
        "IPv6Address": address(false),
    })
}
