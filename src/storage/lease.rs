//! Leases: a command's own directory below `tmp/`, and its claim on content it is about to use.
//!
//! `tmp/LEASE/lock` is held as long as the command lives; that alone says whether the lease
//! counts. Its text (pid, start time, boot id) is for people. `tmp/LEASE/keep` lists digests,
//! one a line, that garbage collection must not take although no record names them yet.
//!
//! Leases are born under the shared store lock and swept under the exclusive one, so the sweep
//! never meets one between its `mkdir` and its lock.

use std::{
    collections::HashSet,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{Access, AtFlags, Mode, OFlags},
    io::Errno,
    rand::GetRandomFlags,
};

use super::{
    Durability, FOLDER, StagedBlob, StagedLayer, Store, delete, files,
    locks::{ObjectLock, SharedLock},
};
use crate::{
    model::{Context, Digest, Result, image::ImageRecord},
    sys,
};

/// A staging directory that is deleted when it is dropped, or after its process died. Drop it
/// before a supervisor is forked: that would inherit the lock and keep the lease alive.
#[derive(Debug)]
pub struct Lease<'store> {
    store: &'store Store,
    name: String,
    pub(super) dir: OwnedFd,
    _lock: ObjectLock,
    keep: Mutex<std::fs::File>,
    count: AtomicU64,
}

impl Store {
    /// Begins a lease, and sweeps away those of the dead.
    pub fn lease(&self) -> Result<Lease<'_>> {
        // What cannot be deleted (outside of the user namespace) is no reason to do nothing.
        let _ = self.sweep();
        let what = || "cannot make a staging directory".to_owned();
        let _shared = self.lock_shared()?;
        // Random, so that no name comes back: whoever still deletes an old lease by its name must
        // not meet a new one.
        let mut bits = [0; 8];
        rustix::rand::getrandom(&mut bits, GetRandomFlags::empty()).system(what)?;
        let name = format!("lease-{:016x}", u64::from_ne_bytes(bits));
        rustix::fs::mkdirat(&self.root, format!("tmp/{name}"), Mode::RWXU).system(what)?;
        let dir = self.folder(&format!("tmp/{name}"))?;
        let lock = ObjectLock::try_hold(&dir, "lock")?
            .ok_or(Errno::BUSY)
            .system(what)?;
        files::write_new(&dir, "holder", holder().as_bytes(), Durability::Volatile)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
        let keep = rustix::fs::openat(&dir, "keep", flags, Mode::from(0o600)).system(what)?;
        Ok(Lease {
            store: self,
            name,
            dir,
            _lock: lock,
            keep: Mutex::new(keep.into()),
            count: AtomicU64::new(0),
        })
    }

    /// Removes what dead processes left in `tmp/`, containers that should have been removed at
    /// their end, and names that stand for nothing. If others are using the store, dead leases wait for the next sweep.
    pub fn sweep(&self) -> Result<()> {
        let swept = self.sweep_staging();
        swept.and(self.remove_ended()).and(self.free_dead_names())
    }

    /// One listing if there is nothing to do.
    fn sweep_staging(&self) -> Result<()> {
        let tmp = self.folder("tmp")?;
        let entries = files::names(&tmp).system(|| "cannot list tmp/".to_owned())?;
        let mut graves: Vec<String> = Vec::new();
        let mut leases: Vec<String> = Vec::new();
        for name in entries {
            if name.starts_with("dead-") {
                graves.push(name);
            } else {
                leases.push(name);
            }
        }
        // Asking first saves the exclusive lock while a long pull is the only one there.
        leases.retain(|name| !self.is_live(&tmp, name));
        if !leases.is_empty()
            && let Some(_alone) = self.try_lock_exclusive()?
        {
            for name in leases.iter().filter(|name| !self.is_live(&tmp, name)) {
                graves.extend(self.bury("tmp", name).unwrap_or_default());
            }
        }
        let mut outcome = Ok(());
        for grave in graves {
            // One with files of other ids stays until a sweep in the user namespace.
            outcome = outcome.and(self.decompose_left(&grave));
        }
        outcome
    }

    pub(super) fn is_live(&self, tmp: &OwnedFd, name: &str) -> bool {
        match rustix::fs::openat(tmp, name, FOLDER, Mode::empty()) {
            // In doubt it is.
            Ok(dir) => ObjectLock::is_held(&dir, "lock").unwrap_or(true),
            Err(Errno::NOTDIR | Errno::LOOP) => false,
            Err(_) => true,
        }
    }

    /// What live leases claim. Call it with the exclusive lock held.
    pub(super) fn leased(&self) -> Result<HashSet<Digest>> {
        let tmp = self.folder("tmp")?;
        let mut claimed = HashSet::new();
        for name in files::names(&tmp).system(|| "cannot list tmp/".to_owned())? {
            if name.starts_with("dead-") || !self.is_live(&tmp, &name) {
                continue;
            }
            let keep = files::read(&tmp, &format!("{name}/keep"), files::MAX_RECORD_BYTES)
                .system(|| format!("cannot read tmp/{name}/keep"))?
                .unwrap_or_default();
            let lines = String::from_utf8_lossy(&keep);
            claimed.extend(lines.lines().filter_map(|line| line.parse::<Digest>().ok()));
        }
        Ok(claimed)
    }
}

