//! The contents of what was selected, as SHA-256; those of files that have not changed since the last
//! build are remembered.
//!
//! A file is known again by device, inode, size, mtime and ctime. ctime cannot be set, and every
//! change of content or attributes moves it, as far as the kernel's clock can tell: what was changed
//! within a tick before it was read is not remembered (git's "racily clean"). Neither are files with
//! extended attributes, which would have to be read anyway.
//!
//! ```text
//! FILE   MAGIC (8 bytes) RECORD* SHA-256 of all before it
//! RECORD device inode size mtime mtime_ns ctime ctime_ns (u64 each) SHA-256 (32) unused (u64)
//! ```
//!
//! Little-endian. Replaced as a whole, under a lock, with what others have added meanwhile; a torn one
//! does not have its checksum and counts as empty. A record that was not asked for grows older with
//! every writing; the oldest go when there are too many.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FileType, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{
    select::{Item, Selection, cannot, has_vanished, unreadable},
    tree::{FOLDER, Tree, open},
};
use crate::{
    model::{Context, Result},
    storage::{Durability, files},
    sys::file_copy,
};

const MAGIC: &[u8; 8] = b"hashes1\n";
const RECORD: usize = 7 * 8 + 32 + 8;
const CHECKSUM: usize = 32;
/// About 32 MiB.
const MOST_RECORDS: usize = 350_000;
/// A change within this time of another one may have the same time (a tick is 1 to 10 ms).
const TICK: Duration = Duration::from_millis(20);
/// The same on file systems that keep whole seconds only, or two.
const COARSE_TICK: Duration = Duration::from_secs(3);
/// Fewer files are not worth a second thread.
const FEW_FILES: usize = 64;
const MANY_BYTES: u64 = 4 << 20;
const BUFFER_BYTES: usize = 128 << 10;

/// What a file is known by.
type Key = [u64; 7];

#[derive(Clone, Copy)]
struct Known {
    content: [u8; 32],
    /// How many writes ago it was asked for.
    unused: u64,
}

/// Hashes of files' contents.
#[derive(Default)]
pub struct HashCache {
    known: HashMap<Key, Known>,
    changed: bool,
}

fn key(stat: &Stat) -> Key {
    [
        stat.st_dev,
        stat.st_ino,
        stat.st_size.cast_unsigned(),
        stat.st_mtime.cast_unsigned(),
        stat.st_mtime_nsec,
        stat.st_ctime.cast_unsigned(),
        stat.st_ctime_nsec,
    ]
}

/// Whether two looks at a file saw the same.
pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    key(one) == key(other)
}

impl HashCache {
    /// What is remembered in `name`; nothing if that is not there or damaged.
    pub fn load(folder: impl AsFd, name: &str) -> HashCache {
        let limit = MAGIC.len() + MOST_RECORDS * RECORD + CHECKSUM;
        let bytes = files::read(folder, name, limit).ok().flatten();
        HashCache {
            known: bytes.and_then(|bytes| parse(&bytes)).unwrap_or_default(),
            changed: false,
        }
    }

