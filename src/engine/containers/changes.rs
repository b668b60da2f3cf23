//! What a container has changed of its image's files: `diff`.
//!
//! Two views are walked side by side, the layers alone and the container's root, each folder by a
//! held descriptor. Where the changes lie in an overlay's upper folder only names that are in it are
//! looked at, so that the time is that of the changes and not of the image; an opaque or moved folder
//! in it, and a root that is a copy, are compared whole.
//!
//! As Docker has it: what is in the upper folder counts as changed, whatever is different about it; a
//! folder that was removed is one line; one in which something changed is a line before it; places
//! for mounts count as added, but those that every container has do not.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::root_view::{RootView, Scope, inside};
use crate::{
    engine::{Engine, sandbox::view},
    model::{
        Context, Digest, Error, ErrorKind, Result,
        container::{ContainerRecord, RootRequest},
        user_namespace::IdMaps,
    },
    storage::{
        ContainerDir, Lease,
        copy::{Content, apply_layers},
    },
    sys::{file_copy, in_root},
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
/// Each level holds three descriptors.
const DEEPEST: usize = 300;
/// Made by every start, and nothing of the container's own.
const OURS: [&[u8]; 6] = [
    b"/dev",
    b"/proc",
    b"/sys",
    b"/etc/hosts",
    b"/etc/hostname",
    b"/etc/resolv.conf",
];

/// What has become of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Changed,
    Added,
    Deleted,
}

/// One path that differs, absolute as the container has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    pub path: Vec<u8>,
}

impl Engine {
    /// What a container has changed, in the order of the paths, a folder before what is in it.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchContainer`]; [`ErrorKind::Unsupported`] for one whose root is a folder of
    /// the user's.
    pub fn diff(&self, container: &str) -> Result<Vec<Change>> {
        let (directory, record) = self.store.find_container(container)?;
        let (_, changes) = self.changes(&directory, &record)?;
        Ok(changes)
    }

    /// The same with the view in which what was added and changed can be read.
    pub(in crate::engine) fn changes(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
    ) -> Result<(RootView, Vec<Change>)> {
        let what = || format!("cannot compare container {} with its image", record.name);
        if let RootRequest::Directory { overlay: false, .. } | RootRequest::Bundle { .. } =
            record.spec.root
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "container {} writes into a folder of yours: there is nothing to compare it with",
                    record.name
                ),
            ));
        }
        let view = self.root_view(directory, record, Scope::RootAlone)?;
        let lease = self.store.lease()?;
        let layers = self.layers_alone(record, &lease)?;
        let open = |root: BorrowedFd<'_>| in_root::open(root, c"/", FOLDER).system(what);
        let upper = match directory.has_copied_root()? {
            true => None,
            false => {
                let upper = rustix::fs::openat(directory.fd(), "upper", FOLDER, Mode::empty());
                Some(upper.system(what)?)
            }
        };
        let mut walk = Walk {
            owners: view.owners(),
            path: Vec::new(),
            depth: 0,
            changes: Vec::new(),
        };
        let folders = Folders {
            upper,
            old: Some(open(layers.as_fd())?),
            new: open(view.root())?,
        };
        walk.folder(&folders).system(what)?;
        let changes = walk.changes;
        Ok((view, changes))
    }

    /// The image's files as one read-only tree: stacked, or where the kernel refuses that, as a copy
    /// without content.
    fn layers_alone(&self, record: &ContainerRecord, lease: &Lease<'_>) -> Result<OwnedFd> {
        if let RootRequest::Directory { path, .. } = &record.spec.root {
            return rustix::fs::open(path, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())
                .system(|| format!("cannot open {}", path.display()));
        }
        self.layers_view(&record.layers, lease, "layers")
    }

    /// Layers (lowest first) as one read-only tree that is mounted nowhere: stacked, or where the
    /// kernel refuses that, as a copy without content, which gets this name in the lease.
    pub(in crate::engine) fn layers_view(
        &self,
        layers: &[Digest],
        lease: &Lease<'_>,
        copy: &str,
    ) -> Result<OwnedFd> {
        let what = || "cannot look at the layers".to_owned();
        let lowers = self.store.overlay_lowers(layers);
        if let [only] = &lowers[..] {
            return rustix::fs::open(only, FOLDER, Mode::empty()).system(what);
        }
        let user_xattr = !self.user.is_real_root();
        match view::stack(&lowers, user_xattr) {
            Err(error) if error.kind() == ErrorKind::OverlayRefused => {}
            other => return other,
        }
        let open = |path: &std::path::PathBuf| rustix::fs::open(path, FOLDER, Mode::empty());
        let trees: Vec<OwnedFd> = lowers
            .iter()
            .rev()
            .map(open)
            .collect::<rustix::io::Result<_>>()
            .system(what)?;
        rustix::fs::mkdirat(lease.dir(), copy, Mode::RWXU).system(what)?;
        let top = || rustix::fs::openat(lease.dir(), copy, FOLDER, Mode::empty());
        let content = Content::Referred { user_xattr };
        apply_layers(&trees, &top().system(what)?, None, content).system(what)?;
        top().system(what)
    }
}

/// What `new` has otherwise than `old`, both compared whole.
pub(in crate::engine) fn compare(
    old: Option<&OwnedFd>,
    new: &OwnedFd,
) -> std::io::Result<Vec<Change>> {
    let open = |root: &OwnedFd| in_root::open(root.as_fd(), c"/", FOLDER);
    let mut walk = Walk {
        owners: None,
        path: Vec::new(),
        depth: 0,
        changes: Vec::new(),
    };
    walk.folder(&Folders {
        upper: None,
        old: old.map(open).transpose()?,
        new: open(new)?,
    })?;
    Ok(walk.changes)
}

