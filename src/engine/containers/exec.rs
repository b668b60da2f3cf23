//! `exec`: one more program in a running container.
//!
//! The command turns itself into the joining process: it executes this program's sealed self, in
//! the role [`ROLE`], so that what enters the container is small and not writable. It keeps the
//! command's process number, streams and terminal, and ends with the program's exit code.

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::event::PollFlags;
use serde::{Deserialize, Serialize};

use super::{
    moves::{self, Move},
    streams::{self, DetachKeys, Flow, Input, Outflow, Terminal, WITHOUT_WAITING, terminal_size},
};
use crate::{
    engine::{
        Engine, ExecSpec,
        cgroup::{self, Group},
        plan::{FilterPlan, ProcessPlan},
        sandbox::{self, JoinPlan, Started, Stream, Streams, device_filter},
    },
    model::{
        ContainerId, Context, Error, ErrorKind, Result,
        account::AccountSpec,
        container::{ContainerRecord, StartRecord},
        device::default_rules,
        event as model_event,
        secret::SecretWay,
    },
    storage::Store,
    sys::{exec, fork, poll::PollSet, process, signals, user_namespace},
};

/// The name by which the executed program knows its role, `argv[0]`.
pub const ROLE: &str = "coracle-exec";

#[derive(Debug, Serialize, Deserialize)]
struct ExecPlan {
    join: JoinPlan,
    interactive: bool,
    detach: bool,
    detach_keys: Vec<u8>,
    /// The store, and what happens to the program in its journal.
    root: PathBuf,
    runroot: PathBuf,
    events: ExecEvents,
}

/// What is noted once the program runs, when the user detaches, and at its end.
#[derive(Debug, Serialize, Deserialize)]
struct ExecEvents {
    started: model_event::Event,
    detached: model_event::Event,
    died: model_event::Event,
}

impl ExecEvents {
    /// Longest command that an event's action shows, in bytes.
    const LONGEST: usize = 4 << 10;

    /// That of the creation is noted here.
    fn begin(engine: &Engine, record: &ContainerRecord, command: &[String]) -> Result<ExecEvents> {
        let mut random = [0; 32];
        super::create::fill_random(&mut random)?;
        let id = ContainerId::from_random(random);
        let mut words = command.join(" ");
        words.truncate(words.floor_char_boundary(Self::LONGEST));
        let created = engine.container_event(
            record,
            format!("exec_create: {words}"),
            &[("execID", id.as_str())],
        );
        let of_action = |action: String| model_event::Event {
            action: action.into(),
            ..created.clone()
        };
        let events = ExecEvents {
            started: of_action(format!("exec_start: {words}")),
            detached: of_action("exec_detach".to_owned()),
            died: of_action("exec_die".to_owned()),
        };
        engine.store.note_event(created);
        Ok(events)
    }
}

impl Engine {
    /// Runs a program in a container. On success this process has become the joining one and ends
    /// with the program's exit code, so this returns only failures.
    pub fn exec(&self, container: &str, spec: ExecSpec) -> Result<i32> {
        let (directory, record) = self.store.find_container(container)?;
        let status = directory.state()?;
        let state = super::pause::state(&status);
        moves::check(Move::Exec, state, &record, container)?;
        let not_running = || {
            Error::new(
                ErrorKind::Conflict,
                format!("container {} is not running", record.id),
            )
        };
        let start = status.start.ok_or_else(not_running)?;
        if let Some(path) = &start.cgroup
            && self.user.has_namespace()
        {
            let bus = self.user_bus.as_deref();
            let unit = "coracle-exec";
            cgroup::come_near(path, &cgroup::Caller::User { bus, unit });
        }
        let process = self.process_plan(&start, &spec)?;
        if spec.privileged && start.spares_device_rules {
            guard_devices(&start)?;
        }
        // From the supervisor's namespace, in which the container's own is nested.
        let holder = match process.ids {
            Some(_) => start.supervisor.pid,
            None => start.init.pid,
        };
        let plan = ExecPlan {
            root: super::run::absolute(self.store.root_path())?,
            runroot: super::run::absolute(self.store.runroot_path())?,
            events: ExecEvents::begin(self, &record, &spec.command)?,
            join: JoinPlan {
                init: start.init.clone(),
                namespaces: start.namespaces,
                cgroup: start.cgroup.clone(),
                legacy_cgroups: start.legacy_cgroups.clone(),
                process: self.with_secrets(process, &record.spec.account),
            },
            interactive: spec.interactive,
            detach: spec.detach,
            detach_keys: spec.detach_keys.clone(),
        };
        if !self.user.join_namespace_of(holder)? {
            return Err(not_running());
        }
        become_joiner(&plan, &spec.caller, self.user.has_namespace())
    }
}

