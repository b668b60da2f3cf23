//! A tar stream → files in a folder that others may be changing meanwhile, or whose stream was made
//! by somebody hostile.
//!
//! Every folder on an entry's way is found from the held top, and a link in it may lead elsewhere
//! below the top, not out of it (for a container's own root: as in the container). The entry itself
//! is made exclusively under its name: no link is followed, whatever has the name is unlinked before.
//! Owner, attributes, mode and times are set by the descriptor of what was made. Folders get theirs
//! when everything is in them. What becomes the caller's gets no set-user-ID bit and no capability. So an archive, or a container that swaps what is being copied, reaches
//! nothing but what is below the top (CVE-2018-15664, CVE-2019-10152, CVE-2021-41089, CVE-2026-17106).
//!
//! As with Docker, a folder that is there stays and is filled; a folder never takes the place of a
//! file, nor a file that of a folder, unless that is asked for. A file that cannot be unlinked because
//! something is mounted on it (/etc/hosts) is written in place.

use std::{
    ffi::CString,
    io::{BufReader, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, Timespec,
        Timestamps, Uid, XattrFlags,
    },
    io::Errno,
};

use crate::{
    model::{Context, Error, ErrorKind, Result, user_namespace::IdMaps},
    storage::unpack::{Entry, Kind, Metadata, TarStream},
    sys::{in_root, tree_removal},
};

const READ_BUFFER: usize = 128 << 10;
/// A piece that is all zeros becomes a hole.
const PIECE: usize = 32 << 10;
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Whose the files will be.
#[derive(Clone, Debug)]
pub(super) enum Owners {
    /// Of whoever unpacks.
    Caller,
    /// Of this user and group.
    One(u32, u32),
    /// As the archive says, by these maps.
    Archive(Option<IdMaps>),
}

pub(super) struct Rules {
    pub owners: Owners,
    /// Folders and files may take each other's place.
    pub overwrite: bool,
    /// The top is a container's root, where absolute links begin.
    pub is_root: bool,
    /// Devices cannot be made here, and are left out.
    pub without_devices: bool,
}

/// Unpacks below `top`; what was left out is said.
pub(super) fn unpack(
    source: impl Read,
    top: BorrowedFd<'_>,
    rules: &Rules,
) -> Result<Option<String>> {
    let mut stream = TarStream::new(BufReader::with_capacity(READ_BUFFER, source));
    let mut tree = Tree {
        top,
        rules,
        last: None,
        folders: Vec::new(),
        devices: 0,
        strangers: 0,
    };
    while let Some(entry) = stream.next_entry()? {
        tree.entry(&entry, &mut stream)?;
    }
    stream.drain(u64::MAX)?;
    tree.finish()
}

struct Tree<'a> {
    top: BorrowedFd<'a>,
    rules: &'a Rules,
    /// The folder of the entry before.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// Those that get their metadata at the end.
    folders: Vec<(Vec<u8>, Metadata)>,
    devices: usize,
    /// Files whose owner does not exist here.
    strangers: usize,
}

