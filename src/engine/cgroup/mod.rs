//! The container's control group: made before its first process, which begins its life in it
//! (`CLONE_INTO_CGROUP`), and removed after its last.
//!
//! ```text
//! /sys/fs/cgroup                    root
//!   coracle/                        controllers passed on as limits need them
//!     CONTAINER-ID/                 one container; root of its cgroup namespace
//!
//!   user.slice/…/user@1000.service  an ordinary user's systemd, or any delegated cgroup
//!     coracle/CONTAINER-ID/
//! ```
//!
//! The process that looks after the container (the supervisor) stays where the command was.
//! Nothing is written down about the tree: the place is the same for every container, so making a
//! group is one open, one mkdir and one more open. See [`place`] for how it is found.
//!
//! Limits are files of the group ([`limits`]). On machines whose controllers are in version 1,
//! root's containers have a version 2 group all the same (to freeze, kill and count them) and
//! version 1 groups for the limits that were asked for, and only then ([`v1`]).
//!
//! **What a crash leaves**: an empty group, whose processes the kernel has killed with the
//! supervisor. The container's next start, its removal, and every sweep remove it.

mod figures;
mod limits;
mod place;
mod scope;
pub mod v1;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags},
    io::Errno,
};

use super::plan::{CgroupPlace, CgroupPlan, CgroupWrite};
use crate::{
    model::{ContainerId, Context, Error, ErrorKind, Result},
    sys::tree_removal,
};

pub use limits::Unheld;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A version 2 cgroup.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    dir: OwnedFd,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Made {
    pub group: Option<Group>,
    pub legacy: v1::Legacy,
    /// Limits that were asked for and do not hold.
    pub unheld: Vec<Unheld>,
}

/// Who makes groups.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    Root,
    User {
        /// The socket of the user's D-Bus, if there is one.
        bus: Option<&'a Path>,
        /// What a unit of systemd is called if one is needed, without its number and kind.
        unit: &'a str,
    },
}

/// Makes room for limits where processes are in the way: in a delegated cgroup or a container they
/// are the caller's own, and only the command sees them all. The supervisor is in a pid namespace
/// of its own. What fails here is found out by [`make`].
pub fn prepare(plan: &CgroupPlan, caller: &Caller<'_>) {
    if plan.writes.is_empty() {
        return;
    }
    let caller = match caller {
        Caller::Root => Caller::Root,
        Caller::User { unit, .. } => Caller::User { bus: None, unit },
    };
    let Ok(base) = place::find(plan, &caller) else {
        return;
    };
    let passed_on = std::fs::read_to_string(base.path.join("cgroup.subtree_control"));
    let passed_on = passed_on.unwrap_or_default();
    let in_tree = limits::controllers_of(&base);
    let is_there = |name: &&str| in_tree.split_whitespace().any(|other| other == *name);
    let wanted = plan.writes.iter().map(CgroupWrite::controller);
    for controller in wanted.filter(is_there) {
        if !passed_on.split_whitespace().any(|name| name == controller) {
            limits::pass_on(&base, controller);
        }
    }
}

/// Makes the container's group and sets its limits.
///
/// # Errors
/// A value that the kernel refuses; with a strict plan every limit that cannot hold
/// ([`ErrorKind::Unsupported`]).
pub fn make(plan: &CgroupPlan, id: &ContainerId, caller: &Caller<'_>) -> Result<Made> {
    if plan.place == CgroupPlace::None {
        return Ok(Made::default());
    }
    let mut made = Made::default();
    match place::find(plan, caller).and_then(|base| Ok((base.make(id.as_str())?, base))) {
        Ok((group, base)) => {
            let unheld = limits::set(&group, &base, &plan.writes);
            let unheld = unheld.inspect_err(|_| drop(group.remove()))?;
            made.unheld = unheld;
            made.group = Some(group);
        }
        Err(why) if plan.must_be_writable => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "cannot give the container a writable cgroup",
            )
            .with_source(io::Error::other(why))
            .with_hint("`coracle doctor` says what is missing"));
        }
        Err(why) if plan.place == CgroupPlace::Usual => {
            log::debug!("no cgroup: {why}");
            let unheld = |write: &CgroupWrite| Unheld::new(&write.flag, &why);
            made.unheld = plan.writes.iter().map(unheld).collect();
        }
        Err(why) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "cannot make the container's cgroup there",
            )
            .with_source(io::Error::other(why))
            .with_hint("leave --cgroup-parent and --cgroups out"));
        }
    }
    let missing = |flag: &String| Unheld::new(flag, WITHOUT_V2);
    made.unheld.extend(plan.without_v2.iter().map(missing));
    Unheld::once_each(&mut made.unheld);
    if matches!(caller, Caller::Root) && !made.unheld.is_empty() {
        let legacy = v1::make(&plan.legacy_writes, id, &mut made.unheld);
        made.legacy = legacy.inspect_err(|_| made.remove())?;
    }
    if plan.strict
        && let Some(unheld) = made.unheld.first()
    {
        made.remove();
        return Err(refusal(unheld));
    }
    Ok(made)
}

