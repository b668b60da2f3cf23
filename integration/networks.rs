//! Networks as they are made, shown, changed and removed, and what containers ask of them: all that
//! needs no packet to be sent.

use serde_json::Value;

use crate::case::{Case, Outcome};

cases! {
    made_and_removed: root ordinary single;
    made_as_asked_for: root ordinary;
    shown_in_a_list: root ordinary;
    what_cannot_be_made: root ordinary single;
    drivers_of_the_hosts_own_network: root ordinary;
    pruned: root ordinary;
    updated: root ordinary;
    asked_for_by_a_container: root ordinary;
    connected_while_stopped: root ordinary;
    what_contradicts_itself: root ordinary;
    names_for_dns: root ordinary;
    at_once: root ordinary;
}

fn json(case: &Case, line: &str) -> Value {
    case.engine(line).ok().json()[0].take()
}

fn made_and_removed(case: &Case) {
    let id = case.engine("network create web").ok();
    let id = id.first().to_owned();
    assert_eq!(id.len(), 64);
    case.engine("network exists web").ok();
    case.engine(&format!("network exists {}", &id[..12])).ok();
    case.engine("network exists nothing").exits(1);
    let web = json(case, "network inspect web");
    assert_eq!(web["Id"], Value::from(id.as_str()));
    assert_eq!(web["Driver"], "bridge");
    assert_eq!(web["EnableIPv6"], false);
    assert_eq!(web["IPAM"]["Driver"], "default");
    assert!(web["Containers"].as_object().unwrap().is_empty());
    case.engine("network create web")
        .fails(1, "network with name web already exists");
    case.engine("network create --ignore web").ok().prints(&id);
    case.engine("network rm web").ok().prints("web");
    case.engine("network rm web")
        .fails(1, "network web not found");
    case.engine("network rm -f web").ok().prints("");
    for name in ["bridge", "host", "none"] {
        case.engine(&format!("network rm {name}"))
            .fails(1, "is a pre-defined network and cannot be removed");
    }
    // The name is free again.
    case.engine("network create web").ok();
    case.engine(&format!("inspect --type network {}", "web"))
        .ok();
    assert_eq!(case.engine("inspect web -f {{.Name}}").ok().first(), "web");
}

