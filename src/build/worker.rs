//! Steps as processes of their own.
//!
//! ```text
//! coordinator (one thread, one loop)            worker: a forked copy, for one step
//!   start ─────────────────────────────────────▶  standard output and error: pipes to the coordinator
//!   output ◀──────────────────────────────────── the program's, as it comes
//!   news   ◀──────────────────────────────────── Message::Status …
//!   ended  ◀──────────────────────────────────── Message::Done, with a value; or Message::Failed
//!   finish ─────────────────────────────────────▶  one byte: it lets its lease go and ends
//! ```
//!
//! A step may enter the user's namespace, change the umask, run threads and wait as long as it likes
//! without the others noticing. Workers are killed with the coordinator (`PR_SET_PDEATHSIG`), and the
//! containers that they run with them. A worker keeps what it has made from garbage collection until
//! the coordinator, which has the value, keeps it itself.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Pid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    model::{Context, Error, ErrorKind, Failure, Result},
    sys::{fork, packet, process},
};

/// What fits into one message; values that are larger are refused.
const MAX_MESSAGE: usize = 128 << 10;

#[derive(Debug, Serialize, Deserialize)]
enum Message<V> {
    Status(Status),
    Done(V),
    Failed(Failure),
    /// The same, and it can be looked into: it waits.
    Stopped(Failure),
}

/// What is told a worker that has stopped.
const GO_ON: &[u8; 1] = b"G";

/// How far a step is with something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub text: String,
    /// Bytes; both zero if that is not what it is about.
    pub current: u64,
    pub total: u64,
    pub done: bool,
}

/// In the worker: the way to say something.
pub struct Reporter {
    socket: OwnedFd,
}

impl Reporter {
    pub fn status(&self, status: Status) {
        // Nobody is there to hear it: the end is near.
        let _ = self.send(&Message::<()>::Status(status));
    }

    /// Says that the step has failed, and waits; whether somebody wants to look into it.
    pub fn stop(&self, error: &Error) -> bool {
        let failure = Failure::from(error).within(MAX_MESSAGE / 8);
        let mut word = [0];
        self.send(&Message::<()>::Stopped(failure)).is_ok()
            && packet::receive(&self.socket, &mut word, true).is_ok()
            && word == *GO_ON
    }

    fn send<V: Serialize>(&self, message: &Message<V>) -> std::io::Result<()> {
        let text = serde_json::to_vec(message)?;
        packet::send(&self.socket, &text, &[], None::<&OwnedFd>, true)
    }
}

/// A step that is being done.
pub struct Worker {
    child: fork::Child,
    socket: OwnedFd,
    outputs: [Option<OwnedFd>; 2],
    stopped: Cell<bool>,
}

/// What a worker has said.
#[derive(Debug)]
pub enum News<V> {
    Status(Status),
    /// It has ended, so or so.
    Ended(Result<V>),
}

impl Worker {
    /// Does `work` in a copy of this process, which must have one thread. Its value is sent; what it
    /// returns beside that (a lease) is held until the coordinator has the value.
    pub fn start<V: Serialize, K>(
        work: impl FnOnce(&Reporter) -> Result<(V, K)>,
    ) -> Result<Worker> {
        let what = || "cannot start a step".to_owned();
        let (ours, theirs) = packet::pair().system(what)?;
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (output, output_to) = pipe().system(what)?;
        let (errors, errors_to) = pipe().system(what)?;
        let parent = rustix::process::getpid();
        let child = fork::fork(fork::Namespaces::NONE, || {
            let reporter = Reporter { socket: theirs };
            let begun = begin(parent, [output_to.as_fd(), errors_to.as_fd()]);
            let (message, _kept) = match begun.and_then(|()| work(&reporter)) {
                Ok((value, kept)) => (Message::Done(value), Some(kept)),
                Err(error) => {
                    let failure = Failure::from(&error).within(MAX_MESSAGE / 8);
                    (Message::Failed(failure), None)
                }
            };
            if reporter.send(&message).is_err() {
                return 1;
            }
            // Until the coordinator has taken it over. It would not help to wait for the socket's end:
            // this copy, and those of later workers, have the coordinator's side open too.
            let _ = packet::receive(&reporter.socket, &mut [0], true);
            0
        })
        .system(what)?;
        Ok(Worker {
            child,
            socket: ours,
            outputs: [Some(output), Some(errors)],
            stopped: Cell::new(false),
        })
    }

