//! Directories that steps of builds keep from one build to the next (`RUN --mount=type=cache`).
//!
//! ```text
//! builds/caches/HEX/      one a cache; HEX is the digest of its id
//!   id                      the id, for people
//!   0/ 1/ …                 copies: 0 is the cache; others were made while somebody had that to himself
//!     lock                    flock: shared by who shares it, exclusive by who has it to himself
//!     data/                   what is mounted; appears by one rename, filled
//! ```
//!
//! The kernel drops the lock of a step that is killed. What it was writing stays as it is, as on any
//! disk: who reads a cache must be able to do without what is in it. Nothing is flushed.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{Durability, FOLDER, Store, delete, files, lease::exists, make_folder};
use crate::{
    model::{Context, Digest, Result},
    sys::tree_size,
};

const CACHES: &str = "builds/caches";

/// How a cache is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Having {
    /// With others at the same time.
    Shared,
    /// A copy of one's own if somebody else has it.
    Private,
    /// Alone; waits as long as that takes.
    Locked,
}

/// A cache in use, until this is dropped and its process's copies of the descriptor are closed.
#[derive(Debug)]
pub struct HeldCache {
    folder: OwnedFd,
    path: PathBuf,
    _lock: OwnedFd,
}

/// A cache in a list.
#[derive(Clone, Debug)]
pub struct ListedCache {
    pub id: String,
    pub key: String,
    /// On the disk.
    pub bytes: u64,
    pub in_use: bool,
    /// Seconds since the epoch.
    pub used: i64,
}

impl Store {
    /// Takes the cache with this id. `notice` is called before a wait.
    pub fn hold_build_cache(
        &self,
        id: &str,
        having: Having,
        notice: &dyn Fn(),
    ) -> Result<HeldCache> {
        let what = || format!("cannot use build cache {id:?}");
        let key = Digest::sha256(Sha256::digest(id.as_bytes()));
        let place = format!("{CACHES}/{}", key.hex());
        for folder in ["builds", CACHES, &place] {
            make_folder(&self.root, folder).system(what)?;
        }
        let cache = self.folder(&place)?;
        if !exists(&cache, "id")? {
            files::write_new(&cache, "id", id.as_bytes(), Durability::Volatile)?;
        }
        for copy in 0_u32.. {
            let name = copy.to_string();
            make_folder(&cache, &name).system(what)?;
            let folder = rustix::fs::openat(&cache, &name, FOLDER, Mode::empty()).system(what)?;
            let lock = open_lock(folder.as_fd()).system(what)?;
            let (at_once, waiting) = match having {
                Having::Shared => (
                    FlockOperation::NonBlockingLockShared,
                    FlockOperation::LockShared,
                ),
                Having::Private | Having::Locked => (
                    FlockOperation::NonBlockingLockExclusive,
                    FlockOperation::LockExclusive,
                ),
            };
            match rustix::fs::flock(&lock, at_once) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if having == Having::Private => continue,
                Err(Errno::WOULDBLOCK) => {
                    notice();
                    wait(&lock, waiting).system(what)?;
                }
                Err(errno) => return Err(errno).system(what),
            }
            // Pruned between the making and the lock: once more.
            if !is_there(&cache, &name, &folder).system(what)? {
                return self.hold_build_cache(id, having, notice);
            }
            let _ = rustix::fs::utimensat(&folder, ".", &now(), AtFlags::empty());
            let path = self.root_path.join(&place).join(&name).join("data");
            return Ok(HeldCache {
                folder,
                path,
                _lock: lock,
            });
        }
        unreachable!("a u32 has run out")
    }

    pub fn build_caches(&self) -> Result<Vec<ListedCache>> {
        let mut listed = Vec::new();
        for (key, cache) in self.cache_folders()? {
            let id = files::read(&cache, "id", files::MAX_RECORD_BYTES)
                .system(|| format!("cannot read {CACHES}/{key}/id"))?
                .unwrap_or_default();
            let mut used = 0;
            let mut in_use = false;
            for copy in copies(&cache)? {
                let what = || format!("cannot look at {CACHES}/{key}/{copy}");
                let folder =
                    rustix::fs::openat(&cache, &copy, FOLDER, Mode::empty()).system(what)?;
                used = used.max(rustix::fs::fstat(&folder).system(what)?.st_mtime);
                in_use |= try_alone(folder.as_fd()).system(what)?.is_none();
            }
            listed.push(ListedCache {
                id: String::from_utf8_lossy(&id).into_owned(),
                bytes: tree_size::on_disk(&cache).unwrap_or(0),
                key,
                in_use,
                used,
            });
        }
        Ok(listed)
    }

    /// Removes a cache but for copies that somebody has.
    pub fn remove_build_cache(&self, key: &str) -> Result<()> {
        let Some((_, cache)) = self.cache_folders()?.into_iter().find(|(it, _)| it == key) else {
            return Ok(());
        };
        let mut left = false;
        for copy in copies(&cache)? {
            let what = || format!("cannot remove {CACHES}/{key}/{copy}");
            let folder = rustix::fs::openat(&cache, &copy, FOLDER, Mode::empty()).system(what)?;
            match try_alone(folder.as_fd()).system(what)? {
                Some(_lock) => delete::remove_tree(&cache, &copy)?,
                None => left = true,
            }
        }
        if left {
            return Ok(());
        }
        let folder = self.folder(CACHES)?;
        match rustix::fs::unlinkat(&cache, "id", AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).system(|| format!("cannot remove {CACHES}/{key}")),
        }
        match rustix::fs::unlinkat(folder, key, AtFlags::REMOVEDIR) {
            // Somebody has begun to use it again.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(errno).system(|| format!("cannot remove {CACHES}/{key}")),
        }
    }

    fn cache_folders(&self) -> Result<Vec<(String, OwnedFd)>> {
        if !exists(&self.root, CACHES)? {
            return Ok(Vec::new());
        }
        let folder = self.folder(CACHES)?;
        let mut found = Vec::new();
        for name in files::names(&folder).system(|| format!("cannot list {CACHES}/"))? {
            match rustix::fs::openat(&folder, &name, FOLDER, Mode::empty()) {
                Ok(cache) => found.push((name, cache)),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).system(|| format!("cannot open {CACHES}/{name}")),
            }
        }
        Ok(found)
    }
}

