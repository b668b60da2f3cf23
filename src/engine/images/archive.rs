//! Images as files: what an archive or a directory holds, whatever its shape.
//!
//! | shape | recognised by | images from | layers |
//! |---|---|---|---|
//! | docker-archive | `manifest.json` | its list of configurations and layers | tars, often not compressed, `ID/layer.tar` or `blobs/sha256/HEX`; duplicates may be links |
//! | OCI archive | `oci-layout` and `index.json` | the index | `blobs/sha256/HEX` |
//! | OCI layout | a directory with these | the same | the same |
//!
//! An archive is read once, front to back, so it may come from a pipe: every member that could be
//! a blob goes into the lease, hashed on the way, except those that the store has already. Three
//! small documents are kept in memory. An archive may itself be compressed with gzip or zstd.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sha2::Digest as _;

use crate::{
    model::{
        Context, Digest, Error, ErrorKind, Result, image::MAX_DOCUMENT_BYTES, manifest::Compression,
    },
    storage::{
        BlobWriter, Lease, StagedBlob,
        unpack::{Decompressor, Entry, Kind, TarStream, sniff},
    },
};

const DOCUMENTS: [&str; 3] = ["manifest.json", "index.json", "oci-layout"];
const MAX_MEMBERS: usize = 100_000;
/// A staged blob holds a descriptor; beyond so many they move into the store early.
const MAX_STAGED: usize = 128;
const MAX_LINKS: usize = 8;
/// Bytes behind the end of an archive.
const MAX_PADDING: u64 = 64 << 20;
const COPY_BUFFER: usize = 256 << 10;

/// Where an image is loaded from.
pub enum LoadSource {
    /// An archive, or an OCI layout directory.
    Path(PathBuf),
    /// An archive; read once to its end.
    Stream(Box<dyn Read + Send>),
}

/// The contents of an archive or layout directory.
pub struct Archive<'a> {
    lease: &'a Lease<'a>,
    contents: Contents,
}

enum Contents {
    Spooled(Spool),
    Directory(PathBuf),
}

#[derive(Default)]
struct Spool {
    documents: HashMap<String, Vec<u8>>,
    members: HashMap<String, Member>,
    staged: HashMap<Digest, StagedBlob>,
}

enum Member {
    Blob {
        digest: Digest,
        size: u64,
    },
    /// Another member's name.
    Link(String),
}

impl<'a> Archive<'a> {
    pub fn open(lease: &'a Lease<'a>, source: LoadSource) -> Result<Self> {
        let contents = match source {
            LoadSource::Path(path) if path.is_dir() => Contents::Directory(path),
            LoadSource::Path(path) => {
                let file = open_file(&path).system(|| format!("cannot open {}", path.display()))?;
                Contents::Spooled(spool(lease, file)?)
            }
            LoadSource::Stream(stream) => Contents::Spooled(spool(lease, stream)?),
        };
        Ok(Archive { lease, contents })
    }

