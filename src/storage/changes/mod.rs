//! What a container has written → a layer of its own, staged in a lease: what `commit` adds to the
//! image.
//!
//! With overlayfs that is `upper/`, taken over entry by entry: whiteouts and opaque directories stay
//! what they are (a layer in the store has them just so), everything else that overlayfs notes in
//! attributes is resolved or left behind. A root that is a copy is compared with the layers below, as
//! Docker compares: mode, owner, size, time.
//!
//! Left out are sockets; names that begin with `.wh.`, which a layer cannot have; the empty places
//! that the engine makes for its own mounts; and directories in which nothing is new.
//!
//! **The container may run meanwhile and be hostile.** Every directory is held by a descriptor, no
//! symlink is followed, and what is opened for reading is known to be a regular file before. What
//! vanishes or changes its kind while it is looked at is left out; a file that changes while it is
//! read has something of both. The archive of the layer is then made from the staged tree, which
//! nobody else can reach: tree and archive always say the same.
//!
//! Content is shared by reflink where the file system can, else copied in the kernel, holes left out.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
        XattrFlags,
    },
    io::{Errno, Result},
};

use super::{
    ContainerDir, FOLDER, Lease, StagedLayer,
    below::{Below, Found, open_regular, same_attributes, same_content},
    copy::{self, Content, Owners, is_whiteout},
    unpack::{Privilege, STAT_XATTR},
};
use crate::{
    model::{Context, Digest, Error, ErrorKind, user_namespace::IdMaps},
    sys::file_copy,
};

/// Two descriptors a level.
const DEEPEST: usize = 400;
/// Places where the engine mounts something of its own in every container.
const OWN_PLACES: [&str; 9] = [
    "dev",
    "dev/console",
    "dev/shm",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
];
/// What the image format reserves: whiteouts.
const RESERVED: &[u8] = b".wh.";

