//! One file, link or device in the staged tree.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, XattrFlags},
    io::Errno,
};

use super::{
    CopyRequest, InlineFile,
    dress::Dress,
    hashes::{hash, is_same},
    select::{Item, cannot, has_vanished, shown},
    tree::{open, split},
    write::{Frame, Writing},
};
use crate::{
    model::{Context, Error, Result},
    storage::unpack::{Privilege, STAT_XATTR},
    sys::file_copy,
};

/// Read at once and written at once; larger ones are copied in the kernel.
pub(super) const SMALL_BYTES: u64 = 64 << 10;
const NEW: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A name in a directory of the staged tree.
pub(super) struct Slot<'s> {
    pub folder: BorrowedFd<'s>,
    pub name: &'s [u8],
    pub path: &'s [u8],
}

impl Slot<'_> {
    /// Makes something; a file of that name in this layer is replaced.
    fn make<T>(&self, make: impl Fn() -> rustix::io::Result<T>) -> Result<T> {
        self.try_make(make)?.system(|| cannot("make", self.path))
    }

    fn try_make<T>(
        &self,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<rustix::io::Result<T>> {
        match make() {
            Err(Errno::EXIST) => {
                match rustix::fs::unlinkat(self.folder, self.name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => return Err(no_file_over_folder(self.path)),
                    other => other.system(|| cannot("replace", self.path))?,
                }
                Ok(make())
            }
            other => Ok(other),
        }
    }
}

