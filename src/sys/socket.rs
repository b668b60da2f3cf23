//! Internet sockets: the options of ip(7), ipv6(7), tcp(7) and udp(7) that rustix does not wrap.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// The family of an address, and of the sockets that can have it.
pub fn family_of(address: &SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

/// A socket that never blocks and closes on exec. One of IPv6 does not take IPv4's packets.
pub fn make(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if family == AddressFamily::INET6 {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

/// A socket for ICMP echo without privileges, icmp(7) "ping socket". `EACCES` if
/// net.ipv4.ping_group_range does not have this group.
pub fn make_echo(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = match family {
        AddressFamily::INET6 => rustix::net::ipproto::ICMPV6,
        _ => rustix::net::ipproto::ICMP,
    };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
    Ok(socket)
}

/// Lets the socket have addresses that are not this host's (`IP_TRANSPARENT`): to be bound to them,
/// and to be given their packets by TPROXY. Needs `CAP_NET_ADMIN` over its network namespace.
pub fn set_transparent(socket: impl AsFd, family: AddressFamily) -> io::Result<()> {
    match family {
        AddressFamily::INET6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, 1),
        _ => set(socket, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1),
    }
}

/// Every datagram says where it was sent to (`IP_RECVORIGDSTADDR`).
pub fn receive_original_destination(socket: impl AsFd, family: AddressFamily) -> io::Result<()> {
    match family {
        AddressFamily::INET6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR, 1),
        _ => set(socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, 1),
    }
}

/// Every datagram says to which of this host's addresses it came (`IP_PKTINFO`).
pub fn receive_local_address(socket: impl AsFd, family: AddressFamily) -> io::Result<()> {
    match family {
        AddressFamily::INET6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        _ => set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
    }
}

/// Datagrams of one flow arrive joined, with their size (`UDP_GRO`).
pub fn receive_joined(socket: impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// What ICMP says of datagrams that were sent is kept for [`super::datagram::next_error`] (`IP_RECVERR`),
/// and the next call fails with it, also if a router has said so that may be wrong.
pub fn receive_errors(socket: impl AsFd, family: AddressFamily) -> io::Result<()> {
    match family {
        AddressFamily::INET6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
        _ => set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
    }
}

/// Closing aborts the connection: the peer sees a reset (`SO_LINGER` of no time).
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO))?;
    Ok(())
}

/// Packets come and go by this link alone (`SO_BINDTOIFINDEX`); by any one if it is 0.
pub fn bind_to_link(socket: impl AsFd, index: u32) -> io::Result<()> {
    let index = libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    set(socket, libc::SOL_SOCKET, SO_BINDTOIFINDEX, index)
}

/// asm-generic/socket.h.
const SO_BINDTOIFINDEX: libc::c_int = 62;

/// Sets an option whose value is a C int, setsockopt(2).
fn set(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and length describe one live int, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
