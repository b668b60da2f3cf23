//! A layer's tar stream → a directory tree that overlayfs can stack.
//!
//! ```text
//! blob ─ Decompressor ─ hash_while (diff id, own thread) ─ TarStream ─ unpack ─ Tree
//!        gzip, zstd      SHA-256 of the tar bytes           entries     rules    system calls
//! ```
//!
//! [`unpack`] is the whole policy on one screen; `Tree` carries out one entry. The output is an
//! empty directory that nobody else can reach yet (staged under `tmp/`), so a crash leaves a
//! partial tree there and the sweep of its lease removes it. Nothing is flushed here: the caller
//! does one `syncfs` before the tree gets its name.
//!
//! **Where an entry lands.** Its path is taken relative to the tree, `.` and empty components are
//! dropped, `..` is refused. The parent directory is looked up with openat2(2) `RESOLVE_IN_ROOT`,
//! so a symbolic link that came earlier in the same layer is followed inside of the tree only
//! (`lib -> usr/lib`, then `lib/x`); the last component is never followed. Every system call after
//! that names one component relative to a held descriptor.
//!
//! **An entry that exists already** is replaced, a directory by a directory excepted: that one
//! keeps its content and gets the new metadata. Parents without an entry are made (0755, root,
//! time 0) and reported, see [`inherit_parents`].
//!
//! **Whiteouts** (OCI image specification, "Layers"): `.wh.NAME` becomes overlayfs's character
//! device 0:0, `.wh..wh..opq` the xattr `user.overlay.opaque` (`trusted.overlay.opaque` as
//! root), each `y`. Other `.wh..wh.` names are left over from aufs and skipped. Both speak of the
//! layers below only, wherever they stand in the archive: a directory that has both an entry and
//! a whiteout is an opaque directory. A character device 0:0 in the archive is a whiteout too.
//!
//! **What an ordinary user cannot make** is written down in the xattr [`STAT_XATTR`]: owners
//! that have no mapping, on files and directories; and devices, which become empty regular files.
//! Its value is `UID GID TYPE MAJOR MINOR` in decimal, TYPE being `-`, `d`, `c` or `b`.
//!
//! **Hard links** must point to something in the same layer that is not a directory; otherwise
//! the layer is refused, as Docker does. The metadata of a link is that of its target.
//!
//! **Xattrs** taken from an archive: `user.*` except `user.overlay.*` and `user.coracle.*`, on
//! files and directories; `security.capability` on files. All others are skipped: `trusted.*`
//! and `user.overlay.*` could redirect overlayfs, the rest is the host's business.

mod decompress;
mod diff_id;
mod entries;
mod inherit;
mod pax;
mod rare;
mod sparse;
mod tree;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    os::fd::BorrowedFd,
    path::PathBuf,
};

pub use decompress::{Decompressor, Detected, sniff};
pub use diff_id::{DiffId, hash_while};
pub use entries::{Entry, Kind, Metadata, TarStream};
pub use inherit::inherit_parents;
pub use rare::{decompress_any, is_rare};
pub use sparse::{Segment, SparseMap};

use crate::model::{Error, ErrorKind, Result};
use tree::Tree;

/// Holds what an ordinary user cannot give to a file; format in the module's head.
pub const STAT_XATTR: &str = "user.coracle.stat";

/// Longest name of a directory entry, Linux `NAME_MAX`.
const MAX_NAME: usize = 255;
/// Longest path, Linux `PATH_MAX` without the NUL.
const MAX_PATH: usize = 4095;
/// Entries are small and the decompressor delivers more at once anyway.
const READ_BUFFER: usize = 128 << 10;

/// Who unpacks, and therefore who will mount the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Real root: devices are made, overlayfs reads `trusted.overlay.*`.
    Root,
    /// Root of a user namespace, or an ordinary user: devices are stood in for, owners without a
    /// mapping are recorded, overlayfs is mounted with `userxattr`.
    Rootless,
}

