//! Where containers' groups are made.
//!
//! *Root* has `coracle/` at the top of the tree, beside systemd's slices, as Docker's cgroupfs
//! driver has `docker/`: systemd leaves groups alone that it did not make, and the kernel keeps it
//! from taking controllers away that `coracle/` passes on.
//!
//! *An ordinary user* may put a process into a group only if the nearest group above both the
//! process and that group is hers (cgroups(7), "Delegation"). That is so
//! - in her systemd's tree (`user@UID.service`: a desktop's programs, services, `systemd-run
//!   --user`): `coracle/` lies at its top;
//! - in a cgroup that was given to her: `coracle/` lies in that.
//!
//! A login (ssh, a console) is in neither. There her systemd is asked to take the supervisor in
//! ([`super::scope`]), which takes some milliseconds and so happens only for limits.

use std::path::{Path, PathBuf};

use rustix::{fs::Mode, io::Errno};

use super::{Caller, FOLDER, Group, limits::CALLERS};
use crate::{
    engine::plan::{CgroupPlace, CgroupPlan},
    sys::process,
};

/// Where a version 2 tree is mounted: alone, or (hybrid) beside version 1.
const TREES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
pub(super) const FOLDER_NAME: &str = "coracle";
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// The group in which containers' are made.
#[derive(Debug)]
pub(super) struct Base {
    /// The mount point.
    pub tree: PathBuf,
    pub path: PathBuf,
}

/// The base that a group lies in.
pub(super) fn of_group(group: &Group) -> Base {
    Base {
        tree: tree_of(group.path()).into(),
        path: group.path().parent().unwrap_or(group.path()).to_owned(),
    }
}

/// Why there is none, in words that stand behind "no limits: ".
pub(super) type Why = String;

/// The base for a plan, made if it is not there.
pub(super) fn find(plan: &CgroupPlan, caller: &Caller<'_>) -> Result<Base, Why> {
    match (&plan.place, caller) {
        (CgroupPlace::Usual, Caller::Root) => of_root(),
        (CgroupPlace::Usual, Caller::User { bus, unit }) => {
            of_user(bus.filter(|_| plan.is_needed()), unit)
        }
        (CgroupPlace::Below(path), _) => {
            let tree = tree()?;
            let path = tree.join(path);
            Base::open(tree, path)
        }
        (CgroupPlace::Split, _) => {
            let (tree, own) = (tree()?, own()?);
            let path = tree.join(outside(Path::new(own.trim_start_matches('/'))));
            Base::open(tree, path)
        }
        (CgroupPlace::None, _) => Err("no cgroup is wanted".to_owned()),
    }
}

/// Opened in the hope that it is there: only a cgroup tree has a folder of this name.
fn of_root() -> Result<Base, Why> {
    for tree in TREES {
        let path = Path::new(tree).join(FOLDER_NAME);
        // Half of what std's question costs.
        if rustix::fs::stat(&path).is_ok() {
            let tree = PathBuf::from(tree);
            return Ok(Base { tree, path });
        }
    }
    let tree = tree()?;
    let path = tree.join(FOLDER_NAME);
    Base::open(tree, path)
}

fn of_user(bus: Option<&Path>, unit: &str) -> Result<Base, Why> {
    let tree = tree()?;
    let below = |own: &str| {
        let path = tree.join(delegated(own)?).join(FOLDER_NAME);
        Some(Base::open(tree.clone(), path))
    };
    let here = below(&own()?).unwrap_or_else(|| Err(NOT_DELEGATED.to_owned()));
    match (here, bus) {
        (Err(_), Some(bus)) => {
            join_user_manager(bus, unit)?;
            below(&own()?).unwrap_or_else(|| Err(NOT_DELEGATED.to_owned()))
        }
        (here, _) => here,
    }
}

/// Makes this process one of the user's systemd's.
fn join_user_manager(bus: &Path, unit: &str) -> Result<(), Why> {
    let before = own()?;
    let pid =
        process::own_host_pid().map_err(|error| format!("cannot tell this process: {error}"))?;
    let unit = format!("{unit}-{pid}.scope");
    let arrived = || own().is_ok_and(|now| now != before);
    super::scope::enter(bus, &unit, pid.cast_unsigned(), arrived)
        .map_err(|error| format!("{NOT_DELEGATED}, and its systemd gives none: {error}"))
}

/// Brings this process to where it may put others into the group at `path`, if it is not.
pub(super) fn come_near(path: &Path, bus: Option<&Path>, unit: &str) -> Result<(), Why> {
    let near = |own: &str| {
        delegated(own).is_some_and(|above| path.starts_with(Path::new(tree_of(path)).join(above)))
    };
    match bus {
        Some(bus) if !near(&own()?) => join_user_manager(bus, unit),
        _ => Ok(()),
    }
}

