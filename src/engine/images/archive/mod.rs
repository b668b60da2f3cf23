//! Images as files: what an archive or a directory holds, whatever its shape.
//!
//! | shape | recognised by | images from | layers |
//! |---|---|---|---|
//! | docker-archive | `manifest.json` | its list of configurations and layers | tars, often not compressed, `ID/layer.tar` or `blobs/sha256/HEX`; duplicates may be links |
//! | OCI archive | `oci-layout` and `index.json` | the index | `blobs/sha256/HEX` |
//! | OCI layout | a directory with these | the same | the same |
//! | Podman's `dir:` | a directory with `version` and `manifest.json` | that manifest | by their hexadecimal digits |
//!
//! | it comes as | how it is read |
//! |---|---|
//! | a file that is not compressed ([`seekable`]) | its headers, then what is needed, each member where it lies: what the store has is not read at all, and two layers at a time are hashed, kept and unpacked |
//! | a pipe, or compressed with gzip, zstd, xz or bzip2 ([`spool`]) | once, front to back: every member that could be a blob goes into the lease, hashed on the way, except those that the store has already; what looks like a layer is unpacked while the next member is read |
//! | a directory | as the file |
//!
//! Nothing is copied elsewhere before, and memory stays bounded: three small documents are kept.

mod seekable;
mod spool;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use sha2::Digest as _;

use self::{
    seekable::{Extent, Seekable},
    spool::Spool,
};
use super::ingest::{Ingest, WantedBlob};
use crate::{
    model::{
        BlobSink, Context, Digest, Error, ErrorKind, Opening, Result, image::MAX_DOCUMENT_BYTES,
        manifest::Compression,
    },
    storage::{
        Lease,
        unpack::{Entry, Kind, Privilege, sniff},
    },
};

const MAX_MEMBERS: usize = 100_000;
/// Bytes of all members' names and links: a compressed archive has gigabytes of them in no space.
const MAX_NAMES: usize = 16 << 20;
const MAX_LINKS: usize = 8;
const COPY_BUFFER: usize = 256 << 10;
/// Layers that are read at the same time; each is unpacked by threads of its own.
const PARALLEL: usize = 2;

/// Where an image is loaded from.
pub enum LoadSource {
    /// An archive, or an OCI layout directory.
    Path(PathBuf),
    /// An archive that is open.
    File(File),
    /// An archive; read once to its end.
    Stream(Box<dyn Read + Send>),
}

impl LoadSource {
    /// Opens what has a path, for a process that is about to change who it is.
    pub fn opened(self) -> Result<LoadSource> {
        match self {
            // A pipe, such as a shell's <(…), is waited for.
            LoadSource::Path(path) if !path.is_dir() => File::open(&path)
                .system(|| format!("cannot open {}", path.display()))
                .map(LoadSource::File),
            other => Ok(other),
        }
    }
}

/// The contents of an archive or directory.
pub struct Archive<'a> {
    lease: &'a Lease<'a>,
    contents: Contents<'a>,
}

enum Contents<'a> {
    Spooled(Spool<'a>),
    Seekable {
        archive: Seekable,
        /// Layers whose digest follows from what the configuration says.
        promised: Mutex<HashMap<Digest, Piece>>,
    },
    Directory(PathBuf),
}

/// Bytes that lie somewhere.
#[derive(Clone)]
struct Piece {
    file: Arc<File>,
    extent: Extent,
}

/// A layer of a docker-archive.
pub struct LayerFile {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub compression: Compression,
}

impl<'a> Archive<'a> {
    pub fn open(lease: &'a Lease<'a>, source: LoadSource, privilege: Privilege) -> Result<Self> {
        let contents = match source.opened()? {
            LoadSource::Path(path) => Contents::Directory(path),
            LoadSource::File(file) => match Seekable::open(&file)? {
                Some(archive) => Contents::Seekable {
                    archive,
                    promised: Mutex::default(),
                },
                None => Contents::Spooled(spool::spool(lease, file, privilege)?),
            },
            LoadSource::Stream(stream) => {
                Contents::Spooled(spool::spool(lease, stream, privilege)?)
            }
        };
        Ok(Archive { lease, contents })
    }

