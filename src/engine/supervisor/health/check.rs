//! One check in progress: a program in the container, as `exec` would start it.
//!
//! ```text
//! supervisor ── fork ── starter ── sandbox::join_for_parent ──▶ program, in the container
//!      ▲                   │ pidfd, or why it could not be started       │
//!      └───────────────────┴──────── its output, by a pipe ──────────────┘
//! ```
//!
//! Entering a container can take as long as its file systems like, so that a child does it: the
//! *starter*, which ends when the program runs. By that the program becomes this process's child,
//! who watches and reaps it. Nothing of this waits: every step is told by a descriptor.
//!
//! In the pid namespace of another container the starter is in there too, and what it leaves behind
//! would become that one's: there it stays, and ends as the program has ended.
//!
//! What takes too long is killed: the starter with the process it has sent into the container,
//! the program with all of its process group. A process that the check has left behind on purpose
//! stays, as with Docker.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{event::PollFlags, io::Errno, pipe::SpliceFlags};

use super::super::now;
use crate::{
    engine::sandbox::{self, JoinPlan, Stream, Streams},
    model::{
        Context, Error, Result,
        health::{HealthResult, Probe},
        human,
        namespace::Place,
    },
    sys::{
        exec,
        fork::{self, Child},
        packet,
        poll::PollSet,
        process, signals,
    },
};

#[derive(Debug)]
pub(super) struct Check {
    started: String,
    starter: Option<Child>,
    /// The starter stays the program's parent.
    relayed: bool,
    /// From the starter.
    messages: OwnedFd,
    program: Option<OwnedFd>,
    /// Why it could not be started.
    failure: Option<String>,
    exit_code: Option<i32>,
    took_too_long: bool,
    output: Option<OwnedFd>,
    captured: Vec<u8>,
    /// There was more.
    truncated: bool,
}

/// What one of its descriptors is.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Part {
    Starter,
    Program,
    Output,
}

impl Check {
    /// Sets it going. `init` is the container's first process.
    pub(super) fn begin(plan: &JoinPlan, init: BorrowedFd<'_>) -> Result<Check> {
        let what = || "cannot start a health check".to_owned();
        let (messages, theirs) = packet::pair().system(what)?;
        let relayed = plan.namespaces.pid == Place::Joined;
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (output, input) = rustix::pipe::pipe_with(flags).system(what)?;
        let starter = fork::fork(fork::Namespaces::NONE, || {
            match start(plan, init, input, theirs.as_fd()) {
                Ok(()) if relayed => process::reap_any().unwrap_or(255),
                Ok(()) => 0,
                Err(error) => {
                    let mut text = error.one_line();
                    text.truncate(text.floor_char_boundary(1 << 10));
                    let text = text.as_bytes();
                    let _ = packet::send(&theirs, FAILED, text, None::<&OwnedFd>, false);
                    1
                }
            }
        })
        .system(what)?;
        Ok(Check {
            started: now(),
            starter: Some(starter),
            relayed,
            messages,
            program: None,
            failure: None,
            exit_code: None,
            took_too_long: false,
            output: Some(output),
            captured: Vec::new(),
            truncated: false,
        })
    }

