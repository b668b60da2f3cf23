//! One download of a blob for all processes that want it.
//!
//! Its bytes go to `partial/HEX-SIZE`, and whoever holds that file's lock writes them. Everybody else
//! *follows*: reads the file as it grows, hashes what he reads (nobody trusts another's hash), and
//! in the end shares the inode by a link in his own lease. So nobody waits for another's commit,
//! and what one unlinks stays the other's.
//!
//! A writer that dies releases the lock, and closes the file, which wakes the followers
//! (inotify(7)): one of them gets the lock and goes on behind the last byte. So does the next
//! command if nobody followed, after a reboot too. Bytes that a power cut spoilt show by the digest;
//! then the writer makes a *new* file of that name, and those who follow the old one begin with the
//! new one. Nobody ever truncates a file that others may be reading.
//!
//! The size is part of the name since it is what a manifest says, and anyone may have written that:
//! whoever was promised more bytes would go on writing into a file that others have shared, with the
//! right digest, after fewer.
//!
//! ```text
//! Lease::download ── lock free? ── yes ── Download::Ours(BlobWriter)     behind what is there
//!                        │         └ empty, and the blob is in the store by now ─┐
//!                        no ────────────── Download::Elsewhere(Follower) ◄───────┘
//! Follower::advance   More …, Complete → share
//!                     Free → into_writer        the writer died: the lock is ours
//!                     Gone → begin again        the file has lost its name before its end
//!                     Silent → leave            the writer stands still: we go our own way
//! ```

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{
        AtFlags, CWD, Mode, OFlags,
        inotify::{self, CreateFlags, WatchFlags},
    },
    io::Errno,
};

use super::{
    Hasher, partial_name, partial_place, place,
    writer::{BlobWriter, Staged, StagedBlob},
};
use crate::{
    model::{Context, Digest, Result},
    storage::{FOLDER, Lease, locks},
};

/// Read and hashed at once.
const PIECE_BYTES: usize = 256 << 10;
/// Where there are no inotify instances left, a follower looks again after so long.
const WITHOUT_NOTICE: Duration = Duration::from_millis(50);

/// Who brings a blob.
#[derive(Debug)]
pub enum Download {
    Ours(BlobWriter),
    /// Another process; or the blob has just come into the store.
    Elsewhere(Follower),
}

/// The name of a partial file whose lock we hold.
#[derive(Debug)]
pub(super) struct Partial {
    folder: OwnedFd,
    name: String,
}

impl Partial {
    /// Another file of that name, empty and locked by us. Others see the old one or the new one.
    pub(super) fn begin_anew(&self) -> Result<File, Errno> {
        // Only the holder of the lock writes under this name.
        let fresh = format!("{}+", self.name);
        let flags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::TRUNC);
        let flags = flags.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
        let file = rustix::fs::openat(&self.folder, &fresh, flags, Mode::from(0o600))?;
        if !locks::try_lock_file(&file).unwrap_or(false) {
            return Err(Errno::BUSY);
        }
        rustix::fs::renameat(&self.folder, &fresh, &self.folder, &self.name)?;
        Ok(file.into())
    }

    /// Nothing of it is right: whoever wants the blob begins with another file.
    pub(super) fn give_up(&self) {
        let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
    }
}

