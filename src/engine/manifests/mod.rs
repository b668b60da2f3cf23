//! Indexes (manifest lists) that are made here: create, add, annotate, remove, inspect, push.
//!
//! ```text
//! members     names → entries: images of the store, or manifests fetched from a registry
//! edit        the document as it is → changed → the name stands for the new one
//! push        what the target lacks of every member, then the index
//! referrers   who refers to a document: the API, or the tag that stands in for it
//! look        documents that stay where they are: `manifest inspect`, `image inspect docker://…`
//! ```
//!
//! An index is a document in `blobs/` and a name in `manifests/` ([`crate::storage::manifests`]).
//! Its members' manifests and configurations are kept with it; the layers of a member that was
//! fetched are not: they are where its name says, and `push` copies them from there.
//!
//! Every change makes a new document and moves the name, if it has not moved meanwhile: otherwise
//! the change is made again, on what the name stands for now.

mod edit;
mod look;
mod members;
mod push;
mod referrers;

pub use members::{AddRequest, ArtifactEntry};
pub use push::{ManifestPush, PushedManifest};
pub use referrers::Referrer;

use std::collections::BTreeSet;

use crate::{
    engine::Engine,
    model::{
        Digest, Error, ErrorKind, Platform, Reference, Result,
        image::{ImageRecord, MAX_DOCUMENT_BYTES},
        index::{Index, ManifestKind, ManifestRecord},
    },
};

pub(in crate::engine) use edit::check_name;
pub use look::RemoteView;
pub(in crate::engine) use referrers::note_referrer;

impl Engine {
    /// The local indexes, by name.
    pub fn manifest_lists(&self) -> Result<Vec<ManifestRecord>> {
        self.store.manifests(ManifestKind::Index)
    }

