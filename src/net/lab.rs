//! A network to try things in, for tests: namespaces of the test's own, which go with it.
//!
//! ```text
//!   remote 192.0.2.2 ── 192.0.2.1 host ── bridges ── containers
//!          2001:db8::2 ── 2001:db8::1
//! ```

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Command,
    time::Duration,
};

use crate::{
    model::{
        Result,
        network::{Endpoint, Mac, Network, NetworkId, Subnet},
        publish::{PortMapping, parse_publish},
    },
    net::{
        bridge,
        netlink::{
            Batch, Socket,
            route::{self, NewLink, Route},
        },
    },
    sys,
};

pub struct Lab {
    pub host: OwnedFd,
    pub remote: OwnedFd,
}

/// Runs something in a namespace.
pub fn within<T: Send>(namespace: &OwnedFd, inside: impl FnOnce() -> T + Send) -> T {
    sys::netns::within(namespace.as_fd(), || Ok(inside())).unwrap()
}

impl Lab {
    /// None without the right to make namespaces.
    pub fn new() -> Option<Self> {
        let new = || match sys::netns::new() {
            Ok(namespace) => Some(namespace),
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => None,
            Err(cause) => panic!("{cause}"),
        };
        let lab = Lab {
            host: new()?,
            remote: new()?,
        };
        // It would be that of the machine, on which another engine may have switched it on.
        let forwarding = "/proc/sys/net/ipv4/ip_forward";
        within(&lab.host, || std::fs::write(forwarding, "0")).unwrap();
        let mut host = Socket::route_in(lab.host.as_fd()).unwrap();
        let mut batch = Batch::new();
        batch.push("lo", route::set_up(1));
        let far = NewLink::end("far")
            .index(2)
            .in_namespace(lab.remote.as_fd());
        batch.push("way", NewLink::veth("way", far).index(2).up().request());
        batch.push(
            "way",
            route::add_address(2, "192.0.2.1/24".parse().unwrap()),
        );
        batch.push(
            "way",
            route::add_address(2, "2001:db8::1/64".parse().unwrap()),
        );
        host.send(batch).unwrap();
        let mut remote = Socket::route_in(lab.remote.as_fd()).unwrap();
        let mut batch = Batch::new();
        batch.push("lo", route::set_up(1));
        batch.push("far", route::set_up(2));
        batch.push(
            "far",
            route::add_address(2, "192.0.2.2/24".parse().unwrap()),
        );
        batch.push(
            "far",
            route::add_address(2, "2001:db8::2/64".parse().unwrap()),
        );
        // It knows the way to the containers, as a hostile neighbour would.
        batch.push(
            "to them",
            Route::to("10.0.0.0/8".parse().unwrap())
                .via(ip("192.0.2.1"))
                .add(),
        );
        remote.send(batch).unwrap();
        let mut batch = Batch::new();
        batch.push("default", Route::default_v4().via(ip("192.0.2.2")).add());
        host.send(batch).unwrap();
        Some(lab)
    }

    /// What Debian's program says of the namespace.
    pub fn program(namespace: &OwnedFd, words: &str) -> String {
        let path = format!(
            "--net=/proc/{}/fd/{}",
            std::process::id(),
            namespace.as_raw_fd()
        );
        let mut command = Command::new("nsenter");
        command.arg(path).args(words.split(' '));
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    /// A new container in the network, with its namespace.
    pub fn attach(&self, network: &Network, endpoint: &Endpoint) -> Result<OwnedFd> {
        let container = sys::netns::new().unwrap();
        let mut batch = Batch::new();
        batch.push("lo", route::set_up(1));
        Socket::route_in(container.as_fd())?.send(batch)?;
        within(&self.host, || {
            bridge::attach(&mut Socket::route()?, network, endpoint, container.as_fd())
        })?;
        Ok(container)
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `10.number.0.0/24` and `fd00:number::/64`.
pub fn network(number: u8) -> Network {
    let id = NetworkId::from_random([number; 32]);
    let subnet = |net: String, gateway: String| {
        Subnet::new(net.parse().unwrap(), Some(gateway.parse().unwrap()))
    };
    Network {
        interface: format!("co-{number}"),
        ipv6: true,
        subnets: vec![
            subnet(format!("10.{number}.0.0/24"), format!("10.{number}.0.1")),
            subnet(format!("fd00:{number}::/64"), format!("fd00:{number}::1")),
        ],
        ..Network::new(&format!("net{number}"), id)
    }
}

pub fn endpoint(network: &Network, host: u8) -> Endpoint {
    let address = |subnet: &Subnet| {
        let base = crate::model::network::plus(subnet.net.network(), u32::from(host));
        ipnet::IpNet::new(base, subnet.net.prefix_len()).unwrap()
    };
    let addresses: Vec<_> = network.subnets.iter().map(address).collect();
    Endpoint {
        network: network.id.clone(),
        network_name: network.name.clone(),
        interface: "eth0".to_owned(),
        host_interface: None,
        mac: Mac::of_address(addresses[0].addr()),
        addresses,
        gateways: network
            .subnets
            .iter()
            .filter_map(|one| one.gateway)
            .collect(),
        names: Vec::new(),
        default_route: true,
        mtu: None,
        metric: None,
        link_local: Vec::new(),
    }
}

pub fn ports(text: &[&str]) -> Vec<PortMapping> {
    text.iter()
        .flat_map(|one| parse_publish(one).unwrap())
        .collect()
}

/// A server in the namespace that tells each client its address, for TCP and UDP.
pub fn serve(namespace: &OwnedFd, port: u16) {
    let address = SocketAddr::new(ip("::"), port);
    let (tcp, udp) = within(namespace, || {
        (
            TcpListener::bind(address).unwrap(),
            UdpSocket::bind(address).unwrap(),
        )
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip().to_canonical();
            stream.write_all(peer.to_string().as_bytes()).ok();
        }
    });
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut bytes) {
            let text = peer.ip().to_canonical().to_string();
            udp.send_to(text.as_bytes(), peer).ok();
        }
    });
}

/// What the server says that answers there; `-` if none does.
pub fn call(namespace: &OwnedFd, address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let patience = Duration::from_millis(400);
    let called = within(namespace, || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    called.unwrap_or_else(|_| "-".to_owned())
}

/// The same over UDP.
pub fn call_udp(namespace: &OwnedFd, address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let called = within(namespace, || -> io::Result<String> {
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(Duration::from_millis(400)))?;
        socket.connect(address)?;
        socket.send(b"?")?;
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    });
    called.unwrap_or_else(|_| "-".to_owned())
}