impl Made {
    /// What is left is removed by a later sweep.
    pub fn remove(&self) {
        if let Some(group) = &self.group {
            let _ = group.remove();
        }
        v1::remove(&self.legacy.groups);
    }

    /// Whether the kernel has killed a process of the container because memory was used up.
    pub fn had_oom_kill(&self) -> bool {
        self.group.as_ref().is_some_and(Group::had_oom_kill)
            || v1::had_oom_kill(&self.legacy.groups)
    }
}

/// Gives a living group other limits: writes what differs.
///
/// # Errors
/// As [`make`] with a strict plan: nobody asks for a change that does nothing.
pub fn change(group: &Group, legacy: &[PathBuf], old: &CgroupPlan, new: &CgroupPlan) -> Result<()> {
    apply_changes(group, legacy, old, new).inspect_err(|_| {
        // All or nothing, as far as there was a limit before.
        let _ = limits::set(group, &place::of_group(group), &old.writes);
        let _ = v1::change(legacy, &old.legacy_writes, &mut Vec::new());
    })
}

fn apply_changes(
    group: &Group,
    legacy: &[PathBuf],
    old: &CgroupPlan,
    new: &CgroupPlan,
) -> Result<()> {
    let differs = |write: &&CgroupWrite| !old.writes.contains(write);
    let writes: Vec<CgroupWrite> = new.writes.iter().filter(differs).cloned().collect();
    let base = place::of_group(group);
    let mut unheld = limits::set(group, &base, &writes)?;
    let missing = new
        .without_v2
        .iter()
        .filter(|flag| !old.without_v2.contains(flag));
    unheld.extend(missing.map(|flag| Unheld::new(flag, WITHOUT_V2)));
    if !unheld.is_empty() && !legacy.is_empty() {
        v1::change(legacy, &new.legacy_writes, &mut unheld)?;
    }
    let of_version_1 = |limit: &Unheld| {
        let write = new
            .legacy_writes
            .iter()
            .find(|write| write.flag == limit.flag);
        write.is_some_and(|write| v1::controllers().contains(&write.controller().to_owned()))
    };
    match unheld.first() {
        Some(limit) if of_version_1(limit) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "--{} cannot be held to: the container was started without a group of that controller, which is in version 1",
                limit.flag
            ),
        )
        .with_hint("stop it, update it, and start it again")),
        Some(unheld) => Err(refusal(unheld)),
        None => Ok(()),
    }
}

/// Brings this process to where it may put another into the group at `path`: for an ordinary user
/// who has logged in otherwise than when the container was started. Best effort: the kernel says
/// whether it was enough.
pub fn come_near(path: &Path, caller: &Caller<'_>) {
    if let Caller::User { bus, unit } = caller
        && let Err(why) = place::come_near(path, *bus, unit)
    {
        log::debug!("cannot come near the container's cgroup: {why}");
    }
}

/// What limits this machine gives to this user.
#[derive(Clone, Debug, Default)]
pub struct Abilities {
    /// Of the version 2 tree in which containers' groups are made.
    pub controllers: Vec<String>,
    /// Of version 1, for root.
    pub legacy_controllers: Vec<String>,
    /// Docker's word for who makes groups: `cgroupfs`, `systemd` or `none`.
    pub driver: &'static str,
    /// Why there is no group for containers, if there is none.
    pub why_none: Option<String>,
}

