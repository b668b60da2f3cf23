//! Containers that speak with each other, with the host and with the world outside of it.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    path::PathBuf,
    time::Duration,
};

use crate::{
    case::{Case, Outcome, shared},
    world::{HOST, HOST_6, OUTSIDE, World},
};

cases! {
    out_to_the_world: root ordinary;
    what_is_not_there: root ordinary;
    ping: root ordinary;
    each_other: root ordinary;
    names_of_others: root ordinary;
    published: root ordinary;
    published_datagrams: root ordinary;
    networks_are_apart: root ordinary;
    internal: root ordinary;
    several_networks: root ordinary;
    connected_while_running: root ordinary;
    told_as_events: root ordinary;
    started_again: root ordinary;
    version_6: root ordinary;
    ports_in_use: root ordinary;
    the_hosts_loopback_is_out_of_reach: root ordinary;
    nothing_is_left: root ordinary;
    killed_processes_of_ours: root ordinary;
    killed_supervisors: root ordinary;
    confined: root ordinary single;
    addresses_of_others: root ordinary;
    reload_opens_nothing: root ordinary;
    alone_in_a_network: root ordinary;
    alone_as_asked: root ordinary;
    hosts_to_begin_with: root ordinary;
    run_again_by_its_policy: root ordinary;
    shown_by_info_and_doctor: root ordinary;
    obstacles_are_found: root;
    nothing_is_left_of_a_reset: root;
    direct_access: root;
    on_a_link_of_the_host: root;
    without_subordinate_ids: single;
}

/// A world with an image in the case's store; commands use networks as users' commands do.
pub fn begin(case: &Case) -> Option<World> {
    let world = World::enter(case)?;
    case.set("CORACLE_NETWORK", "bridge");
    case.load_busybox();
    Some(world)
}

/// An image with bash and perl, which speak UDP.
pub fn load_debian(case: &Case) {
    let archive = shared().join("images/debian.tar");
    case.words(&["load", "-q", "-i", archive.to_str().unwrap()])
        .ok();
}

/// A container that runs until it is removed.
pub fn start(case: &Case, name: &str, flags: &str) {
    let line = format!("run -d --name {name} {flags} localhost/busybox sleep 1000");
    case.engine(&line).ok();
}

/// A web server that says who asked: `http://…/cgi-bin/who`.
const WEB: &str = "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/www/cgi-bin/who; \
                   chmod +x /www/cgi-bin/who; echo hello >/www/index.html; exec httpd -f -p 80 -h /www";

pub fn start_web(case: &Case, name: &str, flags: &str) {
    let mut words = vec!["run", "-d", "--name", name];
    words.extend(flags.split_whitespace());
    words.extend(["localhost/busybox", "sh", "-c", WEB]);
    case.words(&words).ok();
    case.eventually("the web server listens", || {
        inside(case, name, &page("127.0.0.1", "/")).stdout == "hello\n"
    });
}

/// Prints a page of a web server. (wget of a static busybox needs the C library's name service.)
pub fn page(host: &str, path: &str) -> String {
    format!(
        "A={host}; case $A in *[a-z]*) A=$(nslookup $A | sed -n 's/^Address: //p' | head -n 1);; esac; \
         printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 3 $A 80 | tail -n 1"
    )
}

pub fn inside(case: &Case, name: &str, script: &str) -> Outcome {
    case.words(&["exec", name, "sh", "-c", script])
}

pub fn run(case: &Case, flags: &str, script: &str) -> Outcome {
    let mut words = vec!["run", "--rm"];
    words.extend(flags.split_whitespace());
    words.extend(["localhost/busybox", "sh", "-c", script]);
    case.words(&words)
}

pub fn address_of(case: &Case, name: &str) -> String {
    let script = "ip -4 -o addr show eth0 | awk '{ split($4, a, \"/\"); print a[1] }'";
    inside(case, name, script).ok().stdout.trim().to_owned()
}

/// What a web server answers to a client on this thread's host.
pub fn get(address: &str, path: &str) -> std::io::Result<String> {
    let address = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").or(text.split_once("\n\n"));
    Ok(plain(body.unwrap_or(("", "")).1))
}

/// Without the form that the server gives addresses of IPv4.
fn plain(text: &str) -> String {
    let text = text.trim().trim_start_matches("[::ffff:");
    text.trim_end_matches(']').to_owned()
}

