//! One directory tree under construction: each method makes one entry.
//!
//! Order for every file: create exclusively with mode 0600, write, owner, xattrs, mode, times.
//! chown(2) clears set-id bits and capabilities, so it comes first; an ordinary user may not set
//! `user.*` on a file that it cannot write, so the mode comes after them; writing changes the
//! time, so that is last. A directory gets its metadata when everything below it is there,
//! deepest first ([`Tree::finish`]).
//!
//! Most entries need less: what belongs to whoever makes it and has no xattrs and no set-id bits is
//! made with its mode at once, and only the time remains. Which owner and which bits of a mode a new
//! file gets here (umask, default ACLs, set-group-id directories) is asked once ([`Born`]).
//!
//! Nobody else reaches the tree while it is staged. Hence a node that was just created under an
//! exclusive name is still that node when its mode is set by name (`chmodat` follows links).

use std::{
    collections::{BTreeMap, HashMap},
    io::BufRead,
    ops::Bound,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
    rc::Rc,
};

use rustix::{
    fs::{
        self, AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Timespec,
        Timestamps, Uid, XattrFlags,
    },
    io::Errno,
};

use super::{
    Note, Privilege, STAT_XATTR,
    entries::{Entry, Kind, Metadata, TarStream},
    refused, shown, split,
};
use crate::model::{Context, Error, ErrorKind, Result};

/// Directory descriptors kept open, well below the usual limit of 1024 for a few layers at once.
const CACHED_DIRECTORIES: usize = 128;
/// Memory for the metadata of directories that waits for the end, in bytes.
const MAX_PENDING_BYTES: usize = 256 << 20;
const PENDING_OVERHEAD: usize = 128;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
const IN_TREE: ResolveFlags = ResolveFlags::IN_ROOT
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

pub(super) struct Tree<'t> {
    root: BorrowedFd<'t>,
    privilege: Privilege,
    /// Open directories by the path that the archive uses for them.
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Directories by path, and what they shall look like at the end. Sorted, so that everything
    /// below a path is one range.
    pending: BTreeMap<Vec<u8>, Pending>,
    pending_bytes: usize,
    notes: BTreeMap<Note, u64>,
    born: Option<Born>,
    /// A directory was met under a second path, through a symbolic link: what was remembered for
    /// the first is no longer the whole truth.
    aliased: bool,
}

struct Pending {
    metadata: Metadata,
    /// It had no entry of its own (yet).
    implied: bool,
    /// It has this mode, and the owner of everything new.
    made: Option<Mode>,
}

/// What a file has that was just made in this tree.
#[derive(Clone, Copy)]
struct Born {
    uid: u32,
    gid: u32,
    /// Bits of a mode that it gets if it is made with them.
    bits: u32,
}

impl Born {
    /// Makes a file without a name and looks at it; `None` where that cannot be done.
    fn ask(tree: BorrowedFd<'_>) -> Option<Born> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = fs::openat(tree, ".", flags, Mode::from_raw_mode(0o777)).ok()?;
        let found = fs::fstat(file).ok()?;
        Some(Born {
            uid: found.st_uid,
            gid: found.st_gid,
            bits: found.st_mode & 0o777,
        })
    }

    fn owns(self, metadata: &Metadata) -> bool {
        (metadata.uid, metadata.gid) == (self.uid, self.gid)
    }

    /// The mode to make a file with, if then only its time is missing.
    fn mode(self, metadata: &Metadata) -> Option<Mode> {
        let plain =
            self.owns(metadata) && metadata.xattrs.is_empty() && metadata.mode & !self.bits == 0;
        plain.then(|| Mode::from_raw_mode(metadata.mode))
    }
}

/// A place in the tree: an open directory and one name in it.
struct Slot<'p> {
    parent: Rc<OwnedFd>,
    name: &'p [u8],
    path: &'p [u8],
}