impl Writing<'_> {
    /// What is no directory.
    pub(super) fn item(
        &mut self,
        frame: &Frame,
        parts: &[BorrowedFd<'_>],
        item: &mut Item,
        path: &[u8],
    ) -> Result<()> {
        let (_, name) = split(path);
        if frame.below.get(name) == Some(&FileType::Directory) {
            return Err(no_file_over_folder(path));
        }
        let slot = Slot {
            folder: frame.folder.as_fd(),
            name,
            path,
        };
        if item.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&item.inode()) {
                let (top, flags) = (self.top, AtFlags::empty());
                slot.make(|| rustix::fs::linkat(top, &first[..], slot.folder, name, flags))?;
                self.changes.entries += 1;
                return Ok(());
            }
            self.links.insert(item.inode(), path.to_vec());
        }
        let dress = self.dress_of(item);
        let kind = item.kind();
        match kind {
            FileType::RegularFile => {
                if !self.regular(&slot, parts, item, &dress)? {
                    return Ok(());
                }
            }
            FileType::Symlink => {
                slot.make(|| rustix::fs::symlinkat(&item.target[..], slot.folder, name))?;
                self.dress_by_name(&slot, &dress, kind)?;
            }
            FileType::Fifo => {
                slot.make(|| rustix::fs::mknodat(slot.folder, name, kind, Mode::empty(), 0))?;
                self.dress_by_name(&slot, &dress, kind)?;
            }
            _ => self.device(&slot, item, &dress)?,
        }
        self.changes.entries += 1;
        Ok(())
    }

    pub(super) fn regular(
        &mut self,
        slot: &Slot<'_>,
        parts: &[BorrowedFd<'_>],
        item: &mut Item,
        dress: &Dress,
    ) -> Result<bool> {
        if let Some((kind, major, minor)) = item.stand_in.and_then(|noted| noted.device) {
            let sort = char::from(if kind.is_block_special() { b'b' } else { b'c' });
            self.stand_in(slot, dress, (sort, major, minor))?;
            return Ok(true);
        }
        let cannot_read = || cannot("read", &item.from);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let source = match open(parts[item.part], &item.from, flags) {
            Err(errno) if has_vanished(errno) => return self.vanished(item),
            other => other.system(cannot_read)?,
        };
        let stat = rustix::fs::fstat(&source).system(cannot_read)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return self.vanished(item);
        }
        let size = stat.st_size.cast_unsigned();
        let born = self.mode_when_made(dress);
        let mode = Mode::from_raw_mode(born.unwrap_or(0o600));
        let file = slot.make(|| rustix::fs::openat(slot.folder, slot.name, NEW, mode))?;
        let copied = match size <= SMALL_BYTES {
            true => copy_small(&source, &file, &mut self.buffer[..]),
            false => file_copy::copy_bytes(&source, &file, size).map(drop),
        };
        copied.system(|| cannot("copy", &item.from))?;
        let after = rustix::fs::fstat(&source).system(cannot_read)?;
        if item.racy || !is_same(&after, &item.stat) {
            let size = rustix::fs::fstat(&file).map(|found| found.st_size.cast_unsigned());
            let found = size.and_then(|size| hash(file.as_fd(), size, &mut self.buffer));
            item.content = Some(found.system(cannot_read)?);
        }
        self.changes.bytes = self.changes.bytes.saturating_add(size);
        match born {
            Some(_) => {
                rustix::fs::futimens(&file, &dress.times).system(|| cannot("make", slot.path))
            }
            None => self.dress_file(&file, slot.path, dress, '-'),
        }?;
        Ok(true)
    }

    /// Nothing is written, and the digest says nothing of it.
    pub(super) fn vanished(&mut self, item: &mut Item) -> Result<bool> {
        item.content = None;
        self.links.remove(&item.inode());
        Ok(false)
    }

    pub(super) fn device(&mut self, slot: &Slot<'_>, item: &Item, dress: &Dress) -> Result<()> {
        let (kind, number) = (item.kind(), item.stat.st_rdev);
        if self.privilege == Privilege::Root {
            let make = || rustix::fs::mknodat(slot.folder, slot.name, kind, Mode::empty(), number);
            match slot.try_make(make)? {
                // Root of a container without CAP_MKNOD.
                Err(Errno::PERM) => {}
                Err(errno) => return Err(errno).system(|| cannot("make", slot.path)),
                Ok(()) => return self.dress_by_name(slot, dress, kind),
            }
        }
        let sort = if kind == FileType::BlockDevice {
            'b'
        } else {
            'c'
        };
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        self.stand_in(slot, dress, (sort, major, minor))
    }

    /// An empty file that says which device it stands for.
    pub(super) fn stand_in(
        &self,
        slot: &Slot<'_>,
        dress: &Dress,
        device: (char, u32, u32),
    ) -> Result<()> {
        let mode = Mode::from_raw_mode(0o600);
        let file = slot.make(|| rustix::fs::openat(slot.folder, slot.name, NEW, mode))?;
        let ((uid, gid), (sort, major, minor)) = (dress.owner, device);
        let note = format!("{uid} {gid} {sort} {major} {minor}");
        rustix::fs::fsetxattr(&file, STAT_XATTR, note.as_bytes(), XattrFlags::empty())
            .system(|| cannot("make", slot.path))?;
        self.dress_file(&file, slot.path, dress, sort)
    }

    pub(super) fn inline(&mut self, request: &CopyRequest, file: &InlineFile) -> Result<()> {
        let path = self.place_of_file(request, file.name.as_bytes())?;
        let (folder, name) = split(&path);
        let parent = self.folder(folder)?;
        let found = self.below.find(&path).system(|| cannot("find", &path))?;
        let is_folder = found.is_some_and(|found| {
            FileType::from_raw_mode(found.stat.st_mode) == FileType::Directory
        });
        if is_folder {
            return Err(no_file_over_folder(&path));
        }
        let slot = Slot {
            folder: parent.as_fd(),
            name,
            path: &path,
        };
        let dress = Dress {
            owner: self.owner.unwrap_or((0, 0)),
            mode: match &self.mode {
                Some(change) => change.apply(file.mode, false),
                None => file.mode & 0o7777,
            },
            times: self.made_at.clone(),
            attributes: Vec::new(),
        };
        let mode = Mode::from_raw_mode(0o600);
        let made = slot.make(|| rustix::fs::openat(slot.folder, slot.name, NEW, mode))?;
        write_all(&made, file.content.as_bytes()).system(|| cannot("write", &path))?;
        self.changes.entries += 1;
        self.changes.bytes += file.content.len() as u64;
        self.dress_file(&made, &path, &dress, '-')
    }
}

/// To its end; one that has grown meanwhile beyond what is small is cut there.
fn copy_small(source: &OwnedFd, target: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(source, &mut buffer[filled..]) {
            // A regular file delivers all that it has.
            Ok(count) => {
                let room = buffer.len() - filled;
                filled += count;
                if count < room {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    write_all(target, &buffer[..filled])
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// In BuildKit's words.
fn no_file_over_folder(path: &[u8]) -> Error {
    let path = shown(path);
    Error::invalid(format!("cannot replace to directory {path} with file"))
}
