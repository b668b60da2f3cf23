//! Who is asked what we do not know.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    path::PathBuf,
    time::{Duration, Instant},
};

use resolv_conf::ScopedIp;

use super::responder::Options;
use crate::model::{dns::DnsSpec, network::Network};

/// Where other names are asked for.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The servers of a resolv.conf(5) of the host, as it is when a question comes.
    File(PathBuf),
    Servers(Vec<Server>),
}

/// A server that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: SocketAddr,
    /// It is reached from the container's network namespace, not from the host's: one of its own
    /// loopback, or a neighbour, whom an ordinary user's host does not reach.
    pub inside: bool,
}

/// The address at which we answer: asking it would be asking ourselves.
const OURSELVES: IpAddr = IpAddr::V4(super::sockets::ADDRESS);

impl Upstream {
    /// For a container in these networks: the servers that its user names, else those of its
    /// networks, else the host's. One that has no way out but internal networks reaches only servers
    /// in them.
    pub fn of(dns: &DnsSpec, networks: &[Network]) -> (Upstream, Options) {
        let of_networks = networks.iter().flat_map(|network| &network.dns_servers);
        let mut named: Vec<IpAddr> = dns.servers.clone();
        if named.is_empty() {
            named.extend(of_networks);
        }
        let subnets = || networks.iter().flat_map(|network| &network.subnets);
        let inside = |address: &IpAddr| {
            address.is_loopback() || subnets().any(|subnet| subnet.net.contains(address))
        };
        let server = |address: IpAddr| Server {
            address: (address, 53).into(),
            inside: inside(&address),
        };
        let others = named.into_iter().filter(|address| *address != OURSELVES);
        let mut servers: Vec<Server> = others.map(server).collect();
        let has_way_out = networks.is_empty() || networks.iter().any(|network| !network.internal);
        if !has_way_out {
            servers.retain(|server| server.inside);
        }
        let forward = has_way_out || !servers.is_empty();
        let upstream = match servers.is_empty() {
            true => Upstream::File(PathBuf::from(HOST_FILE)),
            false => Upstream::Servers(servers),
        };
        (upstream, Options { forward })
    }

    /// Whether there are servers that are reached from the container's namespace.
    pub fn asks_inside(&self) -> bool {
        match self {
            Upstream::File(_) => false,
            Upstream::Servers(servers) => servers.iter().any(|server| server.inside),
        }
    }
}

const HOST_FILE: &str = "/etc/resolv.conf";
/// No file names more of them than that (`MAXNS` is 3); users may.
const MOST_SERVERS: usize = 8;
/// How long a server that did not answer is asked after the others.
const DISTRUST: Duration = Duration::from_secs(30);

/// The servers of an [`Upstream`], in the order in which they are asked.
#[derive(Debug)]
pub struct Servers {
    upstream: Upstream,
    servers: Vec<Server>,
    seen: Option<Stamp>,
    silent: Vec<(Server, Instant)>,
}

/// By which a file is known to be unchanged.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Servers {
    pub fn new(upstream: Upstream) -> Self {
        let servers = match &upstream {
            Upstream::Servers(servers) => servers.clone(),
            Upstream::File(_) => Vec::new(),
        };
        Servers {
            upstream,
            servers,
            seen: None,
            silent: Vec::new(),
        }
    }

    /// Those that have answered lately first.
    pub fn in_order(&mut self, now: Instant) -> Vec<Server> {
        self.refresh();
        self.silent
            .retain(|(_, since)| now.duration_since(*since) < DISTRUST);
        let mut servers = self.servers.clone();
        servers.truncate(MOST_SERVERS);
        let silent = |server: &Server| self.silent.iter().any(|(other, _)| other == server);
        servers.sort_by_key(silent);
        servers
    }

    pub fn was_silent(&mut self, server: Server, now: Instant) {
        self.answered(server);
        self.silent.push((server, now));
    }

    pub fn answered(&mut self, server: Server) {
        self.silent.retain(|(other, _)| *other != server);
    }

    fn refresh(&mut self) {
        use std::os::unix::fs::MetadataExt;
        let Upstream::File(path) = &self.upstream else {
            return;
        };
        let stamp = std::fs::metadata(path).ok().map(|metadata| Stamp {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        });
        if stamp.is_some() && stamp == self.seen {
            return;
        }
        // While it is being replaced, those that were there are still the best that is known.
        if let Ok(text) = std::fs::read(path) {
            self.servers = of_file(&text);
            self.seen = stamp;
        }
    }
}