impl Abilities {
    pub fn has(&self, controller: &str) -> bool {
        let legacy = if controller == "io" {
            "blkio"
        } else {
            controller
        };
        self.controllers.iter().any(|name| name == controller)
            || self.legacy_controllers.iter().any(|name| name == legacy)
    }
}

/// Looks without changing anything.
pub fn abilities(caller: &Caller<'_>) -> Abilities {
    let legacy_controllers = match caller {
        Caller::Root => v1::controllers(),
        Caller::User { .. } => Vec::new(),
    };
    let (controllers, driver, why_none) = match place::controllers(caller) {
        Ok((controllers, true)) => (controllers, "systemd", None),
        Ok((controllers, false)) => (controllers, "cgroupfs", None),
        Err(why) if legacy_controllers.is_empty() => (Vec::new(), "none", Some(why)),
        Err(why) => (Vec::new(), "cgroupfs", Some(why)),
    };
    Abilities {
        controllers,
        legacy_controllers,
        driver,
        why_none,
    }
}

const WITHOUT_V2: &str = "cgroup version 2 has no such limit";

fn refusal(unheld: &Unheld) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("--{} cannot be held to: {}", unheld.flag, unheld.why),
    )
    .with_hint("`coracle doctor` says what is missing")
}

impl Group {
    /// The group at this path of the host; `None` if it is gone.
    pub fn open(path: &Path) -> Result<Option<Group>> {
        match rustix::fs::open(path, FOLDER, Mode::empty()) {
            Ok(dir) => Ok(Some(Group {
                path: path.to_owned(),
                dir,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).system(|| format!("cannot open cgroup {}", path.display())),
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// On the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stops all its processes where they are, or lets them go on; returns when they have stopped
    /// (cgroup.freeze).
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        self.tell_freezer(frozen)?;
        self.await_freezer(frozen)
    }

    /// The first half of [`Self::freeze`]: waits for nothing.
    pub fn tell_freezer(&self, frozen: bool) -> io::Result<()> {
        self.write("cgroup.freeze", if frozen { "1" } else { "0" })
    }

    /// The second half.
    pub fn await_freezer(&self, frozen: bool) -> io::Result<()> {
        self.await_event("frozen", frozen)
    }

    /// Whether it is to stand still.
    pub fn is_frozen(&self) -> bool {
        self.read("cgroup.freeze")
            .is_ok_and(|text| text.trim() == "1")
    }

    /// SIGKILL for every process in it and below it.
    pub fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Whether the kernel has killed a process of it because memory was used up.
    pub fn had_oom_kill(&self) -> bool {
        self.read("memory.events")
            .is_ok_and(|text| value_of(&text, "oom_kill").is_some_and(|count| count > 0))
    }

    /// Removes it with all groups below it. Processes that are left (they share a pid namespace
    /// with others, or their supervisor died) are killed.
    pub fn remove(&self) -> io::Result<()> {
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.kill()?;
        self.await_event("populated", false)?;
        tree_removal::remove_folders(&self.dir)?;
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        write(&self.dir, file, value)
    }

    pub(super) fn read(&self, file: &str) -> io::Result<String> {
        read(&self.dir, file)
    }

    /// Waits for a key of cgroup.events, which is told by `POLLPRI`. Not for ever: a process may
    /// hang in the kernel.
    fn await_event(&self, key: &str, wanted: bool) -> io::Result<()> {
        const LIMIT: rustix::event::Timespec = rustix::event::Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, "cgroup.events", flags, Mode::empty())?;
        let mut buffer = [0; 128];
        loop {
            let count = rustix::io::pread(&file, &mut buffer, 0)?;
            let text = String::from_utf8_lossy(&buffer[..count]);
            if value_of(&text, key) == Some(u64::from(wanted)) {
                return Ok(());
            }
            let mut polled = [PollFd::new(&file, PollFlags::PRI)];
            match poll(&mut polled, Some(&LIMIT)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// One write(2): the kernel takes a value whole or not at all.
fn write(dir: impl AsFd, file: &str, value: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, file, flags, Mode::empty())?;
    rustix::io::write(file, value.as_bytes())?;
    Ok(())
}

fn read(dir: impl AsFd, file: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, file, flags, Mode::empty())?;
    let bytes = crate::sys::process::read_whole(file)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The number behind a key, in text of lines `key number`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}
