//! Additional image stores: read-only ones that several users or machines share.
//!
//! An additional store has the layout of this room's head; nothing is ever made, locked or removed in
//! it, and garbage collection does not look into it. Images, blobs and layers are looked for in the
//! store itself first, then in the additional ones in the order in which they were named.
//!
//! **Whose it is.** It may be another user's and hostile. Every file in it is opened beneath its root
//! with no symbolic link followed, as a regular file and without waiting; records are data (a record
//! that cannot be understood does not count); documents are verified by digest when they are read, and
//! layer blobs by their diff id when they are unpacked.
//!
//! **Layers in place.** A tree is used where it lies if the owners of its files mean the same to
//! whoever mounts it: root uses what root made, an ordinary user what that user made. For
//! everybody else such a layer is not there, and is unpacked from the blob into the own store, without
//! a network.
//!
//! **What it is used for stays in the own store**: before a container is made of such an image, or a
//! name given to it, its manifest and configuration are copied and a record without a name is made
//! (`engine::images::adopt`). So a container is there, and says what is missing, when the additional
//! store has vanished. Nothing can be claimed in a read-only store: whoever owns one must not remove
//! images that others use.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::{
    FOLDER, LayerFacts, Store, files,
    format::{Format, Use},
};
use crate::model::{Context, Digest, Error, ErrorKind, Result, image::ImageRecord};

/// One of them, open.
#[derive(Debug)]
pub(super) struct Additional {
    root: OwnedFd,
    path: PathBuf,
    /// Its trees may be mounted by this user.
    in_place: bool,
}

/// Who opens one, to tell whose trees fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// On the host, before any user namespace was entered.
    pub uid: u32,
    /// Has all ids: root of the host, or a user with subordinate ids.
    pub has_ids: bool,
}

impl Store {
    /// Looks into these stores, too. One that is not there is said and left out: containers that do not
    /// need it go on.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if one is no store, or a newer program's.
    pub fn add_stores(&mut self, paths: &[PathBuf], opener: Opener) -> Result<()> {
        for path in paths {
            match Additional::open(path, opener)? {
                Some(store) => self.additional.push(store),
                None => log::warn!("the additional image store {} is not there", path.display()),
            }
        }
        Ok(())
    }

    pub fn has_additional(&self) -> bool {
        !self.additional.is_empty()
    }

    /// Where the image's record lies if that is not this store.
    pub fn additional_of(&self, record: &ImageRecord) -> Result<Option<&Path>> {
        if self.additional.is_empty() || self.own_images()?.contains(record) {
            return Ok(None);
        }
        for store in &self.additional {
            if store.images()?.contains(record) {
                return Ok(Some(&store.path));
            }
        }
        Ok(None)
    }

    pub(super) fn additional_image(&self, file: &str) -> Result<Option<ImageRecord>> {
        for store in &self.additional {
            if let Some(record) = store.image(file)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Records of the additional stores, without those whose name is taken.
    pub(super) fn additional_images(&self, own: &[ImageRecord]) -> Result<Vec<ImageRecord>> {
        let mut found: Vec<ImageRecord> = Vec::new();
        for store in &self.additional {
            for record in store.images()? {
                let taken = |other: &ImageRecord| match &record.name {
                    Some(_) => other.name == record.name,
                    None => other.config == record.config,
                };
                if !own.iter().chain(&found).any(taken) {
                    found.push(record);
                }
            }
        }
        Ok(found)
    }

    pub(super) fn additional_blob(&self, place: &str) -> Option<File> {
        self.additional.iter().find_map(|store| store.file(place))
    }

    /// Where a layer lies that may be used there.
    pub(super) fn additional_layer(&self, place: &str) -> Option<(PathBuf, LayerFacts)> {
        self.additional.iter().find_map(|store| {
            let bytes = match store.in_place {
                true => store.read(&format!("{place}/layer.json"))?,
                false => return None,
            };
            let facts = serde_json::from_slice(&bytes).ok()?;
            Some((store.path.join(place), facts))
        })
    }
}

impl Additional {
    fn open(path: &Path, opener: Opener) -> Result<Option<Additional>> {
        let shown = path.display();
        if !path.is_absolute() {
            return Err(Error::invalid(format!(
                "additionalimagestore={shown}: the path must be absolute"
            )));
        }
        // As for the own root: the last component may be a link.
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let root = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => {
                return Err(errno)
                    .system(|| format!("cannot open the additional image store {shown}"));
            }
        };
        let stat = rustix::fs::fstat(&root).system(|| format!("cannot examine {shown}"))?;
        let store = Additional {
            root,
            path: path.to_owned(),
            in_place: opener.has_ids && stat.st_uid == opener.uid,
        };
        let Some(bytes) = store.read("format") else {
            return Err(Error::new(
                ErrorKind::Store,
                format!("{shown} is not an image store: it has no file `format` that can be read"),
            )
            .with_hint("`coracle image export-store IMAGE DIR` makes one that all may read"));
        };
        Format::parse(&bytes, path)?.allow(Use::Read, path)?;
        Ok(Some(store))
    }

    /// A regular file beneath the root, no link on the way.
    fn file(&self, place: &str) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.beneath(place, flags).ok()?);
        file.metadata().ok()?.is_file().then_some(file)
    }

    fn beneath(&self, place: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, place, flags, Mode::empty(), resolve)
    }

    fn read(&self, place: &str) -> Option<Vec<u8>> {
        use std::io::Read;
        let mut bytes = Vec::new();
        let limit = files::MAX_RECORD_BYTES as u64;
        let file = self.file(place)?;
        file.take(limit + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= limit).then_some(bytes)
    }

    /// The record of this file of `images/`, if it is whole and says so itself.
    fn image(&self, file: &str) -> Result<Option<ImageRecord>> {
        let record = self
            .read(&format!("images/{file}"))
            .and_then(|bytes| serde_json::from_slice::<ImageRecord>(&bytes).ok());
        Ok(record.filter(|record| super::images::file_of(record) == file))
    }

    fn images(&self) -> Result<Vec<ImageRecord>> {
        let shown = || format!("cannot list {}", self.path.join("images").display());
        let folder = match self.beneath("images", FOLDER) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(errno).system(shown),
        };
        let mut records = Vec::new();
        for name in files::names(&folder).system(shown)? {
            records.extend(self.image(&name)?);
        }
        Ok(records)
    }
}

/// Whether a chain id's layer could be anywhere but in the own store.
pub(super) fn missing_layer(store: &Store, chain_id: &Digest) -> Error {
    let error = Error::new(
        ErrorKind::NoSuchBlob,
        format!("layer {chain_id} is not in the store"),
    );
    match store.additional.is_empty() {
        true => error.with_hint(
            "`coracle system check --repair` mends the store; if the layer lay in an additional store, name that with --storage-opt additionalimagestore=DIR",
        ),
        false => error.with_hint("`coracle system check --repair` mends the store"),
    }
}
