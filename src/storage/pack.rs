//! A directory tree → a tar stream: the way back of [`super::unpack`], for trees that others may be
//! changing meanwhile.
//!
//! Every directory is held open while what is in it is read, and no symlink is followed: whoever
//! swaps a file for a link to somewhere else (CVE-2023-0778) gets the link into the archive. Names,
//! owners, modes, times (whole seconds), hard links, devices and extended attributes go along (GNU
//! long names, PAX records `SCHILY.xattr.*`); sockets do not.
//!
//! The tree of a layer ([`pack_layer`]) comes out as the OCI image specification wants it: overlayfs's
//! whiteouts and opaque directories as `.wh.NAME` and `.wh..wh..opq`, and what an ordinary user could
//! not make as what it stands for ([`STAT_XATTR`]).

use std::{
    collections::HashMap,
    ffi::{CStr, OsStr},
    io::{self, BufWriter, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, Stat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::{
    FOLDER,
    copy::{is_opaque, is_whiteout},
    unpack::STAT_XATTR,
};
use crate::{
    model::Digest,
    sys::{file_copy, in_root},
};

/// Deeper trees need more descriptors than a process may have.
const DEEPEST: usize = 800;
/// Longest link target that a header holds.
const SHORT_LINK: usize = 100;

/// Writes everything below `tree`, itself included as `./`, and the archive's end.
pub fn pack(tree: &OwnedFd, out: impl Write) -> io::Result<()> {
    let mut packer = Packer::new(out, &|stat| (stat.st_uid, stat.st_gid));
    packer.folder_as(tree.as_fd(), b"")?;
    packer.finish()
}

/// Writes a layer's tree, in the order of names: the same tree makes the same archive. The root
/// directory has an entry only if it is told `with_root`.
pub fn pack_layer(tree: BorrowedFd<'_>, with_root: bool, out: impl Write) -> io::Result<()> {
    let mut packer = Packer::new(out, &|stat| (stat.st_uid, stat.st_gid));
    packer.style = Style::Layer { with_root };
    packer.folder_as(tree, b"")?;
    packer.finish()
}

/// The digest of what [`pack_layer`] writes: the layer's diff id.
pub fn digest_layer(tree: BorrowedFd<'_>, with_root: bool) -> io::Result<Digest> {
    let mut hash = BufWriter::with_capacity(256 << 10, Hashing(Sha256::new()));
    pack_layer(tree, with_root, &mut hash)?;
    let Hashing(hash) = hash
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    Ok(Digest::sha256(hash.finalize()))
}

struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Files,
    Layer { with_root: bool },
}

/// An archive that is being written.
pub struct Packer<'a, W: Write> {
    archive: Builder<W>,
    style: Style,
    /// User and group of a file, as the archive is to say.
    owner: &'a dyn Fn(&Stat) -> (u32, u32),
    /// Paths of files with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Of the current directory, with a slash behind it; empty at the top.
    path: Vec<u8>,
    depth: usize,
}

impl<'a, W: Write> Packer<'a, W> {
    pub fn new(out: W, owner: &'a dyn Fn(&Stat) -> (u32, u32)) -> Self {
        Packer {
            archive: Builder::new(out),
            style: Style::Files,
            owner,
            links: HashMap::new(),
            path: Vec::new(),
            depth: 0,
        }
    }

    /// Writes a folder, open for reading, and everything below it, as `name`; an empty one is `./`.
    pub fn folder_as(&mut self, folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        self.path = name.to_vec();
        if !name.is_empty() {
            self.path.push(b'/');
        }
        self.folder(folder, None)
    }

