//! Where a container's packets may go: this is what keeps it from the host's own loopback, because
//! the relay connects as the user, from the host's namespace.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The address that stands for the host, `host.containers.internal`.
pub const HOST: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 2);

/// Where to connect for a destination that the container names; none if it may not go there.
pub fn real(destination: SocketAddr, host_loopback: bool) -> Option<SocketAddr> {
    let address = match destination.ip() {
        IpAddr::V4(HOST) if host_loopback => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(HOST) => host()?,
        IpAddr::V4(four) if is_nobodys(four) => return None,
        IpAddr::V6(six) => {
            // Mapped and compatible addresses, unspecified and loopback.
            let four_inside = six.segments()[..5] == [0; 5];
            if four_inside || six.is_multicast() || six.is_unicast_link_local() {
                return None;
            }
            six.into()
        }
        four => four,
    };
    Some(SocketAddr::new(address, destination.port()))
}

fn is_nobodys(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first == 0 || address.is_loopback() || address.is_multicast() || address.is_broadcast()
}

/// The host's address towards the world: that of its default route. No packet is sent for this.
fn host() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737): nobody's, so the default route's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_of_the_host_is_nowhere() {
        for address in [
            "127.0.0.1:80",
            "127.255.3.4:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[::]:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[::127.0.0.1]:80",
            "[fe80::1]:80",
            "[ff02::1]:80",
        ] {
            assert_eq!(real(address.parse().unwrap(), true), None, "{address}");
        }
        for address in ["10.1.2.3:80", "[2001:db8::1]:80"] {
            let address = address.parse().unwrap();
            assert_eq!(real(address, false), Some(address));
        }
        let host = SocketAddr::new(HOST.into(), 80);
        assert_eq!(real(host, true), "127.0.0.1:80".parse().ok());
    }
}
