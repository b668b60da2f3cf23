//! `network create`: Docker's flags and Podman's.

use std::{collections::BTreeMap, net::IpAddr};

use clap::Args;
use ipnet::IpNet;

use super::{
    container_flags::key_values,
    network::addresses,
    parse, ui,
    verb::{Arity, Verb},
};
use crate::{
    engine::networks::NetworkRequest,
    model::{
        Error, ErrorKind, Result,
        network::{AddressRange, Driver},
    },
};

#[derive(Args)]
struct Flags {
    /// Has no effect: every container may be attached to every network
    #[arg(long)]
    attachable: bool,
    /// An address that no container gets, NAME=IP (default map[])
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// Not supported: there are no networks that are settings alone
    #[arg(long, value_name = "string", hide = true)]
    config_from: Option<String>,
    /// Not supported: there are no networks that are settings alone
    #[arg(long, hide = true)]
    config_only: bool,
    /// Containers do not find each other by name
    #[arg(long)]
    disable_dns: bool,
    /// Server to ask for names that the network does not know
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    dns: Vec<String>,
    /// bridge, macvlan or ipvlan
    #[arg(long, short = 'd', value_name = "string", default_value = "bridge")]
    driver: String,
    /// Address of the bridge, or of the router out there, in one of the subnets
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    gateway: Vec<String>,
    /// A network of that name is no failure
    #[arg(long)]
    ignore: bool,
    /// Not supported: there are no swarms
    #[arg(long, hide = true)]
    ingress: bool,
    /// Name of the bridge, or the parent of macvlan and ipvlan
    #[arg(long, value_name = "string")]
    interface_name: Option<String>,
    /// No way out, and no way in
    #[arg(long)]
    internal: bool,
    /// Part of a subnet that addresses are taken from: a prefix, or FIRST-LAST
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Who gives out addresses: default, host-local or none
    #[arg(long, value_name = "string", default_value = "default")]
    ipam_driver: String,
    /// Has no effect: addresses are given out by this program (default map[])
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Give it a subnet of IPv4
    #[arg(
        long,
        action = clap::ArgAction::Set,
        default_value = "true",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    ipv4: bool,
    /// Give it a subnet of IPv6
    #[arg(long)]
    ipv6: bool,
    /// Set a label, KEY=VALUE
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Option of the driver, KEY=VALUE: mtu, isolate, parent, mode, metric, no_default_route, and
    /// Docker's com.docker.network.… (default map[])
    #[arg(long, short = 'o', value_name = "map")]
    opt: Vec<String>,
    /// Route inside containers, DESTINATION,GATEWAY[,METRIC]
    #[arg(long, value_name = "stringArray")]
    route: Vec<String>,
    /// Where the network is: local is the only scope
    #[arg(long, value_name = "string")]
    scope: Option<String>,
    /// Subnet, ADDRESS/LENGTH
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    subnet: Vec<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["network create"],
    about: "Make a network",
    usage: "[OPTIONS] [NETWORK]",
    arity: Arity::AtMost(1),
    flags: Flags::augment_args,
    run: |session, matches, names| {
        let flags: Flags = parse::flags(matches)?;
        let request = flags.into_request(names.into_iter().next())?;
        let network = session.engine()?.create_network(request)?;
        ui::line(network.id.as_str())?;
        Ok(0)
    },
    ..Verb::PLAIN
};

impl Flags {
    fn into_request(self, name: Option<String>) -> Result<NetworkRequest> {
        self.refuse_swarm()?;
        let no_addresses = match self.ipam_driver.as_str() {
            "default" | "host-local" | "" => false,
            "none" | "null" => true,
            "dhcp" => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "--ipam-driver dhcp is not supported",
                )
                .with_hint("name the --subnet and a free --ip-range in it"));
            }
            other => return Err(Error::invalid(format!("unsupported ipam driver {other:?}"))),
        };
        let parse_net = |text: &String| {
            text.parse::<IpNet>().map_err(|_| {
                Error::invalid(format!("invalid subnet {text:?}: expected ADDRESS/LENGTH"))
            })
        };
        let parse_address = |text: &String| {
            text.parse::<IpAddr>()
                .map_err(|_| Error::invalid(format!("invalid gateway {text:?}")))
        };
        Ok(NetworkRequest {
            name,
            driver: Driver::parse(&self.driver)?,
            no_ipv4: !self.ipv4,
            ipv6: self.ipv6,
            internal: self.internal,
            disable_dns: self.disable_dns,
            dns_servers: addresses(&self.dns)?,
            subnets: self.subnet.iter().map(parse_net).collect::<Result<_>>()?,
            ranges: self
                .ip_range
                .iter()
                .map(|text| AddressRange::parse(text))
                .collect::<Result<_>>()?,
            gateways: self
                .gateway
                .iter()
                .map(parse_address)
                .collect::<Result<_>>()?,
            reserved: reserved(&self.aux_address)?,
            no_addresses,
            routes: self
                .route
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_>>()?,
            interface: self.interface_name.filter(|name| !name.is_empty()),
            labels: key_values("label", &self.label)?,
            options: key_values("network option", &self.opt)?,
            ignore: self.ignore,
        })
    }

    fn refuse_swarm(&self) -> Result<()> {
        let refused = [
            (self.config_from.is_some(), "--config-from"),
            (self.config_only, "--config-only"),
            (self.ingress, "--ingress"),
            (
                self.scope.as_deref().is_some_and(|scope| scope != "local"),
                "--scope",
            ),
        ];
        if let Some((_, flag)) = refused.iter().find(|(given, _)| *given) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{flag} is not supported: there are no swarms"),
            ));
        }
        if !self.ipam_opt.is_empty() {
            ui::notice("--ipam-opt has no effect: addresses are given out by this program");
        }
        Ok(())
    }
}

fn reserved(texts: &[String]) -> Result<BTreeMap<String, IpAddr>> {
    key_values("aux-address", texts)?
        .into_iter()
        .map(|(name, address)| match address.parse() {
            Ok(address) => Ok((name, address)),
            Err(_) => Err(Error::invalid(format!("invalid aux-address {address:?}"))),
        })
        .collect()
}