/// One folder in all that have it.
struct Folders {
    /// Where the changes lie; `None` if they have to be looked for.
    upper: Option<OwnedFd>,
    old: Option<OwnedFd>,
    new: OwnedFd,
}

struct Walk<'a> {
    /// Of the new files; the old ones are owned as the container has them.
    owners: Option<&'a IdMaps>,
    path: Vec<u8>,
    depth: usize,
    changes: Vec<Change>,
}

impl Walk<'_> {
    /// Whether something of ours was made in it.
    fn folder(&mut self, folders: &Folders) -> rustix::io::Result<bool> {
        if self.depth > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        let mut names = BTreeSet::new();
        match &folders.upper {
            Some(upper) => names.extend(file_copy::entries(upper.as_fd())?),
            None => {
                names.extend(file_copy::entries(folders.new.as_fd())?);
                if let Some(old) = &folders.old {
                    names.extend(file_copy::entries(old.as_fd())?);
                }
            }
        }
        let mut has_ours = false;
        for name in names {
            let length = self.path.len();
            self.path.push(b'/');
            self.path.extend_from_slice(name.to_bytes());
            self.depth += 1;
            let outcome = self.entry(folders, &name);
            self.depth -= 1;
            self.path.truncate(length);
            has_ours |= outcome?;
        }
        Ok(has_ours)
    }

    fn entry(&mut self, folders: &Folders, name: &CString) -> rustix::io::Result<bool> {
        let old = match &folders.old {
            Some(old) => stat(old, name)?,
            None => None,
        };
        let Some(new) = stat(&folders.new, name)? else {
            if old.is_some() {
                self.note(self.changes.len(), ChangeKind::Deleted);
            }
            return Ok(false);
        };
        if old.is_none() && OURS.contains(&&self.path[..]) && is_placeholder(folders, name, &new)? {
            return Ok(true);
        }
        let at = self.changes.len();
        let Some(old) = old else {
            self.note(at, ChangeKind::Added);
            if is_folder(&new) {
                let below = open(&folders.new, name)?;
                self.below(None, None, below)?;
            }
            return Ok(false);
        };
        if !is_folder(&old) || !is_folder(&new) {
            if folders.upper.is_some() || self.differ(&old, &new) {
                self.note(at, ChangeKind::Changed);
            }
            if is_folder(&new) {
                let below = open(&folders.new, name)?;
                self.below(None, None, below)?;
            }
            return Ok(false);
        }
        let upper = match &folders.upper {
            Some(upper) => open(upper, name)?.filter(|upper| !hides_or_moves(upper)),
            None => None,
        };
        let old_folder = folders.old.as_ref().map(|folder| open(folder, name));
        let old_folder = old_folder.transpose()?.flatten();
        let has_ours = self.below(upper, old_folder, open(&folders.new, name)?)?;
        let differs = match has_ours {
            true => self.is_other(&old, &new),
            false => self.differ(&old, &new),
        };
        if differs || self.changes.len() > at {
            self.note(at, ChangeKind::Changed);
        }
        Ok(false)
    }

    /// Into a folder, unless it has gone meanwhile.
    fn below(
        &mut self,
        upper: Option<OwnedFd>,
        old: Option<OwnedFd>,
        new: Option<OwnedFd>,
    ) -> rustix::io::Result<bool> {
        match new {
            Some(new) => self.folder(&Folders { upper, old, new }),
            None => Ok(false),
        }
    }

    fn note(&mut self, at: usize, kind: ChangeKind) {
        let path = self.path.clone();
        self.changes.insert(at, Change { kind, path });
    }

    fn differ(&self, old: &Stat, new: &Stat) -> bool {
        let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
        self.is_other(old, new)
            || time(old) != time(new)
            || !is_folder(old) && (old.st_size != new.st_size || old.st_rdev != new.st_rdev)
    }

    fn is_other(&self, old: &Stat, new: &Stat) -> bool {
        let owner = inside(self.owners, new);
        let before = match self.owners {
            None => (old.st_uid, old.st_gid),
            // Ids that the container does not have.
            Some(ids) => (
                ids.outside_uid(old.st_uid).map_or(owner.0, |_| old.st_uid),
                ids.outside_gid(old.st_gid).map_or(owner.1, |_| old.st_gid),
            ),
        };
        old.st_mode != new.st_mode || before != owner
    }
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// An empty file or folder.
fn is_placeholder(folders: &Folders, name: &CStr, stat: &Stat) -> rustix::io::Result<bool> {
    if !is_folder(stat) {
        return Ok(stat.st_size == 0);
    }
    match open(&folders.new, name)? {
        Some(folder) => Ok(file_copy::entries(folder.as_fd())?.is_empty()),
        None => Ok(true),
    }
}

/// Whether a folder of the upper layer does not simply lie on the one of the same name: opaque, or
/// renamed.
fn hides_or_moves(upper: &OwnedFd) -> bool {
    ["opaque", "redirect"].iter().any(|what| {
        ["trusted", "user"].iter().any(|space| {
            let name = format!("{space}.overlay.{what}");
            let mut value = [0_u8; 8];
            match rustix::fs::fgetxattr(upper, name, &mut value[..]) {
                Ok(length) => length > 0,
                Err(errno) => errno == Errno::RANGE,
            }
        })
    })
}

fn stat(folder: &OwnedFd, name: &CStr) -> rustix::io::Result<Option<Stat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn open(folder: &OwnedFd, name: &CStr) -> rustix::io::Result<Option<OwnedFd>> {
    match rustix::fs::openat(folder, name, FOLDER, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}
