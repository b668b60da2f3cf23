//! Blobs: immutable files named by the digest of their bytes.
//!
//! ```text
//! mod        blobs that are there, and hashing
//! writer     a blob on its way in: hashed as it is written, verified at its end
//! download   partial/HEX-SIZE: one download for all processes that want the blob
//! ```

mod download;
mod writer;

use std::{fs::File, io::Read};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use sha2::Digest as _;

pub use download::{Advance, Download, Follower};
pub use writer::{BlobWriter, StagedBlob, StagedReader};

use super::{Store, lease::exists};
use crate::model::{Context, Digest, Error, ErrorKind, Result};

/// Where a blob lies below the root.
pub(super) fn place(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// Where a download of so many bytes lies.
fn partial_place(digest: &Digest, size: u64) -> String {
    format!("partial/{}", partial_name(digest, size))
}

fn partial_name(digest: &Digest, size: u64) -> String {
    format!("{}-{size}", digest.hex())
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
