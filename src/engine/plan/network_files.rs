//! What stands in a container's /etc/hosts, /etc/hostname and /etc/resolv.conf.
//!
//! | network | hosts: the container's own names | resolv.conf |
//! |---|---|---|
//! | its own, connected | at its addresses in the networks | 127.0.0.11, where the names of its networks are answered |
//! | its own, `none` | at 127.0.0.1 | nothing, but what `--dns…` say |
//! | the host's or a path's | at 127.0.0.1 | the host's, with what `--dns…` say in its place |
//!
//! While the container runs its networks change, and so do its lines in /etc/hosts. They are
//! exchanged one by one ([`exchange_lines`]): what somebody in the container wrote there stays.

use std::{fmt::Write as _, net::IpAddr};

use crate::{
    engine::plan,
    model::{
        container::{ContainerRecord, NetworkMode},
        dns::{DnsSpec, HostAddress},
        network::Endpoint,
    },
};

/// Where names are answered in the namespace of a connected container.
const RESPONDER: &str = "127.0.0.11";
/// Names of the host, Docker's and podman's.
const HOST_NAMES: &str = "host.docker.internal host.containers.internal";
const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// What a container holds in its networks, and where it reaches the host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections<'a> {
    pub endpoints: &'a [Endpoint],
    /// At most one of each family; empty if it does not reach the host.
    pub host: &'a [IpAddr],
}

/// What the host's own files say.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostTexts<'a> {
    /// /etc/resolv.conf
    pub resolv_conf: &'a [u8],
    /// What /etc/hosts begins with, if the user named a file, or the image's.
    pub hosts: Option<&'a [u8]>,
}

/// The three files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFiles {
    pub hosts: Vec<u8>,
    pub hostname: String,
    pub resolv_conf: Vec<u8>,
}

pub fn network_files(
    record: &ContainerRecord,
    shared_hostname: Option<&str>,
    connections: Connections<'_>,
    host: HostTexts<'_>,
) -> NetworkFiles {
    let hostname = plan::hostname(record, shared_hostname);
    let mut hosts = Vec::new();
    if let Some(base) = host.hosts {
        hosts.extend(base);
        if !base.is_empty() && !base.ends_with(b"\n") {
            hosts.push(b'\n');
        }
        if !names_localhost(base) {
            hosts.extend(b"127.0.0.1\tlocalhost\n::1\tlocalhost\n");
        }
    } else {
        hosts.extend(LOCAL_HOSTS.as_bytes());
    }
    for line in host_lines(record, shared_hostname, connections) {
        hosts.extend(line.as_bytes());
        hosts.push(b'\n');
    }
    NetworkFiles {
        hosts,
        hostname: format!("{hostname}\n"),
        resolv_conf: resolv_conf(&record.spec.network, &record.spec.dns, host.resolv_conf),
    }
}

/// Whether a hosts file says where `localhost` is, hosts(5).
fn names_localhost(hosts: &[u8]) -> bool {
    let hosts = String::from_utf8_lossy(hosts);
    let mut lines = hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    lines.any(|line| {
        line.split_whitespace()
            .skip(1)
            .any(|name| name == "localhost")
    })
}

/// The lines of /etc/hosts that are about this container and its surroundings.
pub fn host_lines(
    record: &ContainerRecord,
    shared_hostname: Option<&str>,
    connections: Connections<'_>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for extra in &record.spec.dns.hosts {
        let names = extra.names.join(" ");
        match extra.address {
            HostAddress::Ip(address) => lines.push(format!("{address}\t{names}")),
            HostAddress::HostGateway => {
                let at = |address: &IpAddr| format!("{address}\t{names}");
                lines.extend(reached_host(record, &connections).iter().map(at));
            }
        }
    }
    let at = |address: &IpAddr| format!("{address}\t{HOST_NAMES}");
    let named = record.spec.dns.hosts.iter().flat_map(|extra| &extra.names);
    if !named
        .into_iter()
        .any(|name| HOST_NAMES.contains(name.as_str()))
    {
        lines.extend(connections.host.iter().map(at));
    }
    let names = own_names(record, shared_hostname);
    let nets = connections.endpoints.iter().flat_map(|one| &one.addresses);
    let own: Vec<IpAddr> = nets.map(ipnet::IpNet::addr).collect();
    if own.is_empty() && !record.spec.network.is_connected() {
        lines.push(format!("127.0.0.1\t{names}"));
    }
    lines.extend(own.iter().map(|address| format!("{address}\t{names}")));
    lines
}

/// In the host's network namespace it is here.
fn reached_host<'a>(record: &ContainerRecord, connections: &Connections<'a>) -> &'a [IpAddr] {
    const HERE: &[IpAddr] = &[IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)];
    match record.spec.network {
        NetworkMode::Host => HERE,
        _ => connections.host,
    }
}

