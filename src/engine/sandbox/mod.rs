//! Carries out a [`SandboxPlan`]: makes a process in new namespaces, which builds its own file
//! system, gives up its rights and becomes the program.
//!
//! Two processes: the *supervisor* calls [`start`]; its child runs [`init`], one straight line of
//! named steps. They share a socket on which the child sends the terminal's master (if there is
//! one) and then either a failed step or nothing: the socket closes when the program is executed.
//!
//! Neither trusts the image: every path of it is resolved by `sys::in_root` from one descriptor
//! of the root, mounts are attached to held descriptors, and nothing of it is read as
//! configuration but passwd(5) and group(5), with limits.

mod accounts;
mod configured;
mod copy_up;
mod credentials;
pub mod device_filter;
mod devices;
pub mod hooks;
mod init;
mod join;
mod mounts;
mod namespaces;
mod nested;
mod outside;
mod program;
mod reaper;
mod seccomp;
mod user_mounts;
pub mod view;

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::plan::SandboxPlan;
use crate::{
    model::{Context, Error, ErrorKind, Failure, Result, hook::Moment},
    sys::{
        fork::{self, Child},
        packet, process,
    },
};

pub use join::{JoinPlan, join, join_for_parent};
pub use namespaces::network_of as network_namespace;

/// Where the program's standard streams lead. `None` is the container's own /dev/null: through the
/// host's a container could change that file's mode for everybody. With a terminal there are none.
#[derive(Debug)]
pub struct Streams {
    pub stdin: Option<Stream>,
    pub stdout: Option<Stream>,
    pub stderr: Option<Stream>,
}

/// One of them.
#[derive(Debug)]
pub enum Stream {
    /// A pipe that was made for the program: it is given to its user, so that a program that is not
    /// root can open `/dev/stdout` again.
    Made(OwnedFd),
    /// A pipe of the caller's, which stays the caller's.
    Borrowed(OwnedFd),
}

/// The cgroups of the first process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cgroups<'a> {
    /// The directory of the version 2 cgroup in which it begins; `None` is the caller's.
    pub own: Option<BorrowedFd<'a>>,
    /// `cgroup.procs` of version 1 cgroups that it enters before anything else.
    pub entrances: &'a [OwnedFd],
    /// The rules for devices are in force. Where they cannot be, the image's nodes open nothing.
    pub devices_guarded: bool,
}

/// A sandbox whose program has been executed.
#[derive(Debug)]
pub struct Started {
    pub init: Child,
    /// The master side of the terminal, if the plan asked for one.
    pub terminal: Option<OwnedFd>,
    /// The container's mount namespace, by which its processes are known where the pid namespace
    /// is not its own.
    pub mount_namespace: Option<OwnedFd>,
}

const MAX_FAILURE_BYTES: usize = 8 << 10;
const TERMINAL: &[u8] = b"T";
const FAILURE: &[u8] = b"F";
/// The child waits, before pivot_root, for the hooks that run on the host; the answer is the same.
const HOST_HOOKS: &[u8] = b"H";
/// From the supervisor: the interfaces of the container's networks are there.
const NETWORK: &[u8] = b"N";

