//! Whether a layer's tree is what its blob unpacks to.
//!
//! What a tar stream becomes is decided by the unpacking code alone (entries replaced, links
//! followed, parents implied, owners recorded), so that code is asked again: the blob is unpacked
//! once more into a lease and the two trees are walked side by side. That costs the pull nothing, needs
//! no second description in the store that could itself be damaged, and what was unpacked is the
//! mended layer, should one be needed. Nothing is flushed unless it is kept.
//!
//! Compared are names, types, modes, owners, sizes, times, device numbers, targets of links, extended
//! attributes, which names are one file, and all contents. Not compared: access times, inode numbers
//! and what a directory measures.

use std::{
    collections::HashMap,
    ffi::{CString, OsString},
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat},
    io::Errno,
};

use super::{is_damage, twice};
use crate::{
    model::{Context, Digest, Error, ErrorKind, Result},
    storage::{
        FOLDER, LayerFacts, Lease, StagedLayer,
        unpack::{
            Decompressor, Note, Privilege, UnpackOptions, hash_while, inherit_parents, unpack,
        },
    },
};

/// As for a pull: 1 TiB.
const MAX_LAYER_BYTES: u64 = 1 << 40;
/// Largest list of names of extended attributes, and largest value, that Linux knows.
const MAX_XATTR_BYTES: usize = 64 << 10;
/// Differences after which a tree is damaged enough to be told of.
const ENOUGH: usize = 3;
/// Directories deep: more than a path of 4095 bytes can have.
const MAX_DEPTH: usize = 4096;
const BUFFER: usize = 256 << 10;

/// A layer unpacked anew, in a lease.
pub struct Rebuilt {
    layer: StagedLayer,
    pub facts: LayerFacts,
    /// Directories whose metadata come from layers that the store does not have.
    unsure: Vec<PathBuf>,
}

/// Which layer, and what it is made of.
pub struct LayerSource<'a> {
    pub chain_id: &'a Digest,
    pub diff_id: &'a Digest,
    /// Chain ids of the layers below, lowest first.
    pub below: &'a [Digest],
    /// Whether those are known to be undamaged: directories that a layer implies look like theirs.
    pub below_is_sound: bool,
}