    /// The local index of this name, or whose document has this digest (`sha256:` may be left out).
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]
    pub fn manifest_list(&self, typed: &str) -> Result<ManifestRecord> {
        let found = self.find_manifest(typed, ManifestKind::Index)?;
        found.ok_or_else(|| no_such_list(typed))
    }

    pub(in crate::engine) fn find_manifest(
        &self,
        typed: &str,
        kind: ManifestKind,
    ) -> Result<Option<ManifestRecord>> {
        if let Ok(name) = typed.parse::<Reference>()
            && let Some(record) = self.store.manifest(&name)?
            && record.kind == kind
        {
            return Ok(Some(record));
        }
        let digits = typed.strip_prefix("sha256:").unwrap_or(typed);
        let could_be_digest = digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let by_name = typed.parse::<Reference>().ok();
        let mut fitting = self.store.manifests(kind)?.into_iter().filter(|record| {
            // `NAME@DIGEST`, as Docker writes it.
            let named = by_name.as_ref().is_some_and(|name| {
                name.digest() == Some(&record.digest) && name.name() == record.name.name()
            });
            named || (could_be_digest && record.digest.hex().starts_with(digits))
        });
        let first = fitting.next();
        if fitting.any(|other| Some(&other.digest) != first.as_ref().map(|first| &first.digest)) {
            return Err(Error::invalid(format!(
                "{typed} is the beginning of several digests"
            )));
        }
        Ok(first)
    }

    pub(in crate::engine) fn read_index(&self, record: &ManifestRecord) -> Result<Index> {
        Index::parse(&self.store.read_blob(&record.digest, MAX_DOCUMENT_BYTES)?)
    }

    /// Takes the name of an index away, and what it alone kept.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]
    pub fn remove_manifest_list(&self, typed: &str) -> Result<ManifestRecord> {
        self.remove_document(typed, ManifestKind::Index, no_such_list)
    }

    pub(in crate::engine) fn remove_document(
        &self,
        typed: &str,
        kind: ManifestKind,
        missing: impl Fn(&str) -> Error,
    ) -> Result<ManifestRecord> {
        let alone = self.store.lock_exclusive()?;
        let record = self
            .find_manifest(typed, kind)?
            .ok_or_else(|| missing(typed))?;
        self.store.remove_manifest(&alone, &record.name)?;
        let garbage = self.store.bury_garbage(&alone)?;
        drop(alone);
        let (id, name) = (record.digest.as_str(), record.name.familiar());
        self.note_image("untag", id, &name, None);
        self.delete(garbage)?;
        Ok(record)
    }

    /// An image of the store, or the one that a local index of this name offers for a platform: what
    /// `run LIST` starts and `inspect LIST` shows.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`], also for an index whose member is not an image of this store.
    pub(in crate::engine) fn image_or_member(
        &self,
        typed: &str,
        wanted: Option<&Platform>,
    ) -> Result<ImageRecord> {
        match self.store.resolve_image(typed) {
            Err(missing) if missing.kind() == ErrorKind::NoSuchImage => {
                self.member_image(typed, wanted)?.ok_or(missing)
            }
            found => found,
        }
    }

    /// The image of this name, or of a list's platform, for a command that fetches nothing: of a list
    /// without one, the error says what it has.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::NoMatchingPlatform`].
    pub(in crate::engine) fn image_here(
        &self,
        typed: &str,
        wanted: Option<&Platform>,
    ) -> Result<ImageRecord> {
        match self.image_or_member(typed, wanted) {
            Err(missing) if missing.kind() == ErrorKind::NoSuchImage => {
                let host = Platform::host();
                let list = self.find_manifest(typed, ManifestKind::Index)?;
                Err(match list {
                    Some(list) => self.without_image(&list, wanted.unwrap_or(&host))?,
                    None => missing,
                })
            }
            found => found,
        }
    }

    /// Why a list offers no image that is here.
    fn without_image(&self, list: &ManifestRecord, wanted: &Platform) -> Result<Error> {
        let index = self.read_index(list)?;
        let name = list.name.familiar();
        let text = match members::choose(&index, wanted) {
            Ok(_) => format!("{name} is a manifest list: its image for {wanted} is not here"),
            Err(_) if index.manifests.is_empty() => {
                format!("{name} is a manifest list without members")
            }
            Err(error) => format!("{name} is a manifest list: {}", error.message()),
        };
        Ok(Error::new(ErrorKind::NoMatchingPlatform, text)
            .with_hint(format!("`coracle manifest inspect {name}` shows the list")))
    }

    fn member_image(&self, typed: &str, wanted: Option<&Platform>) -> Result<Option<ImageRecord>> {
        let Some((_, digest)) = self.member(typed, wanted)? else {
            return Ok(None);
        };
        let mut images = self.store.images()?.into_iter();
        Ok(images.find(|image| image.manifest == digest))
    }

    /// Where that member is, if it was added from a registry.
    pub(in crate::engine) fn member_source(
        &self,
        typed: &str,
        wanted: Option<&Platform>,
    ) -> Result<Option<Reference>> {
        let Some((record, digest)) = self.member(typed, wanted)? else {
            return Ok(None);
        };
        let source = record.sources.get(&digest);
        Ok(source.map(|source| source.at_digest(digest)))
    }

    fn member(
        &self,
        typed: &str,
        wanted: Option<&Platform>,
    ) -> Result<Option<(ManifestRecord, Digest)>> {
        let Some(record) = self.find_manifest(typed, ManifestKind::Index)? else {
            return Ok(None);
        };
        let host = Platform::host();
        let index = self.read_index(&record)?;
        let entry = members::choose(&index, wanted.unwrap_or(&host)).ok();
        let digest = entry.map(|entry| entry.digest.clone());
        Ok(digest.map(|digest| (record, digest)))
    }
}

pub(in crate::engine) fn no_such_list(typed: &str) -> Error {
    Error::new(
        ErrorKind::NoSuchImage,
        format!("No such manifest list: {typed}"),
    )
    .with_hint("`coracle manifest create` makes one")
}

/// The blobs that a document needs, its own not among them.
pub(in crate::engine) fn needed_blobs(document: &[u8]) -> BTreeSet<Digest> {
    let mut needed = BTreeSet::new();
    if let Ok(artifact) = crate::model::index::Artifact::parse(document) {
        needed.insert(artifact.config.digest);
        needed.extend(artifact.layers.into_iter().map(|layer| layer.digest));
    }
    needed
}

/// Now.
pub(in crate::engine) fn unix_seconds() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |age| age.as_secs().cast_signed())
}