/// `pid start-time boot-id`
fn holder() -> String {
    let pid = rustix::process::getpid().as_raw_pid();
    let start = sys::process::start_time(pid).unwrap_or_default();
    let boot = sys::process::boot_id().unwrap_or_default();
    format!("{pid} {start} {boot}\n")
}

impl Lease<'_> {
    pub fn store(&self) -> &Store {
        self.store
    }

    /// The staging directory, for whatever else a command wants to make out of sight.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Where that is, for messages and for mounts.
    pub fn path(&self) -> std::path::PathBuf {
        self.store.root_path.join("tmp").join(&self.name)
    }

    /// Whether the blob is in the store. If so, it stays as long as the lease lives.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        self.claim(digest, || self.store.has_blob(digest))
    }

    /// Whether the unpacked layer is in the store. If so, it stays as long as the lease lives.
    pub fn has_layer(&self, chain_id: &Digest) -> Result<bool> {
        self.claim(chain_id, || self.store.has_layer(chain_id))
    }

    /// A blob that is about to be in the store stays as long as the lease lives.
    pub(super) fn keep_staged(&self, digest: &Digest) -> Result<()> {
        self.claim(digest, || Ok(true)).map(drop)
    }

    /// The look and the claim, both under the shared lock: a collection runs entirely before (then
    /// the thing is gone) or entirely after (then it sees the claim).
    pub(super) fn claim(
        &self,
        digest: &Digest,
        look: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let _shared = self.store.lock_shared()?;
        let there = look()?;
        if there {
            let mut keep = self
                .keep
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            keep.write_all(format!("{digest}\n").as_bytes())
                .system(|| format!("cannot claim {digest}"))?;
        }
        Ok(there)
    }

    /// A name in the lease that was not used yet.
    pub(super) fn fresh_name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes staged content and the image records that refer to it (and to what
    /// [`Self::has_blob`] and [`Self::has_layer`] found) visible, durably and as one:
    ///
    /// 1. `syncfs`: every staged byte is on the disk (one flush, however many files);
    /// 2. shared store lock; blobs and layers are renamed into place; the two directories are
    ///    flushed, so that no record can outlive what it names (also if somebody else has renamed
    ///    it there and was killed before the flush);
    /// 3. the records are written, flushed, renamed; `images/` is flushed.
    ///
    /// Killed before 3, blobs and layers may be there that nothing names: the next attempt finds
    /// and uses them, or garbage collection takes them. A thing that is there already is kept.
    pub fn commit(
        &self,
        blobs: Vec<StagedBlob>,
        layers: Vec<StagedLayer>,
        images: &[ImageRecord],
    ) -> Result<()> {
        let shared = self.settle(blobs, layers)?;
        if !images.is_empty() {
            // Those that a build made and nobody has flushed: that is done now.
            let named = images.iter().flat_map(|image| &image.layers);
            self.store.acknowledge_layers(named)?;
            self.store.put_images(&shared, images)?;
        }
        Ok(())
    }

    /// The first two steps; what is to be named is named under the lock that this returns.
    pub(super) fn settle(
        &self,
        blobs: Vec<StagedBlob>,
        layers: Vec<StagedLayer>,
    ) -> Result<SharedLock> {
        let root = &self.store.root;
        if !(blobs.is_empty() && layers.is_empty()) {
            rustix::fs::syncfs(root).system(|| "cannot flush the store".to_owned())?;
        }
        let shared = self.store.lock_shared()?;
        for blob in &blobs {
            blob.settle(self.store, &self.dir)?;
        }
        for layer in &layers {
            layer.settle(self.store, &self.dir)?;
        }
        self.store.flush_blob_folders()?;
        let folder = self.store.folder("layers")?;
        rustix::fs::fsync(folder).system(|| "cannot flush layers/".to_owned())?;
        Ok(shared)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // What cannot be deleted now is swept later: the lock is free from here on.
        let _ = delete::remove_tree(&self.store.root, &format!("tmp/{}", self.name));
    }
}

pub(super) fn exists(dir: impl AsFd, name: &str) -> Result<bool> {
    match rustix::fs::accessat(dir, name, Access::EXISTS, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno).system(|| format!("cannot look for {name}")),
    }
}