    /// One of the documents that say what the archive is.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match &self.contents {
            Contents::Spooled(spool) => Ok(spool.documents.get(name).cloned()),
            Contents::Directory(root) => read_small(&root.join(name)),
        }
    }

    /// A manifest, index or configuration by its digest, verified.
    pub fn blob_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let missing = || {
            Error::new(
                ErrorKind::InvalidContent,
                format!("{digest} is missing in the archive"),
            )
        };
        let bytes = match &self.contents {
            Contents::Spooled(spool) => match spool.staged.get(digest) {
                Some(blob) => read_limited(blob.reader(), &digest.to_string())?,
                None if self.lease.has_blob(digest)? => {
                    self.lease.store().read_blob(digest, MAX_DOCUMENT_BYTES)?
                }
                None => return Err(missing()),
            },
            Contents::Directory(root) => {
                read_small(&root.join(blob_path(digest)))?.ok_or_else(missing)?
            }
        };
        let found = match digest.algorithm() {
            "sha512" => Digest::sha512(sha2::Sha512::digest(&bytes)),
            _ => Digest::sha256(sha2::Sha256::digest(&bytes)),
        };
        if found == *digest {
            Ok(bytes)
        } else {
            Err(mismatch(digest, &found))
        }
    }

    /// Digest and size of a member that `manifest.json` names. Links are followed.
    pub fn member(&self, name: &str) -> Result<(Digest, u64)> {
        let missing = |why: &str| {
            let name: String = name.chars().take(200).collect();
            Error::new(
                ErrorKind::InvalidContent,
                format!("{name:?} {why} in the archive"),
            )
        };
        let Contents::Spooled(spool) = &self.contents else {
            return Err(missing("cannot be looked up"));
        };
        let mut name = normal_name(name.as_bytes()).ok_or_else(|| missing("is no name"))?;
        for _ in 0..MAX_LINKS {
            match spool.members.get(&name) {
                Some(Member::Blob { digest, size }) => return Ok((digest.clone(), *size)),
                Some(Member::Link(target)) => name.clone_from(target),
                None => return Err(missing("is missing")),
            }
        }
        Err(missing("is a circle of links"))
    }

    /// How a blob is compressed, by its first bytes.
    pub fn compression(&self, digest: &Digest) -> Result<Compression> {
        let mut start = Vec::new();
        match &self.contents {
            Contents::Spooled(spool) if spool.staged.contains_key(digest) => spool.staged[digest]
                .reader()
                .take(6)
                .read_to_end(&mut start),
            _ => {
                let file = self.lease.store().open_blob(digest)?;
                file.take(6).read_to_end(&mut start)
            }
        }
        .system(|| format!("cannot read blob {digest}"))?;
        Ok(sniff(&start))
    }

    /// Hands a layer blob out, verified. `None` if the archive does not have it.
    ///
    /// # Errors
    /// [`ErrorKind::DigestMismatch`] if it is not what it is called, or has not `size` bytes.
    pub fn take(&mut self, digest: &Digest, size: u64) -> Result<Option<StagedBlob>> {
        match &mut self.contents {
            Contents::Spooled(spool) => {
                let staged = spool.staged.remove(digest);
                let found = match &staged {
                    Some(blob) => blob.size(),
                    None if self.lease.has_blob(digest)? => self.lease.store().blob_size(digest)?,
                    None => return Ok(None),
                };
                if found != size {
                    return Err(Error::new(
                        ErrorKind::DigestMismatch,
                        format!("layer {digest} has {found} bytes, the manifest says {size}"),
                    ));
                }
                Ok(staged)
            }
            Contents::Directory(root) => {
                let path = root.join(blob_path(digest));
                let file = match open_file(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => {
                        return Err(error).system(|| format!("cannot open {}", path.display()));
                    }
                };
                copy_blob(self.lease, file, digest, size).map(Some)
            }
        }
    }
}

/// `blobs/ALGORITHM/HEX`
fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn digest_of_path(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

fn copy_blob(lease: &Lease<'_>, file: File, digest: &Digest, size: u64) -> Result<StagedBlob> {
    let writer = lease.write_blob(digest, size)?;
    let begun = writer.offset() > 0;
    match copy_into(writer, &file, digest) {
        // Perhaps what an earlier attempt left was not what it had written: that was thrown away.
        Err(error) if begun && error.kind() == ErrorKind::DigestMismatch => {
            copy_into(lease.write_blob(digest, size)?, &file, digest)
        }
        outcome => outcome,
    }
}

/// Goes on where the writer is.
fn copy_into(mut writer: BlobWriter, mut file: &File, digest: &Digest) -> Result<StagedBlob> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(writer.offset()))
        .system(|| format!("cannot read blob {digest}"))?;
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return writer.finish(),
            Ok(length) => writer.write(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).system(|| format!("cannot read blob {digest}")),
        }
    }
}

// ---- reading an archive ----------------------------------------------------------------------

