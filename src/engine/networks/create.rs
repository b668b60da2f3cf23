//! `network create`: from what was asked for to a definition.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::{IpNet, Ipv4Net};

use crate::{
    engine::{Engine, supervisor},
    model::{
        Context, Error, ErrorKind, Result,
        address_pool::{free_subnet4, free_subnet6},
        network::{
            AddressRange, DEFAULT_INTERFACE, Driver, LinkMode, Network, NetworkId, Route, Subnet,
            check_interface_name, check_network_name, overlap,
        },
    },
};

/// `network create`
#[derive(Clone, Debug, Default)]
pub struct NetworkRequest {
    /// Without one it is called `network1`, `network2`, …
    pub name: Option<String>,
    pub driver: Driver,
    /// No subnet of IPv4 (`--ipv4=false`).
    pub no_ipv4: bool,
    pub ipv6: bool,
    pub internal: bool,
    pub disable_dns: bool,
    pub dns_servers: Vec<IpAddr>,
    /// Subnets, and for each at most one range and one gateway; which belongs to which follows from
    /// the addresses.
    pub subnets: Vec<IpNet>,
    pub ranges: Vec<AddressRange>,
    pub gateways: Vec<IpAddr>,
    pub reserved: BTreeMap<String, IpAddr>,
    /// `--ipam-driver=none`
    pub no_addresses: bool,
    pub routes: Vec<Route>,
    pub interface: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Of the driver.
    pub options: BTreeMap<String, String>,
    /// One of that name is no failure (podman's `--ignore`).
    pub ignore: bool,
}

impl Engine {
    /// Makes a network.
    ///
    /// # Errors
    /// [`ErrorKind::NameInUse`], [`ErrorKind::Conflict`] if it overlaps with another one,
    /// [`ErrorKind::InvalidArgument`], [`ErrorKind::Unsupported`] for what only root can have.
    pub fn create_network(&self, request: NetworkRequest) -> Result<Network> {
        if let Some(name) = &request.name {
            check_network_name(name)?;
        }
        if request.driver != Driver::Bridge && !self.user.is_real_root() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} networks are for root: they are part of the host's own network",
                    request.driver
                ),
            )
            .with_hint("use a bridge network"));
        }
        let changing = self.store.change_networks_alone()?;
        let others = self.store.networks()?;
        if let Some(name) = &request.name
            && let Some(there) = others.iter().find(|network| network.name == *name)
        {
            if request.ignore {
                return Ok(there.clone());
            }
            return Err(Error::new(
                ErrorKind::NameInUse,
                format!("network with name {name} already exists"),
            )
            .with_hint("choose another name, or remove it: coracle network rm"));
        }
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        let network = define(
            request,
            NetworkId::from_random(bytes),
            &others,
            &host_routes(),
        )?;
        let network = Network {
            created: supervisor::now(),
            ..network
        };
        changing.put(&network)?;
        drop(changing);
        self.note_network("create", &network, &[]);
        Ok(network)
    }
}

fn random(bytes: &mut [u8]) -> Result<()> {
    let what = || "cannot get random bytes".to_owned();
    // Up to 256 bytes come whole (random(4)).
    rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty())
        .system(what)
        .map(drop)
}

/// Where the host's routes lead, those of its own interfaces among them: no network is put there
/// unasked. What cannot be read is as good as none.
fn host_routes() -> Vec<IpNet> {
    let routes = procfs::net::route().unwrap_or_default();
    let net = |route: procfs::net::RouteEntry| {
        let net = Ipv4Net::with_netmask(route.destination, route.mask).ok()?;
        Some(IpNet::V4(net))
    };
    routes.into_iter().filter_map(net).collect()
}

