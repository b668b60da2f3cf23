//! The files of a container's log: `log` is written, `log.1` was written before it, and so on.
//!
//! ```text
//! log            the newest records
//! log.1          what was `log` before it grew too long; or log.1.gz
//! log.2 …        older ones
//! log.gz.tmp     log.1 being compressed
//! ```
//!
//! One process writes (the supervisor), any number read, without locks.
//!
//! **Rotation** renames from the oldest on, into a place that is free: the oldest file goes, every
//! other moves by one, then `log` becomes `log.1` and a new `log` is made. **A kill in between**
//! leaves a hole in the numbers, or no `log`: the order of those that are there is still the order
//! in which they were written, and the next rotation fills the hole.
//!
//! **Compression** writes `log.gz.tmp`, renames it to `log.1.gz`, then removes `log.1`. A kill before
//! the last step leaves both: the uncompressed one counts, the other goes with the next rotation.
//! The header of a compressed file names the inode that it was made from, so that a reader that was
//! in the middle of that file knows where to go on.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::ContainerDir;
use crate::model::{Context, Result};

/// Where a log lies.
#[derive(Debug)]
pub struct LogFiles {
    directory: Arc<OwnedFd>,
    name: String,
}

/// One of its files, open to be read.
#[derive(Debug)]
pub struct LogFile {
    pub file: File,
    pub compressed: bool,
    /// Of the file as it was written.
    pub inode: u64,
}

/// Rotations that a reader puts up with while it opens the files.
const ATTEMPTS: usize = 16;
/// Holes that a kill may leave, and one more.
const MAX_HOLES: u32 = 2;
/// The header's extra field: two letters, the length of the inode's number, the number.
const EXTRA: &[u8; 4] = b"CI\x08\0";

impl ContainerDir {
    /// The log's files: `log` in the container's folder, or wherever `path` says.
    pub fn log_files(&self, path: Option<&str>) -> Result<LogFiles> {
        let Some(path) = path.map(Path::new) else {
            return Ok(LogFiles::new(Arc::clone(&self.dir), "log"));
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(folder, flags, Mode::empty())
            .system(|| format!("cannot open {}", folder.display()))?;
        Ok(LogFiles::new(directory, &name))
    }
}

impl LogFiles {
    pub fn new(directory: impl Into<Arc<OwnedFd>>, name: &str) -> LogFiles {
        LogFiles {
            directory: directory.into(),
            name: name.to_owned(),
        }
    }

    /// The folder that the files are in.
    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Opens or makes the newest one, to append to it; its length.
    pub fn open_newest(&self) -> io::Result<(OwnedFd, u64)> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let file = rustix::fs::openat(&self.directory, &self.name, flags, mode)?;
        let length = rustix::fs::fstat(&file)?.st_size;
        Ok((file, length.unsigned_abs()))
    }

    /// Makes room for a new newest file; at most `count` are left with it.
    pub fn rotate(&self, count: u32) -> io::Result<()> {
        let oldest = count.saturating_sub(1);
        if oldest == 0 {
            return self.unlink(&self.name);
        }
        let free = (1..oldest).find(|&number| !self.is_there(number));
        if free.is_none() {
            self.unlink(&self.compressed(oldest))?;
            self.unlink(&self.numbered(oldest))?;
        }
        for number in (1..free.unwrap_or(oldest)).rev() {
            self.move_on(number)?;
        }
        self.rename(&self.name, &self.numbered(1)).map(drop)
    }

    fn is_there(&self, number: u32) -> bool {
        [self.numbered(number), self.compressed(number)]
            .iter()
            .any(|name| {
                rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            })
    }

    fn move_on(&self, number: u32) -> io::Result<()> {
        let plain = self.numbered(number);
        if rustix::fs::statat(&self.directory, &plain, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            // The same as the plain one, if it is there too.
            self.unlink(&self.compressed(number))?;
            self.rename(&plain, &self.numbered(number + 1)).map(drop)
        } else {
            let from = self.compressed(number);
            self.rename(&from, &self.compressed(number + 1)).map(drop)
        }
    }

    /// Compresses the file that was rotated last.
    pub fn compress_rotated(&self) -> io::Result<()> {
        let (plain, temporary) = (self.numbered(1), format!("{}.gz.tmp", self.name));
        let Some(mut source) = self.open(&plain)? else {
            return Ok(());
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let target: File = rustix::fs::openat(&self.directory, &temporary, flags, mode)?.into();
        let inode = rustix::fs::fstat(&source)?.st_ino;
        let extra = [EXTRA.as_slice(), &inode.to_le_bytes()].concat();
        let mut encoder = flate2::GzBuilder::new()
            .extra(extra)
            .write(target, flate2::Compression::fast());
        let written = io::copy(&mut source, &mut encoder).and_then(|_| encoder.finish());
        if let Err(error) = written {
            // A full disk: the plain file stays.
            let _ = self.unlink(&temporary);
            return Err(error);
        }
        self.rename(&temporary, &self.compressed(1))?;
        self.unlink(&plain)
    }

    /// All of them, oldest first, as they were at one moment.
    pub fn open_all(&self) -> io::Result<Vec<LogFile>> {
        let mut files = Vec::new();
        for _ in 0..ATTEMPTS {
            // From the newest on: files only move away from where this looks next.
            files = self.open_each()?;
            let newest = files.last().map(|file| file.inode);
            if newest == self.newest_inode() {
                break;
            }
        }
        Ok(files)
    }

    fn open_each(&self) -> io::Result<Vec<LogFile>> {
        let mut files = Vec::new();
        let mut holes = 0;
        files.extend(self.open_log_file(&self.name, false)?);
        for number in 1.. {
            let found = match self.open_log_file(&self.numbered(number), false)? {
                None => self.open_log_file(&self.compressed(number), true)?,
                found => found,
            };
            holes = if found.is_none() { holes + 1 } else { 0 };
            if holes >= MAX_HOLES {
                break;
            }
            files.extend(found);
        }
        files.reverse();
        Ok(files)
    }

    /// The number of the file `log`; `None` if it is not there (yet).
    pub fn newest_inode(&self) -> Option<u64> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let newest = rustix::fs::statat(&self.directory, &self.name, flags).ok();
        // Between two steps of a rotation the last one is the newest.
        let newest =
            newest.or_else(|| rustix::fs::statat(&self.directory, self.numbered(1), flags).ok());
        newest.map(|stat| stat.st_ino)
    }