    /// One of the documents that say what the archive is.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match &self.contents {
            Contents::Spooled(spool) => Ok(spool.document(name)),
            _ => match self.piece(name)? {
                Ok((_, piece)) => piece.read_small(name).map(Some),
                Err(_) => Ok(None),
            },
        }
    }

    /// A manifest, index or configuration by its digest, verified.
    pub fn blob_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = match self.unverified(digest)? {
            Some(bytes) => bytes,
            None if self.lease.has_blob(digest)? => {
                self.lease.store().read_blob(digest, MAX_DOCUMENT_BYTES)?
            }
            None => {
                return Err(Error::new(
                    ErrorKind::InvalidContent,
                    format!("{digest} is missing in the archive"),
                ));
            }
        };
        let found = match digest.algorithm() {
            "sha512" => Digest::sha512(sha2::Sha512::digest(&bytes)),
            _ => Digest::sha256(sha2::Sha256::digest(&bytes)),
        };
        match found == *digest {
            true => Ok(bytes),
            false => Err(mismatch(digest, &found)),
        }
    }

    fn unverified(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        match &self.contents {
            Contents::Spooled(spool) => spool.staged_document(digest),
            _ => match self.blob_piece(digest)? {
                Some(piece) => piece.read_small(digest.as_str()).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The configuration that `manifest.json` names. Links are followed.
    pub fn config(&self, name: &str) -> Result<Vec<u8>> {
        match &self.contents {
            Contents::Spooled(spool) => {
                let (digest, _) = spool.member(name)?;
                self.blob_document(&digest)
            }
            _ => {
                let piece = self.piece(name)?.map_err(|why| missing(name, why))?;
                piece.1.read_small(name)
            }
        }
    }

    /// The layer that `manifest.json` names, whose plain bytes are to have this diff id.
    pub fn layer(&mut self, name: &str, diff_id: &Digest) -> Result<LayerFile> {
        if let Contents::Spooled(spool) = &self.contents {
            return spool.layer(self.lease, name);
        }
        let (name, piece) = self.piece(name)?.map_err(|why| missing(name, why))?;
        let compression = piece.compression()?;
        let digest = match digest_of_path(&name) {
            Some(digest) => digest,
            None if compression == Compression::None => diff_id.clone(),
            None => piece.digest(&name)?,
        };
        let size = piece.extent.size;
        if let Contents::Seekable { promised, .. } = &self.contents {
            let mut promised = promised.lock().unwrap_or_else(PoisonError::into_inner);
            promised.insert(digest.clone(), piece);
        }
        Ok(LayerFile {
            digest,
            size,
            compression,
        })
    }

    /// Delivers every layer that the image lacks, verified.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidContent`] if the archive has not all of them;
    /// [`ErrorKind::DigestMismatch`] for one that is not what it is called, or has another size.
    pub fn fill(&mut self, ingest: &Ingest<'_>) -> Result<()> {
        if let Contents::Spooled(spool) = &mut self.contents {
            return spool.fill(self.lease, ingest);
        }
        let wanted = ingest.sinks()?;
        let threads = PARALLEL.min(wanted.len());
        let wanted = Mutex::new(wanted.into_iter());
        let next = || {
            let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.next()
        };
        let archive = &*self;
        let work = || -> Result<()> {
            while let Some(blob) = next() {
                archive.deliver(blob).inspect_err(|_| {
                    // Nothing else is begun.
                    while next().is_some() {}
                })?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            others.into_iter().fold(own, |result, other| {
                let died = |_| Err(Error::new(ErrorKind::System, "a reading thread died"));
                result.and(other.join().unwrap_or_else(died))
            })
        })
    }

    fn deliver(&self, wanted: WantedBlob<'_>) -> Result<()> {
        let WantedBlob {
            digest,
            size,
            mut sink,
        } = wanted;
        let Some(piece) = self.layer_piece(&digest)? else {
            return Err(layer_missing(&digest));
        };
        check_size(&digest, piece.extent.size, size)?;
        if sink.open()? == Opening::Elsewhere {
            sink.follow(&|| true)?;
        }
        let begun = sink.received() > 0;
        piece.copy_to(&mut *sink, &digest)?;
        if !sink.verify()? {
            // Perhaps what an earlier attempt left was not what it had written: that is forgotten.
            if !begun {
                return Err(wrong(&digest));
            }
            piece.copy_to(&mut *sink, &digest)?;
            if !sink.verify()? {
                return Err(wrong(&digest));
            }
        }
        sink.finish()
    }

    fn layer_piece(&self, digest: &Digest) -> Result<Option<Piece>> {
        if let Contents::Seekable { promised, .. } = &self.contents {
            let promised = promised.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(piece) = promised.get(digest) {
                return Ok(Some(piece.clone()));
            }
        }
        self.blob_piece(digest)
    }

    fn blob_piece(&self, digest: &Digest) -> Result<Option<Piece>> {
        let layout = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        for name in [&layout[..], digest.hex()] {
            if let Ok((_, piece)) = self.piece(name)? {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// Where a member's bytes are, and what it is called when links were followed; or why it is
    /// nowhere.
    fn piece(&self, name: &str) -> Result<std::result::Result<(String, Piece), &'static str>> {
        match &self.contents {
            Contents::Spooled(_) => Ok(Err("was read already")),
            Contents::Seekable { archive, .. } => Ok(archive.find(name).map(|(name, extent)| {
                let file = archive.file.clone();
                (name.to_owned(), Piece { file, extent })
            })),
            Contents::Directory(root) => {
                let Some(name) = normal_name(name.as_bytes()) else {
                    return Ok(Err("is no name"));
                };
                let path = root.join(&name);
                let what = || format!("cannot open {}", path.display());
                let file = match open_file(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(Err("is missing"));
                    }
                    Err(error) => return Err(error).system(what),
                };
                let size = file.metadata().system(what)?.len();
                let file = Arc::new(file);
                let extent = Extent { offset: 0, size };
                Ok(Ok((name, Piece { file, extent })))
            }
        }
    }
}

impl Piece {
    fn reader_from(&self, offset: u64) -> impl Read + '_ {
        let left = self.extent.size.saturating_sub(offset);
        seekable::At {
            file: &self.file,
            at: self.extent.offset + offset,
        }
        .take(left)
    }

    /// What the sink has not got yet.
    fn copy_to(&self, sink: &mut dyn BlobSink, digest: &Digest) -> Result<()> {
        let mut buffer = vec![0; COPY_BUFFER];
        let mut reader = self.reader_from(sink.received());
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => sink.write(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).system(|| format!("cannot read blob {digest}")),
            }
        }
    }

    fn read_small(&self, name: &str) -> Result<Vec<u8>> {
        read_limited(self.reader_from(0), name)
    }

    fn compression(&self) -> Result<Compression> {
        let mut start = Vec::new();
        self.reader_from(0)
            .take(6)
            .read_to_end(&mut start)
            .system(|| "cannot read the archive".to_owned())?;
        Ok(sniff(&start))
    }

    /// For one that nothing says the digest of.
    fn digest(&self, name: &str) -> Result<Digest> {
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; COPY_BUFFER];
        let mut reader = self.reader_from(0);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Digest::sha256(hash.finalize())),
                Ok(length) => hash.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).system(|| format!("cannot read {name:?}")),
            }
        }
    }
}

