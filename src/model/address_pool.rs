//! Which address a container gets, and which subnet a network: choices among what is free, as
//! functions of what is taken.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    Error, ErrorKind, Result,
    network::{Subnet, overlap, plus},
};

/// The next free address behind the one that was given out last (next fit): one that was freed just
/// now is not given to somebody else as long as there are others, so that nobody is taken for its
/// last holder.
///
/// # Errors
/// [`ErrorKind::Conflict`] if all are taken.
pub fn next_address(
    subnet: &Subnet,
    last: Option<IpAddr>,
    taken: &HashSet<IpAddr>,
) -> Result<IpAddr> {
    let bounds = subnet.bounds();
    let full = || {
        Error::new(
            ErrorKind::Conflict,
            format!("no available addresses on network {}", subnet.net),
        )
        .with_hint("remove containers from it, or make a network with a larger --subnet")
    };
    if bounds.first > bounds.last {
        return Err(full());
    }
    let begin = last.filter(|last| bounds.contains(last) && *last < bounds.last);
    let begin = begin.map_or(bounds.first, |last| plus(last, 1));
    let is_free = |address: &IpAddr| !taken.contains(address) && !is_kept(subnet, address);
    let mut address = begin;
    // Every try meets another address, and there are not more obstacles than this.
    for _ in 0..taken.len() + subnet.reserved.len() + 2 {
        if is_free(&address) {
            return Ok(address);
        }
        address = if address == bounds.last {
            bounds.first
        } else {
            plus(address, 1)
        };
        if address == begin {
            break;
        }
    }
    Err(full())
}

/// Whether an address of the subnet is never a container's.
fn is_kept(subnet: &Subnet, address: &IpAddr) -> bool {
    subnet.gateway.as_ref() == Some(address)
        || subnet.reserved.values().any(|reserved| reserved == address)
}

/// Whether a container may have the address that was asked for; outside of the subnet's range too.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`], [`ErrorKind::Conflict`] for the gateway's.
pub fn check_address(subnet: &Subnet, address: IpAddr) -> Result<()> {
    if !subnet.bounds_without_range().contains(&address) {
        return Err(Error::invalid(format!(
            "no configured subnet contains IP address {address}"
        ))
        .with_hint(format!("the subnet of the network is {}", subnet.net)));
    }
    if is_kept(subnet, &address) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("Address already in use: {address} is kept for the network itself"),
        ));
    }
    Ok(())
}

/// What the whole of a pool is, and how long the prefix of a network in it.
const POOLS: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::new(10, 89, 0, 0), 16),
    (Ipv4Addr::new(10, 90, 0, 0), 15),
    (Ipv4Addr::new(10, 92, 0, 0), 14),
    (Ipv4Addr::new(10, 96, 0, 0), 11),
    (Ipv4Addr::new(10, 128, 0, 0), 9),
];
const LENGTH: u8 = 24;

/// The first subnet of Podman's pools that has no address in common with one of `taken`: other
/// networks, and where the host's routes lead.
pub fn free_subnet4(taken: &[IpNet]) -> Result<Ipv4Net> {
    // A default route or one to half of everything says nothing of who lives there.
    let taken: Vec<Ipv4Net> = taken
        .iter()
        .filter_map(|net| match net {
            IpNet::V4(net) if net.prefix_len() > 1 => Some(*net),
            _ => None,
        })
        .collect();
    let nets = POOLS
        .iter()
        .filter_map(|(address, length)| Ipv4Net::new(*address, *length).ok())
        .filter_map(|pool| pool.subnets(LENGTH).ok())
        .flatten();
    let is_free = |net: &Ipv4Net| {
        let net = IpNet::V4(*net);
        !taken.iter().any(|other| overlap(&IpNet::V4(*other), &net))
    };
    nets.into_iter().find(is_free).ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            "could not find free subnet from subnet pools",
        )
        .with_hint("name one with --subnet, or remove networks: coracle network prune")
    })
}

