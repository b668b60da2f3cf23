//! Copies an unpacked layer over a tree, doing by hand what overlayfs does when it looks: a
//! whiteout (character device 0/0) hides what is below, an opaque directory hides all of it.
//!
//! Data is shared by reflink where the file system can (btrfs, xfs), else copied in the kernel,
//! holes left out. Modes, owners, times, extended attributes and hard links come along.
//!
//! A copy may have other owners ([`Owners`]), for a container with ids of its own, and it may leave
//! the content where it is ([`Content::Referred`]).
//!
//! Neither tree is reachable by any container, so nobody moves things meanwhile; nevertheless
//! everything goes by descriptor and no symlink is followed.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags},
    io::{Errno, Result},
};

use super::{FOLDER, delete};
use crate::{
    model::{host::IdRange, user_namespace::IdMaps},
    sys::file_copy::{OVERLAY_PREFIXES, copy_content, entries, set_mode_times, times},
};

const OPAQUE: [&CStr; 2] = [c"trusted.overlay.opaque", c"user.overlay.opaque"];
const CAPABILITY_REVISION: u32 = 0xff00_0000;
/// Who owns what belongs to nobody known, user_namespaces(7).
const NOBODY: u32 = 65534;
/// The kernel looks for no longer path.
const LONGEST_REFERENCE: usize = 4095;
/// Deeper than PATH_MAX allows to address.
const DEEPEST: usize = 2100;

/// Applies the layer in `tree` to the directory `target`, including `tree`'s own mode, owner,
/// times and attributes.
pub fn apply_layer(tree: &OwnedFd, target: &OwnedFd) -> Result<()> {
    Copy::new(target, None, Content::Copied).layer(tree)
}

/// Applies the layers in `trees` (lowest first) to the empty directory `target`.
pub fn apply_layers(
    trees: &[OwnedFd],
    target: &OwnedFd,
    owners: Option<&Owners>,
    content: Content,
) -> Result<()> {
    let mut copy = Copy::new(target, owners, content);
    for tree in trees {
        copy.layer(tree)?;
    }
    copy.settle_references()
}

/// What becomes of the content of regular files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Copied,
    /// A file is as long as its original, without a byte of it, and names the path at which
    /// overlayfs finds that ("metadata only copy up", "data-only lower layers" in its documentation).
    Referred {
        /// In `user.overlay.*` instead of `trusted.overlay.*`.
        user_xattr: bool,
    },
}

/// The owners of a copy: those that a container's maps give.
#[derive(Debug)]
pub struct Owners<'a> {
    ids: &'a IdMaps,
    /// For ids that the container does not have: shown as nobody's there.
    others: (u32, u32),
}

impl<'a> Owners<'a> {
    pub fn new(ids: &'a IdMaps) -> Self {
        let root = ids.root();
        let others = (
            unmapped(&ids.uids).unwrap_or(root.0),
            unmapped(&ids.gids).unwrap_or(root.1),
        );
        Owners { ids, others }
    }

    pub fn of(&self, uid: u32, gid: u32) -> (u32, u32) {
        (
            self.ids.outside_uid(uid).unwrap_or(self.others.0),
            self.ids.outside_gid(gid).unwrap_or(self.others.1),
        )
    }

