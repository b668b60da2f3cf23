//! Root's firewall in network namespaces of the tests' own: what it lets through, and that it is what
//! the head of `rules` says.

use std::{net::UdpSocket, os::fd::OwnedFd, time::Duration};

use super::*;
use crate::{
    model::Error,
    net::lab::{Lab, call, call_udp, endpoint, network, ports, serve, within},
};

/// Uses the firewall's socket of the host, where its settings are.
fn on_host<T: Send>(lab: &Lab, act: impl FnOnce(&mut Socket) -> Result<T> + Send) -> T {
    within(&lab.host, || act(&mut Socket::netfilter()?))
        .unwrap_or_else(|error: Error| panic!("{error:?}"))
}

fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    endpoint.addresses.iter().map(IpNet::addr).collect()
}

/// A container that serves on port 80 and publishes `published`.
fn container(lab: &Lab, network: &Network, host: u8, published: &[&str]) -> OwnedFd {
    let endpoint = endpoint(network, host);
    let namespace = lab.attach(network, &endpoint).unwrap();
    on_host(lab, |socket| {
        ensure(socket, network)?;
        attach(socket, network, &endpoint, &ports(published))
    });
    serve(&namespace, 80);
    namespace
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    let published = [
        "8080:80",
        "8080:80/udp",
        "192.0.2.1:8081:80",
        "[2001:db8::1]:8082:80",
    ];
    let web = container(&lab, &net, 2, &published);
    let neighbour = container(&lab, &net, 3, &[]);
    let stranger = container(&lab, &network(10), 2, &[]);

    // From another machine, with its own address.
    assert_eq!(call(&lab.remote, "192.0.2.1:8080"), "192.0.2.2");
    assert_eq!(call(&lab.remote, "[2001:db8::1]:8080"), "2001:db8::2");
    assert_eq!(call_udp(&lab.remote, "192.0.2.1:8080"), "192.0.2.2");
    assert_eq!(call_udp(&lab.remote, "[2001:db8::1]:8080"), "2001:db8::2");
    assert_eq!(call(&lab.remote, "192.0.2.1:8081"), "192.0.2.2");
    assert_eq!(call(&lab.remote, "[2001:db8::1]:8081"), "-");
    assert_eq!(call(&lab.remote, "[2001:db8::1]:8082"), "2001:db8::2");
    // From this host, by an address that is not of the loopback.
    assert_eq!(call(&lab.host, "192.0.2.1:8080"), "192.0.2.1");
    assert_eq!(call(&lab.host, "[2001:db8::1]:8080"), "2001:db8::1");
    assert_eq!(call_udp(&lab.host, "192.0.2.1:8080"), "192.0.2.1");
    assert_eq!(call(&lab.host, "127.0.0.1:8080"), "-");
    // By itself, a neighbour, and a container of another network.
    for (who, from) in [
        ("itself", &web),
        ("neighbour", &neighbour),
        ("stranger", &stranger),
    ] {
        assert_eq!(call(from, "192.0.2.1:8080"), "10.9.0.1", "{who}");
        assert_eq!(call_udp(from, "192.0.2.1:8080"), "10.9.0.1", "{who}");
        assert_eq!(call(from, "[2001:db8::1]:8080"), "fd00:9::1", "{who}");
    }
    let endpoint = endpoint(&net, 2);
    on_host(&lab, |socket| {
        detach(socket, &net, &endpoint, &ports(&published))
    });
    assert_eq!(call(&lab.remote, "192.0.2.1:8080"), "-");
}

