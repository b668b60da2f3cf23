//! The store lock and object locks. The order is in the room's head.
//!
//! The store lock is a `flock`, since /proc/locks names the process that took such a lock and a
//! wait can say whom it waits for. Object locks are open file description locks (fcntl(2)):
//! those can be asked about (`F_OFD_GETLK`) without being taken, so that `ps` never makes a
//! concurrent `start` fail. Both are inherited by `fork`, and the kernel drops them with the last
//! descriptor.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::Store;
use crate::model::{Context, Error, ErrorKind, Result};

/// How long a command waits for the store before it says for whom, and before it gives up.
const SAY_AFTER: Duration = Duration::from_secs(2);
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

/// While it lives, nothing that is in the store is collected.
#[derive(Debug)]
pub struct SharedLock {
    _file: OwnedFd,
}

/// While it lives, nobody adds to the store or takes from it.
#[derive(Debug)]
pub struct ExclusiveLock {
    _file: OwnedFd,
}

impl Store {
    pub fn lock_shared(&self) -> Result<SharedLock> {
        let file = self.open_lock()?;
        wait_for(&file, FlockOperation::NonBlockingLockShared, "the store")?;
        Ok(SharedLock { _file: file })
    }

    pub fn lock_exclusive(&self) -> Result<ExclusiveLock> {
        let file = self.open_lock()?;
        wait_for(&file, FlockOperation::NonBlockingLockExclusive, "the store")?;
        Ok(ExclusiveLock { _file: file })
    }

    /// `None` if anyone else has it.
    pub fn try_lock_exclusive(&self) -> Result<Option<ExclusiveLock>> {
        let file = self.open_lock()?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(ExclusiveLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno).system(|| "cannot lock the store".to_owned()),
        }
    }

    /// Every lock needs its own open file description: `flock` belongs to that, and a forked
    /// supervisor must not share one with the command.
    fn open_lock(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.root, "lock", flags, Mode::from(0o600))
            .system(|| format!("cannot open {}", self.root_path.join("lock").display()))
    }
}

/// An exclusive `flock` on a directory of the store.
#[derive(Debug)]
pub(super) struct FolderLock {
    dir: OwnedFd,
}

impl FolderLock {
    pub(super) fn hold(store: &Store, name: &str) -> Result<FolderLock> {
        let dir = store.folder(name)?;
        wait_for(&dir, FlockOperation::NonBlockingLockExclusive, name)?;
        Ok(FolderLock { dir })
    }

    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }
}

/// While it lives, nobody else chooses ids for a container. Taken before the store lock, by those
/// only who choose.
#[derive(Debug)]
pub struct ChoosingIds {
    _lock: FolderLock,
}

impl Store {
    /// Held from looking at the containers that there are until the new one can be seen.
    pub fn choose_ids_alone(&self) -> Result<ChoosingIds> {
        let lock = FolderLock::hold(self, "containers")?;
        Ok(ChoosingIds { _lock: lock })
    }
}

/// While it lives, nobody else changes what a container is (its record, its limits). Nothing is
/// locked after it.
#[derive(Debug)]
pub struct ChangingContainer {
    _lock: FolderLock,
}

impl Store {
    /// Held from reading the record or the limits as they are until the new ones are written.
    pub fn change_container_alone(
        &self,
        id: &crate::model::ContainerId,
    ) -> Result<ChangingContainer> {
        let lock = FolderLock::hold(self, &format!("containers/{id}"))?;
        Ok(ChangingContainer { _lock: lock })
    }
}

/// `flock` knows no time limit, and a signal to interrupt it would be the whole process's; so
/// this asks again and again, at most every 50 ms. Contention is rare and short.
pub(super) fn wait_for(file: &OwnedFd, operation: FlockOperation, what: &str) -> Result<()> {
    let holders = || describe_holders(file);
    ask_until(what, &holders, || {
        match rustix::fs::flock(file, operation) {
            Ok(()) => Ok(Some(())),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno).system(|| format!("cannot lock {what}")),
        }
    })
}

