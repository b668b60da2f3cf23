//! Networks in the store: definitions, and who holds which addresses.

use std::{collections::HashSet, fs, net::IpAddr, path::Path, sync::Arc};

use coracle::{
    model::{
        ContainerId, ErrorKind,
        attachment::Attachment,
        network::{Endpoint, Network, NetworkId, Subnet},
        publish::parse_publish,
    },
    storage::{
        Store,
        locks::ObjectLock,
        network_leases::{LeaseRequest, RouterHolder},
        published_ports::Published,
    },
};

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        Bench { folder, store }
    }

    /// A container that runs as long as its lock is kept.
    fn container(&self, number: u32) -> (ContainerId, ObjectLock) {
        let id = id(number);
        let folder = self.folder.path().join(format!("root/containers/{id}"));
        fs::create_dir_all(&folder).unwrap();
        let folder = fs::File::open(folder).unwrap();
        let lock = ObjectLock::try_hold(&folder, "lock").unwrap().unwrap();
        (id, lock)
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

    fn lease(
        &self,
        network: &Network,
        id: &ContainerId,
        attachment: &Attachment,
    ) -> coracle::model::Result<Endpoint> {
        lease(&self.store, network, id, attachment)
    }

    fn folder_of(&self, network: &Network) -> std::path::PathBuf {
        let place = format!("run/networks/{}", network.id);
        self.folder.path().join(place)
    }
}

fn open(folder: &Path) -> Store {
    Store::open(&folder.join("root"), &folder.join("run")).unwrap()
}

fn id(number: u32) -> ContainerId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_ne_bytes());
    ContainerId::from_random(bytes)
}

fn lease(
    store: &Store,
    network: &Network,
    id: &ContainerId,
    attachment: &Attachment,
) -> coracle::model::Result<Endpoint> {
    let request = LeaseRequest {
        container: id,
        name: "web",
        attachment,
        interface: "eth0",
        names: &["web".to_owned()],
        default_route: true,
        live: false,
    };
    store.lease_addresses(network, &request)
}

fn address(endpoint: &Endpoint) -> IpAddr {
    endpoint.addresses[0].addr()
}

#[test]
fn definitions_are_found_by_name_and_id() {
    let bench = Bench::new();
    assert_eq!(bench.store.networks().unwrap(), [Network::default_bridge()]);
    let web = bench.network("web", "10.1.0.0/24");
    let names = |store: &Store| -> Vec<String> {
        let networks = store.networks().unwrap();
        networks.into_iter().map(|network| network.name).collect()
    };
    assert_eq!(names(&bench.store), ["bridge", "web"]);
    for typed in ["web", web.id.as_str(), web.id.short()] {
        assert_eq!(bench.store.resolve_network(typed).unwrap(), web, "{typed}");
    }
    for typed in ["bridge", "podman"] {
        assert!(bench.store.resolve_network(typed).unwrap().is_default());
    }
    for typed in ["nothing", "../lock", "", "ffffffffffffff"] {
        let error = bench.store.resolve_network(typed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchNetwork, "{typed}");
    }
    // A torn file is no network, and hides no other one.
    fs::write(bench.folder.path().join("root/networks/torn"), "{").unwrap();
    assert_eq!(names(&bench.store), ["bridge", "web"]);
}

#[test]
fn a_lease_lasts_as_long_as_its_container_runs() {
    let bench = Bench::new();
    let network = bench.network("web", "10.1.0.0/29");
    let (one, lock) = bench.container(1);
    let wanted = Attachment::to("web");
    let endpoint = bench.lease(&network, &one, &wanted).unwrap();
    assert_eq!(endpoint.addresses[0].to_string(), "10.1.0.1/29");
    assert_eq!(endpoint.mac.to_string(), "02:42:0a:01:00:01");
    let members = bench.store.network_members(&network.id).unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].endpoint, endpoint);

    // A network that somebody is in stays.
    let error = bench
        .store
        .change_networks_alone()
        .unwrap()
        .remove(&network, || ())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("active endpoints"), "{error}");

    // Nobody gives it back: it is void with the lock.
    drop(lock);
    assert!(bench.store.network_members(&network.id).unwrap().is_empty());
    let (_, _lock) = bench.container(2);
    let asked = Attachment {
        ip4: Some([10, 1, 0, 1].into()),
        ..Attachment::to("web")
    };
    assert_eq!(
        bench.lease(&network, &id(2), &asked).unwrap().addresses,
        endpoint.addresses
    );
    bench.store.release_lease(&network.id, &id(2)).unwrap();
    bench
        .store
        .change_networks_alone()
        .unwrap()
        .remove(&network, || ())
        .unwrap();
    assert!(!bench.folder_of(&network).exists());
    let error = bench.lease(&network, &id(2), &wanted).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchNetwork);
    assert!(!bench.folder_of(&network).exists());
}