/// The definition, without the time of its making. `routes` are where those of the host lead.
fn define(
    request: NetworkRequest,
    id: NetworkId,
    others: &[Network],
    routes: &[IpNet],
) -> Result<Network> {
    let name = match &request.name {
        Some(name) => name.clone(),
        None => free_name(others),
    };
    let mut network = Network {
        driver: request.driver,
        internal: request.internal,
        labels: request.labels.clone(),
        dns: !request.disable_dns,
        dns_servers: request.dns_servers.clone(),
        routes: request.routes.clone(),
        options: request.options.clone(),
        ..Network::new(&name, id)
    };
    if let Some(interface) = &request.interface {
        take_interface(&mut network, interface)?;
    }
    let mut options = Options {
        no_ipv4: request.no_ipv4,
        ipv6: request.ipv6,
    };
    for (key, value) in &request.options {
        options.take(&mut network, key, value)?;
    }
    if let Some(other) = others
        .iter()
        .find(|other| other.driver == Driver::Bridge && other.interface == network.interface)
        && network.driver == Driver::Bridge
    {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "bridge name {} is already in use by network {}",
                network.interface, other.name
            ),
        ));
    }
    let request = NetworkRequest {
        no_ipv4: options.no_ipv4,
        ipv6: options.ipv6,
        ..request
    };
    network.subnets = subnets(&request, others, routes)?;
    network.ipv6 = network.subnet(false).is_some();
    let outside = |route: &&Route| {
        !network
            .subnets
            .iter()
            .any(|subnet| subnet.net.contains(&route.gateway))
    };
    if let Some(route) = network.routes.iter().find(outside) {
        return Err(Error::invalid(format!(
            "the gateway {} of a route is in no subnet of the network",
            route.gateway
        )));
    }
    Ok(network)
}

fn free_name(others: &[Network]) -> String {
    let mut number = 1;
    loop {
        let name = format!("network{number}");
        if !others.iter().any(|other| other.name == name) {
            return name;
        }
        number += 1;
    }
}

/// A bridge's name, or macvlan's and ipvlan's parent.
fn take_interface(network: &mut Network, name: &str) -> Result<()> {
    check_interface_name(name)?;
    match network.driver {
        Driver::Bridge if matches!(name, DEFAULT_INTERFACE | "lo") => {
            return Err(Error::invalid(format!(
                "bridge name {name} is not free to choose"
            )));
        }
        Driver::Bridge => network.interface = name.to_owned(),
        Driver::Macvlan | Driver::Ipvlan => network.parent = Some(name.to_owned()),
    }
    Ok(())
}

/// What options of the driver say about more than one field.
struct Options {
    no_ipv4: bool,
    ipv6: bool,
}

impl Options {
    fn take(&mut self, network: &mut Network, key: &str, value: &str) -> Result<()> {
        let flag = || {
            boolean(value).ok_or_else(|| {
                Error::invalid(format!("invalid value {value:?} for network option {key}"))
                    .with_hint("true or false")
            })
        };
        let number = || {
            value.parse::<u32>().map_err(|_| {
                Error::invalid(format!("invalid value {value:?} for network option {key}"))
            })
        };
        let bridge = network.driver == Driver::Bridge;
        match key {
            "mtu" | "com.docker.network.driver.mtu" => network.mtu = mtu(number()?)?,
            "metric" => network.metric = Some(number()?),
            "no_default_route" => network.no_default_route = flag()?,
            // Podman's strict is what every network is that is isolated here.
            "isolate" if bridge => network.isolate = value == "strict" || flag()?,
            "com.docker.network.bridge.name" if bridge => take_interface(network, value)?,
            "com.docker.network.bridge.enable_icc" if bridge => network.icc = flag()?,
            "com.docker.network.bridge.enable_ip_masquerade" if bridge => {
                network.masquerade = flag()?;
            }
            "com.docker.network.bridge.host_binding_ipv4" if bridge => {
                let address = value.parse().map_err(|_| {
                    Error::invalid(format!("invalid value {value:?} for network option {key}"))
                })?;
                network.publish_on = Some(address);
            }
            "com.docker.network.bridge.gateway_mode_ipv4"
            | "com.docker.network.bridge.gateway_mode_ipv6"
                if bridge =>
            {
                match value {
                    "nat" | "" => {}
                    "routed" => network.masquerade = false,
                    _ => return Err(not_there(key, value)),
                }
            }
            "com.docker.network.enable_ipv4" => self.no_ipv4 = !flag()?,
            "com.docker.network.enable_ipv6" => self.ipv6 = flag()?,
            "parent" if !bridge => take_interface(network, value)?,
            "mode" | "macvlan_mode" | "ipvlan_mode" if !bridge => {
                network.mode = Some(LinkMode::parse(network.driver, value)?);
            }
            "mode" if value == "managed" => {}
            "mode" | "vlan" | "vrf" | "bclim" | "host_interface_name" | "ipvlan_flag" => {
                return Err(not_there(key, value));
            }
            // Docker keeps what it does not know: compose files are full of such.
            _ if key.contains('.') => {}
            _ => {
                return Err(Error::invalid(format!(
                    "unsupported {} network option {key}",
                    network.driver
                )));
            }
        }
        Ok(())
    }
}

