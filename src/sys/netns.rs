//! Network namespaces of threads, network_namespaces(7). A socket belongs to the namespace that
//! the thread was in that made it, and stays there whoever uses it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    thread::{LinkNameSpaceType, UnshareFlags},
};

/// Moves the calling thread, and no other, into a new network namespace. Needs `CAP_SYS_ADMIN` in
/// the user namespace, which then owns it.
pub fn unshare() -> io::Result<()> {
    // SAFETY: unsharing is unsound only for descriptors shared between threads (CLONE_FILES),
    // which is not among these flags.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Moves the calling thread, and no other, into a network namespace. Needs `CAP_SYS_ADMIN` in the
/// user namespace that owns it, and in the thread's own.
pub fn enter(namespace: impl AsFd) -> io::Result<()> {
    let kind = Some(LinkNameSpaceType::Network);
    Ok(rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        kind,
    )?)
}

/// The network namespace that the calling thread is in.
pub fn of_this_thread() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(
        "/proc/thread-self/ns/net",
        flags,
        Mode::empty(),
    )?)
}

/// Runs `inside` on a thread of its own that has entered the namespace: the caller's threads stay
/// where they are, and what is made inside (sockets) stays there.
pub fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    inside: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    apart(|| {
        enter(namespace)?;
        inside()
    })
}

/// A new network namespace with nothing in it but a loopback link that is down. It lives as long as
/// the descriptor or a process in it.
pub fn new() -> io::Result<OwnedFd> {
    apart(|| {
        unshare()?;
        of_this_thread()
    })
}

/// Runs `inside` on a thread of its own, which ends with it.
fn apart<T: Send>(inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        let thread = thread.spawn_scoped(scope, inside)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread in another namespace panicked")))
    })
}