#[test]
fn what_is_taken_or_not_the_networks_is_refused() {
    let bench = Bench::new();
    let network = bench.network("web", "10.1.0.0/29");
    let (one, _one) = bench.container(1);
    let (two, _two) = bench.container(2);
    let asked = Attachment {
        ip4: Some([10, 1, 0, 5].into()),
        ..Attachment::to("web")
    };
    bench.lease(&network, &one, &asked).unwrap();
    let error = bench.lease(&network, &two, &asked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("container web"), "{error}");
    let elsewhere = Attachment {
        ip4: Some([10, 2, 0, 5].into()),
        ..Attachment::to("web")
    };
    let error = bench.lease(&network, &two, &elsewhere).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let other_family = Attachment {
        ip6: Some("fd00::5".parse().unwrap()),
        ..Attachment::to("web")
    };
    let error = bench.lease(&network, &two, &other_family).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn an_address_is_not_given_out_at_once_again() {
    let bench = Bench::new();
    let network = bench.network("web", "10.1.0.0/24");
    let wanted = Attachment::to("web");
    let mut seen = HashSet::new();
    for number in 0..254 {
        let (id, lock) = bench.container(number);
        let endpoint = bench.lease(&network, &id, &wanted).unwrap();
        assert!(seen.insert(address(&endpoint)), "{endpoint:?}");
        if number % 2 == 0 {
            bench.store.release_endpoint(&endpoint, &id).unwrap();
        }
        // The others are left behind.
        drop(lock);
    }
    let (id, _lock) = bench.container(1000);
    let endpoint = bench.lease(&network, &id, &wanted).unwrap();
    assert_eq!(endpoint.addresses[0].to_string(), "10.1.0.1/24");
    bench.store.sweep_leases().unwrap();
    let left = fs::read_dir(bench.folder_of(&network).join("members")).unwrap();
    assert_eq!(left.count(), 1);
}

#[test]
fn leftovers_do_not_fill_a_network() {
    let bench = Bench::new();
    let network = bench.network("web", "10.1.0.0/28");
    for number in 0..100 {
        let (id, lock) = bench.container(number);
        bench.lease(&network, &id, &Attachment::to("web")).unwrap();
        drop(lock);
    }
    let left = fs::read_dir(bench.folder_of(&network).join("members")).unwrap();
    assert!(left.count() < 14);
}

#[test]
fn two_hundred_at_once_get_two_hundred_addresses() {
    let bench = Arc::new(Bench::new());
    let network = bench.network("web", "10.1.0.0/24");
    let start = Arc::new(std::sync::Barrier::new(20));
    let threads: Vec<_> = (0..20)
        .map(|thread| {
            let (bench, network, start) = (bench.clone(), network.clone(), start.clone());
            std::thread::spawn(move || {
                // As a process of its own has it.
                let store = open(bench.folder.path());
                let wanted = Attachment::to("web");
                start.wait();
                let mut held = Vec::new();
                for number in 0..10 {
                    let (id, lock) = bench.container(thread * 100 + number);
                    held.push((
                        address(&lease(&store, &network, &id, &wanted).unwrap()),
                        lock,
                    ));
                }
                held
            })
        })
        .collect();
    let held: Vec<_> = threads
        .into_iter()
        .flat_map(|one| one.join().unwrap())
        .collect();
    let addresses: HashSet<IpAddr> = held.iter().map(|(address, _)| *address).collect();
    assert_eq!(addresses.len(), 200);
    assert_eq!(bench.store.network_members(&network.id).unwrap().len(), 200);
}

#[test]
fn a_network_is_never_removed_under_who_joins_it() {
    let bench = Arc::new(Bench::new());
    for round in 0..50 {
        let network = bench.network("web", "10.1.0.0/24");
        let joiner = {
            let (bench, network) = (bench.clone(), network.clone());
            std::thread::spawn(move || {
                let (id, lock) = bench.container(round);
                let leased = bench.lease(&network, &id, &Attachment::to("web"));
                (leased.is_ok(), lock)
            })
        };
        let removed = bench
            .store
            .change_networks_alone()
            .unwrap()
            .remove(&network, || ())
            .is_ok();
        let (joined, lock) = joiner.join().unwrap();
        assert_ne!(removed, joined);
        drop(lock);
        if joined {
            bench
                .store
                .change_networks_alone()
                .unwrap()
                .remove(&network, || ())
                .unwrap();
        }
    }
}

#[test]
fn a_view_of_the_members_is_never_old() {
    let bench = Bench::new();
    let network = bench.network("web", "10.1.0.0/24");
    let mut view = bench.store.member_view(&network.id).unwrap();
    assert!(view.members().unwrap().is_empty());
    for round in 0..50 {
        let (id, _lock) = bench.container(round);
        let endpoint = bench.lease(&network, &id, &Attachment::to("web")).unwrap();
        assert_eq!(view.members().unwrap()[0].endpoint, endpoint);
        let router = RouterHolder {
            pid: 1,
            fd: 7,
            inode: u64::from(round),
        };
        let leases = bench.store.lock_leases(&network.id).unwrap();
        leases.note_router(&endpoint, &id, router).unwrap();
        assert_eq!(leases.routers().unwrap(), [router]);
        drop(leases);
        assert_eq!(view.members().unwrap()[0].router, Some(router));
        bench.store.release_endpoint(&endpoint, &id).unwrap();
        assert!(view.members().unwrap().is_empty());
    }
}

#[test]
fn the_holder_of_a_port_is_found() {
    let bench = Bench::new();
    let (one, lock) = bench.container(1);
    let published = Published {
        ports: parse_publish("127.0.0.1:8080:80").unwrap(),
        addresses: vec!["10.1.0.2".parse().unwrap()],
    };
    bench.store.put_ports(&one, &published).unwrap();
    assert_eq!(bench.store.ports(&one).unwrap(), published);
    let holder = |text: &str, besides| {
        let wanted = parse_publish(text).unwrap().remove(0);
        bench.store.port_holder(&wanted, besides).unwrap()
    };
    assert_eq!(holder("8080:1", None), Some(one.clone()));
    assert_eq!(holder("8080:1", Some(&one)), None);
    assert_eq!(holder("127.0.0.2:8080:1", None), None);
    assert_eq!(holder("8080:1/udp", None), None);
    assert_eq!(bench.store.void_ports(None, 9).unwrap(), []);
    drop(lock);
    assert_eq!(holder("8080:1", None), None);
    // They are known until somebody has taken them back.
    bench.store.sweep_leases().unwrap();
    assert_eq!(bench.store.ports(&one).unwrap(), published);
    assert_eq!(
        bench.store.void_ports(None, 9).unwrap(),
        std::slice::from_ref(&one)
    );
    assert_eq!(bench.store.void_ports(Some(&one), 9).unwrap(), []);
    bench.store.release_ports(&one).unwrap();
    assert_eq!(bench.store.ports(&one).unwrap(), Published::default());
    assert_eq!(bench.store.void_ports(None, 9).unwrap(), []);
}

#[test]
fn all_void_ports_are_looked_at_in_turns() {
    let bench = Bench::new();
    for number in 1..=9 {
        let (container, _) = bench.container(number);
        let published = Published::default();
        bench.store.put_ports(&container, &published).unwrap();
    }
    let mut seen = HashSet::new();
    for number in 1..=9 {
        let void = bench.store.void_ports(Some(&id(number)), 2).unwrap();
        assert_eq!(void.len(), 2);
        seen.extend(void);
    }
    assert_eq!(seen.len(), 9);
}