    /// The owner as the container sees it, nobody for one that it does not have.
    pub fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        (
            self.ids.inside_uid(uid).unwrap_or(NOBODY),
            self.ids.inside_gid(gid).unwrap_or(NOBODY),
        )
    }

    /// A file capability of the container's, as the engine's own.
    pub fn inside_capability(&self, value: &[u8]) -> Option<Vec<u8>> {
        let magic = u32::from_le_bytes(*value.first_chunk()?);
        let root = match (magic & CAPABILITY_REVISION, value.len()) {
            (0x0200_0000, 20) => return Some(value.to_vec()),
            (0x0300_0000, 24) => u32::from_le_bytes(*value.last_chunk()?),
            _ => return None,
        };
        if self.ids.inside_uid(root) != Some(0) {
            return None;
        }
        let mut plain = (magic & !CAPABILITY_REVISION | 0x0200_0000)
            .to_le_bytes()
            .to_vec();
        plain.extend_from_slice(&value[4..20]);
        Some(plain)
    }

    /// File capabilities hold for the user namespace whose root is named with them
    /// (capabilities(7), "VFS_CAP_REVISION_3"); those without a name are of the engine's.
    fn capability(&self, value: &[u8]) -> Option<Vec<u8>> {
        let magic = u32::from_le_bytes(*value.first_chunk()?);
        let root = match (magic & CAPABILITY_REVISION, value.len()) {
            (0x0200_0000, 20) => 0,
            (0x0300_0000, 24) => u32::from_le_bytes(*value.last_chunk()?),
            _ => return None,
        };
        let mut shifted = (magic & !CAPABILITY_REVISION | 0x0300_0000)
            .to_le_bytes()
            .to_vec();
        shifted.extend_from_slice(&value[4..20]);
        shifted.extend_from_slice(&self.ids.outside_uid(root)?.to_le_bytes());
        Some(shifted)
    }
}

/// The lowest outside id that is nobody's in the container; `None` if there is none below the
/// highest that is.
fn unmapped(map: &[IdRange]) -> Option<u32> {
    let mut ranges: Vec<(u32, u32)> = map
        .iter()
        .map(|range| (range.outside, range.outside.saturating_add(range.count)))
        .collect();
    ranges.sort_unstable();
    let mut free = 0;
    for (begin, end) in ranges {
        if free < begin {
            return Some(free);
        }
        free = end;
    }
    None
}

struct Copy<'a> {
    top: BorrowedFd<'a>,
    owners: Option<&'a Owners<'a>>,
    content: Content,
    /// The first copy of every file with several links, by its inode in the layer.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Files with several links whose content is elsewhere: their inode and all their names.
    referring: HashMap<u64, Vec<Vec<u8>>>,
    /// Names from the top to the current directory.
    way: Vec<CString>,
    /// For names and values of attributes.
    names: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Copy<'a> {
    fn new(target: &'a OwnedFd, owners: Option<&'a Owners<'a>>, content: Content) -> Self {
        Copy {
            top: target.as_fd(),
            owners,
            content,
            links: HashMap::new(),
            referring: HashMap::new(),
            way: Vec::new(),
            names: vec![0; 64 << 10],
            value: vec![0; 64 << 10],
        }
    }

    fn layer(&mut self, tree: &OwnedFd) -> Result<()> {
        // Inodes are a layer's own.
        self.links.clear();
        self.folder(tree.as_fd(), self.top)
    }

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
        self.copy_attributes((from, c"."), (to, c"."))?;
        self.set_owner_mode_times(to, c".", &stat)
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
        let refers = matches!(self.content, Content::Referred { .. })
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_size > 0;
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode) {
                self.link(first, to, name)?;
                if refers {
                    self.note_reference(to, name)?;
                }
                return Ok(());
            }
            self.links.insert(inode, self.path_of(name));
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if refers => match self.refer(from, to, name, stat) {
                // No room for so long a path among its attributes: then the content is copied.
                Err(Errno::NOSPC | Errno::TOOBIG | Errno::RANGE | Errno::NAMETOOLONG) => {
                    delete_entry(to, name)?;
                    copy_content(from, to, name, stat)?;
                }
                outcome => return outcome,
            },
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
        self.set_owner(to, name, stat)?;
        self.copy_attributes((from, name), (to, name))?;
        self.set_owner_mode_times(to, name, stat)
    }

    /// A file without content that names its own path as the place to find it. That is right
    /// whatever lies above: if any higher layer had the path, it would be seen instead.
    fn refer(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<()> {
        let file = create(to, name)?;
        rustix::fs::ftruncate(&file, stat.st_size.cast_unsigned())?;
        let (uid, gid) = self.owner(stat);
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(uid),
            rustix::fs::Gid::from_raw(gid),
        );
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        let (mark, _) = self.reference_names();
        rustix::fs::fsetxattr(&file, mark, b"", XattrFlags::empty())?;
        self.set_reference(&file, &self.path_of(name))?;
        self.copy_attributes((from, name), (to, name))?;
        if stat.st_nlink > 1 {
            self.note_reference(to, name)?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode))?;
        rustix::fs::futimens(&file, &times(stat))
    }

    fn reference_names(&self) -> (&'static CStr, &'static CStr) {
        match self.content {
            Content::Referred { user_xattr: true } => {
                (c"user.overlay.metacopy", c"user.overlay.redirect")
            }
            _ => (c"trusted.overlay.metacopy", c"trusted.overlay.redirect"),
        }
    }

    fn set_reference(&self, file: &OwnedFd, path: &[u8]) -> Result<()> {
        let path = [b"/", path].concat();
        if path.len() > LONGEST_REFERENCE {
            return Err(Errno::NAMETOOLONG);
        }
        rustix::fs::fsetxattr(file, self.reference_names().1, &path, XattrFlags::empty())
    }

    fn note_reference(&mut self, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let inode = rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
        let path = self.path_of(name);
        self.referring.entry(inode).or_default().push(path);
        Ok(())
    }

    /// A file with several links names the first; if a higher layer has put something else there,
    /// it has to name one that is still its own.
    fn settle_references(&self) -> Result<()> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        for (inode, names) in &self.referring {
            for name in names {
                let opened =
                    rustix::fs::openat2(self.top, &name[..], flags, Mode::empty(), resolve);
                let Ok(file) = opened else { continue };
                let marked =
                    rustix::fs::fgetxattr(&file, self.reference_names().0, &mut [0_u8; 0]).is_ok();
                if marked && rustix::fs::fstat(&file)?.st_ino == *inode {
                    self.set_reference(&file, name)?;
                    break;
                }
            }
        }
        Ok(())
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

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn is_opaque(folder: BorrowedFd<'_>) -> bool {
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

fn create(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::from(0o600))
}

