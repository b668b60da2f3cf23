//! Network devices whose packets a process reads and writes, Documentation/networking/tuntap.rst.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::fs::{Mode, OFlags};

/// Before each packet, in both directions: `struct virtio_net_hdr`, linux/virtio_net.h. It says which
/// checksum is not filled in yet, and that a packet is several segments joined; all zeroes is that a
/// packet is whole.
pub const HEADER: usize = 10;

/// A new device of whole IP packets in the calling thread's network namespace, and its name. It is
/// down, and goes away with the descriptor. Needs `CAP_NET_ADMIN` over that namespace.
///
/// # Errors
/// `NotFound` if there is no /dev/net/tun, `PermissionDenied` if it may not be opened.
pub fn open() -> io::Result<(OwnedFd, String)> {
    let device = control()?;
    // SAFETY: `ifreq` is a plain C struct for which all zeroes is valid (netdevice(7)).
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"relay%d") {
        *place = byte.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: `request` is a live `ifreq`, which TUNSETIFF reads, and whose name it writes.
    let result = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            libc::TUNSETIFF as _,
            std::ptr::from_mut(&mut request),
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    let name = request
        .ifr_name
        .iter()
        .take_while(|&&byte| byte != 0)
        .map(|byte| char::from(byte.cast_unsigned()))
        .collect();
    Ok((device, name))
}

/// Whether this user may make devices, where it has the rights for that.
///
/// # Errors
/// As [`open`].
pub fn available() -> io::Result<()> {
    control().map(drop)
}

fn control() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open("/dev/net/tun", flags, Mode::empty())?)
}

/// From now on TCP's segments come out of the device joined, and without checksums, as the sender's
/// kernel has them; the header says so.
pub fn receive_joined(device: impl AsFd) -> io::Result<()> {
    let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let result = unsafe {
        libc::ioctl(
            device.as_fd().as_raw_fd(),
            libc::TUNSETOFFLOAD as _,
            libc::c_ulong::from(offloads),
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
