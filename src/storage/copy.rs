//! Copies an unpacked layer over a tree, doing by hand what overlayfs does when it looks: a
//! whiteout (character device 0/0) hides what is below, an opaque directory hides all of it.
//!
//! Data is shared by reflink where the file system can (btrfs, xfs), else copied in the kernel,
//! holes left out. Modes, owners, times, extended attributes and hard links come along.
//!
//! Neither tree is reachable by any container, so nobody moves things meanwhile; nevertheless
//! everything goes by descriptor and no symlink is followed.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Stat, Timespec,
        Timestamps, XattrFlags,
    },
    io::{Errno, Result},
};

use super::{FOLDER, delete};

/// Overlayfs's own attributes, as root and with `userxattr`: they mean nothing in a copy.
const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
const OPAQUE: [&CStr; 2] = [c"trusted.overlay.opaque", c"user.overlay.opaque"];
/// Deeper than PATH_MAX allows to address.
const DEEPEST: usize = 2100;

/// Applies the layer in `tree` to the directory `target`, including `tree`'s own mode, owner,
/// times and attributes.
pub fn apply_layer(tree: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let mut copy = Copy {
        top: target.as_fd(),
        links: HashMap::new(),
        way: Vec::new(),
    };
    copy.folder(tree.as_fd(), target.as_fd())
}

struct Copy<'a> {
    top: BorrowedFd<'a>,
    /// The first copy of every file with several links, by its inode in the layer.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Names from the top to the current directory.
    way: Vec<CString>,
}

impl Copy<'_> {
    fn folder(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        if self.way.len() > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        if is_opaque(from) {
            // An own descriptor: emptying reads through it.
            delete::empty(rustix::fs::openat(to, c".", FOLDER, Mode::empty())?)?;
        }
        for name in entries(from)? {
            let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.subfolder(from, to, name)?;
            } else {
                delete_entry(to, &name)?;
                if !is_whiteout(&stat) {
                    self.file(from, to, &name, &stat)?;
                }
            }
        }
        let stat = rustix::fs::fstat(from)?;
        // A directory that was there already shows the upper one's attributes only.
        drop_attributes(to)?;
        copy_attributes((from, c"."), (to, c"."))?;
        set_owner_mode_times(to, c".", &stat)
    }

    fn subfolder(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: CString) -> Result<()> {
        let child = rustix::fs::openat(from, &name, FOLDER, Mode::empty())?;
        match rustix::fs::mkdirat(to, &name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = rustix::fs::statat(to, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                    delete_entry(to, &name)?;
                    rustix::fs::mkdirat(to, &name, Mode::RWXU)?;
                }
            }
            Err(errno) => return Err(errno),
        }
        let target = rustix::fs::openat(to, &name, FOLDER, Mode::empty())?;
        self.way.push(name);
        let outcome = self.folder(child.as_fd(), target.as_fd());
        self.way.pop();
        outcome
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<()> {
        let inode = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode) {
                return self.link(first, to, name);
            }
            self.links.insert(inode, self.path_of(name));
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => copy_content(from, to, name, stat)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
            }
            kind => rustix::fs::mknodat(
                to,
                name,
                kind,
                Mode::from_raw_mode(stat.st_mode),
                stat.st_rdev,
            )?,
        }
        // The owner first: changing it drops file capabilities and set-id bits.
        set_owner(to, name, stat)?;
        copy_attributes((from, name), (to, name))?;
        set_owner_mode_times(to, name, stat)
    }

    fn path_of(&self, name: &CStr) -> Vec<u8> {
        let mut path = Vec::new();
        for folder in &self.way {
            path.extend_from_slice(folder.as_bytes());
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        path
    }

    /// The second name of a file. The first one's path goes through directories that this layer
    /// has made or confirmed; `RESOLVE_NO_SYMLINKS` says so to the kernel.
    fn link(&self, first: &[u8], to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let (folder, file) = match first.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&first[..slash], &first[slash + 1..]),
            None => (&b"."[..], first),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let folder = rustix::fs::openat2(self.top, folder, FOLDER, Mode::empty(), resolve)?;
        rustix::fs::linkat(folder, file, to, name, AtFlags::empty())
    }
}

fn entries(folder: BorrowedFd<'_>) -> Result<Vec<CString>> {
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

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(folder: BorrowedFd<'_>) -> bool {
    OPAQUE.iter().any(|name| {
        let mut value = [0; 1];
        rustix::fs::fgetxattr(folder, *name, &mut value) == Ok(1) && value == *b"y"
    })
}

fn delete_entry(folder: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {
            delete::empty(rustix::fs::openat(folder, name, FOLDER, Mode::empty())?)?;
            rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
        }
        Err(Errno::NOENT) => Ok(()),
        outcome => outcome,
    }
}

fn copy_content(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let reading = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, reading, Mode::empty())?;
    let writing =
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, writing, Mode::from(0o600))?;
    if stat.st_size == 0 || rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    rustix::fs::ftruncate(&target, stat.st_size.cast_unsigned())?;
    let mut at = 0;
    while let Some((begin, end)) = next_data(&source, at, stat.st_size.cast_unsigned())? {
        copy_range(&source, &target, begin, end)?;
        at = end;
    }
    Ok(())
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

fn copy_range(source: &OwnedFd, target: &OwnedFd, begin: u64, end: u64) -> Result<()> {
    let (mut from, mut to) = (begin, begin);
    while from < end {
        let length = usize::try_from(end - from)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
            // The file became shorter: a layer never does, so it is damaged.
            Ok(0) => return Err(Errno::IO),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_by_hand(source, target, from, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_by_hand(source: &OwnedFd, target: &OwnedFd, mut at: u64, end: u64) -> Result<()> {
    let mut buffer = vec![0; 128 << 10];
    while at < end {
        let length = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = rustix::io::pread(source, &mut buffer[..length], at)?;
        if count == 0 {
            return Err(Errno::IO);
        }
        let mut written = 0;
        while written < count {
            let position = at + written as u64;
            written += rustix::io::pwrite(target, &buffer[written..count], position)?;
        }
        at += count as u64;
    }
    Ok(())
}

/// Copies extended attributes, also of symlinks and devices, which cannot be opened: through
/// the link in /proc that stands for their directory.
fn copy_attributes(from: (BorrowedFd<'_>, &CStr), to: (BorrowedFd<'_>, &CStr)) -> Result<()> {
    let path = |(folder, name): (BorrowedFd<'_>, &CStr)| {
        let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        path
    };
    let (from, to) = (path(from), path(to));
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(&from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut value = Vec::new();
    for name in names[..length].split(|&byte| byte == 0) {
        let ours = OVERLAY_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
        // SELinux labels belong to the place, not to the file.
        if name.is_empty() || ours || name == b"security.selinux" {
            continue;
        }
        value.resize(64 << 10, 0);
        let size = rustix::fs::lgetxattr(&from, name, &mut value[..])?;
        rustix::fs::lsetxattr(&to, name, &value[..size], XattrFlags::empty())?;
    }
    Ok(())
}

fn drop_attributes(folder: BorrowedFd<'_>) -> Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(folder, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    for name in names[..length].split(|&byte| byte == 0) {
        if !name.is_empty() && name != b"security.selinux" {
            rustix::fs::fremovexattr(folder, name)?;
        }
    }
    Ok(())
}

fn set_owner(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
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

fn set_owner_mode_times(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    set_owner(folder, name, stat)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(
            folder,
            name,
            Mode::from_raw_mode(stat.st_mode),
            AtFlags::empty(),
        )?;
    }
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.cast_signed(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}
