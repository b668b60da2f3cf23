//! Ports: those that an image or a user exposes, and those that stand for ports of the host
//! (`-p [[IP:][HOST]:]CONTAINER[/PROTOCOL]`).

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Error, Result};

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(Error::invalid(format!("invalid proto: {text}"))),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    pub number: u16,
    pub protocol: Protocol,
}

impl FromStr for Port {
    type Err = Error;

    /// `80`, `80/tcp`.
    fn from_str(text: &str) -> Result<Self> {
        let (number, protocol) = split_protocol(text)?;
        let invalid = || Error::invalid(format!("invalid port {text:?}"));
        Ok(Port {
            number: port_number(number).ok_or_else(invalid)?,
            protocol,
        })
    }
}

impl TryFrom<String> for Port {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(port: Port) -> String {
        port.to_string()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// A port of a container that is to stand for one of the host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// `None` are all addresses of the host, of both families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// `None` is any that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// With it, any that is free from `host_port` up to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port_last: Option<u16>,
    pub container_port: u16,
    pub protocol: Protocol,
}

impl PortMapping {
    /// In the container.
    pub fn port(&self) -> Port {
        Port {
            number: self.container_port,
            protocol: self.protocol,
        }
    }

    /// Docker's `HostPort`: empty, a number, or two with a dash.
    pub fn host_port_text(&self) -> String {
        match (self.host_port, self.host_port_last) {
            (None, _) => String::new(),
            (Some(first), None) => first.to_string(),
            (Some(first), Some(last)) => format!("{first}-{last}"),
        }
    }
}

/// Parses `-p`: one mapping for each port of the container.
///
/// `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, where HOST and CONTAINER may be ranges of the same length,
/// or HOST a range for one port, of which any is taken; an address of IPv6 stands in brackets. Also
/// Docker's `published=8080,target=80,protocol=tcp`.
pub fn parse_publish(text: &str) -> Result<Vec<PortMapping>> {
    if text.contains('=') {
        return parse_publish(&standard_notation(text)?);
    }
    let (places, protocol) = split_protocol(text)?;
    let (rest, container) = match places.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, places),
    };
    let (address, host) = match rest.map(|rest| (rest.rsplit_once(':'), rest)) {
        None => (None, ""),
        Some((None, host)) => (None, host),
        Some((Some((address, host)), _)) => (Some(address), host),
    };
    let host_ip = address.map_or(Ok(None), host_address)?;
    if container.is_empty() {
        return Err(Error::invalid(format!("no port specified: {text}<empty>"))
            .with_hint("for example -p 8080:80, or -p 127.0.0.1:8080:80/tcp"));
    }
    let container_ports = port_range(container)
        .filter(|(first, _)| *first > 0)
        .ok_or_else(|| Error::invalid(format!("invalid containerPort: {container}")))?;
    let host_ports = match host {
        "" => None,
        _ => Some(
            port_range(host).ok_or_else(|| Error::invalid(format!("invalid hostPort: {host}")))?,
        )
        // 0 is any that is free.
        .filter(|ports| *ports != (0, 0)),
    };
    if let Some((first, _)) = host_ports
        && first == 0
    {
        return Err(Error::invalid(format!("invalid hostPort: {host}")));
    }
    let count = |(first, last): (u16, u16)| last - first;
    let one = count(container_ports) == 0;
    if host_ports.is_some_and(|ports| count(ports) != count(container_ports)) && !one {
        return Err(Error::invalid(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        )));
    }
    let mapping = |container_port: u16| {
        let (host_port, host_port_last) = match host_ports {
            Some((first, last)) if one => (Some(first), Some(last).filter(|last| *last != first)),
            Some((first, _)) => (Some(first + (container_port - container_ports.0)), None),
            None => (None, None),
        };
        PortMapping {
            host_ip,
            host_port,
            host_port_last,
            container_port,
            protocol,
        }
    };
    Ok((container_ports.0..=container_ports.1)
        .map(mapping)
        .collect())
}

/// Parses `--expose`: `PORT[-PORT][/PROTOCOL]`.
pub fn parse_expose(text: &str) -> Result<Vec<Port>> {
    if text.contains(':') {
        return Err(Error::invalid(format!(
            "invalid port format for --expose: {text}"
        )));
    }
    let (ports, protocol) = split_protocol(text)?;
    let (first, last) = port_range(ports)
        .filter(|(first, _)| *first > 0)
        .ok_or_else(|| Error::invalid(format!("invalid range format for --expose: {text}")))?;
    Ok((first..=last)
        .map(|number| Port { number, protocol })
        .collect())
}

/// Docker's `published=8080,target=80,protocol=tcp` as `8080:80/tcp`.
fn standard_notation(text: &str) -> Result<String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Error::invalid(format!(
                "invalid publish opts format (should be name=value but got '{pair}')"
            ))
        })?;
        match key {
            "published" => published = value,
            "target" => target = value,
            "protocol" => protocol = value,
            _ => {
                return Err(Error::invalid(format!(
                    "invalid publish opts format: {key:?} is not one of published, target and protocol"
                )));
            }
        }
        if value.contains('=') {
            return Err(Error::invalid(format!(
                "invalid publish opts format: {pair:?}"
            )));
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

fn split_protocol(text: &str) -> Result<(&str, Protocol)> {
    match text.split_once('/') {
        None => Ok((text, Protocol::Tcp)),
        Some((ports, protocol)) => Ok((ports, protocol.parse()?)),
    }
}

/// With or without brackets; empty is all.
fn host_address(text: &str) -> Result<Option<IpAddr>> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text) {
        "" => Ok(None),
        address => match address.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(Error::invalid(format!("invalid IP address: {address}"))),
        },
    }
}

