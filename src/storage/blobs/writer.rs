//! A blob on its way into the store: hashed as it is written, verified at its end.

use std::{
    fs::File,
    io::Read,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{Hasher, download::Partial, partial_place, place};
use crate::{
    model::{Context, Digest, Error, ErrorKind, Result},
    storage::{Lease, Store},
};

#[derive(Debug)]
pub(super) enum Staged {
    Partial(Partial),
    InLease(String),
}

/// A blob on its way into the store. Dropped, the bytes of a download stay for the next attempt.
#[derive(Debug)]
pub struct BlobWriter {
    pub(super) file: File,
    pub(super) staged: Staged,
    pub(super) hasher: Hasher,
    pub(super) written: u64,
    pub(super) expected: Option<(Digest, u64)>,
}

impl Lease<'_> {
    /// A writer for bytes that are to have this digest and size. Ask [`BlobWriter::offset`] where
    /// to go on: an earlier attempt may have left the beginning.
    pub fn write_blob(&self, digest: &Digest, size: u64) -> Result<BlobWriter> {
        let (file, staged) = match self.open_partial(digest, size)? {
            (file, Some(partial)) => (file, Staged::Partial(partial)),
            (_, None) => self.open_in_lease()?,
        };
        BlobWriter::take_over(file, staged, digest, size)
    }

    /// As [`Self::write_blob`], from the first byte on and beside whoever else fetches the blob.
    pub fn write_blob_alone(&self, digest: &Digest, size: u64) -> Result<BlobWriter> {
        let (file, staged) = self.open_in_lease()?;
        BlobWriter::take_over(file, staged, digest, size)
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

    pub(super) fn open_in_lease(&self) -> Result<(File, Staged)> {
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
        let what = || format!("cannot stage {}", self.name());
        match &self.staged {
            // Others may be reading this very file: it keeps its bytes, and loses its name.
            Staged::Partial(partial) => self.file = partial.begin_anew().system(what)?,
            Staged::InLease(_) => self.file.set_len(0).system(what)?,
        }
        self.written = 0;
        let algorithm = self
            .expected
            .as_ref()
            .map_or("sha256", |(digest, _)| digest.algorithm());
        self.hasher = Hasher::new(algorithm);
        Ok(())
    }

    /// A second descriptor, to read at positions what is there while more arrives.
    pub fn reader(&self) -> Result<File> {
        self.file
            .try_clone()
            .system(|| format!("cannot read {}", self.name()))
    }

    /// A writer behind what is in the file already.
    fn take_over(file: File, staged: Staged, digest: &Digest, size: u64) -> Result<BlobWriter> {
        let mut writer = BlobWriter {
            file,
            staged,
            hasher: Hasher::new(digest.algorithm()),
            written: 0,
            expected: Some((digest.clone(), size)),
        };
        writer.hash_the_rest()?;
        Ok(writer)
    }

    /// Takes what is in the file behind what was hashed so far. Of more than was promised nothing
    /// can be right.
    pub(super) fn hash_the_rest(&mut self) -> Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = self
                .file
                .read_at(&mut buffer, self.written)
                .system(|| format!("cannot read the beginning of {}", self.name()))?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..count]);
            self.written += count as u64;
            if let Some((_, size)) = &self.expected
                && self.written > *size
            {
                return self.restart();
            }
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
            .write_all_at(bytes, self.written)
            .system(|| format!("cannot stage {}", self.name()))?;
        self.hasher.update(bytes);
        self.written = total;
        Ok(())
    }

    /// Whether the bytes so far have the promised digest. If not they are thrown away: what comes
    /// next is the first byte.
    pub fn verify(&mut self) -> Result<bool> {
        let right = match &self.expected {
            Some((digest, _)) => *digest == self.hasher.clone().digest(),
            None => true,
        };
        if !right {
            self.restart()?;
        }
        Ok(right)
    }

    /// Verifies size, then digest. On a mismatch the bytes are thrown away, so that the next
    /// attempt begins anew.
    ///
    /// # Errors
    /// [`ErrorKind::DigestMismatch`].
    pub fn finish(self) -> Result<StagedBlob> {
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
            if let Staged::Partial(partial) = &self.staged {
                partial.give_up();
            }
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
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) staged: Staged,
    /// Holds the lock of the partial file.
    pub(super) file: File,
}

impl StagedBlob {
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes alone: the blob will not be part of the store.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Reads the bytes from the beginning.
    pub fn reader(&self) -> StagedReader<'_> {
        StagedReader {
            file: &self.file,
            at: 0,
        }
    }

    /// A whole file of the lease, whose bytes the caller knows to have this digest.
    pub(in crate::storage) fn adopt(
        lease: BorrowedFd<'_>,
        name: String,
        digest: &Digest,
    ) -> Result<StagedBlob> {
        let what = || format!("cannot use blob {digest}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(lease, &name, flags, Mode::empty()).system(what)?;
        let stat = rustix::fs::fstat(&file).system(what)?;
        Ok(StagedBlob {
            digest: digest.clone(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            staged: Staged::InLease(name),
            file: file.into(),
        })
    }

    /// Puts one that was made here somewhere else in the store.
    pub(in crate::storage) fn settle_at(
        &self,
        store: &Store,
        lease: &OwnedFd,
        to: &str,
    ) -> Result<()> {
        let what = || format!("cannot keep blob {}", self.digest);
        match &self.staged {
            Staged::InLease(name) => {
                rustix::fs::renameat(lease, name, &store.root, to).system(what)
            }
            Staged::Partial(_) => Err(Error::new(ErrorKind::System, what())),
        }
    }

    pub(in crate::storage) fn settle(&self, store: &Store, lease: &OwnedFd) -> Result<()> {
        let what = || format!("cannot keep blob {}", self.digest);
        if self.digest.algorithm() != "sha256" {
            crate::storage::make_folder(&store.root, &format!("blobs/{}", self.digest.algorithm()))
                .system(what)?;
        }
        // Over one that is there: the content is the same, and a damaged one is healed.
        let to = place(&self.digest);
        match &self.staged {
            Staged::Partial(_) => {
                let from = partial_place(&self.digest, self.size);
                rustix::fs::renameat(&store.root, &from, &store.root, to).system(what)?;
                // Somebody who shares the file has put it there before: then the rename did nothing
                // (rename(2)). As long as we have the lock, no one else takes the name.
                let ours = rustix::fs::fstat(&self.file).system(what)?;
                match rustix::fs::statat(&store.root, &from, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(left) if (left.st_dev, left.st_ino) == (ours.st_dev, ours.st_ino) => {
                        rustix::fs::unlinkat(&store.root, from, AtFlags::empty()).system(what)
                    }
                    _ => Ok(()),
                }
            }
            Staged::InLease(name) => {
                rustix::fs::renameat(lease, name, &store.root, to).system(what)
            }
        }
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
