//! Which networks a container is in and with which addresses, which of its ports can be reached, and
//! how it resolves names: the flags of `run` and `create`.

use std::net::IpAddr;

use clap::Args;

use super::{env, ui};
use crate::model::{
    ContainerSpec, Error, Result,
    attachment::{Attachment, alias, parse_networks},
    container::NetworkMode,
    dns::{DnsSpec, HostsBase, resolver_option, search_domain},
    network::DEFAULT_NETWORK,
    publish::{PortMapping, parse_expose, parse_publish},
};

#[derive(Args)]
pub struct NetworkFlags {
    /// Line of /etc/hosts, NAME:IP; the address may be host-gateway
    #[arg(long, value_name = "list", value_delimiter = ',')]
    add_host: Vec<String>,
    /// DNS server; none leaves the image's resolv.conf alone
    #[arg(long, value_name = "list", value_delimiter = ',')]
    dns: Vec<String>,
    /// Option of resolv.conf
    #[arg(long, alias = "dns-opt", value_name = "list", value_delimiter = ',')]
    dns_option: Vec<String>,
    /// Domain that short names are looked up in; "." is none
    #[arg(long, value_name = "list", value_delimiter = ',')]
    dns_search: Vec<String>,
    /// Port that the program listens on: PORT[-PORT][/PROTOCOL]
    #[arg(long, value_name = "list", value_delimiter = ',')]
    expose: Vec<String>,
    /// What /etc/hosts begins with: a file, image or none
    #[arg(long, value_name = "string")]
    hosts_file: Option<String>,
    /// Address of IPv4
    #[arg(long, value_name = "string")]
    ip: Option<String>,
    /// Address of IPv6
    #[arg(long, value_name = "string")]
    ip6: Option<String>,
    /// Another container under a name that only this one knows: CONTAINER[:NAME]
    #[arg(long, value_name = "list")]
    link: Vec<String>,
    /// One more address, of the link alone
    #[arg(long, value_name = "list", value_delimiter = ',')]
    link_local_ip: Vec<String>,
    /// Ethernet address
    #[arg(long, value_name = "string")]
    mac_address: Option<String>,
    /// Network of the container: none, host, bridge, private, container:NAME, ns:PATH, or the name of
    /// a network, with NAME:alias=A,ip=ADDRESS or name=NAME,alias=A,ip=ADDRESS
    #[arg(long, alias = "net", value_name = "network")]
    network: Vec<String>,
    /// Name of the container in its network, besides its own
    #[arg(long, alias = "net-alias", value_name = "list", value_delimiter = ',')]
    network_alias: Vec<String>,
    /// Have a port of the host stand for one of the container: [[IP:][PORT]:]PORT[/PROTOCOL]
    #[arg(long, short = 'p', value_name = "list")]
    publish: Vec<String>,
    /// Publish all exposed ports, each on any that is free
    #[arg(long, short = 'P')]
    publish_all: bool,
}

