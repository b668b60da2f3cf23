//! Processes of a container in the host's pid namespace, where no namespace ends with its first
//! process and takes the others along.
//!
//! The supervisor adopts whoever loses its parent (`PR_SET_CHILD_SUBREAPER`): all processes of the
//! container are its descendants, and after the end of the first one it kills children until there
//! are none. A process that `exec` added is no descendant; and if the supervisor is killed itself,
//! the kernel kills the first process only (`PR_SET_PDEATHSIG`). Both are for the container's
//! cgroup: see [`end_all`].

use rustix::process::{Pid, PidfdFlags, WaitIdOptions, pidfd_open};

use crate::sys::process;

/// Reaps the orphans that have ended, but not the container's first process: whoever waits for
/// that one wants its exit code.
pub(super) fn reap(init: Pid) {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    for pid in children() {
        if pid == init {
            continue;
        }
        let id = rustix::process::WaitId::Pid(pid);
        if matches!(rustix::process::waitid(id.clone(), ended), Ok(Some(_))) {
            let reap = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(id, reap);
        }
    }
}

/// Kills and reaps all descendants, as they become children by the death of their parents. To be
/// called after the first process has been reaped.
///
/// This is the place for `cgroup.kill` as well: it would reach those that `exec` added, and those
/// of a container that has joined another's pid namespace, whose orphans go to that one's init.
pub(super) fn end_all() {
    loop {
        let all = children();
        if all.is_empty() {
            return;
        }
        for pid in all {
            // Not reaped yet, so the number is still its own.
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            let _ = process::signal(&pidfd, libc::SIGKILL);
            let _ = process::reap(&pidfd);
        }
    }
}

/// The children of this process, which has one thread; proc_pid_task_children(5).
fn children() -> Vec<Pid> {
    let text = process::read_small("/proc/thread-self/children").unwrap_or_default();
    String::from_utf8_lossy(&text)
        .split_ascii_whitespace()
        .filter_map(|number| number.parse().ok())
        .filter_map(Pid::from_raw)
        .collect()
}
