//! Netlink sockets, netlink(7), with the options under which the kernel says what it dislikes.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};

/// A socket of `protocol` (none: rtnetlink(7)) in the network namespace of the calling thread, where it stays. Errors
/// come with the kernel's words (`NETLINK_EXT_ACK`) and without the request (`NETLINK_CAP_ACK`);
/// dumps are filtered by what the request says (`NETLINK_GET_STRICT_CHK`).
pub fn socket(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    set_option(&socket, libc::NETLINK_EXT_ACK)?;
    set_option(&socket, libc::NETLINK_CAP_ACK)?;
    // A filter that an old kernel does not know costs only time: every reader filters again.
    set_option(&socket, libc::NETLINK_GET_STRICT_CHK).ok();
    Ok(socket)
}

fn set_option(socket: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the kernel reads the four bytes of `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
