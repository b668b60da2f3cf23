//! Datagrams many at a time: recvmmsg(2), and the control messages of ip(7), ipv6(7) and udp(7) that
//! say where they were sent to and of which size they were before the kernel joined them.

use std::{
    io::{self, IoSlice},
    mem::{MaybeUninit, zeroed},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd},
    ptr,
};

/// Most datagrams, or runs of joined ones, that are received at once.
pub const MOST: usize = 32;
/// Of one of them.
const ROOM: usize = 64 << 10;
/// Most that the kernel sends joined (`UDP_MAX_SEGMENTS`).
pub const MOST_JOINED: usize = 64;

/// Room for the control messages of one datagram.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Datagrams as they were received.
pub struct Received {
    bytes: Box<[u8]>,
    about: Vec<About>,
}

#[derive(Clone, Copy, Debug)]
struct About {
    length: usize,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    segment: usize,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub source: Option<SocketAddr>,
    /// Of `IP_RECVORIGDSTADDR`; of `IP_PKTINFO` with the port 0.
    pub destination: Option<SocketAddr>,
    /// Every so many bytes another one begins, if the kernel has joined several; else 0.
    pub segment: usize,
    pub bytes: &'a [u8],
}

impl Default for Received {
    fn default() -> Self {
        Received {
            // Zeroed pages of the kernel's: what is not used costs nothing.
            bytes: vec![0; MOST * ROOM].into_boxed_slice(),
            about: Vec::with_capacity(MOST),
        }
    }
}

impl Received {
    /// Receives what is there, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; what an ICMP error has said of an earlier one of ours.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<()> {
        self.about.clear();
        // SAFETY: all three are plain C structs for which all zeroes is valid (recvmmsg(2)).
        let (mut names, mut headers): ([libc::sockaddr_storage; MOST], [libc::mmsghdr; MOST]) =
            unsafe { (zeroed(), zeroed()) };
        let mut controls = [const { MaybeUninit::<Control>::uninit() }; MOST];
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; MOST];
        for (index, room) in self.bytes.chunks_exact_mut(ROOM).take(MOST).enumerate() {
            let part = parts[index].write(libc::iovec {
                iov_base: room.as_mut_ptr().cast(),
                iov_len: ROOM,
            });
            let header = &mut headers[index].msg_hdr;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_name = ptr::from_mut(&mut names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_control = controls[index].as_mut_ptr().cast();
            header.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: each of the MOST headers points to one live part, name and control buffer, with
        // their sizes; all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                MOST as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (header, name) in headers.iter().zip(&names).take(count) {
            let mut about = About {
                length: (header.msg_len as usize).min(ROOM),
                source: address(name),
                destination: None,
                segment: 0,
            };
            // SAFETY: the kernel has filled in this header and its control buffer, both alive.
            unsafe { read_control(&header.msg_hdr, &mut about) };
            self.about.push(about);
        }
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> + Clone {
        let rooms = self.bytes.chunks_exact(ROOM);
        self.about.iter().zip(rooms).map(|(about, room)| Datagram {
            source: about.source,
            destination: about.destination,
            segment: about.segment,
            bytes: &room[..about.length],
        })
    }
}

