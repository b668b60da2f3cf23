//! The files of a result in a folder of the host, as `--output type=local` has them: all of them belong
//! to the caller, with their modes and times. What an ordinary user cannot make (devices) is left out.
//!
//! What the layers hold is hostile, and the folder may have anything in it: both sides go by descriptors
//! and one name at a time, no symbolic link is followed, and what is there and is no directory gives way
//! to what comes.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::{Errno, Result},
};

use crate::{
    storage::{Below, Listed, delete},
    sys::{file_copy, in_root},
};

/// Deeper trees need more descriptors than a process may have.
const DEEPEST: usize = 500;
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

pub struct Copy<'a> {
    pub layers: &'a Below,
    /// What is there and not in the result goes.
    pub delete: bool,
    /// Where the first of a file's names was written: by layer and inode.
    pub links: HashMap<(usize, u64), (OwnedFd, CString)>,
    /// Regular files, bytes.
    pub bytes: u64,
    pub left_out: u64,
}

impl Copy<'_> {
    /// Everything below `path` (without slashes at its ends) into `target`.
    pub fn folder(&mut self, path: &[u8], target: BorrowedFd<'_>, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        let listed = self.layers.list(path)?;
        if self.delete {
            remove_others(target, &listed)?;
        }
        for entry in listed {
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(entry.name.to_bytes());
            self.entry(&below, &entry, target, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &[u8],
        entry: &Listed,
        target: BorrowedFd<'_>,
        depth: usize,
    ) -> Result<()> {
        let (name, stat) = (&entry.name, &entry.stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let folder = make_folder(target, name)?;
                self.folder(path, folder.as_fd(), depth + 1)?;
                // Its owner is who made it, so modes come last and times behind them.
                finish(target, name, stat)
            }
            FileType::RegularFile => self.file(path, entry, target),
            FileType::Symlink => {
                let Some(found) = self.layers.find(path)? else {
                    return Ok(());
                };
                let link = rustix::fs::readlinkat(&found.folder, &found.name, Vec::new())?;
                make_room(target, name)?;
                rustix::fs::symlinkat(&*link, target, name)?;
                rustix::fs::utimensat(
                    target,
                    name,
                    &file_copy::times(stat),
                    AtFlags::SYMLINK_NOFOLLOW,
                )
            }
            FileType::Fifo => {
                make_room(target, name)?;
                rustix::fs::mknodat(target, name, FileType::Fifo, Mode::from(0o600), 0)?;
                finish(target, name, stat)
            }
            _ => {
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn file(&mut self, path: &[u8], entry: &Listed, target: BorrowedFd<'_>) -> Result<()> {
        let (name, stat) = (&entry.name, &entry.stat);
        let key = (entry.layer, stat.st_ino);
        make_room(target, name)?;
        if stat.st_nlink > 1
            && let Some((folder, first)) = self.links.get(&key)
        {
            return rustix::fs::linkat(folder, first, target, name, AtFlags::empty());
        }
        let Some(source) = self.layers.content(path)? else {
            self.left_out += 1;
            return Ok(());
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(target, name, flags, Mode::from(0o600))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        file_copy::copy_bytes(&source, &file, size)?;
        self.bytes += size;
        if stat.st_nlink > 1 {
            let folder = rustix::io::fcntl_dupfd_cloexec(target, 0)?;
            // Descriptors would run out: of more than these each name becomes a file.
            if self.links.len() < 256 {
                self.links.insert(key, (folder, name.clone()));
            }
        }
        finish(target, name, stat)
    }
}

/// Modes without set-user-ID: these are files of the caller now, and not programs of the image's root.
fn finish(target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let place = rustix::fs::openat(
        target,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o1777);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
    rustix::fs::chmod(path.as_str(), mode)?;
    rustix::fs::utimensat(
        target,
        name,
        &file_copy::times(stat),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

fn make_folder(target: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(target, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                rustix::fs::unlinkat(target, name, AtFlags::empty())?;
                rustix::fs::mkdirat(target, name, Mode::RWXU)?;
            }
        }
        Err(errno) => return Err(errno),
    }
    rustix::fs::openat(target, name, FOLDER, Mode::empty())
}

/// A file gives way; a directory with something in it does not.
fn make_room(target: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    match rustix::fs::unlinkat(target, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(target, name, AtFlags::REMOVEDIR),
        Err(errno) => Err(errno),
    }
}

fn remove_others(target: BorrowedFd<'_>, listed: &[Listed]) -> Result<()> {
    let kept: HashSet<&CStr> = listed.iter().map(|entry| entry.name.as_c_str()).collect();
    for name in file_copy::entries(target)? {
        if !kept.contains(name.as_c_str()) {
            let text = name.to_str().map_err(|_| Errno::ILSEQ)?;
            delete::remove_tree(target, text).map_err(|_| Errno::BUSY)?;
        }
    }
    Ok(())
}

/// The folder that was named, made with its parents; its own links are the caller's and followed.
pub fn open_target(path: &std::path::Path) -> std::io::Result<OwnedFd> {
    std::fs::create_dir_all(path)?;
    let name = in_root::c_string(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(name, flags, Mode::empty())?)
}
