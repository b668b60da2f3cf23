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
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, ResolveFlags, Stat},
    io::{Errno, Result},
};

use super::{FOLDER, delete};
use crate::sys::file_copy::{
    Refused, copy_attributes, copy_content, entries, set_owner, set_owner_mode_times,
};

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
        copy_attributes((from, c"."), (to, c"."), Refused::Fails)?;
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
        copy_attributes((from, name), (to, name), Refused::Fails)?;
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
