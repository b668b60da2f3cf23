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
mod orphans;
pub mod protocol;
mod restart;

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Instant,
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

pub use self::events::About;
use self::{
    event_loop::{EventLoop, Turn},
    health::HealthPlan,
    protocol::{After, Attachment, Event, Wish},
    restart::{End, Restarts},
};
use super::{
    cgroup,
    plan::{self, CgroupPlan, SandboxPlan},
    sandbox::{self, Stream, Streams, device_filter, hooks},
};
use crate::{
    model::{
        ContainerId, Context, Error, ErrorKind, Result,
        container::{ExitRecord, ProcessIdentity, StartRecord},
        device::version_1_lines,
        event as model_event,
        hook::Moment,
        log::LogPlan,
        namespace::Place,
        restart::RestartPolicy,
    },
    storage::{ContainerDir, ContainerLock, Durability, Store},
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
    /// That of the container whose host name is shared.
    pub hostname: Option<String>,
    /// What the command at the other end of the socket wants to see.
    pub client: Attachment,
    pub logging: LogPlan,
    pub auto_remove: bool,
    /// It has a restart policy.
    pub starts_after_boot: bool,
    /// What goes with the container when it is removed at its end.
    pub nameless_volumes: Vec<String>,
    /// `None` if there is nothing to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<HealthPlan>>,
    /// Seconds after which the container is killed.
    pub timeout: Option<u32>,
    /// What its events say of it.
    pub about: About,
    /// This process is in a user namespace that others may join.
    pub shares_user_namespace: bool,
    /// The socket of an ordinary user's D-Bus.
    pub user_bus: Option<PathBuf>,
}