    /// Writes what is no folder, as `name`.
    pub fn entry_as(
        &mut self,
        folder: BorrowedFd<'_>,
        entry: &CStr,
        name: &[u8],
    ) -> io::Result<()> {
        let stat = rustix::fs::statat(folder, entry, AtFlags::SYMLINK_NOFOLLOW)?;
        self.path = name.to_vec();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket | FileType::Unknown | FileType::Directory => {
                Err(Errno::OPNOTSUPP.into())
            }
            kind => self.file(folder, entry, kind, &stat),
        }
    }

    /// Writes the archive's end.
    pub fn finish(mut self) -> io::Result<()> {
        self.archive.finish()
    }

    /// `above` is the device of the folder in which this one lies.
    fn folder(&mut self, folder: BorrowedFd<'_>, above: Option<u64>) -> io::Result<()> {
        if self.depth > DEEPEST {
            return Err(Errno::NAMETOOLONG.into());
        }
        let stat = rustix::fs::fstat(folder)?;
        let found = file_copy::attributes((folder, c"."))?;
        let mut header = self.header_of(&stat, EntryType::Directory, &found)?;
        let path = match self.path.is_empty() {
            true => b"./".to_vec(),
            false => self.path.clone(),
        };
        if !self.path.is_empty() || self.style != (Style::Layer { with_root: false }) {
            self.attributes(found)?;
            self.archive
                .append_data(&mut header, as_path(&path), io::empty())?;
        }
        // A container's /proc and /sys are nobody's files.
        let entered = above.is_some_and(|device| device != stat.st_dev);
        if entered && in_root::refuse_kernel_file_systems(folder).is_err() {
            return Ok(());
        }
        let mut names = file_copy::entries(folder)?;
        if self.style != Style::Files {
            names.sort_unstable();
            if is_opaque(folder) {
                self.mark(b".wh..wh..opq", b"")?;
            }
        }
        for name in names {
            match self.entry(folder, &name, stat.st_dev) {
                // Removed or replaced meanwhile; by a whiteout too, which nobody can open.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO)
                    ) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// An empty file in the current directory that says what is not there.
    fn mark(&mut self, prefix: &[u8], name: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        let path = [&self.path, prefix, name].concat();
        self.archive
            .append_data(&mut header, as_path(&path), io::empty())
    }

    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CStr, device: u64) -> io::Result<()> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if self.style != Style::Files && is_whiteout(&stat) {
            return self.mark(b".wh.", name.to_bytes());
        }
        let before = self.path.len();
        self.path.extend_from_slice(name.to_bytes());
        let outcome = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => rustix::fs::openat(folder, name, FOLDER, Mode::empty())
                .map_err(io::Error::from)
                .and_then(|below| {
                    self.path.push(b'/');
                    self.depth += 1;
                    let outcome = self.folder(below.as_fd(), Some(device));
                    self.depth -= 1;
                    outcome
                }),
            FileType::Socket | FileType::Unknown => Ok(()),
            kind => self.file(folder, name, kind, &stat),
        };
        self.path.truncate(before);
        outcome
    }

    fn file(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        stat: &Stat,
    ) -> io::Result<()> {
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode).cloned() {
                return self.link(self.header(stat, EntryType::Link), &first);
            }
            let written = self.content(folder, name, kind, stat)?;
            if written {
                // Only what is in the archive can be linked to.
                self.links.insert(inode, self.path.clone());
            }
            return Ok(());
        }
        self.content(folder, name, kind, stat).map(drop)
    }

    /// Whether there was something to be written: it may have become something else meanwhile.
    fn content(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        stat: &Stat,
    ) -> io::Result<bool> {
        let written = match kind {
            FileType::RegularFile => return self.regular(folder, name),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new())?;
                let found = file_copy::attributes((folder, name))?;
                self.attributes(found)?;
                self.link(self.header(stat, EntryType::Symlink), target.as_bytes())
            }
            kind => {
                let of_kind = match kind {
                    FileType::CharacterDevice => EntryType::Char,
                    FileType::BlockDevice => EntryType::Block,
                    _ => EntryType::Fifo,
                };
                let mut header = self.header(stat, of_kind);
                header.set_device_major(rustix::fs::major(stat.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
                let found = file_copy::attributes((folder, name))?;
                self.attributes(found)?;
                let path = self.path.clone();
                self.archive
                    .append_data(&mut header, as_path(&path), io::empty())
            }
        };
        written.map(|()| true)
    }

    fn link(&mut self, mut header: Header, target: &[u8]) -> io::Result<()> {
        let path = self.path.clone();
        header.set_size(0);
        if target.len() > SHORT_LINK {
            self.long_link(target)?;
        }
        // As it is: a target's text is its owner's, with all its dots and slashes.
        header.set_link_name_literal(&target[..target.len().min(SHORT_LINK)])?;
        self.archive
            .append_data(&mut header, as_path(&path), io::empty())
    }

    /// GNU's entry for a target that is too long for the header that follows.
    fn long_link(&mut self, target: &[u8]) -> io::Result<()> {
        const NAME: &[u8] = b"././@LongLink";
        let mut header = Header::new_gnu();
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.name[..NAME.len()].copy_from_slice(NAME);
        }
        header.set_entry_type(EntryType::GNULongLink);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(target.len() as u64 + 1);
        header.set_cksum();
        let text = [target, b"\0"].concat();
        self.archive.append(&header, text.as_slice())
    }

    fn regular(&mut self, folder: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
        let Some((file, stat)) = in_root::open_regular(folder, name)? else {
            return Ok(false);
        };
        let found = file_copy::attributes_of(file.as_fd())?;
        let mut header = self.header_of(&stat, EntryType::Regular, &found)?;
        self.attributes(found)?;
        let path = self.path.clone();
        if header.entry_type() != EntryType::Regular {
            self.archive
                .append_data(&mut header, as_path(&path), io::empty())?;
            return Ok(true);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        // The size was said: a file that grows is cut, one that shrinks ends in zeros.
        let data = std::fs::File::from(file).chain(io::repeat(0)).take(size);
        self.archive
            .append_data(&mut header, as_path(&path), data)?;
        Ok(true)
    }

    /// Of the entry that comes next.
    fn attributes(&mut self, found: Vec<(Vec<u8>, Vec<u8>)>) -> io::Result<()> {
        let records: Vec<(String, Vec<u8>)> = found
            .into_iter()
            .filter_map(|(name, value)| {
                let name = String::from_utf8(name).ok()?;
                let ours = name.starts_with("user.coracle.");
                let taken = name.starts_with("user.") && !ours || name == "security.capability";
                taken.then(|| (format!("SCHILY.xattr.{name}"), value))
            })
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        let records = records
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()));
        self.archive.append_pax_extensions(records)
    }

    /// What a file or directory is, or in a layer what it stands for.
    fn header_of(
        &self,
        stat: &Stat,
        kind: EntryType,
        attributes: &[(Vec<u8>, Vec<u8>)],
    ) -> io::Result<Header> {
        let mut header = self.header(stat, kind);
        let noted = attributes
            .iter()
            .find(|(name, _)| name == STAT_XATTR.as_bytes())
            .and_then(|(_, value)| StandIn::parse(value));
        let Some(noted) = noted.filter(|_| self.style != Style::Files) else {
            return Ok(header);
        };
        // An owner that could be given is the true one, whatever was noted before.
        if (stat.st_uid, stat.st_gid) == (0, 0) {
            header.set_uid(u64::from(noted.uid));
            header.set_gid(u64::from(noted.gid));
        }
        if let Some((device, major, minor)) = noted.device
            && kind == EntryType::Regular
            && stat.st_size == 0
        {
            header.set_entry_type(device);
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        Ok(header)
    }

    fn header(&self, stat: &Stat, kind: EntryType) -> Header {
        let mut header = Header::new_gnu();
        let (uid, gid) = (self.owner)(stat);
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(u64::from(uid));
        header.set_gid(u64::from(gid));
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(0);
        header
    }
}

/// What [`STAT_XATTR`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandIn {
    pub uid: u32,
    pub gid: u32,
    /// Sort, major, minor.
    pub device: Option<(EntryType, u32, u32)>,
}

impl StandIn {
    pub fn parse(value: &[u8]) -> Option<StandIn> {
        let text = std::str::from_utf8(value).ok()?;
        let mut words = text.split(' ');
        let uid = words.next()?.parse().ok()?;
        let gid = words.next()?.parse().ok()?;
        let kind = match words.next()? {
            "c" => Some(EntryType::Char),
            "b" => Some(EntryType::Block),
            _ => None,
        };
        let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(StandIn {
            uid,
            gid,
            device: kind.map(|kind| (kind, numbers.0, numbers.1)),
        })
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