impl Engine {
    /// The plan with the rights of a privileged process, if they are asked for. no_new_privs stays.
    fn process_plan(&self, start: &StartRecord, spec: &ExecSpec) -> Result<ProcessPlan> {
        let mut plan = process_plan(start, spec)?;
        if spec.privileged {
            plan.capabilities = self.user.host_facts()?.capabilities;
            plan.filter = FilterPlan::None;
            plan.rights.apparmor = None;
        }
        Ok(plan)
    }

    /// Values of secrets are in no record: they are looked up anew. One that has been removed since
    /// is left out.
    fn with_secrets(&self, mut plan: ProcessPlan, account: &AccountSpec) -> ProcessPlan {
        for wanted in &account.secrets {
            if let SecretWay::Variable(name) = &wanted.way
                && let Ok(record) = self.store.resolve_secret(&wanted.secret)
                && let Ok(value) = std::str::from_utf8(record.data.reveal())
            {
                let variable = format!("{name}={value}");
                crate::engine::plan::set_variable(&mut plan.environment, &variable);
            }
        }
        plan
    }
}

/// The default rules for devices, before a process comes that can make nodes.
fn guard_devices(start: &StartRecord) -> Result<()> {
    let group = match &start.cgroup {
        Some(path) => Group::open(path)?,
        None => None,
    };
    match group {
        Some(group) => device_filter::attach(group.fd(), &default_rules()),
        // As with a container that starts where there are none.
        None => Ok(()),
    }
}

/// The container's own process plan, with what the caller wants otherwise.
fn process_plan(start: &StartRecord, spec: &ExecSpec) -> Result<ProcessPlan> {
    let mut plan: ProcessPlan = serde_json::from_str(&start.process)
        .context(ErrorKind::Store, || {
            "cannot understand how the container was started".to_owned()
        })?;
    plan.arguments.clone_from(&spec.command);
    for variable in &spec.env {
        crate::engine::plan::set_variable(&mut plan.environment, variable);
    }
    if let Some(user) = &spec.user {
        plan.user.clone_from(user);
    }
    if let Some(workdir) = &spec.workdir {
        plan.working_directory.clone_from(workdir);
    }
    plan.terminal = spec.tty;
    plan.terminal_size = if spec.tty { terminal_size() } else { None };
    if spec.tty {
        crate::engine::plan::set_variable(&mut plan.environment, "TERM=xterm");
    }
    Ok(plan)
}

fn become_joiner(plan: &ExecPlan, caller: &str, own_mounts: bool) -> Result<i32> {
    let what = || "cannot prepare to enter the container".to_owned();
    if own_mounts {
        // One that this user namespace owns, or the sealed self could not be mounted.
        user_namespace::unshare_mounts().system(what)?;
    }
    signals::restore_defaults();
    let text = serde_json::to_vec(plan).context(ErrorKind::InvalidArgument, what)?;
    let memory = process::memory_file(c"plan", &text).system(what)?;
    let program = exec::own_program().system(what)?;
    let numbers = exec::hand_over(&[memory.as_fd(), program.as_fd()]).system(what)?;
    let [role, caller] = [ROLE, caller].map(|text| CString::new(text).unwrap_or_default());
    let arguments = [role, numbers, caller];
    Err(exec::exec_descriptor(&program, &arguments, &[])).system(what)
}