#[test]
fn networks_are_apart_and_have_a_way_out() {
    let Some(lab) = Lab::new() else { return };
    let (one, mut internal, mut open) = (network(9), network(10), network(11));
    internal.internal = true;
    open.isolate = false;
    open.icc = false;
    let first = container(&lab, &one, 2, &[]);
    let second = container(&lab, &one, 3, &[]);
    let inner = container(&lab, &internal, 2, &["8080:80"]);
    let inner2 = container(&lab, &internal, 3, &[]);
    let outer = container(&lab, &open, 2, &[]);
    let outer2 = container(&lab, &open, 3, &[]);
    serve(&lab.remote, 81);
    serve(&lab.host, 82);

    // Out, with the host's address.
    assert_eq!(call(&first, "192.0.2.2:81"), "192.0.2.1");
    assert_eq!(call_udp(&first, "192.0.2.2:81"), "192.0.2.1");
    assert_eq!(call(&first, "[2001:db8::2]:81"), "2001:db8::1");
    assert_eq!(call(&inner, "192.0.2.2:81"), "-");
    // To the host itself, and from it.
    assert_eq!(call(&first, "10.9.0.1:82"), "10.9.0.2");
    assert_eq!(call(&lab.host, "10.9.0.2:80"), "10.9.0.1");
    // Within a network.
    assert_eq!(call(&first, "10.9.0.3:80"), "10.9.0.2");
    assert_eq!(call(&second, "[fd00:9::2]:80"), "fd00:9::3");
    assert_eq!(call(&inner, "10.10.0.3:80"), "10.10.0.2");
    assert_eq!(call(&inner2, "[fd00:10::2]:80"), "fd00:10::3");
    assert_eq!(call(&outer, "10.11.0.3:80"), "-");
    assert_eq!(call(&outer2, "[fd00:11::2]:80"), "-");
    // Between networks, and from the neighbourhood.
    assert_eq!(call(&first, "10.10.0.2:80"), "-");
    assert_eq!(call(&inner, "10.9.0.2:80"), "-");
    assert_eq!(call(&outer, "10.9.0.2:80"), "-");
    assert_eq!(call(&inner, "10.11.0.2:80"), "-");
    assert_eq!(call(&first, "10.11.0.2:80"), "10.11.0.1");
    assert_eq!(call(&lab.remote, "10.9.0.2:80"), "-");
    assert_eq!(call(&lab.remote, "192.0.2.1:8080"), "-");
}

/// A client of UDP that keeps its port finds the next container behind the same port of the host.
#[test]
fn a_flow_does_not_stay_with_a_container_that_is_gone() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    let published = ["8080:80/udp"];
    let first = container(&lab, &net, 2, &published);
    let client = within(&lab.remote, || {
        let client = UdpSocket::bind("192.0.2.2:4000").unwrap();
        let patience = Some(Duration::from_millis(300));
        client.set_read_timeout(patience).unwrap();
        client.connect("192.0.2.1:8080").unwrap();
        client
    });
    let answered = || {
        client.send(b"?").ok();
        client.recv(&mut [0; 64]).is_ok()
    };
    assert!(answered());
    let gone = endpoint(&net, 2);
    on_host(&lab, |socket| {
        detach(socket, &net, &gone, &ports(&published))
    });
    drop(first);
    let _second = container(&lab, &net, 3, &published);
    assert!(answered());
}

#[test]
fn what_a_killed_process_published_is_replaced_or_swept() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    let (dead, alive) = (endpoint(&net, 2), endpoint(&net, 3));
    let (held, free) = (
        ports(&["8080:80", "9000-9003:9000-9003"]),
        ports(&["8080:80"]),
    );
    on_host(&lab, |socket| {
        ensure(socket, &net)?;
        attach(socket, &net, &dead, &held)?;
        attach(socket, &net, &dead, &held)?;
        attach(socket, &net, &alive, &free)
    });
    let published = || {
        let mut all = on_host(&lab, |socket| TABLE.elements(socket, "ports4"));
        all.sort();
        all.iter()
            .map(|one| one.value.clone().unwrap()[3])
            .collect::<Vec<_>>()
    };
    assert_eq!(published(), [3, 2, 2, 2, 2]);
    on_host(&lab, |socket| sweep(socket, &addresses(&dead), &held));
    assert_eq!(published(), [3]);
    on_host(&lab, |socket| detach(socket, &net, &dead, &held));
    assert_eq!(published(), [3]);

    on_host(&lab, |socket| forget(socket, &net));
    assert!(on_host(&lab, |socket| TABLE.elements(socket, "bridges")).is_empty());
    on_host(&lab, remove_unused);
    assert!(!on_host(&lab, |socket| TABLE.exists(socket)));
    // Where nothing is nothing is swept, forgotten or removed.
    on_host(&lab, |socket| sweep(socket, &addresses(&dead), &held));
    on_host(&lab, |socket| forget(socket, &net));
    on_host(&lab, remove_unused);
    // A table in which a network is stays.
    on_host(&lab, |socket| ensure(socket, &net));
    on_host(&lab, remove_unused);
    assert!(on_host(&lab, |socket| TABLE.exists(socket)));
}

