//! `image export-store`: images as a store that others use as an additional one, or as their own after
//! `cp -a`.
//!
//! Each image is taken in by the target store as a load would take it: blobs are copied and verified,
//! layers unpacked, everything made visible by one commit. What the target has is not copied again, so
//! an interrupted export goes on.

use std::{io::Read, path::Path};

use super::ingest::{ImageDocuments, Ingest};
use crate::{
    engine::{Engine, Progress},
    model::{
        Context, Digest, Error, ErrorKind, Result,
        image::{ImageRecord, MAX_DOCUMENT_BYTES},
    },
    storage::{Lease, StagedBlob, Store},
};

impl Engine {
    /// Adds images to the store at `folder`, making it if nothing is there; the records as they are
    /// there.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::Conflict`] if the folder is something else;
    /// [`ErrorKind::DigestMismatch`] if a blob here is damaged.
    pub fn export_store(
        &self,
        images: &[String],
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<ImageRecord>> {
        let mut wanted = Vec::new();
        for typed in images {
            wanted.push(self.image_here(typed, None)?);
        }
        // Checked before anything is made.
        let target = Store::open_to_share(folder, self.store.runroot_path())?;
        self.enter_user_namespace()?;
        let mut exported = Vec::new();
        for image in &wanted {
            exported.extend(self.export_image(image, &target, progress)?);
        }
        target.open_to_all()?;
        Ok(exported)
    }

    fn export_image(
        &self,
        image: &ImageRecord,
        target: &Store,
        progress: &dyn Progress,
    ) -> Result<Vec<ImageRecord>> {
        let own = self.store.lease()?;
        // Claimed, so that it stays while it is copied.
        for blob in [&image.manifest, &image.config]
            .into_iter()
            .chain(&image.blobs)
        {
            own.has_blob(blob)?;
        }
        let lease = target.lease()?;
        let documents = ImageDocuments {
            manifest: self.store.read_blob(&image.manifest, MAX_DOCUMENT_BYTES)?,
            media_type: None,
            config: self.store.read_blob(&image.config, MAX_DOCUMENT_BYTES)?,
        };
        let ingest = Ingest::begin(&lease, self.privilege(), progress, &documents)?;
        for (digest, size) in ingest.missing() {
            ingest.provide(self.copy_blob(&lease, &digest, size)?);
        }
        let mut ingested = ingest.complete()?;
        if let Some(index) = &image.index {
            let text = self.store.read_blob(index, MAX_DOCUMENT_BYTES)?;
            ingested.attach_index(lease.stage_document(&text)?);
        }
        let records: Vec<ImageRecord> = ingested
            .commit(&lease, &[])?
            .into_iter()
            .map(|record| ImageRecord {
                name: image.name.clone(),
                tagged: 0,
                ..record
            })
            .collect();
        let shared = target.lock_shared()?;
        target.put_images_without_time(&shared, records.clone())?;
        Ok(records)
    }

    fn copy_blob(&self, lease: &Lease<'_>, digest: &Digest, size: u64) -> Result<StagedBlob> {
        let mut file = self.store.open_blob(digest)?;
        let mut writer = lease.write_blob_alone(digest, size)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => writer.write(&buffer[..length])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).system(|| format!("cannot read blob {digest}"));
                }
            }
        }
        writer.finish().map_err(|error| {
            Error::new(
                ErrorKind::DigestMismatch,
                format!("cannot export: blob {digest} in the store is damaged"),
            )
            .with_source(error)
            .with_hint("`coracle system check --repair` fetches it again")
        })
    }
}