/// Starts the supervisor of a container whose lock is held. The returned socket speaks
/// [`protocol`], beginning with [`Event::Started`] or [`Event::Failed`]. `held` are the descriptors
/// of the plan's joins.
pub fn launch(plan: &LaunchPlan, lock: ContainerLock, held: &[OwnedFd]) -> Result<OwnedFd> {
    let what = || "cannot start the container's supervisor".to_owned();
    let text = serde_json::to_vec(plan).context(ErrorKind::InvalidArgument, what)?;
    let memory = process::memory_file(c"plan", &text).system(what)?;
    let (ours, theirs) = packet::pair().system(what)?;
    if plan.client.output && !plan.sandbox.process.terminal {
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
    let mut message = error.one_line();
    message.truncate(message.floor_char_boundary(4 << 10));
    let event = Event::Failed {
        kind: error.kind(),
        message,
        hint: error.hint().map(str::to_owned),
    };
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
    let store = Store::open_checked(&plan.root, &plan.runroot)?;
    let directory = store.container(&plan.id)?;
    let container = Container {
        store: &store,
        directory,
        sockets: store.socket_folder()?,
        lock: ContainerLock::from_inherited(lock),
        plan,
        passed,
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
}

/// A run of the program.
struct Run {
    groups: cgroup::Made,
    begun: Instant,
    /// RFC 3339, as in the start record.
    started: String,
    /// What has gone wrong without ending it.
    notices: Vec<String>,
}

/// What is known of a run that is over.
struct Outcome {
    code: i32,
    oom_killed: bool,
    error: Option<String>,
    /// `None` if it did not get as far.
    started: Option<String>,
    finished: String,
    /// What is still to be noted in the journal.
    events: Vec<model_event::Event>,
}

impl Container<'_> {
    /// All runs of the program, and the time between them.
    fn run(mut self, client: &mut Option<OwnedFd>, held: Vec<OwnedFd>) -> Result<()> {
        let socket = self.listen()?;
        let logging = &self.plan.logging;
        let files = || self.directory.log_files(logging.path.as_deref());
        let log = log::LogWriter::open(logging, files)?;
        let mut watch = EventLoop::new(socket, log);
        let mut restarts = Restarts::default();
        let mut run = match self.begin(&mut watch, client, &held, 0) {
            Ok(run) => run,
            Err(error) => return self.failed_to_start(error),
        };
        loop {
            let code = self.watch(&mut watch, &run)?;
            let end = End {
                code,
                wish: watch.wish(),
                length: run.begun.elapsed(),
            };
            let mut outcome = self.end(run, end);
            let Some(delay) = restarts.next(self.policy(end), end) else {
                return self.finish(watch, outcome, restarts.count);
            };
            // If it cannot be written (a full disk) the next one may be.
            let _ = self.note_end(&mut outcome, end.wish, true, restarts.count);
            watch.let_go(code);
            if !watch.wait_for_restart(delay)? {
                return self.finish(watch, outcome, restarts.count);
            }
            run = match self.begin_anew(&mut watch, &held, restarts.count) {
                Ok(run) => run,
                Err(error) => {
                    let outcome = self.unstarted(&error);
                    return self.finish(watch, outcome, restarts.count);
                }
            };
        }
    }

    /// Starts the program, and watches it from then on.
    fn begin(
        &mut self,
        watch: &mut EventLoop,
        client: &mut Option<OwnedFd>,
        held: &[OwnedFd],
        restarts: u32,
    ) -> Result<Run> {
        let (streams, mut ends) = self.streams()?;
        let (groups, devices_guarded) = self.make_cgroups(client.as_ref())?;
        let adopts = self.leave_pid_namespace()?;
        let cgroups = sandbox::Cgroups {
            own: groups.group.as_ref().map(cgroup::Group::fd),
            entrances: &groups.legacy.entrances,
            devices_guarded,
        };
        let started = sandbox::start(&self.plan.sandbox, streams, held, cgroups)
            .inspect_err(|_| groups.remove())?;
        if let Some(terminal) = started.terminal {
            ends = event_loop::StreamEnds::of_terminal(terminal)?;
        }
        let noted = self.note_start(&started.init, &groups, restarts);
        let (record, pid) = noted.inspect_err(|_| {
            // A full disk, most likely. Without the record nobody could deal with it.
            let _ = process::signal(&started.init.pidfd, libc::SIGKILL);
            let _ = process::reap(&started.init.pidfd);
            groups.remove();
        })?;
        let begun = Instant::now();
        self.note_started();
        let run = Run {
            groups,
            begun,
            started: record.started,
            notices: self.after_start(pid),
        };
        let first = started.init.pid;
        watch.begin(started.init.pidfd, pid, ends);
        if adopts && let Some(mounts) = started.mount_namespace {
            watch.look_after(orphans::Orphans::new(first, mounts));
        }
        if let Some(seconds) = self.plan.timeout {
            watch.end_after(seconds)?;
        }
        if let Some(client) = client.take() {
            let _ = protocol::send_packet(&client, &Event::Started(pid).encode(), true);
            watch.add_client(client, self.plan.client);
        }
        Ok(run)
    }

    /// Watches a run until it is over; the exit code.
    fn watch(&mut self, watch: &mut EventLoop, run: &Run) -> Result<i32> {
        self.look_after_health(watch, run);
        loop {
            match watch.run()? {
                Turn::Exited(code) => return Ok(code),
                Turn::Health(plan) => {
                    self.plan.health = plan;
                    self.look_after_health(watch, run);
                }
                Turn::HealthNews(status) => self.note_health(status),
            }
        }
    }

    /// Does what a command does before it starts a container that was started before.
    fn begin_anew(
        &mut self,
        watch: &mut EventLoop,
        held: &[OwnedFd],
        restarts: u32,
    ) -> Result<Run> {
        if let Some(plan) = watch.wanted_health() {
            self.plan.health = plan;
        }
        self.directory.forget_start()?;
        if self.plan.auto_remove {
            self.directory.forgive_volatile()?;
        }
        let record = self.directory.record()?;
        let hostname = self.plan.hostname.as_deref();
        network_files::write(self.directory.fd(), &record, hostname)?;
        if let Some(limits) = self.directory.resources()? {
            let before = &self.plan.sandbox.cgroup;
            self.plan.sandbox.cgroup = CgroupPlan {
                must_be_writable: before.must_be_writable,
                ..plan::cgroup::cgroup(&limits, before.writable)?
            };
        }
        self.plan.sandbox.was_started_before();
        self.begin(watch, &mut None, held, restarts)
    }

    /// What is left of a run is removed.
    fn end(&self, run: Run, end: End) -> Outcome {
        let code = end.code;
        let oom_killed = self.was_oom_killed(code, &run.groups);
        run.groups.remove();
        let mut notices = run.notices;
        notices.extend(self.after_stop());
        Outcome {
            code,
            oom_killed,
            error: (!notices.is_empty()).then(|| notices.join("; ")),
            started: Some(run.started),
            finished: now(),
            events: self.events_of_end(code, oom_killed, end.length.as_secs()),
        }
    }

    /// The policy as it is now: `update` may have changed it.
    fn policy(&self, end: End) -> RestartPolicy {
        if self.plan.auto_remove || end.wish.after == Some(After::Rest) {
            return RestartPolicy::No;
        }
        let record = self.directory.record();
        record.map_or(RestartPolicy::No, |record| record.spec.restart)
    }

    /// The program's ends and ours; a terminal is opened by the program's side.
    fn streams(&self) -> Result<(Option<Streams>, event_loop::StreamEnds)> {
        if self.plan.sandbox.process.terminal {
            return Ok((None, event_loop::StreamEnds::default()));
        }
        if let [input, output, error_output] = self.passed.as_slice() {
            let what = || "cannot pass on the streams".to_owned();
            let borrowed = |stream: &OwnedFd| stream.try_clone().map(Stream::Borrowed).system(what);
            let stdin = self.plan.interactive.then(|| borrowed(input));
            let streams = Streams {
                stdin: stdin.transpose()?,
                stdout: Some(borrowed(output)?),
                stderr: Some(borrowed(error_output)?),
            };
            return Ok((Some(streams), event_loop::StreamEnds::default()));
        }
        let (streams, ends) = pipes(self.plan.interactive)?;
        Ok((Some(streams), ends))
    }

    /// Whether this process has to end the container's processes one by one. In the host's pid
    /// namespace it can be seen by the container, and in one that is joined its child can, from the
    /// moment it is forked: nothing of either may be read there (CVE-2016-9962).
    fn leave_pid_namespace(&self) -> Result<bool> {
        let place = self.plan.sandbox.namespaces.placement.pid;
        if place == Place::Own {
            return Ok(false);
        }
        process::hide().system(|| "cannot hide this process".to_owned())?;
        process::adopt_orphans().system(|| "cannot adopt orphans".to_owned())?;
        Ok(true)
    }

    /// The container's control group with its limits, and whether its rules for devices are in force.
    fn make_cgroups(&self, client: Option<&OwnedFd>) -> Result<(cgroup::Made, bool)> {
        let unit = format!("coracle-{}", self.plan.id.short());
        let caller = match self.plan.shares_user_namespace {
            false => cgroup::Caller::Root,
            true => cgroup::Caller::User {
                bus: self.plan.user_bus.as_deref(),
                unit: &unit,
            },
        };
        let mut made = cgroup::make(&self.plan.sandbox.cgroup, &self.plan.id, &caller)?;
        tell_unheld(client, &made.unheld);
        let guarded = self.guard_devices(&mut made);
        let guarded = guarded.inspect_err(|_| made.remove())?;
        Ok((made, guarded))
    }

    /// Puts the device rules into force; says whether they are, or need not be. Without a group of
    /// version 2 the container has only the nodes that it was given.
    fn guard_devices(&self, groups: &mut cgroup::Made) -> Result<bool> {
        let devices = &self.plan.sandbox.devices;
        let Some(rules) = devices.rules.as_ref().filter(|_| !devices.spares_rules) else {
            return Ok(true);
        };
        let without = || {
            let message = "there is no control group of version 2 for the container";
            Err(Error::new(ErrorKind::Unsupported, message))
        };
        let group = groups.group.as_ref();
        match group.map_or_else(without, |group| device_filter::attach(group.fd(), rules)) {
            Err(error) if devices.rules_must_hold => {
                // Version 1 has a controller for them, root's alone.
                let lines = version_1_lines(rules);
                let limited =
                    cgroup::v1::confine_devices(&mut groups.legacy, &self.plan.id, &lines);
                if limited.is_ok() {
                    return Ok(true);
                }
                let message = "cannot limit what the container does with a device";
                Err(Error::new(ErrorKind::Unsupported, message)
                    .with_source(error)
                    .with_hint("leave the permissions of --device out, or `coracle doctor` says what is missing"))
            }
            // Nobody asked for them: an outer container, most likely, which limits us both.
            Err(_) => Ok(false),
            Ok(()) => Ok(true),
        }
    }

    /// The attach socket. A file left by an earlier supervisor is nobody's: we hold the lock.
    fn listen(&self) -> Result<OwnedFd> {
        let what = || "cannot make the container's socket".to_owned();
        let folder = &self.sockets;
        let name = socket_name(&self.plan.id);
        match packet::listen(folder, &name) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                rustix::fs::unlinkat(folder, &name, rustix::fs::AtFlags::empty()).system(what)?;
                packet::listen(folder, &name).system(what)
            }
            other => other.system(what),
        }
    }

    /// Writes down that the program runs, for other commands.
    fn note_start(
        &self,
        init: &fork::Child,
        groups: &cgroup::Made,
        restarts: u32,
    ) -> Result<(StartRecord, i32)> {
        let what = || "cannot identify the container's first process".to_owned();
        let boot_id = process::boot_id().system(what)?;
        let identity = |pid: i32| -> Result<ProcessIdentity> {
            // It may have ended already; nobody will find it then, and need not.
            let start_time = process::start_time(pid).unwrap_or(0);
            Ok(ProcessIdentity {
                pid,
                start_time,
                boot_id: boot_id.clone(),
            })
        };
        let own = process::own_host_pid().system(what)?;
        let pid = process::host_pid(&init.pidfd).system(what)?;
        // Nobody could join the user namespace through a hidden process.
        let hidden = self.plan.sandbox.namespaces.placement.pid != Place::Own;
        if self.plan.shares_user_namespace && !hidden {
            self.store.name_namespace_holder(own)?;
        }
        let record = StartRecord {
            supervisor: identity(own)?,
            init: identity(pid)?,
            started: now(),
            restarts,
            namespaces: self.plan.sandbox.namespaces.placement,
            process: serde_json::to_string(&self.plan.sandbox.process)
                .context(ErrorKind::System, what)?,
            cgroup: groups.group.as_ref().map(|group| group.path().to_owned()),
            legacy_cgroups: groups.legacy.groups.clone(),
            spares_device_rules: self.plan.sandbox.devices.spares_rules,
        };
        let durability = if self.plan.starts_after_boot {
            Durability::Durable
        } else {
            Durability::Volatile
        };
        self.directory.put_start_record(&record, durability)?;
        Ok((record, pid))
    }

    /// The program never ran: Docker's codes are 127 (not found), 126 (not executable), 128.
    fn failed_to_start(self, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::OverlayRefused {
            // The command will try again with copied layers: nothing has happened yet.
            self.remove_socket();
            return Err(error);
        }
        let outcome = self.unstarted(&error);
        self.finish_with(outcome, Wish::default(), 0)?;
        Err(error)
    }

    fn unstarted(&self, error: &Error) -> Outcome {
        let code = match error.kind() {
            ErrorKind::CommandNotFound => 127,
            ErrorKind::CommandNotExecutable => 126,
            _ => 128,
        };
        let mut reasons = vec![error.one_line()];
        reasons.extend(self.after_stop());
        Outcome {
            code,
            oom_killed: false,
            error: Some(reasons.join("; ")),
            started: None,
            finished: now(),
            events: self.events_of_end(code, false, 0),
        }
    }

    /// `poststart` hooks: the program runs already, so that a failure is only told.
    fn after_start(&self, pid: i32) -> Vec<String> {
        let Some(plan) = &self.plan.sandbox.hooks else {
            return Vec::new();
        };
        let state = plan.state(Moment::Running, Some(pid));
        let enter = || hooks::enter_bundle(plan);
        hooks::run_all("poststart", &plan.hooks.poststart, &state, &enter)
    }

    /// `poststop` hooks, after every start that got as far as hooks, successful or not. A supervisor
    /// that is killed runs none.
    fn after_stop(&self) -> Vec<String> {
        let Some(plan) = &self.plan.sandbox.hooks else {
            return Vec::new();
        };
        let state = plan.state(Moment::Stopped, None);
        let enter = || hooks::enter_bundle(plan);
        hooks::run_all("poststop", &plan.hooks.poststop, &state, &enter)
    }

    /// Asked only where it can be: of a container with a limit, or one that was killed.
    fn was_oom_killed(&self, code: i32, groups: &cgroup::Made) -> bool {
        let limited = self.plan.sandbox.cgroup.limits_memory;
        (limited || code == 128 + libc::SIGKILL) && groups.had_oom_kill()
    }

    fn remove_socket(&self) {
        let name = socket_name(&self.plan.id);
        let _ = rustix::fs::unlinkat(&self.sockets, &name, rustix::fs::AtFlags::empty());
    }

    /// The last end: written down, told to everybody.
    fn finish(self, mut watch: EventLoop, outcome: Outcome, restarts: u32) -> Result<()> {
        let code = outcome.code;
        // If the record cannot be written (a full disk), whoever watches still learns the code.
        let _ = self.finish_with(outcome, watch.wish(), restarts);
        watch.say_goodbye(code);
        // What is still open closes with the process.
        fork::end(0)
    }

    /// Writes down the end (or removes the container), and lets go of the lock.
    fn finish_with(self, mut outcome: Outcome, wish: Wish, restarts: u32) -> Result<()> {
        self.remove_socket();
        if self.plan.auto_remove {
            let (name, nameless) = (&self.plan.name, &self.plan.nameless_volumes);
            let removed =
                self.store
                    .remove_ended_container(&self.directory, name, nameless, self.lock);
            let gone = removed.is_ok();
            let destroyed = gone.then(|| events::destroyed(&self.plan)).into_iter();
            self.store
                .note_events(outcome.events.into_iter().chain(destroyed.flatten()));
            return removed;
        }
        self.note_end(&mut outcome, wish, false, restarts)
    }

    fn note_end(
        &self,
        outcome: &mut Outcome,
        wish: Wish,
        restarting: bool,
        restarts: u32,
    ) -> Result<()> {
        // Before anyone can know that it has ended.
        self.store.note_events(std::mem::take(&mut outcome.events));
        let record = ExitRecord {
            code: outcome.code,
            oom_killed: outcome.oom_killed,
            by_hand: wish.by_hand,
            restarting,
            restarts,
            error: outcome.error.clone(),
            started: outcome.started.clone(),
            finished: outcome.finished.clone(),
        };
        let durability = if self.plan.auto_remove {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        self.directory.put_exit_record(&record, durability)
    }
}

