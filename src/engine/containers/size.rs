//! How many bytes a container has written: the sum of its files' lengths, a file with several
//! names counted once, as Docker does.
//!
//! The container may run and move things meanwhile. Every directory is opened by its path from
//! the top, which may not leave it and follows no link, so the worst that can happen is a number
//! that was never quite true.

use std::{
    collections::{HashSet, VecDeque},
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags},
    io::Errno,
};

use crate::{
    model::{Context, Result},
    storage::ContainerDir,
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Whether the container's root file system is a copy of its layers, in `rootfs/`. It is made
/// before the first start.
pub(super) fn is_copy(directory: &ContainerDir) -> Result<bool> {
    match rustix::fs::statat(directory.fd(), "rootfs", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => {
            Err(errno).system(|| format!("cannot examine container {:?}", directory.id()))
        }
    }
}

/// Bytes below the container's folder `name`; none if it has no such folder.
pub(super) fn of_tree(directory: &ContainerDir, name: &str) -> Result<u64> {
    let what = || format!("cannot measure container {:?}", directory.id());
    match rustix::fs::openat(directory.fd(), name, FOLDER, Mode::empty()) {
        Ok(top) => measure(&top).system(what),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(errno).system(what),
    }
}

/// Bytes below an open folder, which errors call `name`.
pub(in crate::engine) fn of_folder(top: &OwnedFd, name: &str) -> Result<u64> {
    measure(top).system(|| format!("cannot measure {name}"))
}

fn measure(top: &OwnedFd) -> rustix::io::Result<u64> {
    let mut bytes = 0_u64;
    let mut seen = HashSet::new();
    let mut folders = VecDeque::from([CString::from(c".")]);
    while let Some(path) = folders.pop_front() {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let folder = match rustix::fs::openat2(top, &path, FOLDER, Mode::empty(), resolve) {
            Ok(folder) => folder,
            // Gone or changed meanwhile, or deeper than a path can say.
            Err(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::LOOP
                | Errno::XDEV
                | Errno::NAMETOOLONG
                | Errno::AGAIN,
            ) => continue,
            Err(errno) => return Err(errno),
        };
        let mut space = Vec::with_capacity(32 << 10);
        let mut reader = RawDir::new(&folder, space.spare_capacity_mut());
        while let Some(entry) = reader.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match rustix::fs::statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    let below = [path.to_bytes(), b"/", name.to_bytes()].concat();
                    folders.extend(CString::new(below).ok());
                }
                Ok(stat) if stat.st_nlink > 1 && !seen.insert(stat.st_ino) => {}
                Ok(stat) => {
                    bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(bytes)
}
