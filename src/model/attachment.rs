//! To which networks a container is to be attached, and how: `--network` of Docker
//! (`name=NET,alias=a,ip=…`) and of podman (`NET:alias=a,ip=…`).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use super::{
    Error, ErrorKind, Result,
    container::NetworkMode,
    network::{DEFAULT_NETWORK, Mac, check_interface_name, is_default_name},
};

/// What a container asks of a network. Everything but the network may be left to the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// A name; at the command line also an id or a prefix of one.
    pub network: String,
    /// Names in this network besides the container's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Inside the container; else `eth0`, `eth1`, … in the order of the networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The outer end of the veth pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_interface: Option<String>,
    /// The network with the highest has the default route; of equals, the first.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_priority: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    /// `driver-opt`, as given.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_options: BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl Attachment {
    /// To the network of that name, with everything left to the engine.
    pub fn to(network: &str) -> Self {
        Attachment {
            network: if is_default_name(network) {
                DEFAULT_NETWORK.to_owned()
            } else {
                network.to_owned()
            },
            ..Attachment::default()
        }
    }

    /// Nothing was asked for but the network.
    pub fn is_plain(&self) -> bool {
        *self == Attachment::to(&self.network)
    }

    /// Docker's long form: comma-separated `key=value`.
    fn parse_long(text: &str) -> Result<Self> {
        let mut attachment = Attachment::default();
        for field in text.split(',') {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| Error::invalid(format!("invalid field {field:?}")))?;
            let key = key.trim().to_ascii_lowercase();
            match key.as_str() {
                "name" => attachment.network = Attachment::to(value.trim()).network,
                "driver-opt" => attachment.driver_option(value)?,
                _ => attachment.set(&key, value.trim())?,
            }
        }
        if attachment.network.is_empty() {
            return Err(Error::invalid("network name/id is not specified"));
        }
        Ok(attachment)
    }

    /// Podman's options behind the name.
    fn parse_options(network: &str, options: &str) -> Result<Self> {
        let mut attachment = Attachment::to(network);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').ok_or_else(|| {
                Error::invalid(format!(
                    "invalid network option {option:?}: expected KEY=VALUE"
                ))
            })?;
            attachment.set(key, value)?;
        }
        Ok(attachment)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "alias" => self.aliases.push(alias(value)?),
            // Podman's ip takes both families.
            "ip" => match address(key, value)? {
                IpAddr::V4(address) => self.ip4 = Some(address),
                IpAddr::V6(address) => self.ip6 = Some(address),
            },
            "ip6" => match address(key, value)? {
                IpAddr::V6(address) => self.ip6 = Some(address),
                IpAddr::V4(_) => return Err(invalid_address(key, value)),
            },
            "mac" | "mac-address" => self.mac = Some(value.parse()?),
            "interface_name" | "interface-name" => {
                check_interface_name(value)?;
                self.interface = Some(value.to_owned());
            }
            "host_interface_name" => {
                check_interface_name(value)?;
                self.host_interface = Some(value.to_owned());
            }
            "link-local-ip" => self.link_local.push(address(key, value)?),
            "gw-priority" => {
                self.gateway_priority = value
                    .parse()
                    .map_err(|_| Error::invalid(format!("invalid gw-priority ({value})")))?;
            }
            "driver-opt" | "opt" => self.driver_option(value)?,
            _ => return Err(Error::invalid(format!("invalid field key {key}"))),
        }
        Ok(())
    }

    /// What `--ip` and `--ip6` say; each takes its own family only.
    pub fn set_addresses(&mut self, ip: Option<IpAddr>, ip6: Option<IpAddr>) -> Result<()> {
        match ip {
            Some(IpAddr::V4(address)) => self.ip4 = Some(address),
            Some(other) => return Err(invalid_address("ip", &other.to_string())),
            None => {}
        }
        match ip6 {
            Some(IpAddr::V6(address)) => self.ip6 = Some(address),
            Some(other) => return Err(invalid_address("ip6", &other.to_string())),
            None => {}
        }
        Ok(())
    }

    fn driver_option(&mut self, pair: &str) -> Result<()> {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| {
                Error::invalid(format!(
                    "invalid key/value pair format in driver options: {pair:?}"
                ))
            })?;
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        // Docker 28's way to name the interface.
        if key == "com.docker.network.endpoint.ifname" {
            self.set("interface_name", value)?;
        }
        if key == "com.docker.network.endpoint.sysctls" {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("driver option {key} is not supported"),
            )
            .with_hint("--sysctl sets those of the container's network namespace"));
        }
        self.driver_options.insert(key, value.to_owned());
        Ok(())
    }
}

