//! Copying single files with all that belongs to them: bytes, owner, mode, times and extended
//! attributes. Everything goes by the descriptor of a directory and a name in it, and no symlink is
//! followed. What a tree of them means is the caller's business.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat, Timespec, Timestamps, XattrFlags,
    },
    io::{Errno, Result},
};

/// Overlayfs's own attributes, as root and with `userxattr`: they mean nothing in a copy.
pub const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// What an extended attribute is that the target may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Fails,
    IsLeftOut,
}

/// The names in a directory. A descriptor can be listed once: reading moves its offset.
pub fn entries(folder: BorrowedFd<'_>) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    let mut space = Vec::with_capacity(32 << 10);
    let mut reader = RawDir::new(folder, space.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Copies a regular file's bytes to a new file of the same name: shared by reflink where the file
/// system can, else in the kernel, holes left out.
pub fn copy_content(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
) -> Result<()> {
    // Somebody with the same tree may put a pipe there meanwhile: that is not waited for.
    let reading = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, reading, Mode::empty())?;
    let writing =
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, writing, Mode::from(0o600))?;
    match copy_bytes(&source, &target, stat.st_size.cast_unsigned())? {
        true => Ok(()),
        // A layer's file never becomes shorter, so this one is damaged.
        false => Err(Errno::IO),
    }
}

/// Copies the first `size` bytes to an empty file, by reflink where the file system can. `false` if
/// the source has become shorter meanwhile: the rest is a hole then.
pub fn copy_bytes(source: &OwnedFd, target: &OwnedFd, size: u64) -> Result<bool> {
    if size == 0 || rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(true);
    }
    rustix::fs::ftruncate(target, size)?;
    let mut at = 0;
    while let Some((begin, end)) = next_data(source, at, size)? {
        if !copy_range(source, target, begin, end.min(size))? {
            return Ok(false);
        }
        at = end;
    }
    Ok(true)
}

/// The next stretch of a file that is not a hole, from `at` on.
fn next_data(file: &OwnedFd, at: u64, size: u64) -> Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(begin) => {
            let end = rustix::fs::seek(file, SeekFrom::Hole(begin))?;
            Ok(Some((begin, end)))
        }
        Err(Errno::NXIO) => Ok(None),
        // The file system does not know holes.
        Err(Errno::INVAL) => Ok(Some((at, size))),
        Err(errno) => Err(errno),
    }
}

/// `false` if the source ends before.
fn copy_range(source: &OwnedFd, target: &OwnedFd, begin: u64, end: u64) -> Result<bool> {
    let (mut from, mut to) = (begin, begin);
    while from < end {
        let length = usize::try_from(end - from)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_by_hand(source, target, from, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(true)
}

fn copy_by_hand(source: &OwnedFd, target: &OwnedFd, mut at: u64, end: u64) -> Result<bool> {
    let mut buffer = vec![0; 128 << 10];
    while at < end {
        let length = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = rustix::io::pread(source, &mut buffer[..length], at)?;
        if count == 0 {
            return Ok(false);
        }
        let mut written = 0;
        while written < count {
            let position = at + written as u64;
            written += rustix::io::pwrite(target, &buffer[written..count], position)?;
        }
        at += count as u64;
    }
    Ok(true)
}

/// Extended attributes of an entry, also of symlinks and devices, which cannot be opened: through
/// the link in /proc that stands for their directory.
pub fn attributes(entry: (BorrowedFd<'_>, &CStr)) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = attribute_path(entry);
    attributes_by(
        |names| rustix::fs::llistxattr(&path, names),
        |name, value| rustix::fs::lgetxattr(&path, name, value),
    )
}

/// Whether a file has no extended attribute at all.
pub fn is_plain(file: BorrowedFd<'_>) -> Result<bool> {
    match rustix::fs::flistxattr(file, &mut [0_u8; 0]) {
        Ok(length) => Ok(length == 0),
        Err(Errno::OPNOTSUPP) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Those of an open file or directory.
pub fn attributes_of(file: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    attributes_by(
        |names| rustix::fs::flistxattr(file, names),
        |name, value| rustix::fs::fgetxattr(file, name, value),
    )
}

fn attributes_by(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // Most have none, or few.
    let (mut few, mut many) = ([0; 256], Vec::new());
    let names = match list(&mut few) {
        Ok(length) => &few[..length],
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            many.resize(64 << 10, 0);
            let length = list(&mut many)?;
            &many[..length]
        }
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0) {
        let ours = OVERLAY_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
        // SELinux labels belong to the place, not to the file.
        if name.is_empty() || ours || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let size = match get(name, &mut value) {
            // Removed since it was listed.
            Err(Errno::NODATA) => continue,
            other => other?,
        };
        value.truncate(size);
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

fn attribute_path((folder, name): (BorrowedFd<'_>, &CStr)) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

/// Copies extended attributes.
pub fn copy_attributes(
    from: (BorrowedFd<'_>, &CStr),
    to: (BorrowedFd<'_>, &CStr),
    refused: Refused,
) -> Result<()> {
    for (name, value) in attributes(from)? {
        match rustix::fs::lsetxattr(attribute_path(to), &name[..], &value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM) if refused == Refused::IsLeftOut => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Gives an entry the owner of `stat`, if it has another.
pub fn set_owner(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let now = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (now.st_uid, now.st_gid) == (stat.st_uid, stat.st_gid) {
        return Ok(());
    }
    rustix::fs::chownat(
        folder,
        name,
        Some(rustix::fs::Uid::from_raw(stat.st_uid)),
        Some(rustix::fs::Gid::from_raw(stat.st_gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

/// Gives an entry owner, mode and times of `stat`, in the order in which one does not undo another.
pub fn set_owner_mode_times(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    set_owner(folder, name, stat)?;
    set_mode_times(folder, name, stat)
}

/// The same for an entry that has its owner already.
pub fn set_mode_times(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(
            folder,
            name,
            Mode::from_raw_mode(stat.st_mode),
            AtFlags::empty(),
        )?;
    }
    rustix::fs::utimensat(folder, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

/// The times of `stat`, to be set.
pub fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.cast_signed(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
