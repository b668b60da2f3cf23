//! Names of documents that are not one runnable image: indexes and artifacts.
//!
//! One small file a name, `manifests/NAME`, a [`ManifestRecord`] as JSON, called as in `images/`.
//! The folder is made with the first. The documents and what they need lie in `blobs/`; garbage
//! collection keeps what a record names ([`super::gc`]).
//!
//! A record is replaced only if the name still stands for what the change was made from
//! ([`Expected`]): two commands that change one list at the same time both succeed, one after the
//! other. A crash leaves the old record, or none, and perhaps a staged file, which the next
//! collection removes.

use rustix::{
    fs::{AtFlags, Mode},
    io::Errno,
};

use super::{
    Durability, Lease, StagedBlob, Store,
    files::{self, Stored},
    images::file_name,
    locks::{ExclusiveLock, FolderLock, SharedLock},
    make_folder,
};
use crate::model::{
    Context, Digest, Error, ErrorKind, Reference, Result,
    index::{ManifestKind, ManifestRecord},
};

pub(super) const FOLDER: &str = "manifests";

/// What a name must stand for, for a record to take its place.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    Anything,
    Nothing,
    This(&'a Digest),
}

impl Store {
    /// What is under exactly this name.
    pub fn manifest(&self, name: &Reference) -> Result<Option<ManifestRecord>> {
        let place = format!("{FOLDER}/{}", file_name(name));
        let stored = files::read_json::<ManifestRecord>(&self.root, &place)?;
        Ok(stored.good().filter(|record| record.name == *name))
    }

    /// All of one kind, by name. Damaged files are left out.
    pub fn manifests(&self, kind: ManifestKind) -> Result<Vec<ManifestRecord>> {
        let mut records = Vec::new();
        let Some(folder) = self.manifest_folder()? else {
            return Ok(records);
        };
        for name in files::names(&folder).system(|| "cannot list manifests/".to_owned())? {
            // `None`: removed meanwhile, or damaged.
            if let Some(record) = files::read_json::<ManifestRecord>(&folder, &name)?.good()
                && record.kind == kind
                && file_name(&record.name) == name
            {
                records.push(record);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// `None` as long as there was no such name.
    pub(super) fn manifest_folder(&self) -> Result<Option<std::os::fd::OwnedFd>> {
        match rustix::fs::openat(&self.root, FOLDER, super::FOLDER, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).system(|| "cannot open manifests/".to_owned()),
        }
    }

    /// Gives a name, durably; `false` if it does not stand for what was expected. What the record
    /// keeps must be in the store and kept by `_shared`.
    fn put_manifest(
        &self,
        _shared: &SharedLock,
        record: &ManifestRecord,
        expected: Expected<'_>,
    ) -> Result<bool> {
        make_folder(&self.root, FOLDER).system(|| "cannot make manifests/".to_owned())?;
        let folder = FolderLock::hold(self, FOLDER)?;
        let file = file_name(&record.name);
        let there = match files::read_json::<ManifestRecord>(folder.dir(), &file)? {
            Stored::Good(there) => Some(there.digest),
            Stored::Missing | Stored::Damaged => None,
            Stored::Foreign(error) => {
                return Err(Error::new(
                    ErrorKind::Store,
                    format!("cannot understand the record of {}", record.name),
                )
                .with_source(error));
            }
        };
        let fits = match expected {
            Expected::Anything => true,
            Expected::Nothing => there.is_none(),
            Expected::This(digest) => there.as_ref() == Some(digest),
        };
        if fits {
            let text = serde_json::to_vec(record).context(ErrorKind::System, || {
                format!("cannot describe {}", record.name)
            })?;
            files::put(folder.dir(), &file, &text, Durability::Durable)?;
            // The folder's own name, if it is new.
            rustix::fs::fsync(&self.root).system(|| "cannot flush the store".to_owned())?;
        }
        Ok(fits)
    }

    /// Takes a name away, durably; what it kept goes with the collection under the same lock.
    /// Needs no disk space.
    pub fn remove_manifest(&self, _alone: &ExclusiveLock, name: &Reference) -> Result<()> {
        let folder = FolderLock::hold(self, FOLDER)?;
        match rustix::fs::unlinkat(folder.dir(), file_name(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).system(|| format!("cannot remove {name}")),
        }
        // What cannot be flushed (full, or failing) is gone all the same.
        let _ = rustix::fs::fsync(folder.dir());
        Ok(())
    }
}

impl Lease<'_> {
    /// Makes staged blobs and the record that names them visible, as [`Lease::commit`] does for
    /// images. `false`, and nothing named, if the name does not stand for what was expected.
    pub fn commit_manifest(
        &self,
        blobs: Vec<StagedBlob>,
        record: &ManifestRecord,
        expected: Expected<'_>,
    ) -> Result<bool> {
        // If the name has moved on, the caller tries again with blobs that nothing names yet.
        for blob in &blobs {
            self.keep_staged(blob.digest())?;
        }
        let shared = self.settle(blobs, Vec::new())?;
        self.store().put_manifest(&shared, record, expected)
    }
}
