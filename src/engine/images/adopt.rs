//! Images of additional stores, made ready for use: see [`crate::storage`]'s `additional`.
//!
//! Manifest and configuration are copied into the own store and a record without a name is made, by the
//! same commit as a pull's. Layers stay where they are if they can be used there; otherwise they are
//! unpacked from the additional store's blobs, which verifies them.

use super::ingest::{ImageDocuments, Ingest};
use crate::{
    engine::{Engine, Progress},
    model::{
        Error, ErrorKind, Result,
        image::{ImageRecord, MAX_DOCUMENT_BYTES},
    },
};

impl Engine {
    /// The image, as the own store has it from now on. Nothing is done for one that is its own, and no
    /// system call without additional stores.
    pub(in crate::engine) fn adopt(
        &self,
        image: ImageRecord,
        progress: &dyn Progress,
    ) -> Result<ImageRecord> {
        if !self.store.has_additional() || self.store.additional_of(&image)?.is_none() {
            return Ok(image);
        }
        if let Some(own) = self.adopted(&image)? {
            return Ok(ImageRecord {
                name: image.name,
                ..own
            });
        }
        self.enter_user_namespace()?;
        let lease = self.store.lease()?;
        let documents = ImageDocuments {
            manifest: self.store.read_blob(&image.manifest, MAX_DOCUMENT_BYTES)?,
            media_type: None,
            config: self.store.read_blob(&image.config, MAX_DOCUMENT_BYTES)?,
        };
        let ingest = Ingest::begin(&lease, self.privilege(), progress, &documents)?;
        let mut ingested = ingest.complete()?;
        if let Some(index) = &image.index {
            let text = self.store.read_blob(index, MAX_DOCUMENT_BYTES)?;
            ingested.attach_index(lease.stage_document(&text)?);
        }
        let records = ingested.commit(&lease, &[])?;
        let record = records
            .into_iter()
            .next()
            .ok_or_else(|| Error::new(ErrorKind::Store, "the store has no record of the image"))?;
        Ok(ImageRecord {
            name: image.name,
            ..record
        })
    }

    /// What an earlier call made, if all of it is there.
    fn adopted(&self, image: &ImageRecord) -> Result<Option<ImageRecord>> {
        let own = self.store.own_record(image)?;
        let Some(own) = own else {
            return Ok(None);
        };
        for layer in &own.layers {
            if !self.store.has_layer(layer)? {
                return Ok(None);
            }
        }
        let documents =
            self.store.has_own_blob(&own.config)? && self.store.has_own_blob(&own.manifest)?;
        Ok(documents.then_some(own))
    }

    /// # Errors
    /// [`ErrorKind::Conflict`] if the image is an additional store's: those are read only.
    pub(super) fn refuse_read_only(&self, typed: &str, image: &ImageRecord) -> Result<()> {
        match self.store.additional_of(image)? {
            None => Ok(()),
            Some(path) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "cannot remove {typed}: it is in the read-only store {}",
                    path.display()
                ),
            )
            .with_hint("leave that store out of additionalimagestore, or ask its owner")),
        }
    }

    pub fn has_additional_stores(&self) -> bool {
        self.store.has_additional()
    }

    /// Whether the image is an additional store's.
    pub fn is_read_only(&self, image: &ImageRecord) -> bool {
        self.store.has_additional()
            && self
                .store
                .additional_of(image)
                .is_ok_and(|path| path.is_some())
    }
}