/// What [`ROLE`] does; its exit code, or the failure to say. The third argument is for whoever says it:
/// [`ExecSpec::caller`].
pub fn main(arguments: &[std::ffi::OsString]) -> Result<i32> {
    let what = || "cannot read what to execute".to_owned();
    let numbers = arguments
        .get(1)
        .and_then(|text| text.to_str())
        .unwrap_or_default();
    let [memory, program] = exec::inherited(numbers).system(what)?;
    exec::seal(program).system(|| "cannot seal this program".to_owned())?;
    let text = process::read_whole(&memory).system(what)?;
    // Before the container sees the process that is forked: one that may trace could take it over.
    drop(memory);
    let plan: ExecPlan = serde_json::from_slice(&text).context(ErrorKind::System, what)?;
    let (streams, ends) = if plan.join.process.terminal {
        (None, Ends::default())
    } else {
        connect(&plan)?
    };
    let started = sandbox::join(&plan.join, streams)?;
    // An event that cannot be noted is no reason to let go of the program.
    let store = Store::open_checked(&plan.root, &plan.runroot).ok();
    note(store.as_ref(), &plan.events.started);
    if plan.detach {
        if let Some(terminal) = &started.terminal {
            hold(terminal)?;
        }
        return Ok(0);
    }
    let code = relay(&plan, started, ends)?;
    match code {
        None => note(store.as_ref(), &plan.events.detached),
        Some(code) => {
            let mut died = plan.events.died;
            let attributes = &mut died.actor.attributes;
            attributes.insert("exitCode".to_owned(), code.to_string());
            note(store.as_ref(), &died);
        }
    }
    Ok(code.unwrap_or(0))
}

fn note(store: Option<&Store>, event: &model_event::Event) {
    if let Some(store) = store {
        store.note_event(event.clone());
    }
}

/// Leaves a process behind that keeps a terminal open, and its output flowing, until the program
/// has ended: without one the terminal would hang up at once.
fn hold(terminal: &OwnedFd) -> Result<()> {
    let what = || "cannot leave the terminal open".to_owned();
    rustix::io::ioctl_fionbio(terminal, false).system(what)?;
    // This command only has to end now.
    signals::block_only(&signals::SignalSet::all()).system(what)?;
    fork::fork(fork::Namespaces::NONE, || {
        exec::close_all_but(&[terminal.as_fd()]);
        // The caller's terminal concerns it no more, but may have hung up already.
        let _ = rustix::process::setsid();
        let _ = signals::block_only(&signals::SignalSet::of(&[libc::SIGHUP]));
        let mut buffer = vec![0; 4 << 10];
        while !matches!(streams::read(terminal, &mut buffer), Input::Ended) {}
        0
    })
    .map(drop)
    .system(what)
}

/// Our ends of the pipes that stand between the program and this command's streams.
#[derive(Debug, Default)]
struct Ends {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    error_output: Option<OwnedFd>,
}

/// The program gets a stream of ours itself if that is a pipe; anything else (a terminal, a file
/// of the host) stays on this side of a pipe that we copy through.
fn connect(plan: &ExecPlan) -> Result<(Option<Streams>, Ends)> {
    let mut ends = Ends::default();
    let stdin = match (plan.interactive && !plan.detach, own_pipe(streams::input())) {
        (false, _) => None,
        (true, Some(pipe)) => Some(Stream::Borrowed(pipe)),
        (true, None) => {
            let (read, write) = pipe()?;
            ends.input = Some(write);
            Some(Stream::Made(read))
        }
    };
    let output = |stream: BorrowedFd<'_>, end: &mut Option<OwnedFd>| -> Result<Option<Stream>> {
        if plan.detach {
            return Ok(None);
        }
        if let Some(pipe) = own_pipe(stream) {
            return Ok(Some(Stream::Borrowed(pipe)));
        }
        let (read, write) = pipe()?;
        *end = Some(read);
        Ok(Some(Stream::Made(write)))
    };
    let stdout = output(streams::output(), &mut ends.output)?;
    let stderr = output(streams::error_output(), &mut ends.error_output)?;
    Ok((
        Some(Streams {
            stdin,
            stdout,
            stderr,
        }),
        ends,
    ))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .system(|| "cannot make a pipe".to_owned())
}

/// A stream of ours that is a plain pipe, which leads nowhere but to its other end. A FIFO lies in a
/// file system, where the container could change its owner and mode.
fn own_pipe(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    /// `f_type` of anonymous pipes, statfs(2).
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    let is_plain = rustix::fs::fstatfs(stream)
        .is_ok_and(|file_system| file_system.f_type as u64 == PIPEFS_MAGIC);
    is_plain
        .then(|| rustix::io::fcntl_dupfd_cloexec(stream, 3).ok())
        .flatten()
}