fn tree_of(path: &Path) -> &'static str {
    // The longer name first: one lies in the other.
    let is_tree = |tree: &&str| path.starts_with(tree);
    TREES.into_iter().rev().find(is_tree).unwrap_or(TREES[0])
}

const NOT_DELEGATED: &str = "no cgroup is delegated to this user here";

/// The highest group, without the leading slash, in which the user may put processes of `own`.
fn delegated(own: &str) -> Option<PathBuf> {
    let own = Path::new(own.trim_start_matches('/'));
    let is_user_manager = |part: &Path| {
        let name = part
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with("user@") && name.ends_with(".service")
    };
    if let Some(manager) = own.ancestors().find(|part| is_user_manager(part)) {
        return Some(manager.to_owned());
    }
    Some(outside(own).to_owned())
}

/// The group that a process was in before it was moved out of the way.
fn outside(own: &Path) -> &Path {
    match own.parent() {
        Some(parent) if own.file_name().is_some_and(|name| name == CALLERS) => parent,
        _ => own,
    }
}

/// The mount point of the version 2 tree.
pub(super) fn tree() -> Result<PathBuf, Why> {
    let is_tree = |path: &&str| {
        rustix::fs::statfs(*path).is_ok_and(|system| system.f_type as u64 == CGROUP2_SUPER_MAGIC)
    };
    let found = TREES.into_iter().find(is_tree);
    found
        .map(PathBuf::from)
        .ok_or_else(|| "there is no version 2 cgroup tree at /sys/fs/cgroup".to_owned())
}

/// This process's group, from the root of the tree.
fn own() -> Result<String, Why> {
    let text = process::read_small("/proc/self/cgroup").unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
        .ok_or_else(|| "/proc/self/cgroup names no version 2 cgroup".to_owned())
}

impl Base {
    fn open(tree: PathBuf, path: PathBuf) -> Result<Base, Why> {
        let why = |errno: Errno| match errno {
            Errno::ACCESS | Errno::PERM => NOT_DELEGATED.to_owned(),
            Errno::ROFS => "the cgroup tree is mounted read-only".to_owned(),
            other => format!("cannot make cgroup {}: {other}", path.display()),
        };
        let mut made = tree.clone();
        for name in path.strip_prefix(&tree).unwrap_or(Path::new("")) {
            made.push(name);
            match rustix::fs::mkdir(&made, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                // A level above ours, which is there.
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if made.is_dir() => {}
                Err(errno) => return Err(why(errno)),
            }
        }
        Ok(Base { tree, path })
    }

    /// Makes a group in it. One that is there already was left by a crash: the caller alone has
    /// the right to the name.
    pub(super) fn make(&self, name: &str) -> Result<Group, Why> {
        let path = self.path.join(name);
        let what = |error: std::io::Error| match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => NOT_DELEGATED.to_owned(),
            _ => format!("cannot make cgroup {}: {error}", path.display()),
        };
        let mode = Mode::from_raw_mode(0o755);
        let mut made = rustix::fs::mkdir(&path, mode);
        if made == Err(Errno::EXIST)
            && let Ok(Some(left)) = Group::open(&path)
        {
            left.remove().map_err(what)?;
            made = rustix::fs::mkdir(&path, mode);
        }
        made.map_err(|errno| what(errno.into()))?;
        let dir = rustix::fs::open(&path, FOLDER, Mode::empty());
        let dir = dir.map_err(|errno| what(errno.into()))?;
        Ok(Group { path, dir })
    }
}

/// The controllers with which limits can be set, and whether systemd has to be asked for a place.
pub(super) fn controllers(caller: &Caller<'_>) -> Result<(Vec<String>, bool), Why> {
    let tree = tree()?;
    let of = |path: &Path| {
        let text = std::fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let Caller::User { bus, .. } = caller else {
        return Ok((of(&tree), false));
    };
    let here = delegated(&own()?).map(|above| tree.join(above));
    if let Some(here) = here.filter(|path| is_writable(path)) {
        return Ok((of(&here), false));
    }
    let uid = rustix::process::getuid().as_raw();
    let manager = tree.join(format!("user.slice/user-{uid}.slice/user@{uid}.service"));
    if bus.is_some_and(Path::exists) && is_writable(&manager) {
        return Ok((of(&manager), true));
    }
    Err(NOT_DELEGATED.to_owned())
}

fn is_writable(path: &Path) -> bool {
    ["", "cgroup.procs", "cgroup.subtree_control"]
        .iter()
        .all(|file| rustix::fs::access(path.join(file), rustix::fs::Access::WRITE_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_groups_are_as_high_as_she_may() {
        for (own, above) in [
            (
                "/user.slice/user-7.slice/user@7.service/app.slice/x.scope",
                "user.slice/user-7.slice/user@7.service",
            ),
            ("/delegated", "delegated"),
            ("/delegated/coracle.callers", "delegated"),
            ("/", ""),
        ] {
            assert_eq!(delegated(own), Some(PathBuf::from(above)), "{own}");
        }
    }
}
