//! Small files: made to appear whole, read with a limit, and believed only if whole.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use serde::de::DeserializeOwned;

use crate::model::{Context, Result};

/// Largest record that is read.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// What a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On return the file's content and its name are on the disk.
    Durable,
    /// Killing processes harms nothing; a power cut may leave the old file, none, or an empty one.
    Volatile,
}

/// Makes `name` in `dir` appear with this content, replacing what was there, in one step.
///
/// The bytes are staged as `.NAME.new` beside it. That name is fixed, so a crash leaves at most
/// one, which the next write overwrites; therefore **one writer at a time**: every caller holds a
/// lock (of the container, of `images/`, of the store).
pub fn put(dir: impl AsFd, name: &str, bytes: &[u8], durability: Durability) -> Result<()> {
    let what = || format!("cannot write {name}");
    let dir = dir.as_fd();
    let staged = format!(".{name}.new");
    let renamed = write_new(dir, &staged, bytes, durability)
        .and_then(|()| rustix::fs::renameat(dir, &staged, dir, name).system(what));
    if renamed.is_err() {
        // A full disk wants its room back.
        let _ = rustix::fs::unlinkat(dir, &staged, AtFlags::empty());
    }
    renamed?;
    if durability == Durability::Durable {
        rustix::fs::fsync(dir).system(what)?;
    }
    Ok(())
}

/// Writes a file in a directory that nobody else can see yet. With [`Durability::Durable`] the
/// content is on the disk on return; its name is not before the directory is flushed.
pub fn write_new(dir: impl AsFd, name: &str, bytes: &[u8], durability: Durability) -> Result<()> {
    let file = write_with_mode(dir, name, bytes, Mode::from(0o600))?;
    if durability == Durability::Durable {
        rustix::fs::fsync(&file).system(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Writes a file that others may read, as far as the umask lets them. Never flushed.
pub fn write_readable(dir: impl AsFd, name: &str, bytes: &[u8]) -> Result<()> {
    write_with_mode(dir, name, bytes, Mode::from(0o644)).map(drop)
}

/// Writes other text into a file that is mounted somewhere: the same inode, and never shorter than
/// both texts while others read it. Never flushed.
pub fn rewrite(dir: impl AsFd, name: &str, bytes: &[u8]) -> Result<()> {
    let what = || format!("cannot write {name}");
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty()).system(what)?;
    write_all(&file, bytes).system(what)?;
    rustix::fs::ftruncate(&file, bytes.len() as u64).system(what)
}

fn write_with_mode(dir: impl AsFd, name: &str, bytes: &[u8], mode: Mode) -> Result<OwnedFd> {
    let what = || format!("cannot write {name}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, mode).system(what)?;
    write_all(&file, bytes).system(what)?;
    Ok(file)
}

fn write_all(file: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The whole file, or `None` if there is no such file. [`Errno::FBIG`] if it is larger than
/// `limit` bytes.
pub fn read(dir: impl AsFd, name: &str, limit: usize) -> rustix::io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    // A record is a few KiB. A read of a regular file that returns less than was asked for has
    // reached the end, so one call is enough.
    let mut bytes = Vec::with_capacity(16 << 10);
    loop {
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(_) if bytes.len() < bytes.capacity() => break,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        if bytes.len() > limit {
            return Err(Errno::FBIG);
        }
        bytes.reserve(bytes.len() * 3);
    }
    if bytes.len() > limit {
        return Err(Errno::FBIG);
    }
    Ok(Some(bytes))
}

/// What a record's file turned out to be.
#[derive(Debug)]
pub enum Stored<T> {
    Missing,
    /// Not JSON at all: empty or torn, as a power cut leaves a file that was never flushed. Counts
    /// as never written, and may be swept.
    Damaged,
    /// JSON of another shape: perhaps a newer program's. Not usable, but not ours to delete.
    Foreign(serde_json::Error),
    Good(T),
}

impl<T> Stored<T> {
    pub fn good(self) -> Option<T> {
        match self {
            Stored::Good(value) => Some(value),
            _ => None,
        }
    }
}

/// Reads a record.
///
/// # Errors
/// Only those of the system; a damaged file is a value, so that it cannot block other work.
pub fn read_json<T: DeserializeOwned>(dir: impl AsFd, name: &str) -> Result<Stored<T>> {
    let bytes = match read(dir, name, MAX_RECORD_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Stored::Missing),
        Err(Errno::FBIG | Errno::LOOP | Errno::ISDIR) => return Ok(Stored::Damaged),
        Err(errno) => return Err(errno).system(|| format!("cannot read {name}")),
    };
    Ok(match serde_json::from_slice(&bytes) {
        Ok(value) => Stored::Good(value),
        Err(error) if error.is_data() => Stored::Foreign(error),
        Err(_) => Stored::Damaged,
    })
}

/// The names in a directory, without those that begin with a dot (staged files among them).
pub fn names(dir: impl AsFd) -> rustix::io::Result<Vec<String>> {
    let mut names = all_names(dir)?;
    names.retain(|name| !name.starts_with('.'));
    Ok(names)
}

/// The names in a directory, without `.` and `..`. A descriptor can be listed once: reading moves
/// its offset.
pub fn all_names(dir: impl AsFd) -> rustix::io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut space = Vec::with_capacity(8 << 10);
    let mut reader = rustix::fs::RawDir::new(dir, space.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
