//! Entering the namespaces of others, setns(2), through descriptors that the engine has opened and
//! checked.
//!
//! The pid namespace takes effect on children only, so the supervisor enters it just before it
//! makes the first process; that one enters all others itself.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    thread::{LinkNameSpaceType, ThreadNameSpaceType},
};

use crate::{
    engine::plan::{Join, NamespacePlan},
    model::{
        Context, Error, ErrorKind, Result,
        namespace::{NamespaceKind, Place, Placement},
    },
    sys::{
        fork::{self, Child, Namespaces},
        mount, packet, process,
    },
};

/// `f_type` of tmpfs, statfs(2).
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// The namespaces that the first process is made with.
pub(super) fn made(placement: &Placement) -> Namespaces {
    [
        (NamespaceKind::Pid, Namespaces::PID),
        (NamespaceKind::Ipc, Namespaces::IPC),
        (NamespaceKind::Uts, Namespaces::UTS),
        (NamespaceKind::Cgroup, Namespaces::CGROUP),
        (NamespaceKind::Network, Namespaces::NET),
    ]
    .into_iter()
    .filter(|(kind, _)| placement.of(*kind) == Place::Own)
    .fold(Namespaces::MOUNT, |all, (_, flag)| all.with(flag))
}

/// Holds the mount namespace of the first process, if its pid namespace is not its own.
pub(super) fn mounts_of(placement: &Placement, child: &Child) -> Result<Option<OwnedFd>> {
    if placement.pid == Place::Own {
        return Ok(None);
    }
    match open_one(&child.pidfd, "mnt") {
        Ok(namespace) => Ok(Some(namespace)),
        // It has failed and ended; why comes over its socket.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(error).system(|| "cannot open the container's mount namespace".to_owned())
        }
    }
}

/// Holds the mount namespace of a process that is no child of this one; `None` if it is over.
pub(super) fn mounts_of_other(process: &OwnedFd) -> Result<Option<OwnedFd>> {
    let held = open_one(process, "mnt");
    // The number can have gone to another process before it was opened, not before it is asked now.
    let is_over = process::host_pid(process).is_ok_and(|number| number < 0);
    match held {
        _ if is_over => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        held => held
            .map(Some)
            .system(|| "cannot open the container's mount namespace".to_owned()),
    }
}

/// Holds the network namespace of a process, by its pidfd.
pub fn network_of(first: impl AsFd) -> Result<OwnedFd> {
    open_one(first, "net").system(|| "cannot open the container's network namespace".to_owned())
}