/// As the C library reads it: lines that are not understood count for nothing, and without any
/// server there is one on this host.
fn of_file(text: &[u8]) -> Vec<Server> {
    let (config, _) = resolv_conf::Config::parse_with_errors(text);
    let mut servers: Vec<SocketAddr> = config.nameservers.iter().filter_map(address_of).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    let outside = |address| Server {
        address,
        inside: false,
    };
    servers.into_iter().map(outside).collect()
}

/// `None` for one behind an interface that is not there.
fn address_of(server: &ScopedIp) -> Option<SocketAddr> {
    match server {
        ScopedIp::V6(address, Some(scope)) => {
            let index = scope.parse().ok().or_else(|| interface_index(scope))?;
            Some(SocketAddrV6::new(*address, 53, 0, index).into())
        }
        server => Some((IpAddr::from(server), 53).into()),
    }
}

fn interface_index(name: &str) -> Option<u32> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    );
    netdevice::name_to_index(socket.ok()?, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_the_c_library_reads_it() {
        let servers =
            of_file(b"nameserver 127.0.0.53\nnonsense\nnameserver ::1\noptions x edns0\n");
        let text: Vec<String> = servers.iter().map(|one| one.address.to_string()).collect();
        assert_eq!(text, ["127.0.0.53:53", "[::1]:53"]);
        assert_eq!(of_file(b"")[0].address.to_string(), "127.0.0.1:53");
    }

    #[test]
    fn a_changed_file_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        let mut servers = Servers::new(Upstream::File(path.clone()));
        let now = Instant::now();
        assert_eq!(servers.in_order(now)[0].address.to_string(), "192.0.2.1:53");
        std::fs::write(folder.path().join("new"), "nameserver 192.0.2.2\n").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(servers.in_order(now)[0].address.to_string(), "192.0.2.2:53");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(servers.in_order(now)[0].address.to_string(), "192.0.2.2:53");
    }

    #[test]
    fn a_silent_server_is_asked_last_for_a_while() {
        let [one, two] = [1, 2].map(|last| Server {
            address: ([192, 0, 2, last], 53).into(),
            inside: false,
        });
        let mut servers = Servers::new(Upstream::Servers(vec![one, two]));
        let now = Instant::now();
        servers.was_silent(one, now);
        assert_eq!(servers.in_order(now), [two, one]);
        assert_eq!(servers.in_order(now + DISTRUST), [one, two]);
        servers.was_silent(one, now);
        servers.answered(one);
        assert_eq!(servers.in_order(now), [one, two]);
    }

    #[test]
    fn who_is_asked_depends_on_flags_and_networks() {
        use crate::model::network::NetworkId;
        let servers = |dns: &[&str], networks: &[Network]| {
            let dns = DnsSpec {
                servers: dns.iter().map(|text| text.parse().unwrap()).collect(),
                ..DnsSpec::default()
            };
            let (upstream, options) = Upstream::of(&dns, networks);
            let named = match upstream {
                Upstream::File(path) => path.display().to_string(),
                Upstream::Servers(servers) => {
                    let text = |one: &Server| match one.inside {
                        true => format!("{} inside", one.address.ip()),
                        false => one.address.ip().to_string(),
                    };
                    servers.iter().map(text).collect::<Vec<_>>().join(", ")
                }
            };
            (named, options.forward)
        };
        let bridge = Network::default_bridge();
        let own = Network {
            dns_servers: vec!["192.0.2.9".parse().unwrap()],
            ..Network::new("own", NetworkId::from_random([1; 32]))
        };
        let internal = Network {
            internal: true,
            ..bridge.clone()
        };
        assert_eq!(servers(&[], &[]), (HOST_FILE.to_owned(), true));
        assert_eq!(
            servers(&[], std::slice::from_ref(&bridge)),
            (HOST_FILE.to_owned(), true)
        );
        assert_eq!(
            servers(&[], &[bridge.clone(), own]),
            ("192.0.2.9".to_owned(), true)
        );
        let named = ["192.0.2.1", "10.88.0.7", "127.0.0.1", "127.0.0.11"];
        let inside = "10.88.0.7 inside, 127.0.0.1 inside".to_owned();
        assert_eq!(
            servers(&named, &[bridge]),
            (format!("192.0.2.1, {inside}"), true)
        );
        assert_eq!(
            servers(&named, std::slice::from_ref(&internal)),
            (inside, true)
        );
        assert!(!servers(&[], &[internal]).1);
    }
}
