//! How large a tree is: by the lengths of its files, or by the blocks that it takes on the disk. A
//! file with several names is counted once.
//!
//! A container may run and move things meanwhile. Every directory is opened by its path from the
//! top, which may not leave it and follows no link, so the worst that can happen is a number that was
//! never quite true.

use std::{
    collections::{HashSet, VecDeque},
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat},
    io::{Errno, Result},
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Bytes of what is in the files below a directory.
pub fn lengths(top: &OwnedFd) -> Result<u64> {
    let of_file = |stat: &Stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 0,
        _ => u64::try_from(stat.st_size).unwrap_or(0),
    };
    measure(top, &of_file)
}

/// Bytes that a directory and everything below it take on the disk, as du(1) counts: what deleting
/// it frees, but for what the file system shares between files.
pub fn on_disk(top: &OwnedFd) -> Result<u64> {
    Ok(blocks(&rustix::fs::fstat(top)?).saturating_add(measure(top, &blocks)?))
}

/// Bytes that one file takes on the disk.
pub fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

fn measure(top: &OwnedFd, size: &dyn Fn(&Stat) -> u64) -> Result<u64> {
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
                    bytes = bytes.saturating_add(size(&stat));
                    let below = [path.to_bytes(), b"/", name.to_bytes()].concat();
                    folders.extend(CString::new(below).ok());
                }
                Ok(stat) if stat.st_nlink > 1 && !seen.insert(stat.st_ino) => {}
                Ok(stat) => {
                    bytes = bytes.saturating_add(size(&stat));
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(bytes)
}