impl HeldCache {
    /// What is to be mounted, made if it is not there: `fill` gets an empty directory.
    pub fn data(&self, fill: impl FnOnce(BorrowedFd<'_>) -> Result<()>) -> Result<PathBuf> {
        if exists(&self.folder, "data")? {
            return Ok(self.path.clone());
        }
        let what = || "cannot make a build cache".to_owned();
        // Two who share it may both be here: each has its own name, and the first rename counts.
        let mut bits = [0; 8];
        rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty()).system(what)?;
        let name = format!("new-{:016x}", u64::from_ne_bytes(bits));
        rustix::fs::mkdirat(&self.folder, &name, Mode::RWXU).system(what)?;
        let made = rustix::fs::openat(&self.folder, &name, FOLDER, Mode::empty()).system(what)?;
        let filled = fill(made.as_fd());
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let renamed = filled.and_then(|()| {
            match rustix::fs::renameat_with(&self.folder, &name, &self.folder, "data", flags) {
                Err(Errno::EXIST) => delete::remove_tree(&self.folder, &name),
                other => other.system(what),
            }
        });
        if renamed.is_err() {
            let _ = delete::remove_tree(&self.folder, &name);
        }
        renamed.map(|()| self.path.clone())
    }
}

fn open_lock(folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(folder, "lock", flags, Mode::from(0o600))
}

fn wait(lock: &OwnedFd, operation: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::flock(lock, operation) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn try_alone(folder: BorrowedFd<'_>) -> rustix::io::Result<Option<OwnedFd>> {
    let lock = open_lock(folder)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether the name still stands for this directory, with its lock in it.
fn is_there(cache: &OwnedFd, name: &str, folder: &OwnedFd) -> rustix::io::Result<bool> {
    let ours = rustix::fs::fstat(folder)?;
    match rustix::fs::statat(cache, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn copies(cache: &OwnedFd) -> Result<Vec<String>> {
    let names = files::names(cache).system(|| "cannot list a build cache".to_owned())?;
    let is_copy = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    Ok(names.into_iter().filter(is_copy).collect())
}

fn now() -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    }
}