/// Copies between the program and this command until the program has ended and all its output has
/// been seen; its exit code, or `None` if the user detached.
fn relay(plan: &ExecPlan, started: Started, ends: Ends) -> Result<Option<i32>> {
    let what = || "cannot watch the program".to_owned();
    let wants_raw = started.terminal.is_some() && plan.interactive;
    let mut caught = signals::SignalSet::of(&[libc::SIGWINCH]);
    if wants_raw {
        caught = Terminal::SIGNALS
            .iter()
            .fold(caught, |set, signal| set.with(*signal));
    }
    signals::block_only(&caught).system(what)?;
    let caught = signals::descriptor(&caught).system(what)?;
    let raw = if wants_raw {
        Terminal::make_raw()?
    } else {
        None
    };
    let mut relay = Relay {
        keys: DetachKeys::new(&plan.detach_keys),
        takes_input: plan.interactive,
        buffer: vec![0; 64 << 10],
        exit_code: None,
        terminal: started.terminal,
        ends,
        to_program: Outflow::default(),
        output: Outflow::default(),
        error_output: Outflow::default(),
        program: started.init.pidfd,
        raw,
        caught,
    };
    // Ours alone, so they may refuse to wait.
    for end in relay.terminal.iter().chain(&relay.ends.input) {
        rustix::io::ioctl_fionbio(end, true).system(what)?;
    }
    relay.run()
}

struct Relay {
    keys: DetachKeys,
    takes_input: bool,
    buffer: Vec<u8>,
    exit_code: Option<i32>,
    terminal: Option<OwnedFd>,
    ends: Ends,
    to_program: Outflow,
    output: Outflow,
    error_output: Outflow,
    program: OwnedFd,
    /// Our terminal, while it is lent to the program.
    raw: Option<Terminal>,
    caught: OwnedFd,
}

#[derive(Clone, Copy)]
enum Source {
    Program,
    Signals,
    /// Our streams.
    Stdin,
    Stdout,
    Stderr,
    /// Our ends of the program's.
    Input,
    Output,
    ErrorOutput,
    Terminal,
}

