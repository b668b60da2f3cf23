//! Each blob's digest. Bounded memory: one buffer a thread.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{is_damage, twice};
use crate::{
    model::{Context, Digest, Result},
    storage::{
        Store,
        blobs::{Hasher, place},
        files,
    },
};

const BUFFER: usize = 1 << 20;
/// More would only fight for the disk.
const MOST_THREADS: usize = 8;

/// A blob that is not what it is called.
#[derive(Clone, Debug)]
pub struct BlobFlaw {
    pub digest: Digest,
    pub why: String,
}

/// What reading all of them has shown.
#[derive(Debug, Default)]
pub struct BlobFlaws {
    pub damaged: Vec<BlobFlaw>,
    /// Those of which nothing can be said, and why.
    pub unread: Vec<BlobFlaw>,
}

enum Verdict {
    /// Its bytes; 0 if it is not there (any more).
    Sound(u64),
    Damaged(String),
    Unread(String),
}

impl Store {
    /// Every file of `blobs/` that is called as a digest is, sorted.
    pub fn blob_digests(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let folder = match self.folder(&format!("blobs/{algorithm}")) {
                Ok(folder) => folder,
                Err(_) if algorithm == "sha512" => continue,
                Err(error) => return Err(error),
            };
            let names = files::names(&folder).system(|| "cannot list blobs/".to_owned())?;
            let parsed = names
                .iter()
                .filter_map(|hex| format!("{algorithm}:{hex}").parse().ok());
            digests.extend(parsed);
        }
        digests.sort();
        Ok(digests)
    }

    /// Reads all these blobs and tells of those whose bytes have another digest. What is gone
    /// meanwhile is no flaw. `done` is told the bytes of each.
    pub fn verify_blobs(&self, digests: &[Digest], done: &(dyn Fn(u64) + Sync)) -> BlobFlaws {
        let flaws: Mutex<BlobFlaws> = Mutex::default();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut buffer = vec![0; BUFFER];
            while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let verdict = self.verify_blob(digest, &mut buffer);
                let mut flaws = flaws.lock().unwrap_or_else(PoisonError::into_inner);
                let (list, why) = match verdict {
                    Verdict::Sound(bytes) => {
                        done(bytes);
                        continue;
                    }
                    Verdict::Damaged(why) => (&mut flaws.damaged, why),
                    Verdict::Unread(why) => (&mut flaws.unread, why),
                };
                list.push(BlobFlaw {
                    digest: digest.clone(),
                    why,
                });
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 1..threads.min(MOST_THREADS).min(digests.len()) {
                // Without another thread it takes longer.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let mut flaws = flaws.into_inner().unwrap_or_else(PoisonError::into_inner);
        flaws.damaged.sort_by(|a, b| a.digest.cmp(&b.digest));
        flaws.unread.sort_by(|a, b| a.digest.cmp(&b.digest));
        flaws
    }

    fn verify_blob(&self, digest: &Digest, buffer: &mut [u8]) -> Verdict {
        match twice(|| self.look_at_blob(digest, buffer)) {
            Ok(verdict) => verdict,
            Err(errno) if is_damage(errno) => Verdict::Damaged(format!("cannot be read: {errno}")),
            Err(errno) => Verdict::Unread(format!("cannot be read: {errno}")),
        }
    }

    fn look_at_blob(&self, digest: &Digest, buffer: &mut [u8]) -> rustix::io::Result<Verdict> {
        let look = || rustix::fs::statat(&self.root, place(digest), AtFlags::SYMLINK_NOFOLLOW);
        let stat = match look() {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Verdict::Sound(0)),
            Err(errno) => return Err(errno),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Verdict::Damaged("not a regular file".to_owned()));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.root, place(digest), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Verdict::Sound(0)),
            Err(errno) => return Err(errno),
        };
        let mut hasher = Hasher::new(digest.algorithm());
        let mut bytes = 0;
        loop {
            match rustix::io::read(&file, &mut *buffer) {
                Ok(0) => break,
                Ok(length) => {
                    hasher.update(&buffer[..length]);
                    bytes += length as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let found = hasher.digest();
        if found == *digest {
            return Ok(Verdict::Sound(bytes));
        }
        // Replaced by a sound one meanwhile: then it is another file.
        Ok(match look() {
            Ok(now) if (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino) => {
                Verdict::Damaged(format!("its {bytes} bytes have the digest {found}"))
            }
            _ => Verdict::Sound(bytes),
        })
    }

    /// Removes a damaged blob that nothing names; whether it was removed.
    pub fn remove_stray_blob(&self, digest: &Digest) -> Result<bool> {
        let _alone = self.lock_exclusive()?;
        if self.blob_is_named(digest)? {
            return Ok(false);
        }
        let folder = format!("blobs/{}", digest.algorithm());
        let grave = self
            .bury(&folder, digest.hex())
            .system(|| format!("cannot remove blob {digest}"))?;
        grave
            .map_or(Ok(()), |grave| self.decompose(&grave))
            .map(|()| true)
    }
}
