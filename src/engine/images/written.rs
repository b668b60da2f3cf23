//! Where an image's files go that leave the store: a tar archive, or a directory.
//!
//! An archive's members depend on nothing but their names and bytes (owner, mode and time are always
//! the same), so the same images make the same archive. Bytes of blobs do not pass through this
//! process where the kernel can copy them itself (copy_file_range(2), sendfile(2)).
//!
//! **What a crash leaves.** An archive that is a file has no name before it is whole; one that takes
//! another's place does so by a rename. (A file system without nameless files, O_TMPFILE, may keep a
//! `.NAME.PID.part`.) In a directory, the document that makes it an image is written last, and takes
//! its predecessor's place by a rename: what lies there before means nothing, and the next `save` uses
//! it. Nothing is flushed: the files are the user's, as those of `cp` are.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
};
use serde_json::Value;
use tar::{Builder, Header};

use super::{archive::read_small, save};
use crate::model::{Context, Error, ErrorKind, Result};

const BLOCK: u64 = 512;
/// As Docker's: what an image holds may be nobody else's business.
const MODE: u32 = 0o600;

/// Takes the files of images, one after the other.
pub(super) trait Writer {
    /// A small file.
    fn document(&mut self, name: &str, bytes: &[u8]) -> Result<()>;
    /// Whether a blob of this name and size is there already.
    fn has(&self, name: &str, size: u64) -> bool;
    /// A blob of `size` bytes.
    fn blob(&mut self, name: &str, size: u64, from: Blob<'_>) -> Result<()>;
    /// `index.json` with these entries, and those that are there already.
    fn merged_index(&self, entries: Vec<Value>) -> Result<Vec<u8>> {
        save::index(None, entries)
    }
    /// Everything is there.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Whoever watches hears of the bytes of a file this often.
const WATCHED: u64 = 8 << 20;

/// The bytes of a blob, read from their beginning.
pub(super) enum Blob<'a> {
    /// The function is told how many more are written.
    File(&'a File, &'a dyn Fn(u64)),
    Bytes(&'a [u8]),
    Reader(&'a mut dyn Read),
}

impl Blob<'_> {
    fn copy(self, size: u64, mut out: &File) -> io::Result<u64> {
        match self {
            Blob::File(file, advanced) => copy_file(file, size, out, advanced),
            Blob::Bytes(bytes) => out.write_all(bytes).map(|()| bytes.len() as u64),
            Blob::Reader(reader) => io::copy(&mut reader.take(size), &mut out),
        }
    }
}

/// The standard library lets the kernel copy between these types.
fn copy_file(
    mut file: &File,
    size: u64,
    mut out: &File,
    advanced: &dyn Fn(u64),
) -> io::Result<u64> {
    let mut written = 0;
    while written < size {
        let part = WATCHED.min(size - written);
        let copied = io::copy(&mut Read::by_ref(&mut file).take(part), &mut out)?;
        if copied == 0 {
            break;
        }
        written += copied;
        advanced(copied);
    }
    Ok(written)
}

fn failed(name: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::System, format!("cannot write {name}")).with_source(error)
}

fn cut_short(name: &str) -> Error {
    Error::new(
        ErrorKind::DigestMismatch,
        format!("{name} has become shorter in the store"),
    )
    .with_hint("pull or load the image again")
}

// ---- archives --------------------------------------------------------------------------------

/// A tar archive.
pub(super) struct Archive {
    out: NewFile,
    /// Directories that have an entry: ordinary users' unpackers want one before what is in it.
    folders: BTreeSet<String>,
}

impl Archive {
    /// At `path`, when it is whole; what is no regular file there (a pipe, a device) is written to.
    pub fn at(path: &Path) -> Result<Archive> {
        Ok(Archive {
            out: NewFile::begin(path, MODE)?,
            folders: BTreeSet::new(),
        })
    }

    pub fn to(stream: File) -> Archive {
        Archive {
            out: NewFile {
                file: stream,
                name: "standard output".to_owned(),
                place: None,
            },
            folders: BTreeSet::new(),
        }
    }

    fn header(&self, name: &str, size: u64) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        if name.ends_with('/') {
            header.set_mode(0o755);
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_mtime(0);
        // Without the data: a name too long for the header gets an entry of its own.
        let mut builder = Builder::new(Vec::new());
        let written = builder
            .append_data(&mut header, name, io::empty())
            .and_then(|()| {
                let bytes = builder.get_ref();
                (&self.out.file).write_all(bytes)
            });
        written.map_err(|error| failed(&self.out.name, error))
    }

    fn pad(&self, size: u64) -> Result<()> {
        let zeros = [0; BLOCK as usize];
        let rest = usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or(0);
        (&self.out.file)
            .write_all(&zeros[..rest])
            .map_err(|error| failed(&self.out.name, error))
    }
}

impl Writer for Archive {
    fn document(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.blob(name, bytes.len() as u64, Blob::Bytes(bytes))
    }

    fn has(&self, _: &str, _: u64) -> bool {
        false
    }

