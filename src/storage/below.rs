//! What layers on top of each other show at a path, found without mounting them: the topmost layer
//! that has anything there decides, as for overlayfs.

use std::{
    collections::{BTreeMap, HashSet, btree_map::Entry},
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, ResolveFlags, Stat},
    io::{Errno, Result},
};

use super::{
    FOLDER, Store,
    copy::{is_opaque, is_whiteout},
};
use crate::{
    model::Digest,
    sys::{file_copy, in_root},
};

const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// The trees of the layers, topmost first.
#[derive(Debug)]
pub struct Below {
    trees: Vec<OwnedFd>,
}

/// Something in a layer.
#[derive(Debug)]
pub struct Found {
    /// The directory it is in, which its name is good for.
    pub folder: OwnedFd,
    pub name: CString,
    pub stat: Stat,
    /// In which of [`Below::trees`].
    pub layer: usize,
}

/// Something in a directory.
#[derive(Clone, Debug)]
pub struct Listed {
    pub name: CString,
    pub stat: Stat,
    /// In which of [`Below::trees`].
    pub layer: usize,
}

impl Store {
    /// What these layers (lowest first) show together.
    pub fn below(&self, chain_ids: &[Digest]) -> crate::model::Result<Below> {
        Ok(Below::new(self.layer_folders(chain_ids)?))
    }
}

impl Below {
    pub fn new(lowest_first: Vec<OwnedFd>) -> Below {
        let mut trees = lowest_first;
        trees.reverse();
        Below { trees }
    }

    /// With another layer's tree on top of all.
    pub fn with_top(&self, tree: BorrowedFd<'_>) -> std::io::Result<Below> {
        let own = self.trees.iter().map(AsFd::as_fd);
        let trees = std::iter::once(tree).chain(own);
        let cloned = trees.map(|tree| tree.try_clone_to_owned());
        Ok(Below {
            trees: cloned.collect::<std::io::Result<_>>()?,
        })
    }

    /// Topmost first.
    pub fn trees(&self) -> &[OwnedFd] {
        &self.trees
    }

    /// `path` without a slash at either end; empty is the root. `None` if nothing is seen there.
    pub fn find(&self, path: &[u8]) -> Result<Option<Found>> {
        let (parent, name) = split(path);
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        for (layer, tree) in self.trees.iter().enumerate() {
            let (folder, hidden) = match walk(tree, parent)? {
                Walk::Open { folder, hidden } => (folder, hidden),
                Walk::Missing { hidden: true } => return Ok(None),
                Walk::Missing { hidden: false } => continue,
            };
            match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_whiteout(&stat) => return Ok(None),
                Ok(stat) => {
                    return Ok(Some(Found {
                        folder,
                        name,
                        stat,
                        layer,
                    }));
                }
                Err(Errno::NOENT) if hidden => return Ok(None),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(None)
    }

    /// The names that are seen in a directory.
    pub fn names(&self, path: &[u8]) -> Result<Vec<CString>> {
        let listed = self.list(path)?;
        Ok(listed.into_iter().map(|entry| entry.name).collect())
    }

    /// What is seen in a directory, in the order of names.
    pub fn list(&self, path: &[u8]) -> Result<Vec<Listed>> {
        let mut seen: BTreeMap<CString, (Stat, usize)> = BTreeMap::new();
        for (layer, tree) in self.trees.iter().enumerate() {
            let (folder, hidden) = match walk(tree, path)? {
                Walk::Open { folder, hidden } => (folder, hidden),
                Walk::Missing { hidden: true } => break,
                Walk::Missing { hidden: false } => continue,
            };
            for name in file_copy::entries(folder.as_fd())? {
                if let Entry::Vacant(new) = seen.entry(name) {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    let stat = rustix::fs::statat(&folder, new.key(), flags)?;
                    new.insert((stat, layer));
                }
            }
            if hidden {
                break;
            }
        }
        let shown = seen.into_iter().filter(|(_, (stat, _))| !is_whiteout(stat));
        let listed = |(name, (stat, layer))| Listed { name, stat, layer };
        Ok(shown.map(listed).collect())
    }

    /// The regular file whose content a file without any refers to ("metadata only copy up"): the
    /// topmost that has a content of its own.
    pub fn content(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let (parent, name) = split(path);
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        for tree in &self.trees {
            if let Walk::Open { folder, .. } = walk(tree, parent)?
                && let Ok(Some((file, _))) = open_regular(folder.as_fd(), &name)
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}

enum Walk {
    /// Nothing below this layer is seen there if it is `hidden`.
    Open {
        folder: OwnedFd,
        hidden: bool,
    },
    Missing {
        hidden: bool,
    },
}

/// Opens a directory of one layer, noticing on the way whether it hides those below.
fn walk(tree: &OwnedFd, path: &[u8]) -> Result<Walk> {
    let mut folder = rustix::fs::openat(tree, c".", FOLDER, Mode::empty())?;
    let mut hidden = is_opaque(folder.as_fd());
    for name in path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
    {
        folder = match rustix::fs::openat2(&folder, name, FOLDER, Mode::empty(), INSIDE) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(Walk::Missing { hidden }),
            // A whiteout, or a file where a directory was.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Walk::Missing { hidden: true }),
            Err(errno) => return Err(errno),
        };
        hidden |= is_opaque(folder.as_fd());
    }
    Ok(Walk::Open { folder, hidden })
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None if path.is_empty() => (b"", b"."),
        None => (b"", path),
    }
}

/// Whether two entries are the same to whoever looks: Docker's comparison for a root that is a copy.
pub(super) fn same_content(ours: (&OwnedFd, &CStr, &Stat), theirs: &Found) -> Result<bool> {
    let (folder, name, stat) = ours;
    let below = &theirs.stat;
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok(match kind {
        FileType::Directory => true,
        FileType::Symlink => {
            rustix::fs::readlinkat(folder, name, Vec::new())?
                == rustix::fs::readlinkat(&theirs.folder, &theirs.name, Vec::new())?
        }
        FileType::RegularFile => {
            let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
            stat.st_size == below.st_size && time(stat) == time(below)
        }
        _ => stat.st_rdev == below.st_rdev,
    })
}

/// Without regard to their order.
pub(super) fn same_attributes(one: &[(Vec<u8>, Vec<u8>)], other: &[(Vec<u8>, Vec<u8>)]) -> bool {
    let one: HashSet<_> = one.iter().collect();
    one.len() == other.len() && other.iter().all(|attribute| one.contains(attribute))
}

/// As [`in_root::open_regular`].
pub(super) fn open_regular(folder: BorrowedFd<'_>, name: &CStr) -> Result<Option<(OwnedFd, Stat)>> {
    let opened = in_root::open_regular(folder, name);
    opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