/// The host name, in front of it itself if it is a whole domain name, and the container's name.
fn own_names(record: &ContainerRecord, shared_hostname: Option<&str>) -> String {
    let hostname = plan::hostname(record, shared_hostname);
    let mut names = vec![hostname];
    names.extend(hostname.split_once('.').map(|(host, _)| host));
    // Nobody has chosen the name of a build's step.
    let is_step = record.spec.root.is_step();
    if record.spec.network.is_connected() && !is_step && !names.contains(&record.name.as_str()) {
        names.push(&record.name);
    }
    names.join(" ")
}

/// A hosts file in which the lines of `before` are those of `after`. Lines that are in both stay
/// where they are.
pub fn exchange_lines(text: &[u8], before: &[String], after: &[String]) -> Vec<u8> {
    let mut missing: Vec<&String> = after.iter().collect();
    let mut result = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let is_it = |one: &&String| one.as_bytes() == bare;
        if let Some(found) = missing.iter().position(is_it) {
            missing.remove(found);
        } else if before.iter().any(|one| is_it(&one)) {
            continue;
        }
        result.extend(line);
    }
    if !missing.is_empty() && !result.is_empty() && !result.ends_with(b"\n") {
        result.push(b'\n');
    }
    for line in missing {
        result.extend(line.as_bytes());
        result.push(b'\n');
    }
    result
}

fn resolv_conf(network: &NetworkMode, dns: &DnsSpec, host: &[u8]) -> Vec<u8> {
    let asks_for = !(dns.servers.is_empty() && dns.search.is_empty() && dns.options.is_empty());
    match network {
        // Without a network there is nobody to ask.
        NetworkMode::None if !asks_for => return Vec::new(),
        NetworkMode::None => {}
        // With a container's network that one's files are mounted.
        NetworkMode::Host | NetworkMode::Path(_) | NetworkMode::Container(_) if !asks_for => {
            return host.to_vec();
        }
        _ => {}
    }
    let host = match network {
        NetworkMode::None => String::new(),
        _ => String::from_utf8_lossy(host).into_owned(),
    };
    let servers: Vec<String> = if network.is_connected() {
        vec![RESPONDER.to_owned()]
    } else if dns.servers.is_empty() {
        words(&host, &["nameserver"]).map(str::to_owned).collect()
    } else {
        dns.servers.iter().map(IpAddr::to_string).collect()
    };
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    let search = match dns.search.as_slice() {
        [] => last_line(&host, &["search", "domain"]),
        [root] if root == "." => String::new(),
        domains => domains.join(" "),
    };
    if !search.is_empty() {
        let _ = writeln!(text, "search {search}");
    }
    let mut options: Vec<&str> = match dns.options.as_slice() {
        [] => words(&host, &["options"]).collect(),
        options => options.iter().map(String::as_str).collect(),
    };
    if network.is_connected() {
        if dns.options.is_empty() {
            options.retain(|option| !option.starts_with("ndots:"));
        }
        // Names of containers have no dots, and are not to be sought in the host's domains first.
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0");
        }
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text.into_bytes()
}

/// The words behind these, on all lines that begin with one of them.
fn words<'a>(text: &'a str, keywords: &'a [&str]) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(|line| line.split_once(char::is_whitespace))
        .filter(|(keyword, _)| keywords.contains(keyword))
        .flat_map(|(_, rest)| rest.split_whitespace())
}