/// Asks until there is an answer.
pub(super) fn ask_until<T>(
    what: &str,
    holders: &dyn Fn() -> String,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(200);
    let mut said = false;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        let waited = begun.elapsed();
        if waited > GIVE_UP_AFTER {
            let holders = holders();
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("cannot lock {what}: held by {holders}"),
            ));
        }
        if waited > SAY_AFTER && !said {
            said = true;
            log::warn!("waiting for {what}, locked by {}", holders());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn describe_holders(file: &OwnedFd) -> String {
    let inode = rustix::fs::fstat(file).map_or(0, |stat| stat.st_ino);
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let described: Vec<String> = flock_holders(&table, inode)
        .into_iter()
        .map(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command: String = String::from_utf8_lossy(&command)
                .chars()
                .take(80)
                .map(|letter| if letter.is_control() { ' ' } else { letter })
                .collect();
            format!("process {pid} ({})", command.trim_end())
        })
        .collect();
    if described.is_empty() {
        "a process that cannot be seen from here".to_owned()
    } else {
        described.join(", ")
    }
}

/// The processes that hold a `flock` on an inode, from the text of /proc/locks (proc_locks(5)).
/// Lines of waiting processes (`1: -> FLOCK …`) are left out. The device is not compared: btrfs
/// shows another one there than stat(2) does.
fn flock_holders(table: &str, inode: u64) -> Vec<u32> {
    let holder = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let ["FLOCK", _, _, pid, place, ..] = fields.get(1..)? else {
            return None;
        };
        let same = place.rsplit(':').next()?.parse() == Ok(inode);
        pid.parse().ok().filter(|_| same)
    };
    table.lines().filter_map(holder).collect()
}

/// An object's lock, held. Dropping it only closes this descriptor: a forked supervisor that
/// inherited it goes on holding the lock.
#[derive(Debug)]
pub struct ObjectLock {
    file: OwnedFd,
}

/// For handing it on to a process that execs.
impl AsFd for ObjectLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ObjectLock {
    /// Makes the file `name` if need be and takes its lock; `None` if somebody has it.
    pub fn try_hold(dir: impl AsFd, name: &str) -> Result<Option<ObjectLock>> {
        ObjectLock::try_hold_for(Purpose::Life, dir, name)
    }

    /// As [`Self::try_hold`], and others can tell what for.
    pub fn try_hold_for(
        purpose: Purpose,
        dir: impl AsFd,
        name: &str,
    ) -> Result<Option<ObjectLock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(dir, name, flags, Mode::from(0o600))
            .system(|| format!("cannot open {name}"))?;
        Ok(try_lock_range(&file, purpose.range())?.then_some(ObjectLock { file }))
    }

    /// The lock that a parent held when it executed this program, by its descriptor.
    pub fn from_inherited(file: OwnedFd) -> ObjectLock {
        ObjectLock { file }
    }

    /// Whether somebody (this process too) holds the lock. Takes nothing, so it disturbs nobody.
    pub fn is_held(dir: impl AsFd, name: &str) -> Result<bool> {
        Ok(ObjectLock::purpose(dir, name)?.is_some())
    }

    /// What somebody holds the lock for, if one does.
    pub fn purpose(dir: impl AsFd, name: &str) -> Result<Option<Purpose>> {
        match open_to_ask(dir, name)? {
            Some(file) => purpose_of(&file, name),
            None => Ok(None),
        }
    }

    /// As [`Self::purpose`], and whether somebody has put the mark of [`Self::mark`] there.
    pub fn look(dir: impl AsFd, name: &str) -> Result<(Option<Purpose>, bool)> {
        let Some(file) = open_to_ask(dir, name)? else {
            return Ok((None, false));
        };
        let purpose = purpose_of(&file, name)?;
        if purpose.is_none() {
            return Ok((None, false));
        }
        // A holder of the whole file, as they were once made, has not marked it.
        let mark = holder_of(&file, mark_range(), name)?;
        Ok((purpose, mark == Some(MARK)))
    }

    /// A sign beside the lock that this process is about to take the object away, whoever holds the
    /// lock meanwhile; gone with the process. `None` if somebody else has put it.
    pub fn mark(dir: impl AsFd, name: &str) -> Result<Option<ObjectLock>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(dir, name, flags, Mode::empty())
            .system(|| format!("cannot open {name}"))?;
        Ok(try_lock_range(&file, mark_range())?.then_some(ObjectLock { file }))
    }
}

