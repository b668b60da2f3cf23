//! Who is called what on a container's networks.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

/// Names and addresses of a container's networks. Asked once a query, so that it may look whether
/// what it knows is still true.
pub trait Directory: Send {
    /// The addresses of everybody with this name, which is in lower case and without a last dot.
    /// `None` if nobody is called so.
    fn addresses(&mut self, name: &str) -> Option<Vec<IpAddr>>;

    /// Whose address this is.
    fn owner(&mut self, address: IpAddr) -> Owner;
}

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// That of the container with this name.
    Container(String),
    /// An address of one of our networks that nobody has.
    Nobody,
    /// An address that is not ours.
    Elsewhere,
}

/// A directory in memory.
#[derive(Clone, Debug, Default)]
pub struct Table {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    owners: BTreeMap<IpAddr, String>,
    subnets: Vec<IpNet>,
}

impl Table {
    /// Its addresses are of our networks.
    pub fn add_subnet(&mut self, subnet: IpNet) {
        self.subnets.push(subnet);
    }

    /// The first name is what its addresses are called.
    pub fn add(&mut self, names: &[&str], addresses: &[IpAddr]) {
        for name in names {
            let known = self.addresses.entry(name.to_ascii_lowercase()).or_default();
            for address in addresses {
                if !known.contains(address) {
                    known.push(*address);
                }
            }
        }
        let Some(first) = names.first() else { return };
        for address in addresses {
            let first = || (*first).to_owned();
            self.owners.entry(*address).or_insert_with(first);
        }
    }
}

impl Directory for Table {
    fn addresses(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        self.addresses.get(name).cloned()
    }

    fn owner(&mut self, address: IpAddr) -> Owner {
        if let Some(name) = self.owners.get(&address) {
            return Owner::Container(name.clone());
        }
        match self.subnets.iter().any(|subnet| subnet.contains(&address)) {
            true => Owner::Nobody,
            false => Owner::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_an_owner_is_ours_or_of_others() {
        let mut table = Table::default();
        table.add_subnet("10.88.0.0/16".parse().unwrap());
        table.add_subnet("fd00:88::/64".parse().unwrap());
        table.add(&["Web", "www"], &["10.88.0.2".parse().unwrap()]);
        let mut owner = |address: &str| table.owner(address.parse().unwrap());
        assert_eq!(owner("10.88.0.2"), Owner::Container("Web".to_owned()));
        assert_eq!(owner("10.88.255.3"), Owner::Nobody);
        assert_eq!(owner("10.89.0.3"), Owner::Elsewhere);
        assert_eq!(owner("fd00:88::7"), Owner::Nobody);
        assert_eq!(owner("fd00:88:0:1::7"), Owner::Elsewhere);
        assert!(table.addresses("web").is_some());
    }
}
