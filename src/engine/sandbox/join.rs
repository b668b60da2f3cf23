//! Adds a process to a running container (`exec`).
//!
//! The caller is this program executed anew from its sealed copy (`sys::exec::own_program`): the
//! container can see the joining process, and what it could reach through it must not be writable
//! (CVE-2019-5736). All namespaces are entered at once through the pidfd of the container's first
//! process, the pid namespace taking effect on the child only, so the container never sees a
//! process of ours that is not confined to its own tree. (Where it shares its pid namespace, the
//! child enters the rest; like the container's own first process it is hidden until then.)
//! Protections are those of the stored plan.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::OpenptFlags,
    thread::ThreadNameSpaceType,
};
use serde::{Deserialize, Serialize};

use super::{
    Started, Streams, credentials, devices, namespaces, nested, outside::Outside, program,
};
use crate::{
    engine::plan::ProcessPlan,
    model::{Context, Error, ErrorKind, Result, container::ProcessIdentity, namespace::Placement},
    sys::{
        fork::{self, Namespaces},
        in_root, packet, process,
    },
};

/// What the joining process has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinPlan {
    /// The container's first process.
    pub init: ProcessIdentity,
    /// Where that is.
    pub namespaces: Placement,
    pub process: ProcessPlan,
    /// The container's version 2 cgroup, on the host.
    pub cgroup: Option<PathBuf>,
    /// Its version 1 cgroups.
    pub legacy_cgroups: Vec<PathBuf>,
}

/// `f_type` of devpts, statfs(2).
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Starts the plan's process in the container and waits until its program runs. The calling
/// process ends up in the container's namespaces and must not touch any path afterwards.
pub fn join(plan: &JoinPlan, streams: Option<Streams>) -> Result<Started> {
    let stopped = || Error::new(ErrorKind::Conflict, "the container is not running");
    if process::boot_id().system(|| "cannot tell this boot".to_owned())? != plan.init.boot_id {
        return Err(stopped());
    }
    process::hide().system(|| "cannot hide this process".to_owned())?;
    let pidfd = process::open(plan.init.pid, plan.init.start_time)
        .system(|| "cannot open the container's first process".to_owned())?
        .ok_or_else(stopped)?;
    let outside = Outside::open(&plan.process)?;
    let (mut at_once, mut by_child) = namespaces::of_container(&plan.namespaces);
    if let Some(ids) = &plan.process.ids {
        // Into a nested user namespace goes the child: from inside, the group's owner does not exist.
        let later = at_once - ThreadNameSpaceType::PROCESS_ID;
        at_once -= later;
        by_child |= later | ThreadNameSpaceType::USER;
        if let Some(streams) = &streams {
            nested::give_streams(streams, ids)?;
        }
    }
    let cgroup = match &plan.cgroup {
        Some(path) => Some(open_cgroup(path)?),
        None => None,
    };
    let entrances: Vec<OwnedFd> = plan
        .legacy_cgroups
        .iter()
        .map(|path| open_entrance(path))
        .collect::<Result<_>>()?;
    enter(pidfd.as_fd(), at_once)?;
    let (ours, theirs) = packet::pair().system(|| "cannot make a socket".to_owned())?;
    let child = fork::fork_into(Namespaces::NONE, cgroup.as_ref().map(AsFd::as_fd), || {
        if let Err(error) = super::enter_cgroups(&entrances) {
            return super::report(theirs.as_fd(), &error);
        }
        if let Err(error) = enter(pidfd.as_fd(), by_child) {
            return super::report(theirs.as_fd(), &error);
        }
        if by_child.contains(ThreadNameSpaceType::USER)
            && let Err(error) = nested::become_root()
                .system(|| "cannot become root of the container's ids".to_owned())
        {
            return super::report(theirs.as_fd(), &error);
        }
        let Err(error) = become_process(&plan.process, streams.as_ref(), theirs.as_fd(), &outside);
        super::report(theirs.as_fd(), &error)
    });
    let child = match child {
        // The pid namespace has no init any more.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => return Err(stopped()),
        Err(error) if cgroup.is_some() && error.raw_os_error() == Some(libc::EACCES) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "cannot put a process into the container's cgroup from this session",
            )
            .with_source(error)
            .with_hint("the container was started in another one: systemd-run --user --scope coracle exec ..."));
        }
        other => other.system(|| "cannot start a process in the container".to_owned())?,
    };
    drop(theirs);
    drop(streams);
    match super::await_program(ours.as_fd(), &|| Ok(())) {
        Ok(terminal) => Ok(Started {
            init: child,
            terminal,
            mount_namespace: None,
        }),
        Err(error) => {
            let _ = process::reap(&child.pidfd);
            Err(error)
        }
    }
}

