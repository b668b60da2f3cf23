//! The process that looks after one running container: the parent of its first process, the
//! other end of its streams, the writer of its log and of its records.
//!
//! ```text
//! command ── fork (new pid namespace; rootless also a mount namespace) ── execute the sealed self
//!                                                                          │
//!    plan (memory file) 3, client socket 4, container's lock 5 ────────────┘
//! ```
//!
//! It executes this program anew, from a read-only mount of it: its memory is small because
//! nothing of the command's is left, and the container's first process, which it forks, has no
//! writable file behind `/proc/self/exe`.
//!
//! **No half-alive states.** The supervisor is process 1 of a pid namespace of its own, in which
//! the container's is nested: if it dies, however, the kernel kills everything below. Its lock on
//! the container's folder is what "running" means. A pid namespace can only be entered from itself
//! or from one above, so a container with the host's (or another container's) has a supervisor
//! that stays in the host's: see [`orphans`] for what ends its processes then.
//!
//! **Order at the end**: streams drained into the log and to the clients, exit record written,
//! lock dropped, last message sent. With `--rm` the container is removed before the lock is
//! dropped.
//!
//! **Restarts** happen here, with the lock held all the time: after an end the policy is read anew
//! ([`restart`] decides), the exit record says `restarting`, the clients are let go, and a timer runs
//! while the socket is still answered. A restart does what `start` does before a start: other limits
//! ([`ContainerDir::resources`]) and the network files are taken anew. If this process is killed
//! meanwhile the lock is free, so that the container has exited.

mod event_loop;
mod events;
pub mod health;
pub(super) mod log;
pub mod network_files;
mod networks;
mod orphans;
pub mod protocol;
mod restart;
mod runs;
mod setup;

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

pub use self::events::About;
use self::{
    health::HealthPlan,
    protocol::{Attachment, Event},
};
use super::plan::SandboxPlan;
use crate::{
    model::{
        ContainerId, Context, Error, ErrorKind, Failure, Result, log::LogPlan, namespace::Place,
    },
    net::process::{NetworkPlan, NetworkProcess},
    storage::{ContainerDir, ContainerLock, Store},
    sys::{exec, fork, packet, process, signals},
};

/// The name by which the executed program knows its role, `argv[0]`.
pub const ROLE: &str = "coracle-supervisor";

/// Everything a supervisor has to know. Crosses an exec of the same program, so it needs no
/// version.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaunchPlan {
    pub root: PathBuf,
    pub runroot: PathBuf,
    pub id: ContainerId,
    pub name: String,
    pub sandbox: SandboxPlan,
    /// Standard input is a pipe that stays open, instead of /dev/null.
    pub interactive: bool,
    /// Whoever is attached to it ends it by going (Docker's `StdinOnce`).
    pub input_once: bool,
    /// That of the container whose host name is shared.
    pub hostname: Option<String>,
    /// What the command at the other end of the socket wants to see.
    pub client: Attachment,
    /// The command shows both outputs, so its own streams may be written to without it.
    #[serde(default)]
    pub hands_over_outputs: bool,
    pub logging: LogPlan,
    pub auto_remove: bool,
    /// It is killed if the process that starts it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dies_with_command: bool,
    /// It has a restart policy.
    pub starts_after_boot: bool,
    /// What goes with the container when it is removed at its end.
    pub nameless_volumes: Vec<String>,
    /// `None` if there is nothing to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<HealthPlan>>,
    /// Seconds after which the container is killed.
    pub timeout: Option<u32>,
    /// How the container is ended when the machine shuts down.
    pub stop: StopPlan,
    /// What its events say of it.
    pub about: About,
    /// This process is in a user namespace that others may join.
    pub shares_user_namespace: bool,
    /// The socket of an ordinary user's D-Bus.
    pub user_bus: Option<PathBuf>,
    /// The networks that the container is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Box<NetworkPlan>>,
}

/// What asks the program to end, and how long it may take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StopPlan {
    pub signal: i32,
    /// Seconds until SIGKILL; `None` is for ever.
    pub timeout: Option<u64>,
}

/// Starts the supervisor of a container whose lock is held. The returned socket speaks
/// [`protocol`], beginning with [`Event::Started`] or [`Event::Failed`]. `held` are the descriptors
/// of the plan's joins.
pub fn launch(plan: &LaunchPlan, lock: ContainerLock, held: &[OwnedFd]) -> Result<OwnedFd> {
    let what = || "cannot start the container's supervisor".to_owned();
    let text = serde_json::to_vec(plan).context(ErrorKind::InvalidArgument, what)?;
    let memory = process::memory_file(c"plan", &text).system(what)?;
    let (ours, theirs) = packet::pair().system(what)?;
    if plan.hands_over_outputs && !plan.sandbox.process.terminal {
        // Before it exists: not a byte goes another way.
        protocol::hand_over_outputs(&ours).system(what)?;
    }
    let mut namespaces = match plan.sandbox.namespaces.placement.pid {
        Place::Own => fork::Namespaces::PID,
        Place::Host | Place::Joined => fork::Namespaces::NONE,
    };
    if plan.shares_user_namespace {
        // A mount namespace that this user namespace owns, or nothing could be mounted.
        namespaces = namespaces.with(fork::Namespaces::MOUNT);
    }
    fork::fork(namespaces, || {
        let Err(error) =
            become_supervisor([memory.as_fd(), theirs.as_fd(), lock.as_fd()], held, plan);
        fail(theirs.as_fd(), &error);
        1
    })
    .map_err(|cause| {
        Error::new(ErrorKind::Unsupported, what())
            .with_source(cause)
            .with_hint("`coracle doctor` says what is missing")
    })?;
    Ok(ours)
}

