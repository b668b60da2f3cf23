//! Frames that a container makes up, with the guard and without.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    model::network::Mac,
    net::{
        lab::{Lab, call, endpoint, ip, network, serve, within},
        netlink::route,
    },
};

const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// A container of the network, whose addresses are its own.
fn container(lab: &Lab, network: &Network, host: u8) -> (OwnedFd, Endpoint) {
    let endpoint = endpoint(network, host);
    let namespace = lab.attach(network, &endpoint).unwrap();
    within(&lab.host, || {
        attach(&mut Socket::netfilter()?, network, &endpoint)
    })
    .unwrap();
    (namespace, endpoint)
}

/// Sends a frame from the container's link, as CAP_NET_RAW lets it.
fn send(container: &OwnedFd, frame: &[u8]) {
    let link = route::link_named(&mut Socket::route_in(container.as_fd()).unwrap(), "eth0");
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let program = "socket(S,17,3,768)&&send(S,pack('H*',$ARGV[0]),0,pack('SnlSCCa8',17,3,$ARGV[1],0,0,6,''))||die";
    let index = link.unwrap().unwrap().index;
    let said = Lab::program(container, &format!("perl -e {program} {hex} {index}"));
    assert_eq!(said, "");
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let words = bytes.chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}

fn ethernet(to: Mac, from: Mac, protocol: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &protocol, payload].concat()
}

/// A packet of IP; of a message of ICMPv6 the checksum is filled in.
fn packet(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> ([u8; 2], Vec<u8>) {
    let (source, destination) = (octets(from), octets(to));
    let length = (payload.len() as u16).to_be_bytes();
    if from.is_ipv4() {
        let total = (payload.len() as u16 + 20).to_be_bytes();
        let mut header = [&[0x45, 0], &total[..], &[0, 0, 0, 0, 64, protocol, 0, 0]].concat();
        header.extend([source, destination].concat());
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum);
        return ([8, 0], [&header, payload].concat());
    }
    let mut payload = payload.to_vec();
    let pseudo = [0, 0, length[0], length[1], 0, 0, 0, protocol];
    let sum = checksum(&[&source, &destination, &pseudo, &payload]);
    payload[2..4].copy_from_slice(&sum);
    let header = [&[0x60, 0, 0, 0], &length[..], &[protocol, 255]].concat();
    (
        [0x86, 0xdd],
        [header, source, destination, payload].concat(),
    )
}

fn arp_answer(sender: (Mac, IpAddr), target: (Mac, IpAddr)) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, 2];
    for (mac, address) in [sender, target] {
        message.extend(mac.0);
        message.extend(octets(address));
    }
    message
}

/// What `ip neigh` of the container says of an address.
fn neighbour_of(container: &OwnedFd, address: &str) -> String {
    let said = Lab::program(container, &format!("ip neigh show {address}"));
    let mut words = said.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

/// Whether the attacks of one container on its neighbours succeed.
struct Attack<'a> {
    from: &'a (OwnedFd, Endpoint),
    victim: &'a (OwnedFd, Endpoint),
    witness: &'a (OwnedFd, Endpoint),
}

impl Attack<'_> {
    fn send(&self, to: Mac, (protocol, packet): ([u8; 2], Vec<u8>)) {
        let frame = ethernet(to, self.from.1.mac, protocol, &packet);
        send(&self.from.0, &frame);
    }

    /// A datagram with this source reaches the witness.
    fn datagram(&self, mac: Mac, source: IpAddr) -> bool {
        let to = self.witness.1.addresses[0].addr();
        let receiver = within(&self.witness.0, || UdpSocket::bind("0.0.0.0:9").unwrap());
        let patience = Some(Duration::from_millis(300));
        receiver.set_read_timeout(patience).unwrap();
        let datagram = [0, 9, 0, 9, 0, 12, 0, 0, b'e', b'v', b'i', b'l'];
        let (protocol, packet) = packet(source, to, UDP, &datagram);
        let frame = ethernet(self.witness.1.mac, mac, protocol, &packet);
        send(&self.from.0, &frame);
        let received = receiver.recv_from(&mut [0; 16]);
        received.is_ok_and(|(_, sender)| sender == SocketAddr::new(source, 9))
    }

    /// The witness takes us for the holder of that address.
    fn arp(&self, address: IpAddr) -> bool {
        let own = (self.from.1.mac, address);
        // To oneself: what was learnt just before would be believed for a second otherwise.
        let answer = arp_answer(own, own);
        self.send(self.witness.1.mac, ([8, 6], answer));
        thread::sleep(Duration::from_millis(50));
        neighbour_of(&self.witness.0, &address.to_string()) == self.from.1.mac.to_string()
    }

    /// The same for an address of IPv6.
    fn advertisement(&self, address: IpAddr) -> bool {
        let witness = &self.witness.1;
        let own = self.from.1.addresses[1].addr();
        let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        message.extend(octets(address));
        message.extend([2, 1]);
        message.extend(self.from.1.mac.0);
        self.send(
            witness.mac,
            packet(own, witness.addresses[1].addr(), ICMPV6, &message),
        );
        thread::sleep(Duration::from_millis(50));
        neighbour_of(&self.witness.0, &address.to_string()) == self.from.1.mac.to_string()
    }

    /// The witness, which listens to routers, takes us for one.
    fn router(&self) -> bool {
        let message = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let own = link_local(self.from.1.mac.0).into();
        let everybody = Mac([0x33, 0x33, 0, 0, 0, 1]);
        self.send(everybody, packet(own, ip("ff02::1"), ICMPV6, &message));
        thread::sleep(Duration::from_millis(50));
        Lab::program(&self.witness.0, "ip -6 route").contains("proto ra")
    }
}

