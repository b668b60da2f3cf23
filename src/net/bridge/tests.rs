//! Bridges and containers' links in network namespaces of the tests' own.

use std::{
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Instant,
};

use super::*;
use crate::{
    net::lab::{Lab, call, endpoint, ip, network, serve, within},
    sys,
};

fn on_host<T: Send>(lab: &Lab, act: impl FnOnce(&mut Socket) -> Result<T> + Send) -> T {
    let done = within(&lab.host, || act(&mut Socket::route()?));
    done.unwrap_or_else(|error| panic!("{error:?}"))
}

fn socket(container: &OwnedFd) -> Socket {
    Socket::route_in(container.as_fd()).unwrap()
}

#[test]
fn a_bridge_that_many_make_at_once_is_one() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    let made: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| on_host(&lab, |socket| ensure(socket, &net))))
            .collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(made.iter().all(|one| one.index == made[0].index));
    let again = on_host(&lab, |socket| ensure(socket, &net));
    assert!(!again.made);
    let (link, addresses) = on_host(&lab, |socket| {
        let link = route::link_named(socket, "co-9")?.unwrap();
        Ok((link, route::addresses(socket)?))
    });
    assert_eq!(link.mac, Some([2, 0x42, 10, 9, 0, 1]));
    let own = addresses.iter().filter(|one| one.index == link.index);
    let own: Vec<_> = own.map(|one| one.net.to_string()).collect();
    assert!(own.contains(&"10.9.0.1/24".to_owned()), "{own:?}");
    assert!(own.contains(&"fd00:9::1/64".to_owned()), "{own:?}");

    // Somebody has broken it.
    let mut batch = Batch::new();
    let gateway = "10.9.0.1/24".parse().unwrap();
    batch.push("break", route::delete_address(link.index, gateway));
    batch.push("break", route::set_mtu(link.index, 1300));
    on_host(&lab, |socket| socket.send(batch));
    on_host(&lab, |socket| repair(socket, &net));
    let addresses = on_host(&lab, route::addresses);
    assert!(addresses.iter().any(|one| one.net == gateway));

    on_host(&lab, |socket| remove(socket, &net));
    on_host(&lab, |socket| remove(socket, &net));
    assert_eq!(
        on_host(&lab, |socket| route::link_named(socket, "co-9")),
        None
    );
}

#[test]
fn a_container_gets_what_its_endpoint_says() {
    let Some(lab) = Lab::new() else { return };
    let mut net = network(9);
    net.mtu = Some(1400);
    net.routes = vec!["10.77.0.0/16,10.9.0.7,50".parse().unwrap()];
    let mut asked = endpoint(&net, 2);
    asked.interface = "lan0".to_owned();
    asked.host_interface = Some("outer".to_owned());
    asked.mac = "02:11:22:33:44:55".parse().unwrap();
    asked.metric = Some(77);
    asked.link_local = vec![ip("169.254.7.7"), ip("fe80::77")];
    let container = lab.attach(&net, &asked).unwrap();
    let mut inside = socket(&container);
    let link = route::link_named(&mut inside, "lan0").unwrap().unwrap();
    assert_eq!(link.mac, Some([2, 0x11, 0x22, 0x33, 0x44, 0x55]));
    assert_eq!((link.mtu, link.up), (1400, true));
    let own: Vec<_> = route::addresses(&mut inside).unwrap();
    for address in [
        "10.9.0.2/24",
        "fd00:9::2/64",
        "169.254.7.7/16",
        "fe80::77/64",
    ] {
        assert!(
            own.iter().any(|one| one.net.to_string() == address),
            "{own:?}"
        );
    }
    let routes = route::routes(&mut inside).unwrap();
    let by = |gateway: &str, metric, length: u8| {
        let gateway: Option<IpAddr> = Some(ip(gateway));
        routes.iter().any(|one| {
            one.gateway == gateway
                && one.metric == Some(metric)
                && one.destination.prefix_len() == length
        })
    };
    assert!(
        by("10.9.0.1", 77, 0) && by("fd00:9::1", 77, 0),
        "{routes:?}"
    );
    assert!(by("10.9.0.7", 50, 16), "{routes:?}");
    let outer = on_host(&lab, |socket| route::link_named(socket, "outer"));
    assert_eq!(outer.unwrap().mtu, 1400);

    // The name is taken as long as the container has it.
    let mut other = endpoint(&net, 3);
    other.host_interface = Some("outer".to_owned());
    let error = lab.attach(&net, &other).unwrap_err();
    assert!(error.hint().unwrap().contains("outer"), "{error:?}");
    // But the next run of the same need not wait for the kernel to clear up.
    drop(inside);
    drop(container);
    lab.attach(&net, &other).unwrap();
}