    /// To be waited on for [`Self::news`].
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Standard output and error, as long as they are open.
    pub fn outputs(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let outputs = self.outputs.iter().enumerate();
        outputs.filter_map(|(number, output)| Some((number, output.as_ref()?.as_fd())))
    }

    /// What has come on an output; `None` at its end.
    pub fn read(&mut self, number: usize, buffer: &mut Vec<u8>) -> Option<()> {
        let output = self.outputs[number].as_ref()?;
        buffer.resize(64 << 10, 0);
        match rustix::io::read(output, &mut buffer[..]) {
            Ok(0) => {
                self.outputs[number] = None;
                None
            }
            Ok(length) => {
                buffer.truncate(length);
                Some(())
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                buffer.clear();
                Some(())
            }
            Err(_) => {
                self.outputs[number] = None;
                None
            }
        }
    }

    /// What it says next; waits for it.
    pub fn news<V: DeserializeOwned>(&self) -> News<V> {
        let lost = || {
            Error::new(ErrorKind::System, "the process of a step was killed")
                .with_hint("by somebody, or by the kernel for want of memory")
        };
        let mut buffer = vec![0; MAX_MESSAGE];
        let length = match packet::receive(&self.socket, &mut buffer, true) {
            Ok((0, _)) | Err(_) => return News::Ended(Err(lost())),
            Ok((length, _)) => length,
        };
        let message = serde_json::from_slice(&buffer[..length]).context(ErrorKind::System, || {
            "cannot understand what a step says".to_owned()
        });
        match message {
            Ok(Message::Status(status)) => News::Status(status),
            Ok(Message::Done(value)) => News::Ended(Ok(value)),
            Ok(Message::Failed(failure)) => News::Ended(Err(failure.into_error())),
            Ok(Message::Stopped(failure)) => {
                self.stopped.set(true);
                News::Ended(Err(failure.into_error()))
            }
            Err(error) => News::Ended(Err(error)),
        }
    }

    /// It has failed, and can be looked into.
    pub fn has_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Lets one that has stopped open what there is to see; its news come when that is over.
    pub fn go_on(&self) {
        let _ = packet::send(&self.socket, GO_ON, &[], None::<&OwnedFd>, false);
    }

    /// Lets it go: what it has made is known to be kept.
    pub fn finish(self) {
        if packet::send(&self.socket, b"F", &[], None::<&OwnedFd>, false).is_err() {
            // It is dead already, or would wait for ever: it has nothing left to do.
            let _ = process::signal(&self.child.pidfd, libc::SIGKILL);
        }
        let _ = process::reap(&self.child.pidfd);
    }

    /// Ends it, and whatever it runs.
    pub fn kill(self) {
        let _ = process::signal(&self.child.pidfd, libc::SIGKILL);
        self.finish();
    }
}

fn begin(parent: Pid, outputs: [BorrowedFd<'_>; 2]) -> Result<()> {
    let what = || "cannot begin a step".to_owned();
    process::die_with_parent().system(what)?;
    // It may have ended before.
    if rustix::process::getppid() != Some(parent) {
        return Err(Error::new(ErrorKind::System, what()));
    }
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).system(what)?;
    rustix::stdio::dup2_stdin(null).system(what)?;
    rustix::stdio::dup2_stdout(outputs[0]).system(what)?;
    rustix::stdio::dup2_stderr(outputs[1]).system(what)
}