    fn open_log_file(&self, name: &str, compressed: bool) -> io::Result<Option<LogFile>> {
        let Some(file) = self.open(name)? else {
            return Ok(None);
        };
        let mut inode = rustix::fs::fstat(&file)?.st_ino;
        if compressed {
            inode = original_inode(&file)?.unwrap_or(inode);
        }
        Ok(Some(LogFile {
            file,
            compressed,
            inode,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn numbered(&self, number: u32) -> String {
        format!("{}.{number}", self.name)
    }

    fn compressed(&self, number: u32) -> String {
        format!("{}.{number}.gz", self.name)
    }

    /// Whether it was there.
    fn rename(&self, from: &str, to: &str) -> io::Result<bool> {
        let directory = self.directory.as_fd();
        match rustix::fs::renameat(directory, from, directory, to) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What the header of a compressed file says.
fn original_inode(file: &File) -> io::Result<Option<u64>> {
    // RFC 1952: ten bytes, then the extra field with its length, if there is one.
    let mut header = [0; 24];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let ours = header[3] & 4 != 0 && header[12..16] == *EXTRA;
    let inode = header[16..24].try_into().map(u64::from_le_bytes);
    Ok(inode.ok().filter(|_| ours))
}

impl LogFile {
    /// What was written to it, from its beginning.
    pub fn content(&self) -> io::Result<Box<dyn Read>> {
        let content = Content {
            file: self.file.try_clone()?,
            offset: 0,
        };
        Ok(if self.compressed {
            Box::new(flate2::read::MultiGzDecoder::new(content))
        } else {
            Box::new(content)
        })
    }
}

/// A file from a place of its own on: several readers do not disturb one another.
struct Content {
    file: File,
    offset: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn files() -> (tempfile::TempDir, LogFiles) {
        let folder = tempfile::tempdir().unwrap();
        let directory: OwnedFd = File::open(folder.path()).unwrap().into();
        (folder, LogFiles::new(directory, "log"))
    }

    fn write(files: &LogFiles, text: &str) {
        let (file, _) = files.open_newest().unwrap();
        File::from(file).write_all(text.as_bytes()).unwrap();
    }

    fn all(files: &LogFiles) -> String {
        let mut text = String::new();
        for file in files.open_all().unwrap() {
            file.content().unwrap().read_to_string(&mut text).unwrap();
        }
        text
    }

    #[test]
    fn keeps_so_many_in_order() {
        let (_folder, files) = files();
        for number in 0..5 {
            write(&files, &number.to_string());
            files.rotate(3).unwrap();
        }
        write(&files, "5");
        assert_eq!(all(&files), "345");
    }

    #[test]
    fn one_file_begins_anew() {
        let (_folder, files) = files();
        write(&files, "a");
        files.rotate(1).unwrap();
        write(&files, "b");
        assert_eq!(all(&files), "b");
    }

    #[test]
    fn compressed_ones_are_read_and_moved() {
        let (folder, files) = files();
        for number in 0..4 {
            write(&files, &number.to_string());
            let inode = files.newest_inode();
            files.rotate(3).unwrap();
            files.compress_rotated().unwrap();
            let rotated = files.open_all().unwrap().pop().unwrap();
            assert!(rotated.compressed);
            assert_eq!(Some(rotated.inode), inode);
        }
        write(&files, "4");
        assert_eq!(all(&files), "234");
        assert!(folder.path().join("log.2.gz").exists());
        assert!(!folder.path().join("log.1").exists());
    }

    /// Every step of a rotation may be the last one.
    #[test]
    fn a_kill_leaves_a_set_in_order() {
        let (folder, files) = files();
        let at = |name: &str| folder.path().join(name);
        for text in ["a", "b", "c"] {
            write(&files, text);
            files.rotate(4).unwrap();
        }
        write(&files, "d");
        // log.3 went; log.2 moved; log.1 did not.
        std::fs::remove_file(at("log.3")).unwrap();
        std::fs::rename(at("log.2"), at("log.3")).unwrap();
        assert_eq!(all(&files), "bcd");
        // The next rotation fills the hole and loses nothing.
        files.rotate(4).unwrap();
        assert_eq!(all(&files), "bcd");
        write(&files, "e");
        assert_eq!(all(&files), "bcde");
        // Compressed, and not removed yet.
        files.rotate(4).unwrap();
        std::fs::copy(at("log.1"), at("saved")).unwrap();
        files.compress_rotated().unwrap();
        std::fs::rename(at("saved"), at("log.1")).unwrap();
        assert_eq!(all(&files), "cde");
        write(&files, "f");
        files.rotate(4).unwrap();
        assert_eq!(all(&files), "def");
    }
}
