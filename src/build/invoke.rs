//! `--invoke`: a shell where a step has failed.
//!
//! ```text
//! coordinator                                   worker of a RUN
//!   ◀──────────────────────────────────────────  its program has failed; lease, mounts, secrets and
//!   the other steps are ended, and what failed   agents are kept
//!   is shown as ever
//!   opened ────────────────────────────────────▶ takes the terminal, runs the command in the same
//!   the build has failed  ◀────────────────────  root, as it was left, and ends
//! ```
//!
//! Nothing of what the shell does is kept.

use std::{cell::RefCell, fmt};

use rustix::fs::{Mode, OFlags};

use super::worker::{News, Worker};
use crate::model::{ContainerSpec, Context, ErrorKind, Result};

/// What is opened if nothing else is said.
const SHELL: &str = "/bin/sh";

pub struct Invoke {
    /// Program and arguments.
    command: Vec<String>,
    /// The worker of the step that has failed.
    held: RefCell<Option<Worker>>,
}

impl fmt::Debug for Invoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Invoke").field(&self.command).finish()
    }
}

impl Invoke {
    /// A shell if there are no words.
    pub fn new(mut command: Vec<String>) -> Invoke {
        if command.is_empty() {
            command.push(SHELL.to_owned());
        }
        Invoke {
            command,
            held: RefCell::default(),
        }
    }

    /// The step's container again, with this command and a terminal.
    pub fn spec(&self, step: &ContainerSpec) -> ContainerSpec {
        ContainerSpec {
            entrypoint: Some(self.command.clone()),
            command: Vec::new(),
            interactive: true,
            tty: true,
            ..step.clone()
        }
    }

    pub fn hold(&self, worker: Worker) {
        self.held.replace(Some(worker));
    }

    pub fn has_step(&self) -> bool {
        self.held.borrow().is_some()
    }

    /// Lets the worker open the shell, and waits for its end.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open(&self) -> Result<()> {
        let Some(worker) = self.held.take() else {
            return Ok(());
        };
        worker.go_on();
        let outcome = worker.news::<()>();
        worker.finish();
        match outcome {
            // The step's own failure, again.
            News::Ended(Err(error)) if error.kind() != ErrorKind::BuildFailed => Err(error),
            _ => Ok(()),
        }
    }
}

/// In the worker: its streams are the terminal of the command from here on.
pub fn take_terminal() -> Result<()> {
    let what = || "cannot open the terminal".to_owned();
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty()).system(what)?;
    rustix::stdio::dup2_stdin(&terminal).system(what)?;
    rustix::stdio::dup2_stdout(&terminal).system(what)?;
    rustix::stdio::dup2_stderr(&terminal).system(what)
}