/// Connects the container's own network namespace to its networks, while the container's first
/// process builds its file system.
pub type Connect<'a> = &'a dyn Fn(BorrowedFd<'_>) -> Result<()>;

/// Starts the first process of a container and waits until its program runs or a step has failed.
/// The caller must have one thread. `streams` are closed here in either case; `held` are the
/// descriptors of the plan's joins; `connect` is called if the plan awaits networks.
pub fn start(
    plan: &SandboxPlan,
    streams: Option<Streams>,
    held: &[OwnedFd],
    cgroups: Cgroups<'_>,
    connect: Connect<'_>,
) -> Result<Started> {
    let (ours, theirs) = packet::pair().system(|| "cannot make a socket".to_owned())?;
    namespaces::enter_pid(&plan.namespaces, held)?;
    let namespaces = namespaces::made(&plan.namespaces.placement);
    let first = || {
        if let Err(error) = enter_cgroups(cgroups.entrances) {
            return report(theirs.as_fd(), &error);
        }
        let Err(error) = init::run(plan, streams.as_ref(), held, cgroups, theirs.as_fd());
        report(theirs.as_fd(), &error)
    };
    let child = match &plan.user_namespace {
        None => fork::fork_into(namespaces, cgroups.own, first).map_err(namespaces_refused)?,
        Some(nested) => {
            if let Some(streams) = &streams {
                nested::give_streams(streams, nested::ids(plan)?)?;
            }
            let child = nested::fork_into(&nested.origin, namespaces, cgroups.own, first)?;
            nested::prepare(plan, nested, &child, cgroups, ours.as_fd())
                .inspect_err(|_| give_up(&child))?;
            child
        }
    };
    drop(theirs);
    drop(streams);
    // Before the program runs: it may be over at once, and leave others behind.
    let mount_namespace = namespaces::mounts_of(&plan.namespaces.placement, &child)?;
    if plan.awaits_networks {
        let connected = namespaces::network_of(&child.pidfd).and_then(|namespace| {
            connect(namespace.as_fd())?;
            // It may have failed meanwhile; why is read below.
            let _ = packet::send(&ours, NETWORK, &[], None::<&OwnedFd>, true);
            Ok(())
        });
        connected.inspect_err(|_| give_up(&child))?;
    }
    match await_program(ours.as_fd(), &|| run_host_hooks(plan, &child)) {
        Ok(terminal) => Ok(Started {
            init: child,
            terminal,
            mount_namespace,
        }),
        Err(error) => {
            // It has reported and is ending, or waits in vain for hooks that have failed.
            give_up(&child);
            Err(error)
        }
    }
}

/// Nobody else will reap it.
fn give_up(child: &Child) {
    let _ = process::signal(&child.pidfd, libc::SIGKILL);
    let _ = process::reap(&child.pidfd);
}

fn enter_cgroups(entrances: &[OwnedFd]) -> Result<()> {
    entrances.iter().try_for_each(|entrance| {
        rustix::io::write(entrance, b"0")
            .map(drop)
            .system(|| "cannot enter the container's cgroups".to_owned())
    })
}

fn namespaces_refused(cause: io::Error) -> Error {
    let hint = match cause.raw_os_error() {
        Some(libc::EPERM) => {
            "the kernel or an outer container forbids new namespaces; `coracle doctor` says more"
        }
        Some(libc::ENOSPC) => "a limit of /proc/sys/user/max_*_namespaces is reached",
        _ => "`coracle doctor` says what is missing",
    };
    Error::new(
        ErrorKind::Unsupported,
        "cannot make the container's namespaces",
    )
    .with_source(cause)
    .with_hint(hint)
}

/// `prestart` and `createRuntime`: in the supervisor's namespaces, while the child waits.
fn run_host_hooks(plan: &SandboxPlan, child: &Child) -> Result<()> {
    let Some(plan) = &plan.hooks else {
        return Ok(());
    };
    let pid = crate::sys::process::host_pid(&child.pidfd)
        .system(|| "cannot identify the container's first process".to_owned())?;
    let state = plan.state(Moment::Creating, Some(pid));
    let enter = || hooks::enter_bundle(plan);
    hooks::run("prestart", &plan.hooks.prestart, &state, &enter)?;
    hooks::run("createRuntime", &plan.hooks.create_runtime, &state, &enter)
}

/// Reads the child's messages until it closes the socket, which execve does.
fn await_program(
    socket: impl AsFd,
    host_hooks: &dyn Fn() -> Result<()>,
) -> Result<Option<OwnedFd>> {
    let mut terminal = None;
    let mut buffer = vec![0; MAX_FAILURE_BYTES];
    loop {
        let (length, descriptor) = packet::receive(socket.as_fd(), &mut buffer, true)
            .system(|| "cannot read from the container's first process".to_owned())?;
        match buffer[..length].split_first() {
            None => return Ok(terminal),
            Some((&kind, _)) if kind == TERMINAL[0] => terminal = descriptor,
            Some((&kind, _)) if kind == HOST_HOOKS[0] => {
                host_hooks()?;
                packet::send(socket.as_fd(), HOST_HOOKS, &[], None::<&OwnedFd>, true)
                    .system(|| "cannot go on after the hooks".to_owned())?;
            }
            Some((_, text)) => {
                let failure: Failure = serde_json::from_slice(text)
                    .context(ErrorKind::System, || {
                        "the container's first process sent nonsense".to_owned()
                    })?;
                return Err(failure.into_error());
            }
        }
    }
}

/// Sends a failed step to the supervisor; the exit status for this process.
fn report(socket: impl AsFd, error: &Error) -> i32 {
    let failure = Failure::from(error).within(MAX_FAILURE_BYTES / 8);
    let text = serde_json::to_vec(&failure).unwrap_or_default();
    let _ = packet::send(socket, FAILURE, &text, None::<&OwnedFd>, true);
    1
}

/// A name for the kernel. Plans never contain NUL bytes unless somebody tampers with them.
fn c_string(text: &str) -> Result<CString> {
    CString::new(text).context(ErrorKind::InvalidArgument, || {
        format!("invalid text {text:?}")
    })
}
