//! Unix sockets that keep message borders (`SOCK_SEQPACKET`, unix(7)) and carry descriptors.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// A connected pair; both ends close on exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// The address of `name` in a directory that is held open: a path of any depth would not fit into
/// the 108 bytes of a socket address.
fn address(directory: impl AsFd, name: &str) -> io::Result<SocketAddrUnix> {
    let number = directory.as_fd().as_raw_fd();
    Ok(SocketAddrUnix::new(format!(
        "/proc/self/fd/{number}/{name}"
    ))?)
}

/// A listening socket `name` in `directory`, where it must not exist. The directory's mode guards
/// it.
pub fn listen(directory: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &address(&directory, name)?)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// [`listen`], in place of a socket that nobody listens to any more.
pub fn listen_anew(directory: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match listen(&directory, name) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            rustix::fs::unlinkat(&directory, name, rustix::fs::AtFlags::empty())?;
            listen(&directory, name)
        }
        other => other,
    }
}

/// Connects to the socket `name` in `directory`.
pub fn connect(directory: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::connect(&socket, &address(&directory, name)?)?;
    Ok(socket)
}

/// A listening stream socket `name` in `directory`, where it must not exist.
pub fn listen_stream(directory: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address(&directory, name)?)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// Connects to a stream socket of somebody else's, by its path.
pub fn connect_stream(path: &str) -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Connects to a datagram socket of somebody else's, by its path.
pub fn connect_datagram(path: &str) -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Most descriptors that one message carries.
const MOST_DESCRIPTORS: usize = 2;

/// Sends `head` and `body` as one message, with at most one descriptor. A peer that is gone is
/// `BrokenPipe`, not a signal.
pub fn send(
    socket: impl AsFd,
    head: &[u8],
    body: &[u8],
    descriptor: Option<impl AsFd>,
    wait: bool,
) -> io::Result<()> {
    let descriptor = descriptor.as_ref().map(AsFd::as_fd);
    send_with(socket, head, body, descriptor.as_slice(), wait)
}

/// The same with at most two descriptors.
pub fn send_with(
    socket: impl AsFd,
    head: &[u8],
    body: &[u8],
    descriptors: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let mut flags = SendFlags::NOSIGNAL;
    if !wait {
        flags |= SendFlags::DONTWAIT;
    }
    let parts = [IoSlice::new(head), IoSlice::new(body)];
    loop {
        match rustix::net::sendmsg(socket.as_fd(), &parts, &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one message into `buffer`: its length (0 when the peer has closed) and the descriptor
/// that came along. A message longer than the buffer is an error, never a part of one.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    wait: bool,
) -> io::Result<(usize, Option<OwnedFd>)> {
    let (length, descriptors) = receive_with(socket, buffer, wait)?;
    Ok((length, descriptors.into_iter().next()))
}

/// The same with all descriptors that came along.
pub fn receive_with(
    socket: impl AsFd,
    buffer: &mut [u8],
    wait: bool,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    if !wait {
        flags |= RecvFlags::DONTWAIT;
    }
    loop {
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(buffer)],
            &mut ancillary,
            flags,
        );
        let message = match received {
            // The peer closed without reading what we sent. The kernel says so once, before it
            // hands over what the peer had sent: its last words must not be lost for that.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => continue,
            other => other?,
        };
        if message.flags.contains(rustix::net::ReturnFlags::TRUNC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "message too long",
            ));
        }
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        return Ok((message.bytes, descriptors));
    }
}