impl Lease<'_> {
    /// Unpacks the layer's blob again.
    ///
    /// # Errors
    /// Those of unpacking; [`ErrorKind::DigestMismatch`] if the blob is of another layer.
    pub fn rebuild_layer(
        &self,
        source: &LayerSource<'_>,
        blob: File,
        privilege: Privilege,
    ) -> Result<Rebuilt> {
        let layer = self.stage_layer(source.chain_id)?;
        let plain = Decompressor::detect(blob).map_err(|error| {
            Error::new(ErrorKind::System, "cannot read the layer's blob").with_source(error)
        })?;
        let options = UnpackOptions::new(privilege, MAX_LAYER_BYTES);
        let (summary, found) = hash_while(plain, |tar| unpack(tar, layer.tree(), &options))?;
        if found.digest != *source.diff_id {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!("the blob unpacks to {}", found.digest),
            ));
        }
        let mut below: Vec<OwnedFd> = Vec::with_capacity(source.below.len());
        let mut complete = source.below_is_sound;
        for chain_id in source.below {
            match self.store().layer_folder(chain_id) {
                Ok(tree) => below.push(tree),
                Err(_) => complete = false,
            }
        }
        let lower: Vec<BorrowedFd<'_>> = below.iter().map(AsFd::as_fd).collect();
        inherit_parents(layer.tree(), &summary.implied_parents, &lower)?;
        Ok(Rebuilt {
            layer,
            facts: LayerFacts {
                diff_id: found.digest,
                size: summary.bytes,
                entries: summary.entries,
                opaque_root: summary.notes.contains_key(&Note::OpaqueRoot),
                unflushed: None,
            },
            unsure: match complete {
                true => Vec::new(),
                false => summary.implied_parents,
            },
        })
    }

    /// How the layer in the store differs from this one: a few lines, none if it does not. `None` if
    /// it is gone meanwhile.
    pub fn compare_layer(
        &self,
        rebuilt: &Rebuilt,
        chain_id: &Digest,
    ) -> Result<Option<Vec<String>>> {
        let tree = match self.store().layer_folder(chain_id) {
            Ok(tree) => tree,
            Err(_) if !self.store().layer_is_named(chain_id)? => return Ok(None),
            Err(error) => {
                // Only one that is not there, or no folder, is damaged.
                let place = crate::storage::layers::place(chain_id);
                let tree = format!("{place}/tree");
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                return match rustix::fs::statat(&self.store().root, tree, flags) {
                    Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                        Err(error)
                    }
                    Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(Some(vec![error.one_line()])),
                    Err(_) => Err(error),
                };
            }
        };
        let before = rustix::fs::fstat(&tree).system(|| "cannot examine a layer".to_owned())?;
        let mut walk = Walk::new(&rebuilt.unsure);
        walk.folders(rebuilt.layer.tree(), tree.as_fd())?;
        if walk.differences.is_empty() {
            match self.store().layer_facts(chain_id) {
                Ok(facts) if is_same(&facts, &rebuilt.facts) => return Ok(Some(Vec::new())),
                Err(error) if error.kind() != ErrorKind::NoSuchBlob => return Err(error),
                _ => walk
                    .differences
                    .push("layer.json says something else".to_owned()),
            }
        }
        // Taken away while it was looked at: what was missing is no damage.
        match self.store().layer_folder(chain_id) {
            Ok(now) => {
                let now = rustix::fs::fstat(&now).system(|| "cannot examine a layer".to_owned())?;
                Ok(((now.st_dev, now.st_ino) == (before.st_dev, before.st_ino))
                    .then_some(walk.differences))
            }
            Err(_) if !self.store().has_layer(chain_id)? => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Rebuilt {
    /// Ready to take the place of the one in the store.
    pub fn into_layer(mut self) -> Result<StagedLayer> {
        self.layer.seal(&self.facts)?;
        Ok(self.layer)
    }
}

/// The number of entries is for statistics: a commit counts files, not the marks that it writes.
fn is_same(there: &LayerFacts, wanted: &LayerFacts) -> bool {
    (&there.diff_id, there.size, there.opaque_root)
        == (&wanted.diff_id, wanted.size, wanted.opaque_root)
}

/// Two trees, side by side.
struct Walk<'a> {
    differences: Vec<String>,
    /// Where metadata are not known.
    unsure: &'a [PathBuf],
    path: Vec<u8>,
    depth: usize,
    /// Files with several names: which file of the other tree each one is.
    linked: HashMap<(u64, u64), (u64, u64)>,
    buffers: (Vec<u8>, Vec<u8>),
}

impl<'a> Walk<'a> {
    fn new(unsure: &'a [PathBuf]) -> Self {
        Walk {
            differences: Vec::new(),
            unsure,
            path: Vec::new(),
            depth: 0,
            linked: HashMap::new(),
            buffers: (vec![0; BUFFER], vec![0; BUFFER]),
        }
    }

    fn differs(&mut self, how: &str) {
        let path = match self.path.is_empty() {
            true => b"/",
            false => self.path.as_slice(),
        };
        let path = String::from_utf8_lossy(&path[..path.len().min(200)]);
        self.differences.push(format!("{path:?} {how}"));
    }