impl Lease<'_> {
    /// Begins the download of a blob, goes on with one that was interrupted, or follows another
    /// process that is busy with it. What is there already is hashed, so this may take a while.
    pub fn download(&self, digest: &Digest, size: u64) -> Result<Download> {
        let (file, partial) = self.open_partial(digest, size)?;
        let Some(partial) = partial else {
            return Ok(Download::Elsewhere(Follower::new(file, digest, size)));
        };
        let mut writer = BlobWriter {
            file,
            staged: Staged::Partial(partial),
            hasher: Hasher::new(digest.algorithm()),
            written: 0,
            expected: Some((digest.clone(), size)),
        };
        writer.hash_the_rest()?;
        if writer.offset() == 0
            && let Some(there) = self.committed_meanwhile(digest, size)?
        {
            let place = partial_place(digest, size);
            let _ = rustix::fs::unlinkat(&self.store().root, place, AtFlags::empty());
            return Ok(Download::Elsewhere(Follower::new(there, digest, size)));
        }
        Ok(Download::Ours(writer))
    }

    /// The blob, if another command has finished with it after we looked whether it is there.
    fn committed_meanwhile(&self, digest: &Digest, size: u64) -> Result<Option<File>> {
        let what = || format!("cannot look for blob {digest}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.store().root, place(digest), flags, Mode::empty()) {
            Ok(file) => {
                let there = rustix::fs::fstat(&file).system(what)?;
                // One of another size was there before, and is why this one is fetched.
                Ok((u64::try_from(there.st_size) == Ok(size)).then(|| file.into()))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).system(what),
        }
    }

    /// The partial file, and its name if nobody else has the lock.
    pub(super) fn open_partial(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<(File, Option<Partial>)> {
        let what = || format!("cannot stage blob {digest}");
        let root = &self.store().root;
        let place = partial_place(digest, size);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            let file = rustix::fs::openat(root, &place, flags, Mode::from(0o600)).system(what)?;
            if !locks::try_lock_file(&file)? {
                return Ok((file.into(), None));
            }
            if !self.is_in_place(&file, digest, size)? {
                // Between the two calls its last writer has renamed it into blobs/, or replaced it.
                continue;
            }
            let folder = rustix::fs::openat(root, "partial", FOLDER, Mode::empty()).system(what)?;
            let name = partial_name(digest, size);
            return Ok((file.into(), Some(Partial { folder, name })));
        }
    }

    fn is_in_place(
        &self,
        file: impl std::os::fd::AsFd,
        digest: &Digest,
        size: u64,
    ) -> Result<bool> {
        let ours = rustix::fs::fstat(file).system(|| format!("cannot stage blob {digest}"))?;
        let root = &self.store().root;
        let there =
            rustix::fs::statat(root, partial_place(digest, size), AtFlags::SYMLINK_NOFOLLOW);
        Ok(there.is_ok_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)))
    }
}

/// What a follower has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// More bytes were there, and hashed.
    More,
    /// All bytes are there.
    Complete,
    /// The writer has gone and the lock is ours.
    Free,
    /// The file will not be completed: another one has its name.
    Gone,
    /// Nothing has happened for as long as was to be waited.
    Silent,
}

/// Reads a blob that another process is writing.
#[derive(Debug)]
pub struct Follower {
    file: File,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    read: u64,
    buffer: Vec<u8>,
    /// `None` until it is needed, and where there are none left.
    notices: Option<OwnedFd>,
}

impl Follower {
    fn new(file: File, digest: &Digest, size: u64) -> Follower {
        Follower {
            file,
            digest: digest.clone(),
            size,
            hasher: Hasher::new(digest.algorithm()),
            read: 0,
            buffer: Vec::new(),
            notices: None,
        }
    }

    /// Bytes that are there for sure, and hashed.
    pub fn offset(&self) -> u64 {
        self.read
    }

    /// A second descriptor, to read at positions what is there while more arrives.
    pub fn reader(&self) -> Result<File> {
        let what = || format!("cannot read blob {}", self.digest);
        self.file.try_clone().system(what)
    }

    /// Reads a piece of what has come; if there is nothing, waits for some until the time is up.
    pub fn advance(&mut self, lease: &Lease<'_>, patience: Duration) -> Result<Advance> {
        if let Some(met) = self.read_on()? {
            return Ok(met);
        }
        // Watched before the last look at the lock and the length: nothing is missed between.
        let first = self.notices.is_none() && self.watch();
        if !first {
            self.wait(patience);
        }
        if let Some(met) = self.read_on()? {
            return Ok(met);
        }
        if locks::try_lock_file(&self.file)? {
            if lease.is_in_place(&self.file, &self.digest, self.size)? {
                return Ok(Advance::Free);
            }
            // It was completed and renamed, or given up; what was written is all there is.
            return Ok(self.read_on()?.unwrap_or(Advance::Gone));
        }
        Ok(if first {
            Advance::More
        } else {
            Advance::Silent
        })
    }