impl Relay {
    fn run(&mut self) -> Result<Option<i32>> {
        loop {
            if let Some(code) = self.exit_code
                && self.terminal.is_none()
                && self.ends.output.is_none()
                && self.ends.error_output.is_none()
                && self.output.is_empty()
                && self.error_output.is_empty()
            {
                return Ok(Some(code));
            }
            for (source, ready) in self.wait()? {
                match source {
                    Source::Program => {
                        let code = process::reap(&self.program);
                        self.exit_code =
                            Some(code.system(|| "cannot reap the program".to_owned())?);
                        self.takes_input = false;
                    }
                    Source::Signals => {
                        if let Some(signal) = self.take_signals() {
                            return Ok(Some(128 + signal));
                        }
                    }
                    Source::Stdin => {
                        if self.take_input() {
                            return self.leave_running();
                        }
                    }
                    Source::Stdout | Source::Stderr => {
                        let flow = match source {
                            Source::Stdout => {
                                self.output.advance(streams::output(), WITHOUT_WAITING)
                            }
                            _ => {
                                let to = streams::error_output();
                                self.error_output.advance(to, WITHOUT_WAITING)
                            }
                        };
                        // The reader went away: that ends a program of a pipeline.
                        if flow == Flow::NoReader {
                            return Ok(Some(128 + libc::SIGPIPE));
                        }
                    }
                    Source::Input => self.give_input(),
                    Source::Output | Source::ErrorOutput => self.take_output(source),
                    Source::Terminal => {
                        if ready.contains(PollFlags::OUT) {
                            self.give_input();
                        }
                        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                            self.take_output(source);
                        }
                    }
                }
            }
        }
    }

    /// What to wait for: a direction is read only while nothing of it is left to be written.
    fn wait(&self) -> Result<Vec<(Source, PollFlags)>> {
        let (none, read, write) = (PollFlags::empty(), PollFlags::IN, PollFlags::OUT);
        let when = |condition: bool, flags| if condition { flags } else { none };
        let can_take = self.takes_input && (self.ends.input.is_some() || self.terminal.is_some());
        let (idle, giving) = (self.output.is_empty(), !self.to_program.is_empty());
        let terminal = when(idle, read) | when(giving, write);
        let error_idle = self.error_output.is_empty();
        let candidates = [
            (
                Source::Program,
                Some(self.program.as_fd()),
                when(self.exit_code.is_none(), read),
            ),
            (Source::Signals, Some(self.caught.as_fd()), read),
            (
                Source::Stdin,
                Some(streams::input()),
                when(can_take && !giving, read),
            ),
            (Source::Stdout, Some(streams::output()), when(!idle, write)),
            (
                Source::Stderr,
                Some(streams::error_output()),
                when(!error_idle, write),
            ),
            (
                Source::Input,
                self.ends.input.as_ref().map(AsFd::as_fd),
                when(giving, write),
            ),
            (
                Source::Output,
                self.ends.output.as_ref().map(AsFd::as_fd),
                when(idle, read),
            ),
            (
                Source::ErrorOutput,
                self.ends.error_output.as_ref().map(AsFd::as_fd),
                when(error_idle, read),
            ),
            (
                Source::Terminal,
                self.terminal.as_ref().map(AsFd::as_fd),
                terminal,
            ),
        ];
        let mut set = PollSet::with_capacity(candidates.len());
        for (source, descriptor, flags) in candidates {
            if let Some(descriptor) = descriptor.filter(|_| !flags.is_empty()) {
                set.add(source, descriptor, flags);
            }
        }
        set.wait().system(|| "cannot watch the program".to_owned())
    }

    /// The signal that ends this command, if one came. Its terminal is given back on the way.
    fn take_signals(&mut self) -> Option<i32> {
        while let Ok(Some(signal)) = signals::next(&self.caught) {
            let resumed = self
                .raw
                .as_ref()
                .is_some_and(|raw| raw.suspend_or_resume(signal));
            if resumed || signal == libc::SIGWINCH {
                self.resize();
            } else if !matches!(signal, libc::SIGTSTP | libc::SIGCONT) {
                return Some(signal);
            }
        }
        None
    }

    fn resize(&self) {
        if let (Some(terminal), Some((rows, columns))) = (&self.terminal, terminal_size()) {
            let size = rustix::termios::Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let _ = rustix::termios::tcsetwinsize(terminal, size);
        }
    }

    /// The user has detached: the program goes on, with its terminal.
    fn leave_running(&mut self) -> Result<Option<i32>> {
        if let Some(terminal) = &self.terminal {
            self.to_program.finish(terminal);
            hold(terminal)?;
        }
        Ok(None)
    }

    /// Whether the user has detached.
    fn take_input(&mut self) -> bool {
        match streams::read(streams::input(), &mut self.buffer) {
            Input::Later => {}
            Input::Ended => {
                self.takes_input = false;
                self.ends.input = None;
                self.to_program.push(&self.keys.rest());
            }
            Input::Bytes(count) if self.terminal.is_some() => {
                let mut passed = Vec::with_capacity(count);
                let detached = self.keys.filter(&self.buffer[..count], &mut passed);
                self.to_program.push(&passed);
                return detached;
            }
            Input::Bytes(count) => self.to_program.push(&self.buffer[..count]),
        }
        false
    }

    fn give_input(&mut self) {
        let Some(to) = self.terminal.as_ref().or(self.ends.input.as_ref()) else {
            return;
        };
        if self.to_program.advance(to, usize::MAX) != Flow::Going {
            // The program has closed its end.
            self.takes_input = false;
            self.ends.input = None;
        }
    }

    fn take_output(&mut self, source: Source) {
        let (from, to) = match source {
            Source::Terminal => (&mut self.terminal, &mut self.output),
            Source::ErrorOutput => (&mut self.ends.error_output, &mut self.error_output),
            _ => (&mut self.ends.output, &mut self.output),
        };
        let Some(descriptor) = from else { return };
        match streams::read(&*descriptor, &mut self.buffer) {
            Input::Later => {}
            Input::Ended => *from = None,
            Input::Bytes(count) => to.push(&self.buffer[..count]),
        }
    }
}