impl Lease<'_> {
    /// What the container has written on top of `layers` (lowest first), into a layer that is
    /// staged. `ids` are those that its files are owned by on the disk, if not by the engine's.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for trees that cannot be read so.
    pub fn take_changes(
        &self,
        container: &ContainerDir,
        layers: &[Digest],
        ids: Option<&IdMaps>,
        privilege: Privilege,
        layer: &StagedLayer,
    ) -> crate::model::Result<Changes> {
        let what = || format!("cannot read the changes of container {:?}", container.id());
        let is_whole = container.has_copied_root()?;
        let name = if is_whole { "rootfs" } else { "upper" };
        let tree = rustix::fs::openat(container.fd(), name, FOLDER, Mode::empty()).system(what)?;
        let source = Source {
            tree: tree.as_fd(),
            is_whole,
            layers: self.store().layer_folders(layers)?,
            privilege,
            owners: ids.map(Owners::new),
            own_places: &OWN_PLACES,
            is_over: false,
        };
        take_explained(source, layer, &what)
    }

    /// What a step of a build has written on top of `layers`: in `folder`, `upper` or, if it is
    /// there, `rootfs`. Nothing runs there any more, so files are not copied but get a second name;
    /// `mounted` are the places of mounts, without a leading slash.
    ///
    /// # Errors
    /// As [`Self::take_changes`].
    pub fn take_step(
        &self,
        folder: BorrowedFd<'_>,
        layers: &[Digest],
        privilege: Privilege,
        mounted: &[String],
        layer: &StagedLayer,
    ) -> crate::model::Result<Changes> {
        let what = || "cannot read what the step has written".to_owned();
        let is_whole = super::lease::exists(folder, "rootfs")?;
        let name = if is_whole { "rootfs" } else { "upper" };
        let tree = rustix::fs::openat(folder, name, FOLDER, Mode::empty()).system(what)?;
        let mounted = mounted.iter().map(String::as_str);
        let own_places: Vec<&str> = OWN_PLACES.into_iter().chain(mounted).collect();
        let source = Source {
            tree: tree.as_fd(),
            is_whole,
            layers: self.store().layer_folders(layers)?,
            privilege,
            owners: None,
            own_places: &own_places,
            is_over: true,
        };
        take_explained(source, layer, &what)
    }

    /// All of `layers` (lowest first) as one tree, staged: nothing of it hides anything.
    pub fn stage_merged(&self, layers: &[Digest]) -> crate::model::Result<StagedLayer> {
        let what = || "cannot make one tree of all layers".to_owned();
        let merged = self.stage_new_layer()?;
        let trees = self.store().layer_folders(layers)?;
        let target = merged.tree().try_clone_to_owned().system(what)?;
        copy::apply_layers(&trees, &target, None, Content::Copied).system(what)?;
        Ok(merged)
    }

    /// Several of those, each in a folder of its own of this name.
    pub fn stage_merged_folders(
        &self,
        each: &[(String, &[Digest])],
    ) -> crate::model::Result<StagedLayer> {
        let what = || "cannot make one tree of all layers".to_owned();
        let all = self.stage_new_layer()?;
        for (name, layers) in each {
            super::make_folder(all.tree(), name).system(what)?;
            let flags = super::FOLDER;
            let mode = rustix::fs::Mode::empty();
            let target = rustix::fs::openat(all.tree(), name, flags, mode).system(what)?;
            rustix::fs::fchmod(&target, rustix::fs::Mode::from(0o755)).system(what)?;
            let trees = self.store().layer_folders(layers)?;
            copy::apply_layers(&trees, &target, None, Content::Copied).system(what)?;
        }
        Ok(all)
    }

    /// What `layers` (lowest first, those of `below` among them) have on top of `below`, as one layer.
    pub fn squash_on(
        &self,
        below: &[Digest],
        layers: &[Digest],
        privilege: Privilege,
    ) -> crate::model::Result<(StagedLayer, Changes)> {
        let merged = self.stage_merged(layers)?;
        let squashed = self.stage_new_layer()?;
        let source = Source {
            tree: merged.tree(),
            is_whole: true,
            layers: self.store().layer_folders(below)?,
            privilege,
            owners: None,
            own_places: &[],
            is_over: true,
        };
        let what = || "cannot make one layer of all that are new".to_owned();
        let changes = take_explained(source, &squashed, &what)?;
        Ok((squashed, changes))
    }

    /// All of `layers` and of `top` as one layer, staged.
    pub fn squash(
        &self,
        layers: &[Digest],
        top: &StagedLayer,
    ) -> crate::model::Result<(StagedLayer, Changes)> {
        let what = || "cannot make one layer of all".to_owned();
        let squashed = self.stage_new_layer()?;
        let mut trees = self.store().layer_folders(layers)?;
        trees.push(top.tree().try_clone_to_owned().system(what)?);
        let target = squashed.tree().try_clone_to_owned().system(what)?;
        copy::apply_layers(&trees, &target, None, Content::Copied).system(what)?;
        let mut changes = Changes {
            root_changed: true,
            ..Changes::default()
        };
        count(target.as_fd(), &mut changes, &mut HashSet::new(), 0).system(what)?;
        Ok((squashed, changes))
    }
}

/// [`take`], with an error for people.
fn take_explained(
    source: Source<'_>,
    layer: &StagedLayer,
    what: &dyn Fn() -> String,
) -> crate::model::Result<Changes> {
    take(source, layer.tree()).map_err(|errno| match errno {
        Errno::OPNOTSUPP => Error::new(ErrorKind::Unsupported, what())
            .with_source("a directory of the image was renamed, and this kernel has noted that only (overlay's redirect_dir)")
            .with_hint("copy such a directory instead of renaming it, or load overlay with redirect_dir=off"),
        Errno::NAMETOOLONG => Error::new(ErrorKind::Unsupported, what())
            .with_source(format!("its directories are nested more than {DEEPEST} deep")),
        errno => Err::<(), _>(errno).system(what).unwrap_err(),
    })
}

impl StagedLayer {
    /// Nothing in it is younger than that, in seconds since 1970.
    pub fn make_older(&self, epoch: i64) -> crate::model::Result<()> {
        let what = || "cannot set the times of a layer's files".to_owned();
        clamp(self.tree(), epoch, 0).system(what)
    }
}