impl Tree<'_> {
    fn entry<R: std::io::BufRead>(
        &mut self,
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> Result<()> {
        let path = clean(&entry.path)?;
        let Some((above, name)) = split(&path) else {
            // The destination itself stays as it is.
            return Ok(());
        };
        let folder = self.folder(above).system(|| what(&path))?;
        let place = (folder.as_fd(), &name);
        let made = match entry.kind {
            Kind::Directory => self.make_folder(place, &path, &entry.metadata),
            Kind::File => self.make_file(place, &path, entry, stream),
            Kind::Symlink => {
                let target = in_root::c_string(std::ffi::OsStr::from_bytes(&entry.link));
                let target = target.system(|| what(&path))?;
                self.make_way(place, &path)?;
                rustix::fs::symlinkat(&target, place.0, &name).system(|| what(&path))?;
                self.dress_node(place, &path, &entry.metadata)
            }
            Kind::HardLink => self.make_link(place, &path, &clean(&entry.link)?),
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                self.make_node(place, &path, entry)
            }
        };
        self.last = Some((above.to_vec(), folder));
        made
    }

    /// The folder at a path, made if it is missing.
    fn folder(&mut self, path: &[u8]) -> std::io::Result<OwnedFd> {
        if let Some((last, held)) = self.last.take()
            && last == path
        {
            return Ok(held);
        }
        match self.open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut end = 0;
        let mut current = self.open(b"")?;
        for name in path.split(|&byte| byte == b'/') {
            end += name.len();
            let c_name = in_root::c_string(std::ffi::OsStr::from_bytes(name))?;
            match rustix::fs::mkdirat(&current, &c_name, Mode::from_raw_mode(0o755)) {
                Ok(()) => self.own(current.as_fd(), &c_name, (0, 0))?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            current = self.open(&path[..end])?;
            end += 1;
        }
        Ok(current)
    }

    fn open(&self, path: &[u8]) -> std::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let path = in_root::c_string(std::ffi::OsStr::from_bytes(path))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if self.rules.is_root {
            let folder = in_root::open(self.top, &path, flags)?;
            in_root::refuse_kernel_file_systems(&folder)?;
            return Ok(folder);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..128 {
            match rustix::fs::openat2(self.top, &path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::XDEV) => {
                    return Err(std::io::Error::other(
                        "a link on the way leads out of the destination",
                    ));
                }
                other => {
                    let folder = other?;
                    in_root::refuse_kernel_file_systems(&folder)?;
                    return Ok(folder);
                }
            }
        }
        Err(Errno::AGAIN.into())
    }

    fn make_folder(
        &mut self,
        place: (BorrowedFd<'_>, &CString),
        path: &[u8],
        metadata: &Metadata,
    ) -> Result<()> {
        let (folder, name) = place;
        let make = || rustix::fs::mkdirat(folder, name, Mode::RWXU);
        match make() {
            Err(Errno::EXIST) => {
                let found = kind_at(place).system(|| what(path))?;
                if found != Some(FileType::Directory) {
                    if !self.rules.overwrite {
                        return Err(Error::invalid(format!(
                            "cannot overwrite non-directory {} with directory",
                            shown(path)
                        )));
                    }
                    self.make_way(place, path)?;
                    make().system(|| what(path))?;
                }
            }
            other => other.system(|| what(path))?,
        }
        self.folders.push((path.to_vec(), metadata.clone()));
        Ok(())
    }

    /// Removes what has the name, folders only if that is allowed. What something is mounted on is
    /// busy: the kernel says so only in the mount namespace in which that is, and elsewhere unmounts.
    fn make_way(&self, place: (BorrowedFd<'_>, &CString), path: &[u8]) -> Result<()> {
        match kind_at(place).system(|| what(path))? {
            None => return Ok(()),
            Some(FileType::Directory) if !self.rules.overwrite => {
                return Err(Error::invalid(format!(
                    "cannot overwrite directory {} with non-directory",
                    shown(path)
                )));
            }
            Some(_) if is_mounted(place).system(|| what(path))? => {
                return Err(Errno::BUSY).system(|| what(path));
            }
            Some(_) => {}
        }
        match tree_removal::remove(place.0, place.1) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).system(|| what(path)),
        }
    }

    fn make_file<R: std::io::BufRead>(
        &mut self,
        place: (BorrowedFd<'_>, &CString),
        path: &[u8],
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> Result<()> {
        let (folder, name) = place;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR);
        let file = match make() {
            Err(Errno::EXIST) => match self.make_way(place, path) {
                Err(error) if super::errno(&error) == Some(libc::EBUSY) => {
                    open_in_place(place).system(|| what(path))?
                }
                other => {
                    other?;
                    make().system(|| what(path))?
                }
            },
            other => other.system(|| what(path))?,
        };
        fill(&file, path, entry, stream)?;
        self.dress(&file, path, &entry.metadata)
    }

    /// Another name for what the archive has brought before.
    fn make_link(
        &mut self,
        place: (BorrowedFd<'_>, &CString),
        path: &[u8],
        target: &[u8],
    ) -> Result<()> {
        let Some((above, name)) = split(target) else {
            return Err(Error::invalid(format!(
                "{}: a link to nothing",
                shown(path)
            )));
        };
        let source = self.open(above).system(|| what(path))?;
        if kind_at((source.as_fd(), &name)).system(|| what(path))? == Some(FileType::Directory) {
            return Err(Error::invalid(format!(
                "{}: a link to a folder",
                shown(path)
            )));
        }
        self.make_way(place, path)?;
        rustix::fs::linkat(&source, &name, place.0, place.1, AtFlags::empty()).system(|| what(path))
    }

    fn make_node(
        &mut self,
        place: (BorrowedFd<'_>, &CString),
        path: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        let kind = match entry.kind {
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        if self.rules.without_devices && kind != FileType::Fifo {
            self.devices += 1;
            return Ok(());
        }
        self.make_way(place, path)?;
        let (major, minor) = entry.device;
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(place.0, place.1, kind, mode, device).system(|| what(path))?;
        self.dress_node(place, path, &entry.metadata)
    }

    /// Owner, mode and time of what must not be opened, by a descriptor that only stands for it.
    fn dress_node(
        &mut self,
        (folder, name): (BorrowedFd<'_>, &CString),
        path: &[u8],
        metadata: &Metadata,
    ) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut set = || -> std::io::Result<()> {
            let node = rustix::fs::openat(folder, name, flags, Mode::empty())?;
            self.give(&node, metadata)?;
            let stat = rustix::fs::fstat(&node)?;
            let own = format!("/proc/self/fd/{}", node.as_raw_fd());
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                let times = times(metadata.mtime);
                return Ok(rustix::fs::utimensat(
                    folder,
                    name,
                    &times,
                    AtFlags::SYMLINK_NOFOLLOW,
                )?);
            }
            rustix::fs::chmod(&own, self.mode(metadata))?;
            Ok(rustix::fs::utimensat(
                rustix::fs::CWD,
                &own,
                &times(metadata.mtime),
                AtFlags::empty(),
            )?)
        };
        set().system(|| what(path))
    }

    /// Owner, attributes, mode and time of an open file or folder, in the order in which one does
    /// not undo another.
    fn dress(&mut self, file: &OwnedFd, path: &[u8], metadata: &Metadata) -> Result<()> {
        self.give(file, metadata).system(|| what(path))?;
        for (name, value) in &metadata.xattrs {
            let ours = name.starts_with(b"user.overlay.") || name.starts_with(b"user.coracle.");
            let allowed = name.starts_with(b"user.") && !ours
                || name == b"security.capability" && self.gives_rights();
            if !allowed {
                continue;
            }
            match rustix::fs::fsetxattr(file, &name[..], value, XattrFlags::empty()) {
                // The file system has none, or the user may not give capabilities.
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::RANGE | Errno::INVAL) => {}
                other => other.system(|| what(path))?,
            }
        }
        rustix::fs::fchmod(file, self.mode(metadata)).system(|| what(path))?;
        rustix::fs::futimens(file, &times(metadata.mtime)).system(|| what(path))
    }

    /// Whether files may have the rights of others when they are executed. Not where they become the
    /// caller's: it was not the caller who said so, but the container.
    fn gives_rights(&self) -> bool {
        !matches!(self.rules.owners, Owners::Caller)
    }

    fn mode(&self, metadata: &Metadata) -> Mode {
        let mode = Mode::from_raw_mode(metadata.mode);
        match self.gives_rights() {
            true => mode,
            false => mode - (Mode::SUID | Mode::SGID),
        }
    }

    /// The owner to be given; `None` leaves the caller's. Ids that the container does not have become
    /// its root's.
    fn owner(&mut self, metadata: &Metadata) -> Option<(u32, u32)> {
        let Metadata { uid, gid, .. } = *metadata;
        match &self.rules.owners {
            Owners::Caller => None,
            Owners::One(uid, gid) => Some((*uid, *gid)),
            Owners::Archive(None) => Some((uid, gid)),
            Owners::Archive(Some(ids)) => {
                let (root_uid, root_gid) = ids.root();
                let (uid, gid) = (ids.outside_uid(uid), ids.outside_gid(gid));
                self.strangers += usize::from(uid.is_none() || gid.is_none());
                Some((uid.unwrap_or(root_uid), gid.unwrap_or(root_gid)))
            }
        }
    }

    /// Gives a file by its descriptor. EINVAL: this user namespace has no such ids.
    fn give(&mut self, file: &OwnedFd, metadata: &Metadata) -> rustix::io::Result<()> {
        let Some((uid, gid)) = self.owner(metadata) else {
            return Ok(());
        };
        let give = |uid, gid| {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        };
        match give(uid, gid) {
            Err(Errno::INVAL) => {
                self.strangers += 1;
                give(0, 0)
            }
            other => other,
        }
    }

    /// A folder that the archive does not describe.
    fn own(
        &self,
        folder: BorrowedFd<'_>,
        name: &CString,
        (uid, gid): (u32, u32),
    ) -> std::io::Result<()> {
        let owner = match &self.rules.owners {
            Owners::Caller => return Ok(()),
            Owners::One(uid, gid) => (*uid, *gid),
            Owners::Archive(None) => (uid, gid),
            Owners::Archive(Some(ids)) => ids.root(),
        };
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(
            folder,
            name,
            Some(uid),
            Some(gid),
            flags,
        )?)
    }

    /// The folders, the deepest first: a mode may close one.
    fn finish(mut self) -> Result<Option<String>> {
        for (path, metadata) in std::mem::take(&mut self.folders).iter().rev() {
            let Some((above, name)) = split(path) else {
                continue;
            };
            let opened = self
                .folder(above)
                .and_then(|above| Ok(rustix::fs::openat(above, &name, FOLDER, Mode::empty())?));
            match opened {
                Ok(folder) => self.dress(&folder, path, metadata)?,
                // Removed or replaced meanwhile by whoever else is there.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
                    ) => {}
                Err(error) => return Err(error).system(|| what(path)),
            }
        }
        Ok(notice(self.devices, self.strangers))
    }
}