pub fn out_to_the_world(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("192.0.2.1:7000");
    world.serve_udp("192.0.2.1:7001");
    // The world sees the host's address.
    let seen = run(case, "", "echo hello | nc -w 5 192.0.2.1 7000")
        .ok()
        .stdout;
    assert_eq!(seen, format!("{HOST}\nhello\n"));
    load_debian(case);
    let client = "use IO::Socket::INET; \
                  $s = IO::Socket::INET->new(PeerAddr => '192.0.2.1:7001', Proto => 'udp'); \
                  $s->send(\"hello\\n\"); $s->recv($b, 1500); print $b";
    let seen = case.words(&["run", "--rm", "localhost/debian", "perl", "-e", client]);
    assert_eq!(seen.stdout, format!("{HOST} hello\n"), "{seen:?}");
    // Busybox's knows only raw sockets.
    run(case, "--cap-add NET_RAW", "ping -c 1 -W 5 192.0.2.1").ok();
    // A megabyte comes back as it was sent.
    let script = "dd if=/dev/urandom of=/tmp/sent bs=1024 count=1024 2>/dev/null; \
                  nc -w 10 192.0.2.1 7000 </tmp/sent | tail -n +2 >/tmp/back; cmp /tmp/sent /tmp/back";
    run(case, "", script).ok();
}

/// Without a right of its own, whoever it is inside: by the sockets that icmp(7) calls ping sockets.
fn ping(case: &Case) {
    const CLIENT: &str = r#"
        socket(my $socket, 2, 2, 1) or die "socket: $!\n";
        connect($socket, pack("SnC4x8", 2, 0, 192, 0, 2, 1)) or die "connect: $!\n";
        syswrite($socket, pack("CCnnn", 8, 0, 0, 0, 1)) or die "send: $!\n";
        alarm(10);
        sysread($socket, my $answer, 1500) or die "receive: $!\n";
        print "type ", unpack("C", $answer), "\n";
    "#;
    let Some(_world) = begin(case) else { return };
    load_debian(case);
    let client = |flags: &[&str]| {
        let program = ["localhost/debian", "perl", "-e", CLIENT];
        case.words(&[&["run", "--rm"], flags, &program].concat())
    };
    let mut all: Vec<&[&str]> = vec![
        &[],
        &["--user=1000:1000"],
        &["--user=65534:65534"],
        &["--userns=auto", "--user=7:7"],
    ];
    if !case.is_root() {
        all.push(&["--userns=keep-id"]);
    }
    for flags in all {
        let outcome = client(flags).ok();
        assert_eq!(outcome.stdout, "type 0\n", "{flags:?}: {outcome}");
    }
    // What the user says counts.
    let refused = client(&["--sysctl", "net.ipv4.ping_group_range=1 0"]);
    assert!(refused.stderr.contains("socket: Permission"), "{refused}");
}

pub fn what_is_not_there(case: &Case) {
    let Some(_world) = begin(case) else { return };
    let outcome = run(case, "", "nc -w 5 192.0.2.1 9");
    assert!(outcome.stderr.contains("refused"), "{outcome:?}");
    // Nobody has this address: the host's kernel says so after a while, and the container hears it.
    let outcome = run(case, "", "nc -w 20 192.0.2.77 9");
    assert!(
        outcome.stderr.contains("unreachable") || outcome.stderr.contains("No route"),
        "{outcome:?}"
    );
}

fn each_other(case: &Case) {
    let Some(_world) = begin(case) else { return };
    start_web(case, "web", "");
    start(case, "other", "");
    let address = address_of(case, "web");
    assert!(address.starts_with("10.88.0."), "{address}");
    assert_ne!(address, address_of(case, "other"));
    let seen = inside(case, "other", &page(&address, "/cgi-bin/who")).stdout;
    assert_eq!(plain(&seen), address_of(case, "other"));
    let inspected = case.engine("inspect -f {{.NetworkSettings.Networks.bridge.IPAddress}} web");
    assert_eq!(inspected.ok().stdout.trim(), address);
    case.engine("rm -f -t 0 web other").ok();
}

pub fn names_of_others(case: &Case) {
    let Some(_world) = begin(case) else { return };
    case.engine("network create front").ok();
    start_web(case, "web", "--network front --network-alias www");
    start(case, "client", "--network front");
    for name in ["web", "www"] {
        let seen = inside(case, "client", &page(name, "/"));
        assert_eq!(seen.stdout, "hello\n", "{seen:?}");
    }
    // It comes back with another address, and is found there at once.
    let before = address_of(case, "web");
    case.engine("rm -f -t 0 web").ok();
    start(case, "taker", "--network front");
    start_web(case, "web", "--network front");
    assert_ne!(before, address_of(case, "web"));
    let seen = inside(case, "client", &page("web", "/"));
    assert_eq!(seen.stdout, "hello\n", "{seen:?}");
    let unknown = inside(case, "client", "nslookup nobody.invalid");
    assert_ne!(unknown.code, 0, "{unknown:?}");
    case.engine("rm -f -t 0 web taker client").ok();
    case.engine("network rm front").ok();
}