fn clamp(folder: BorrowedFd<'_>, epoch: i64, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    for name in file_copy::entries(folder)? {
        let stat = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let below = rustix::fs::openat(folder, &name, FOLDER, Mode::empty())?;
            clamp(below.as_fd(), epoch, depth + 1)?;
        }
        if stat.st_mtime > epoch || stat.st_mtime == epoch && stat.st_mtime_nsec > 0 {
            let moment = rustix::fs::Timespec {
                tv_sec: epoch,
                tv_nsec: 0,
            };
            let times = rustix::fs::Timestamps {
                last_access: moment,
                last_modification: moment,
            };
            rustix::fs::utimensat(folder, &name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// Of a tree that nobody else reaches.
fn count(
    folder: BorrowedFd<'_>,
    changes: &mut Changes,
    seen: &mut HashSet<u64>,
    depth: usize,
) -> Result<()> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    for name in file_copy::entries(folder)? {
        let stat = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        changes.entries += 1;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let below = rustix::fs::openat(folder, &name, FOLDER, Mode::empty())?;
                count(below.as_fd(), changes, seen, depth + 1)?;
            }
            FileType::RegularFile if stat.st_nlink < 2 || seen.insert(stat.st_ino) => {
                changes.bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is asked for, and how to read it.
pub struct Source<'a> {
    /// `upper/`, or the whole root if it is a copy.
    pub tree: BorrowedFd<'a>,
    /// The tree is a whole root: compare it with the layers.
    pub is_whole: bool,
    /// Layers below, lowest first.
    pub layers: Vec<OwnedFd>,
    pub privilege: Privilege,
    /// The files are owned by the container's own ids.
    pub owners: Option<Owners<'a>>,
    /// Places of the engine's own mounts, without a leading slash.
    pub own_places: &'a [&'a str],
    /// Nobody can change the tree any more, and nobody will need it: files are shared, not copied.
    pub is_over: bool,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Files, directories, links and whiteouts.
    pub entries: u64,
    /// Bytes of regular files, one with several names counted once.
    pub bytes: u64,
    /// The root directory itself has another owner or mode.
    pub root_changed: bool,
    pub sockets: u64,
    pub reserved_names: u64,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.entries == 0 && !self.root_changed
    }
}

/// Copies what is new to the empty directory `target`.
pub fn take(source: Source<'_>, target: BorrowedFd<'_>) -> Result<Changes> {
    let Source {
        tree,
        is_whole,
        layers,
        privilege,
        owners,
        own_places,
        is_over,
    } = source;
    let mut taking = Taking {
        top: target,
        is_whole,
        below: Below::new(layers),
        owners,
        own_places,
        is_over,
        names: match privilege {
            Privilege::Root => OverlayNames {
                opaque: c"trusted.overlay.opaque",
                redirect: c"trusted.overlay.redirect",
                metacopy: c"trusted.overlay.metacopy",
            },
            Privilege::Rootless => OverlayNames {
                opaque: c"user.overlay.opaque",
                redirect: c"user.overlay.redirect",
                metacopy: c"user.overlay.metacopy",
            },
        },
        links: HashMap::new(),
        way: Vec::new(),
        changes: Changes::default(),
    };
    taking.root(tree)?;
    Ok(taking.changes)
}

/// Which of overlayfs's two sets of attributes it believes. The other one is the container's to set.
struct OverlayNames {
    opaque: &'static CStr,
    redirect: &'static CStr,
    metacopy: &'static CStr,
}

struct Taking<'a> {
    top: BorrowedFd<'a>,
    is_whole: bool,
    below: Below,
    owners: Option<Owners<'a>>,
    own_places: &'a [&'a str],
    is_over: bool,
    names: OverlayNames,
    /// The first copy of every file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Names from the top to the current directory.
    way: Vec<CString>,
    changes: Changes,
}

/// An entry that is being taken: where it is found and where it goes.
#[derive(Clone, Copy)]
struct Entry<'e> {
    from: BorrowedFd<'e>,
    to: BorrowedFd<'e>,
    name: &'e CStr,
}

