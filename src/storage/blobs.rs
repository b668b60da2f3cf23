//! Blobs: immutable files named by the digest of their bytes.
//!
//! A download of a known digest is written to `partial/HEX`, locked by its writer. If the writer
//! dies, the next one hashes what is there and goes on behind it; bytes that a power cut spoilt
//! are noticed by the digest, and the file is begun anew. If another process is writing that very
//! blob, the bytes go to a file of the lease instead: waiting for each other's half-done pulls
//! could never end.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use sha2::Digest as _;

use super::{Lease, Store, lease::exists, locks};
use crate::model::{Context, Digest, Error, ErrorKind, Result};

/// Where a blob lies below the root.
pub(super) fn place(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn partial_place(digest: &Digest) -> String {
    format!("partial/{}", digest.hex())
}

impl Store {
    /// Whether the blob is there now. It may go at any moment; [`Lease::has_blob`] makes it stay.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.has_own_blob(digest)?
            || (self.has_additional() && self.additional_blob(&place(digest)).is_some()))
    }

    /// As [`Self::has_blob`], in additional stores not looked for.
    pub fn has_own_blob(&self, digest: &Digest) -> Result<bool> {
        exists(&self.root, &place(digest))
    }

    /// Opens a blob for reading. Its digest was verified on the way in and is not verified again.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBlob`] if it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.root, place(digest), flags, Mode::empty()) {
            Ok(file) => Ok(file.into()),
            Err(Errno::NOENT) => self.additional_blob(&place(digest)).ok_or_else(|| {
                Error::new(
                    ErrorKind::NoSuchBlob,
                    format!("blob {digest} is not in the store"),
                )
                .with_hint(
                    "`coracle system check --repair` fetches it; or pull or load the image again",
                )
            }),
            Err(errno) => Err(errno).system(|| format!("cannot open blob {digest}")),
        }
    }

    /// A small document (manifest, configuration), verified as it is read.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBlob`]; [`ErrorKind::InvalidContent`] if it is larger than `limit`
    /// bytes; [`ErrorKind::DigestMismatch`] if the disk has changed it.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        // Configurations and manifests are a few KiB: one read fetches, one finds the end.
        let mut bytes = Vec::with_capacity(8 << 10);
        self.open_blob(digest)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .system(|| format!("cannot read blob {digest}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!("blob {digest} is larger than {limit} bytes"),
            ));
        }
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        if hasher.digest() != *digest {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!("blob {digest} in the store is damaged"),
            )
            .with_hint(
                "`coracle system check --repair` fetches it; or pull or load the image again",
            ));
        }
        Ok(bytes)
    }

    /// Bytes of a blob; [`ErrorKind::NoSuchBlob`] if it is not there.
    pub fn blob_size(&self, digest: &Digest) -> Result<u64> {
        let file = self.open_blob(digest)?;
        let stat = rustix::fs::fstat(&file).system(|| format!("cannot examine blob {digest}"))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    pub(super) fn flush_blob_folders(&self) -> Result<()> {
        for name in ["blobs/sha256", "blobs/sha512", "blobs"] {
            match self.folder(name) {
                Ok(folder) => {
                    rustix::fs::fsync(folder).system(|| format!("cannot flush {name}"))?;
                }
                Err(_) if name == "blobs/sha512" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// SHA-256 or SHA-512 of a stream.
#[derive(Clone, Debug)]
pub(super) enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    pub(super) fn new(algorithm: &str) -> Hasher {
        match algorithm {
            "sha512" => Hasher::Sha512(Box::default()),
            _ => Hasher::Sha256(sha2::Sha256::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(super) fn digest(self) -> Digest {
        match self {
            Hasher::Sha256(hash) => Digest::sha256(hash.finalize()),
            Hasher::Sha512(hash) => Digest::sha512(hash.finalize()),
        }
    }
}

#[derive(Debug)]
enum Staged {
    Partial(Digest),
    InLease(String),
}

/// A blob on its way into the store. Dropped, the bytes of a download stay for the next attempt.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    staged: Staged,
    hasher: Hasher,
    written: u64,
    expected: Option<(Digest, u64)>,
}

impl Lease<'_> {
    /// A writer for bytes that are to have this digest and size. Ask [`BlobWriter::offset`] where
    /// to go on: an earlier attempt may have left the beginning.
    pub fn write_blob(&self, digest: &Digest, size: u64) -> Result<BlobWriter> {
        let (file, staged) = match self.open_partial(digest)? {
            Some(file) => (file, Staged::Partial(digest.clone())),
            None => self.open_in_lease()?,
        };
        let mut writer = BlobWriter {
            file,
            staged,
            hasher: Hasher::new(digest.algorithm()),
            written: 0,
            expected: Some((digest.clone(), size)),
        };
        writer.take_over()?;
        Ok(writer)
    }

    /// A writer for bytes whose digest is not known beforehand: it will be their SHA-256.
    pub fn write_new_blob(&self) -> Result<BlobWriter> {
        let (file, staged) = self.open_in_lease()?;
        Ok(BlobWriter {
            file,
            staged,
            hasher: Hasher::new("sha256"),
            written: 0,
            expected: None,
        })
    }

    /// A small document, staged in one call.
    pub fn stage_document(&self, bytes: &[u8]) -> Result<StagedBlob> {
        let mut writer = self.write_new_blob()?;
        writer.write(bytes)?;
        writer.finish()
    }

    /// The partial file, locked; `None` if another process is writing it.
    fn open_partial(&self, digest: &Digest) -> Result<Option<File>> {
        let what = || format!("cannot stage blob {digest}");
        let root = &self.store().root;
        let place = partial_place(digest);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(root, &place, flags, Mode::from(0o600)).system(what)?;
        if !locks::try_lock_file(&file)? {
            return Ok(None);
        }
        // Between the two calls its last writer may have renamed it into blobs/.
        let ours = rustix::fs::fstat(&file).system(what)?;
        match rustix::fs::statat(root, &place, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) => {
                Ok(Some(file.into()))
            }
            _ => Ok(None),
        }
    }

    fn open_in_lease(&self) -> Result<(File, Staged)> {
        let name = self.fresh_name("blob");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.dir(), &name, flags, Mode::from(0o600))
            .system(|| "cannot stage a blob".to_owned())?;
        Ok((file.into(), Staged::InLease(name)))
    }
}

impl BlobWriter {
    /// How many bytes are there already: the next [`Self::write`] goes behind them.
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// Forgets what an earlier attempt left, for a source that can only begin at the beginning.
    pub fn restart(&mut self) -> Result<()> {
        self.written = 0;
        let algorithm = self
            .expected
            .as_ref()
            .map_or("sha256", |(digest, _)| digest.algorithm());
        self.hasher = Hasher::new(algorithm);
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .system(|| format!("cannot stage {}", self.name()))?;
        Ok(())
    }

    /// A second descriptor, to read at positions what is there while more arrives.
    pub fn reader(&self) -> Result<File> {
        self.file
            .try_clone()
            .system(|| format!("cannot read {}", self.name()))
    }

    fn take_over(&mut self) -> Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = self
                .file
                .read(&mut buffer)
                .system(|| format!("cannot read the beginning of {}", self.name()))?;
            if count == 0 {
                break;
            }
            self.hasher.update(&buffer[..count]);
            self.written += count as u64;
        }
        match &self.expected {
            Some((_, size)) if self.written > *size => self.restart(),
            _ => Ok(()),
        }
    }

    fn name(&self) -> String {
        self.expected
            .as_ref()
            .map_or("a blob".to_owned(), |(digest, _)| format!("blob {digest}"))
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ErrorKind::DigestMismatch`] as soon as there are more bytes than promised.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let total = self.written + bytes.len() as u64;
        if let Some((digest, size)) = &self.expected
            && total > *size
        {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!("blob {digest} is longer than the {size} bytes it was promised to have"),
            ));
        }
        self.file
            .write_all(bytes)
            .system(|| format!("cannot stage {}", self.name()))?;
        self.hasher.update(bytes);
        self.written = total;
        Ok(())
    }

    /// Verifies size, then digest. On a mismatch the bytes are thrown away, so that the next
    /// attempt begins anew.
    ///
    /// # Errors
    /// [`ErrorKind::DigestMismatch`].
    pub fn finish(mut self) -> Result<StagedBlob> {
        if let Some((digest, size)) = &self.expected
            && self.written < *size
        {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!("blob {digest} ends after {} of {size} bytes", self.written),
            ));
        }
        let found = self.hasher.clone().digest();
        if let Some((digest, _)) = &self.expected
            && *digest != found
        {
            let error = Error::new(
                ErrorKind::DigestMismatch,
                format!("blob {digest} arrived with the digest {found}"),
            );
            self.restart()?;
            return Err(error);
        }
        Ok(StagedBlob {
            digest: found,
            size: self.written,
            staged: self.staged,
            file: self.file,
        })
    }
}

/// A complete and verified blob that is not visible yet: see [`Lease::commit`].
#[derive(Debug)]
pub struct StagedBlob {
    digest: Digest,
    size: u64,
    staged: Staged,
    /// Holds the lock of the partial file.
    file: File,
}

impl StagedBlob {
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the bytes from the beginning.
    pub fn reader(&self) -> StagedReader<'_> {
        StagedReader {
            file: &self.file,
            at: 0,
        }
    }

    pub(super) fn settle(&self, store: &Store, lease: &OwnedFd) -> Result<()> {
        let what = || format!("cannot keep blob {}", self.digest);
        if self.digest.algorithm() != "sha256" {
            super::make_folder(&store.root, &format!("blobs/{}", self.digest.algorithm()))
                .system(what)?;
        }
        // Over one that is there: the content is the same, and a damaged one is healed.
        let to = place(&self.digest);
        match &self.staged {
            Staged::Partial(digest) => {
                rustix::fs::renameat(&store.root, partial_place(digest), &store.root, to)
            }
            Staged::InLease(name) => rustix::fs::renameat(lease, name, &store.root, to),
        }
        .system(what)
    }
}

/// See [`StagedBlob::reader`].
#[derive(Debug)]
pub struct StagedReader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for StagedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