    fn blob(&mut self, name: &str, size: u64, from: Blob<'_>) -> Result<()> {
        for (slash, _) in name.match_indices('/') {
            let folder = &name[..=slash];
            if self.folders.insert(folder.to_owned()) {
                self.header(folder, 0)?;
            }
        }
        self.header(name, size)?;
        let copied = from.copy(size, &self.out.file);
        let copied = copied.map_err(|error| failed(&self.out.name, error))?;
        if copied != size {
            return Err(cut_short(name));
        }
        self.pad(size)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let end = [0; 2 * BLOCK as usize];
        (&self.out.file)
            .write_all(&end)
            .map_err(|error| failed(&self.out.name, error))?;
        self.out.keep()
    }
}

/// A file that gets its name when it is whole.
struct NewFile {
    file: File,
    /// For messages.
    name: String,
    /// `None` if there is nothing to name.
    place: Option<Place>,
}

struct Place {
    folder: OwnedFd,
    name: std::ffi::OsString,
    /// What it is called until then, if the file system wants it to be called something.
    part: Option<String>,
}

impl NewFile {
    fn begin(path: &Path, mode: u32) -> Result<NewFile> {
        let shown = path.display().to_string();
        let what = || format!("cannot write {}", path.display());
        // Whoever made a symlink there wants what it leads to replaced.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match std::fs::metadata(&path) {
            Ok(there) if there.is_dir() => {
                return Err(io::Error::from(io::ErrorKind::IsADirectory)).system(what);
            }
            Ok(there) if !there.is_file() => {
                let file = File::options().write(true).open(&path).system(what)?;
                return Ok(NewFile {
                    file,
                    name: shown,
                    place: None,
                });
            }
            _ => {}
        }
        let Some(name) = path.file_name() else {
            return Err(Error::invalid(format!("{shown:?} is no name for a file")));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty()).system(what)?;
        let nameless = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let (file, part) =
            match rustix::fs::openat(&folder, ".", nameless, Mode::from_raw_mode(mode)) {
                Ok(file) => (file, None),
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                    let part = part_name(name);
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                    let mode = Mode::from_raw_mode(mode);
                    let file = rustix::fs::openat(&folder, &part, flags, mode).system(what)?;
                    (file, Some(part))
                }
                Err(errno) => return Err(errno).system(what),
            };
        let place = Place {
            folder,
            name: name.to_owned(),
            part,
        };
        Ok(NewFile {
            file: file.into(),
            name: shown,
            place: Some(place),
        })
    }

    fn keep(mut self) -> Result<()> {
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        place
            .keep(&self.file)
            .system(|| format!("cannot write {}", self.name))
    }
}

impl Place {
    fn keep(&mut self, file: &File) -> rustix::io::Result<()> {
        if self.part.is_none() {
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            let link = |name: &std::ffi::OsStr| {
                let flags = AtFlags::SYMLINK_FOLLOW;
                rustix::fs::linkat(CWD, &own, &self.folder, name, flags)
            };
            match link(&self.name) {
                Err(Errno::EXIST) => {
                    // Only a rename takes another's place.
                    let part = part_name(&self.name);
                    link(part.as_ref())?;
                    self.part = Some(part);
                }
                outcome => return outcome,
            }
        }
        if let Some(part) = &self.part {
            rustix::fs::renameat(&self.folder, part, &self.folder, &self.name)?;
            self.part = None;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = rustix::fs::unlinkat(&self.folder, part, AtFlags::empty());
        }
    }
}

fn part_name(name: &std::ffi::OsStr) -> String {
    let name: String = name.to_string_lossy().chars().take(60).collect();
    format!(".{name}.{}.part", std::process::id())
}

// ---- directories -----------------------------------------------------------------------------

/// A directory of files: an OCI layout, or Podman's `dir:`.
pub(super) struct Directory {
    path: PathBuf,
    /// What is to be written at the end: its name and bytes.
    last: Vec<(String, Vec<u8>)>,
    last_name: &'static str,
}

impl Directory {
    /// Makes it if it is not there. `marker` is the file that tells that a folder is one already,
    /// `last_name` the document that makes it whole.
    pub fn at(path: &Path, marker: &str, last_name: &'static str) -> Result<Directory> {
        let what = || format!("cannot write {}", path.display());
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut entries = std::fs::read_dir(path).system(what)?;
                if entries.next().is_some() && !path.join(marker).exists() {
                    return Err(Error::invalid(format!(
                        "{} is a folder with other files",
                        path.display()
                    ))
                    .with_hint("name one that is empty or not there"));
                }
            }
            Err(error) => return Err(error).system(what),
        }
        Ok(Directory {
            path: path.to_owned(),
            last: Vec::new(),
            last_name,
        })
    }

    fn put(&self, name: &str, size: u64, from: Blob<'_>) -> Result<()> {
        let path = self.path.join(name);
        let what = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).system(what)?;
        }
        let new = NewFile::begin(&path, 0o644)?;
        let copied = from.copy(size, &new.file).system(what)?;
        if copied != size {
            return Err(cut_short(name));
        }
        new.keep()
    }
}

impl Writer for Directory {
    fn document(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if name == self.last_name {
            self.last.push((name.to_owned(), bytes.to_vec()));
            return Ok(());
        }
        self.put(name, bytes.len() as u64, Blob::Bytes(bytes))
    }

    /// Files get their names when they are whole, so the size is enough to go by; a blob that the
    /// disk has damaged since is noticed by whoever loads it.
    fn has(&self, name: &str, size: u64) -> bool {
        let there = std::fs::symlink_metadata(self.path.join(name));
        there.is_ok_and(|there| there.is_file() && there.len() == size)
    }

    fn blob(&mut self, name: &str, size: u64, from: Blob<'_>) -> Result<()> {
        self.put(name, size, from)
    }

    fn merged_index(&self, entries: Vec<Value>) -> Result<Vec<u8>> {
        let old = read_small(&self.path.join("index.json"))?;
        save::index(old.as_deref(), entries)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        for (name, bytes) in &self.last {
            self.put(name, bytes.len() as u64, Blob::Bytes(bytes))?;
        }
        Ok(())
    }
}
