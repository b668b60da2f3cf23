//! Networks as they are defined ([`Network`]) and what a container holds in one of them
//! ([`Endpoint`]). What it asks for is an [`Attachment`].

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ContainerId, Digest, Error, ErrorKind, Result};

pub use super::attachment::{Attachment, parse_networks};

/// The network that containers are in if they name none.
pub const DEFAULT_NETWORK: &str = "bridge";
/// Podman's name of it.
pub const DEFAULT_NETWORK_ALIAS: &str = "podman";
/// The bridge of the default network.
pub const DEFAULT_INTERFACE: &str = "coracle0";
/// Longest name of a network interface, in bytes (IFNAMSIZ without the NUL, netdevice(7)).
pub const MAX_INTERFACE_NAME: usize = 15;

/// 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkId(String);

impl NetworkId {
    /// From 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        NetworkId(Digest::sha256(bytes).hex().to_owned())
    }

    /// Of the network that exists without having been made: it has no time of birth to differ by.
    pub fn of_default() -> Self {
        NetworkId("2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as lists show them.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for NetworkId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(digit) {
            Ok(NetworkId(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{text:?} is not a network ID")))
        }
    }
}

impl TryFrom<String> for NetworkId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<NetworkId> for String {
    fn from(id: NetworkId) -> String {
        id.0
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How containers of a network reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of our own and a veth pair a container.
    #[default]
    Bridge,
    /// An interface a container with a MAC address of its own below the parent (root only).
    Macvlan,
    /// The same with the parent's MAC address.
    Ipvlan,
}

impl Driver {
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "bridge" | "" => Ok(Driver::Bridge),
            "macvlan" => Ok(Driver::Macvlan),
            "ipvlan" => Ok(Driver::Ipvlan),
            // Docker's words for drivers that it has and that come with no network of one's own.
            "host" | "none" | "null" => Err(Error::new(
                ErrorKind::Unsupported,
                format!("only one instance of {text:?} network is allowed"),
            )),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                format!("could not find plugin {text} in v1 plugin registry: plugin not found"),
            )
            .with_hint("bridge, macvlan and ipvlan are the drivers there are")),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How frames leave a macvlan interface, or packets an ipvlan one (ip-link(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkMode {
    // macvlan
    Bridge,
    Private,
    Vepa,
    Passthru,
    // ipvlan
    L2,
    L3,
    L3s,
}

impl LinkMode {
    /// The mode of that name that the driver has; the first of each is its default.
    pub fn parse(driver: Driver, text: &str) -> Result<Self> {
        let mode = match (driver, text) {
            (Driver::Macvlan, "bridge" | "") => LinkMode::Bridge,
            (Driver::Macvlan, "private") => LinkMode::Private,
            (Driver::Macvlan, "vepa") => LinkMode::Vepa,
            (Driver::Macvlan, "passthru") => LinkMode::Passthru,
            (Driver::Ipvlan, "l2" | "") => LinkMode::L2,
            (Driver::Ipvlan, "l3") => LinkMode::L3,
            (Driver::Ipvlan, "l3s") => LinkMode::L3s,
            _ => {
                return Err(Error::invalid(format!(
                    "unknown {driver} mode {text:?} for a network"
                ))
                .with_hint(match driver {
                    Driver::Ipvlan => "l2, l3 or l3s",
                    _ => "bridge, private, vepa or passthru",
                }));
            }
        };
        Ok(mode)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            LinkMode::Bridge => "bridge",
            LinkMode::Private => "private",
            LinkMode::Vepa => "vepa",
            LinkMode::Passthru => "passthru",
            LinkMode::L2 => "l2",
            LinkMode::L3 => "l3",
            LinkMode::L3s => "l3s",
        }
    }
}

/// What lasts of a network: `networks/NAME`, replaced as a whole by `network update`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub name: String,
    pub id: NetworkId,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    #[serde(default)]
    pub driver: Driver,
    /// No way out, and no way in but from its own containers.
    #[serde(default)]
    pub internal: bool,
    /// It has a subnet of IPv6.
    #[serde(default)]
    pub ipv6: bool,
    /// At most one of each family is used for addresses: the first. Empty for a macvlan or ipvlan
    /// network whose addresses somebody else gives out.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// As they were given (`-o`); those with a meaning are also fields.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Containers find each other by name.
    #[serde(default = "yes")]
    pub dns: bool,
    /// Asked for all other names; empty are the host's.
    #[serde(default)]
    pub dns_servers: Vec<IpAddr>,
    /// Further routes inside containers.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The bridge; of macvlan and ipvlan the parent is used.
    pub interface: String,
    /// Bytes; `None` is that of the host's way out.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Containers of other networks reach it only by its published ports.
    #[serde(default = "yes")]
    pub isolate: bool,
    /// Containers of it reach each other.
    #[serde(default = "yes")]
    pub icc: bool,
    /// What leaves it has the host's address.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// Address of the host on which ports are published that name none.
    #[serde(default)]
    pub publish_on: Option<IpAddr>,
    /// Containers get no default route from it.
    #[serde(default)]
    pub no_default_route: bool,
    /// Of the default route; smaller is preferred.
    #[serde(default)]
    pub metric: Option<u32>,
    /// The interface of the host below a macvlan or ipvlan network; `None` is that of the default
    /// route.
    #[serde(default)]
    pub parent: Option<String>,
    /// Of macvlan and ipvlan.
    #[serde(default)]
    pub mode: Option<LinkMode>,
}

fn yes() -> bool {
    true
}

/// Addresses of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// With all host bits zero.
    pub net: IpNet,
    /// The bridge's own address; of macvlan and ipvlan, of a router out there. `None` if there is
    /// none, as in an internal one of those.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Where addresses are taken from, unless one is asked for; `None` is all of it.
    #[serde(default)]
    pub range: Option<AddressRange>,
    /// Never given out (`--aux-address NAME=IP`).
    #[serde(default)]
    pub reserved: BTreeMap<String, IpAddr>,
}