/// Puts options of the driver, `KEY=VALUE` each, to those of an attachment.
pub fn driver_options(attachment: &mut Attachment, pairs: &[String]) -> Result<()> {
    pairs
        .iter()
        .try_for_each(|pair| attachment.driver_option(pair))
}

fn address(key: &str, value: &str) -> Result<IpAddr> {
    value.parse().map_err(|_| invalid_address(key, value))
}

fn invalid_address(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid {key}: {value:?} is not such an address"))
}

/// Checks a name in a network: labels of a domain name, `_` too (RFC 1035, 2.3.1; Docker's and
/// compose's services have it).
pub fn alias(text: &str) -> Result<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err(Error::invalid(format!("invalid network alias {text:?}")))
}

/// The mode that all values of `--network` together stand for; `None` if there are none.
pub fn parse_networks(texts: &[String]) -> Result<Option<NetworkMode>> {
    let mut modes = Vec::with_capacity(texts.len());
    for text in texts {
        modes.push(parse_network(text)?);
    }
    if modes.len() <= 1 {
        return Ok(modes.pop());
    }
    let mut attachments: Vec<Attachment> = Vec::new();
    for mode in modes {
        let several = match mode {
            NetworkMode::Bridge => vec![Attachment::to(DEFAULT_NETWORK)],
            NetworkMode::Networks(several) => several,
            _ => {
                return Err(Error::invalid(
                    "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
                ));
            }
        };
        for attachment in several {
            if attachments
                .iter()
                .any(|other| other.network == attachment.network)
            {
                return Err(Error::invalid(format!(
                    "network {:?} is specified multiple times",
                    attachment.network
                )));
            }
            attachments.push(attachment);
        }
    }
    Ok(Some(NetworkMode::Networks(attachments)))
}