fn open_cgroup(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .system(|| format!("cannot open cgroup {}", path.display()))
}

fn open_entrance(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open(path.join("cgroup.procs"), flags, Mode::empty())
        .system(|| format!("cannot open cgroup {}", path.display()))
}

fn enter(pidfd: BorrowedFd<'_>, namespaces: ThreadNameSpaceType) -> Result<()> {
    if namespaces.is_empty() {
        return Ok(());
    }
    match rustix::thread::move_into_thread_name_spaces(pidfd, namespaces) {
        Err(rustix::io::Errno::SRCH) => Err(Error::new(
            ErrorKind::Conflict,
            "the container is not running",
        )),
        other => other.system(|| "cannot enter the container's namespaces".to_owned()),
    }
}

fn become_process(
    plan: &ProcessPlan,
    streams: Option<&Streams>,
    parent: BorrowedFd<'_>,
    outside: &Outside,
) -> Result<std::convert::Infallible> {
    let root = rustix::fs::open(
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .system(|| "cannot open the container's root".to_owned())?;
    let identity = credentials::look_up(plan, root.as_fd())?;
    rustix::process::setsid().system(|| "cannot make a session".to_owned())?;
    match streams {
        Some(streams) => {
            let null = || devices::null_of_container(root.as_fd());
            program::connect_streams(streams, null, &identity.credentials)?;
        }
        None => open_terminal(
            root.as_fd(),
            parent,
            identity.credentials.uid,
            plan.terminal_size,
        )?,
    }
    let wanted = &plan.working_directory;
    let directory = in_root::c_string(wanted)
        .and_then(|path| in_root::open(&root, &path, OFlags::PATH | OFlags::DIRECTORY))
        .context(ErrorKind::CommandNotExecutable, || {
            format!("cannot enter working directory {wanted:?}")
        })?;
    rustix::process::fchdir(&directory)
        .system(|| format!("cannot enter working directory {wanted:?}"))?;
    rustix::process::umask(credentials::umask(plan));
    credentials::confine(plan, &identity, outside)?;
    program::execute(&plan.arguments, &identity.environment)
}

/// Opens a terminal of the container's devpts, which is checked to be one: its /dev is writable to
/// the container.
fn open_terminal(
    root: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    owner: u32,
    size: Option<(u16, u16)>,
) -> Result<()> {
    let what = || "cannot make a terminal in the container".to_owned();
    let master = in_root::open(
        root,
        c"/dev/pts/ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK,
    )
    .system(what)?;
    if rustix::fs::fstatfs(&master).system(what)?.f_type as u64 != DEVPTS_SUPER_MAGIC {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the container has no usable /dev/pts",
        ));
    }
    rustix::io::ioctl_fionbio(&master, false).system(what)?;
    rustix::pty::unlockpt(&master).system(what)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags).system(what)?;
    devices::prepare_terminal(terminal.as_fd(), owner, size)?;
    packet::send(parent, super::TERMINAL, &[], Some(&master), true)
        .system(|| "cannot hand over the terminal".to_owned())?;
    devices::take_terminal(terminal.as_fd())
}