impl Subnet {
    /// All of it can be given out, but the gateway.
    pub fn new(net: IpNet, gateway: Option<IpAddr>) -> Self {
        Subnet {
            net,
            gateway,
            range: None,
            reserved: BTreeMap::new(),
        }
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.net, IpNet::V4(_))
    }

    /// The first and the last address that can be given out. Of IPv4 neither the network's own
    /// address nor the broadcast address can (but RFC 3021's /31 has neither), of IPv6 not the
    /// subnet router's anycast address (RFC 4291, 2.6.1).
    pub fn bounds(&self) -> AddressRange {
        let usable = self.bounds_without_range();
        match &self.range {
            None => usable,
            Some(range) => AddressRange {
                first: range.first.max(usable.first),
                last: range.last.min(usable.last),
            },
        }
    }

    /// As [`Self::bounds`], of the whole subnet.
    pub fn bounds_without_range(&self) -> AddressRange {
        let whole = AddressRange::of(&self.net);
        let edge = match &self.net {
            IpNet::V4(net) => net.prefix_len() < 31,
            IpNet::V6(net) => net.prefix_len() < 127,
        };
        match (edge, whole.first) {
            (true, IpAddr::V4(_)) => AddressRange {
                first: plus(whole.first, 1),
                last: minus_one(whole.last),
            },
            (true, IpAddr::V6(_)) => AddressRange {
                first: plus(whole.first, 1),
                last: whole.last,
            },
            _ => whole,
        }
    }
}

/// The address so many further on; stays at the end of all addresses.
pub fn plus(address: IpAddr, count: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(u32::from(address).saturating_add(count).into()),
        IpAddr::V6(address) => IpAddr::V6(u128::from(address).saturating_add(count.into()).into()),
    }
}

fn minus_one(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(u32::from(address).saturating_sub(1).into()),
        IpAddr::V6(address) => IpAddr::V6(u128::from(address).saturating_sub(1).into()),
    }
}

/// From an address to another one of the same family, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    pub first: IpAddr,
    pub last: IpAddr,
}