/// One value of `--network`.
fn parse_network(text: &str) -> Result<NetworkMode> {
    if let Some(mode) = NetworkMode::parse(text)? {
        return Ok(mode);
    }
    let is_long = text
        .split_once('=')
        .is_some_and(|(key, _)| !key.contains(':'));
    let attachments = if is_long {
        vec![Attachment::parse_long(text)?]
    } else if let Some((name, options)) = text.split_once(':') {
        vec![Attachment::parse_options(name, options)?]
    } else {
        text.split(',').map(Attachment::to).collect()
    };
    match attachments.as_slice() {
        // Docker's long form may name a mode as well.
        [only] if only.is_plain() && only.network != DEFAULT_NETWORK => {
            if let Some(mode) = NetworkMode::parse(&only.network)? {
                return Ok(mode);
            }
        }
        [only] if only.is_plain() => return Ok(NetworkMode::Bridge),
        _ => {}
    }
    for attachment in &attachments {
        let name = &attachment.network;
        if name.is_empty() {
            return Err(Error::invalid(format!(
                "invalid network {text:?}: a name is missing"
            )));
        }
        let of_mode = !matches!(NetworkMode::parse(name)?, None | Some(NetworkMode::Bridge));
        if of_mode {
            return Err(Error::invalid(format!(
                "conflicting options: network mode {name} takes no options and no other network"
            )));
        }
    }
    Ok(NetworkMode::Networks(attachments))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::private_network::PrivateNetwork;

    fn parse(texts: &[&str]) -> Result<NetworkMode> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse_networks(&texts).map(Option::unwrap)
    }

    fn networks(texts: &[&str]) -> Vec<Attachment> {
        match parse(texts).unwrap() {
            NetworkMode::Networks(attachments) => attachments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn modes_and_networks() {
        for text in ["bridge", "podman", "default", "bridge:", "name=bridge"] {
            assert_eq!(parse(&[text]).unwrap(), NetworkMode::Bridge, "{text}");
        }
        for text in ["private", "pasta", "slirp4netns", "name=private"] {
            let private = NetworkMode::Private(PrivateNetwork::default());
            assert_eq!(parse(&[text]).unwrap(), private, "{text}");
        }
        assert_eq!(parse(&["none"]).unwrap(), NetworkMode::None);
        assert_eq!(parse(&["name=host"]).unwrap(), NetworkMode::Host);
        assert_eq!(networks(&["web"]), [Attachment::to("web")]);
        assert_eq!(
            networks(&["web,data"]),
            [Attachment::to("web"), Attachment::to("data")]
        );
        assert_eq!(
            networks(&["web", "bridge"]),
            [Attachment::to("web"), Attachment::to("bridge")]
        );
    }

    #[test]
    fn both_long_forms() {
        let wanted = Attachment {
            aliases: vec!["a".into(), "b.c".into()],
            ip4: Some([10, 89, 0, 5].into()),
            ip6: Some("fd00::5".parse().unwrap()),
            mac: Some("02:00:00:00:00:05".parse().unwrap()),
            ..Attachment::to("web")
        };
        assert_eq!(
            networks(&[
                "name=web,alias=a,alias=b.c,ip=10.89.0.5,ip6=fd00::5,mac-address=02:00:00:00:00:05"
            ]),
            std::slice::from_ref(&wanted)
        );
        assert_eq!(
            networks(&["web:alias=a,alias=b.c,ip=10.89.0.5,ip=fd00::5,mac=02:00:00:00:00:05"]),
            [wanted]
        );
        let priority = &networks(&["name=web,gw-priority=-3,driver-opt=mtu=9000"])[0];
        assert_eq!(priority.gateway_priority, -3);
        assert_eq!(priority.driver_options["mtu"], "9000");
        let named = &networks(&["bridge:interface_name=net0"])[0];
        assert_eq!(
            (named.network.as_str(), named.interface.as_deref()),
            ("bridge", Some("net0"))
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for wrong in [
            &["web", "host"][..],
            &["none", "none"],
            &["web", "web"],
            &["web:ip=x"],
            &["web:colour=red"],
            &["web:alias=a b"],
            &["alias=a"],
            &["host:ip=10.0.0.1"],
            &["name=none,alias=a"],
            &["web,"],
            &["name=web,interface_name=a/b"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_form_on_disk_is_short() {
        let text = serde_json::to_string(&Attachment::to("web")).unwrap();
        assert_eq!(text, r#"{"network":"web"}"#);
        let mode: NetworkMode =
            serde_json::from_str(r#"{"Networks":[{"network":"web"}]}"#).unwrap();
        assert_eq!(mode, NetworkMode::Networks(vec![Attachment::to("web")]));
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_a_mode_or_an_error(
            texts in proptest::collection::vec("(name=|web|bridge|host)?[a-z0-9:=,._-]{0,24}", 0..4)
        ) {
            if let Ok(Some(mode)) = parse_networks(&texts) {
                let text = serde_json::to_string(&mode).unwrap();
                prop_assert_eq!(serde_json::from_str::<NetworkMode>(&text).unwrap(), mode.clone());
                prop_assert!(mode.attachments().iter().all(|one| !one.network.is_empty()));
            }
        }
    }
}