impl Privilege {
    /// Root only in the first user namespace, where every id is mapped to itself: elsewhere root
    /// may neither make devices nor set `trusted.*` xattrs.
    pub fn of_this_process() -> Privilege {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let all = map.split_whitespace().eq(["0", "0", "4294967295"]);
        if rustix::process::geteuid().is_root() && all {
            Privilege::Root
        } else {
            Privilege::Rootless
        }
    }
}

#[derive(Clone, Debug)]
pub struct UnpackOptions {
    pub privilege: Privilege,
    /// `.wh.` names and devices 0:0 hide what is in the layers below. Otherwise they are files.
    pub whiteouts: bool,
    /// User and group of everything, whatever the archive says.
    pub owner: Option<(u32, u32)>,
    /// Most members of one layer.
    pub max_entries: u64,
    /// Most bytes of all files together, holes included, and of what follows the archive's end.
    pub max_bytes: u64,
}

impl UnpackOptions {
    /// At most ten million entries and `max_bytes` bytes of files.
    pub fn new(privilege: Privilege, max_bytes: u64) -> Self {
        UnpackOptions {
            privilege,
            whiteouts: true,
            owner: None,
            max_entries: 10_000_000,
            max_bytes,
        }
    }
}

/// What was done differently from what the archive says, and is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// An owner has no mapping (or may not be given): recorded, or dropped for links and nodes.
    OwnerRecorded,
    /// A device became an empty file.
    DeviceStandIn,
    /// An xattr that is not on the list of allowed ones.
    XattrSkipped,
    /// An allowed xattr that the file system or the kernel refused.
    XattrRefused,
    /// An aufs book-keeping entry.
    AufsEntry,
    /// The layer hides everything below it: overlayfs takes no notice of an opaque root.
    OpaqueRoot,
}

/// What came out of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpackSummary {
    /// Members of the archive.
    pub entries: u64,
    /// Sum of the sizes of all regular files, hard links not counted again: what Docker adds up
    /// for `docker images`.
    pub bytes: u64,
    /// Directories that had no entry of their own, parents first; empty path: the tree's root.
    pub implied_parents: Vec<PathBuf>,
    pub notes: BTreeMap<Note, u64>,
}