/// What an object is held for: where the locked range begins, which those who ask are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It lives, or is being started, removed, used up.
    Life,
    /// Its files are being read or changed, for no longer than that takes.
    Files,
}

impl Purpose {
    fn range(self) -> libc::flock {
        match self {
            Purpose::Life => held_range(),
            Purpose::Files => range(FILES, MARK - FILES),
        }
    }
}

fn open_to_ask(dir: impl AsFd, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno).system(|| format!("cannot open {name}")),
    }
}

fn purpose_of(file: &OwnedFd, name: &str) -> Result<Option<Purpose>> {
    let holder = holder_of(file, held_range(), name)?;
    Ok(holder.map(|start| match start {
        FILES => Purpose::Files,
        _ => Purpose::Life,
    }))
}

/// Where the range of [`Purpose::Files`] begins.
const FILES: i64 = 1;
/// Where in a lock file the mark lies: behind everything that is locked otherwise.
const MARK: i64 = 1 << 62;

/// Where the lock begins that keeps this one from being taken, if one does.
fn holder_of(file: &OwnedFd, range: libc::flock, name: &str) -> Result<Option<i64>> {
    let mut question = range;
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut question))
        .map_err(std::io::Error::from)
        .system(|| format!("cannot examine {name}"))?;
    let held = i32::from(question.l_type) != libc::F_UNLCK;
    Ok(held.then_some(question.l_start))
}

/// Takes the object lock of an open file (opened for writing) if it is free.
pub(super) fn try_lock_file(file: impl AsFd) -> Result<bool> {
    try_lock_range(file, held_range())
}

fn try_lock_range(file: impl AsFd, range: libc::flock) -> Result<bool> {
    match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        Err(errno) => {
            Err(std::io::Error::from(errno)).system(|| "cannot take an object's lock".to_owned())
        }
    }
}

/// What "held" means: everything before the mark.
fn held_range() -> libc::flock {
    range(0, MARK)
}

fn mark_range() -> libc::flock {
    range(MARK, 1)
}

fn range(start: i64, length: i64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        // Must be 0 for open file description locks.
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_tells_what_it_is_held_for() {
        let folder = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(folder.path()).unwrap();
        assert_eq!(ObjectLock::look(&dir, "lock").unwrap(), (None, false));
        for purpose in [Purpose::Life, Purpose::Files] {
            let held = ObjectLock::try_hold_for(purpose, &dir, "lock").unwrap();
            assert!(held.is_some());
            for other in [Purpose::Life, Purpose::Files] {
                let second = ObjectLock::try_hold_for(other, &dir, "lock").unwrap();
                assert!(second.is_none(), "{purpose:?}, then {other:?}");
            }
            let looked = ObjectLock::look(&dir, "lock").unwrap();
            assert_eq!(looked, (Some(purpose), false));
            let mark = ObjectLock::mark(&dir, "lock").unwrap();
            assert!(mark.is_some());
            let looked = ObjectLock::look(&dir, "lock").unwrap();
            assert_eq!(looked, (Some(purpose), true));
        }
        assert!(!ObjectLock::is_held(&dir, "lock").unwrap());
    }

    #[test]
    fn proc_locks_names_holders_but_not_waiters() {
        let table = "1: FLOCK  ADVISORY  WRITE 812 08:01:4711 0 EOF\n\
                     1: -> FLOCK  ADVISORY  READ 900 08:01:4711 0 EOF\n\
                     2: OFDLCK ADVISORY  WRITE -1 08:01:4711 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 77 00:2b:4711 0 EOF\n\
                     4: FLOCK  ADVISORY  READ 78 00:2b:47110 0 EOF\nrubbish\n";
        assert_eq!(flock_holders(table, 4711), [812, 77]);
    }
}