fn become_supervisor(
    own: [BorrowedFd<'_>; 3],
    held: &[OwnedFd],
    launch: &LaunchPlan,
) -> Result<std::convert::Infallible> {
    let (root, id) = (&launch.root, &launch.id);
    let what = || "cannot start the container's supervisor".to_owned();
    rustix::process::setsid().system(what)?;
    signals::restore_defaults();
    // No folder of the caller's stays busy, none of its terminals open. The plan's paths of layers
    // are relative to the root.
    rustix::process::chdir(root).system(what)?;
    let passed = passed_streams(launch).system(what)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .system(what)?;
    rustix::stdio::dup2_stdin(&null).system(what)?;
    rustix::stdio::dup2_stdout(&null).system(what)?;
    rustix::stdio::dup2_stderr(&null).system(what)?;
    let program = exec::own_program().system(what)?;
    let numbers = handed_over(own, &program, held, &passed).system(what)?;
    let [role, id] = [ROLE, id.as_str()].map(|text| CString::new(text).unwrap_or_default());
    let arguments = [role, id, numbers];
    Err(exec::exec_descriptor(&program, &arguments, &[])).system(what)
}

/// The command's own streams, which the container is given with `--log-driver passthrough`: three,
/// or none.
fn passed_streams(launch: &LaunchPlan) -> std::io::Result<Vec<OwnedFd>> {
    if !launch.logging.driver.passes_through() {
        return Ok(Vec::new());
    }
    use rustix::stdio::{stderr, stdin, stdout};
    let streams = [stdin(), stdout(), stderr()];
    streams.iter().map(BorrowedFd::try_clone_to_owned).collect()
}

/// The three of its own, the program, those of the plan's joins, then the streams that it passes.
fn handed_over(
    own: [BorrowedFd<'_>; 3],
    program: &OwnedFd,
    held: &[OwnedFd],
    passed: &[OwnedFd],
) -> std::io::Result<CString> {
    let mut all = own.to_vec();
    all.push(program.as_fd());
    all.extend(held.iter().chain(passed).map(AsFd::as_fd));
    exec::hand_over(&all)
}

/// What [`ROLE`] does: the whole life of a supervisor. Returns its exit status.
pub fn main(arguments: &[std::ffi::OsString]) -> i32 {
    let numbers = arguments
        .get(2)
        .and_then(|text| text.to_str())
        .unwrap_or_default();
    let Ok(([plan, client, lock, program], held)) = exec::inherited_with_more(numbers) else {
        return 1;
    };
    let mut client = Some(client);
    let sealed = exec::seal(program).system(|| "cannot seal this program".to_owned());
    let status = match sealed.and_then(|()| supervise(&plan, &mut client, lock, held)) {
        Ok(()) => 0,
        Err(error) => {
            // Once the container runs, the client learns of the end by its socket closing.
            if let Some(client) = client {
                fail(client, &error);
            }
            1
        }
    };
    // What is still open closes with the process.
    fork::end(status)
}

fn fail(client: impl AsFd, error: &Error) {
    let event = Event::Failed(Failure::from(error).within(4 << 10));
    let _ = protocol::send_packet(client, &event.encode(), true);
}

fn supervise(
    plan: &OwnedFd,
    client: &mut Option<OwnedFd>,
    lock: OwnedFd,
    mut held: Vec<OwnedFd>,
) -> Result<()> {
    let text = process::read_whole(plan).system(|| "cannot read the plan".to_owned())?;
    let plan: LaunchPlan = serde_json::from_slice(&text).context(ErrorKind::System, || {
        "cannot understand the plan".to_owned()
    })?;
    drop(text);
    let passed = match plan.logging.driver.passes_through() {
        true => held.split_off(held.len().saturating_sub(3)),
        false => Vec::new(),
    };
    signals::block_only(&signals::SignalSet::all()).system(|| "cannot block signals".to_owned())?;
    if plan.dies_with_command {
        process::die_with_parent().system(|| "cannot follow the command".to_owned())?;
        // It may have ended before.
        if client
            .as_ref()
            .is_some_and(|client| process::is_hung_up(client).unwrap_or(true))
        {
            return Err(Error::new(ErrorKind::System, "the command has ended"));
        }
    }
    let store = Store::open_checked(&plan.root, &plan.runroot)?;
    if plan.dies_with_command {
        store.mute_events();
    }
    let directory = store.container(&plan.id)?;
    let container = Container {
        store: &store,
        directory,
        sockets: store.socket_folder()?,
        lock: ContainerLock::from_inherited(lock),
        plan,
        passed,
        network: None,
    };
    container.run(client, held)
}

/// A container whose lock this process holds.
struct Container<'a> {
    store: &'a Store,
    directory: ContainerDir,
    /// The folder of all supervisors' sockets.
    sockets: OwnedFd,
    lock: ContainerLock,
    plan: LaunchPlan,
    /// The streams of the command that started this, if the container is given them.
    passed: Vec<OwnedFd>,
    /// It lives through all runs.
    network: Option<NetworkProcess>,
}

/// The socket's name in the store's socket folder.
pub fn socket_name(id: &ContainerId) -> String {
    format!("{id}.sock")
}

/// RFC 3339 in UTC with nanoseconds.
pub fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}
