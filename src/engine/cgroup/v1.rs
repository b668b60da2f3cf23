//! Limits on machines whose controllers are in version 1: for root alone, and only for those that
//! were asked for. Each controller has a tree of its own, by convention at
//! `/sys/fs/cgroup/CONTROLLER`; the container's group in each is `coracle/CONTAINER-ID`, as in
//! version 2. The first process enters its groups itself, before anything else, through the
//! descriptors in [`Legacy::entrances`].
//!
//! The crate libcgroups was tried: it sets device rules whatever is asked for, so that a group of
//! that controller is needed as well, reads the mount table a dozen times a limit (600 system
//! calls), and its D-Bus client executes `busctl`.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{Unheld, limits::device_number, place::FOLDER_NAME, value_of};
use crate::{
    engine::plan::CgroupWrite,
    model::{ContainerId, Context, Error, ErrorKind, Result},
};

const MOUNTS: &str = "/sys/fs/cgroup";

/// The version 1 groups of one container.
#[derive(Debug, Default)]
pub struct Legacy {
    /// On the host, one a controller.
    pub groups: Vec<PathBuf>,
    /// `cgroup.procs` of each: who writes "0" is in.
    pub entrances: Vec<OwnedFd>,
}

/// Makes groups for those of the limits that `unheld` names, which loses what is held to now.
pub(super) fn make(
    writes: &[CgroupWrite],
    id: &ContainerId,
    unheld: &mut Vec<Unheld>,
) -> Result<Legacy> {
    let mut legacy = Legacy::default();
    let wanted: Vec<&CgroupWrite> = writes
        .iter()
        .filter(|write| unheld.iter().any(|limit| limit.flag == write.flag))
        .collect();
    for write in &wanted {
        let mount = Path::new(MOUNTS).join(write.controller());
        let group = mount.join(FOLDER_NAME).join(id.as_str());
        if legacy.groups.contains(&group) || !mount.join("cgroup.procs").exists() {
            continue;
        }
        match make_group(&mount, &group) {
            Ok(entrance) => {
                legacy.groups.push(group);
                legacy.entrances.push(entrance);
            }
            Err(error) => log::debug!("{}", error.one_line()),
        }
    }
    set(&legacy.groups, &wanted, unheld).inspect_err(|_| remove(&legacy.groups))?;
    Ok(legacy)
}

/// Writes device rules (`devices.allow`, `devices.deny`) into a group made for them.
pub fn confine_devices(
    legacy: &mut Legacy,
    id: &ContainerId,
    lines: &[(&'static str, String)],
) -> Result<()> {
    let mount = Path::new(MOUNTS).join("devices");
    let group = mount.join(FOLDER_NAME).join(id.as_str());
    let entrance = make_group(&mount, &group)?;
    legacy.groups.push(group.clone());
    legacy.entrances.push(entrance);
    for (file, line) in lines {
        let what = || format!("cannot write {line:?} into {file}");
        let file = rustix::fs::open(
            group.join(file),
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        file.and_then(|file| rustix::io::write(file, line.as_bytes()))
            .system(what)?;
    }
    Ok(())
}

/// Those that are mounted.
pub(super) fn controllers() -> Vec<String> {
    ["memory", "cpu", "cpuset", "pids", "blkio", "devices"]
        .into_iter()
        .filter(|name| Path::new(MOUNTS).join(name).join("cgroup.procs").exists())
        .map(str::to_owned)
        .collect()
}

/// Gives living groups other limits.
pub(super) fn change(
    groups: &[PathBuf],
    writes: &[CgroupWrite],
    unheld: &mut Vec<Unheld>,
) -> Result<()> {
    set(groups, &writes.iter().collect::<Vec<_>>(), unheld)
}

/// Of two limits that must not cross (memory, and memory with swap) the first may have to wait for
/// the second: what is refused is tried once more.
fn set(groups: &[PathBuf], writes: &[&CgroupWrite], unheld: &mut Vec<Unheld>) -> Result<()> {
    let mut refused = Vec::new();
    for write in writes {
        if write_value(groups, write, unheld).is_err() {
            refused.push(*write);
        }
    }
    refused
        .into_iter()
        .try_for_each(|write| write_value(groups, write, unheld))
}

/// Takes the limit out of `unheld` if it holds now.
fn write_value(groups: &[PathBuf], write: &CgroupWrite, unheld: &mut Vec<Unheld>) -> Result<()> {
    let mount = Path::new(MOUNTS).join(write.controller());
    let Some(group) = groups.iter().find(|group| group.starts_with(&mount)) else {
        return Ok(());
    };
    let (file, value) = match &write.rather {
        Some((file, value)) if group.join(file).exists() => (file, value),
        _ => (&write.file, &write.value),
    };
    let value = match &write.device {
        Some(device) => format!("{} {value}", device_number(device)?),
        None => value.clone(),
    };
    let path = group.join(file);
    let opened = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let written = opened.and_then(|file| rustix::io::write(file, value.as_bytes()));
    match written {
        Ok(_) => unheld.retain(|limit| limit.flag != write.flag),
        // The kernel was built or booted without it: it stays unheld.
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::OPNOTSUPP) => {}
        Err(errno) => {
            return Err(Error::invalid(format!(
                "cannot set --{}: {} refuses {value:?}",
                write.flag, file
            ))
            .with_source(errno));
        }
    }
    Ok(())
}

/// Empty groups only: the processes are gone. What cannot be removed is empty, and found by a
/// sweep.
pub fn remove(groups: &[PathBuf]) {
    for group in groups {
        let _ = rustix::fs::rmdir(group);
    }
}

/// Whether the kernel has killed a process because memory was used up.
pub(super) fn had_oom_kill(groups: &[PathBuf]) -> bool {
    groups.iter().any(|group| {
        let text = std::fs::read_to_string(group.join("memory.oom_control")).unwrap_or_default();
        value_of(&text, "oom_kill").is_some_and(|count| count > 0)
    })
}

fn make_group(mount: &Path, group: &Path) -> Result<OwnedFd> {
    let what = || format!("cannot make cgroup {}", group.display());
    let mode = Mode::from_raw_mode(0o755);
    let base = group.parent().unwrap_or(mount);
    for path in [base, group] {
        match rustix::fs::mkdir(path, mode) {
            // A group that is there was left by a crash, and is empty.
            Ok(()) | Err(Errno::EXIST) => inherit_processors(path),
            Err(errno) => {
                return Err(errno).context(ErrorKind::Unsupported, what);
            }
        }
    }
    open_entrance(group).system(what)
}

/// Where a process enters a group by writing "0".
fn open_entrance(group: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(
        group.join("cgroup.procs"),
        flags,
        Mode::empty(),
    )?)
}

/// A new group of cpuset has none, and takes no process then.
fn inherit_processors(group: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = std::fs::read_to_string(group.join(file));
        if own.is_ok_and(|text| text.trim().is_empty())
            && let Some(parent) = group.parent()
            && let Ok(value) = std::fs::read(parent.join(file))
        {
            let _ = std::fs::write(group.join(file), value);
        }
    }
}
