//! Where files are taken from: one way to look into a folder and into layers that lie on each other.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::{Errno, Result},
};

use crate::{build::ignore::Ignore, storage::Below, sys::file_copy};

/// Nothing on the way may be a symbolic link: those were resolved before.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
pub(super) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// As many as the kernel follows in one look-up, path_resolution(7).
const MOST_LINKS: usize = 40;

/// Where files are taken from. All look-ups stay inside, symbolic links too.
pub enum Tree<'a> {
    /// A folder of the host, without what its `.dockerignore` leaves out.
    Folder {
        root: BorrowedFd<'a>,
        ignore: Option<&'a Ignore>,
    },
    /// What layers show together.
    Layers(&'a Below),
}

/// What `.dockerignore` says of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ignored {
    No,
    AllBelow,
    /// A later pattern with `!` may be about something below.
    ButPerhapsBelow,
}

/// Something in a tree.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// In which of the tree's parts, for [`open`].
    pub part: usize,
    pub stat: Stat,
}

/// Something in a directory of a tree.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: Vec<u8>,
    pub seen: Seen,
}

impl Seen {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Tree<'_> {
    /// Directories in which the files lie.
    pub(super) fn parts(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Tree::Folder { root, .. } => vec![*root],
            Tree::Layers(below) => below.trees().iter().map(AsFd::as_fd).collect(),
        }
    }

    /// What is at a path (without slashes at its ends; empty: the root), links not followed.
    pub(super) fn look(&self, path: &[u8]) -> Result<Option<Seen>> {
        match self {
            Tree::Layers(below) => Ok(below.find(path)?.map(|found| Seen {
                part: found.layer,
                stat: found.stat,
            })),
            Tree::Folder { root, .. } => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let place = match open(*root, path, flags) {
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                    other => other?,
                };
                let stat = rustix::fs::fstat(&place)?;
                let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                let is_here = match self.ignored(path) {
                    Ignored::No => true,
                    Ignored::AllBelow => false,
                    Ignored::ButPerhapsBelow => is_folder,
                };
                Ok(is_here.then_some(Seen { part: 0, stat }))
            }
        }
    }

    /// What is in a directory, in the order of names.
    pub(super) fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        let root = match self {
            Tree::Folder { root, .. } => *root,
            Tree::Layers(below) => {
                let entry = |listed: crate::storage::Listed| Entry {
                    name: listed.name.into_bytes(),
                    seen: Seen {
                        part: listed.layer,
                        stat: listed.stat,
                    },
                };
                return Ok(below.list(path)?.into_iter().map(entry).collect());
            }
        };
        let folder = open(root, path, FOLDER)?;
        let mut names = file_copy::entries(folder.as_fd())?;
        names.sort_unstable();
        let mut entries = Vec::with_capacity(names.len());
        let mut full = path.to_vec();
        for name in names {
            full.truncate(path.len());
            if !path.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(name.to_bytes());
            let ignored = self.ignored(&full);
            // It is not even looked at.
            if ignored == Ignored::AllBelow {
                continue;
            }
            let stat = match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // Removed meanwhile.
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_folder || ignored == Ignored::No {
                let name = name.into_bytes();
                let seen = Seen { part: 0, stat };
                entries.push(Entry { name, seen });
            }
        }
        Ok(entries)
    }

    /// Whether a directory is here only for what may be below it.
    pub(super) fn is_only_way(&self, path: &[u8]) -> bool {
        self.ignored(path) != Ignored::No
    }

    fn ignored(&self, path: &[u8]) -> Ignored {
        let Tree::Folder {
            ignore: Some(ignore),
            ..
        } = self
        else {
            return Ignored::No;
        };
        let path = String::from_utf8_lossy(path);
        if path.is_empty() || !ignore.excludes(&path) {
            return Ignored::No;
        }
        match ignore.excludes_all_below(&path) {
            true => Ignored::AllBelow,
            false => Ignored::ButPerhapsBelow,
        }
    }

    pub(super) fn read_link(&self, path: &[u8], part: usize) -> Result<Vec<u8>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parts = self.parts();
        let link = open(*parts.get(part).ok_or(Errno::INVAL)?, path, flags)?;
        Ok(rustix::fs::readlinkat(&link, c"", Vec::new())?.into_bytes())
    }

    /// The path with all its links resolved, the last one too, and what is there. What is not there
    /// has no links; a `..` behind it takes a name away, as text.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<(Vec<u8>, Option<Seen>)> {
        let mut left: Vec<Vec<u8>> = names(path).rev().map(<[u8]>::to_vec).collect();
        let mut done: Vec<u8> = Vec::new();
        let mut seen = self.look(b"")?;
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == b".." {
                let end = done.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                done.truncate(end);
                seen = self.look(&done)?;
                continue;
            }
            let before = done.len();
            join(&mut done, &name);
            seen = match seen {
                None => None,
                Some(here) if here.kind() != FileType::Directory => return Err(Errno::NOTDIR),
                Some(_) => self.look(&done)?,
            };
            if let Some(link) = &seen
                && link.kind() == FileType::Symlink
            {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = self.read_link(&done, link.part)?;
                match target.first() {
                    Some(b'/') => done.clear(),
                    _ => done.truncate(before),
                }
                left.extend(names(&target).rev().map(<[u8]>::to_vec));
                seen = self.look(&done)?;
            }
        }
        Ok((done, seen))
    }
}

/// Opens something in one part of a tree, by a path without links.
pub(super) fn open(part: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let path = match path {
        [] => b".",
        path => path,
    };
    let flags = flags | OFlags::CLOEXEC;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match rustix::fs::openat2(part, path, flags, Mode::empty(), INSIDE) {
            // Something was renamed somewhere; the kernel asks to repeat.
            Err(Errno::AGAIN | Errno::INTR) if attempts < 128 => {}
            other => return other,
        }
    }
}

/// Of a path, without empty ones and `.`.
pub(super) fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}

pub(super) fn join(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Directory and last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