    pub(super) fn watch<'fd, S: Copy>(
        &'fd self,
        set: &mut PollSet<'fd, S>,
        source: impl Fn(Part) -> S,
    ) {
        // As long as the starter lives, the program is its child.
        if let Some(starter) = &self.starter {
            set.add(source(Part::Starter), starter.pidfd.as_fd(), PollFlags::IN);
        } else if let Some(program) = &self.program {
            set.add(source(Part::Program), program.as_fd(), PollFlags::IN);
        }
        if let Some(output) = &self.output {
            set.add(source(Part::Output), output.as_fd(), PollFlags::IN);
        }
    }

    /// Does what a descriptor is ready for; whether the check is over.
    pub(super) fn advance(&mut self, part: Part, most: usize) -> bool {
        match part {
            Part::Starter => self.note_started(),
            Part::Program => {
                if let Some(program) = self.program.take() {
                    self.exit_code = process::reap(program).ok();
                }
            }
            Part::Output => {
                if self.read(most).is_err() {
                    self.output = None;
                }
            }
        }
        self.starter.is_none() && self.program.is_none()
    }

    fn note_started(&mut self) {
        let Some(starter) = self.starter.take() else {
            return;
        };
        self.hear();
        let status = process::reap(&starter.pidfd).ok();
        if self.relayed {
            self.program = None;
            self.exit_code = status;
        } else if status != Some(0) && self.failure.is_none() {
            self.failure = Some("the health check could not be started".to_owned());
        }
        if let Some(program) = &self.program
            && (self.took_too_long || self.failure.is_some())
            && process::kill_group(program).is_err()
        {
            // Not a child: it has been reaped.
            self.program = None;
        }
    }

    /// What the starter has said until now.
    fn hear(&mut self) {
        let mut buffer = [0; 2 << 10];
        while let Ok((length, descriptor)) = packet::receive(&self.messages, &mut buffer, false)
            && length > 0
        {
            match buffer[..length].split_first() {
                Some((&kind, text)) if kind == FAILED[0] => {
                    self.failure = Some(String::from_utf8_lossy(text).into_owned());
                }
                _ => self.program = self.program.take().or(descriptor),
            }
        }
    }

    /// Kills it. That it is over is told by its descriptors.
    pub(super) fn kill(&mut self) {
        self.took_too_long = true;
        if self.relayed {
            self.hear();
        }
        let _ = match (&self.starter, &self.program) {
            (Some(_), Some(program)) => process::signal(program, libc::SIGKILL),
            (Some(starter), None) => process::kill_group(&starter.pidfd),
            (None, Some(program)) => process::kill_group(program),
            (None, None) => Ok(()),
        };
    }

    /// Kills it, and leaves nothing to be reaped but what the container's own end takes along.
    pub(super) fn abandon(mut self) {
        self.kill();
        if let Some(starter) = &self.starter {
            let _ = process::kill_group(&starter.pidfd);
            self.note_started();
        }
    }

    /// Reads what is there; what is more than `most` bytes goes nowhere.
    fn read(&mut self, most: usize) -> io::Result<()> {
        let Some(output) = &self.output else {
            return Ok(());
        };
        let room = most.saturating_sub(self.captured.len());
        let count = if room > 0 {
            let mut buffer = [0; 4 << 10];
            let room = room.min(buffer.len());
            let count = rustix::io::read(output, &mut buffer[..room])?;
            self.captured.extend_from_slice(&buffer[..count]);
            count
        } else {
            // This process's standard input is /dev/null, open for writing too.
            let null = rustix::stdio::stdin();
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            let count = match rustix::pipe::splice(output, None, null, None, 1 << 20, flags) {
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                other => other?,
            };
            self.truncated |= count > 0;
            count
        };
        if count == 0 {
            self.output = None;
        }
        Ok(())
    }

    /// The result of a check that is over.
    pub(super) fn into_result(mut self, probe: &Probe, most: usize) -> HealthResult {
        self.drain(most);
        let mut output = String::from_utf8_lossy(&self.captured).into_owned();
        if self.truncated {
            output.push_str("...");
        }
        let (exit_code, output) = match (self.took_too_long, self.failure, self.exit_code) {
            (true, _, _) => {
                let limit = human::go_duration(probe.timeout);
                let text = format!("Health check exceeded timeout ({limit})");
                match output.as_str() {
                    "" => (-1, text),
                    output => (-1, format!("{text}: {output}")),
                }
            }
            (false, None, Some(code)) => (code, output),
            (false, failure, _) => (-1, failure.unwrap_or(output)),
        };
        HealthResult {
            start: self.started,
            end: now(),
            exit_code,
            output,
        }
    }

    /// Reads what is left, without waiting for those who may still have the pipe open.
    fn drain(&mut self, most: usize) {
        // More than a pipe holds.
        const ROUNDS: usize = 64;
        for _ in 0..ROUNDS {
            let Some(output) = &self.output else { return };
            if rustix::io::ioctl_fionbio(output, true).is_err() || self.read(most).is_err() {
                return;
            }
        }
    }
}

const FAILED: &[u8] = b"F";

/// In the starter: with it, the process that it sends in ends, whatever that waits for.
fn start(
    plan: &JoinPlan,
    init: BorrowedFd<'_>,
    output: OwnedFd,
    told: BorrowedFd<'_>,
) -> Result<()> {
    let what = || "cannot prepare a health check".to_owned();
    rustix::process::setpgid(None, None).system(what)?;
    signals::restore_defaults();
    let standard = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    let mut kept = standard.to_vec();
    kept.extend([init, output.as_fd(), told]);
    exec::close_all_but(&kept);
    let errors = output.try_clone().system(what)?;
    let streams = Streams {
        stdin: None,
        stdout: Some(Stream::Made(output)),
        stderr: Some(Stream::Made(errors)),
    };
    sandbox::join_for_parent(plan, init, Some(streams), told)
}

/// The result of a check that could not even be tried.
pub(super) fn not_begun(error: &Error) -> HealthResult {
    HealthResult {
        start: now(),
        end: now(),
        exit_code: -1,
        output: error.one_line(),
    }
}
