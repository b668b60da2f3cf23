//! `exec`: one more program in a running container.
//!
//! The command turns itself into the joining process: it executes this program's sealed self, in
//! the role [`ROLE`], so that what enters the container is small and not writable. It keeps the
//! command's process number, streams and terminal, and ends with the program's exit code.

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};

use super::streams::{self, DetachKeys, Terminal, terminal_size, write_all};
use crate::{
    engine::{
        Engine, ExecSpec,
        plan::ProcessPlan,
        sandbox::{self, JoinPlan, Started, Streams},
    },
    model::{Context, Error, ErrorKind, Result, container::StartRecord},
    sys::{exec, process, signals, user_namespace},
};

/// The name by which the executed program knows its role, `argv[0]`.
pub const ROLE: &str = "coracle-exec";

#[derive(Debug, Serialize, Deserialize)]
struct ExecPlan {
    join: JoinPlan,
    interactive: bool,
    detach: bool,
    detach_keys: Vec<u8>,
}

impl Engine {
    /// Runs a program in a container. On success this process has become the joining one and ends
    /// with the program's exit code, so this returns only failures.
    pub fn exec(&self, container: &str, spec: ExecSpec) -> Result<i32> {
        let (directory, _) = self.store.find_container(container)?;
        let not_running = || {
            Error::new(
                ErrorKind::Conflict,
                format!("container {container} is not running"),
            )
        };
        let start = directory.start_record()?.ok_or_else(not_running)?;
        if !directory.is_held()? {
            return Err(not_running());
        }
        let plan = ExecPlan {
            join: JoinPlan {
                init: start.init.clone(),
                process: process_plan(&start, &spec)?,
            },
            interactive: spec.interactive,
            detach: spec.detach,
            detach_keys: spec.detach_keys.clone(),
        };
        if !self.user.join_namespace_of(start.init.pid)? {
            return Err(not_running());
        }
        become_joiner(&plan, self.user.has_namespace())
    }
}

