//! Adds a process to a running container (`exec`).
//!
//! ```text
//! command (the sealed self)      go-between, in the container's cgroup     program
//!   fork ───────────────────────▶  all namespaces at once
//!                                  streams or terminal, user, directory
//!                                  closes what is the host's
//!                                  gives up every right
//!                                  clone, as the command's child ─────────▶  in the pid namespace
//!   takes the program's pidfd ◀──  ends                                      executes
//! ```
//!
//! A pid namespace takes effect on children only: the go-between, which has the caller's rights and
//! descriptors, cannot be seen from inside (unless the container shares its pid namespace; there it
//! is hidden as the container's own first process was). What a container can see, and with
//! `CAP_SYS_PTRACE` trace, has the program's rights and descriptors from its first instruction on
//! (CVE-2016-9962). The caller is this program executed anew from its sealed copy
//! (`sys::exec::own_program`), so that its file is not writable through either (CVE-2019-5736).
//! Protections are those of the stored plan.

use std::{
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    process::Pid,
    pty::OpenptFlags,
    thread::ThreadNameSpaceType,
};
use serde::{Deserialize, Serialize};

use super::{
    Started, Streams,
    credentials::{self, Identity},
    devices, namespaces, nested,
    outside::Outside,
    program,
};
use crate::{
    engine::plan::ProcessPlan,
    model::{Context, Error, ErrorKind, Result, container::ProcessIdentity, namespace::Placement},
    sys::{
        exec,
        fork::{self, Child, Namespaces},
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

/// Starts the plan's process in the container and waits until its program runs. It is a child of the
/// calling process, which must have one thread and stays where it is.
pub fn join(plan: &JoinPlan, streams: Option<Streams>) -> Result<Started> {
    if process::boot_id().system(|| "cannot tell this boot".to_owned())? != plan.init.boot_id {
        return Err(stopped());
    }
    process::hide().system(|| "cannot hide this process".to_owned())?;
    let pidfd = process::open(plan.init.pid, plan.init.start_time)
        .system(|| "cannot open the container's first process".to_owned())?
        .ok_or_else(stopped)?;
    let (program, program_to) = packet::pair().system(|| "cannot make a socket".to_owned())?;
    let entered = begin(plan, pidfd.as_fd(), streams, program_to.as_fd());
    drop(program_to);
    let (between, arrived) = entered?;
    let what = || "cannot start a process in the container".to_owned();
    let (_, program) = packet::receive(&program, &mut [0], true).system(what)?;
    match (arrived, program) {
        (Ok(terminal), Some(pidfd)) => Ok(Started {
            // The number is only for messages, and nobody here asks for it.
            init: Child {
                pid: between,
                pidfd,
            },
            terminal,
            mount_namespace: None,
        }),
        (Ok(_), None) => Err(Error::new(ErrorKind::System, what())),
        (Err(error), program) => {
            if let Some(program) = program {
                let _ = process::reap(&program);
            }
            Err(error)
        }
    }
}

/// [`join`] for a process that leaves the program to its own parent, which has `init` open: the
/// pidfd is sent to `told` as soon as there is a process. Returns when its program runs.
pub fn join_for_parent(
    plan: &JoinPlan,
    init: BorrowedFd<'_>,
    streams: Option<Streams>,
    told: BorrowedFd<'_>,
) -> Result<()> {
    process::hide().system(|| "cannot hide this process".to_owned())?;
    let (_, arrived) = begin(plan, init, streams, told)?;
    arrived.map(drop)
}

/// Sends the process in between on its way, and waits until the program runs or a step has failed.
/// Its number, and the terminal if there is one.
fn begin(
    plan: &JoinPlan,
    init: BorrowedFd<'_>,
    streams: Option<Streams>,
    program_to: BorrowedFd<'_>,
) -> Result<(Pid, Result<Option<OwnedFd>>)> {
    if let (Some(ids), Some(streams)) = (&plan.process.ids, &streams) {
        nested::give_streams(streams, ids)?;
    }
    let cgroup = plan.cgroup.as_deref().map(open_cgroup).transpose()?;
    let entrances: Vec<OwnedFd> = plan
        .legacy_cgroups
        .iter()
        .map(|path| open_entrance(path))
        .collect::<Result<_>>()?;
    let (ours, theirs) = packet::pair().system(|| "cannot make a socket".to_owned())?;
    let sockets = (theirs.as_fd(), program_to);
    let between = fork::fork_into(Namespaces::NONE, cgroup.as_ref().map(AsFd::as_fd), || {
        let Err(error) = go_between(plan, init, &entrances, streams.as_ref(), sockets);
        super::report(theirs.as_fd(), &error)
    });
    let between = between.map_err(|error| not_forked(error, cgroup.is_some()))?;
    drop((theirs, streams));
    let arrived = super::await_program(ours.as_fd(), &|| Ok(()));
    process::reap(&between.pidfd)
        .system(|| "cannot start a process in the container".to_owned())?;
    Ok((between.pid, arrived))
}

fn stopped() -> Error {
    Error::new(ErrorKind::Conflict, "the container is not running")
}

fn not_forked(cause: std::io::Error, into_cgroup: bool) -> Error {
    if into_cgroup && cause.raw_os_error() == Some(libc::EACCES) {
        return Error::new(
            ErrorKind::Unsupported,
            "cannot put a process into the container's cgroup from this session",
        )
        .with_source(cause)
        .with_hint(
            "the container was started in another one: systemd-run --user --scope coracle exec ...",
        );
    }
    Error::new(ErrorKind::System, "cannot start a process in the container").with_source(cause)
}

/// The process in between; and, returning only if that fails, the program.
fn go_between(
    plan: &JoinPlan,
    init: BorrowedFd<'_>,
    entrances: &[OwnedFd],
    streams: Option<&Streams>,
    (parent, program_to): (BorrowedFd<'_>, BorrowedFd<'_>),
) -> Result<Infallible> {
    let outside = Outside::open(&plan.process)?;
    super::enter_cgroups(entrances)?;
    enter(init, plan)?;
    // Those of the caller lead outside; they are not namespaced.
    super::init::fresh_keyring()?;
    let identity = take_place(&plan.process, streams, parent)?;
    let mut kept = vec![
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
        parent,
        program_to,
    ];
    kept.extend(outside.descriptors());
    exec::close_all_but(&kept);
    let late = credentials::confine_but_filter(&plan.process, &identity, &outside)?;
    // A listener is outside; without one the filter may refuse what comes now.
    if late && !outside.is_empty() {
        credentials::confine_calls(&plan.process, &outside)?;
    }
    let late = late && outside.is_empty();
    drop(outside);
    match fork::split_as_sibling() {
        Ok(None) => {}
        Ok(Some(program)) => {
            let sent = packet::send(program_to, b"P", &[], Some(&program.pidfd), true);
            fork::end(i32::from(sent.is_err()));
        }
        // The pid namespace has no init any more.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => return Err(stopped()),
        Err(error) => {
            return Err(error).system(|| "cannot start a process in the container".to_owned());
        }
    }
    rustix::process::setsid().system(|| "cannot make a session".to_owned())?;
    if plan.process.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .system(|| "cannot take the terminal".to_owned())?;
    }
    if late {
        credentials::confine_calls(&plan.process, &Outside::default())?;
    }
    program::execute(&plan.process.arguments, &identity.environment)
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

/// All namespaces of the container, the user namespace too if it has one of its own.
fn enter(init: BorrowedFd<'_>, plan: &JoinPlan) -> Result<()> {
    let mut all = namespaces::of_container(&plan.namespaces);
    let nested = plan.process.ids.is_some();
    if nested {
        all |= ThreadNameSpaceType::USER;
    }
    match rustix::thread::move_into_thread_name_spaces(init, all) {
        Err(rustix::io::Errno::SRCH) => return Err(stopped()),
        other => other.system(|| "cannot enter the container's namespaces".to_owned())?,
    }
    if nested {
        nested::become_root().system(|| "cannot become root of the container's ids".to_owned())?;
    }
    Ok(())
}

/// Streams, directory and user of the program, found in the container's root.
fn take_place(
    plan: &ProcessPlan,
    streams: Option<&Streams>,
    parent: BorrowedFd<'_>,
) -> Result<Identity> {
    let root = rustix::fs::open(
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .system(|| "cannot open the container's root".to_owned())?;
    let identity = credentials::look_up(plan, root.as_fd())?;
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
    Ok(identity)
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
    devices::connect_terminal(terminal.as_fd())
}