impl Copy<'_> {
    /// Copies extended attributes, also of symlinks and devices, which cannot be opened: through
    /// the link in /proc that stands for their directory.
    fn copy_attributes(
        &mut self,
        from: (BorrowedFd<'_>, &CStr),
        to: (BorrowedFd<'_>, &CStr),
    ) -> Result<()> {
        let path = |(folder, name): (BorrowedFd<'_>, &CStr)| {
            let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
            path.extend_from_slice(name.to_bytes());
            path
        };
        let from = path(from);
        let length = match rustix::fs::llistxattr(&from, &mut self.names) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            Ok(length) => length,
            Err(errno) => return Err(errno),
        };
        let to = path(to);
        for name in self.names[..length].split(|&byte| byte == 0) {
            let ours = OVERLAY_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix));
            // SELinux labels belong to the place, not to the file.
            if name.is_empty() || ours || name == b"security.selinux" {
                continue;
            }
            let size = rustix::fs::lgetxattr(&from, name, &mut self.value[..])?;
            let value = &self.value[..size];
            let shifted = match self.owners {
                Some(owners) if name == b"security.capability" => match owners.capability(value) {
                    Some(shifted) => shifted,
                    // Of a namespace that the container does not have: worth nothing there.
                    None => continue,
                },
                _ => value.to_vec(),
            };
            rustix::fs::lsetxattr(&to, name, &shifted, XattrFlags::empty())?;
        }
        Ok(())
    }

    fn owner(&self, stat: &Stat) -> (u32, u32) {
        match self.owners {
            Some(owners) => owners.of(stat.st_uid, stat.st_gid),
            None => (stat.st_uid, stat.st_gid),
        }
    }

    fn set_owner(&self, folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
        let wanted = self.owner(stat);
        let now = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (now.st_uid, now.st_gid) == wanted {
            return Ok(());
        }
        rustix::fs::chownat(
            folder,
            name,
            Some(rustix::fs::Uid::from_raw(wanted.0)),
            Some(rustix::fs::Gid::from_raw(wanted.1)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }

    fn set_owner_mode_times(&self, folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
        self.set_owner(folder, name, stat)?;
        set_mode_times(folder, name, stat)
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
