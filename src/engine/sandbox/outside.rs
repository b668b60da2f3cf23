//! What a process of the container has to do outside of it: say things about itself through the
//! host's procfs, and find whoever decides about its system calls. All of it happens before anything
//! of the container is visible, and before the process has other ids, under which its own files in
//! procfs would no longer be its own; children and the program inherit it. Nothing is done that the
//! plan does not ask for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use serde_json::json;

use super::c_string;
use crate::{
    engine::plan::{FilterPlan, Listener, ProcessPlan},
    model::{Context, Error, ErrorKind, Result},
    sys::{in_root, packet},
};

#[derive(Debug, Default)]
pub(super) struct Outside {
    proc: Option<OwnedFd>,
    listener: Option<OwnedFd>,
}

/// `f_type` of procfs, statfs(2).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

impl Outside {
    /// To be called where paths and ids are still the host's.
    pub(super) fn open(plan: &ProcessPlan) -> Result<Outside> {
        let listener = match &plan.filter {
            FilterPlan::Program {
                listener: Some(listener),
                ..
            } => Some(packet::connect_stream(&listener.path).context(
                ErrorKind::Unsupported,
                || {
                    format!(
                        "cannot reach the listener of the seccomp profile at {}",
                        listener.path
                    )
                },
            )?),
            _ => None,
        };
        let rights = &plan.rights;
        if rights.oom_score_adj.is_none() && rights.apparmor.is_none() && listener.is_none() {
            return Ok(Outside::default());
        }
        let proc = host_proc()?;
        if let Some(score) = rights.oom_score_adj {
            set_oom_score(&proc, score)?;
        }
        if let Some(profile) = &rights.apparmor {
            set_apparmor(&proc, profile)?;
        }
        Ok(Outside {
            proc: listener.is_some().then_some(proc),
            listener,
        })
    }

    /// What is held until the filter is loaded.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.proc.iter().chain(&self.listener).map(AsFd::as_fd)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.descriptors().next().is_none()
    }

    /// Gives the listener the descriptor of this process's calls, with the state that the OCI runtime
    /// specification describes ("The Container Process State").
    pub(super) fn hand_over(&self, calls: &OwnedFd, to: &Listener) -> Result<()> {
        let what = || format!("cannot hand the seccomp listener over to {}", to.path);
        let (Some(socket), Some(proc)) = (&self.listener, &self.proc) else {
            return Err(Error::new(ErrorKind::System, what()));
        };
        let own = rustix::fs::readlinkat(proc, c"self", Vec::new()).system(what)?;
        let pid: u32 = own.to_string_lossy().parse().unwrap_or(0);
        let version = "1.0.2";
        let state = json!({
            "ociVersion": version,
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": to.metadata,
            "state": {
                "ociVersion": version,
                "id": to.container,
                "status": "creating",
                "pid": pid,
                "bundle": "",
            },
        });
        packet::send(socket, &[], state.to_string().as_bytes(), Some(calls), true).system(what)
    }
}

fn host_proc() -> Result<OwnedFd> {
    let what = || "cannot open the host's /proc".to_owned();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = c_string("/proc")?;
    let proc = rustix::fs::open(&path, flags, Mode::empty()).system(what)?;
    let kind = rustix::fs::fstatfs(&proc).system(what)?.f_type as u64;
    if kind == PROC_SUPER_MAGIC {
        Ok(proc)
    } else {
        Err(Error::new(
            ErrorKind::System,
            "the host's /proc is no procfs",
        ))
    }
}

/// Sets this process's place in the order in which the kernel ends processes when memory is out,
/// proc_pid_oom_score_adj(5).
fn set_oom_score(proc: &OwnedFd, score: i32) -> Result<()> {
    let text = score.to_string();
    write(proc, "oom_score_adj", &text).map_err(|cause| {
        let why = match cause.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => {
                ": it is below the caller's own, where only root of the machine may go"
            }
            _ => "",
        };
        Error::new(
            ErrorKind::Unsupported,
            format!("cannot set the OOM score adjustment to {score}{why}"),
        )
        .with_source(cause)
    })
}

/// Asks for an AppArmor profile from the next execve on.
fn set_apparmor(proc: &OwnedFd, profile: &str) -> Result<()> {
    let text = format!("exec {profile}");
    let written = match write(proc, "attr/apparmor/exec", &text) {
        // Before Linux 5.8 the security modules had one file in common.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write(proc, "attr/exec", &text)
        }
        other => other,
    };
    written.map_err(|cause| {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "cannot use AppArmor profile {profile:?}: there is no AppArmor or no such profile"
            ),
        )
        .with_source(cause)
    })
}

fn write(proc: &OwnedFd, file: &str, text: &str) -> std::io::Result<()> {
    let path = in_root::c_string(format!("self/{file}"))?;
    let file = in_root::open_beneath(proc, &path, OFlags::WRONLY)?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}