    /// Metadata and content of two directories. Stops when enough is known.
    fn folders(&mut self, wanted: BorrowedFd<'_>, found: BorrowedFd<'_>) -> Result<()> {
        let what = || "cannot compare a layer".to_owned();
        let known = !self.is_unsure();
        if known {
            let (ours, theirs) = (
                rustix::fs::fstat(wanted).system(what)?,
                rustix::fs::fstat(found).system(what)?,
            );
            self.metadata(&ours, &theirs);
            self.xattrs(wanted, found)?;
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::InvalidContent, "a layer is too deep"));
        }
        let mut others = entries(found).system(what)?;
        for name in entries(wanted).system(what)? {
            if self.differences.len() >= ENOUGH {
                return Ok(());
            }
            let length = self.enter(&name);
            match others.binary_search(&name) {
                Err(_) => self.differs("is missing"),
                Ok(place) => {
                    others.remove(place);
                    self.nodes(&wanted, &found, &name)?;
                }
            }
            self.path.truncate(length);
        }
        for name in others.into_iter().take(ENOUGH) {
            let length = self.enter(&name);
            self.differs("does not belong there");
            self.path.truncate(length);
        }
        self.depth -= 1;
        Ok(())
    }

    fn enter(&mut self, name: &CString) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.as_bytes());
        length
    }

    fn is_unsure(&self) -> bool {
        !self.unsure.is_empty() && {
            let path = PathBuf::from(OsString::from_vec(self.path.clone()));
            self.unsure.contains(&path)
        }
    }

    fn nodes(
        &mut self,
        wanted: &BorrowedFd<'_>,
        found: &BorrowedFd<'_>,
        name: &CString,
    ) -> Result<()> {
        let what = || "cannot compare a layer".to_owned();
        let look = |dir: &BorrowedFd<'_>| {
            rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).system(what)
        };
        let (ours, theirs) = (look(wanted)?, look(found)?);
        let kind = FileType::from_raw_mode(ours.st_mode);
        if kind != FileType::from_raw_mode(theirs.st_mode) {
            self.differs("is of another type");
            return Ok(());
        }
        let open = |dir: &BorrowedFd<'_>, flags: OFlags| {
            let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(dir, name, flags, Mode::empty())
        };
        match kind {
            FileType::Directory => {
                let ours = open(wanted, FOLDER).system(what)?;
                match twice(|| open(found, FOLDER)) {
                    Ok(theirs) => self.folders(ours.as_fd(), theirs.as_fd()),
                    Err(errno) => self.is_unreadable(errno),
                }
            }
            FileType::RegularFile => {
                self.metadata(&ours, &theirs);
                if self.is_known_link(&ours, &theirs) || ours.st_size != theirs.st_size {
                    return Ok(());
                }
                let ours = open(wanted, OFlags::NONBLOCK).system(what)?;
                match twice(|| open(found, OFlags::NONBLOCK)) {
                    Ok(theirs) => {
                        self.xattrs(ours.as_fd(), theirs.as_fd())?;
                        self.contents(&File::from(ours), &File::from(theirs))
                    }
                    Err(errno) => self.is_unreadable(errno),
                }
            }
            FileType::Symlink => {
                self.metadata(&ours, &theirs);
                let target = |dir: &BorrowedFd<'_>| rustix::fs::readlinkat(dir, name, Vec::new());
                if target(wanted).system(what)? != target(found).system(what)? {
                    self.differs("leads elsewhere");
                }
                Ok(())
            }
            // A whiteout says nothing but that it is there; its owner and time are the moment's.
            FileType::CharacterDevice if ours.st_rdev == 0 && theirs.st_rdev == 0 => Ok(()),
            _ => {
                self.metadata(&ours, &theirs);
                Ok(())
            }
        }
    }

    /// Whether this pair was compared under another name. Says so if they are not the same pair.
    fn is_known_link(&mut self, ours: &Stat, theirs: &Stat) -> bool {
        if ours.st_nlink == 1 && theirs.st_nlink == 1 {
            return false;
        }
        let (a, b) = ((ours.st_dev, ours.st_ino), (theirs.st_dev, theirs.st_ino));
        match self.linked.insert(a, b) {
            None => false,
            Some(known) => {
                if known != b {
                    self.differs("is not the file that it should be a link to");
                }
                true
            }
        }
    }

    fn metadata(&mut self, ours: &Stat, theirs: &Stat) {
        let directory = FileType::from_raw_mode(ours.st_mode) == FileType::Directory;
        let pairs = [
            ("mode", ours.st_mode & 0o7777 != theirs.st_mode & 0o7777),
            (
                "owner",
                (ours.st_uid, ours.st_gid) != (theirs.st_uid, theirs.st_gid),
            ),
            ("size", !directory && ours.st_size != theirs.st_size),
            (
                "time",
                (ours.st_mtime, ours.st_mtime_nsec) != (theirs.st_mtime, theirs.st_mtime_nsec),
            ),
            ("device number", ours.st_rdev != theirs.st_rdev),
            (
                "number of links",
                !directory && ours.st_nlink != theirs.st_nlink,
            ),
        ];
        let wrong: Vec<&str> = pairs
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| *name)
            .collect();
        if !wrong.is_empty() {
            self.differs(&format!("has another {}", wrong.join(", ")));
        }
    }

    /// A disk that cannot read it is a difference; whatever else stands in the way is not.
    fn is_unreadable(&mut self, errno: Errno) -> Result<()> {
        if is_damage(errno) {
            self.differs(&format!("cannot be read: {errno}"));
            return Ok(());
        }
        let path = String::from_utf8_lossy(&self.path);
        Err(errno).system(|| format!("cannot read {path:?} of a layer"))
    }

    fn xattrs(&mut self, wanted: BorrowedFd<'_>, found: BorrowedFd<'_>) -> Result<()> {
        let what = || "cannot compare a layer's extended attributes".to_owned();
        let (wanted, found) = (twice(|| xattrs(wanted)), twice(|| xattrs(found)));
        if wanted.system(what)? != found.system(what)? {
            self.differs("has other extended attributes");
        }
        Ok(())
    }

    fn contents(&mut self, ours: &File, theirs: &File) -> Result<()> {
        let mut at = 0;
        loop {
            // An image may have a file of a terabyte that is one hole.
            at = data_from(ours, at).min(data_from(theirs, at));
            let (mine, other) = (&mut self.buffers.0, &mut self.buffers.1);
            let length = twice(|| read_full(ours, mine, at))
                .system(|| "cannot read a layer that was just unpacked".to_owned())?;
            let same = match twice(|| read_full(theirs, other, at)) {
                Ok(read) => mine[..length] == other[..read],
                Err(errno) => return self.is_unreadable(errno),
            };
            if !same {
                self.differs("has another content");
                return Ok(());
            }
            if length == 0 {
                return Ok(());
            }
            at += length as u64;
        }
    }
}

