//! Making processes: clone3(2) without an exec.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use rustix::process::Pid;

/// Namespaces a child is put into, as the `CLONE_NEW*` bits of namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    pub const NONE: Namespaces = Namespaces(0);
    pub const MOUNT: Namespaces = Namespaces(libc::CLONE_NEWNS as u64);
    pub const PID: Namespaces = Namespaces(libc::CLONE_NEWPID as u64);
    pub const NET: Namespaces = Namespaces(libc::CLONE_NEWNET as u64);
    pub const IPC: Namespaces = Namespaces(libc::CLONE_NEWIPC as u64);
    pub const UTS: Namespaces = Namespaces(libc::CLONE_NEWUTS as u64);
    pub const USER: Namespaces = Namespaces(libc::CLONE_NEWUSER as u64);
    pub const CGROUP: Namespaces = Namespaces(libc::CLONE_NEWCGROUP as u64);

    #[must_use]
    pub fn with(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 | other.0)
    }
}

/// A child as its parent holds it. `pid` is only for the child itself and for messages; acts go
/// through `pidfd`, which cannot come to mean another process.
#[derive(Debug)]
pub struct Child {
    pub pid: Pid,
    pub pidfd: OwnedFd,
}

/// clone3(2) with `CLONE_PIDFD`: runs `child` in a copy of this process, in new `namespaces`.
/// The copy never returns from here: when `child` does, it ends with that exit status.
///
/// # Panics
/// If this process has more than one thread: the child would hold locks that nobody releases.
pub fn fork(namespaces: Namespaces, child: impl FnOnce() -> i32) -> io::Result<Child> {
    fork_into(namespaces, None, child)
}

/// [`fork`], with the child in another version 2 cgroup from its first instruction: `cgroup` is
/// its directory (`CLONE_INTO_CGROUP`). That cgroup is also the root of a new cgroup namespace.
///
/// # Panics
/// As [`fork`].
pub fn fork_into(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<Child> {
    /// <linux/sched.h>
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    assert!(
        is_single_threaded(),
        "fork in a process with several threads"
    );
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is a plain C struct for which all zeroes is valid (clone(2)).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64 | namespaces.0;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    // With CLONE_PARENT it is the caller's own, and must be 0 here (clone(2)).
    if namespaces.0 & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM and with a null stack the call acts like fork(2): the child gets a
    // copy of the address space. Only this thread exists (asserted above), so no lock of the C
    // library or of the allocator can be held in the copy. `args`, `pidfd` and the borrowed cgroup
    // outlive the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = child();
            // SAFETY: _exit(2) has no precondition. Destructors and exit handlers belong to the parent.
            unsafe { libc::_exit(status) }
        }
        pid => {
            let pid = i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .ok_or(io::ErrorKind::Other)?;
            Ok(Child {
                pid,
                // SAFETY: the kernel has stored a new descriptor there (CLONE_PIDFD), owned by
                // nobody else.
                pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
            })
        }
    }
}

/// As [`fork`], by way of a process in between that first runs `enter` (a namespace, say, which
/// this process cannot come back from) and ends: the child is this process's own
/// (`CLONE_PARENT`). This process must not be the init of its pid namespace's parent.
///
/// # Errors
/// `PermissionDenied` if `enter` says that it failed.
pub fn fork_through(
    enter: impl FnOnce() -> bool,
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<Child> {
    let (ours, theirs) = super::packet::pair()?;
    let between = fork(Namespaces::NONE, || {
        if !enter() {
            return 1;
        }
        let parent = Namespaces(libc::CLONE_PARENT as u64);
        match fork_into(namespaces.with(parent), cgroup, child) {
            Ok(made) => {
                let sent = super::packet::send(&theirs, b"P", &[], Some(&made.pidfd), true);
                i32::from(sent.is_err())
            }
            Err(_) => 2,
        }
    })?;
    drop(theirs);
    let status = super::process::reap(&between.pidfd)?;
    if status != 0 {
        return Err(match status {
            1 => io::ErrorKind::PermissionDenied.into(),
            _ => io::Error::from_raw_os_error(libc::EPERM),
        });
    }
    let (_, pidfd) = super::packet::receive(&ours, &mut [0], true)?;
    let pidfd = pidfd.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Child {
        // Only for messages, and for the child itself; nobody here asks for it.
        pid: between.pid,
        pidfd,
    })
}

/// clone(2) with `CLONE_PIDFD`, returning on both sides: the child as the parent holds it, `None`
/// in the child. The old call, because the container's filter refuses clone3.
///
/// # Panics
/// As [`fork`].
pub fn split() -> io::Result<Option<Child>> {
    assert!(
        is_single_threaded(),
        "fork in a process with several threads"
    );
    split_with(0)
}

/// [`split`] for a child of [`fork`], which has one thread: the copy is a sibling, a child of this
/// process's parent (`CLONE_PARENT`). Looks at no path: they may be somebody else's by now.
pub fn split_as_sibling() -> io::Result<Option<Child>> {
    split_with(libc::CLONE_PARENT)
}

fn split_with(flags: libc::c_int) -> io::Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    let flags = libc::c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD | flags);
    // SAFETY: as for `fork`. The last two arguments, whose order differs between architectures,
    // are both zero.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            0,
            std::ptr::from_mut(&mut pidfd),
            0,
            0,
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => {
            let pid = i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .ok_or(io::ErrorKind::Other)?;
            Ok(Some(Child {
                pid,
                // SAFETY: the kernel has stored a new descriptor there (CLONE_PIDFD), owned by
                // nobody else.
                pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
            }))
        }
    }
}

/// _exit(2): ends this process without running destructors or exit handlers.
pub fn end(status: i32) -> ! {
    // SAFETY: no precondition.
    unsafe { libc::_exit(status) }
}

/// Whether this is the process's only thread. `Threads` of /proc is not needed: a directory with
/// one task has the link count 3 (".", ".." and the task).
pub fn is_single_threaded() -> bool {
    match rustix::fs::stat("/proc/self/task") {
        Ok(stat) => stat.st_nlink == 3,
        // Without /proc nothing of ours works anyway; the caller's next step says so.
        Err(_) => true,
    }
}