fn spool(lease: &Lease<'_>, mut source: impl Read) -> Result<Spool> {
    let mut start = Vec::new();
    source
        .by_ref()
        .take(6)
        .read_to_end(&mut start)
        .system(|| "cannot read the archive".to_owned())?;
    refuse_other_compression(&start)?;
    let source = io::Cursor::new(start).chain(source);
    let plain = Decompressor::detect(source).map_err(|error| match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => Error::new(ErrorKind::System, "cannot read the archive").with_source(error),
    })?;
    let mut stream = TarStream::new(BufReader::with_capacity(COPY_BUFFER, plain));
    let mut spool = Spool::default();
    while let Some(entry) = stream.next_entry()? {
        let Some(name) = normal_name(&entry.path) else {
            return Err(strange(&entry.path, "is no name for a member"));
        };
        if spool.members.len() + spool.documents.len() >= MAX_MEMBERS {
            return Err(strange(&entry.path, "is one member too many"));
        }
        match entry.kind {
            Kind::File if DOCUMENTS.contains(&name.as_str()) => {
                let bytes = document(&entry, &mut stream)?;
                spool.documents.insert(name, bytes);
            }
            Kind::File if !is_legacy(&name) => {
                let blob = spool.blob(lease, &name, &entry, &mut stream)?;
                spool.members.insert(name, blob);
            }
            Kind::Symlink | Kind::HardLink => {
                let Some(target) = link_target(&name, &entry) else {
                    return Err(strange(&entry.path, "links to nothing in the archive"));
                };
                spool.members.insert(name, Member::Link(target));
            }
            // Directories, and whatever else does no harm when it is not looked at.
            _ => {}
        }
    }
    // Whoever writes into a pipe wants to get rid of the padding, and a gzip stream has its
    // checksum at the end.
    stream.drain(MAX_PADDING)?;
    Ok(spool)
}

impl Spool {
    fn blob<R: io::BufRead>(
        &mut self,
        lease: &Lease<'_>,
        name: &str,
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> Result<Member> {
        let size = entry.stored;
        if entry.sparse.is_some() {
            return Err(strange(&entry.path, "is sparse"));
        }
        let promised = digest_of_path(name);
        if let Some(digest) = &promised
            && (self.staged.contains_key(digest) || is_in_store(lease, digest, size)?)
        {
            let digest = digest.clone();
            return Ok(Member::Blob { digest, size });
        }
        let mut writer = match &promised {
            Some(digest) if digest.algorithm() != "sha256" => lease.write_blob(digest, size)?,
            _ => lease.write_new_blob()?,
        };
        stream.data(size, |bytes| writer.write(bytes))?;
        let staged = writer.finish()?;
        let digest = staged.digest().clone();
        if let Some(promised) = promised
            && promised != digest
        {
            return Err(mismatch(&promised, &digest));
        }
        self.staged.insert(digest.clone(), staged);
        if self.staged.len() > MAX_STAGED {
            self.settle(lease)?;
        }
        Ok(Member::Blob { digest, size })
    }

    /// Moves what is staged into the store, where no name leads to it yet.
    fn settle(&mut self, lease: &Lease<'_>) -> Result<()> {
        let (digests, blobs): (Vec<Digest>, Vec<StagedBlob>) = self.staged.drain().unzip();
        lease.commit(blobs, Vec::new(), &[])?;
        for digest in digests {
            // Between the two steps a garbage collection may take it.
            if !lease.has_blob(&digest)? {
                return Err(Error::new(
                    ErrorKind::NoSuchBlob,
                    format!("blob {digest} was removed by another command"),
                )
                .with_hint("load the archive again"));
            }
        }
        Ok(())
    }
}

/// One of another size was damaged by the disk and is better replaced.
fn is_in_store(lease: &Lease<'_>, digest: &Digest, size: u64) -> Result<bool> {
    Ok(lease.has_blob(digest)? && lease.store().blob_size(digest)? == size)
}

fn document<R: io::BufRead>(entry: &Entry, stream: &mut TarStream<R>) -> Result<Vec<u8>> {
    if entry.stored > MAX_DOCUMENT_BYTES || entry.sparse.is_some() {
        return Err(strange(&entry.path, "is larger than 4 MiB"));
    }
    let mut bytes = Vec::new();
    stream.data(entry.stored, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
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

fn refuse_other_compression(start: &[u8]) -> Result<()> {
    let name = match start {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => "xz",
        [b'B', b'Z', b'h', ..] => "bzip2",
        _ => return Ok(()),
    };
    Err(Error::new(
        ErrorKind::InvalidContent,
        format!("the archive is compressed with {name}, which is not supported"),
    )
    .with_hint(format!("pipe it through `{name} -d`")))
}

// ---- reading files ---------------------------------------------------------------------------

/// A regular file; anything else at that name (a FIFO would block) is refused.
fn open_file(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    // An archive may also come as /dev/stdin or a shell's <(…).
    if kind.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(file)
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