fn not_there(key: &str, value: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("network option {key}={value} is not supported"),
    )
}

/// 0 is whatever it would be anyway. IPv4 needs 68 bytes (RFC 791), Linux takes no more than this.
fn mtu(bytes: u32) -> Result<Option<u32>> {
    match bytes {
        0 => Ok(None),
        68..=65535 => Ok(Some(bytes)),
        _ => Err(Error::invalid(format!(
            "invalid mtu {bytes}: expected 68 to 65535 bytes"
        ))),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn subnets(request: &NetworkRequest, others: &[Network], routes: &[IpNet]) -> Result<Vec<Subnet>> {
    let mut nets = Vec::with_capacity(2);
    for net in &request.subnets {
        check_subnet(net, &nets, others)?;
        nets.push(*net);
    }
    let asked = |ipv4: bool| {
        request
            .subnets
            .iter()
            .any(|net| net.addr().is_ipv4() == ipv4)
    };
    if request.no_addresses {
        if !nets.is_empty() {
            return Err(Error::invalid(
                "none ipam driver is set but subnets are given",
            ));
        }
        return Ok(Vec::new());
    }
    if request.driver != Driver::Bridge && nets.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "a {} network without --subnet would need DHCP, which is not there",
                request.driver
            ),
        )
        .with_hint(
            "name the parent's --subnet and a free --ip-range in it, or --ipam-driver none",
        ));
    }
    let taken: Vec<IpNet> = others
        .iter()
        .flat_map(|network| &network.subnets)
        .map(|subnet| subnet.net)
        .chain(routes.iter().copied())
        .collect();
    let only_ipv6 = request.no_ipv4 || (asked(false) && request.driver != Driver::Bridge);
    if !asked(true) && !only_ipv6 {
        nets.insert(0, free_subnet4(&taken)?.into());
    }
    if request.ipv6 && !asked(false) {
        let net = free_subnet6(&taken, || {
            let mut bytes = [0; 5];
            random(&mut bytes)?;
            Ok(bytes)
        })?;
        nets.push(net.into());
    }
    if nets.is_empty() {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    let mut subnets: Vec<Subnet> = nets.into_iter().map(|net| Subnet::new(net, None)).collect();
    place(&mut subnets, request)?;
    for subnet in &mut subnets {
        // Of macvlan and ipvlan it is a router's out there; both engines take this one for it.
        let routed = request.driver == Driver::Bridge || !request.internal;
        if subnet.gateway.is_none() && routed {
            subnet.gateway = Some(subnet.bounds_without_range().first);
        }
    }
    Ok(subnets)
}