/// # Safety
/// The header and the control buffer that it points to are alive and as the kernel left them.
unsafe fn read_control(header: &libc::msghdr, about: &mut About) {
    // SAFETY: the promise above; CMSG_NXTHDR stays within the buffer, cmsg(3). What is read is a
    // plain C struct of the size that goes with the type, from a place of any alignment.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let data = libc::CMSG_DATA(message);
            match (found.cmsg_level, found.cmsg_type) {
                (libc::SOL_IP, libc::IP_ORIGDSTADDR) => {
                    about.destination =
                        Some(four(&data.cast::<libc::sockaddr_in>().read_unaligned()));
                }
                (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) => {
                    about.destination =
                        Some(six(&data.cast::<libc::sockaddr_in6>().read_unaligned()));
                }
                (libc::SOL_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                    about.destination = Some(SocketAddr::new(address.into(), 0));
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    about.destination = Some(SocketAddr::new(address.into(), 0));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.cast::<libc::c_int>().read_unaligned();
                    about.segment = usize::try_from(size).unwrap_or(0);
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
}

/// What has become of a datagram that was sent, as ICMP or the kernel says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError {
    /// An errno.
    pub errno: i32,
    /// With `EMSGSIZE`: what the path takes, in bytes of a packet of IP.
    pub mtu: u32,
}

impl From<&io::Error> for SendError {
    fn from(error: &io::Error) -> Self {
        SendError {
            errno: error.raw_os_error().unwrap_or(0),
            mtu: 0,
        }
    }
}

/// The oldest error of a socket that keeps them ([`super::socket::receive_errors`]), without waiting.
///
/// # Errors
/// `WouldBlock` if there is none.
pub fn next_error(socket: impl AsFd) -> io::Result<Option<SendError>> {
    // SAFETY: a plain C struct for which all zeroes is valid (recvmsg(2)).
    let mut header: libc::msghdr = unsafe { zeroed() };
    // The datagram itself is not wanted, so there is no room for it.
    let mut control = Control([0; 128]);
    header.msg_control = ptr::from_mut(&mut control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to the control buffer alone, which outlives the call.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut header, flags) };
    if received == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled in the header and its control buffer, both alive; CMSG_NXTHDR stays
    // within the buffer, cmsg(3), and what is read is a plain C struct of the size that goes with the
    // type, from a place of any alignment.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&header);
        while let Some(found) = message.as_ref() {
            let kind = (found.cmsg_level, found.cmsg_type);
            if kind == (libc::SOL_IP, libc::IP_RECVERR)
                || kind == (libc::SOL_IPV6, libc::IPV6_RECVERR)
            {
                let data = libc::CMSG_DATA(message).cast::<libc::sock_extended_err>();
                let error = data.read_unaligned();
                return Ok(Some(SendError {
                    errno: error.ee_errno.cast_signed(),
                    mtu: error.ee_info,
                }));
            }
            message = libc::CMSG_NXTHDR(&header, message);
        }
    }
    Ok(None)
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = ptr::from_ref(name);
    match libc::c_int::from(name.ss_family) {
        // SAFETY: `sockaddr_storage` is as large and as aligned as every address, and the family
        // says which one the kernel has put there.
        libc::AF_INET => Some(four(unsafe { &*pointer.cast() })),
        // SAFETY: as above.
        libc::AF_INET6 => Some(six(unsafe { &*pointer.cast() })),
        _ => None,
    }
}

fn four(address: &libc::sockaddr_in) -> SocketAddr {
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into()
}

fn six(address: &libc::sockaddr_in6) -> SocketAddr {
    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
    SocketAddrV6::new(
        ip,
        u16::from_be(address.sin6_port),
        0,
        address.sin6_scope_id,
    )
    .into()
}

/// Where datagrams go, if the socket is not connected, and what they say they come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    pub to: Option<SocketAddr>,
    pub from: Option<IpAddr>,
}