impl AddressRange {
    pub fn of(net: &IpNet) -> Self {
        AddressRange {
            first: net.network(),
            last: match net {
                IpNet::V4(net) => IpAddr::V4(net.broadcast()),
                IpNet::V6(net) => IpAddr::V6(net.broadcast()),
            },
        }
    }

    /// `ADDRESS/LENGTH`, or `FIRST-LAST` as podman takes it.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid IP range {text:?}"));
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(AddressRange::of(&net));
        }
        let (first, last) = text.split_once('-').ok_or_else(invalid)?;
        let first: IpAddr = first.trim().parse().map_err(|_| invalid())?;
        let last: IpAddr = last.trim().parse().map_err(|_| invalid())?;
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(invalid());
        }
        Ok(AddressRange { first, last })
    }

    pub fn contains(&self, address: &IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (self.first..=self.last).contains(address)
    }
}

impl fmt::Display for AddressRange {
    /// As a prefix, if it is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest: u8 = if self.first.is_ipv4() { 32 } else { 128 };
        let prefix = (0..=longest)
            .rev()
            .filter_map(|length| IpNet::new(self.first, length).ok())
            .find(|net| AddressRange::of(net) == *self);
        match prefix {
            Some(net) => write!(f, "{net}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// A route inside containers (`--route DESTINATION,GATEWAY[,METRIC]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub destination: IpNet,
    pub gateway: IpAddr,
    #[serde(default)]
    pub metric: Option<u32>,
}

impl FromStr for Route {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::invalid(format!("invalid route {text:?}: {why}"))
                .with_hint("for example --route 10.1.0.0/16,10.89.0.2,100")
        };
        let mut fields = text.split(',');
        let destination = fields.next().unwrap_or_default();
        let destination: IpNet = destination
            .parse()
            .map_err(|_| invalid("the destination is no subnet"))?;
        let gateway: IpAddr = fields
            .next()
            .and_then(|gateway| gateway.parse().ok())
            .ok_or_else(|| invalid("the gateway is no address"))?;
        let metric = match fields.next() {
            None => None,
            Some(metric) => Some(
                metric
                    .parse()
                    .map_err(|_| invalid("the metric is no number"))?,
            ),
        };
        if fields.next().is_some() {
            return Err(invalid("it has more than three parts"));
        }
        if gateway.is_ipv4() != destination.addr().is_ipv4() {
            return Err(invalid("destination and gateway are of different families"));
        }
        Ok(Route {
            destination: destination.trunc(),
            gateway,
            metric,
        })
    }
}

impl Network {
    /// The network that exists without a file: 10.88.0.0/16.
    pub fn default_bridge() -> Self {
        let net = ipnet::Ipv4Net::new_assert([10, 88, 0, 0].into(), 16);
        Network {
            subnets: vec![Subnet::new(net.into(), Some(IpAddr::from([10, 88, 0, 1])))],
            interface: DEFAULT_INTERFACE.to_owned(),
            ..Network::new(DEFAULT_NETWORK, NetworkId::of_default())
        }
    }

    /// One without addresses.
    pub fn new(name: &str, id: NetworkId) -> Self {
        Network {
            name: name.to_owned(),
            created: String::new(),
            driver: Driver::Bridge,
            internal: false,
            ipv6: false,
            subnets: Vec::new(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            dns: true,
            dns_servers: Vec::new(),
            routes: Vec::new(),
            interface: bridge_name(&id),
            mtu: None,
            isolate: true,
            icc: true,
            masquerade: true,
            publish_on: None,
            no_default_route: false,
            metric: None,
            parent: None,
            mode: None,
            id,
        }
    }

    /// Whether this is the one that exists without having been made.
    pub fn is_default(&self) -> bool {
        self.id == NetworkId::of_default()
    }

    /// The subnet that addresses of this family are taken from.
    pub fn subnet(&self, ipv4: bool) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.is_ipv4() == ipv4)
    }

    /// The first subnet that has an address in common with that one.
    pub fn overlap(&self, net: &IpNet) -> Option<&IpNet> {
        let overlaps = |other: &&IpNet| overlap(other, net);
        self.subnets.iter().map(|subnet| &subnet.net).find(overlaps)
    }
}