fn check_subnet(net: &IpNet, before: &[IpNet], others: &[Network]) -> Result<()> {
    if net.trunc() != *net {
        return Err(Error::invalid(format!(
            "invalid network config: invalid subnet {net}: it should be {}",
            net.trunc()
        )));
    }
    if net.max_prefix_len() - net.prefix_len() < 2 {
        return Err(Error::invalid(format!(
            "invalid subnet {net}: it has no room for a gateway and a container"
        )));
    }
    if before.iter().any(|other| overlap(other, net)) {
        return Err(Error::invalid(
            "multiple overlapping subnet configuration is not supported",
        ));
    }
    let clash = |other: &&Network| other.overlap(net).is_some();
    if let Some(other) = others.iter().find(clash) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "invalid pool request: Pool overlaps with other one on this address space: {net} and network {}",
                other.name
            ),
        )
        .with_hint("choose another --subnet, or none: a free one is found"));
    }
    Ok(())
}

/// Puts ranges, gateways and reserved addresses to the subnets that they are of.
fn place(subnets: &mut [Subnet], request: &NetworkRequest) -> Result<()> {
    if request.subnets.is_empty() && !(request.ranges.is_empty() && request.gateways.is_empty()) {
        return Err(Error::invalid(
            "every ip-range or gateway must have a corresponding subnet",
        ));
    }
    for range in &request.ranges {
        let subnet = of(subnets, &[range.first, range.last])
            .ok_or_else(|| Error::invalid(format!("no matching subnet for range {range}")))?;
        if subnet.range.replace(range.clone()).is_some() {
            return Err(Error::invalid(format!(
                "cannot configure multiple ranges on the same subnet ({})",
                subnet.net
            )));
        }
    }
    for gateway in &request.gateways {
        let subnet = of(subnets, &[*gateway])
            .filter(|subnet| subnet.bounds_without_range().contains(gateway))
            .ok_or_else(|| Error::invalid(format!("no matching subnet for gateway {gateway}")))?;
        if subnet.gateway.replace(*gateway).is_some() {
            return Err(Error::invalid(format!(
                "cannot configure multiple gateways for the same subnet ({})",
                subnet.net
            )));
        }
    }
    for (name, address) in &request.reserved {
        let subnet = of(subnets, &[*address]).ok_or_else(|| {
            Error::invalid(format!("no matching subnet for aux-address {address}"))
        })?;
        subnet.reserved.insert(name.clone(), *address);
    }
    Ok(())
}