/// Says once which limits do not hold, before the word that the program runs.
fn tell_unheld(client: Option<&OwnedFd>, unheld: &[cgroup::Unheld]) {
    let Some(client) = client else { return };
    for limit in unheld {
        let text = format!("--{} has no effect: {}", limit.flag, limit.why);
        let _ = protocol::send_packet(client, &Event::Notice(text).encode(), true);
    }
}

/// The socket's name in the store's socket folder.
pub fn socket_name(id: &ContainerId) -> String {
    format!("{id}.sock")
}

/// RFC 3339 in UTC with nanoseconds.
pub fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

/// The program's ends of its streams, and ours.
fn pipes(interactive: bool) -> Result<(Streams, event_loop::StreamEnds)> {
    let what = || "cannot make a pipe".to_owned();
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).system(what);
    let (stdin, input) = if interactive {
        let (read, write) = pipe()?;
        rustix::io::ioctl_fionbio(&write, true).system(what)?;
        (Some(Stream::Made(read)), Some(write))
    } else {
        (None, None)
    };
    let (output, stdout) = pipe()?;
    let (error_output, stderr) = pipe()?;
    let ends = event_loop::StreamEnds::of_pipes(input, output, error_output);
    Ok((
        Streams {
            stdin,
            stdout: Some(Stream::Made(stdout)),
            stderr: Some(Stream::Made(stderr)),
        },
        ends,
    ))
}
