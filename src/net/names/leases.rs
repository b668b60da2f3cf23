//! The directory of a container's networks as their leases say it ([`crate::storage::network_leases`]).
//!
//! A member is found under its names, each also followed by its network (`web.backend`, as Docker
//! has it) or by `dns.podman` (podman's domain). If a name is known in several networks, the first
//! that knows it answers.
//!
//! What was read is used as long as the folders of the leases do not change: one fstat(2) a network
//! and question. A member whose process was killed changes nothing there, so everything is read
//! again when it is older than a second.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::directory::{Directory, Owner, Table};
use crate::{
    model::{
        ContainerId, Result,
        dns::{DnsSpec, HostAddress, Link},
        network::Network,
    },
    storage::{
        Store,
        network_leases::{Member, MemberView},
    },
};

const PODMAN_DOMAIN: &str = ".dns.podman";
/// How long somebody may be found who was killed.
const FRESH: Duration = Duration::from_secs(1);

/// The members of a container's networks, and the names that this container alone knows.
#[derive(Debug)]
pub struct LeaseDirectory {
    networks: Vec<View>,
    own: OwnNames,
    read: Instant,
}

/// Names that no other container knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNames {
    /// Names with fixed addresses: those of the host and of `--add-host`. Not everybody reads
    /// /etc/hosts, where they are too.
    pub fixed: BTreeMap<String, Vec<IpAddr>>,
    /// `--link`: another name for a member.
    pub links: BTreeMap<String, String>,
}

/// Docker's and podman's.
const HOST_NAMES: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

impl OwnNames {
    /// `host`: where the container reaches the host, if it does.
    pub fn of(dns: &DnsSpec, host: &[IpAddr]) -> Self {
        let mut fixed: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        let mut add = |name: &str, addresses: &[IpAddr]| {
            let known = fixed.entry(name.to_ascii_lowercase()).or_default();
            known.extend(addresses);
        };
        for extra in &dns.hosts {
            for name in &extra.names {
                match extra.address {
                    HostAddress::Ip(address) => add(name, &[address]),
                    HostAddress::HostGateway => add(name, host),
                }
            }
        }
        for name in HOST_NAMES.iter().filter(|_| !host.is_empty()) {
            let named = dns.hosts.iter().flat_map(|extra| &extra.names);
            if !named.into_iter().any(|other| other == name) {
                add(name, host);
            }
        }
        fixed.retain(|_, addresses| !addresses.is_empty());
        let link = |link: &Link| {
            let whole = link.container.parse::<ContainerId>();
            let target = whole.map_or_else(|_| link.container.clone(), |id| id.short().to_owned());
            (link.alias.to_ascii_lowercase(), target)
        };
        OwnNames {
            fixed,
            links: dns.links.iter().map(link).collect(),
        }
    }
}

#[derive(Debug)]
struct View {
    network: Network,
    members: MemberView<'static>,
    /// Of what was read last.
    table: Table,
}

impl LeaseDirectory {
    /// Of the networks of a container, in its order of preference. Those whose members are not to
    /// find each other by name are left out here. `store` is for the rest of the process's life.
    pub fn open(
        store: &'static Store,
        networks: impl IntoIterator<Item = Network>,
        own: OwnNames,
    ) -> Result<Self> {
        let view = |network: Network| {
            Ok(View {
                members: store.member_view(&network.id)?,
                table: Table::of(&network, &[]),
                network,
            })
        };
        let named = networks.into_iter().filter(|network| network.dns);
        Ok(LeaseDirectory {
            networks: named.map(view).collect::<Result<_>>()?,
            own,
            read: Instant::now(),
        })
    }

    /// If something cannot be read, what was known before still is.
    fn refresh(&mut self) {
        let old = self.read.elapsed() >= FRESH;
        if old {
            self.read = Instant::now();
        }
        for view in &mut self.networks {
            if old {
                view.members.forget();
            }
            if let Ok(Some(members)) = view.members.news() {
                view.table = Table::of(&view.network, members);
            }
        }
    }

    fn find(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        let mut views = self.networks.iter_mut();
        views.find_map(|view| view.table.addresses(name))
    }
}

impl Table {
    fn of(network: &Network, members: &[Member]) -> Table {
        let mut table = Table::default();
        for subnet in &network.subnets {
            table.add_subnet(subnet.net);
        }
        for member in members {
            let domain = network.name.as_str();
            let whole = format!("{}.{domain}", member.name);
            let names = &member.endpoint.names;
            let qualified = names.iter().map(|name| format!("{name}.{domain}"));
            // The first is what its addresses are called.
            let all: Vec<String> = std::iter::once(whole)
                .chain([member.name.clone()])
                .chain(names.iter().cloned())
                .chain(qualified)
                .collect();
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let nets = member.endpoint.addresses.iter();
            let addresses: Vec<IpAddr> = nets.map(ipnet::IpNet::addr).collect();
            table.add(&all, &addresses);
        }
        table
    }
}

impl Directory for LeaseDirectory {
    fn addresses(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        if let Some(fixed) = self.own.fixed.get(name) {
            return Some(fixed.clone());
        }
        self.refresh();
        if let Some(target) = self.own.links.get(name).cloned() {
            return self.find(&target.to_ascii_lowercase());
        }
        let found = self.find(name);
        found.or_else(|| self.find(name.strip_suffix(PODMAN_DOMAIN)?))
    }

