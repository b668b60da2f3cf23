//! Damaged and missing blobs, fetched again from where their images came.

use std::collections::{BTreeSet, HashMap};

use super::{
    Checking,
    references::{Image, blobs_of},
};
use crate::{
    engine::downloads,
    model::{
        Digest, Reference, Result,
        image::MAX_DOCUMENT_BYTES,
        manifest::{self, Document},
    },
    registry::Registry,
};

/// Why a blob could not be fetched.
type Fetched = std::result::Result<(), String>;

impl Checking<'_> {
    /// Tries each name of each image that needs one of `wanted`. What was fetched is in its place when
    /// this returns.
    pub(super) fn refetch(
        &self,
        images: &[Image],
        wanted: &BTreeSet<Digest>,
    ) -> HashMap<Digest, Fetched> {
        let mut outcome: HashMap<Digest, Fetched> = HashMap::new();
        for image in images {
            for name in &image.names {
                // The manifest first: it says how large the others are.
                let missing: Vec<&Digest> = blobs_of(&image.record)
                    .filter(|blob| wanted.contains(blob))
                    .filter(|blob| !matches!(outcome.get(*blob), Some(Ok(()))))
                    .collect();
                for digest in missing {
                    let fetched = self
                        .refetch_one(&self.registry, image, name, digest)
                        .map_err(|error| error.one_line());
                    outcome.insert(digest.clone(), fetched);
                }
            }
        }
        outcome
    }

    fn refetch_one(
        &self,
        registry: &Registry,
        image: &Image,
        name: &Reference,
        digest: &Digest,
    ) -> Result<()> {
        let lease = self.store().lease()?;
        let retrying = |what: &str, why: &str| self.progress.retrying(what, why);
        let record = &image.record;
        let is_document = *digest == record.manifest || record.index.as_ref() == Some(digest);
        let staged = if is_document {
            let document = registry.document(&name.at_digest(digest.clone()), &retrying)?;
            lease.stage_document(&document.bytes)?
        } else {
            let size = self.size_of(image, digest)?;
            downloads::fetch_blob(
                lease.write_blob(digest, size)?,
                registry,
                name,
                (digest, size),
                &retrying,
            )?
        };
        lease.replace_blobs(vec![staged])
    }

    /// As the manifest says.
    fn size_of(&self, image: &Image, digest: &Digest) -> Result<u64> {
        let text = self
            .store()
            .read_blob(&image.record.manifest, MAX_DOCUMENT_BYTES)?;
        if let Document::Manifest(parsed) = Document::parse(&text, None)? {
            let descriptors = parsed.layers().iter().chain([parsed.config()]);
            for descriptor in descriptors {
                if manifest::digest_of(descriptor)? == *digest {
                    return Ok(descriptor.size());
                }
            }
        }
        Err(crate::model::Error::new(
            crate::model::ErrorKind::InvalidContent,
            format!("the manifest does not name blob {digest}"),
        ))
    }
}