fn made_as_asked_for(case: &Case) {
    case.words(&[
        "network",
        "create",
        "--subnet=10.211.0.0/24",
        "--ip-range=10.211.0.128/25",
        "--gateway=10.211.0.9",
        "--aux-address=router=10.211.0.200",
        "--subnet=fd00:211::/64",
        "--internal",
        "--label=team=a",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "web",
    ])
    .ok();
    let web = json(case, "network inspect web");
    let config = &web["IPAM"]["Config"];
    assert_eq!(config[0]["Subnet"], "10.211.0.0/24");
    assert_eq!(config[0]["IPRange"], "10.211.0.128/25");
    assert_eq!(config[0]["Gateway"], "10.211.0.9");
    assert_eq!(config[0]["AuxiliaryAddresses"]["router"], "10.211.0.200");
    assert_eq!(config[1]["Subnet"], "fd00:211::/64");
    assert_eq!(config[1]["Gateway"], "fd00:211::1");
    assert_eq!(
        (&web["Internal"], &web["EnableIPv6"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
    assert_eq!(web["Labels"]["team"], "a");
    assert_eq!(web["Options"]["com.docker.network.driver.mtu"], "1400");
    // Each that is not told where to be is somewhere else.
    let subnet = |name: &str| {
        case.engine(&format!("network create {name}")).ok();
        let network = json(case, &format!("network inspect {name}"));
        network["IPAM"]["Config"][0]["Subnet"].clone()
    };
    assert_ne!(subnet("one"), subnet("two"));
    case.engine("network create --ipv6 six").ok();
    let six = json(case, "network inspect six");
    let net = six["IPAM"]["Config"][1]["Subnet"].as_str().unwrap();
    assert!(net.starts_with("fd") && net.ends_with("/64"), "{net}");
    case.engine("network create --ipv6 --ipv4=false only").ok();
    assert_eq!(json(case, "network inspect only")["EnableIPv4"], false);
}

fn shown_in_a_list(case: &Case) {
    case.engine("network create --label a=1 web").ok();
    case.engine("network create --internal data").ok();
    let list = |words: &str| -> Vec<String> {
        let shown = case.engine(&format!("network ls {words}")).ok().stdout;
        shown.lines().map(str::to_owned).collect()
    };
    let lines = list("");
    assert!(
        lines[0].starts_with("NETWORK ID     NAME      DRIVER    SCOPE"),
        "{lines:?}"
    );
    assert_eq!(
        list("--format {{.Name}}"),
        ["bridge", "data", "host", "none", "web"]
    );
    assert_eq!(
        list("--format {{.Name}}:{{.Internal}} -f name=data"),
        ["data:true"]
    );
    for (filter, names) in [
        ("label=a", vec!["web"]),
        ("label=a=2", vec![]),
        ("type=custom", vec!["data", "web"]),
        ("type=builtin", vec!["bridge", "host", "none"]),
        ("driver=null", vec!["none"]),
        ("dangling=true", vec!["data", "web"]),
        ("scope=swarm", vec![]),
    ] {
        assert_eq!(
            list(&format!("--format {{{{.Name}}}} -f {filter}")),
            names,
            "{filter}"
        );
    }
    let ids = list("-q --filter name=web");
    assert_eq!(ids[0].len(), 12);
    assert_eq!(list("-q --no-trunc --filter name=web")[0].len(), 64);
    assert_eq!(list(&format!("-q -f id={}", ids[0])), ids);
    assert_eq!(list("-n").len(), 5);
    case.engine("network ls -f colour=red")
        .fails(1, "invalid filter 'colour'");
}

fn what_cannot_be_made(case: &Case) {
    for (words, says) in [
        (
            "--subnet 10.88.3.0/24 web",
            "overlaps with other one on this address space",
        ),
        ("--subnet 10.211.0.1/24 web", "it should be 10.211.0.0/24"),
        ("--subnet 10.211.0.0/31 web", "no room"),
        ("--subnet x web", "invalid subnet"),
        ("--gateway 10.1.1.1 web", "must have a corresponding subnet"),
        (
            "--subnet 10.211.0.0/24 --gateway 10.212.0.1 web",
            "no matching subnet for gateway",
        ),
        (
            "--subnet 10.211.0.0/24 --ip-range 10.212.0.0/25 web",
            "no matching subnet for range",
        ),
        ("-d overlay web", "could not find plugin overlay"),
        ("-o colour=red web", "unsupported bridge network option"),
        ("-o mtu=9 web", "invalid mtu"),
        ("--config-only web", "no swarms"),
        ("--ipam-driver dhcp web", "not supported"),
        ("host", "predefined host network"),
        ("bridge", "predefined bridge network"),
        ("a/b", "invalid network name"),
    ] {
        case.engine(&format!("network create {words}"))
            .fails(1, says);
    }
    // Nothing of all this is left.
    assert_eq!(case.engine("network ls -q").ok().stdout.lines().count(), 3);
}

fn drivers_of_the_hosts_own_network(case: &Case) {
    let line = "network create -d macvlan -o parent=lo --subnet 10.211.0.0/24 lan";
    if !case.is_root() {
        case.engine(line).fails(1, "macvlan networks are for root");
        return;
    }
    case.engine(line).ok();
    let lan = json(case, "network inspect lan");
    assert_eq!(
        (&lan["Driver"], &lan["Options"]["parent"]),
        (&"macvlan".into(), &"lo".into())
    );
    case.engine("network create -d ipvlan -o ipvlan_mode=l3 --subnet 10.212.0.0/24 far")
        .ok();
    case.engine("network create -d macvlan nothing")
        .fails(1, "would need DHCP");
}

fn pruned(case: &Case) {
    case.load_busybox();
    case.engine("network create used").ok();
    case.engine("network create --label keep=1 kept").ok();
    case.engine("network create gone").ok();
    case.engine("create --name c1 --network used localhost/busybox")
        .ok();
    let asked = case.with_input(&["network", "prune"], "n\n");
    asked.fails(1, "network prune has been cancelled");
    case.engine("network prune -f --filter label!=keep")
        .ok()
        .prints("Deleted Networks:\ngone");
    case.engine("network prune -f --filter label=keep=1")
        .ok()
        .prints("Deleted Networks:\nkept");
    case.engine("network prune -f").ok().prints("");
    case.engine("rm c1").ok();
    case.engine("network prune -f")
        .ok()
        .prints("Deleted Networks:\nused");
}

fn updated(case: &Case) {
    case.engine("network create --dns 9.9.9.9 web").ok();
    case.engine("network update --dns-add 1.1.1.1 --dns-drop 9.9.9.9 web")
        .ok()
        .prints("web");
    case.engine("network update --dns-drop 9.9.9.9 web")
        .fails(1, "does not have it");
    case.engine("network update web")
        .fails(125, "nothing to update");
    case.engine("network update --dns-add x web")
        .fails(1, "invalid DNS server");
    case.engine("network update --dns-add 1.1.1.1 bridge")
        .fails(1, "pre-defined");
    case.engine("network reload")
        .fails(1, "requires at least 1 argument");
    case.engine("network reload --all").ok().prints("");
}

/// What `inspect` says of a container that was made and not started.
fn asked_for_by_a_container(case: &Case) {
    case.load_busybox();
    case.engine("network create --subnet 10.211.0.0/24 web")
        .ok();
    case.words(&[
        "create",
        "--name=c1",
        "--network=web:alias=w,ip=10.211.0.7,mac=02:00:00:00:00:07",
        "--network=name=bridge,gw-priority=5",
        "-p=8080:80",
        "-p=127.0.0.1:9000-9001:90-91/udp",
        "-p=[::1]::53",
        "-P",
        "--expose=7000-7001",
        "--dns=9.9.9.9",
        "--dns-search=example.org",
        "--dns-opt=ndots:1",
        "--add-host=db:10.0.0.1",
        "--add-host=up=host-gateway",
        "localhost/busybox",
    ])
    .ok();
    let container = json(case, "inspect c1");
    let host = &container["HostConfig"];
    assert_eq!(host["NetworkMode"], "web");
    let bindings = &host["PortBindings"];
    assert_eq!(bindings["80/tcp"][0]["HostPort"], "8080");
    assert_eq!(bindings["91/udp"][0]["HostIp"], "127.0.0.1");
    assert_eq!(bindings["91/udp"][0]["HostPort"], "9001");
    assert_eq!(bindings["53/tcp"][0]["HostIp"], "::1");
    assert_eq!(host["PublishAllPorts"], true);
    assert_eq!(host["Dns"], Value::from(vec!["9.9.9.9"]));
    assert_eq!(host["DnsSearch"], Value::from(vec!["example.org"]));
    assert_eq!(host["DnsOptions"], Value::from(vec!["ndots:1"]));
    assert_eq!(
        host["ExtraHosts"],
        Value::from(vec!["db:10.0.0.1", "up:host-gateway"])
    );
    let exposed = container["Config"]["ExposedPorts"].as_object().unwrap();
    let exposed: Vec<&str> = exposed.keys().map(String::as_str).collect();
    assert_eq!(
        exposed,
        [
            "53/tcp", "7000/tcp", "7001/tcp", "80/tcp", "90/udp", "91/udp"
        ]
    );
    let settings = &container["NetworkSettings"];
    // It does not run: it holds nothing.
    assert!(settings["Ports"].as_object().unwrap().is_empty());
    assert_eq!(settings["IPAddress"], "");
    let web = &settings["Networks"]["web"];
    assert_eq!(web["IPAMConfig"]["IPv4Address"], "10.211.0.7");
    assert_eq!(web["Aliases"], Value::from(vec!["w"]));
    assert_eq!(web["MacAddress"], "02:00:00:00:00:07");
    assert_eq!(web["IPAddress"], "");
    assert_eq!(settings["Networks"]["bridge"]["GwPriority"], 5);
    case.engine("port c1").ok().prints("");
    let listed = |filter: &str| {
        let line = format!("ps -a --format {{{{.Names}}}}:{{{{.Networks}}}} -f {filter}");
        case.engine(&line).ok().stdout.trim_end().to_owned()
    };
    assert_eq!(listed("network=web"), "c1:web,bridge");
    assert_eq!(listed("network=bridge"), "c1:web,bridge");
    assert_eq!(listed("network=none"), "");
    assert_eq!(listed("expose=7000-7002"), "c1:web,bridge");
    assert_eq!(listed("publish=80"), "");
}

fn connected_while_stopped(case: &Case) {
    case.load_busybox();
    for name in ["one", "two"] {
        case.engine(&format!("network create {name}")).ok();
    }
    case.engine("create --name c1 --network one localhost/busybox")
        .ok();
    case.engine("network connect --alias w two c1")
        .ok()
        .prints("");
    case.engine("network connect two c1")
        .fails(1, "endpoint with name c1 already exists in network two");
    let networks = |case: &Case| -> Vec<String> {
        let container = json(case, "inspect c1");
        let networks = container["NetworkSettings"]["Networks"]
            .as_object()
            .unwrap();
        networks.keys().cloned().collect()
    };
    assert_eq!(networks(case), ["one", "two"]);
    case.engine("network disconnect one c1").ok().prints("");
    assert_eq!(networks(case), ["two"]);
    case.engine("network disconnect one c1")
        .fails(1, "is not connected to network one");
    case.engine("network connect nothing c1")
        .fails(1, "network nothing not found");
    case.engine("network connect one nobody")
        .fails(1, "no such container");
    case.engine("network disconnect -f one nobody").ok();
    case.engine("create --name h1 --network host localhost/busybox")
        .ok();
    case.engine("network connect one h1")
        .fails(1, "host network");
    case.engine("create --name n1 --network none localhost/busybox")
        .ok();
    case.engine("network connect one n1")
        .fails(1, "private (none) mode");
    let events =
        case.engine("events --since 1h --until 0s --filter type=network --format {{.Action}}");
    let actions = events.ok().stdout;
    assert_eq!(
        actions.lines().collect::<Vec<_>>(),
        ["create", "create", "connect", "disconnect"]
    );
    // A network that only stopped containers name can go; they do not start then.
    case.engine("network rm two").ok();
    case.engine("start c1").fails(1, "two");
}

fn what_contradicts_itself(case: &Case) {
    case.load_busybox();
    case.engine("create --name c1 --network none localhost/busybox")
        .ok();
    for (flags, says) in [
        ("--network nothing", "network nothing not found"),
        ("--network none --network host", "cannot attach both"),
        (
            "--network none --ip 10.88.0.7",
            "static ip and the network mode",
        ),
        (
            "--network host --mac-address 02:00:00:00:00:01",
            "mac-address and the network mode",
        ),
        ("--network bridge --ip x", "invalid IPv4 address"),
        (
            "--network bridge:ip=10.88.0.7 --ip 10.88.0.8",
            "--ip and per-network IPv4 address",
        ),
        (
            "--network bridge --mac-address 01:00:00:00:00:01",
            "invalid MAC address",
        ),
        ("--network bridge:colour=red", "invalid field key colour"),
        (
            "--network container:c1 -p 80:80",
            "port publishing and the container type network mode",
        ),
        (
            "--network container:c1 --expose 80",
            "port exposing and the container type network mode",
        ),
        (
            "--network container:c1 --dns 9.9.9.9",
            "dns and the network mode",
        ),
        (
            "--network container:c1 --add-host a:10.0.0.1",
            "custom host-to-IP mapping",
        ),
        (
            "--network host --link c1",
            "host type networking can't be used with links",
        ),
        ("--network none -p 80:", "no port specified"),
        ("--network none -p 99999:80", "invalid hostPort: 99999"),
        ("--network none -p 80/icmp", "invalid proto: icmp"),
        (
            "--network none --expose 80:80",
            "invalid port format for --expose",
        ),
        (
            "--network none --dns x",
            "IP address is not correctly formatted: x",
        ),
        ("--network none --add-host x", "bad format for add-host"),
        ("--network none --link nobody", "no such container: nobody"),
        ("--network none --dns-search a_b!", "is not a valid domain"),
    ] {
        let line = format!("create {flags} localhost/busybox");
        let is_missing = says.starts_with("no such") || says.ends_with("not found");
        let code = if is_missing { 1 } else { 125 };
        case.engine(&line).fails(code, says);
        let line = format!("run --rm {flags} localhost/busybox true");
        case.engine(&line).fails(125, says);
    }
    assert_eq!(case.engine("ps -aq").ok().stdout.lines().count(), 1);
}

fn names_for_dns(case: &Case) {
    case.load_busybox();
    let outcome = case.shell(
        "--add-host=db:10.0.0.1 --add-host=a=fd00::1",
        "cat /etc/hosts",
    );
    outcome.ok().contains("10.0.0.1\tdb").contains("fd00::1\ta");
    case.shell("-p 8080:80 -P --expose 90", "echo ok")
        .ok()
        .prints("ok");
}

/// Of commands that make a network of one name at once one does; all others make other ones.
fn at_once(case: &Case) {
    let started: Vec<_> = (0..8)
        .map(|_| case.start(&["network", "create", "web"]))
        .chain((0..8).map(|number| case.start(&["network", "create", &format!("net{number}")])))
        .collect();
    let ended: Vec<Outcome> = started
        .into_iter()
        .map(|child| crate::case::collect("network create".to_owned(), child))
        .collect();
    assert_eq!(ended[..8].iter().filter(|one| one.code == 0).count(), 1);
    assert!(ended[8..].iter().all(|one| one.code == 0), "{ended:?}");
    let shown = case
        .engine("network ls -q --filter type=custom")
        .ok()
        .stdout;
    let ids: Vec<&str> = shown.lines().collect();
    let line = format!(
        "network inspect {} -f {{{{(index(.IPAM.Config)0).Subnet}}}}",
        ids.join(" ")
    );
    let subnets = case.engine(&line).ok().stdout;
    let subnets: std::collections::BTreeSet<&str> = subnets.lines().collect();
    assert_eq!(subnets.len(), 9);
}
