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
    Cgroups, Streams, accounts, copy_up, credentials, devices, hooks,
    mounts::{self, Sources},
    namespaces, nested,
    outside::Outside,
    program, reaper, user_mounts,
};
use crate::{
    engine::plan::{NamespacePlan, SandboxPlan},
    model::{
        Context, Error, ErrorKind, Result,
        hook::{HookPlan, Moment},
        namespace::Place,
    },
    sys::{
        in_root,
        mount::{self, Attributes},
        packet, process,
    },
};

pub(super) fn run(
    plan: &SandboxPlan,
    streams: Option<&Streams>,
    held: &[OwnedFd],
    cgroups: Cgroups<'_>,
    supervisor: BorrowedFd<'_>,
) -> Result<Infallible> {
    process::hide().system(|| "cannot hide this process".to_owned())?;
    let placement = &plan.namespaces.placement;
    let outside = Outside::open(&plan.process)?;
    let handed_over = nested::await_supervisor(plan, supervisor)?;
    if placement.pid != Place::Own {
        // Otherwise the kernel ends it with the supervisor's pid namespace. Other ids forget it.
        process::die_with_parent().system(|| "cannot follow the supervisor".to_owned())?;
    }
    let shared_memory = namespaces::joined_shared_memory(&plan.namespaces, held)?;
    namespaces::enter_others(&plan.namespaces, held)?;
    let mut sources = match handed_over {
        Some(sources) => sources,
        None => Sources::of(&plan.mounts)?,
    };
    mount::make_all_private().system(|| "cannot make the container's mounts private".to_owned())?;

    // A mask must be the host's own null device, opened before anything of the image is visible
    // (CVE-2025-31133).
    let null = devices::trusted_null()?;
    let root = mounts::attach_root(plan, cgroups, sources.root.take())?;
    accounts::write(&plan.accounts, root.as_fd())?;
    if plan.user_namespace.is_none() {
        copy_up::fill_volumes(&plan.mounts, root.as_fd())?;
    }
    let tree = mounts::build(
        plan,
        sources.steps,
        shared_memory,
        cgroups.own.is_some(),
        root.as_fd(),
        null.as_fd(),
    )?;

    let working_directory = open_working_directory(&plan.process.working_directory, root.as_fd())?;
    let mut identity = credentials::look_up(&plan.process, root.as_fd())?;
    user_mounts::give_away(&tree.to_give, &identity.credentials)?;
    accounts::add_variables(&mut identity.environment, &plan.secrets.variables)?;
    if plan.root.read_only {
        mount::set_attributes(&root, Attributes::READ_ONLY, None, false)
            .system(|| "cannot make the root file system read-only".to_owned())?;
    }
    await_others(plan, supervisor)?;
    mounts::pivot_into(root.as_fd())?;

    rustix::process::setsid().system(|| "cannot make a session".to_owned())?;
    connect(plan, streams, &tree, &identity.credentials, supervisor)?;
    set_names(&plan.namespaces)?;
    if placement.network == Place::Own {
        process::bring_loopback_up()
            .system(|| "cannot bring the loopback interface up".to_owned())?;
    }
    fresh_keyring()?;
    rustix::process::umask(credentials::umask(&plan.process));
    if let Some(directory) = &working_directory {
        enter(directory, &plan.process.working_directory)?;
    }

    let confine = || credentials::confine(&plan.process, &identity, &outside);
    before_program(plan, &confine)?;

    // With an init of ours the program is its child; both are confined alike.
    confine()?;
    let in_shared_pids = placement.pid != Place::Own;
    if in_shared_pids {
        follow(supervisor)?;
    }
    if plan.init {
        reaper::become_init(in_shared_pids)?;
    }
    program::execute(&plan.process.arguments, &identity.environment)
}

/// The program's standard streams: the pipes that were made for it, or a terminal, whose other side
/// goes to the supervisor.
fn connect(
    plan: &SandboxPlan,
    streams: Option<&Streams>,
    tree: &mounts::Tree,
    credentials: &process::Credentials,
    supervisor: BorrowedFd<'_>,
) -> Result<()> {
    if let Some(streams) = streams {
        return program::connect_streams(streams, || devices::own_null(tree), credentials);
    }
    let master = devices::open_terminal(tree, credentials.uid, plan.process.terminal_size)?;
    packet::send(supervisor, super::TERMINAL, &[], Some(&master), true)
        .system(|| "cannot hand over the terminal".to_owned())
}

/// The hooks in the container, each with the program's rights.
fn before_program(plan: &SandboxPlan, confine: &dyn Fn() -> Result<()>) -> Result<()> {
    let Some(plan) = &plan.hooks else {
        return Ok(());
    };
    let state = plan.state(Moment::Created, own_number());
    hooks::run(
        "startContainer",
        &plan.hooks.start_container,
        &state,
        confine,
    )
}

/// 1, unless the pid namespace is somebody else's too.
fn own_number() -> Option<i32> {
    Some(rustix::process::getpid().as_raw_nonzero().get())
}

/// The hooks that come before pivot_root: those of the host, for which this process waits, then
/// those in the container's namespaces.
fn before_pivot(plan: &HookPlan, supervisor: BorrowedFd<'_>) -> Result<()> {
    let what = || "cannot wait for the hooks".to_owned();
    let of_host = &plan.hooks;
    if !(of_host.prestart.is_empty() && of_host.create_runtime.is_empty()) {
        packet::send(supervisor, super::HOST_HOOKS, &[], None::<&OwnedFd>, true).system(what)?;
        let (length, _) = packet::receive(supervisor, &mut [0; 8], true).system(what)?;
        if length == 0 {
            return Err(Error::new(ErrorKind::System, what()));
        }
    }
    let state = plan.state(Moment::Creating, own_number());
    let enter = || hooks::enter_bundle(plan);
    hooks::run(
        "createContainer",
        &plan.hooks.create_container,
        &state,
        &enter,
    )
}

/// What others do before the program may run: its networks, which the hooks find there, and the hooks.
fn await_others(plan: &SandboxPlan, supervisor: BorrowedFd<'_>) -> Result<()> {
    if plan.awaits_networks {
        await_networks(supervisor)?;
    }
    match &plan.hooks {
        Some(hooks) => before_pivot(hooks, supervisor),
        None => Ok(()),
    }
}

fn await_networks(supervisor: BorrowedFd<'_>) -> Result<()> {
    let what = || "cannot wait for the container's networks".to_owned();
    let (length, _) = packet::receive(supervisor, &mut [0; 8], true).system(what)?;
    match length {
        0 => Err(Error::new(ErrorKind::System, what())),
        _ => Ok(()),
    }
}

/// The names of the container's own UTS namespace.
fn set_names(plan: &NamespacePlan) -> Result<()> {
    if let Some(hostname) = &plan.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .system(|| format!("cannot set the host name {hostname:?}"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .system(|| format!("cannot set the domain name {name:?}"))?;
    }
    Ok(())
}

/// Asks again to be killed with the supervisor: the change of credentials has taken that back
/// (`PR_SET_PDEATHSIG`, prctl(2)). If it ended in between, its end of the socket has closed. A
/// filter of the user's may forbid both.
fn follow(supervisor: BorrowedFd<'_>) -> Result<()> {
    let followed = process::die_with_parent().and_then(|()| process::is_hung_up(supervisor));
    match followed {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::new(ErrorKind::System, "the supervisor has ended")),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => Ok(()),
        Err(error) => Err(error).system(|| "cannot follow the supervisor".to_owned()),
    }
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
pub(super) fn fresh_keyring() -> Result<()> {
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
