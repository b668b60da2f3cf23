//! How a container resolves names: resolv.conf(5), hosts(5), and who is asked.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// What the user says of name resolution; empty means as the networks or the host have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsSpec {
    /// `--dns`: asked for what no network knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
    /// `--dns=none`: the image's /etc/resolv.conf is left alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unmanaged: bool,
    /// `--dns-search`; `.` alone is none at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// `--dns-option`, as resolv.conf(5) has them: `ndots:0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// `--add-host`, in the order given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<ExtraHost>,
    /// `--link`, in the order given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// `--hosts-file`: what /etc/hosts begins with.
    #[serde(skip_serializing_if = "HostsBase::is_none")]
    pub hosts_base: HostsBase,
}

impl DnsSpec {
    pub fn is_empty(&self) -> bool {
        *self == DnsSpec::default()
    }
}

/// What a container's /etc/hosts begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostsBase {
    /// Nothing but localhost.
    #[default]
    None,
    /// The image's.
    Image,
    /// A file of the host, by its absolute path.
    File(String),
}

impl HostsBase {
    fn is_none(&self) -> bool {
        *self == HostsBase::None
    }
}

/// A line of /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    pub names: Vec<String>,
    pub address: HostAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostAddress {
    Ip(IpAddr),
    /// Where the container reaches the host.
    HostGateway,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostAddress::Ip(address) => write!(f, "{address}"),
            HostAddress::HostGateway => f.write_str("host-gateway"),
        }
    }
}

impl FromStr for ExtraHost {
    type Err = Error;

    /// `NAME:IP` or `NAME=IP`, where the address may be in brackets or `host-gateway`; several names
    /// are separated by `;`, as podman has it.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("bad format for add-host: {text:?}"));
        // A name has neither, an address of IPv6 has the colon.
        let (names, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
        if names.is_empty() {
            return Err(bad());
        }
        let names: Vec<String> = names.split(';').map(str::to_owned).collect();
        if names.iter().any(|name| !is_host_name(name)) {
            return Err(bad());
        }
        let bare = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address);
        let address = match bare {
            "host-gateway" => HostAddress::HostGateway,
            _ => HostAddress::Ip(bare.parse().map_err(|_| {
                Error::invalid(format!("invalid IP address in add-host: {address:?}"))
            })?),
        };
        Ok(ExtraHost { names, address })
    }
}

impl fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.names.join(";"), self.address)
    }
}

/// What may stand as a name in hosts(5) and does not end its line or its field.
fn is_host_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '#';
    (1..=253).contains(&name.len()) && name.chars().all(allowed)
}

/// `--link CONTAINER[:ALIAS]`: a running container's addresses under names that only the new one
/// knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// A name or an id.
    pub container: String,
    pub alias: String,
}

impl FromStr for Link {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("bad format for links: {text}"));
        let (container, alias) = match text.split_once(':') {
            None => (text, text),
            Some((container, alias)) => (container, alias),
        };
        if container.is_empty() || !is_host_name(alias) || alias.contains(':') {
            return Err(bad());
        }
        Ok(Link {
            container: container.trim_start_matches('/').to_owned(),
            alias: alias.rsplit('/').next().unwrap_or(alias).to_owned(),
        })
    }
}

/// Checks a domain of `--dns-search`.
pub fn search_domain(text: &str) -> Result<String> {
    let domain = text.trim();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if domain == "." || (domain.len() <= 253 && domain.trim_end_matches('.').split('.').all(label))
    {
        return Ok(domain.to_owned());
    }
    Err(Error::invalid(format!("{text:?} is not a valid domain")))
}

/// Checks an option of resolv.conf(5).
pub fn resolver_option(text: &str) -> Result<String> {
    let allowed = |c: char| c.is_ascii_graphic();
    if !text.is_empty() && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Error::invalid(format!("invalid dns option {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts() {
        let shown = |text: &str| text.parse::<ExtraHost>().unwrap().to_string();
        assert_eq!(shown("db:10.0.0.1"), "db:10.0.0.1");
        assert_eq!(shown("db=10.0.0.1"), "db:10.0.0.1");
        assert_eq!(shown("db:fd00::1"), "db:fd00::1");
        assert_eq!(shown("db=[fd00::1]"), "db:fd00::1");
        assert_eq!(shown("a;b:host-gateway"), "a;b:host-gateway");
        for wrong in [
            "",
            "db",
            "db:",
            ":10.0.0.1",
            "db:localhost",
            "a b:10.0.0.1",
            "a\n:1.1.1.1",
        ] {
            assert!(wrong.parse::<ExtraHost>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn links() {
        let link: Link = "web:w".parse().unwrap();
        assert_eq!((link.container.as_str(), link.alias.as_str()), ("web", "w"));
        let link: Link = "/web".parse().unwrap();
        assert_eq!(
            (link.container.as_str(), link.alias.as_str()),
            ("web", "web")
        );
        for wrong in ["", ":a", "a:", "a:b:c", "a:b c"] {
            assert!(wrong.parse::<Link>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn words_of_resolv_conf_cannot_end_their_line() {
        assert_eq!(search_domain("example.org").unwrap(), "example.org");
        assert_eq!(search_domain(".").unwrap(), ".");
        assert!(search_domain("a b").is_err());
        assert!(search_domain("a\nnameserver 1.1.1.1").is_err());
        assert_eq!(resolver_option("ndots:2").unwrap(), "ndots:2");
        assert!(resolver_option("a\nb").is_err());
    }
}
