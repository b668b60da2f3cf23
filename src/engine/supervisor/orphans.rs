//! Processes of a container whose pid namespace is not its own, where no namespace ends with its
//! first process and takes the others along.
//!
//! They are known by their mount namespace, which is always the container's own and which its
//! programs cannot leave without `CAP_SYS_ADMIN`. The supervisor holds it open from the start, so
//! that its number can mean no other, and kills whoever is in it when the first process has ended:
//! orphans, and what `exec` added. In the host's pid namespace it also adopts the orphans
//! (`PR_SET_CHILD_SUBREAPER`) and reaps them; in another container's that one's init does.
//!
//! If the supervisor is killed itself, the kernel kills the first process only
//! (`PR_SET_PDEATHSIG`, prctl(2)). What is left then is ended with the container's cgroup, if it has
//! one, at its next start.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::sys::process;

#[derive(Debug)]
pub(super) struct Orphans {
    init: Pid,
    mount_namespace: OwnedFd,
}

impl Orphans {
    /// `init` is the first process, a child of this one.
    pub(super) fn new(init: Pid, mount_namespace: OwnedFd) -> Orphans {
        Orphans {
            init,
            mount_namespace,
        }
    }

    /// Reaps those that have ended, but not the first process: whoever waits for that one wants
    /// its exit code.
    pub(super) fn reap(&self) {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        for pid in children().into_iter().filter(|pid| *pid != self.init) {
            let _ = waitid(WaitId::Pid(pid), ended);
        }
    }

    /// Kills everybody, and returns when nobody is left. To be called after the first process has
    /// been reaped. The removal of the container's cgroup then ends those that have left the mount
    /// namespace.
    pub(super) fn end_all(self) -> io::Result<()> {
        loop {
            let living = self.living()?;
            if living.is_empty() {
                break;
            }
            for pidfd in &living {
                let _ = process::signal(pidfd, libc::SIGKILL);
            }
            for pidfd in &living {
                process::wait_ended(pidfd, Some(Duration::from_secs(1)))?;
            }
        }
        while matches!(
            waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG),
            Ok(Some(_))
        ) {}
        Ok(())
    }

    /// Who is in the container's mount namespace now.
    fn living(&self) -> io::Result<Vec<OwnedFd>> {
        let wanted = rustix::fs::fstat(&self.mount_namespace)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::from_raw) else {
                continue;
            };
            // Opened before it is looked at: if the number has gone to another process meanwhile,
            // the descriptor has not.
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            let path = format!("/proc/{}/ns/mnt", pid.as_raw_nonzero());
            if rustix::fs::stat(path)
                .is_ok_and(|it| (it.st_dev, it.st_ino) == (wanted.st_dev, wanted.st_ino))
            {
                found.push(pidfd);
            }
        }
        Ok(found)
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
