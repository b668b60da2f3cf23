//! Writes limits, and passes controllers on to the groups that need them.
//!
//! A controller has files in a group only if every group above lists it in its
//! `cgroup.subtree_control`. So the file is written first, and only where it is missing the way
//! down is prepared: once a boot for each controller. A group that passes controllers on may have
//! no processes itself (the kernel's "no internal process constraint"): those in the way, the
//! caller's own in a delegated cgroup or a container, move into a group beside.

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{FileType, Mode},
    io::Errno,
};

use super::{FOLDER, Group, place::Base, read, write};
use crate::{
    engine::plan::CgroupWrite,
    model::{Error, ErrorKind, Result},
};

/// A limit that was asked for and does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheld {
    /// Without its dashes.
    pub flag: String,
    pub why: String,
}

impl Unheld {
    pub(super) fn new(flag: &str, why: &str) -> Self {
        Unheld {
            flag: flag.to_owned(),
            why: why.to_owned(),
        }
    }

    /// One flag may stand for several files.
    pub(super) fn once_each(all: &mut Vec<Unheld>) {
        let mut seen = Vec::new();
        all.retain(|unheld| {
            let new = !seen.contains(&unheld.flag);
            seen.push(unheld.flag.clone());
            new
        });
    }
}

/// Sets the limits of a group below `base`; those that cannot hold here.
pub(super) fn set(group: &Group, base: &Base, writes: &[CgroupWrite]) -> Result<Vec<Unheld>> {
    let mut unheld = Vec::new();
    for wanted in writes {
        let (file, value) = file_and_value(group, wanted)?;
        let mut outcome = group.write(file, &value);
        if is_missing(&outcome) {
            pass_on(base, wanted.controller());
            outcome = group.write(file, &value);
        }
        match outcome {
            Ok(()) => {}
            // Docker's default for swap, where the kernel does not count it.
            Err(_) if wanted.flag == "memory" && file == "memory.swap.max" => {}
            Err(error) => unheld.extend(judge(wanted, &value, error)?),
        }
    }
    Ok(unheld)
}

/// A limit that this machine does not have is one thing, a value that makes no sense another.
fn judge(wanted: &CgroupWrite, value: &str, error: io::Error) -> Result<Option<Unheld>> {
    let controller = wanted.controller();
    let why = match error.raw_os_error() {
        Some(libc::ENOENT) => format!("the controller {controller} is not there or not delegated"),
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
            format!("the controller {controller} is not this user's to set")
        }
        Some(libc::EOPNOTSUPP | libc::EBUSY) => format!("the kernel refuses it: {error}"),
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "cannot set --{}: {} refuses {value:?}",
                    wanted.flag, wanted.file
                ),
            )
            .with_source(error));
        }
    };
    Ok(Some(Unheld::new(&wanted.flag, &why)))
}

fn is_missing(outcome: &io::Result<()>) -> bool {
    outcome
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn file_and_value<'a>(group: &Group, wanted: &'a CgroupWrite) -> Result<(&'a str, String)> {
    let (file, value) = match &wanted.rather {
        Some((file, value)) if exists(group, file) => (file, value),
        _ => (&wanted.file, &wanted.value),
    };
    let value = match &wanted.device {
        Some(device) => format!("{} {value}", device_number(device)?),
        None => value.clone(),
    };
    Ok((file, value))
}

fn exists(group: &Group, file: &str) -> bool {
    rustix::fs::accessat(
        group.fd(),
        file,
        rustix::fs::Access::EXISTS,
        rustix::fs::AtFlags::empty(),
    )
    .is_ok()
}

/// `8:0` of /dev/sda.
pub(super) fn device_number(path: &str) -> Result<String> {
    let stat = rustix::fs::stat(path).map_err(|errno| {
        Error::invalid(format!("cannot limit device {path}")).with_source(errno)
    })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
        return Err(Error::invalid(format!("{path} is not a block device")));
    }
    let (major, minor) = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    Ok(format!("{major}:{minor}"))
}

/// Lists a controller in `cgroup.subtree_control` from the root of the tree down to `base`. Levels
/// that are not ours fail, and need nothing where they have it already.
pub(super) fn pass_on(base: &Base, controller: &str) {
    let mut path = base.tree.clone();
    let below = base.path.strip_prefix(&base.tree).unwrap_or(Path::new(""));
    let value = format!("+{controller}");
    let mut names = below.components();
    loop {
        if let Ok(level) = rustix::fs::open(&path, FOLDER, Mode::empty())
            && let Err(error) = write(&level, "cgroup.subtree_control", &value)
        {
            log::debug!("{}: {value}: {error}", path.display());
            let ours = path == base.path || Some(path.as_path()) == base.path.parent();
            if error.raw_os_error() == Some(libc::EBUSY) && ours {
                let _ = make_room(&level);
                let _ = write(&level, "cgroup.subtree_control", &value);
            }
        }
        match names.next() {
            Some(name) => path.push(name),
            None => return,
        }
    }
}

/// The group for processes that were in the way. [`super::place`] knows what it means to be in it.
pub(super) const CALLERS: &str = "coracle.callers";

/// Moves the processes of a group into one below it.
fn make_room(level: &OwnedFd) -> io::Result<()> {
    match rustix::fs::mkdirat(level, CALLERS, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let beside = rustix::fs::openat(level, CALLERS, FOLDER, Mode::empty())?;
    // Processes that are born meanwhile are found in the next round.
    for _ in 0..8 {
        let processes = read(level, "cgroup.procs")?;
        if processes.trim().is_empty() {
            break;
        }
        for process in processes.lines() {
            // It may have ended; number 0 is one outside of our pid namespace.
            let _ = write(&beside, "cgroup.procs", process);
        }
    }
    Ok(())
}