/// Sends the parts as datagrams of `segment` bytes each, the last one of what is left
/// (`UDP_SEGMENT`); as a single one if `segment` is 0.
///
/// # Errors
/// `InvalidInput` if they do not fit the path's MTU, and so cannot be sent joined.
pub fn send(socket: impl AsFd, parts: &[IoSlice<'_>], segment: u16, way: Way) -> io::Result<()> {
    // SAFETY: both are plain C structs for which all zeroes is valid (sendmsg(2)).
    let (mut header, mut name): (libc::msghdr, libc::sockaddr_in6) =
        unsafe { (zeroed(), zeroed()) };
    let mut control = Control([0; 128]);
    header.msg_iov = parts.as_ptr().cast::<libc::iovec>().cast_mut();
    header.msg_iovlen = parts.len() as _;
    if let Some(to) = way.to {
        header.msg_namelen = write_address(&mut name, to);
        header.msg_name = ptr::from_mut(&mut name).cast();
    }
    header.msg_control = ptr::from_mut(&mut control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    let mut used = 0;
    if segment > 0 {
        // SAFETY: the header's control buffer is `control`, which has room for both messages.
        used += unsafe { add_control(&header, used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment) };
    }
    match way.from {
        Some(IpAddr::V4(from)) => {
            // SAFETY: a plain C struct for which all zeroes is valid.
            let mut info: libc::in_pktinfo = unsafe { zeroed() };
            info.ipi_spec_dst.s_addr = u32::from(from).to_be();
            // SAFETY: as above.
            used += unsafe { add_control(&header, used, libc::SOL_IP, libc::IP_PKTINFO, &info) };
        }
        Some(IpAddr::V6(from)) => {
            // SAFETY: a plain C struct for which all zeroes is valid.
            let mut info: libc::in6_pktinfo = unsafe { zeroed() };
            info.ipi6_addr.s6_addr = from.octets();
            // SAFETY: as above.
            used +=
                unsafe { add_control(&header, used, libc::SOL_IPV6, libc::IPV6_PKTINFO, &info) };
        }
        None => {}
    }
    header.msg_controllen = used as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `IoSlice` has the layout of `iovec`; the parts, the name and the control messages
    // are alive, and the kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &header, flags) };
    if sent == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Writes a control message `at` that place of the header's control buffer, and returns its size.
///
/// # Safety
/// The control buffer is a live [`Control`] that has room for it there.
unsafe fn add_control<T: Copy>(
    header: &libc::msghdr,
    at: usize,
    level: libc::c_int,
    kind: libc::c_int,
    value: &T,
) -> usize {
    // SAFETY: the promise above; the data of a message begins behind its header (CMSG_DATA), and
    // CMSG_SPACE counts both.
    unsafe {
        let message = header
            .msg_control
            .cast::<u8>()
            .add(at)
            .cast::<libc::cmsghdr>();
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(*value);
        libc::CMSG_SPACE(size_of::<T>() as u32) as usize
    }
}

fn write_address(name: &mut libc::sockaddr_in6, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(four) => {
            let place = ptr::from_mut(name).cast::<libc::sockaddr_in>();
            // SAFETY: a `sockaddr_in6` is larger than a `sockaddr_in` and as aligned; it was zeroed.
            let place = unsafe { &mut *place };
            place.sin_family = libc::AF_INET as libc::sa_family_t;
            place.sin_port = four.port().to_be();
            place.sin_addr.s_addr = u32::from(*four.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(six) => {
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = six.port().to_be();
            name.sin6_addr.s6_addr = six.ip().octets();
            name.sin6_scope_id = six.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::sys::socket;

    #[test]
    fn joined_datagrams_arrive_as_they_were() {
        for host in ["127.0.0.1", "::1"] {
            let two = (UdpSocket::bind((host, 0)), UdpSocket::bind((host, 0)));
            // No IPv6 here.
            let (Ok(a), Ok(b)) = two else { continue };
            let (to, from) = (b.local_addr().unwrap(), a.local_addr().unwrap());
            socket::receive_joined(&b).unwrap();
            socket::receive_local_address(&b, socket::family_of(&to)).unwrap();
            let way = Way {
                to: Some(to),
                from: Some(from.ip()),
            };
            let parts = [IoSlice::new(b"abcdefgh"), IoSlice::new(b"ij")];
            send(&a, &parts, 4, way).unwrap();
            send(&a, &[IoSlice::new(b"")], 0, way).unwrap();
            let mut received = Received::default();
            received.receive(&b).unwrap();
            let seen: Vec<(Vec<u8>, usize)> = received
                .iter()
                .map(|datagram| {
                    assert_eq!(datagram.source, Some(from));
                    assert_eq!(datagram.destination.unwrap().ip(), to.ip());
                    (datagram.bytes.to_vec(), datagram.segment)
                })
                .collect();
            assert_eq!(seen, [(b"abcdefghij".to_vec(), 4), (Vec::new(), 0)]);
            let nothing = received.receive(&b).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