impl<'t> Tree<'t> {
    pub(super) fn new(root: BorrowedFd<'t>, privilege: Privilege) -> Result<Self> {
        let mut tree = Tree {
            root,
            privilege,
            open: HashMap::new(),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            notes: BTreeMap::new(),
            born: Born::ask(root),
            aliased: false,
        };
        tree.remember(b"", default_directory(), true, None)?;
        Ok(tree)
    }

    pub(super) fn note(&mut self, note: Note) {
        *self.notes.entry(note).or_default() += 1;
    }

    // ---- entries -----------------------------------------------------------------------------

    pub(super) fn directory(&mut self, path: &[u8], metadata: Metadata) -> Result<()> {
        let mut made = None;
        if !path.is_empty() {
            let slot = self.slot(path)?;
            made = self.make_directory(&slot, &metadata)?;
        }
        self.remember(path, metadata, false, made)
    }

    pub(super) fn file<R: BufRead>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> Result<()> {
        let slot = self.slot(path)?;
        let mode = self.born.and_then(|born| born.mode(&entry.metadata));
        let file = self.create_file(&slot, mode)?;
        match &entry.sparse {
            None => stream.data(entry.stored, |piece| write_all(&file, piece, path))?,
            Some(map) => {
                for segment in &map.segments {
                    fs::seek(&file, SeekFrom::Start(segment.offset))
                        .map_err(|errno| content_or_system(errno, path, "cannot seek"))?;
                    stream.data(segment.length, |piece| write_all(&file, piece, path))?;
                }
                fs::ftruncate(&file, map.size)
                    .map_err(|errno| content_or_system(errno, path, "cannot set the size"))?;
            }
        }
        if mode.is_some() {
            return fs::futimens(&file, &times(entry.metadata.mtime))
                .map_err(|errno| system(errno, path, "cannot set the time of"));
        }
        self.dress(&file, path, &entry.metadata, Dress::File)
    }