impl NetworkFlags {
    /// Whether nothing is said of a network.
    pub fn are_default(&self) -> bool {
        self.network.is_empty()
            && self.network_alias.is_empty()
            && self.link_local_ip.is_empty()
            && self.ip.is_none()
            && self.ip6.is_none()
            && self.mac_address.is_none()
    }

    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        spec.published = published(&self.publish)?;
        spec.publish_all = self.publish_all;
        for text in &self.expose {
            for port in parse_expose(text)? {
                if !spec.exposed.contains(&port) {
                    spec.exposed.push(port);
                }
            }
        }
        spec.dns = self.dns_spec()?;
        spec.network = self.mode()?;
        let publishes = spec.publish_all || !spec.published.is_empty();
        if publishes && spec.network == NetworkMode::Host {
            ui::notice("published ports are discarded when using host network mode");
        }
        Ok(())
    }

    fn dns_spec(&self) -> Result<DnsSpec> {
        let unmanaged = self.dns.iter().any(|server| server == "none");
        if unmanaged && self.dns.len() > 1 {
            return Err(Error::invalid(
                "conflicting options: --dns none and other DNS servers",
            ));
        }
        let server = |text: &String| {
            text.parse()
                .map_err(|_| Error::invalid(format!("{text} is not an ip address")))
        };
        let servers = match unmanaged {
            true => Vec::new(),
            false => self.dns.iter().map(server).collect::<Result<_>>()?,
        };
        let all = |texts: &[String], parse: fn(&str) -> Result<String>| {
            texts
                .iter()
                .map(|text| parse(text))
                .collect::<Result<Vec<String>>>()
        };
        let hosts_base = match self.hosts_file.as_deref() {
            None | Some("" | "none") => HostsBase::None,
            Some("image") => HostsBase::Image,
            Some(path) => HostsBase::File(absolute(path)?),
        };
        Ok(DnsSpec {
            servers,
            unmanaged,
            search: all(&self.dns_search, search_domain)?,
            options: all(&self.dns_option, resolver_option)?,
            hosts: self
                .add_host
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_>>()?,
            links: self
                .link
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_>>()?,
            hosts_base,
        })
    }

    /// The networks, with what was said of the first by flags of its own.
    fn mode(self) -> Result<NetworkMode> {
        let mut mode = parse_networks(&self.network)?;
        let parse = |what: &str, text: Option<String>| -> Result<Option<IpAddr>> {
            let parsed = text.filter(|text| !text.is_empty()).map(|text| {
                text.parse()
                    .map_err(|_| Error::invalid(format!("invalid {what} address: {text}")))
            });
            parsed.transpose()
        };
        let mut said = Attachment {
            mac: self.mac_address.map(|mac| mac.parse()).transpose()?,
            ..Attachment::default()
        };
        for name in &self.network_alias {
            said.aliases.push(alias(name)?);
        }
        said.set_addresses(parse("IPv4", self.ip)?, parse("IPv6", self.ip6)?)?;
        for text in self.link_local_ip {
            said.link_local.extend(parse("link-local", Some(text))?);
        }
        if mode.is_none() {
            mode = env::setting("NETWORK")
                .map(|name| parse_networks(&[name]))
                .transpose()?
                .flatten();
        }
        if said == Attachment::default() {
            return Ok(mode.unwrap_or(NetworkMode::Bridge));
        }
        let first = match &mut mode {
            None | Some(NetworkMode::Bridge) => {
                said.network = DEFAULT_NETWORK.to_owned();
                return Ok(NetworkMode::Networks(vec![said]));
            }
            Some(NetworkMode::Networks(attachments)) => attachments.first_mut(),
            Some(other) => return Err(no_network(&said, other)),
        };
        if let Some(first) = first {
            merge(first, said)?;
        }
        Ok(mode.unwrap_or(NetworkMode::Bridge))
    }
}

fn no_network(said: &Attachment, mode: &NetworkMode) -> Error {
    let what = if said.mac.is_some() {
        "mac-address"
    } else if said.aliases.is_empty() {
        "static ip"
    } else {
        "network-alias"
    };
    Error::invalid(format!(
        "conflicting options: {what} and the network mode ({mode})"
    ))
}

/// What the flags say of the first network, unless `--network` has said it.
fn merge(first: &mut Attachment, said: Attachment) -> Result<()> {
    let conflict = |one: &str, other: &str| {
        Err(Error::invalid(format!(
            "conflicting options: cannot specify both {one} and {other}"
        )))
    };
    if !said.aliases.is_empty() {
        if !first.aliases.is_empty() {
            return conflict("--network-alias", "per-network alias");
        }
        first.aliases = said.aliases;
    }
    if said.ip4.is_some() {
        if first.ip4.is_some() {
            return conflict("--ip", "per-network IPv4 address");
        }
        first.ip4 = said.ip4;
    }
    if said.ip6.is_some() {
        if first.ip6.is_some() {
            return conflict("--ip6", "per-network IPv6 address");
        }
        first.ip6 = said.ip6;
    }
    if said.mac.is_some() {
        if first.mac.is_some() && first.mac != said.mac {
            return conflict("--mac-address", "per-network MAC address");
        }
        first.mac = said.mac;
    }
    if !said.link_local.is_empty() {
        if !first.link_local.is_empty() {
            return conflict("--link-local-ip", "per-network link-local IP addresses");
        }
        first.link_local = said.link_local;
    }
    Ok(())
}

/// Several may stand in one value, as podman has it; but Docker's long form has commas of its own.
fn published(texts: &[String]) -> Result<Vec<PortMapping>> {
    let mut published: Vec<PortMapping> = Vec::new();
    for text in texts {
        let parts: Vec<&str> = match text.contains('=') {
            true => vec![text],
            false => text.split(',').collect(),
        };
        for part in parts {
            for mapping in parse_publish(part)? {
                if !published.contains(&mapping) {
                    published.push(mapping);
                }
            }
        }
    }
    Ok(published)
}

fn absolute(path: &str) -> Result<String> {
    let whole = std::path::absolute(path).ok();
    whole
        .and_then(|path| path.into_os_string().into_string().ok())
        .ok_or_else(|| Error::invalid(format!("invalid path {path:?}")))
}