    fn owner(&mut self, address: IpAddr) -> Owner {
        self.refresh();
        let mut found = Owner::Elsewhere;
        for view in &mut self.networks {
            match view.table.owner(address) {
                Owner::Elsewhere => {}
                Owner::Nobody => found = Owner::Nobody,
                container => return container,
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            attachment::Attachment,
            network::{NetworkId, Subnet},
        },
        storage::{locks::ObjectLock, network_leases::LeaseRequest},
    };

    struct Bench {
        _folder: tempfile::TempDir,
        root: std::path::PathBuf,
        store: &'static Store,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            let store = Store::open(&root, &folder.path().join("run")).unwrap();
            Bench {
                _folder: folder,
                root,
                store: Box::leak(Box::new(store)),
            }
        }

        fn network(&self, name: &str, subnet: &str) -> Network {
            let mut network = Network::new(name, NetworkId::from_random([name.len() as u8; 32]));
            network
                .subnets
                .push(Subnet::new(subnet.parse().unwrap(), None));
            let changing = self.store.change_networks_alone().unwrap();
            changing.put(&network).unwrap();
            network
        }

        /// It runs as long as the lock is kept.
        fn join(&self, name: &str, network: &Network, address: &str) -> (ContainerId, ObjectLock) {
            let id = ContainerId::from_random([name.as_bytes()[0]; 32]);
            let folder = self.root.join(format!("containers/{id}"));
            std::fs::create_dir_all(&folder).unwrap();
            let folder = std::fs::File::open(folder).unwrap();
            let lock = ObjectLock::try_hold(&folder, "lock").unwrap().unwrap();
            let request = LeaseRequest {
                container: &id,
                name,
                attachment: &Attachment {
                    ip4: Some(address.parse().unwrap()),
                    ..Attachment::to(&network.name)
                },
                interface: "eth0",
                names: &[name.to_owned(), "any".to_owned(), id.short().to_owned()],
                default_route: true,
                live: false,
            };
            self.store.lease_addresses(network, &request).unwrap();
            (id, lock)
        }
    }

    fn texts(addresses: Option<Vec<IpAddr>>) -> Vec<String> {
        let addresses = addresses.into_iter().flatten();
        addresses.map(|address| address.to_string()).collect()
    }

    #[test]
    fn members_are_found_where_they_are_now() {
        let bench = Bench::new();
        let (one, other) = (
            bench.network("one", "10.1.0.0/24"),
            bench.network("other", "10.2.0.0/24"),
        );
        let own = OwnNames {
            fixed: [("host".to_owned(), vec![[10, 1, 0, 1].into()])].into(),
            links: [("linked".to_owned(), "web".to_owned())].into(),
        };
        let networks = [one.clone(), other.clone()];
        let mut names = LeaseDirectory::open(bench.store, networks, own).unwrap();
        assert!(names.addresses("web").is_none());
        let (id, lock) = bench.join("web", &one, "10.1.0.5");
        let _db = bench.join("db", &other, "10.2.0.5");
        for name in [
            "web",
            "web.one",
            "any",
            "linked",
            id.short(),
            "web.dns.podman",
        ] {
            assert_eq!(texts(names.addresses(name)), ["10.1.0.5"], "{name}");
        }
        assert_eq!(texts(names.addresses("any.other")), ["10.2.0.5"]);
        assert_eq!(texts(names.addresses("host")), ["10.1.0.1"]);
        let owner = Owner::Container("web.one".to_owned());
        assert_eq!(names.owner([10, 1, 0, 5].into()), owner);
        assert_eq!(names.owner([10, 2, 0, 9].into()), Owner::Nobody);
        assert_eq!(names.owner([10, 3, 0, 9].into()), Owner::Elsewhere);
        // It comes back elsewhere, and is found there at once.
        drop(lock);
        let (_, lock) = bench.join("web", &one, "10.1.0.77");
        assert_eq!(texts(names.addresses("web")), ["10.1.0.77"]);
        // It is killed: its lease stays, but nobody is there.
        drop(lock);
        std::thread::sleep(FRESH);
        assert!(names.addresses("web").is_none());
    }

    #[test]
    fn what_a_container_alone_knows() {
        let dns = DnsSpec {
            hosts: ["Db:10.0.0.1", "db=fd00::1", "gw:host-gateway"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            links: vec![format!("{}:l", "ab".repeat(32)).parse().unwrap()],
            ..DnsSpec::default()
        };
        let own = OwnNames::of(&dns, &[[10, 88, 0, 1].into()]);
        assert_eq!(texts(own.fixed.get("db").cloned()), ["10.0.0.1", "fd00::1"]);
        for name in ["gw", "host.docker.internal", "host.containers.internal"] {
            assert_eq!(texts(own.fixed.get(name).cloned()), ["10.88.0.1"]);
        }
        assert_eq!(own.links["l"], "ab".repeat(6));
        let alone = OwnNames::of(&dns, &[]);
        assert_eq!(alone.fixed.keys().collect::<Vec<_>>(), ["db"]);
    }
}