    pub(super) fn symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        metadata: &Metadata,
    ) -> Result<()> {
        let slot = self.slot(path)?;
        self.replacing(&slot, |slot| fs::symlinkat(target, &slot.parent, slot.name))?;
        self.dress_by_name(&slot, metadata, None)
    }

    /// `source` is looked up like any other path; both names are one inode afterwards.
    pub(super) fn hard_link(&mut self, path: &[u8], source: &[u8]) -> Result<()> {
        let missing = || {
            let why = format!("it is a hard link to {}, not in this layer", shown(source));
            refused(path, &why)
        };
        let (directory, name) = split(source);
        let from = match self.existing_directory(directory) {
            Ok(from) => from,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            Err(errno) => return Err(system(errno, source, "cannot open the directory of")),
        };
        let found = match fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
            Err(errno) => return Err(system(errno, source, "cannot look at")),
        };
        if is_whiteout(&found) {
            return Err(missing());
        }
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(refused(path, "it is a hard link to a directory"));
        }
        let slot = self.slot(path)?;
        if let Ok(there) = fs::statat(&slot.parent, slot.name, AtFlags::SYMLINK_NOFOLLOW)
            && (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)
        {
            return Ok(());
        }
        let link =
            |slot: &Slot<'_>| fs::linkat(&from, name, &slot.parent, slot.name, AtFlags::empty());
        self.replacing(&slot, link)
    }

    /// A device node, or a stand-in where one cannot be made.
    pub(super) fn device(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let slot = self.slot(path)?;
        if self.privilege == Privilege::Root {
            let kind = match entry.kind {
                Kind::BlockDevice => FileType::BlockDevice,
                _ => FileType::CharacterDevice,
            };
            let device = fs::makedev(entry.device.0, entry.device.1);
            let make =
                |slot: &Slot<'_>| fs::mknodat(&slot.parent, slot.name, kind, Mode::empty(), device);
            match self.try_replacing(&slot, make)? {
                Ok(()) => return self.dress_by_name(&slot, &entry.metadata, Some(())),
                // Root of a container without CAP_MKNOD.
                Err(Errno::PERM) => {}
                Err(errno) => return Err(system(errno, path, "cannot make device")),
            }
        }
        self.note(Note::DeviceStandIn);
        let file = self.create_file(&slot, None)?;
        self.dress(&file, path, &entry.metadata, Dress::Device(entry))
    }

    pub(super) fn fifo(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let slot = self.slot(path)?;
        self.replacing(&slot, |slot| {
            fs::mknodat(&slot.parent, slot.name, FileType::Fifo, Mode::empty(), 0)
        })?;
        self.dress_by_name(&slot, metadata, Some(()))
    }

    /// Hides `name` of the layers below. What this layer itself has there stays.
    pub(super) fn whiteout(&mut self, entry: &[u8], directory: &[u8], name: &[u8]) -> Result<()> {
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if path.len() > super::MAX_PATH {
            return Err(refused(entry, "its path is longer than 4095 bytes"));
        }
        let slot = self.slot(&path)?;
        match make_whiteout(&slot) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                if self.kind_at(&slot)? == FileType::Directory {
                    self.make_opaque(&path)?;
                }
                Ok(())
            }
            Err(errno @ (Errno::PERM | Errno::OPNOTSUPP)) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("cannot make whiteout {}", shown(entry)),
            )
            .with_hint(
                "the store's file system must support device nodes (ext4, xfs, btrfs, tmpfs)",
            )
            .with_source(errno)),
            Err(errno) => Err(system(errno, entry, "cannot make whiteout")),
        }
    }

    /// Hides what the layers below have in this directory.
    pub(super) fn make_opaque(&mut self, directory: &[u8]) -> Result<()> {
        if directory.is_empty() {
            self.note(Note::OpaqueRoot);
        }
        let fd = self.open_directory(directory)?;
        // Nothing of the directory below is left, not even its metadata.
        if let Some(pending) = self.pending.get_mut(directory) {
            pending.implied = false;
        }
        self.set_opaque(&fd, directory)
    }

    fn set_opaque(&self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        let name = match self.privilege {
            Privilege::Root => "trusted.overlay.opaque",
            Privilege::Rootless => "user.overlay.opaque",
        };
        fs::fsetxattr(directory, name, b"y", XattrFlags::empty()).map_err(|errno| {
            let error = system(errno, path, "cannot mark as opaque");
            match errno {
                Errno::OPNOTSUPP => error.with_hint(
                    "the store's file system must support extended attributes (ext4, xfs, btrfs)",
                ),
                _ => error,
            }
        })
    }

    /// Gives all directories their metadata. Returns those without an entry, parents first.
    pub(super) fn finish(mut self) -> Result<(Vec<PathBuf>, BTreeMap<Note, u64>)> {
        let pending = std::mem::take(&mut self.pending);
        let implied = pending
            .iter()
            .filter(|(_, pending)| pending.implied)
            .map(|(path, _)| PathBuf::from(std::ffi::OsString::from_vec(path.clone())))
            .collect();
        let depth = |path: &[u8]| match path {
            [] => 0,
            path => 1 + path.iter().filter(|&&byte| byte == b'/').count(),
        };
        let mut deepest_first: Vec<_> = pending.into_iter().collect();
        deepest_first.sort_by_key(|(path, _)| std::cmp::Reverse(depth(path)));
        self.open.clear();
        for (path, pending) in deepest_first {
            if self.is_dressed_but_for_time(&path, &pending)? {
                continue;
            }
            let (parent, name) = split(&path);
            let directory = match name {
                [] => self.existing_directory(b""),
                name => self
                    .existing_directory(parent)
                    .and_then(|parent| open_child(&parent, name).map(Rc::new)),
            };
            match directory {
                Ok(directory) => {
                    self.dress(&directory, &path, &pending.metadata, Dress::Directory)?;
                }
                // Replaced under another path that leads here through a symbolic link.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {}
                Err(errno) => return Err(system(errno, &path, "cannot open directory")),
            }
        }
        Ok((implied, self.notes))
    }

    /// Sets the time of a directory if that is all it needs. By its name, and of the link should it
    /// have become one: that is harmless.
    fn is_dressed_but_for_time(&mut self, path: &[u8], pending: &Pending) -> Result<bool> {
        let wanted = self.born.and_then(|born| born.mode(&pending.metadata));
        if self.aliased || wanted.is_none() || wanted != pending.made {
            return Ok(false);
        }
        let (parent, name) = split(path);
        let Ok(parent) = self.existing_directory(parent) else {
            return Ok(false);
        };
        let times = times(pending.metadata.mtime);
        match fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(system(errno, path, "cannot set the time of")),
        }
    }

    // ---- directories -------------------------------------------------------------------------

    /// Where `path` goes; missing parents are made.
    fn slot<'p>(&mut self, path: &'p [u8]) -> Result<Slot<'p>> {
        let (directory, name) = split(path);
        Ok(Slot {
            parent: self.open_directory(directory)?,
            name,
            path,
        })
    }

    fn existing_directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if let Some(open) = self.open.get(path) {
            return Ok(open.clone());
        }
        let open = Rc::new(open_in_tree(self.root, path)?);
        self.keep_open(path, &open);
        Ok(open)
    }

    fn keep_open(&mut self, path: &[u8], directory: &Rc<OwnedFd>) {
        if self.open.len() >= CACHED_DIRECTORIES {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), directory.clone());
    }

    /// Opens a directory and makes those of its components that are missing.
    fn open_directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        match self.existing_directory(path) {
            Ok(open) => return Ok(open),
            Err(Errno::NOENT | Errno::NOTDIR) if !path.is_empty() => {}
            Err(errno) => return Err(no_directory(errno, path)),
        }
        let mut end = 0;
        let mut directory = self
            .existing_directory(b"")
            .map_err(|errno| system(errno, path, "cannot open the tree of"))?;
        for component in path.split(|&byte| byte == b'/') {
            end += component.len();
            let so_far = &path[..end];
            end += 1;
            // From the parent, so that depth costs nothing; a link is looked up from the root.
            let open = match open_child(&directory, component) {
                Err(Errno::NOTDIR | Errno::LOOP) => self.existing_directory(so_far),
                other => other.map(Rc::new),
            };
            directory = match open {
                Ok(open) => open,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let slot = Slot {
                        parent: directory,
                        name: component,
                        path: so_far,
                    };
                    self.imply_directory(&slot)?
                }
                Err(errno) => return Err(no_directory(errno, so_far)),
            };
        }
        Ok(directory)
    }

    /// Makes a parent that has no entry of its own (yet).
    fn imply_directory(&mut self, slot: &Slot<'_>) -> Result<Rc<OwnedFd>> {
        let hidden = match fs::statat(&slot.parent, slot.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => false,
            Ok(found) if is_whiteout(&found) => true,
            Ok(found) => {
                let why = match FileType::from_raw_mode(found.st_mode) {
                    FileType::Symlink => "a symbolic link that leads to no directory of this layer",
                    _ => "not a directory",
                };
                return Err(refused(
                    slot.path,
                    &format!("entries lie below it, but it is {why}"),
                ));
            }
            Err(errno) => return Err(system(errno, slot.path, "cannot look at")),
        };
        let made = self.make_directory(slot, &default_directory())?;
        self.remember(slot.path, default_directory(), !hidden, made)?;
        let open = open_child(&slot.parent, slot.name)
            .map_err(|errno| system(errno, slot.path, "cannot open directory"))?;
        let open = Rc::new(open);
        self.keep_open(slot.path, &open);
        Ok(open)
    }

    /// Makes a directory, keeps one that is there, replaces everything else. Where a whiteout was
    /// the directory must go on hiding what is below. The mode that it has, if it was made with its
    /// final one; before that, everything below it must be possible.
    fn make_directory(&mut self, slot: &Slot<'_>, metadata: &Metadata) -> Result<Option<Mode>> {
        let made = self.born.and_then(|born| born.mode(metadata));
        let made = made.filter(|mode| mode.contains(Mode::RWXU));
        let mode = made.unwrap_or(Mode::RWXU);
        let make = |slot: &Slot<'_>| fs::mkdirat(&slot.parent, slot.name, mode);
        match make(slot) {
            Ok(()) => return Ok(made),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(system(errno, slot.path, "cannot make directory")),
        }
        let found = fs::statat(&slot.parent, slot.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| system(errno, slot.path, "cannot look at"))?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let before = self.pending.get(slot.path);
            self.aliased |= before.is_none();
            return Ok(before.and_then(|before| before.made));
        }
        self.replacing(slot, make)?;
        if is_whiteout(&found) {
            let directory = open_child(&slot.parent, slot.name)
                .map_err(|errno| system(errno, slot.path, "cannot open directory"))?;
            self.set_opaque(&directory, slot.path)?;
        }
        Ok(made)
    }

    fn remember(
        &mut self,
        path: &[u8],
        metadata: Metadata,
        implied: bool,
        made: Option<Mode>,
    ) -> Result<()> {
        let xattrs = metadata.xattrs.iter();
        let size = xattrs
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>();
        self.pending_bytes += path.len() + size + PENDING_OVERHEAD;
        if self.pending_bytes > MAX_PENDING_BYTES {
            return Err(refused(path, "the layer has too many directories"));
        }
        let pending = Pending {
            metadata,
            implied,
            made,
        };
        self.pending.insert(path.to_vec(), pending);
        Ok(())
    }

    // ---- replacing ---------------------------------------------------------------------------

    fn create_file(&mut self, slot: &Slot<'_>, mode: Option<Mode>) -> Result<OwnedFd> {
        let mode = mode.unwrap_or(Mode::RUSR | Mode::WUSR);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.replacing(slot, |slot| {
            fs::openat(&slot.parent, slot.name, flags, mode)
        })
    }

    fn replacing<T>(
        &mut self,
        slot: &Slot<'_>,
        make: impl Fn(&Slot<'_>) -> Result<T, Errno>,
    ) -> Result<T> {
        self.try_replacing(slot, make)?
            .map_err(|errno| system(errno, slot.path, "cannot make"))
    }

    /// Makes something under a name; what had the name is removed first. Trying before looking
    /// saves a system call for nearly every entry.
    fn try_replacing<T>(
        &mut self,
        slot: &Slot<'_>,
        make: impl Fn(&Slot<'_>) -> Result<T, Errno>,
    ) -> Result<Result<T, Errno>> {
        match make(slot) {
            Err(Errno::EXIST) => {
                self.remove(slot)?;
                Ok(make(slot))
            }
            other => Ok(other),
        }
    }

    fn kind_at(&self, slot: &Slot<'_>) -> Result<FileType> {
        fs::statat(&slot.parent, slot.name, AtFlags::SYMLINK_NOFOLLOW)
            .map(|found| FileType::from_raw_mode(found.st_mode))
            .map_err(|errno| system(errno, slot.path, "cannot look at"))
    }

    fn remove(&mut self, slot: &Slot<'_>) -> Result<()> {
        match self.kind_at(slot)? {
            FileType::Directory => {
                self.open.clear();
                self.aliased |= !self.pending.contains_key(slot.path);
                self.forget_below(slot.path);
                remove_tree(&slot.parent, slot.name)
            }
            kind => {
                if kind == FileType::Symlink {
                    self.open.clear();
                }
                fs::unlinkat(&slot.parent, slot.name, AtFlags::empty())
            }
        }
        .map_err(|errno| system(errno, slot.path, "cannot replace"))
    }

    fn forget_below(&mut self, path: &[u8]) {
        self.pending.remove(path);
        let (mut from, mut to) = (path.to_vec(), path.to_vec());
        from.push(b'/');
        to.push(b'/' + 1);
        let range = (Bound::Included(from), Bound::Excluded(to));
        let below: Vec<Vec<u8>> = self
            .pending
            .range(range)
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            self.pending.remove(&path);
        }
    }

    // ---- metadata ----------------------------------------------------------------------------

    /// Owner, xattrs, mode and times of an open file or directory.
    fn dress(
        &mut self,
        fd: &OwnedFd,
        path: &[u8],
        metadata: &Metadata,
        dress: Dress<'_>,
    ) -> Result<()> {
        let (uid, gid) = owner(metadata);
        let given = fs::fchown(fd, Some(uid), Some(gid));
        let owned = self.owned(given, path)?;
        if !owned || matches!(dress, Dress::Device(_)) {
            let record = dress.record(metadata);
            match fs::fsetxattr(fd, STAT_XATTR, record.as_bytes(), XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => self.note(Note::XattrRefused),
                Err(errno) => return Err(system(errno, path, "cannot record the owner of")),
            }
        }
        for (name, value) in &metadata.xattrs {
            self.xattr(fd, path, &dress, name, value)?;
        }
        fs::fchmod(fd, Mode::from_raw_mode(metadata.mode))
            .map_err(|errno| system(errno, path, "cannot set the mode of"))?;
        fs::futimens(fd, &times(metadata.mtime))
            .map_err(|errno| system(errno, path, "cannot set the time of"))
    }

    /// Owner, mode and time of what cannot be opened. A link has no mode.
    fn dress_by_name(
        &mut self,
        slot: &Slot<'_>,
        metadata: &Metadata,
        has_mode: Option<()>,
    ) -> Result<()> {
        let (uid, gid) = owner(metadata);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if !self.born.is_some_and(|born| born.owns(metadata)) {
            let given = fs::chownat(&slot.parent, slot.name, Some(uid), Some(gid), flags);
            self.owned(given, slot.path)?;
        }
        if has_mode.is_some() {
            let mode = Mode::from_raw_mode(metadata.mode);
            fs::chmodat(&slot.parent, slot.name, mode, AtFlags::empty())
                .map_err(|errno| system(errno, slot.path, "cannot set the mode of"))?;
        }
        fs::utimensat(&slot.parent, slot.name, &times(metadata.mtime), flags)
            .map_err(|errno| system(errno, slot.path, "cannot set the time of"))
    }

    /// Whether an owner could be given. EINVAL: no mapping in this user namespace; EPERM: an
    /// ordinary user outside of one.
    fn owned(&mut self, given: Result<(), Errno>, path: &[u8]) -> Result<bool> {
        match given {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::PERM) if self.privilege == Privilege::Rootless => {
                self.note(Note::OwnerRecorded);
                Ok(false)
            }
            Err(errno) => Err(system(errno, path, "cannot set the owner of")),
        }
    }

    fn xattr(
        &mut self,
        fd: &OwnedFd,
        path: &[u8],
        dress: &Dress<'_>,
        name: &[u8],
        value: &[u8],
    ) -> Result<()> {
        let allowed = match dress {
            Dress::Device(_) => false,
            Dress::Directory => is_user_xattr(name),
            Dress::File => is_user_xattr(name) || name == b"security.capability",
        };
        if !allowed {
            self.note(Note::XattrSkipped);
            return Ok(());
        }
        match fs::fsetxattr(fd, name, value, XattrFlags::empty()) {
            Ok(()) => Ok(()),
            // The file system has none, the name is empty or too long, the user may not give
            // capabilities, or the value is not one.
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::RANGE | Errno::INVAL | Errno::TOOBIG) => {
                self.note(Note::XattrRefused);
                Ok(())
            }
            Err(errno) => Err(system(errno, path, "cannot set an extended attribute of")),
        }
    }
}