pub fn published(case: &Case) {
    let Some(world) = begin(case) else { return };
    start_web(case, "web", "-p 8080:80 -p 127.0.0.1:8081:80");
    // From outside: the page, and the client's own address at the server.
    let outside = |address: String, path: &str| world.outside(|| get(&address, path));
    assert_eq!(outside(format!("{HOST}:8080"), "/").unwrap(), "hello");
    let seen = outside(format!("{HOST}:8080"), "/cgi-bin/who").unwrap();
    assert_eq!(seen, OUTSIDE);
    assert!(outside(format!("{HOST}:8081"), "/").is_err());
    // From the host, by any of its addresses.
    for address in ["127.0.0.1:8080", "127.0.0.1:8081", "192.0.2.2:8080"] {
        assert_eq!(get(address, "/").unwrap(), "hello", "{address}");
    }
    // From a container, its own included, by the host's address.
    let page = page(HOST, "/").replace("$A 80", "$A 8080");
    assert_eq!(run(case, "", &page).stdout, "hello\n");
    assert_eq!(inside(case, "web", &page).stdout, "hello\n");
    let ports = case.engine("port web 80").ok().stdout;
    assert!(ports.contains("0.0.0.0:8080"), "{ports}");
    case.engine("rm -f -t 0 web").ok();
    assert!(outside(format!("{HOST}:8080"), "/").is_err());
}

pub fn published_datagrams(case: &Case) {
    let Some(world) = begin(case) else { return };
    load_debian(case);
    let server = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp'); \
                  while (defined $s->recv($b, 1500)) { $s->send($b) }";
    let flags = ["run", "-d", "--name", "echo", "-p", "5353:53/udp"];
    let words = [&flags[..], &["localhost/debian", "perl", "-e", server]].concat();
    case.words(&words).ok();
    let ask = |address: &str| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let patience = Some(Duration::from_millis(500));
        socket.set_read_timeout(patience).unwrap();
        socket.connect(address).unwrap();
        let mut buffer = [0; 64];
        let asked = socket.send(b"question");
        let length = asked.and_then(|_| socket.recv(&mut buffer));
        length.is_ok_and(|length| buffer[..length] == *b"question")
    };
    case.eventually("an answer to the host", || ask("127.0.0.1:5353"));
    case.engine("restart -t 0 echo").ok();
    case.eventually("an answer to the outside", || {
        world.outside(|| ask(&format!("{HOST}:5353")))
    });
    case.engine("rm -f -t 0 echo").ok();
}

fn networks_are_apart(case: &Case) {
    let Some(world) = begin(case) else { return };
    case.engine("network create one").ok();
    case.engine("network create two").ok();
    start_web(case, "web", "--network one");
    let address = address_of(case, "web");
    let script = page(&address, "/");
    assert_eq!(run(case, "--network one", &script).stdout, "hello\n");
    assert_eq!(run(case, "--network two", &script).stdout, "");
    assert_ne!(run(case, "--network two", "nslookup web").code, 0);
    case.engine("rm -f -t 0 web").ok();
    case.engine("network rm one two").ok();
    // The default network's bridge stays, those of networks that were removed do not.
    let links = world.on_host("ip -o link");
    assert!(!links.contains(" co-"), "{links}");
}

fn internal(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("192.0.2.1:7000");
    case.engine("network create --internal inner").ok();
    start_web(case, "web", "--network inner");
    let seen = run(case, "--network inner", &page("web", "/"));
    assert_eq!(seen.stdout, "hello\n", "{seen:?}");
    let out = run(case, "--network inner", "echo | nc -w 2 192.0.2.1 7000");
    assert_ne!(out.code, 0, "{out:?}");
    // Nor does a question leave it, whoever is named to be asked.
    let server = world.outside(|| UdpSocket::bind("192.0.2.1:53").unwrap());
    let patience = Some(Duration::from_millis(500));
    server.set_read_timeout(patience).unwrap();
    let mut buffer = [0; 512];
    run(
        case,
        "--network inner --dns 192.0.2.1",
        "nslookup secret.example",
    );
    assert!(server.recv(&mut buffer).is_err());
    run(case, "--dns 192.0.2.1", "timeout 1 nslookup known.example");
    assert!(server.recv(&mut buffer).is_ok());
    case.engine("rm -f -t 0 web").ok();
    case.engine("network rm inner").ok();
}

