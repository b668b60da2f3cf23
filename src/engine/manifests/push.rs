//! `manifest push`: what the target lacks of every member, then the index.
//!
//! Members whose manifests are kept go as they are, byte for byte, with blobs of the store, or out of
//! the repository they were added from ([`crate::engine::artifacts`]). An entry that stands for
//! another index goes with all of its members. Killed anywhere, the target's name stands for what it
//! stood for before: the index is the last.

use std::collections::BTreeMap;

use crate::{
    engine::{
        Engine, Progress, RegistryOptions,
        artifacts::{Target, Transfer},
    },
    model::{
        Digest, Error, ErrorKind, Reference, Result,
        image::MAX_DOCUMENT_BYTES,
        index::{Descriptor, Index},
        manifest::{DOCKER_INDEX, DOCKER_MANIFEST, Format, OCI_INDEX},
    },
    registry::RemoteDocument,
};

/// An index in an index in an index is the most that is followed.
const DEEPEST: usize = 3;

pub struct ManifestPush<'a> {
    pub list: String,
    /// Default: the index's name.
    pub target: Option<Reference>,
    /// All members, not the index alone.
    pub all: bool,
    /// The type that the index goes as; default its own.
    pub format: Option<Format>,
    pub registry: RegistryOptions,
    pub progress: &'a dyn Progress,
}

#[derive(Clone, Debug)]
pub struct PushedManifest {
    pub target: Reference,
    /// Of the index, as it was sent.
    pub digest: Digest,
    /// Bytes of the index.
    pub size: u64,
    /// The members' names at the target.
    pub members: Vec<Reference>,
}

impl Engine {
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::InvalidArgument`] for an index without members;
    /// those of [`crate::registry::Registry`].
    pub fn push_manifest_list(&self, push: &ManifestPush<'_>) -> Result<PushedManifest> {
        let record = self.manifest_list(&push.list)?;
        let mut index = self.read_index(&record)?;
        let mut bytes = self.store.read_blob(&record.digest, MAX_DOCUMENT_BYTES)?;
        if let Some(format) = push.format {
            convert(&mut index, format)?;
            bytes = index.to_bytes()?;
        }
        let target = push.target.clone().unwrap_or_else(|| record.name.clone());
        if target.digest().is_some() {
            return Err(Error::invalid(format!(
                "cannot push to {target}: the digest of the list is what it will be"
            )));
        }
        let transfer = Transfer::new(self, &push.registry, push.progress)?;
        for source in record.sources.values() {
            transfer.registry.prepare(source)?;
        }
        let to = Target::new(&transfer, &target)?;
        let members = Members {
            transfer: &transfer,
            to: &to,
            target: &target,
            sources: &record.sources,
        };
        let mut pushed = Vec::new();
        if push.all {
            for entry in &index.manifests {
                let source = record.sources.get(&entry.digest);
                pushed.push(members.send(entry, source, 1)?);
            }
        }
        let media_type = index.media_type.as_deref().unwrap_or(OCI_INDEX);
        let Descriptor { digest, size, .. } = Descriptor::of(&bytes, media_type);
        to.send_document(&target, bytes, media_type)?;
        self.note_image("push", &target.familiar(), &target.familiar_name(), None);
        Ok(PushedManifest {
            target,
            digest,
            size,
            members: pushed,
        })
    }
}

/// Docker's kind of list has no annotations, subjects or artifacts: they are not left out in silence.
fn convert(index: &mut Index, format: Format) -> Result<()> {
    if format == Format::Oci {
        index.media_type = Some(OCI_INDEX.to_owned());
        return Ok(());
    }
    let says_more = !index.annotations.is_empty()
        || index.subject.is_some()
        || index.artifact_type.is_some()
        || index
            .manifests
            .iter()
            .any(|entry| !entry.annotations.is_empty() || entry.artifact_type.is_some());
    if says_more {
        return Err(Error::invalid(
            "a list with annotations, artifacts or a subject cannot be pushed as Docker's kind",
        )
        .with_hint("--format oci keeps them"));
    }
    if let Some(other) = index
        .manifests
        .iter()
        .find(|entry| ![DOCKER_MANIFEST, DOCKER_INDEX].contains(&entry.media_type.as_str()))
    {
        return Err(Error::invalid(format!(
            "a Docker list cannot have the member {} of type {}",
            other.digest, other.media_type
        ))
        .with_hint("--format oci can, and every registry and engine of today takes it"));
    }
    index.media_type = Some(DOCKER_INDEX.to_owned());
    Ok(())
}

struct Members<'a> {
    transfer: &'a Transfer<'a>,
    to: &'a Target<'a>,
    target: &'a Reference,
    sources: &'a BTreeMap<Digest, Reference>,
}

impl Members<'_> {
    fn send(
        &self,
        entry: &Descriptor,
        source: Option<&Reference>,
        depth: usize,
    ) -> Result<Reference> {
        let source = self.sources.get(&entry.digest).or(source);
        let bytes = self.document(entry, source)?;
        let is_index = entry.media_type == OCI_INDEX || entry.media_type == DOCKER_INDEX;
        if is_index {
            if depth >= DEEPEST {
                return Err(Error::new(
                    ErrorKind::InvalidContent,
                    format!("{} is an index too deep inside of others", entry.digest),
                ));
            }
            for inner in &Index::parse(&bytes)?.manifests {
                self.send(inner, source, depth + 1)?;
            }
        } else {
            self.to.send_blobs(&bytes, source)?;
        }
        let at = self.target.at_digest(entry.digest.clone());
        self.to.send_document(&at, bytes, &entry.media_type)?;
        Ok(at)
    }

    /// A member's document: kept, or fetched from where it came from.
    fn document(&self, entry: &Descriptor, source: Option<&Reference>) -> Result<Vec<u8>> {
        let Transfer {
            lease,
            registry,
            progress,
            ..
        } = self.transfer;
        if lease.has_blob(&entry.digest)? {
            return lease.store().read_blob(&entry.digest, MAX_DOCUMENT_BYTES);
        }
        // Without a source it may lie at the target already.
        let from = source.unwrap_or(self.target);
        let RemoteDocument { bytes, .. } =
            registry.document(&from.at_digest(entry.digest.clone()), &|what, why| {
                progress.retrying(what, why);
            })?;
        Ok(bytes)
    }
}