    /// Adds what is new to the file. The folder is locked (`flock`) for the time of that.
    pub fn save(&self, folder: impl AsFd, name: &str) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let what = || format!("cannot write {name}");
        // A descriptor of its own: the lock goes with it, and other threads' are others'.
        let folder = rustix::fs::openat(folder, c".", FOLDER, Mode::empty()).system(what)?;
        while let Err(errno) = rustix::fs::flock(&folder, FlockOperation::LockExclusive) {
            if errno != Errno::INTR {
                return Err(errno).system(what);
            }
        }
        let mut known = HashCache::load(&folder, name).known;
        for (key, new) in &self.known {
            let kept = known.entry(*key).or_insert(*new);
            kept.unused = kept.unused.min(new.unused);
        }
        let mut records: Vec<(&Key, &Known)> = known.iter().collect();
        records.sort_unstable_by_key(|(key, known)| (known.unused, **key));
        records.truncate(MOST_RECORDS);
        let mut bytes = Vec::with_capacity(MAGIC.len() + records.len() * RECORD + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        for (key, known) in records {
            key.iter()
                .for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
            bytes.extend_from_slice(&known.content);
            bytes.extend_from_slice(&known.unused.saturating_add(1).to_le_bytes());
        }
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        files::put(folder, name, &bytes, Durability::Volatile)
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn get(&mut self, stat: &Stat) -> Option<[u8; 32]> {
        let known = self.known.get_mut(&key(stat))?;
        known.unused = 0;
        Some(known.content)
    }

    fn put(&mut self, stat: &Stat, content: [u8; 32]) {
        let known = Known { content, unused: 0 };
        self.known.insert(key(stat), known);
        self.changed = true;
    }
}

fn parse(bytes: &[u8]) -> Option<HashMap<Key, Known>> {
    let (signed, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if Sha256::digest(signed)[..] != checksum[..] {
        return None;
    }
    let records = signed.strip_prefix(MAGIC)?;
    let mut known = HashMap::with_capacity(records.len() / RECORD);
    for record in records.chunks_exact(RECORD) {
        let word = |index: usize| {
            let word = record.get(index * 8..index * 8 + 8)?;
            Some(u64::from_le_bytes(word.try_into().ok()?))
        };
        let mut key = [0; 7];
        for (index, place) in key.iter_mut().enumerate() {
            *place = word(index)?;
        }
        let content = record.get(56..88)?.try_into().ok()?;
        let unused = word(11)?;
        known.insert(key, Known { content, unused });
    }
    Some(known)
}

/// Whether a file could have been changed after it was read, at `now`, without another time.
pub(super) fn is_racy(stat: &Stat, now: SystemTime) -> bool {
    let tick = match (stat.st_mtime_nsec, stat.st_ctime_nsec) {
        (0, 0) => COARSE_TICK,
        _ => TICK,
    };
    let changed = [
        (stat.st_mtime, stat.st_mtime_nsec),
        (stat.st_ctime, stat.st_ctime_nsec),
    ]
    .into_iter()
    .max()
    .unwrap_or_default();
    let Ok(seconds) = u64::try_from(changed.0) else {
        return false;
    };
    let moment = Duration::from_secs(seconds) + Duration::from_nanos(changed.1);
    let moment = SystemTime::UNIX_EPOCH.checked_add(moment);
    let age = moment.and_then(|moment| now.duration_since(moment).ok());
    age.is_none_or(|age| age <= tick)
}

/// What reading a file has shown.
struct Read {
    stat: Stat,
    content: [u8; 32],
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Gives every regular file of a selection the hash of its content, and its attributes.
pub(super) fn fill(selection: &mut Selection<'_>, cache: &mut HashCache) -> Result<()> {
    let now = SystemTime::now();
    let of_layer = matches!(selection.tree, Tree::Layers(_));
    let mut unknown: Vec<&mut Item> = Vec::new();
    for item in selection
        .sources
        .iter_mut()
        .flat_map(|source| &mut source.items)
    {
        if item.kind() != FileType::RegularFile {
            continue;
        }
        match cache.get(&item.stat) {
            Some(content) => item.content = Some(content),
            None => unknown.push(item),
        }
    }
    let parts = selection.tree.parts();
    for (item, read) in read_all(&parts, &unknown).into_iter() {
        let item = &mut *unknown[item];
        let Some(read) = read
            .system(|| cannot("read", &item.from))
            .map_err(unreadable)?
        else {
            continue;
        };
        item.stat = read.stat;
        item.content = Some(read.content);
        let plain = read.attributes.is_empty();
        item.take_attributes(read.attributes, of_layer);
        item.racy = is_racy(&item.stat, now);
        if plain && !item.racy {
            cache.put(&item.stat, read.content);
        }
    }
    for source in &mut selection.sources {
        // What had no content any more when it was read.
        let is_there = |item: &Item| item.kind() != FileType::RegularFile || item.content.is_some();
        source.items.retain(is_there);
    }
    selection.sources.retain(|source| !source.items.is_empty());
    Ok(())
}

type Outcome = (usize, rustix::io::Result<Option<Read>>);

/// Reads them all, with a second thread if that is worth it.
fn read_all(parts: &[BorrowedFd<'_>], items: &[&mut Item]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut outcomes = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return outcomes;
            };
            let outcome = read(parts, item, &mut buffer);
            let failed = outcome.is_err();
            outcomes.push((index, outcome));
            if failed {
                next.store(items.len(), Ordering::Relaxed);
            }
        }
    };
    let bytes: u64 = items
        .iter()
        .map(|item| item.stat.st_size.cast_unsigned())
        .sum();
    if items.len() < FEW_FILES && (bytes < MANY_BYTES || items.len() < 2) {
        return work();
    }
    thread::scope(|scope| {
        let second = thread::Builder::new()
            .name("hash".to_owned())
            .spawn_scoped(scope, work);
        let mut outcomes = work();
        // Without the thread, this one has done all of it.
        if let Ok(second) = second
            && let Ok(more) = second.join()
        {
            outcomes.extend(more);
        }
        outcomes
    })
}

fn read(
    parts: &[BorrowedFd<'_>],
    item: &Item,
    buffer: &mut [u8],
) -> rustix::io::Result<Option<Read>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let part = *parts.get(item.part).ok_or(Errno::INVAL)?;
    let file = match open(part, &item.from, flags) {
        Err(errno) if has_vanished(errno) => return Ok(None),
        other => other?,
    };
    // Before it is read: what is changed meanwhile has another time than this.
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    Ok(Some(Read {
        content: hash(file.as_fd(), stat.st_size.cast_unsigned(), buffer)?,
        attributes: file_copy::attributes_of(file.as_fd())?,
        stat,
    }))
}

/// The first `size` bytes of a file, or as many as there are.
pub(super) fn hash(
    file: BorrowedFd<'_>,
    size: u64,
    buffer: &mut [u8],
) -> rustix::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        match rustix::io::pread(file, &mut buffer[..length], at) {
            Ok(0) => break,
            Ok(count) => {
                hash.update(&buffer[..count]);
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(hash.finalize().into())
}