/// The last such line counts, resolv.conf(5).
fn last_line(text: &str, keywords: &[&str]) -> String {
    let mut lines = text
        .lines()
        .filter_map(|line| line.split_once(char::is_whitespace));
    let last = lines.rfind(|(keyword, _)| keywords.contains(keyword));
    last.map_or_else(String::new, |(_, rest)| rest.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        ContainerSpec,
        network::{Mac, NetworkId},
    };

    fn record(network: NetworkMode, dns: DnsSpec) -> ContainerRecord {
        ContainerRecord {
            id: "ab".repeat(32).parse().unwrap(),
            name: "web".to_owned(),
            created: String::new(),
            spec: ContainerSpec {
                network,
                dns,
                ..ContainerSpec::default()
            },
            image_id: None,
            layers: Vec::new(),
            ids: None,
            path: String::new(),
            args: Vec::new(),
        }
    }

    fn endpoint(addresses: &[&str]) -> Endpoint {
        Endpoint {
            network: NetworkId::of_default(),
            network_name: "bridge".to_owned(),
            interface: "eth0".to_owned(),
            host_interface: None,
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
            gateways: Vec::new(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            names: Vec::new(),
            default_route: true,
            mtu: None,
            metric: None,
            link_local: Vec::new(),
        }
    }

    fn dns(servers: &[&str], search: &[&str], options: &[&str]) -> DnsSpec {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        DnsSpec {
            servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
            search: owned(search),
            options: owned(options),
            ..DnsSpec::default()
        }
    }

    const HOST: &[u8] = b"nameserver 127.0.0.53\noptions edns0 ndots:2\nsearch corp.example\n";

    fn resolver(network: NetworkMode, dns: &DnsSpec) -> String {
        String::from_utf8(resolv_conf(&network, dns, HOST)).unwrap()
    }

    #[test]
    fn a_connected_container_knows_itself_and_the_host() {
        let mut asked = dns(&[], &[], &[]);
        asked.hosts = ["db:10.0.0.1", "gw:host-gateway"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let mut record = record(NetworkMode::Bridge, asked);
        record.spec.hostname = Some("www.example.org".to_owned());
        let endpoints = [
            endpoint(&["10.88.0.2/16", "fd00::2/64"]),
            endpoint(&["10.89.0.2/24"]),
        ];
        let connections = Connections {
            endpoints: &endpoints,
            host: &["10.88.0.1".parse().unwrap()],
        };
        let files = network_files(&record, None, connections, HostTexts::default());
        let hosts = String::from_utf8(files.hosts).unwrap();
        assert_eq!(
            hosts.strip_prefix(LOCAL_HOSTS).unwrap(),
            "10.0.0.1\tdb\n\
             10.88.0.1\tgw\n\
             10.88.0.1\thost.docker.internal host.containers.internal\n\
             10.88.0.2\twww.example.org www web\n\
             fd00::2\twww.example.org www web\n\
             10.89.0.2\twww.example.org www web\n"
        );
        assert_eq!(files.hostname, "www.example.org\n");
        record.spec.root = crate::model::container::RootRequest::Layers {
            layers: Vec::new(),
            changes: "/".into(),
        };
        let files = network_files(&record, None, connections, HostTexts::default());
        let hosts = String::from_utf8(files.hosts).unwrap();
        assert!(
            hosts.contains("10.88.0.2\twww.example.org www\n"),
            "{hosts}"
        );
    }

    #[test]
    fn without_networks_it_is_at_loopback() {
        let record = record(NetworkMode::None, DnsSpec::default());
        let of = |hosts| {
            let texts = HostTexts {
                resolv_conf: HOST,
                hosts,
            };
            network_files(&record, None, Connections::default(), texts)
        };
        let files = of(None);
        assert!(files.hosts.ends_with(b"127.0.0.1\tabababababab\n"));
        assert!(files.resolv_conf.is_empty());
        let files = of(Some(b"10.0.0.9 other"));
        assert_eq!(
            String::from_utf8(files.hosts).unwrap(),
            "10.0.0.9 other\n127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tabababababab\n"
        );
        let files = of(Some(b"127.0.0.1 me localhost # here\n"));
        assert_eq!(
            String::from_utf8(files.hosts).unwrap(),
            "127.0.0.1 me localhost # here\n127.0.0.1\tabababababab\n"
        );
    }

    #[test]
    fn a_connected_container_asks_us() {
        let plain = resolver(NetworkMode::Bridge, &DnsSpec::default());
        assert_eq!(
            plain,
            "nameserver 127.0.0.11\nsearch corp.example\noptions edns0 ndots:0\n"
        );
        let asked = dns(&["192.0.2.1"], &["."], &["ndots:3", "rotate"]);
        assert_eq!(
            resolver(NetworkMode::Bridge, &asked),
            "nameserver 127.0.0.11\noptions ndots:3 rotate\n"
        );
    }

    #[test]
    fn in_the_hosts_namespace_it_asks_as_the_host_does() {
        let host = String::from_utf8(HOST.to_vec()).unwrap();
        assert_eq!(resolver(NetworkMode::Host, &DnsSpec::default()), host);
        assert_eq!(
            resolver(
                NetworkMode::Host,
                &dns(&["192.0.2.1", "::1"], &["a", "b"], &[])
            ),
            "nameserver 192.0.2.1\nnameserver ::1\nsearch a b\noptions edns0 ndots:2\n"
        );
        assert_eq!(
            resolver(NetworkMode::None, &dns(&["192.0.2.1"], &[], &[])),
            "nameserver 192.0.2.1\n"
        );
    }

    #[test]
    fn lines_are_exchanged_among_those_of_others() {
        let lines = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| (*text).to_owned()).collect()
        };
        let text = b"127.0.0.1\tlocalhost\n10.88.0.2\tweb\n10.89.0.2\tweb\n# mine";
        let before = lines(&["10.88.0.2\tweb", "10.89.0.2\tweb"]);
        let after = lines(&["10.89.0.2\tweb", "10.90.0.2\tweb"]);
        let changed = exchange_lines(text, &before, &after);
        assert_eq!(
            String::from_utf8(changed.clone()).unwrap(),
            "127.0.0.1\tlocalhost\n10.89.0.2\tweb\n# mine\n10.90.0.2\tweb\n"
        );
        assert_eq!(exchange_lines(&changed, &before, &after), changed);
    }
}