/// `FIRST-LAST` or one number.
fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn port_number(text: &str) -> Option<u16> {
    number(text).filter(|port| *port > 0)
}

fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let mappings = parse_publish(text).unwrap();
        let one = |mapping: &PortMapping| {
            format!(
                "{} {:?} -> {}",
                mapping.host_ip.map_or("*".into(), |ip| ip.to_string()),
                mapping.host_port_text(),
                mapping.port()
            )
        };
        mappings.iter().map(one).collect()
    }

    #[test]
    fn the_grammar_of_publish() {
        assert_eq!(shown("80"), ["* \"\" -> 80/tcp"]);
        assert_eq!(shown("8080:80"), ["* \"8080\" -> 80/tcp"]);
        assert_eq!(shown(":80"), ["* \"\" -> 80/tcp"]);
        assert_eq!(shown("0:80"), ["* \"\" -> 80/tcp"]);
        assert_eq!(shown("53:53/UDP"), ["* \"53\" -> 53/udp"]);
        assert_eq!(shown("127.0.0.1::80"), ["127.0.0.1 \"\" -> 80/tcp"]);
        assert_eq!(shown("127.0.0.1:8080:80"), ["127.0.0.1 \"8080\" -> 80/tcp"]);
        assert_eq!(shown("[::]:8080:80"), [":: \"8080\" -> 80/tcp"]);
        assert_eq!(shown("[::1]::80"), ["::1 \"\" -> 80/tcp"]);
        assert_eq!(shown("::1:8080:80"), ["::1 \"8080\" -> 80/tcp"]);
        assert_eq!(shown("8000-8999:80"), ["* \"8000-8999\" -> 80/tcp"]);
        assert_eq!(
            shown("8080-8081:80-81/sctp"),
            ["* \"8080\" -> 80/sctp", "* \"8081\" -> 81/sctp"]
        );
        assert_eq!(shown("80-81"), ["* \"\" -> 80/tcp", "* \"\" -> 81/tcp"]);
        assert_eq!(
            shown("published=8080,target=80,protocol=udp"),
            ["* \"8080\" -> 80/udp"]
        );
        assert_eq!(parse_publish("1-65535:1-65535").unwrap().len(), 65535);
    }

    #[test]
    fn what_is_no_mapping_is_told_of() {
        let said = |text: &str| parse_publish(text).unwrap_err().to_string();
        assert_eq!(said("80:"), "no port specified: 80:<empty>");
        assert_eq!(said("x:80"), "invalid hostPort: x");
        assert_eq!(said("80:x"), "invalid containerPort: x");
        assert_eq!(said("80/icmp"), "invalid proto: icmp");
        assert_eq!(said("localhost:80:80"), "invalid IP address: localhost");
        assert_eq!(
            said("80-82:80-81"),
            "invalid ranges specified for container and host Ports: 80-81 and 80-82"
        );
        for wrong in [
            "", "0", "80:0", "65536", "81-80", "+80", "-80", "0-5:80", "[::1:80", "a=b",
        ] {
            assert!(parse_publish(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exposed_ports() {
        let shown = |text: &str| {
            let ports = parse_expose(text).unwrap();
            ports.iter().map(Port::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown("80"), ["80/tcp"]);
        assert_eq!(shown("80-81/udp"), ["80/udp", "81/udp"]);
        for wrong in ["", "80:80", "x", "0", "80-79"] {
            assert!(parse_expose(wrong).is_err(), "{wrong}");
        }
        let text = serde_json::to_string(&parse_expose("80").unwrap()).unwrap();
        assert_eq!(text, r#"["80/tcp"]"#);
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_a_mapping_or_an_error(text in "[0-9a-z:.,=/\\[\\]-]{0,40}") {
            if let Ok(mappings) = parse_publish(&text) {
                for mapping in mappings {
                    prop_assert!(mapping.container_port > 0);
                    prop_assert!(mapping.host_port != Some(0));
                }
            }
            let _ = parse_expose(&text);
        }

        #[test]
        fn what_is_shown_is_read_again(
            host in proptest::option::of(any::<std::net::IpAddr>()),
            (first, last) in (1_u16..1000, 1000_u16..2000),
            container_port in 1_u16..,
        ) {
            let host = match host {
                None => String::new(),
                Some(IpAddr::V6(host)) => format!("[{host}]:"),
                Some(IpAddr::V4(host)) => format!("{host}:"),
            };
            let text = format!("{host}{first}-{last}:{container_port}/udp");
            let mapping = parse_publish(&text).unwrap().remove(0);
            prop_assert_eq!(mapping.host_port_text(), format!("{first}-{last}"));
            prop_assert_eq!(mapping.port().to_string(), format!("{container_port}/udp"));
        }
    }
}
