//! Finding what a path means, on either side, and holding it: what was looked at is what is read or
//! written later, whoever renames things meanwhile.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::rules::{self, Found};
use crate::sys::in_root;

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;
const READABLE: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Where paths are looked up.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    /// The caller's own tree.
    Local,
    /// Below the root of a container.
    Container(BorrowedFd<'a>),
}

impl Side<'_> {
    fn folder(self, path: &[u8]) -> io::Result<OwnedFd> {
        let path = in_root::c_string(std::ffi::OsStr::from_bytes(path))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self {
            Side::Local => {
                let flags = flags | OFlags::CLOEXEC;
                Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
            }
            Side::Container(root) => {
                let folder = in_root::open(root, &path, flags)?;
                in_root::refuse_kernel_file_systems(&folder)?;
                Ok(folder)
            }
        }
    }
}

/// An entry of a folder that is held; there need not be one.
pub(super) struct Place {
    folder: OwnedFd,
    /// `.` is the folder itself.
    name: CString,
    stat: Option<Stat>,
    contained: bool,
    /// As it was given, but for links that were followed at its end.
    pub path: Vec<u8>,
}

/// Finds a path. A link at its end is followed if that is asked for or the path says that it is a
/// folder's. That nothing is there is an answer, that its folder is not an error.
pub(super) fn find(side: Side<'_>, path: &[u8], follow: bool) -> io::Result<Place> {
    let contained = matches!(side, Side::Container(_));
    let mut path = path.to_vec();
    for _ in 0..MOST_LINKS {
        if rules::says_content(&path) {
            let folder = side.folder(if path.is_empty() { b"." } else { &path })?;
            let stat = rustix::fs::fstat(&folder)?;
            return Ok(Place {
                folder,
                name: c".".to_owned(),
                stat: Some(stat),
                contained,
                path,
            });
        }
        let name = rules::name_of(&path).to_vec();
        let above = above(&path);
        let folder = side.folder(&above)?;
        let name = in_root::c_string(std::ffi::OsStr::from_bytes(&name))?;
        let stat = match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let is_link = stat.is_some_and(|stat| kind(&stat) == FileType::Symlink);
        if !is_link || !(follow || rules::says_folder(&path)) {
            return Ok(Place {
                folder,
                name,
                stat,
                contained,
                path,
            });
        }
        let target = rustix::fs::readlinkat(&folder, &name, Vec::new())?;
        let slash = path.ends_with(b"/");
        path = match target.as_bytes().first() {
            Some(b'/') => target.as_bytes().to_vec(),
            _ => [&above, &b"/"[..], target.as_bytes()].concat(),
        };
        if slash {
            path.push(b'/');
        }
    }
    Err(Errno::LOOP.into())
}

/// The path of the folder that the last name is in.
fn above(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|&byte| byte != b'/').unwrap_or(0);
    match path[..=end].iter().rposition(|&byte| byte == b'/') {
        Some(0) => b"/".to_vec(),
        Some(slash) => path[..slash].to_vec(),
        None => b".".to_vec(),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

impl Place {
    pub(super) fn found(&self) -> Found {
        match self.stat.as_ref().map(kind) {
            None => Found::Nothing,
            Some(FileType::Directory) => Found::Folder,
            Some(FileType::RegularFile | FileType::Symlink) => Found::File,
            Some(_) => Found::Other,
        }
    }

    pub(super) fn stat(&self) -> Option<&Stat> {
        self.stat.as_ref()
    }

    /// The folder that it is in, and its name there.
    pub(super) fn entry(&self) -> (BorrowedFd<'_>, &CString) {
        (self.folder.as_fd(), &self.name)
    }

    /// The folder that it is, for reading what is in it.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let opened = rustix::fs::openat(&self.folder, &self.name, READABLE, Mode::empty())?;
        if self.contained {
            in_root::refuse_kernel_file_systems(&opened)?;
        }
        Ok(opened)
    }

    /// Where a copy is put: into the folder that it is, or else into the folder that it is in.
    pub(super) fn hold(&self, itself: bool) -> io::Result<OwnedFd> {
        let name = if itself { &*self.name } else { c"." };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::openat(&self.folder, name, flags, Mode::empty())?;
        if self.contained {
            in_root::refuse_kernel_file_systems(&held)?;
        }
        Ok(held)
    }
}
