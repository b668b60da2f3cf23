//! The relay of a rootless network, with real packets: a container's namespace behind a router, and
//! a host, all of them made by `unshare -Urn` for this test, which needs no rights but that and
//! /dev/net/tun. It says so and passes where they are missing.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use coracle::{
    model::{
        backend::Backend,
        network::Endpoint,
        publish::{PortMapping, Protocol},
    },
    net::{
        netlink::{
            Batch, Socket,
            route::{self, NewLink, Route, RouteKind, add_address, set_up},
        },
        relay::{
            HOST, Options, Relay,
            bound::{Bound, bind_published},
        },
        router::Router,
    },
    sys::{
        datagram, netns,
        seccomp::{self, Instruction},
        socket,
    },
};

use rustix::net::SocketType;

const INSIDE: &str = "CORACLE_TEST_INSIDE";

#[test]
fn a_container_behind_a_router_is_as_if_it_were_on_the_host() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let tun = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    let unshare = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Urn", "--", program]);
        command
    };
    if tun.is_err()
        || !unshare("true")
            .status()
            .is_ok_and(|status| status.success())
    {
        println!("skipped: no /dev/net/tun, or no user namespaces");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let status = unshare(own.to_str().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_container_behind_a_router_is_as_if_it_were_on_the_host")
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

fn inside() {
    // What nobody answers must not hang the test.
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(100));
        println!("timed out");
        std::process::exit(1);
    });
    host_links();
    for backend in Backend::ALL {
        println!("by {backend}");
        relayed(backend);
    }
}

/// Whatever is missing of the firewall, there is another way; only who insists hears about it.
fn a_kernel_without_nf_tables(container: &Container) {
    let (chosen, refused) = without_nf_tables(|| {
        (
            Router::open(None, None),
            Router::open(None, Some(Backend::Tproxy)),
        )
    });
    assert_eq!(chosen.unwrap().backend(), Backend::Tun);
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), coracle::model::ErrorKind::Unsupported);
    assert!(refused.message().contains("nf_tables"), "{refused}");
    // Questions for names are answered at the port itself: nothing could lead them to another one.
    let namespace = container.0.as_fd();
    let sockets = without_nf_tables(|| coracle::net::names::sockets(namespace)).unwrap();
    let at_53 = || UdpSocket::bind("127.0.0.11:53");
    let taken = container.run(at_53).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    drop(sockets);
    container.run(at_53).unwrap();
}