fn notice(devices: usize, strangers: usize) -> Option<String> {
    let devices = (devices > 0).then(|| {
        format!("devices were left out, which only root can make, on the host with -a: {devices}")
    });
    let strangers = (strangers > 0).then(|| {
        format!(
            "files belong to the container's root, since it has no such user or group: {strangers}"
        )
    });
    match (devices, strangers) {
        (Some(devices), Some(strangers)) => Some(format!("{devices}; {strangers}")),
        (devices, strangers) => devices.or(strangers),
    }
}

/// Writes an entry's bytes, with holes where it has zeros.
fn fill<R: std::io::BufRead>(
    file: &OwnedFd,
    path: &[u8],
    entry: &Entry,
    stream: &mut TarStream<R>,
) -> Result<()> {
    let write = |stream: &mut TarStream<R>, mut at: u64, length: u64| {
        stream.data(length, |bytes| {
            for piece in bytes.chunks(PIECE) {
                if piece.iter().any(|&byte| byte != 0) {
                    write_at(file, piece, at).system(|| what(path))?;
                }
                at += piece.len() as u64;
            }
            Ok(())
        })
    };
    match &entry.sparse {
        None => write(stream, 0, entry.stored)?,
        Some(map) => {
            for segment in &map.segments {
                write(stream, segment.offset, segment.length)?;
            }
        }
    }
    rustix::fs::ftruncate(file, entry.size()).system(|| what(path))
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A regular file on which something is mounted.
fn open_in_place((folder, name): (BorrowedFd<'_>, &CString)) -> std::io::Result<OwnedFd> {
    let Some((file, _)) = in_root::open_regular(folder, name)? else {
        return Err(Errno::BUSY.into());
    };
    in_root::refuse_kernel_file_systems(&file)?;
    in_root::reopen(&file, OFlags::WRONLY | OFlags::TRUNC)
}

fn kind_at((folder, name): (BorrowedFd<'_>, &CString)) -> rustix::io::Result<Option<FileType>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn is_mounted((folder, name): (BorrowedFd<'_>, &CString)) -> rustix::io::Result<bool> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let known = rustix::fs::statx(folder, name, flags, StatxFlags::empty())?;
    Ok(known.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn times(modified: Timespec) -> Timestamps {
    Timestamps {
        last_access: modified,
        last_modification: modified,
    }
}

/// The path below the top; empty for the top itself.
fn clean(raw: &[u8]) -> Result<Vec<u8>> {
    let mut path = Vec::with_capacity(raw.len());
    for name in raw.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                return Err(Error::new(
                    ErrorKind::InvalidContent,
                    format!(
                        "invalid archive entry {}: its path contains '..'",
                        shown(raw)
                    ),
                ));
            }
            name => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
            }
        }
    }
    Ok(path)
}