fn open_one(process: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let number = process::host_pid(process)?;
    let path = format!("/proc/{number}/ns/{name}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Those of a container's first process that are not the host's (an ordinary user may not enter
/// the host's, in which she is anyway).
pub(super) fn of_container(placement: &Placement) -> ThreadNameSpaceType {
    NamespaceKind::ALL
        .into_iter()
        .filter(|kind| placement.of(*kind) != Place::Host)
        .fold(ThreadNameSpaceType::MOUNT, |all, kind| all | flag(kind))
}

/// Enters the joined pid namespace, if there is one, with this process's later children.
pub(super) fn enter_pid(plan: &NamespacePlan, held: &[OwnedFd]) -> Result<()> {
    enter_those(plan, held, |kind| kind == NamespaceKind::Pid)
}

/// Enters all others with this process.
pub(super) fn enter_others(plan: &NamespacePlan, held: &[OwnedFd]) -> Result<()> {
    enter_those(plan, held, |kind| kind != NamespaceKind::Pid)
}

fn enter_those(
    plan: &NamespacePlan,
    held: &[OwnedFd],
    wanted: impl Fn(NamespaceKind) -> bool,
) -> Result<()> {
    for (join, descriptor) in plan.joins.iter().zip(held) {
        let kinds: Vec<NamespaceKind> = join
            .kinds
            .iter()
            .copied()
            .filter(|kind| wanted(*kind))
            .collect();
        if !kinds.is_empty() {
            enter(join, &kinds, descriptor.as_fd())?;
        }
    }
    Ok(())
}

fn enter(join: &Join, kinds: &[NamespaceKind], descriptor: BorrowedFd<'_>) -> Result<()> {
    let entered = if join.is_process {
        let flags = kinds
            .iter()
            .fold(ThreadNameSpaceType::empty(), |all, kind| all | flag(*kind));
        rustix::thread::move_into_thread_name_spaces(descriptor, flags)
    } else {
        kinds.iter().try_for_each(|kind| {
            rustix::thread::move_into_link_name_space(descriptor, Some(link(*kind)))
        })
    };
    entered.map_err(|errno| refused(join, kinds, errno))
}

fn refused(join: &Join, kinds: &[NamespaceKind], errno: rustix::io::Errno) -> Error {
    let names: Vec<String> = kinds.iter().map(NamespaceKind::to_string).collect();
    let what = format!(
        "cannot join the {} namespace of {}",
        names.join(", "),
        join.whose
    );
    // The text crosses to another process, which a hint would not.
    let (kind, why) = match errno {
        rustix::io::Errno::SRCH => (ErrorKind::Conflict, "it has ended"),
        rustix::io::Errno::INVAL => (
            ErrorKind::InvalidArgument,
            "it is of another kind, or not below the pid namespace of this user's processes",
        ),
        rustix::io::Errno::PERM => (
            ErrorKind::Unsupported,
            "it belongs to another user or another user namespace",
        ),
        _ => return Error::new(ErrorKind::System, what).with_source(io::Error::from(errno)),
    };
    Error::new(kind, format!("{what}: {why}"))
}

fn flag(kind: NamespaceKind) -> ThreadNameSpaceType {
    match kind {
        NamespaceKind::Pid => ThreadNameSpaceType::PROCESS_ID,
        NamespaceKind::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
        NamespaceKind::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
        NamespaceKind::Cgroup => ThreadNameSpaceType::CONTROL_GROUP,
        NamespaceKind::Network => ThreadNameSpaceType::NETWORK,
    }
}

fn link(kind: NamespaceKind) -> LinkNameSpaceType {
    match kind {
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
        NamespaceKind::Network => LinkNameSpaceType::Network,
    }
}

/// A copy of the mount that is /dev/shm of the neighbour who shares it. Only a process in her mount
/// namespace can make one (open_tree(2)): a child goes there and sends it back.
pub(super) fn joined_shared_memory(
    plan: &NamespacePlan,
    held: &[OwnedFd],
) -> Result<Option<OwnedFd>> {
    let sharing = plan
        .joins
        .iter()
        .zip(held)
        .find(|(join, _)| join.shares_memory);
    let Some((join, process)) = sharing else {
        return Ok(None);
    };
    let what = || format!("cannot share /dev/shm of {}", join.whose);
    let (ours, theirs) = packet::pair().system(what)?;
    let child = fork::fork(Namespaces::NONE, || match copy_shared_memory(process) {
        Ok(copy) => {
            let sent = packet::send(theirs.as_fd(), b"M", &[], Some(&copy), true);
            i32::from(sent.is_err())
        }
        Err(error) => {
            let _ = packet::send(
                theirs.as_fd(),
                b"E",
                error.to_string().as_bytes(),
                None::<&OwnedFd>,
                true,
            );
            1
        }
    })
    .system(what)?;
    drop(theirs);
    let mut buffer = [0; 512];
    let received = packet::receive(&ours, &mut buffer, true).system(what);
    let _ = process::reap(&child.pidfd);
    match received? {
        (_, Some(copy)) => Ok(Some(copy)),
        (length, None) => {
            let why = String::from_utf8_lossy(&buffer[length.min(1)..length]).into_owned();
            Err(io::Error::other(why)).system(what)
        }
    }
}

/// In the neighbour's mount namespace every path is hers: no link is followed, none of procfs
/// above all, and what is found must be a tmpfs.
fn copy_shared_memory(process: &OwnedFd) -> io::Result<OwnedFd> {
    rustix::thread::move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::MOUNT)?;
    let place = rustix::fs::openat2(
        CWD,
        c"/dev/shm",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?;
    if rustix::fs::fstatfs(&place)?.f_type as u64 != TMPFS_MAGIC {
        return Err(io::Error::other("it is no tmpfs there"));
    }
    mount::clone_mount(&place, c"", false)
}