/// Runs on a thread, with all that it starts, for which sockets of NETLINK_NETFILTER do not exist.
fn without_nf_tables<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, SeccompCondition, SeccompFilter,
        SeccompRule,
    };
    let is = |argument, value| SeccompCondition::new(argument, Dword, Eq, value).unwrap();
    let netlink = is(0, 16);
    let netfilter = is(2, 12);
    let rule = SeccompRule::new(vec![netlink, netfilter]).unwrap();
    let filter = SeccompFilter::new(
        [(libc::SYS_socket, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPROTONOSUPPORT as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    let instructions = program.into_iter().map(|one| Instruction {
        code: one.code,
        jump_true: one.jt,
        jump_false: one.jf,
        operand: one.k,
    });
    let program: Vec<Instruction> = instructions.collect();
    let run = || {
        seccomp::load(&program, 0).unwrap();
        act()
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}

fn relayed(backend: Backend) {
    let router = Router::open(None, Some(backend)).unwrap();
    assert_eq!(router.backend(), backend);
    let joined = Router::open(Some(router.namespace().try_clone_to_owned().unwrap()), None);
    assert_eq!(joined.unwrap().backend(), backend);
    let container = Container::new(&router);
    let endpoint = endpoint();
    {
        // One that is killed leaves what it had: nothing is removed here.
        let killed = Relay::start(Some(&router), Options::default()).unwrap();
        killed.add_endpoint(&endpoint).unwrap();
    }
    let relay = Relay::start(Some(&router), Options::default()).unwrap();
    relay.add_endpoint(&endpoint).unwrap();
    for host in ["10.99.0.1", "fd99::1"] {
        let host: IpAddr = host.parse().unwrap();
        bytes_arrive(&container, host);
        errors_are_told(&container, host);
        datagrams_arrive(&container, host);
        ping_is_answered(&container, host);
    }
    errors_from_afar_are_told(&container);
    host_is_reached_by_its_name_alone(&container);
    many_connections(&container);
    the_same_ports_again(&container);
    if backend == Backend::Tproxy {
        what_has_no_connection_comes_by_the_device(&router, &container);
    }
    many_ports(&container);
    neighbours_are_not_reached_by_the_gateway(&router, &container);
    if backend == Backend::Tun {
        a_kernel_without_nf_tables(&container);
    }
    ports_are_published(&container, &relay, &endpoint);

    relay.remove_endpoint(&endpoint).unwrap();
    let listener = TcpListener::bind(("10.99.0.1", 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let gone = container.run(move || TcpStream::connect_timeout(&to, Duration::from_millis(500)));
    assert!(gone.is_err());
}

fn send(requests: impl IntoIterator<Item = coracle::net::netlink::Message>) {
    let mut batch = Batch::new();
    for (number, request) in requests.into_iter().enumerate() {
        batch.push(format!("do request {number} of the test"), request);
    }
    Socket::route().unwrap().send(batch).unwrap();
}

fn host_links() {
    send([
        set_up(1),
        NewLink::veth("world0", NewLink::end("world1").index(6))
            .index(5)
            .up()
            .request(),
        set_up(6),
        add_address(5, "10.99.0.1/24".parse().unwrap()),
        add_address(5, "fd99::1/64".parse().unwrap()),
        Route::default_v4().via("10.99.0.2".parse().unwrap()).add(),
        Route::to("198.51.100.0/24".parse().unwrap())
            .kind(RouteKind::Unreachable)
            .add(),
        Route::to("2001:db8::/32".parse().unwrap())
            .kind(RouteKind::Unreachable)
            .add(),
    ]);
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
}

fn endpoint() -> Endpoint {
    serde_json::from_value(serde_json::json!({
        "network": "0".repeat(64), "network_name": "bridge", "interface": "eth0",
        "addresses": ["10.88.0.2/16", "fd88::2/64"], "gateways": ["10.88.0.1", "fd88::1"],
        "mac": "02:42:0a:58:00:02", "names": [], "default_route": true,
    }))
    .unwrap()
}

struct Container(OwnedFd);

impl Container {
    fn new(router: &Router) -> Self {
        let namespace = thread::spawn(|| {
            netns::unshare().unwrap();
            netns::of_this_thread().unwrap()
        });
        let container = Container(namespace.join().unwrap());
        let namespace = container.0.try_clone().unwrap();
        let bridge = move || {
            let peer = NewLink::end("eth0")
                .index(2)
                .in_namespace(namespace.as_fd());
            send([
                NewLink::bridge("br0").index(10).up().request(),
                add_address(10, "10.88.0.1/16".parse().unwrap()),
                add_address(10, "fd88::1/64".parse().unwrap()),
                NewLink::veth("veth0", peer)
                    .index(11)
                    .master(10)
                    .up()
                    .request(),
            ]);
            Ok(())
        };
        router.inside(bridge).unwrap();
        container.run(|| {
            send([
                set_up(1),
                route::set_up(2),
                add_address(2, "10.88.0.2/16".parse().unwrap()),
                add_address(2, "fd88::2/64".parse().unwrap()),
                Route::default_v4().via("10.88.0.1".parse().unwrap()).add(),
                Route::default_v6().via("fd88::1".parse().unwrap()).add(),
            ]);
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        });
        container
    }

    /// Runs on a thread in the container's namespace.
    fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let run = || {
            netns::enter(&self.0).unwrap();
            act()
        };
        thread::scope(|scope| scope.spawn(run).join().unwrap())
    }
}

/// Serves connections for ever: who it is, then what comes.
fn echo(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut buffer = vec![0; 100_000];
                // One that was reset already has no peer.
                let Ok(peer) = stream.peer_addr() else { return };
                let mut written = writeln!(stream, "{}", peer.ip());
                while let (Ok(()), Ok(count @ 1..)) = (written, stream.read(&mut buffer)) {
                    written = stream.write_all(&buffer[..count]);
                }
            });
        }
    });
}