/// Folder and last name; `None` for the top itself.
fn split(path: &[u8]) -> Option<(&[u8], CString)> {
    let (above, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let name = CString::new(name).ok()?;
    (!name.is_empty()).then_some((above, name))
}

fn what(path: &[u8]) -> String {
    format!("cannot write {}", shown(path))
}

/// A name from an archive, safe to show and of bounded length.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(200)]);
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt, path::Path};

    use rustix::fs::CWD;

    use super::*;

    struct Archive(tar::Builder<Vec<u8>>);

    impl Archive {
        fn new() -> Archive {
            Archive(tar::Builder::new(Vec::new()))
        }

        fn add(mut self, kind: tar::EntryType, path: &str, link: &str, text: &str) -> Archive {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_link_name_literal(link).unwrap();
            header.set_entry_type(kind);
            header.set_mode(0o644 | if kind.is_dir() { 0o111 } else { 0 });
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(text.len() as u64);
            header.set_mtime(1_000_000_000);
            header.set_cksum();
            self.0.append(&header, text.as_bytes()).unwrap();
            self
        }

        fn file(self, path: &str, text: &str) -> Archive {
            self.add(tar::EntryType::Regular, path, "", text)
        }

        fn folder(self, path: &str) -> Archive {
            self.add(tar::EntryType::Directory, path, "", "")
        }

        fn symlink(self, path: &str, to: &str) -> Archive {
            self.add(tar::EntryType::Symlink, path, to, "")
        }

        fn link(self, path: &str, to: &str) -> Archive {
            self.add(tar::EntryType::Link, path, to, "")
        }

        /// Into `top`, which lies beside a file that must not change.
        fn unpack(self, top: &Path, overwrite: bool) -> std::result::Result<(), String> {
            let bytes = self.0.into_inner().unwrap();
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let held = rustix::fs::openat(CWD, top, flags, Mode::empty()).unwrap();
            let rules = Rules {
                owners: Owners::Caller,
                overwrite,
                is_root: false,
                without_devices: true,
            };
            let outcome = unpack(&bytes[..], held.as_fd(), &rules);
            outcome.map(drop).map_err(|error| error.one_line())
        }
    }

    /// `top/` beside `canary`.
    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir(&top).unwrap();
        fs::write(folder.path().join("canary"), "alive").unwrap();
        (folder, top)
    }

    #[test]
    fn files_folders_and_links() {
        let (_folder, top) = place();
        let archive = Archive::new()
            .folder("d")
            .file("d/f", "text")
            .link("d/g", "d/f")
            .symlink("d/l", "/etc/passwd")
            .file("made/on/the/way", "x");
        archive.unpack(&top, false).unwrap();
        assert_eq!(fs::read_to_string(top.join("d/g")).unwrap(), "text");
        let (f, g) = (top.join("d/f"), top.join("d/g"));
        assert_eq!(f.metadata().unwrap().ino(), g.metadata().unwrap().ino());
        assert_eq!(f.metadata().unwrap().mtime(), 1_000_000_000);
        assert_eq!(top.join("d").metadata().unwrap().mtime(), 1_000_000_000);
        assert_eq!(
            fs::read_link(top.join("d/l")).unwrap(),
            Path::new("/etc/passwd")
        );
        assert!(top.join("made/on/the/way").exists());
    }

    #[test]
    fn nothing_leaves_the_top() {
        let outside = |folder: &tempfile::TempDir| folder.path().to_str().unwrap().to_owned();
        type Make = fn(&str) -> Archive;
        let cases: [(&str, Make); 7] = [
            ("climbs", |_| Archive::new().file("../canary", "dead")),
            ("climbs later", |_| {
                Archive::new().folder("d").file("d/../../canary", "dead")
            }),
            ("through an absolute link", |outside| {
                Archive::new()
                    .symlink("l", outside)
                    .file("l/canary", "dead")
            }),
            ("through a link upwards", |_| {
                Archive::new().symlink("l", "..").file("l/canary", "dead")
            }),
            ("through two links", |_| {
                Archive::new()
                    .symlink("a", ".")
                    .symlink("b", "a/..")
                    .file("b/canary", "dead")
            }),
            ("a hard link outwards", |outside| {
                Archive::new()
                    .symlink("l", outside)
                    .link("mine", "l/canary")
                    .file("mine", "dead")
            }),
            ("a hard link upwards", |_| {
                Archive::new().link("mine", "../canary")
            }),
        ];
        for (what, make) in cases {
            let (folder, top) = place();
            assert!(
                make(&outside(&folder)).unpack(&top, false).is_err(),
                "{what}"
            );
            let canary = fs::read_to_string(folder.path().join("canary")).unwrap();
            assert_eq!(canary, "alive", "{what}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{what}");
        }
    }

    #[test]
    fn a_file_takes_the_place_of_a_link_and_not_of_its_target() {
        let (folder, top) = place();
        std::os::unix::fs::symlink("../canary", top.join("l")).unwrap();
        Archive::new()
            .file("l", "mine")
            .unpack(&top, false)
            .unwrap();
        assert!(top.join("l").symlink_metadata().unwrap().is_file());
        let canary = fs::read_to_string(folder.path().join("canary")).unwrap();
        assert_eq!(canary, "alive");
    }

    #[test]
    fn absolute_names_are_below_the_top() {
        let (_folder, top) = place();
        Archive::new()
            .file("/etc/x", "x")
            .unpack(&top, false)
            .unwrap();
        assert!(top.join("etc/x").exists());
    }

    #[test]
    fn files_and_folders_do_not_take_each_others_place_unless_allowed() {
        let (_folder, top) = place();
        fs::create_dir_all(top.join("d/sub")).unwrap();
        fs::write(top.join("f"), "").unwrap();
        let error = Archive::new().file("d", "x").unpack(&top, false);
        assert!(error.unwrap_err().contains("cannot overwrite directory"));
        let error = Archive::new().folder("f").unpack(&top, false);
        assert!(
            error
                .unwrap_err()
                .contains("cannot overwrite non-directory")
        );
        Archive::new()
            .file("d", "x")
            .folder("f")
            .unpack(&top, true)
            .unwrap();
        assert!(top.join("d").is_file() && top.join("f").is_dir());
    }

    #[test]
    fn zeros_become_holes() {
        let (_folder, top) = place();
        let text = format!("{}end", "\0".repeat(4 << 20));
        Archive::new().file("f", &text).unpack(&top, false).unwrap();
        let metadata = top.join("f").metadata().unwrap();
        assert_eq!(metadata.len(), (4 << 20) + 3);
        assert!(metadata.blocks() * 512 < 1 << 20);
    }
}