/// The container's own process plan, with what the caller wants otherwise.
fn process_plan(start: &StartRecord, spec: &ExecSpec) -> Result<ProcessPlan> {
    let mut plan: ProcessPlan = serde_json::from_value(start.process.clone())
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

fn become_joiner(plan: &ExecPlan, own_mounts: bool) -> Result<i32> {
    let what = || "cannot prepare to enter the container".to_owned();
    if own_mounts {
        // One that this user namespace owns, or the sealed self could not be mounted.
        user_namespace::unshare_mounts().system(what)?;
    }
    let text = serde_json::to_vec(plan).context(ErrorKind::InvalidArgument, what)?;
    let memory = process::memory_file(c"plan", &text).system(what)?;
    let program = exec::sealed_self().system(what)?;
    let numbers = exec::hand_over(&[memory.as_fd()]).system(what)?;
    let arguments = [CString::new(ROLE).unwrap_or_default(), numbers];
    Err(exec::exec_descriptor(&program, &arguments, &[])).system(what)
}

/// What [`ROLE`] does; its exit code, or the failure to say.
pub fn main(arguments: &[std::ffi::OsString]) -> Result<i32> {
    let what = || "cannot read what to execute".to_owned();
    let numbers = arguments
        .get(1)
        .and_then(|text| text.to_str())
        .unwrap_or_default();
    let [plan] = exec::inherited(numbers).system(what)?;
    let text = process::read_whole(&plan).system(what)?;
    let plan: ExecPlan = serde_json::from_slice(&text).context(ErrorKind::System, what)?;
    let (streams, ends) = if plan.join.process.terminal {
        (None, Ends::default())
    } else {
        connect(&plan)?
    };
    let started = sandbox::join(&plan.join, streams)?;
    if plan.detach {
        return Ok(0);
    }
    relay(&plan, started, ends)
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
        (true, Some(pipe)) => Some(pipe),
        (true, None) => {
            let (read, write) = pipe()?;
            ends.input = Some(write);
            Some(read)
        }
    };
    let output = |stream: BorrowedFd<'_>, end: &mut Option<OwnedFd>| -> Result<Option<OwnedFd>> {
        if plan.detach {
            return Ok(None);
        }
        if let Some(pipe) = own_pipe(stream) {
            return Ok(Some(pipe));
        }
        let (read, write) = pipe()?;
        *end = Some(read);
        Ok(Some(write))
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

fn own_pipe(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    let stat = rustix::fs::fstat(stream).ok()?;
    let is_pipe = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo;
    is_pipe
        .then(|| rustix::io::fcntl_dupfd_cloexec(stream, 3).ok())
        .flatten()
}

/// Copies between the program and this command until the program has ended and all its output has
/// been seen; its exit code.
fn relay(plan: &ExecPlan, started: Started, mut ends: Ends) -> Result<i32> {
    let what = || "cannot watch the program".to_owned();
    let _raw = if started.terminal.is_some() && plan.interactive {
        Terminal::make_raw()?
    } else {
        None
    };
    let caught = signals::SignalSet::of(&[libc::SIGWINCH]);
    signals::block_only(&caught).system(what)?;
    let resized = signals::descriptor(&caught).system(what)?;
    let mut relay = Relay {
        keys: DetachKeys::new(&plan.detach_keys),
        takes_input: plan.interactive,
        buffer: vec![0; 64 << 10],
        exit_code: None,
        terminal: started.terminal,
        ends: std::mem::take(&mut ends),
        program: started.init.pidfd,
        resized,
    };
    relay.run()
}

struct Relay {
    keys: DetachKeys,
    takes_input: bool,
    buffer: Vec<u8>,
    exit_code: Option<i32>,
    terminal: Option<OwnedFd>,
    ends: Ends,
    program: OwnedFd,
    resized: OwnedFd,
}

#[derive(Clone, Copy)]
enum Source {
    Program,
    Resized,
    Input,
    Terminal,
    Output,
    ErrorOutput,
}

impl Relay {
    fn run(&mut self) -> Result<i32> {
        loop {
            if let Some(code) = self.exit_code
                && self.terminal.is_none()
                && self.ends.output.is_none()
                && self.ends.error_output.is_none()
            {
                return Ok(code);
            }
            for source in self.wait()? {
                match source {
                    Source::Program => {
                        self.exit_code = Some(
                            process::reap(&self.program)
                                .system(|| "cannot reap the program".to_owned())?,
                        );
                        self.takes_input = false;
                    }
                    Source::Resized => self.resize(),
                    Source::Input => {
                        if self.copy_input() {
                            return Ok(0);
                        }
                    }
                    Source::Terminal => self.copy_output(source),
                    Source::Output | Source::ErrorOutput => self.copy_output(source),
                }
            }
        }
    }

    fn wait(&self) -> Result<Vec<Source>> {
        let mut sources = Vec::with_capacity(6);
        let mut polled = Vec::with_capacity(6);
        let stdin = streams::input();
        let can_take = self.takes_input && (self.ends.input.is_some() || self.terminal.is_some());
        let candidates = [
            (
                Source::Program,
                self.exit_code.is_none().then(|| self.program.as_fd()),
            ),
            (Source::Resized, Some(self.resized.as_fd())),
            (Source::Input, can_take.then_some(stdin)),
            (Source::Terminal, self.terminal.as_ref().map(AsFd::as_fd)),
            (Source::Output, self.ends.output.as_ref().map(AsFd::as_fd)),
            (
                Source::ErrorOutput,
                self.ends.error_output.as_ref().map(AsFd::as_fd),
            ),
        ];
        for (source, descriptor) in candidates {
            if let Some(descriptor) = descriptor {
                sources.push(source);
                polled.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
            }
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).system(|| "cannot watch the program".to_owned()),
        }
        let ready = polled.iter().map(|entry| !entry.revents().is_empty());
        Ok(sources
            .into_iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
            .map(|(source, _)| source)
            .collect())
    }

    fn resize(&self) {
        while let Ok(Some(_)) = signals::next(&self.resized) {
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
    }

    /// Whether the user has detached.
    fn copy_input(&mut self) -> bool {
        let count = rustix::io::read(streams::input(), &mut self.buffer).unwrap_or(0);
        if count == 0 {
            self.takes_input = false;
            self.ends.input = None;
            return false;
        }
        if let Some(terminal) = &self.terminal {
            let mut passed = Vec::with_capacity(count);
            let detached = self.keys.filter(&self.buffer[..count], &mut passed);
            write_all(terminal, &passed);
            return detached;
        }
        if let Some(input) = &self.ends.input {
            write_all(input, &self.buffer[..count]);
        }
        false
    }

    fn copy_output(&mut self, source: Source) {
        let (from, to) = match source {
            Source::Terminal => (&mut self.terminal, streams::output()),
            Source::ErrorOutput => (&mut self.ends.error_output, streams::error_output()),
            _ => (&mut self.ends.output, streams::output()),
        };
        let Some(descriptor) = from else { return };
        match rustix::io::read(&*descriptor, &mut self.buffer) {
            Ok(0) => *from = None,
            Ok(count) => write_all(to, &self.buffer[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // A terminal whose other side is closed.
            Err(_) => *from = None,
        }
    }
}
