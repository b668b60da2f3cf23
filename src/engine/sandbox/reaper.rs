//! The init of `--init`: process 1 of the container that forwards signals to the program, reaps
//! whatever is orphaned, and ends as the program did.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::process::{WaitOptions, WaitStatus};

use crate::{
    model::{Context, Result},
    sys::{exec, fork, process, signals},
};

/// Forks: the child returns and goes on to execute the program; the parent never does. It closes
/// the socket to the supervisor, which must close when the program is executed, and the program's
/// streams, which must close when the program ends.
///
/// In a pid namespace that is not the container's own it is not process 1: then it asks for the
/// orphans, and the program to be killed with it.
pub(super) fn become_init(in_shared_pids: bool) -> Result<()> {
    let what = || "cannot start the container's init".to_owned();
    if in_shared_pids {
        process::adopt_orphans().system(what)?;
    }
    signals::block_only(&signals::SignalSet::all()).system(what)?;
    let pending = signals::descriptor(&signals::SignalSet::all()).system(what)?;
    // The program runs in the copy that continues; the parent of it is process 1.
    match fork::split().system(what)? {
        None => {
            if in_shared_pids {
                process::die_with_parent().system(what)?;
            }
            take_foreground()
        }
        Some(program) => {
            exec::close_all_but(&[pending.as_fd(), program.pidfd.as_fd()]);
            let _ = rustix::thread::set_name(c"coracle-init");
            // Its memory still holds the plan.
            let _ = process::hide();
            fork::end(reap_until(program.pid, &pending, &program.pidfd))
        }
    }
}

/// With a terminal the program gets a process group of its own in the foreground: what is typed
/// (Ctrl-C) reaches it once, not also through its init.
fn take_foreground() -> Result<()> {
    let what = || "cannot take the terminal's foreground".to_owned();
    let stdin = rustix::stdio::stdin();
    if !rustix::termios::isatty(stdin) {
        return Ok(());
    }
    rustix::process::setpgid(None, None).system(what)?;
    // SIGTTOU, which this would raise in a background process, is blocked.
    rustix::termios::tcsetpgrp(stdin, rustix::process::getpid()).system(what)
}

fn reap_until(program: rustix::process::Pid, pending: impl AsFd, pidfd: impl AsFd) -> i32 {
    loop {
        wait_for_signal(pending.as_fd());
        while let Ok(Some(signal)) = signals::next(pending.as_fd()) {
            if signal != libc::SIGCHLD {
                let _ = process::signal(pidfd.as_fd(), signal);
            }
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == program {
                return shell_status(status);
            }
        }
    }
}

fn wait_for_signal(pending: BorrowedFd<'_>) {
    let mut descriptors = [rustix::event::PollFd::from_borrowed_fd(
        pending,
        rustix::event::PollFlags::IN,
    )];
    let _ = rustix::event::poll(&mut descriptors, None);
}

fn shell_status(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}