fn echo_datagrams(server: UdpSocket) {
    thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((count, peer)) = server.recv_from(&mut buffer) {
            let mut answer = format!("{} ", peer.ip()).into_bytes();
            answer.extend_from_slice(&buffer[..count]);
            server.send_to(&answer, peer).unwrap();
        }
    });
}

/// Sends bytes and an end, and returns from whom the server has seen them.
fn talk(to: SocketAddr, count: usize) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let bytes: Vec<u8> = (0..count)
        .map(|number| ((number * 31) >> 3) as u8)
        .collect();
    let (mut writer, sent) = (stream.try_clone()?, bytes.clone());
    let writer = thread::spawn(move || {
        writer.write_all(&sent)?;
        writer.shutdown(Shutdown::Write)
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    writer.join().unwrap()?;
    let line = received.iter().position(|&byte| byte == b'\n').unwrap();
    assert!(received[line + 1..] == bytes, "{count} bytes to {to}");
    Ok(String::from_utf8_lossy(&received[..line]).into_owned())
}

fn ask(to: SocketAddr, bytes: &[u8]) -> std::io::Result<String> {
    let any: IpAddr = if to.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let client = UdpSocket::bind((any, 0))?;
    client.set_read_timeout(Some(Duration::from_secs(3)))?;
    client.connect(to)?;
    client.send(bytes)?;
    let mut buffer = vec![0; 65536];
    let count = client.recv(&mut buffer)?;
    let (who, answer) = buffer[..count].split_at(count - bytes.len());
    assert!(answer == bytes);
    Ok(String::from_utf8_lossy(who).trim_end().to_owned())
}

fn bytes_arrive(container: &Container, host: IpAddr) {
    let listener = TcpListener::bind((host, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    echo(listener);
    for count in [0, 1, 1000, 100_000, 5_000_000] {
        let seen = container.run(|| talk(to, count)).unwrap();
        assert_eq!(seen, host.to_string());
    }
}

fn errors_are_told(container: &Container, host: IpAddr) {
    let closed = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
    let refused = container.run(|| TcpStream::connect(closed)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let nowhere: IpAddr = match host {
        IpAddr::V4(_) => "198.51.100.7".parse().unwrap(),
        IpAddr::V6(_) => "2001:db8::7".parse().unwrap(),
    };
    let nowhere = container
        .run(|| TcpStream::connect((nowhere, 80)))
        .unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::HostUnreachable);
    let refused = container.run(|| ask(closed, b"x")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// Beyond a router of the world whose next link is narrow, and which has no way to some.
fn errors_from_afar_are_told(container: &Container) {
    let world = thread::spawn(|| {
        netns::unshare().unwrap();
        netns::of_this_thread().unwrap()
    });
    let world = world.join().unwrap();
    let mut batch = Batch::new();
    let peer = NewLink::end("far").index(21).in_namespace(world.as_fd());
    let far = NewLink::veth("near", peer).index(20).up();
    batch.push("make the far link", far.request());
    for net in ["10.98.0.1/24", "fd98::1/64"] {
        batch.push("an address", add_address(20, net.parse().unwrap()));
    }
    for (net, gateway) in [
        ("203.0.113.0/24", "10.98.0.2"),
        ("2001:db9::/32", "fd98::2"),
    ] {
        let route = Route::to(net.parse().unwrap()).via(gateway.parse().unwrap());
        batch.push("a route", route.device(20).add());
    }
    Socket::route().unwrap().send(batch).unwrap();
    Container(world.try_clone().unwrap()).run(|| {
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
        }
        send([
            set_up(1),
            set_up(21),
            add_address(21, "10.98.0.2/24".parse().unwrap()),
            add_address(21, "fd98::2/64".parse().unwrap()),
            NewLink::veth("narrow", NewLink::end("other").index(23).mtu(1300))
                .index(22)
                .mtu(1300)
                .up()
                .request(),
            set_up(23),
            Route::to("203.0.113.0/25".parse().unwrap())
                .device(22)
                .add(),
            Route::to("2001:db9:1::/48".parse().unwrap())
                .device(22)
                .add(),
            Route::to("203.0.113.128/25".parse().unwrap())
                .kind(RouteKind::Unreachable)
                .add(),
            Route::to("2001:db9:2::/48".parse().unwrap())
                .kind(RouteKind::Unreachable)
                .add(),
        ]);
    });
    // The world's own addresses have not been looked for yet.
    thread::sleep(Duration::from_secs(2));
    for (nowhere, narrow) in [
        ("203.0.113.200", "203.0.113.5"),
        ("2001:db9:2::5", "2001:db9:1::5"),
    ] {
        let [nowhere, narrow] = [nowhere, narrow].map(|text| text.parse::<IpAddr>().unwrap());
        let complaint = |to: IpAddr, count: usize| {
            let any: IpAddr = match to {
                IpAddr::V4(_) => [0; 4].into(),
                IpAddr::V6(_) => [0; 16].into(),
            };
            let to = SocketAddr::new(to, 9);
            container.run(|| {
                let client = UdpSocket::bind((any, 0)).unwrap();
                socket::receive_errors(&client, socket::family_of(&to)).unwrap();
                client.connect(to).unwrap();
                let patience = Duration::from_secs(3);
                client.set_read_timeout(Some(patience)).unwrap();
                client.send(&vec![7; count]).unwrap();
                client.recv(&mut [0]).unwrap_err();
                datagram::next_error(&client).unwrap().unwrap()
            })
        };
        // Of IPv6 the router says that there is no route.
        let expected = match nowhere {
            IpAddr::V4(_) => libc::EHOSTUNREACH,
            IpAddr::V6(_) => libc::ENETUNREACH,
        };
        assert_eq!(complaint(nowhere, 1).errno, expected);
        let expected = datagram::SendError {
            errno: libc::EMSGSIZE,
            mtu: 1300,
        };
        assert_eq!(complaint(narrow, 1400), expected);
    }
}

fn datagrams_arrive(container: &Container, host: IpAddr) {
    let server = UdpSocket::bind((host, 0)).unwrap();
    let to = server.local_addr().unwrap();
    echo_datagrams(server);
    for count in [0, 1, 1400, 9000, 60_000] {
        let seen = container.run(|| ask(to, &vec![7; count])).unwrap();
        assert_eq!(seen, host.to_string(), "{count} bytes");
    }
}

fn ping_is_answered(container: &Container, host: IpAddr) {
    let to = SocketAddr::new(host, 0);
    let kind = if host.is_ipv4() { 8 } else { 128 };
    let answer = container.run(|| {
        let ping = socket::make_echo(socket::family_of(&to)).unwrap();
        rustix::io::ioctl_fionbio(&ping, false).unwrap();
        rustix::net::connect(&ping, &to).unwrap();
        let request = [kind, 0, 0, 0, 0, 0, 1, 2, b'a', b'b'];
        rustix::net::send(&ping, &request, rustix::net::SendFlags::empty()).unwrap();
        let mut answer = [0; 100];
        let (count, _) =
            rustix::net::recv(&ping, &mut answer[..], rustix::net::RecvFlags::empty()).unwrap();
        answer[..count].to_vec()
    });
    assert_eq!(answer[6..], [1, 2, b'a', b'b']);
}

fn host_is_reached_by_its_name_alone(container: &Container) {
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = everywhere.local_addr().unwrap().port();
    echo(everywhere);
    let seen = container.run(|| talk((HOST, port).into(), 10)).unwrap();
    assert_eq!(seen, "10.99.0.1");
    let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = loopback.local_addr().unwrap().port();
    let refused = container
        .run(|| TcpStream::connect((HOST, port)))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

fn many_connections(container: &Container) {
    let listener = TcpListener::bind(("10.99.0.1", 0)).unwrap();
    let to = listener.local_addr().unwrap();
    echo(listener);
    container.run(|| {
        // A thread that is made here is in the container, too.
        let clients: Vec<_> = (0..100)
            .map(|_| thread::spawn(move || talk(to, 50_000)))
            .collect();
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
}

/// A bridge may keep its containers apart: the router must not bring them together.
/// Clients that break a connection and at once make another one from the same port: it is a new
/// one, though the relay may not have heard of the end of the old one yet.
fn the_same_ports_again(container: &Container) {
    let listener = TcpListener::bind("10.99.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    echo(listener);
    let again = |port: u16| {
        for round in 0..50 {
            let from = SocketAddr::new([10, 88, 0, 2].into(), port);
            let client = socket::make(socket::family_of(&to), SocketType::STREAM).unwrap();
            rustix::net::sockopt::set_socket_reuseaddr(&client, true).unwrap();
            rustix::io::ioctl_fionbio(&client, false).unwrap();
            rustix::net::bind(&client, &from).unwrap();
            rustix::net::connect(&client, &to).unwrap();
            let mut stream = TcpStream::from(client);
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let mut first = [0; 4];
            let read = stream.read_exact(&mut first);
            assert!(read.is_ok(), "round {round} of port {port}: {read:?}");
            socket::reset_on_close(&stream).unwrap();
        }
    };
    container.run(|| {
        thread::scope(|scope| {
            let netns = || netns::enter(&container.0).unwrap();
            for port in 5000..5008 {
                scope.spawn(move || {
                    netns();
                    again(port);
                });
            }
        });
    });
}

/// Bytes for which no socket is found are asked for once more before they are answered with a reset: the
/// kernel may have been about to put the connection there.
fn what_has_no_connection_comes_by_the_device(router: &Router, container: &Container) {
    let seen = || {
        router.inside(|| {
            let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            let relays = devices.lines().map(str::trim_start);
            let sent = relays.filter(|line| line.starts_with("relay")).map(|line| {
                let sent = line.split_whitespace().nth(10).unwrap();
                sent.parse::<u64>().unwrap()
            });
            Ok(sent.sum::<u64>())
        })
    };
    let before = seen().unwrap();
    container.run(|| {
        let protocol = Some(rustix::net::ipproto::TCP);
        let (family, kind) = (rustix::net::AddressFamily::INET, SocketType::RAW);
        let raw = UdpSocket::from(rustix::net::socket(family, kind, protocol).unwrap());
        raw.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let to = SocketAddr::from(([10, 99, 0, 1], 0));
        rustix::net::sendto(
            &raw,
            &acknowledgement(),
            rustix::net::SendFlags::empty(),
            &to,
        )
        .unwrap();
        let mut packet = [0; 100];
        let reset = loop {
            let length = raw.recv(&mut packet).unwrap();
            if length >= 40 && packet[12..16] == [10, 99, 0, 1] {
                break packet[33] & 0x04 != 0;
            }
        };
        assert!(reset);
    });
    assert!(seen().unwrap() > before);
}

/// A header of TCP from port 4444 of the container to port 9 of the host, of a connection that is
/// nowhere.
fn acknowledgement() -> [u8; 20] {
    let mut header = [0; 20];
    header[..4].copy_from_slice(&[0x11, 0x5c, 0, 9]);
    header[7] = 1;
    header[11] = 1;
    header[12..16].copy_from_slice(&[0x50, 0x10, 1, 0]);
    let addresses = [10, 88, 0, 2, 10, 99, 0, 1, 0, 6, 0, 20];
    let words = addresses.chunks(2).chain(header.chunks(2));
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    header
}

fn neighbours_are_not_reached_by_the_gateway(router: &Router, container: &Container) {
    let neighbour = thread::spawn(|| {
        netns::unshare().unwrap();
        netns::of_this_thread().unwrap()
    });
    let neighbour = Container(neighbour.join().unwrap());
    let namespace = neighbour.0.try_clone().unwrap();
    let port = move || {
        let peer = NewLink::end("eth0")
            .index(2)
            .in_namespace(namespace.as_fd());
        let link = NewLink::veth("veth1", peer).index(12).master(10).up();
        send([link.request()]);
        Ok(())
    };
    router.inside(port).unwrap();
    let (tcp, udp) = neighbour.run(|| {
        send([
            set_up(1),
            route::set_up(2),
            add_address(2, "10.88.0.3/16".parse().unwrap()),
            Route::default_v4().via("10.88.0.1".parse().unwrap()).add(),
        ]);
        let (tcp, udp) = (
            TcpListener::bind("10.88.0.3:80"),
            UdpSocket::bind("10.88.0.3:80"),
        );
        (tcp.unwrap(), udp.unwrap())
    });
    echo(tcp);
    echo_datagrams(udp);
    let to = SocketAddr::from(([10, 88, 0, 3], 80));
    let patience = Duration::from_millis(500);
    container.run(|| {
        // By the bridge.
        while ask(to, b"x").is_err() {}
        let gateway = "10.88.0.1".parse().unwrap();
        send([Route::to("10.88.0.3/32".parse().unwrap())
            .via(gateway)
            .add()]);
        assert!(ask(to, b"x").is_err());
        assert!(TcpStream::connect_timeout(&to, patience).is_err());
    });
}

/// More ports than there are doors; the first connection does not suffer.
fn many_ports(container: &Container) {
    let listeners: Vec<TcpListener> = (0..300)
        .map(|_| TcpListener::bind(("10.99.0.1", 0)).unwrap())
        .collect();
    let ports: Vec<SocketAddr> = listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect();
    listeners.into_iter().for_each(echo);
    container.run(|| {
        let mut first = TcpStream::connect(ports[0]).unwrap();
        for port in &ports {
            assert_eq!(talk(*port, 10).unwrap(), "10.99.0.1");
        }
        first.write_all(b"still here").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "10.99.0.1\nstill here");
        assert_eq!(talk(ports[0], 10).unwrap(), "10.99.0.1");
    });
}

fn ports_are_published(container: &Container, relay: &Relay, endpoint: &Endpoint) {
    let (tcp, udp) = container.run(|| {
        let tcp = TcpListener::bind("[::]:0").unwrap();
        let udp = UdpSocket::bind("[::]:0").unwrap();
        let ports = (
            tcp.local_addr().unwrap().port(),
            udp.local_addr().unwrap().port(),
        );
        echo(tcp);
        echo_datagrams(udp);
        ports
    });
    let mapping = |container_port, protocol| PortMapping {
        host_ip: None,
        host_port: None,
        host_port_last: None,
        container_port,
        protocol,
    };
    let mappings = [mapping(tcp, Protocol::Tcp), mapping(udp, Protocol::Udp)];
    let ports = bind_published(&mappings).unwrap();
    let ports: Vec<Arc<Bound>> = ports.into_iter().map(Arc::new).collect();
    relay.publish(&ports, endpoint).unwrap();
    let host_port = |index: usize| ports[index].mapping.host_port.unwrap();
    let clients = [
        ("10.99.0.1", "10.99.0.1"),
        ("127.0.0.1", "10.88.0.1"),
        ("fd99::1", "fd99::1"),
        ("::1", "fd88::1"),
    ];
    for (host, seen) in clients {
        let host: IpAddr = host.parse().unwrap();
        let plain = |seen: String| seen.trim_start_matches("::ffff:").to_owned();
        for count in [1, 1_000_000] {
            let by = talk((host, host_port(0)).into(), count).unwrap();
            assert_eq!(plain(by), seen);
        }
        for count in [1, 9000] {
            let by = ask((host, host_port(1)).into(), &vec![1; count]).unwrap();
            assert_eq!(plain(by), seen);
        }
    }
    // The container's own port by the host's address.
    let by = container.run(|| talk(SocketAddr::from(([10, 99, 0, 1], host_port(0))), 10));
    assert_eq!(by.unwrap(), "::ffff:10.99.0.1");
    // Nobody listens there in the container.
    let closed = bind_published(&[mapping(9, Protocol::Tcp)]).unwrap();
    let port = closed[0].mapping.host_port.unwrap();
    let closed: Vec<Arc<Bound>> = closed.into_iter().map(Arc::new).collect();
    relay.publish(&closed, endpoint).unwrap();
    let reset = talk(([127, 0, 0, 1], port).into(), 1).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
}