    /// `None` where the file ends for now.
    fn read_on(&mut self) -> Result<Option<Advance>> {
        if self.read == self.size {
            return Ok(Some(Advance::Complete));
        }
        self.buffer.resize(PIECE_BYTES, 0);
        let left = usize::try_from(self.size - self.read).unwrap_or(usize::MAX);
        let piece = &mut self.buffer[..PIECE_BYTES.min(left)];
        let count = self
            .file
            .read_at(piece, self.read)
            .system(|| format!("cannot read blob {}", self.digest))?;
        self.hasher.update(&piece[..count]);
        self.read += count as u64;
        Ok(match count {
            0 => None,
            _ if self.read == self.size => Some(Advance::Complete),
            _ => Some(Advance::More),
        })
    }

    /// Whether somebody will tell us from now on.
    fn watch(&mut self) -> bool {
        let Ok(notices) = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else {
            return false;
        };
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        // The writer's end shows as IN_CLOSE_WRITE, a name lost as IN_MOVE_SELF or IN_ATTRIB.
        let what = WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVE_SELF
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF;
        let watched = inotify::add_watch(&notices, path, what).is_ok();
        if watched {
            self.notices = Some(notices);
        }
        watched
    }

    fn wait(&self, patience: Duration) {
        let Some(notices) = &self.notices else {
            return std::thread::sleep(WITHOUT_NOTICE.min(patience));
        };
        let mut asked = [PollFd::new(notices, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        if poll(&mut asked, Some(&limit)).is_ok_and(|ready| ready > 0) {
            let mut events = [0; 4096];
            while rustix::io::read(notices, &mut events).is_ok_and(|count| count == events.len()) {}
        }
    }

    /// After [`Advance::Free`]: the writer from here on, behind everything that is in the file.
    pub fn into_writer(self, lease: &Lease<'_>) -> Result<BlobWriter> {
        let root = &lease.store().root;
        let folder = rustix::fs::openat(root, "partial", FOLDER, Mode::empty())
            .system(|| format!("cannot stage blob {}", self.digest))?;
        let name = partial_name(&self.digest, self.size);
        let mut writer = BlobWriter {
            file: self.file,
            staged: Staged::Partial(Partial { folder, name }),
            hasher: self.hasher,
            written: self.read,
            expected: Some((self.digest, self.size)),
        };
        writer.hash_the_rest()?;
        Ok(writer)
    }

    /// A writer for a file of our own, which begins with what was read so far.
    pub fn leave(self, lease: &Lease<'_>) -> Result<BlobWriter> {
        let what = || format!("cannot stage blob {}", self.digest);
        let (file, staged) = lease.open_in_lease()?;
        copy(&self.file, &file, self.read).system(what)?;
        Ok(BlobWriter {
            file,
            staged,
            hasher: self.hasher,
            written: self.read,
            expected: Some((self.digest, self.size)),
        })
    }

    /// After [`Advance::Complete`]: the blob, if its digest is right.
    pub fn share(self, lease: &Lease<'_>) -> Result<Option<StagedBlob>> {
        let digest = self.hasher.digest();
        if digest != self.digest {
            return Ok(None);
        }
        let what = || format!("cannot stage blob {digest}");
        let name = lease.fresh_name("blob");
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let follow = AtFlags::SYMLINK_FOLLOW;
        if rustix::fs::linkat(CWD, path, lease.dir(), &name, follow).is_ok() {
            return Ok(Some(StagedBlob {
                digest,
                size: self.size,
                staged: Staged::InLease(name),
                file: self.file,
            }));
        }
        // It has no name any more (the image was removed at once), or no proc(5) is there.
        let (file, staged) = lease.open_in_lease()?;
        copy(&self.file, &file, self.size).system(what)?;
        Ok(Some(StagedBlob {
            digest,
            size: self.size,
            staged,
            file,
        }))
    }
}

/// The first `length` bytes.
fn copy(from: &File, to: &File, length: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(usize::MAX);
        let count = from.read_at(&mut buffer[..PIECE_BYTES.min(left)], at)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
    Ok(())
}