impl Taking<'_> {
    fn root(&mut self, tree: BorrowedFd<'_>) -> Result<()> {
        let stat = rustix::fs::fstat(tree)?;
        self.content(tree, self.top)?;
        let below = match self.below.find(b"")? {
            Some(found) if self.is_same_folder(tree, &stat, &found)? => Some(found.stat),
            _ => None,
        };
        self.changes.root_changed = below.is_none();
        self.dress_folder(tree, self.top, &stat)?;
        match below {
            // The archive has no entry for it: whoever unpacks that gives it the time of the one below.
            Some(below) => rustix::fs::futimens(self.top, &modified(&below)),
            None => Ok(()),
        }
    }

    /// Everything in a directory, in the order of names: the same files make the same layer.
    fn content(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        if self.way.len() > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        let mut names = file_copy::entries(from)?;
        names.sort_unstable();
        for name in &names {
            if name.to_bytes().starts_with(RESERVED) {
                self.changes.reserved_names += 1;
                continue;
            }
            let entry = Entry { from, to, name };
            match self.entry(entry) {
                // Removed or replaced meanwhile; by a whiteout too, which nobody can open.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => {}
                outcome => outcome?,
            }
        }
        if self.is_whole {
            self.hide_removed(&names, to)?;
        }
        Ok(())
    }

    /// A whiteout for everything below that a whole root has not.
    fn hide_removed(&mut self, present: &[CString], to: BorrowedFd<'_>) -> Result<()> {
        let present: HashSet<&CString> = present.iter().collect();
        for name in self.below.names(&self.path())? {
            if !present.contains(&name) && !self.is_own_place(&self.path_of(&name)) {
                self.whiteout(to, &name)?;
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(to, name, kind, Mode::empty(), 0)?;
        self.changes.entries += 1;
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<()> {
        let stat = rustix::fs::statat(entry.from, entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.folder(entry),
            FileType::Socket => {
                self.changes.sockets += 1;
                Ok(())
            }
            _ if is_whiteout(&stat) => self.whiteout(entry.to, entry.name),
            _ if self.is_left_out(entry, &stat)? => Ok(()),
            kind => {
                self.file(entry, kind, &stat)?;
                self.changes.entries += 1;
                Ok(())
            }
        }
    }

    /// An empty file that is a mount point of ours, or one that a whole root has from the layers.
    fn is_left_out(&self, entry: Entry<'_>, stat: &Stat) -> Result<bool> {
        let path = self.path_of(entry.name);
        let stub = stat.st_size == 0
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && self.is_own_place(&path);
        if !stub && !self.is_whole {
            return Ok(false);
        }
        match self.below.find(&path)? {
            None => Ok(stub),
            Some(found) if self.is_whole => self.is_same(entry, stat, &found),
            Some(_) => Ok(false),
        }
    }

    fn is_own_place(&self, path: &[u8]) -> bool {
        self.own_places.iter().any(|place| place.as_bytes() == path)
    }

    fn is_same(&self, entry: Entry<'_>, stat: &Stat, found: &Found) -> Result<bool> {
        if stat.st_mode != found.stat.st_mode || !self.is_same_owner(stat, &found.stat) {
            return Ok(false);
        }
        let folder = rustix::fs::openat(entry.from, c".", FOLDER, Mode::empty())?;
        same_content((&folder, entry.name, stat), found)
    }

    fn is_same_owner(&self, stat: &Stat, below: &Stat) -> bool {
        self.owner(stat) == (below.st_uid, below.st_gid)
    }

    fn is_same_folder(&self, folder: BorrowedFd<'_>, stat: &Stat, found: &Found) -> Result<bool> {
        if stat.st_mode != found.stat.st_mode || !self.is_same_owner(stat, &found.stat) {
            return Ok(false);
        }
        let ours = file_copy::attributes((folder, c"."))?;
        let theirs = file_copy::attributes((found.folder.as_fd(), &found.name))?;
        Ok(same_attributes(&ours, &theirs))
    }

    /// A directory, if it or anything in it is new.
    fn folder(&mut self, entry: Entry<'_>) -> Result<()> {
        let from = rustix::fs::openat(entry.from, entry.name, FOLDER, Mode::empty())?;
        let stat = rustix::fs::fstat(&from)?;
        if has_attribute(from.as_fd(), self.names.redirect) {
            // Only where the kernel was told to rename directories without copying them.
            return Err(Errno::OPNOTSUPP);
        }
        let opaque = attribute_is_y(from.as_fd(), self.names.opaque);
        rustix::fs::mkdirat(entry.to, entry.name, Mode::RWXU)?;
        let to = rustix::fs::openat(entry.to, entry.name, FOLDER, Mode::empty())?;
        let before = self.changes.entries;
        self.way.push(entry.name.to_owned());
        let outcome = self.content(from.as_fd(), to.as_fd());
        let path = self.path();
        self.way.pop();
        outcome?;
        let is_empty = self.changes.entries == before;
        if is_empty && !opaque && self.is_nothing_new(&path, from.as_fd(), &stat)? {
            match rustix::fs::unlinkat(entry.to, entry.name, AtFlags::REMOVEDIR) {
                // Something was begun and vanished before it was complete.
                Err(Errno::NOTEMPTY) => {}
                outcome => return outcome,
            }
        }
        if opaque {
            rustix::fs::fsetxattr(&to, self.names.opaque, b"y", XattrFlags::empty())?;
        }
        self.changes.entries += 1;
        self.dress_folder(from.as_fd(), to.as_fd(), &stat)
    }

    fn is_nothing_new(&self, path: &[u8], folder: BorrowedFd<'_>, stat: &Stat) -> Result<bool> {
        match self.below.find(path)? {
            Some(found) => self.is_same_folder(folder, stat, &found),
            None => Ok(self.is_own_place(path)),
        }
    }

    fn file(&mut self, entry: Entry<'_>, kind: FileType, stat: &Stat) -> Result<()> {
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                return self.link(first, entry);
            }
            self.links.insert(inode, self.path_of(entry.name));
        }
        match kind {
            FileType::RegularFile => return self.regular(entry),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(entry.from, entry.name, Vec::new())?;
                rustix::fs::symlinkat(target, entry.to, entry.name)?;
            }
            kind => {
                rustix::fs::mknodat(entry.to, entry.name, kind, Mode::empty(), stat.st_rdev)?;
            }
        }
        self.give(entry.to, entry.name, stat)?;
        let found = file_copy::attributes((entry.from, entry.name))?;
        for (name, value) in self.kept_attributes(found) {
            set_attribute(entry.to, entry.name, &name, &value)?;
        }
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(stat.st_mode);
            rustix::fs::chmodat(entry.to, entry.name, mode, AtFlags::empty())?;
        }
        rustix::fs::utimensat(
            entry.to,
            entry.name,
            &whole_seconds(stat),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }

    fn regular(&mut self, entry: Entry<'_>) -> Result<()> {
        let Some((source, stat)) = open_regular(entry.from, entry.name)? else {
            return Err(Errno::NOENT);
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if self.is_over && self.owners.is_none() && file_copy::is_plain(source.as_fd())? {
            rustix::fs::linkat(
                entry.from,
                entry.name,
                entry.to,
                entry.name,
                AtFlags::empty(),
            )?;
            self.changes.bytes = self.changes.bytes.saturating_add(size);
            return rustix::fs::futimens(&source, &whole_seconds(&stat));
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(entry.to, entry.name, flags, Mode::from(0o600))?;
        let content = match has_attribute(source.as_fd(), self.names.metacopy) {
            true => self.content_of(&source, entry.name)?,
            false => None,
        };
        // A file that is being written may be shorter by now: what is missing is a hole.
        file_copy::copy_bytes(content.as_ref().unwrap_or(&source), &target, size)?;
        self.changes.bytes = self.changes.bytes.saturating_add(size);
        self.give(entry.to, entry.name, &stat)?;
        let attributes = file_copy::attributes_of(source.as_fd())?;
        for (name, value) in self.kept_attributes(attributes) {
            rustix::fs::fsetxattr(&target, &name[..], &value, XattrFlags::empty())?;
        }
        rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode))?;
        rustix::fs::futimens(&target, &whole_seconds(&stat))
    }

    /// Where the content of a file lies that was only given another owner or mode.
    fn content_of(&self, file: &OwnedFd, name: &CStr) -> Result<Option<OwnedFd>> {
        let mut value = vec![0; 4096];
        let path = match rustix::fs::fgetxattr(file, self.names.redirect, &mut value[..]) {
            Ok(length) if value.first() == Some(&b'/') => value[1..length].to_vec(),
            Ok(length) => {
                let sibling = CString::new(&value[..length]).map_err(|_| Errno::INVAL)?;
                self.path_of(&sibling)
            }
            Err(_) => self.path_of(name),
        };
        let content = self.below.content(&path)?;
        content.map(Some).ok_or(Errno::IO)
    }

    fn dress_folder(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
        self.give(to, c".", stat)?;
        for (name, value) in self.kept_attributes(file_copy::attributes((from, c"."))?) {
            rustix::fs::fsetxattr(to, &name[..], &value, XattrFlags::empty())?;
        }
        rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
        rustix::fs::futimens(to, &whole_seconds(stat))
    }

    fn owner(&self, stat: &Stat) -> (u32, u32) {
        match &self.owners {
            Some(owners) => owners.inside(stat.st_uid, stat.st_gid),
            None => (stat.st_uid, stat.st_gid),
        }
    }

    /// An owner that this process cannot give is written down, as for a layer that is unpacked.
    fn give(&self, folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
        let (uid, gid) = self.owner(stat);
        let (owner, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::chownat(folder, name, Some(owner), Some(group), flags) {
            Err(Errno::INVAL | Errno::PERM) => {}
            outcome => return outcome,
        }
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => '-',
            FileType::Directory => 'd',
            _ => return Ok(()),
        };
        let text = format!("{uid} {gid} {kind} 0 0");
        set_attribute(folder, name, STAT_XATTR.as_bytes(), text.as_bytes())
    }

    /// Those that a layer may have.
    fn kept_attributes(&self, found: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keep = |(name, value): (Vec<u8>, Vec<u8>)| {
            if name == b"security.capability" {
                return match &self.owners {
                    Some(owners) => Some((name, owners.inside_capability(&value)?)),
                    None => Some((name, value)),
                };
            }
            name.starts_with(b"user.").then_some((name, value))
        };
        found.into_iter().filter_map(keep).collect()
    }

    /// The second name of a file. Only this process changes the staged tree.
    fn link(&self, first: &[u8], entry: Entry<'_>) -> Result<()> {
        let (folder, file) = match first.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&first[..slash], &first[slash + 1..]),
            None => (&b"."[..], first),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let folder = rustix::fs::openat2(self.top, folder, FOLDER, Mode::empty(), resolve)?;
        rustix::fs::linkat(folder, file, entry.to, entry.name, AtFlags::empty())
    }

    /// Of the current directory; empty at the top.
    fn path(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.way.iter().map(|name| name.to_bytes()).collect();
        names.join(&b'/')
    }

    fn path_of(&self, name: &CStr) -> Vec<u8> {
        let mut path = self.path();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        path
    }
}

fn has_attribute(file: BorrowedFd<'_>, name: &CStr) -> bool {
    rustix::fs::fgetxattr(file, name, &mut [0_u8; 0]).is_ok()
}

fn attribute_is_y(folder: BorrowedFd<'_>, name: &CStr) -> bool {
    let mut value = [0; 1];
    rustix::fs::fgetxattr(folder, name, &mut value) == Ok(1) && value == *b"y"
}

fn set_attribute(folder: BorrowedFd<'_>, entry: &CStr, name: &[u8], value: &[u8]) -> Result<()> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(entry.to_bytes());
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
}

fn modified(stat: &Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime as _,
        tv_nsec: stat.st_mtime_nsec as _,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// An archive's times have no fractions, and a tree should be as its archive unpacks.
fn whole_seconds(stat: &Stat) -> Timestamps {
    let modified = Timespec {
        tv_sec: stat.st_mtime.max(0),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: modified,
        last_modification: modified,
    }
}
