//! Runs hooks: programs of the host (or, right before the program, of the container), with the
//! container's state on their standard input.
//!
//! A hook gets the environment that its description lists and nothing more, no descriptor but the
//! standard ones, and no time beyond its limit. What it writes goes to whoever reads the failure:
//! the last lines of it are part of the message.

use std::{
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::c_string;
use crate::{
    model::{
        Context, Error, ErrorKind, Result,
        hook::{Hook, HookPlan},
    },
    sys::{exec, fork, in_root, process, signals},
};

/// Bytes of a failed hook's output that are told.
const TAIL: usize = 1 << 10;

/// Runs the hooks one after the other, up to the first that fails. `prepare` runs in each one's
/// process before it is executed.
pub fn run(
    moment: &str,
    hooks: &[Hook],
    state: &str,
    prepare: &dyn Fn() -> Result<()>,
) -> Result<()> {
    hooks.iter().try_for_each(|hook| {
        run_one(hook, state, prepare).map_err(|error| {
            let name = hook.path.display();
            Error::new(
                error.kind(),
                format!("{moment} hook {name} failed: {}", error.one_line()),
            )
        })
    })
}

/// Hooks on the host start in the bundle's folder.
pub fn enter_bundle(plan: &HookPlan) -> Result<()> {
    rustix::process::chdir(&plan.bundle)
        .system(|| format!("cannot enter {}", plan.bundle.display()))
}

/// As [`run`], but a failure does not hold the next one up: what failed.
pub fn run_all(
    moment: &str,
    hooks: &[Hook],
    state: &str,
    prepare: &dyn Fn() -> Result<()>,
) -> Vec<String> {
    let each = |hook| run(moment, std::slice::from_ref(hook), state, prepare);
    hooks
        .iter()
        .filter_map(|hook| each(hook).err())
        .map(|error| error.one_line())
        .collect()
}

fn run_one(hook: &Hook, state: &str, prepare: &dyn Fn() -> Result<()>) -> Result<()> {
    let what = || "cannot start it".to_owned();
    // A file in memory, not a pipe: a hook that does not read must not hold us up.
    let input = process::memory_file(c"state", state.as_bytes()).system(what)?;
    let (output, theirs) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).system(what)?;
    rustix::io::ioctl_fionbio(&output, true).system(what)?;
    let child = fork::fork(fork::Namespaces::NONE, || {
        let Err(error) = prepare().and_then(|()| become_hook(hook, &input, &theirs));
        let _ = rustix::io::write(&theirs, error.one_line().as_bytes());
        127
    });
    let child = child.system(what)?;
    drop(theirs);
    let deadline = hook
        .timeout
        .map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let (tail, in_time) = listen(&child.pidfd, &output, deadline).system(what)?;
    if !in_time {
        let _ = process::signal(&child.pidfd, libc::SIGKILL);
    }
    let code = process::reap(&child.pidfd).system(what)?;
    match (in_time, code) {
        (true, 0) => Ok(()),
        (true, code) => Err(failed(format!("exit code {code}"), &tail)),
        (false, _) => Err(failed(
            format!("it took longer than {} s", hook.timeout.unwrap_or(0)),
            &tail,
        )),
    }
}

fn failed(why: String, tail: &[u8]) -> Error {
    let text = String::from_utf8_lossy(tail);
    let text = text.trim();
    let message = if text.is_empty() {
        why
    } else {
        format!("{why}: {}", text.replace('\n', " / "))
    };
    Error::new(ErrorKind::System, message)
}

fn become_hook(hook: &Hook, input: &OwnedFd, output: &OwnedFd) -> Result<std::convert::Infallible> {
    let what = || "cannot prepare it".to_owned();
    rustix::stdio::dup2_stdin(input).system(what)?;
    rustix::stdio::dup2_stdout(output).system(what)?;
    rustix::stdio::dup2_stderr(output).system(what)?;
    exec::close_on_exec_from(3).system(what)?;
    rustix::process::setsid().system(what)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    signals::restore_default(libc::SIGPIPE);
    signals::block_only(&signals::SignalSet::empty()).system(what)?;
    let program = in_root::c_string(hook.path.as_os_str()).system(what)?;
    let mut arguments = c_strings(&hook.args)?;
    if arguments.is_empty() {
        arguments.push(program.clone());
    }
    let environment = c_strings(&hook.env)?;
    Err(exec::exec(&program, &arguments, &environment)).system(|| "cannot execute it".to_owned())
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>> {
    texts.iter().map(|text| c_string(text)).collect()
}

/// Reads until the process has ended or the time is over: the end of what it wrote, and whether it
/// ended in time. A child that it left behind may hold the pipe open; nobody waits for that.
fn listen(
    pidfd: impl AsFd,
    output: &OwnedFd,
    deadline: Option<Instant>,
) -> std::io::Result<(Vec<u8>, bool)> {
    let mut tail = Vec::new();
    let mut open = true;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut sources = vec![PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        if open {
            sources.push(PollFd::new(output, PollFlags::IN));
        }
        match poll(&mut sources, limit.as_ref()) {
            Ok(0) => return Ok((tail, false)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended = !sources[0].revents().is_empty();
        open = open && drain(output, &mut tail);
        if ended {
            return Ok((tail, true));
        }
    }
}

/// Takes what is there; whether more may come.
fn drain(output: &OwnedFd, tail: &mut Vec<u8>) -> bool {
    let mut buffer = [0; TAIL];
    loop {
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                tail.extend_from_slice(&buffer[..count]);
                let extra = tail.len().saturating_sub(TAIL);
                tail.drain(..extra);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
}