fn of<'a>(subnets: &'a mut [Subnet], addresses: &[IpAddr]) -> Option<&'a mut Subnet> {
    subnets
        .iter_mut()
        .find(|subnet| addresses.iter().all(|address| subnet.net.contains(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> NetworkRequest {
        NetworkRequest {
            name: Some("web".to_owned()),
            ..NetworkRequest::default()
        }
    }

    fn define_it(request: NetworkRequest) -> Result<Network> {
        let others = [Network::default_bridge()];
        define(request, NetworkId::from_random([7; 32]), &others, &[])
    }

    fn with(options: &[(&str, &str)]) -> Result<Network> {
        let options = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        define_it(NetworkRequest {
            options: options.collect(),
            ..request()
        })
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn without_a_word_it_gets_the_first_free_subnet() {
        let network = define_it(request()).unwrap();
        assert_eq!(network.subnets.len(), 1);
        assert_eq!(network.subnets[0].net.to_string(), "10.89.0.0/24");
        assert_eq!(network.subnets[0].gateway, "10.89.0.1".parse().ok());
        assert!(!network.ipv6 && network.dns && network.isolate);
        let routes = nets(&["10.89.0.0/16"]);
        let elsewhere = define(request(), NetworkId::of_default(), &[], &routes).unwrap();
        assert_eq!(elsewhere.subnets[0].net.to_string(), "10.90.0.0/24");
        let both = define_it(NetworkRequest {
            ipv6: true,
            ..request()
        });
        let both = both.unwrap();
        assert!(both.ipv6 && both.subnets[1].net.to_string().starts_with("fd"));
        let only = define_it(NetworkRequest {
            ipv6: true,
            no_ipv4: true,
            ..request()
        });
        assert_eq!(only.unwrap().subnets.len(), 1);
    }

    #[test]
    fn ranges_and_gateways_find_their_subnets() {
        let network = define_it(NetworkRequest {
            subnets: nets(&["10.1.0.0/24", "fd00:1::/64"]),
            ranges: vec![AddressRange::parse("10.1.0.128/25").unwrap()],
            gateways: vec!["fd00:1::9".parse().unwrap()],
            reserved: [("router".to_owned(), "10.1.0.9".parse().unwrap())].into(),
            ..request()
        });
        let network = network.unwrap();
        let [four, six] = &network.subnets[..] else {
            panic!("{network:?}");
        };
        assert_eq!(four.gateway, "10.1.0.1".parse().ok());
        assert_eq!(four.range.as_ref().unwrap().to_string(), "10.1.0.128/25");
        assert_eq!(four.reserved.len(), 1);
        assert_eq!(six.gateway, "fd00:1::9".parse().ok());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |change: &dyn Fn(&mut NetworkRequest)| {
            let mut wrong = request();
            change(&mut wrong);
            define_it(wrong).unwrap_err().kind()
        };
        let invalid = ErrorKind::InvalidArgument;
        assert_eq!(
            refused(&|one| one.subnets = nets(&["10.1.0.3/24"])),
            invalid
        );
        assert_eq!(
            refused(&|one| one.subnets = nets(&["10.1.0.0/31"])),
            invalid
        );
        assert_eq!(
            refused(&|one| one.subnets = nets(&["10.88.3.0/24"])),
            ErrorKind::Conflict
        );
        assert_eq!(
            refused(&|one| one.subnets = nets(&["10.1.0.0/24", "10.1.0.0/25"])),
            invalid
        );
        assert_eq!(
            refused(&|one| one.gateways = vec!["10.1.0.1".parse().unwrap()]),
            invalid
        );
        assert_eq!(
            refused(&|one| {
                one.subnets = nets(&["10.1.0.0/24"]);
                one.gateways = vec!["10.2.0.1".parse().unwrap()];
            }),
            invalid
        );
        assert_eq!(refused(&|one| one.no_ipv4 = true), invalid);
        assert_eq!(
            refused(&|one| one.driver = Driver::Macvlan),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn options_of_the_driver_have_both_engines_names() {
        let network = with(&[
            ("com.docker.network.driver.mtu", "9000"),
            ("com.docker.network.bridge.name", "br-web"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            ("isolate", "false"),
            ("com.example.note", "kept"),
        ]);
        let network = network.unwrap();
        assert_eq!(
            (network.mtu, network.interface.as_str()),
            (Some(9000), "br-web")
        );
        assert!(!network.icc && !network.isolate);
        assert_eq!(network.publish_on, "127.0.0.1".parse().ok());
        for wrong in [
            ("mtu", "x"),
            ("mtu", "67"),
            ("colour", "red"),
            ("isolate", "perhaps"),
            ("vlan", "7"),
            ("parent", "eth0"),
            ("com.docker.network.bridge.name", "coracle0"),
            ("com.docker.network.bridge.name", "a-name-that-is-too-long"),
        ] {
            assert!(with(&[wrong]).is_err(), "{wrong:?}");
        }
        let macvlan = define_it(NetworkRequest {
            driver: Driver::Macvlan,
            subnets: nets(&["192.168.7.0/24"]),
            options: [("parent", "eth0"), ("mode", "vepa")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..request()
        });
        let macvlan = macvlan.unwrap();
        assert_eq!(macvlan.parent.as_deref(), Some("eth0"));
        assert_eq!(macvlan.mode, Some(LinkMode::Vepa));
        assert_eq!(macvlan.subnets[0].gateway, "192.168.7.1".parse().ok());
    }
}