/// Unpacks an uncompressed tar stream into the empty directory `tree`, and reads the stream to
/// its end. An empty stream is an empty layer.
///
/// Errors: [`ErrorKind::InvalidContent`], naming the entry, for everything that is wrong with the
/// archive; an error that `source` carries (see [`Decompressor`]) as it is; otherwise the failing
/// system call. The tree is partly filled then.
pub fn unpack(
    source: impl Read,
    tree: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<UnpackSummary> {
    unpack_buffered(BufReader::with_capacity(READ_BUFFER, source), tree, options)
}

/// As [`unpack`], from buffers that are large enough to be written to files as they are.
pub fn unpack_buffered(
    source: impl BufRead,
    tree: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<UnpackSummary> {
    let mut stream = TarStream::new(source);
    let mut tree = Tree::new(tree, options.privilege)?;
    let mut summary = UnpackSummary::default();

    while let Some(mut entry) = stream.next_entry()? {
        if let Some((uid, gid)) = options.owner {
            (entry.metadata.uid, entry.metadata.gid) = (uid, gid);
        }
        let path = checked_path(&entry.path)?;
        summary.entries += 1;
        if summary.entries > options.max_entries {
            return Err(refused(&path, "the layer has too many entries"));
        }
        if entry.kind == Kind::File {
            summary.bytes = summary.bytes.saturating_add(entry.size());
        }
        if summary.bytes > options.max_bytes {
            return Err(refused(&path, "the layer is larger than allowed"));
        }
        if !options.whiteouts {
            place(&mut tree, &mut stream, &path, entry, false)?;
            continue;
        }
        match Role::of(&path)? {
            Role::Aufs => tree.note(Note::AufsEntry),
            Role::Opaque { directory } => tree.make_opaque(directory)?,
            Role::Whiteout { directory, name } => tree.whiteout(&path, directory, name)?,
            Role::Plain => place(&mut tree, &mut stream, &path, entry, true)?,
        }
    }
    stream.drain(options.max_bytes)?;

    let (implied_parents, notes) = tree.finish()?;
    Ok(UnpackSummary {
        implied_parents,
        notes,
        ..summary
    })
}

fn place<R: std::io::BufRead>(
    tree: &mut Tree<'_>,
    stream: &mut TarStream<R>,
    path: &[u8],
    entry: Entry,
    whiteouts: bool,
) -> Result<()> {
    if path.is_empty() && entry.kind != Kind::Directory {
        return Err(refused(&entry.path, "it would replace the root directory"));
    }
    match entry.kind {
        Kind::Directory => tree.directory(path, entry.metadata),
        Kind::File => tree.file(path, &entry, stream),
        Kind::Symlink => tree.symlink(path, checked_target(path, &entry.link)?, &entry.metadata),
        Kind::HardLink => tree.hard_link(path, &checked_path(&entry.link)?),
        Kind::CharDevice if whiteouts && entry.device == (0, 0) => {
            let (directory, name) = split(path);
            tree.whiteout(path, directory, name)
        }
        Kind::CharDevice | Kind::BlockDevice => tree.device(path, &entry),
        Kind::Fifo => tree.fifo(path, &entry.metadata),
    }
}

/// What an entry's name makes of it.
enum Role<'a> {
    Plain,
    Whiteout { directory: &'a [u8], name: &'a [u8] },
    Opaque { directory: &'a [u8] },
    Aufs,
}

impl Role<'_> {
    fn of(path: &[u8]) -> Result<Role<'_>> {
        let (directory, name) = split(path);
        let mut parents = directory.split(|&byte| byte == b'/');
        if let Some(special) = parents.find(|parent| parent.starts_with(b".wh.")) {
            return if special.starts_with(b".wh..wh.") {
                Ok(Role::Aufs)
            } else {
                Err(refused(path, "a whiteout is not a directory"))
            };
        }
        match name.strip_prefix(b".wh.") {
            None => Ok(Role::Plain),
            Some(b".wh..opq") => Ok(Role::Opaque { directory }),
            Some(hidden) if hidden.starts_with(b".wh.") => Ok(Role::Aufs),
            Some(b"" | b"." | b"..") => Err(refused(path, "it is a whiteout of no name")),
            Some(name) => Ok(Role::Whiteout { directory, name }),
        }
    }
}

/// The path relative to the tree, its components separated by single slashes; empty for the root.
fn checked_path(raw: &[u8]) -> Result<Vec<u8>> {
    if raw.contains(&0) {
        return Err(refused(raw, "its path contains NUL"));
    }
    let mut path = Vec::with_capacity(raw.len());
    for component in raw.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(refused(raw, "its path contains '..'")),
            long if long.len() > MAX_NAME => {
                return Err(refused(raw, "a name in it is longer than 255 bytes"));
            }
            component => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    if path.len() > MAX_PATH {
        return Err(refused(raw, "its path is longer than 4095 bytes"));
    }
    Ok(path)
}

fn checked_target<'t>(path: &[u8], target: &'t [u8]) -> Result<&'t [u8]> {
    if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
        return Err(refused(
            path,
            "the target of the symbolic link is not a path",
        ));
    }
    Ok(target)
}

/// Directory and last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// A name from an archive, safe to show and of bounded length.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(200)]);
    format!("{text:?}")
}

fn refused(path: &[u8], why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidContent,
        format!("invalid layer entry {}: {why}", shown(path)),
    )
}

/// A failed read of the stream. Readers below put our own [`Error`] into `std::io::Error`, and it
/// comes out again here; what else is not an errno says that the bytes are wrong.
fn stream_failure(error: std::io::Error, place: &str) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(own) => return own,
        Err(error) => error,
    };
    let kind = match error.raw_os_error() {
        Some(_) => ErrorKind::System,
        None => ErrorKind::InvalidContent,
    };
    Error::new(kind, format!("{place}: cannot read further")).with_source(error)
}