/// Where data begin at or after a place, the file's end if there are none.
fn data_from(file: &File, at: u64) -> u64 {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => data,
        Err(Errno::NXIO) => file
            .metadata()
            .map_or(at, |metadata| metadata.len().max(at)),
        // A file system that does not know, or cannot read: reading tells.
        Err(_) => at,
    }
}

fn read_full(file: &File, buffer: &mut [u8], at: u64) -> rustix::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

/// Sorted names.
fn entries(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let dir = rustix::fs::openat(dir, ".", FOLDER, Mode::empty())?;
    let mut names = Vec::new();
    let mut space = Vec::with_capacity(32 << 10);
    let mut reader = RawDir::new(&dir, space.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Sorted, with their values. Those of the host's security modules are no part of a layer.
/// What overlayfs notes on what it has copied up for a step of a build says nothing of the file, and is
/// in no archive.
fn is_note(name: &[u8]) -> bool {
    let name = name
        .strip_prefix(b"trusted.overlay.")
        .or_else(|| name.strip_prefix(b"user.overlay."));
    matches!(name, Some(b"origin" | b"impure" | b"nlink" | b"uuid"))
}

fn xattrs(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = [0_u8; 4096];
    let listed = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(length) => names[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut names = vec![0_u8; MAX_XATTR_BYTES];
            let length = rustix::fs::flistxattr(file, &mut names[..])?;
            names.truncate(length);
            names
        }
        Err(errno) => return Err(errno),
    };
    let mut pairs = Vec::new();
    for name in listed
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"security.") && name != b"security.capability" || is_note(name) {
            continue;
        }
        let mut value = vec![0_u8; MAX_XATTR_BYTES];
        let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        value.truncate(length);
        pairs.push((name.to_vec(), value));
    }
    pairs.sort();
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Where two files differ inside of what is a hole in one of them, it is seen.
    #[test]
    fn holes_are_skipped_only_where_both_have_one() {
        let file = |byte: Option<u8>| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(1 << 40).unwrap();
            file.write_all_at(b"end", (1 << 40) - 3).unwrap();
            if let Some(byte) = byte {
                file.write_all_at(&[byte], 1 << 39).unwrap();
            }
            file
        };
        let differences = |ours: &File, theirs: &File| {
            let mut walk = Walk::new(&[]);
            walk.contents(ours, theirs).unwrap();
            walk.differences.len()
        };
        assert_eq!(differences(&file(None), &file(None)), 0);
        // Zeros on the disk are as good as none.
        assert_eq!(differences(&file(None), &file(Some(0))), 0);
        assert_eq!(differences(&file(None), &file(Some(1))), 1);
        assert_eq!(differences(&file(Some(1)), &file(None)), 1);
    }
}
