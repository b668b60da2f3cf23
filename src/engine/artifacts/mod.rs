//! OCI artifacts: files in a registry, under a manifest of their own (OCI image specification 1.1,
//! "Guidelines for Artifact Usage"; as ORAS and Podman write them).
//!
//! ```text
//! files       files → blobs, entries with titles, a manifest      extract   blobs → files
//! transfer    pull and push, and the blobs of both
//! ```
//!
//! An artifact is a manifest and its files in `blobs/`, and a name in `manifests/`
//! ([`crate::storage::manifests`]). Titles are file names that somebody else wrote: see
//! [`crate::model::index::file_name`].

mod extract;
mod files;
mod transfer;

pub use extract::Extract;
pub use files::{NewArtifact, NewFile};
pub(in crate::engine) use files::{config, stage};
pub use transfer::{ArtifactPush, PushedArtifact};

pub(in crate::engine) use transfer::{Target, Transfer};

use crate::{
    engine::Engine,
    model::{
        Error, ErrorKind, Result,
        image::MAX_DOCUMENT_BYTES,
        index::{Artifact, ManifestKind, ManifestRecord},
    },
};

impl Engine {
    /// All artifacts of the store, by name. One whose manifest is damaged is left out.
    pub fn artifacts(&self) -> Result<Vec<(ManifestRecord, Artifact)>> {
        let records = self.store.manifests(ManifestKind::Artifact)?;
        let read = |record: ManifestRecord| {
            let artifact = self.read_artifact(&record).ok()?;
            Some((record, artifact))
        };
        Ok(records.into_iter().filter_map(read).collect())
    }

    /// By name, or by the beginning of its digest.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]
    pub fn artifact(&self, typed: &str) -> Result<(ManifestRecord, Artifact)> {
        let found = self.find_manifest(typed, ManifestKind::Artifact)?;
        let record = found.ok_or_else(|| no_such_artifact(typed))?;
        let artifact = self.read_artifact(&record)?;
        Ok((record, artifact))
    }

    fn read_artifact(&self, record: &ManifestRecord) -> Result<Artifact> {
        Artifact::parse(&self.store.read_blob(&record.digest, MAX_DOCUMENT_BYTES)?)
    }

    /// # Errors
    /// [`ErrorKind::NoSuchImage`]
    pub fn remove_artifact(&self, typed: &str) -> Result<ManifestRecord> {
        self.remove_document(typed, ManifestKind::Artifact, no_such_artifact)
    }
}

fn no_such_artifact(typed: &str) -> Error {
    Error::new(
        ErrorKind::NoSuchImage,
        format!("{typed}: artifact does not exist"),
    )
    .with_hint("`coracle artifact ls` lists those that are here")
}