/// The table as nft(8) reads it, where it is installed.
#[test]
fn the_table_reads_as_it_was_meant() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    on_host(&lab, |socket| {
        // Twice, as two processes would at once.
        socket.send(rules::table())?;
        ensure(socket, &net)?;
        attach(
            socket,
            &net,
            &endpoint(&net, 2),
            &ports(&["8080:80", "192.0.2.1:53:53/udp"]),
        )
    });
    let text = Lab::program(&lab.host, "nft list ruleset");
    if !text.contains("chain forward") {
        assert!(!text.contains("table inet coracle"), "{text}");
        return;
    }
    Lab::program(&lab.host, "nft flush chain inet coracle forward");
    on_host(&lab, |socket| repair(socket, &net));
    assert_eq!(Lab::program(&lab.host, "nft list ruleset"), text);
    // Its head has the rules as they are meant.
    let head = include_str!("rules.rs").split("```").nth(1).unwrap();
    let rules = head
        .lines()
        .filter_map(|line| line.strip_prefix("//!     "));
    for rule in rules.filter(|rule| !rule.starts_with('(')) {
        let rule = rule.split('#').next().unwrap().trim();
        assert!(text.contains(rule), "{rule}\n{text}");
    }
    for element in [
        "{ tcp . 8080 : 10.9.0.2 . 80 }",
        "{ 192.0.2.1 . udp . 53 : 10.9.0.2 . 53 }",
        "{ tcp . 8080 : fd00:9::2 . 80 }",
        "{ \"co-9\" . 10.9.0.0/24 }",
        "{ \"co-9\" }",
    ] {
        assert!(text.contains(element), "{element}\n{text}");
    }
}

#[test]
fn many_containers_begin_and_end_at_once() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    let one = |host: u8| {
        let endpoint = endpoint(&net, host);
        let namespace = lab.attach(&net, &endpoint).unwrap();
        let port = 8000 + u16::from(host);
        let published = ports(&[&format!("{port}:80"), &format!("{port}:80/udp")]);
        on_host(&lab, |socket| {
            ensure(socket, &net)?;
            attach(socket, &net, &endpoint, &published)
        });
        serve(&namespace, 80);
        assert_eq!(call(&lab.remote, &format!("192.0.2.1:{port}")), "192.0.2.2");
        on_host(&lab, |socket| detach(socket, &net, &endpoint, &published));
    };
    std::thread::scope(|scope| {
        for host in 2..34 {
            scope.spawn(move || one(host));
        }
    });
    for map in PORT_MAPS {
        assert_eq!(on_host(&lab, |socket| TABLE.elements(socket, map)), []);
    }
    let rules = Lab::program(&lab.host, "nft list chain inet coracle publish");
    assert!(rules.matches("ports4_at").count() <= 1, "{rules}");
}

/// Docker's rules as iptables-nft makes them, by nft(8) where it is installed.
#[test]
fn a_docker_that_drops_is_found() {
    let Some(lab) = Lab::new() else { return };
    for words in [
        "nft add table ip filter",
        "nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }",
        "nft add chain ip filter DOCKER-USER",
    ] {
        if !Lab::program(&lab.host, words).is_empty() {
            return;
        }
    }
    on_host(&lab, |socket| ensure(socket, &network(9)));
    assert_eq!(on_host(&lab, obstacles), [Obstacle::Docker]);
}