#[test]
fn a_container_speaks_for_itself_alone() {
    let Some(lab) = Lab::new() else { return };
    let net = network(9);
    let [victim, from, witness] = [2, 3, 4].map(|host| container(&lab, &net, host));
    within(&witness.0, || {
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_ra", "2").unwrap();
    });
    serve(&witness.0, 80);
    let known = || {
        assert_eq!(call(&victim.0, "10.9.0.4:80"), "10.9.0.2");
        assert_eq!(call(&victim.0, "[fd00:9::4]:80"), "fd00:9::2");
        assert_eq!(call(&from.0, "10.9.0.4:80"), "10.9.0.3");
        assert_eq!(call(&lab.host, "10.9.0.4:80"), "10.9.0.1");
        assert_eq!(call(&lab.host, "[fd00:9::4]:80"), "fd00:9::1");
    };
    known();
    let attack = Attack {
        from: &from,
        victim: &victim,
        witness: &witness,
    };
    let (own, mac) = (attack.from.1.mac, attack.victim.1.mac);
    assert!(attack.datagram(own, ip("10.9.0.3")));
    // An address that nobody has may be taken in addition.
    assert!(attack.datagram(own, ip("10.9.0.77")));
    assert!(!attack.datagram(mac, ip("10.9.0.3")));
    assert!(!attack.datagram(mac, ip("10.9.0.2")));
    known();
    let attempts = |attack: &Attack<'_>| {
        [
            attack.datagram(own, ip("10.9.0.2")),
            attack.datagram(own, ip("10.9.0.1")),
            attack.arp(ip("10.9.0.2")),
            attack.arp(ip("10.9.0.1")),
            attack.advertisement(ip("fd00:9::2")),
            attack.advertisement(ip("fd00:9::1")),
            attack.router(),
        ]
    };
    assert_eq!(attempts(&attack), [false; 7]);
    known();
    // It is the table that does it, not something else.
    within(&lab.host, || {
        let mut batch = Batch::new();
        batch.push("remove", TABLE.delete());
        Socket::netfilter().unwrap().send(batch).unwrap();
    });
    assert_eq!(attempts(&attack), [true; 7]);
}

#[test]
fn the_table_comes_again_and_forgets_networks() {
    let Some(lab) = Lab::new() else { return };
    let (one, other) = (network(9), network(10));
    container(&lab, &one, 2);
    container(&lab, &other, 2);
    let list = || Lab::program(&lab.host, "nft list table bridge coracle");
    let whole = list();
    assert!(whole.contains(" . 10.9.0.2 . 02:42:0a:09:00:02"), "{whole}");
    within(&lab.host, || {
        forget(&mut Socket::netfilter().unwrap(), &other).unwrap();
    });
    let rest = list();
    assert!(
        rest.contains("10.9.0.2") && !rest.contains("10.10.0.2"),
        "{rest}"
    );
    Lab::program(&lab.host, "nft flush ruleset");
    within(&lab.host, || {
        forget(&mut Socket::netfilter().unwrap(), &other).unwrap();
    });
    container(&lab, &one, 2);
    assert_eq!(list(), rest);
}