#[test]
fn a_network_without_ipv6_has_none_and_an_internal_one_no_way_out() {
    let Some(lab) = Lab::new() else { return };
    let mut net = network(9);
    net.ipv6 = false;
    net.internal = true;
    net.subnets.pop();
    let container = lab.attach(&net, &endpoint(&net, 2)).unwrap();
    let mut inside = socket(&container);
    let eth0 = route::link_named(&mut inside, "eth0").unwrap().unwrap();
    let own: Vec<_> = route::addresses(&mut inside).unwrap();
    let own: Vec<_> = own.iter().filter(|one| one.index == eth0.index).collect();
    assert_eq!(own.len(), 1, "{own:?}");
    let routes = route::routes(&mut inside).unwrap();
    assert!(routes.iter().all(|one| one.gateway.is_none()), "{routes:?}");
    let bridge = on_host(&lab, |socket| {
        let bridge = route::link_named(socket, "co-9")?.unwrap();
        Ok((bridge.index, route::addresses(socket)?))
    });
    let own = bridge.1.iter().filter(|one| one.index == bridge.0);
    assert_eq!(own.count(), 1);
}

#[test]
fn a_second_network_comes_and_goes_while_the_container_runs() {
    let Some(lab) = Lab::new() else { return };
    let (first, second) = (network(9), network(10));
    let container = lab.attach(&first, &endpoint(&first, 2)).unwrap();
    let neighbour = lab.attach(&second, &endpoint(&second, 3)).unwrap();
    serve(&neighbour, 80);
    let mut more = endpoint(&second, 2);
    more.interface = "eth1".to_owned();
    more.default_route = false;
    let connect = |endpoint: &Endpoint| {
        within(&lab.host, || {
            attach(&mut Socket::route()?, &second, endpoint, container.as_fd())
        })
    };
    connect(&more).unwrap();
    assert_eq!(call(&container, "10.10.0.3:80"), "10.10.0.2");
    assert_eq!(call(&container, "[fd00:10::3]:80"), "fd00:10::2");
    // A second time the name is taken, and what is there stays.
    let error = connect(&more).unwrap_err();
    assert!(error.hint().unwrap().contains("eth1"), "{error:?}");
    assert_eq!(call(&container, "10.10.0.3:80"), "10.10.0.2");
    detach_live(&more, container.as_fd()).unwrap();
    detach_live(&more, container.as_fd()).unwrap();
    assert_eq!(call(&container, "10.10.0.3:80"), "-");
    connect(&more).unwrap();
    assert_eq!(call(&container, "10.10.0.3:80"), "10.10.0.2");
}

#[test]
fn an_address_that_cannot_be_set_leaves_no_link_behind() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    let mut wrong = endpoint(&net, 2);
    wrong.gateways = vec![ip("224.0.0.1")];
    let container = sys::netns::new().unwrap();
    let done = within(&lab.host, || {
        attach(&mut Socket::route()?, &net, &wrong, container.as_fd())
    });
    let error = done.unwrap_err();
    assert!(error.message().contains("route"), "{error:?}");
    assert_eq!(
        route::link_named(&mut socket(&container), "eth0").unwrap(),
        None
    );
}

#[test]
fn a_foreign_link_of_that_name_is_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let mut net = network(9);
    net.interface = "way".to_owned();
    let error = within(&lab.host, || ensure(&mut Socket::route()?, &net)).unwrap_err();
    assert!(error.message().contains("is no bridge"), "{error:?}");
}

#[test]
fn a_macvlan_is_on_the_parents_network() {
    let Some(lab) = Lab::new() else { return };
    let mut net = network(9);
    net.driver = Driver::Macvlan;
    net.subnets[0].net = "192.0.2.0/24".parse().unwrap();
    net.subnets[0].gateway = Some(ip("192.0.2.2"));
    net.subnets[1].net = "2001:db8::/64".parse().unwrap();
    net.subnets[1].gateway = None;
    serve(&lab.remote, 80);
    // None is named: that of the default route.
    let container = lab.attach(&net, &endpoint(&net, 7)).unwrap();
    assert_eq!(call(&container, "192.0.2.2:80"), "192.0.2.7");
    assert_eq!(call(&container, "[2001:db8::2]:80"), "2001:db8::7");
    net.parent = Some("nothing".to_owned());
    let error = lab.attach(&net, &endpoint(&net, 8)).unwrap_err();
    assert!(error.message().contains("nothing"), "{error:?}");
    net.driver = Driver::Ipvlan;
    net.parent = Some("way".to_owned());
    // This kernel may not have it; then the hint says what to load.
    if let Err(error) = lab.attach(&net, &endpoint(&net, 8)) {
        assert!(error.hint().is_some(), "{error:?}");
    }
}

/// What a program sends at once is not lost: an ARP request that is would cost it a second.
#[test]
fn the_link_works_when_it_is_attached() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    lab.attach(&net, &endpoint(&net, 100)).unwrap();
    serve(&lab.host, 82);
    let mut slowest = Duration::ZERO;
    for host in 2..30 {
        let container = lab.attach(&net, &endpoint(&net, host)).unwrap();
        let start = Instant::now();
        assert_eq!(call(&container, "10.9.0.1:82"), format!("10.9.0.{host}"));
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_millis(300), "{slowest:?}");
}
