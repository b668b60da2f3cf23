//! What happens between clone3 and execve, in the container's first process: a straight line.
//!
//! Order matters. Everything that needs the host's tree (device nodes, bind sources, the trusted
//! /dev/null) is opened before pivot_root; everything that needs rights is done before they are
//! given up; the filter comes last but for the calls that it must let through anyway.

use std::{
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    Streams, credentials, devices,
    mounts::{self, Sources},
    nested, program, reaper,
};
use crate::{
    engine::plan::SandboxPlan,
    model::{Context, Error, ErrorKind, Result},
    sys::{
        in_root,
        mount::{self, Attributes},
        packet, process,
    },
};

pub(super) fn run(
    plan: &SandboxPlan,
    streams: Option<&Streams>,
    supervisor: BorrowedFd<'_>,
) -> Result<Infallible> {
    process::hide().system(|| "cannot hide this process".to_owned())?;
    let mut sources = match plan.user_namespace {
        None => Sources {
            root: None,
            steps: mounts::clone_connected(&plan.mounts)?,
        },
        Some(_) => nested::await_supervisor(plan, supervisor)?,
    };
    mount::make_all_private().system(|| "cannot make the container's mounts private".to_owned())?;

    // A mask must be the host's own null device, opened before anything of the image is visible
    // (CVE-2025-31133).
    let null = devices::trusted_null()?;

    let root = mounts::attach_root(&plan.root, sources.root.take())?;
    let tree = mounts::build(plan, sources.steps, root.as_fd(), null.as_fd())?;

    let working_directory = open_working_directory(&plan.process.working_directory, root.as_fd())?;
    let identity = credentials::look_up(&plan.process, root.as_fd())?;
    if plan.root.read_only {
        mount::set_attributes(&root, Attributes::READ_ONLY, None, false)
            .system(|| "cannot make the root file system read-only".to_owned())?;
    }
    mounts::pivot_into(root.as_fd())?;

    rustix::process::setsid().system(|| "cannot make a session".to_owned())?;
    match streams {
        Some(streams) => {
            program::connect_streams(streams, || devices::own_null(&tree), &identity.credentials)?;
        }
        None => {
            let master = devices::open_terminal(
                &tree,
                identity.credentials.uid,
                plan.process.terminal_size,
            )?;
            packet::send(supervisor, super::TERMINAL, &[], Some(&master), true)
                .system(|| "cannot hand over the terminal".to_owned())?;
        }
    }
    rustix::system::sethostname(plan.hostname.as_bytes())
        .system(|| format!("cannot set the host name {:?}", plan.hostname))?;
    if plan.own_network {
        process::bring_loopback_up()
            .system(|| "cannot bring the loopback interface up".to_owned())?;
    }
    fresh_keyring()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if let Some(directory) = &working_directory {
        enter(directory, &plan.process.working_directory)?;
    }

    // With an init of ours the program is its child; both are confined alike.
    credentials::confine(&plan.process, &identity)?;
    if plan.init {
        reaper::become_init()?;
    }
    program::execute(&plan.process.arguments, &identity.environment)
}

/// The program's first directory, made if it is missing; `None` is the root, in which the process
/// is anyway.
fn open_working_directory(path: &str, root: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if path == "/" {
        return Ok(None);
    }
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    in_root::open_or_make_directory(root, path.as_ref(), mode)
        .map(Some)
        .system(|| format!("cannot enter working directory {path:?}"))
}

/// Keys are not namespaced: a session keyring of our own keeps the caller's out of reach. Where an
/// outer container forbids the call there is nothing to inherit either.
fn fresh_keyring() -> Result<()> {
    match process::new_session_keyring() {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::EPERM | libc::EDQUOT)
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error).system(|| "cannot make a session keyring".to_owned()),
    }
}

/// Changes into a directory that was opened below the root, and checks that it is reachable from
/// there: a descriptor that leaked from the host would not be (CVE-2024-21626).
fn enter(directory: &OwnedFd, name: &str) -> Result<()> {
    rustix::process::fchdir(directory)
        .system(|| format!("cannot enter working directory {name:?}"))?;
    let here = rustix::process::getcwd(Vec::new())
        .system(|| "cannot look up the working directory".to_owned())?;
    if here.to_bytes().first() == Some(&b'/') {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::InvalidContent,
            format!("working directory {name:?} lies outside of the container"),
        ))
    }
}