/// A subnet of unique local addresses (RFC 4193, 3.2.2) with a random global ID.
///
/// `random` gives 40 random bits at a time.
pub fn free_subnet6(
    taken: &[IpNet],
    mut random: impl FnMut() -> Result<[u8; 5]>,
) -> Result<Ipv6Net> {
    for _ in 0..64 {
        let id = random()?;
        let prefix = [0xfd, id[0], id[1], id[2], id[3], id[4], 0, 0];
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&prefix);
        let net = Ipv6Net::new_assert(Ipv6Addr::from(octets), 64);
        let taken = taken
            .iter()
            .filter(|other| other.prefix_len() > 7)
            .any(|other| overlap(other, &IpNet::V6(net)));
        if !taken {
            return Ok(net);
        }
    }
    Err(
        Error::new(ErrorKind::Conflict, "could not find a free IPv6 subnet")
            .with_hint("name one with --subnet"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::network::AddressRange;

    fn subnet(net: &str, gateway: &str, range: Option<&str>) -> Subnet {
        Subnet {
            net: net.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            range: range.map(|range| AddressRange::parse(range).unwrap()),
            reserved: Default::default(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_go_round() {
        let subnet = subnet("10.1.0.0/29", "10.1.0.1", None);
        let mut taken = HashSet::new();
        let mut last = None;
        for expected in 2..=6 {
            let next = next_address(&subnet, last, &taken).unwrap();
            assert_eq!(next, IpAddr::from([10, 1, 0, expected]));
            taken.insert(next);
            last = Some(next);
        }
        let error = next_address(&subnet, last, &taken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        // One that was freed comes only when the others are used up.
        taken.remove(&ip("10.1.0.2"));
        taken.remove(&ip("10.1.0.5"));
        let next = next_address(&subnet, Some(ip("10.1.0.3")), &taken).unwrap();
        assert_eq!(next, ip("10.1.0.5"));
        assert_eq!(next_address(&subnet, last, &taken).unwrap(), ip("10.1.0.2"));
    }

    #[test]
    fn a_range_and_a_reserved_address_are_kept_to() {
        let mut subnet = subnet("10.1.0.0/24", "10.1.0.129", Some("10.1.0.128/30"));
        subnet.reserved.insert("router".into(), ip("10.1.0.130"));
        let mut taken = HashSet::new();
        assert_eq!(
            next_address(&subnet, None, &taken).unwrap(),
            ip("10.1.0.128")
        );
        taken.insert(ip("10.1.0.128"));
        assert_eq!(
            next_address(&subnet, None, &taken).unwrap(),
            ip("10.1.0.131")
        );
        taken.insert(ip("10.1.0.131"));
        assert!(next_address(&subnet, None, &taken).is_err());
        assert!(check_address(&subnet, ip("10.1.0.7")).is_ok());
        for wrong in [
            "10.1.0.129",
            "10.1.0.130",
            "10.1.0.0",
            "10.1.0.255",
            "10.2.0.1",
            "::1",
        ] {
            assert!(check_address(&subnet, ip(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn free_subnets_avoid_what_is_there() {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let free = |texts: &[&str]| free_subnet4(&nets(texts)).unwrap().to_string();
        assert_eq!(free(&[]), "10.89.0.0/24");
        assert_eq!(free(&["0.0.0.0/0", "::/0"]), "10.89.0.0/24");
        assert_eq!(free(&["10.89.0.0/24", "10.89.1.64/26"]), "10.89.2.0/24");
        assert_eq!(free(&["10.88.0.0/15"]), "10.90.0.0/24");
        assert!(free_subnet4(&nets(&["10.0.0.0/8"])).is_err());
        let mut ids = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]].into_iter();
        let taken = nets(&["fd01:203:405::/48", "fc00::/7"]);
        let net = free_subnet6(&taken, || Ok(ids.next().unwrap())).unwrap();
        assert_eq!(net.to_string(), "fd06:708:90a::/64");
    }

    proptest! {
        #[test]
        fn what_is_given_out_is_free_and_inside(
            length in 24_u8..=32,
            last in 0_u8..=255,
            taken in proptest::collection::hash_set(0_u8..=255, 0..80),
        ) {
            let net = Ipv4Net::new(Ipv4Addr::new(10, 1, 2, 0), length).unwrap();
            let subnet = Subnet::new(net.into(), Some(ip("10.1.2.1")));
            let taken: HashSet<IpAddr> =
                taken.into_iter().map(|byte| IpAddr::from([10, 1, 2, byte])).collect();
            let last = Some(IpAddr::from([10, 1, 2, last]));
            let free = net.hosts().map(IpAddr::from).filter(|address| {
                !taken.contains(address) && *address != ip("10.1.2.1")
            }).count();
            match next_address(&subnet, last, &taken) {
                Ok(address) => {
                    prop_assert!(IpNet::V4(net).contains(&address));
                    prop_assert!(!taken.contains(&address));
                    prop_assert!(address != ip("10.1.2.1"));
                }
                Err(_) => prop_assert_eq!(free, 0),
            }
        }
    }
}