fn missing(name: &str, why: &str) -> Error {
    let name: String = name.chars().take(200).collect();
    Error::new(
        ErrorKind::InvalidContent,
        format!("{name:?} {why} in the archive"),
    )
}

fn layer_missing(digest: &Digest) -> Error {
    Error::new(
        ErrorKind::InvalidContent,
        format!("layer {digest} is missing in the archive"),
    )
}

fn check_size(digest: &Digest, found: u64, promised: u64) -> Result<()> {
    match found == promised {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::DigestMismatch,
            format!("layer {digest} has {found} bytes, the manifest says {promised}"),
        )),
    }
}

fn wrong(digest: &Digest) -> Error {
    Error::new(
        ErrorKind::DigestMismatch,
        format!("blob {digest} of the archive has another digest"),
    )
}

fn digest_of_path(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

// ---- names -----------------------------------------------------------------------------------

/// How much of an archive's list of members there has been.
#[derive(Default)]
struct Listed {
    members: usize,
    bytes: usize,
}

impl Listed {
    /// # Errors
    /// [`ErrorKind::InvalidContent`] for a list that no image needs.
    fn count(&mut self, entry: &Entry) -> Result<()> {
        self.members += 1;
        self.bytes += entry.path.len() + entry.link.len();
        if self.members > MAX_MEMBERS {
            return Err(strange(&entry.path, "is one member too many"));
        }
        if self.bytes > MAX_NAMES {
            return Err(strange(&entry.path, "makes the list of names too long"));
        }
        Ok(())
    }
}

/// Files of the format before `manifest.json` (Docker 1.9), still written beside it.
fn is_legacy(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    matches!(base, "VERSION" | "json" | "repositories")
}

/// Without `.`, empty components and a leading slash; `..` goes up and never out.
fn normal_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn link_target(name: &str, entry: &Entry) -> Option<String> {
    let target = std::str::from_utf8(&entry.link).ok()?;
    match name.rsplit_once('/') {
        Some((directory, _)) if entry.kind == Kind::Symlink && !target.starts_with('/') => {
            normal_name(format!("{directory}/{target}").as_bytes())
        }
        _ => normal_name(target.as_bytes()),
    }
}

// ---- reading files ---------------------------------------------------------------------------

/// A regular file of a folder; anything else at that name (a FIFO would block) is refused.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

pub(super) fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    match open_file(path) {
        Ok(file) => read_limited(file, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).system(|| format!("cannot open {}", path.display())),
    }
}

fn read_limited(source: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        .take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .system(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            format!("{name} is larger than 4 MiB"),
        ));
    }
    Ok(bytes)
}

fn strange(name: &[u8], why: &str) -> Error {
    let name = String::from_utf8_lossy(&name[..name.len().min(200)]);
    Error::new(
        ErrorKind::InvalidContent,
        format!("invalid image archive: {name:?} {why}"),
    )
}

fn mismatch(promised: &Digest, found: &Digest) -> Error {
    Error::new(
        ErrorKind::DigestMismatch,
        format!("blob {promised} of the archive has the digest {found}"),
    )
}