fn several_networks(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("192.0.2.1:7000");
    case.engine("network create one --subnet 10.201.0.0/24")
        .ok();
    case.engine("network create two --subnet 10.202.0.0/24")
        .ok();
    start(case, "both", "--network one --network two");
    start_web(case, "web", "--network two --ip 10.202.0.77");
    assert_eq!(address_of(case, "web"), "10.202.0.77");
    let addresses = inside(case, "both", "ip -4 -o addr").ok().stdout;
    assert!(addresses.contains("10.201.0."), "{addresses}");
    assert!(addresses.contains("10.202.0."), "{addresses}");
    let seen = inside(case, "both", &page("web", "/"));
    assert_eq!(seen.stdout, "hello\n", "{seen:?}");
    let out = inside(case, "both", "echo | nc -w 5 192.0.2.1 7000");
    assert!(out.stdout.starts_with(HOST), "{out:?}");
    case.engine("rm -f -t 0 both web").ok();
    case.engine("network rm one two").ok();
}

fn connected_while_running(case: &Case) {
    let Some(_world) = begin(case) else { return };
    case.engine("network create late").ok();
    start_web(case, "web", "--network late");
    start(case, "other", "");
    assert_ne!(inside(case, "other", "nslookup web").code, 0);
    case.engine("network connect --alias friend late other")
        .ok();
    let seen = inside(case, "other", &page("web", "/"));
    assert_eq!(seen.stdout, "hello\n", "{seen:?}");
    inside(case, "web", "nslookup friend").ok();
    // Who takes over from a killed process knows of it.
    for pid in processes_called(case, "coracle-net") {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    case.eventually("the page is there again", || {
        inside(case, "other", &page("web", "/")).stdout == "hello\n"
    });
    // A container with ids of its own is told as well.
    start(case, "mapped", "--userns auto");
    let lines = || {
        let hosts = inside(case, "mapped", "cat /etc/hosts").ok().stdout;
        hosts.matches(" mapped\n").count()
    };
    assert_eq!(lines(), 1);
    case.engine("network connect late mapped").ok();
    assert_eq!(lines(), 2);
    case.engine("network disconnect late mapped").ok();
    assert_eq!(lines(), 1);
    case.engine("rm -f -t 0 mapped").ok();
    case.engine("network disconnect late other").ok();
    assert_ne!(inside(case, "other", "nslookup web").code, 0);
    assert_ne!(inside(case, "web", "nslookup friend").code, 0);
    case.engine("rm -f -t 0 web other").ok();
    case.engine("network rm late").ok();
}

/// A start and an end join and leave networks, those that were connected meanwhile included.
fn told_as_events(case: &Case) {
    let Some(_world) = begin(case) else { return };
    for name in ["first", "later", "left"] {
        case.engine(&format!("network create {name}")).ok();
    }
    start(case, "web", "--network first --network left");
    case.engine("network connect later web").ok();
    case.engine("network disconnect left web").ok();
    case.engine("rm -f -t 0 web").ok();
    let words = [
        "events",
        "--stream=false",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    ];
    let filters = ["connect", "disconnect", "start", "die"].map(|event| format!("event={event}"));
    let mut words = words.to_vec();
    words.extend(filters.iter().flat_map(|filter| ["-f", filter]));
    case.words(&words).ok().prints(
        "connect first\nconnect left\nstart web\nconnect later\ndisconnect left\n\
         die web\ndisconnect first\ndisconnect later",
    );
    case.engine("network rm first later left").ok();
}

fn started_again(case: &Case) {
    let Some(world) = begin(case) else { return };
    start_web(case, "web", "-p 8080:80");
    for verb in ["restart -t 0", "stop -t 0", "start"] {
        case.engine(&format!("{verb} web")).ok();
    }
    case.eventually("the web server answers again", || {
        world.outside(|| get(&format!("{HOST}:8080"), "/")).is_ok()
    });
    case.engine("rm -f -t 0 web").ok();
}

pub fn version_6(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("[2001:db8::1]:7000");
    case.engine("network create --ipv6 six").ok();
    start_web(case, "web", "--network six -p 8080:80");
    let out = inside(case, "web", "echo | nc -w 5 2001:db8::1 7000");
    assert!(out.stdout.starts_with(HOST_6), "{out:?}");
    assert_eq!(get("[::1]:8080", "/").unwrap(), "hello");
    let address = format!("[{HOST_6}]:8080");
    assert_eq!(world.outside(|| get(&address, "/")).unwrap(), "hello");
    case.engine("rm -f -t 0 web").ok();
    case.engine("network rm six").ok();
}

fn ports_in_use(case: &Case) {
    let Some(_world) = begin(case) else { return };
    start(case, "first", "-p 8080:80");
    let outcome = case.engine("run --rm -p 8080:80 localhost/busybox true");
    assert_eq!(outcome.code, 125, "{outcome:?}");
    assert!(outcome.stderr.contains("8080"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("in use") || outcome.stderr.contains("allocated"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("first"), "by whom: {outcome:?}");
    case.engine("run --rm -p 80 localhost/busybox true").ok();
    case.engine("rm -f -t 0 first").ok();
    case.engine("run --rm -p 8080:80 localhost/busybox true")
        .ok();
}

pub fn the_hosts_loopback_is_out_of_reach(case: &Case) {
    let Some(_world) = begin(case) else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:7070").unwrap();
    let everywhere = std::net::TcpListener::bind("0.0.0.0:7071").unwrap();
    std::thread::spawn(move || {
        for mut stream in everywhere.incoming().flatten() {
            let _ = stream.write_all(b"the host\n");
        }
    });
    listener.set_nonblocking(true).unwrap();
    for target in ["host.docker.internal", "10.88.0.1", "127.0.0.1", HOST] {
        run(case, "", &format!("echo | nc -w 2 {target} 7070"));
        assert!(listener.accept().is_err(), "by way of {target}");
    }
    let seen = run(case, "", "nc -w 5 host.docker.internal 7071 </dev/null");
    assert_eq!(seen.stdout, "the host\n", "{seen:?}");
}

fn nothing_is_left(case: &Case) {
    let Some(world) = begin(case) else { return };
    let links = || world.on_host("ip -o link");
    let before = links();
    for _ in 0..3 {
        run(case, "-p 8080:80", "true").ok();
    }
    if case.is_root() {
        // The bridge stays, without anything on it.
        case.eventually("the kernel has removed the containers' links", || {
            !links().contains("veth")
        });
        let elements = world.on_host("nft list table inet coracle");
        assert!(!elements.contains("8080"), "{elements}");
    } else {
        assert_eq!(links(), before);
    }
    let members = case.dir_path("run/networks");
    let find = world.on_host(&format!("find {} -path *members/*", members.display()));
    assert_eq!(find, "");
}

/// The process of that name which belongs to the case.
pub fn processes_called(case: &Case, name: &str) -> Vec<i32> {
    let is_called = |pid: &i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        text.is_ok_and(|text| text.trim() == name)
    };
    let all = case.processes().into_iter().map(|(pid, _)| pid);
    all.filter(is_called).collect()
}

pub fn killed_processes_of_ours(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("192.0.2.1:7000");
    start_web(case, "web", "-p 8080:80 -p 80");
    let chosen = case.engine("port web").ok().stdout;
    let processes = processes_called(case, "coracle-net");
    assert_eq!(processes.len(), 1, "{processes:?}");
    let pid = rustix::process::Pid::from_raw(processes[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // Another one takes over.
    case.eventually("the port answers again", || {
        get("127.0.0.1:8080", "/").is_ok_and(|page| page == "hello")
    });
    assert_eq!(case.engine("port web").ok().stdout, chosen);
    let out = inside(case, "web", "echo | nc -w 5 192.0.2.1 7000");
    assert!(out.stdout.starts_with(HOST), "{out:?}");
    case.engine("rm -f -t 0 web").ok();
    run(case, "-p 8080:80", "true").ok();
}

/// Who takes the network process over finds no program to execute, no file of others, no right that is
/// not of networks.
fn confined(case: &Case) {
    const OF_NETWORKS: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 21;
    let Some(_world) = begin(case) else { return };
    start(case, "web", "-p 8080:80");
    let pid = processes_called(case, "coracle-net")[0];
    let mut threads = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread = thread.unwrap().path();
        let name = std::fs::read_to_string(thread.join("comm")).unwrap();
        let status = std::fs::read_to_string(thread.join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        assert_eq!(
            (field("NoNewPrivs:"), field("Seccomp:")),
            ("1".into(), "2".into())
        );
        let held = u64::from_str_radix(&field("CapPrm:"), 16).unwrap();
        assert_eq!(held & !OF_NETWORKS, 0, "{name}");
        if matches!(name.trim(), "relay" | "names") {
            assert_eq!((held, field("Seccomp_filters:").as_str()), (0, "2"));
        }
        threads.push(name.trim().to_owned());
    }
    assert!(threads.contains(&"names".to_owned()) && threads.contains(&"relay".to_owned()));
    // Nothing that its parent had open but what it was given.
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let lock = |file: &PathBuf| file.ends_with("lock") || file.ends_with("log");
    let open = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    assert_eq!(open.filter(lock).collect::<Vec<_>>(), Vec::<PathBuf>::new());
    case.engine("rm -f -t 0 web").ok();
}

/// A container with raw sockets says that it has the address of another one, and of the gateway, and
/// sends with the other one's hardware address. (`net::guard` has more attacks, and that they succeed
/// without it.)
fn addresses_of_others(case: &Case) {
    const SEND: &str = "socket(S,17,3,768)||die; open(F,'/sys/class/net/eth0/ifindex'); $i=<F>; for (@ARGV) \
                        { send(S,pack('H*',$_),0,pack('SnlSCCa8',17,3,$i,0,0,6,''))||die $! }";
    let Some(_world) = begin(case) else { return };
    load_debian(case);
    start_web(case, "victim", "");
    start(case, "witness", "");
    case.engine("run -d --name evil --cap-add NET_RAW localhost/debian sleep 1000")
        .ok();
    let hardware = |name: &str| {
        let said = case.words(&["exec", name, "cat", "/sys/class/net/eth0/address"]);
        said.ok().stdout.trim().replace(':', "")
    };
    let hex = |address: &str| -> String {
        let bytes = address.split('.').map(|byte| byte.parse::<u8>().unwrap());
        bytes.map(|byte| format!("{byte:02x}")).collect()
    };
    let (victim, gateway) = (address_of(case, "victim"), "10.88.0.1");
    let known = || {
        let seen = inside(case, "witness", &page(&victim, "/"));
        assert_eq!(seen.ok().stdout, "hello\n");
        inside(case, "witness", &format!("echo | nc -w 1 {gateway} 9"));
        inside(
            case,
            "witness",
            "awk '{ print $1, $4 }' /proc/net/arp | sort",
        )
        .ok()
        .stdout
    };
    let before = known();
    assert!(
        before.contains(&victim) && before.contains(gateway),
        "{before}"
    );
    let (own, of_victim) = (hardware("evil"), hardware("victim"));
    let answer = |mac: &str, address: &str| {
        let both = format!("{mac}{address}");
        format!("ffffffffffff{mac}08060001080006040002{both}{both}")
    };
    let frames = [
        answer(&own, &hex(&victim)),
        answer(&own, &hex(gateway)),
        answer(&of_victim, &hex(&victim)),
        format!("ffffffffffff{of_victim}88b500000000"),
    ];
    let mut words = vec!["exec", "evil", "perl", "-e", SEND];
    words.extend(frames.iter().map(String::as_str));
    case.words(&words).ok();
    let table = inside(
        case,
        "witness",
        "awk '{ print $1, $4 }' /proc/net/arp | sort",
    );
    assert_eq!(table.ok().stdout, before);
    assert_eq!(known(), before);
    case.engine("rm -f -t 0 victim witness evil").ok();
}

/// The parent of a process, proc_pid_stat(5).
pub fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_name = stat.rsplit_once(") ").unwrap().1;
    behind_name.split(' ').nth(1).unwrap().parse().unwrap()
}

fn killed_supervisors(case: &Case) {
    let Some(world) = begin(case) else { return };
    let fixed = "--network bridge:ip=10.88.0.50";
    start_web(case, "first", &format!("{fixed} -p 8080:80"));
    let processes = processes_called(case, "coracle-net");
    let supervisor = rustix::process::Pid::from_raw(parent_of(processes[0])).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    case.eventually("all of it has gone", || case.processes().is_empty());
    // The address is free, and the port that led to it leads nowhere.
    start_web(case, "second", fixed);
    assert_eq!(address_of(case, "second"), "10.88.0.50");
    let seen = world.outside(|| get(&format!("{HOST}:8080"), "/"));
    assert!(seen.is_err(), "{seen:?}");
    case.engine("rm -f -t 0 first second").ok();
    if case.is_root() {
        case.eventually("the kernel has removed the containers' links", || {
            !world.on_host("ip -o link").contains("veth")
        });
    }
}

fn without_subordinate_ids(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("192.0.2.1:7000");
    start_web(case, "web", "-p 8080:80");
    assert_eq!(get("127.0.0.1:8080", "/").unwrap(), "hello");
    let out = inside(case, "web", "echo | nc -w 5 192.0.2.1 7000");
    assert!(out.stdout.starts_with(HOST), "{out:?}");
    case.engine("rm -f -t 0 web").ok();
}

fn reload_opens_nothing(case: &Case) {
    let Some(world) = begin(case) else { return };
    start_web(case, "web", "-p 127.0.0.1:8081:80 -p 8080:80");
    if case.is_root() {
        world.on_host("nft flush ruleset");
    }
    case.engine("network reload web").ok();
    assert_eq!(get("127.0.0.1:8081", "/").unwrap(), "hello");
    let outside = |port: u16| world.outside(|| get(&format!("{HOST}:{port}"), "/"));
    assert_eq!(outside(8080).unwrap(), "hello");
    assert!(outside(8081).is_err());
    case.engine("rm -f -t 0 web").ok();
}

/// With macvlan the gateway is the router out there, whose address the host must not take for itself.
fn on_a_link_of_the_host(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("192.0.2.1:7000");
    let network = "-d macvlan --subnet 192.0.2.0/24 --ip-range 192.0.2.128/25 --gateway 192.0.2.1";
    case.engine(&format!("network create {network} lan")).ok();
    let seen = "run -d --name web --network lan localhost/busybox sh -c";
    let mut words: Vec<&str> = seen.split(' ').collect();
    words.push("nc -w 5 192.0.2.1 7000 </dev/null; sleep 1000");
    let before = world.on_host("ip -o addr");
    case.words(&words).ok();
    let own = address_of(case, "web");
    case.eventually("the world sees the container's address", || {
        case.engine("logs web").stdout.trim() == own
    });
    case.engine("network reload web").ok();
    // Another link on it has it look once more whether its address is free.
    let after = world.on_host("ip -o addr").replace(" tentative", "");
    assert_eq!(after, before.replace(" tentative", ""));
    case.engine("rm -f -t 0 web").ok();
}

fn shown_by_info_and_doctor(case: &Case) {
    let Some(world) = begin(case) else { return };
    let backend = || {
        let format = "{{.Coracle.NetworkBackend}} {{json .Coracle.NetworkMissing}}";
        let outcome = case.words(&["info", "--format", format]).ok();
        outcome.stdout.trim_end().to_owned()
    };
    let expected = if case.is_root() { "nftables" } else { "tproxy" };
    assert_eq!(backend(), format!("{expected} null"));
    let plugins = case.words(&["info", "--format", "{{json .Plugins.Network}}"]);
    assert!(plugins.ok().stdout.contains("\"bridge\""));
    let checks = case.engine("doctor").stdout;
    let networks = |line: &&str| line.contains(" networks ");
    let line = checks.lines().find(networks).unwrap_or(&checks);
    assert!(line.starts_with("ok"), "{checks}");
    // Nothing was made on the host.
    assert!(!world.on_host("ip link").contains("coracle0"));
}

/// Docker's rules, as nft(8) makes them.
fn obstacles_are_found(case: &Case) {
    let Some(world) = begin(case) else { return };
    let firewall = || {
        let checks = case.engine("doctor").stdout;
        let from = checks
            .lines()
            .skip_while(|line| !line.contains(" firewall "));
        from.take(2).collect::<Vec<_>>().join("\n")
    };
    assert!(firewall().starts_with("ok"), "{}", firewall());
    for line in [
        "nft add table ip filter",
        "nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }",
        "nft add chain ip filter DOCKER-USER",
    ] {
        world.on_host(line);
    }
    let found = firewall();
    assert!(found.starts_with("limited"), "{found}");
    assert!(
        found.contains("iptables -I DOCKER-USER -i coracle0"),
        "{found}"
    );
}

fn nothing_is_left_of_a_reset(case: &Case) {
    let Some(world) = begin(case) else { return };
    case.engine("network create web").ok();
    start(case, "one", "");
    start(case, "two", "--network web -p 8080:80");
    let links = || world.on_host("ip -o link").matches(": co").count();
    assert_eq!(links(), 2);
    assert!(world.on_host("nft list tables").contains("inet coracle"));
    // Another store's networks stay while somebody is in them.
    let other = case.make_dir("other").display().to_string();
    let other = [
        &format!("--root={other}/root"),
        &format!("--runroot={other}/run"),
    ];
    let reset = [other[0].as_str(), other[1], "system", "reset", "-f"];
    case.words(&[other[0].as_str(), other[1], "images", "-q"])
        .ok();
    case.words(&reset).ok();
    assert_eq!(links(), 2);
    assert!(world.on_host("nft list tables").contains("inet coracle"));
    case.engine("system reset -f").ok();
    assert_eq!(links(), 0);
    assert!(!world.on_host("nft list tables").contains("coracle"));
}

/// Neighbours of the host that send packets for containers its way.
fn direct_access(case: &Case) {
    let Some(world) = begin(case) else { return };
    start_web(case, "web", "-p 8080:80");
    let address = address_of(case, "web");
    world.outside(|| world.on_host("ip route add 10.88.0.0/16 via 192.0.2.2"));
    let seen = world.outside(|| get(&format!("{address}:80"), "/"));
    assert!(seen.is_err(), "{seen:?}");
    let seen = world.outside(|| get(&format!("{HOST}:8080"), "/"));
    assert_eq!(seen.unwrap(), "hello");
    case.engine("rm -f -t 0 web").ok();
}

fn alone_in_a_network(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("192.0.2.1:7000");
    start_web(case, "web", "--network private -p 8080:80");
    start(case, "other", "--network private");
    let out = inside(case, "web", "echo | nc -w 5 192.0.2.1 7000");
    assert!(out.stdout.starts_with(HOST), "{out:?}");
    assert_eq!(get("127.0.0.1:8080", "/").unwrap(), "hello");
    // Both may have the same address: neither sees the other.
    assert_eq!(address_of(case, "web"), address_of(case, "other"));
    assert_ne!(inside(case, "other", "nslookup web").code, 0);
    case.engine("rm -f -t 0 web other").ok();
}

/// Podman's options of such a network do something, or are an error.
fn alone_as_asked(case: &Case) {
    let Some(world) = begin(case) else { return };
    world.serve_tcp("192.0.2.1:7000");
    let script =
        "ip -4 -o addr show net0; cat /sys/class/net/net0/mtu; echo | nc -w 5 192.0.2.1 7000";
    let network = "--network pasta:-m,1300,-a,192.168.77.9,-n,24,-I,net0";
    let seen = run(case, network, script).ok().stdout;
    for wanted in ["192.168.77.9/24", "\n1300\n", HOST] {
        assert!(seen.contains(wanted), "{seen}");
    }
    // The host's loopback, for who asks for it.
    let host = std::net::TcpListener::bind("127.0.0.1:7072").unwrap();
    std::thread::spawn(move || {
        for mut stream in host.incoming().flatten() {
            let _ = stream.write_all(b"the host\n");
        }
    });
    for (network, there) in [
        ("private:host_loopback=true", "the host\n"),
        ("slirp4netns:allow_host_loopback=true", "the host\n"),
        ("slirp4netns:allow_host_loopback=false", ""),
    ] {
        let line = format!("--network {network}");
        let seen = run(case, &line, "nc -w 5 host.docker.internal 7072 </dev/null");
        assert_eq!(seen.stdout, there, "{network}: {seen}");
    }
    for (network, word) in [
        ("pasta:--map-gw", "loopback is out of reach"),
        ("pasta:-t,8080:80", "not supported"),
        ("private:colour=red", "colour"),
    ] {
        let refused = run(case, &format!("--network {network}"), "true");
        assert!(refused.stderr.contains(word), "{refused}");
        assert_eq!(refused.code, 125, "{refused}");
    }
}

fn hosts_to_begin_with(case: &Case) {
    let Some(_world) = begin(case) else { return };
    let layer = crate::image::busybox_layer()
        .file("etc/hosts", "192.0.2.9 of-image\n")
        .bytes();
    let archive = crate::image::Image::new("localhost/named", vec![layer]).archive();
    case.with_input(&["load", "-q"], archive).ok();
    let hosts = |flags: &str| {
        let line = format!("run --rm {flags} localhost/named cat /etc/hosts");
        case.engine(&line).ok().stdout
    };
    for flags in ["", "--network none", "--userns auto"] {
        let seen = hosts(&format!(
            "--hosts-file image --add-host db:192.0.2.8 {flags}"
        ));
        for wanted in [
            "192.0.2.9 of-image\n",
            "192.0.2.8\tdb\n",
            "127.0.0.1\tlocalhost\n",
        ] {
            assert!(seen.contains(wanted), "{flags}: {seen}");
        }
        assert!(!hosts(&format!("--hosts-file none {flags}")).contains("of-image"));
    }
    let file = case.make_file("hosts", "192.0.2.7 of-file\n");
    let seen = hosts(&format!("--hosts-file {}", file.display()));
    assert!(seen.starts_with("192.0.2.7 of-file\n"), "{seen}");
    // Begun again it is the same.
    case.engine("run -d --name again --hosts-file image localhost/named sleep 1000")
        .ok();
    case.engine("restart -t 0 again").ok();
    let seen = inside(case, "again", "cat /etc/hosts").ok().stdout;
    assert!(seen.starts_with("192.0.2.9 of-image\n"), "{seen}");
    case.engine("rm -f -t 0 again").ok();
}

fn run_again_by_its_policy(case: &Case) {
    let Some(world) = begin(case) else { return };
    start_web(case, "web", "--restart always -p 8080:80");
    for _ in 0..3 {
        // Of its own accord: `kill` would be somebody's wish.
        inside(case, "web", "killall httpd");
        case.eventually("the page is there again", || {
            world
                .outside(|| get(&format!("{HOST}:8080"), "/"))
                .is_ok_and(|page| page == "hello")
        });
    }
    let hosts = inside(case, "web", "cat /etc/hosts").ok().stdout;
    assert!(hosts.contains(&address_of(case, "web")), "{hosts}");
    case.engine("rm -f -t 0 web").ok();
}
