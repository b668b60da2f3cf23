//! Moves a staged tree over another: a directory onto a directory keeps what is there and gets the
//! staged one's owner, mode and times; everything else replaces what has its name. One rename for all
//! that is new, so nothing appears half-written.
//!
//! The target may be in use by containers: every directory of it is held by a descriptor, and no
//! symlink in it is followed.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, RenameFlags},
    io::{Errno, Result},
};

use super::FOLDER;
use crate::sys::{
    file_copy::{self, Refused, copy_attributes, set_owner, set_owner_mode_times},
    tree_removal,
};

/// Deeper trees need more descriptors than a process may have.
const DEEPEST: usize = 400;

/// Moves everything in `from` to `to`. Killed in between, both have a part of it.
pub fn merge(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    folder(from.as_fd(), to.as_fd(), 0)
}

fn folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    // Before anything is moved out of it, which changes its time.
    let stat = rustix::fs::fstat(from)?;
    for name in file_copy::entries(from)? {
        entry(from, to, &name, depth)?;
    }
    set_owner(to, c".", &stat)?;
    copy_attributes((from, c"."), (to, c"."), Refused::IsLeftOut)?;
    set_owner_mode_times(to, c".", &stat)
}

fn entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    // Somebody may be making and removing things of this name all the time.
    for _ in 0..64 {
        match rustix::fs::renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            outcome => return outcome,
        }
        if is_folder(from, name)?
            && let Ok(there) = rustix::fs::openat(to, name, FOLDER, Mode::empty())
        {
            let staged = rustix::fs::openat(from, name, FOLDER, Mode::empty())?;
            return folder(staged.as_fd(), there.as_fd(), depth + 1);
        }
        match tree_removal::remove(to, name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::BUSY)
}

fn is_folder(folder: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