/// What sort of inode gets its metadata.
enum Dress<'e> {
    File,
    Directory,
    /// A stand-in for this device.
    Device(&'e Entry),
}

impl Dress<'_> {
    /// The value of [`STAT_XATTR`].
    fn record(&self, metadata: &Metadata) -> String {
        let (kind, (major, minor)) = match self {
            Dress::File => ('-', (0, 0)),
            Dress::Directory => ('d', (0, 0)),
            Dress::Device(entry) if entry.kind == Kind::BlockDevice => ('b', entry.device),
            Dress::Device(entry) => ('c', entry.device),
        };
        format!("{} {} {kind} {major} {minor}", metadata.uid, metadata.gid)
    }
}

/// A parent without an entry: 0755, root, 1970.
fn default_directory() -> Metadata {
    Metadata {
        uid: 0,
        gid: 0,
        mode: 0o755,
        mtime: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        xattrs: Vec::new(),
    }
}

fn owner(metadata: &Metadata) -> (Uid, Gid) {
    (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid))
}

pub(super) fn times(mtime: Timespec) -> Timestamps {
    Timestamps {
        last_access: mtime,
        last_modification: mtime,
    }
}

pub(super) fn is_user_xattr(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        && !name.starts_with(b"user.overlay.")
        && !name.starts_with(b"user.coracle.")
}