/// Whether two subnets have an address in common.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// The name of a network's bridge that was given none.
pub fn bridge_name(id: &NetworkId) -> String {
    format!("co-{}", id.short())
}

/// Checks a network's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 200 characters, and not one of the
/// modes.
pub fn check_network_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = name.bytes().next();
    let begins = first.is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins || name.len() > 200 || !name.bytes().all(allowed) {
        return Err(Error::invalid(format!(
            "invalid network name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    let modes = [
        "none",
        "host",
        "default",
        "container",
        "private",
        "slirp4netns",
        "pasta",
        "ns",
    ];
    if modes.contains(&name) || is_default_name(name) {
        return Err(Error::new(
            ErrorKind::Permission,
            format!("operation is not permitted on predefined {name} network"),
        )
        .with_hint("choose another name: this one has a meaning of its own"));
    }
    Ok(())
}

/// Whether the default network is meant.
pub fn is_default_name(name: &str) -> bool {
    matches!(name, DEFAULT_NETWORK | DEFAULT_NETWORK_ALIAS)
}

/// Checks the name of a network interface, as the kernel does (dev_valid_name).
pub fn check_interface_name(name: &str) -> Result<()> {
    let forbidden = |c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control();
    if name.is_empty()
        || name.len() > MAX_INTERFACE_NAME
        || matches!(name, "." | ".." | "all" | "default")
        || name.contains(forbidden)
    {
        return Err(Error::invalid(format!(
            "invalid interface name {name:?}: at most {MAX_INTERFACE_NAME} bytes, no '/', ':', '%' or blank"
        )));
    }
    Ok(())
}

/// What a container holds in a network as long as it runs: its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: NetworkId,
    pub network_name: String,
    /// Inside the container: `eth0`.
    pub interface: String,
    /// The outer end of its veth pair, if it was given a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_interface: Option<String>,
    /// At most one of each family, with the length of the subnet's prefix.
    pub addresses: Vec<IpNet>,
    /// At most one of each family.
    pub gateways: Vec<IpAddr>,
    pub mac: Mac,
    /// Under which it is found in this network: the container's name, short ID, host name, aliases.
    pub names: Vec<String>,
    /// The container's default routes are those by these gateways.
    pub default_route: bool,
    /// Bytes; `None` is that of the host's way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Of the default routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// In addition to those of the network (`link-local-ip`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
}

impl Endpoint {
    /// The address of this family.
    pub fn address(&self, ipv4: bool) -> Option<&IpNet> {
        self.addresses
            .iter()
            .find(|net| net.addr().is_ipv4() == ipv4)
    }

    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        let mut gateways = self.gateways.iter().copied();
        gateways.find(|gateway| gateway.is_ipv4() == ipv4)
    }
}

/// Docker's `EndpointID`: 64 digits that are always the same for a container in a network.
pub fn endpoint_id(network: &NetworkId, container: &ContainerId) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::new()
        .chain_update(network.as_str())
        .chain_update(container.as_str());
    Digest::sha256(hash.finalize()).hex().to_owned()
}