fn is_whiteout(found: &fs::Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// Allowed without privileges since Linux 5.8.
fn make_whiteout(slot: &Slot<'_>) -> Result<(), Errno> {
    let kind = FileType::CharacterDevice;
    fs::mknodat(&slot.parent, slot.name, kind, Mode::empty(), 0)
}

/// Opens the directory at a path of the archive; links of the tree lead where they would lead if
/// the tree were the root.
///
/// # Errors
/// ENAMETOOLONG also where links lead deeper than a path can be long: a chain of them would make
/// every further look-up cost tens of thousands of steps.
fn open_in_tree(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let open = |resolve| loop {
        match fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve) {
            // A ".." in a link while something was renamed anywhere on the system.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    };
    match open(IN_TREE.union(ResolveFlags::NO_SYMLINKS)) {
        Err(Errno::LOOP) => {
            let directory = open(IN_TREE)?;
            let own = format!("/proc/self/fd/{}", directory.as_raw_fd());
            fs::readlink(own, Vec::new())?;
            Ok(directory)
        }
        other => other,
    }
}

fn no_directory(errno: Errno, path: &[u8]) -> Error {
    match errno {
        Errno::LOOP => refused(path, "its symbolic links lead in a circle"),
        Errno::NAMETOOLONG => refused(path, "its symbolic links lead too deep"),
        errno => system(errno, path, "cannot open directory"),
    }
}

/// Opens a directory by its name alone.
fn open_child(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// Removes a directory with everything in it, holding two descriptors at any depth: it goes down
/// into the first subdirectory it meets and comes back with "..", which nobody can move.
fn remove_tree(parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let mut names = vec![name.to_vec()];
    let mut current = open_child(parent, name)?;
    loop {
        match empty_but_for_directory(&current)? {
            Some(child) => {
                current = open_child(&current, &child)?;
                names.push(child);
            }
            None => {
                let done = names.pop().unwrap_or_default();
                if names.is_empty() {
                    return fs::unlinkat(parent, done, AtFlags::REMOVEDIR);
                }
                current = open_child(&current, b"..")?;
                fs::unlinkat(&current, done, AtFlags::REMOVEDIR)?;
            }
        }
    }
}

/// Unlinks what is not a directory, up to the first directory that is not empty, if any.
fn empty_but_for_directory(directory: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        match fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        match fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_vec())),
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

fn write_all(file: impl AsFd, mut bytes: &[u8], path: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(content_or_system(errno, path, "cannot write")),
        }
    }
    Ok(())
}

/// A size that the file system cannot hold is the archive's fault.
fn content_or_system(errno: Errno, path: &[u8], what: &str) -> Error {
    match errno {
        Errno::FBIG | Errno::INVAL | Errno::OVERFLOW => {
            refused(path, "it is larger than a file can be").with_source(errno)
        }
        errno => system(errno, path, what),
    }
}

fn system(errno: Errno, path: &[u8], what: &str) -> Error {
    if errno == Errno::NAMETOOLONG {
        return refused(path, "a name in it is too long").with_source(errno);
    }
    let failed: Result<(), Errno> = Err(errno);
    match failed.system(|| format!("{what} layer entry {}", shown(path))) {
        Err(error) => error,
        Ok(()) => unreachable!("an errno is a failure"),
    }
}