/// An Ethernet address (EUI-48).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// One of a local administration that belongs to the address, as Docker's do: a neighbour that
    /// still remembers the address' last holder is not misled.
    pub fn of_address(address: IpAddr) -> Self {
        let last: [u8; 4] = match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => {
                let octets = address.octets();
                [octets[12], octets[13], octets[14], octets[15]]
            }
        };
        Mac([0x02, 0x42, last[0], last[1], last[2], last[3]])
    }

    /// Whether an interface may have it: not that of a group, not zero.
    pub fn is_of_one_interface(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl FromStr for Mac {
    type Err = Error;

    /// `02:42:0a:58:00:02`, also with `-`, or `0242.0a58.0002`.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid MAC address {text:?}"));
        let groups: Vec<&str> = text.split([':', '-', '.']).collect();
        let width = match groups.len() {
            6 if !text.contains('.') => 2,
            3 if text.contains('.') => 4,
            _ => return Err(invalid()),
        };
        let same = |separator: char| text.matches(separator).count() == groups.len() - 1;
        if groups.iter().any(|group| group.len() != width) || ![':', '-', '.'].into_iter().any(same)
        {
            return Err(invalid());
        }
        let digits = groups.concat();
        let mut bytes = [0; 6];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(2 * index..2 * index + 2).ok_or_else(invalid)?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        let mac = Mac(bytes);
        if mac.is_of_one_interface() {
            Ok(mac)
        } else {
            Err(invalid().with_hint("it is that of a group: the first byte must be even"))
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        let mac: Mac = "02:42:0A:58:00:02".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:0a:58:00:02");
        assert_eq!(mac, "02-42-0a-58-00-02".parse().unwrap());
        assert_eq!(mac, "0242.0a58.0002".parse().unwrap());
        assert_eq!(mac, Mac::of_address("10.88.0.2".parse().unwrap()));
        for wrong in [
            "",
            "02:42:0a:58:00",
            "02:42:0a:58:00:0",
            "02:42:0a:58:00:0g",
            "02:42-0a:58:00:02",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "0242.0a58.00021",
            "ää:42:0a:58:00:02",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_are_prefixes_or_two_addresses() {
        let range = AddressRange::parse("10.1.2.128/25").unwrap();
        assert_eq!(range.to_string(), "10.1.2.128/25");
        assert_eq!(range.first, "10.1.2.128".parse::<IpAddr>().unwrap());
        assert_eq!(range.last, "10.1.2.255".parse::<IpAddr>().unwrap());
        let range = AddressRange::parse("10.1.2.3-10.1.2.9").unwrap();
        assert_eq!(range.to_string(), "10.1.2.3-10.1.2.9");
        assert!(range.contains(&"10.1.2.9".parse().unwrap()));
        assert!(!range.contains(&"::1".parse().unwrap()));
        for wrong in ["", "10.1.2.3", "10.1.2.9-10.1.2.3", "10.1.2.3-::1", "a-b"] {
            assert!(AddressRange::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn neither_the_networks_own_nor_the_broadcast_address_is_given_out() {
        let bounds = |net: &str, range: Option<&str>| {
            let subnet = Subnet {
                net: net.parse().unwrap(),
                gateway: None,
                range: range.map(|range| AddressRange::parse(range).unwrap()),
                reserved: BTreeMap::new(),
            };
            let bounds = subnet.bounds();
            format!("{}-{}", bounds.first, bounds.last)
        };
        assert_eq!(bounds("10.1.0.0/16", None), "10.1.0.1-10.1.255.254");
        assert_eq!(bounds("10.1.0.0/31", None), "10.1.0.0-10.1.0.1");
        assert_eq!(
            bounds("10.1.0.0/24", Some("10.1.0.128/25")),
            "10.1.0.128-10.1.0.254"
        );
        assert_eq!(
            bounds("fd00::/64", None),
            "fd00::1-fd00::ffff:ffff:ffff:ffff"
        );
    }

    #[test]
    fn routes() {
        let route: Route = "10.1.2.3/16,10.89.0.2,100".parse().unwrap();
        assert_eq!(route.destination.to_string(), "10.1.0.0/16");
        assert_eq!(route.metric, Some(100));
        for wrong in [
            "10.1.0.0/16",
            "10.1.0.0/16,::1",
            "10.1.0.0/16,10.0.0.1,x",
            "a,b",
        ] {
            assert!(wrong.parse::<Route>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_that_are_modes_are_refused() {
        for good in ["web", "a", "a.b-c_d", "my-net1"] {
            assert!(check_network_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "none", "host", "bridge", "podman", "a/b", "-a"] {
            assert!(check_network_name(bad).is_err(), "{bad}");
        }
        assert!(check_interface_name("eth0").is_ok());
        for bad in ["", "a b", "a/b", "sixteen-bytes-00", "all", "."] {
            assert!(check_interface_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_is_read_as_it_was_written() {
        let network = Network::default_bridge();
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), network);
        assert!(bridge_name(&network.id).len() <= MAX_INTERFACE_NAME);
    }
}
