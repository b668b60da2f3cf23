//! The last step: an image becomes visible.

use crate::{
    model::{Reference, Result, image::ImageRecord},
    storage::{Lease, StagedBlob, StagedLayer},
};

/// A complete image that is not visible yet.
pub struct Ingested {
    pub(super) record: ImageRecord,
    pub(super) blobs: Vec<StagedBlob>,
    pub(super) layers: Vec<StagedLayer>,
}

impl Ingested {
    /// Further documents to keep with it: the index it was chosen from.
    pub fn attach_index(&mut self, index: StagedBlob) {
        self.record.index = Some(index.digest().clone());
        self.blobs.push(index);
    }

    /// Makes the image visible under these names, or without one, and returns its records.
    pub fn commit(self, lease: &Lease<'_>, names: &[Reference]) -> Result<Vec<ImageRecord>> {
        let tagged = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |age| age.as_secs().cast_signed());
        let named = |name: Option<Reference>| ImageRecord {
            name,
            tagged,
            ..self.record.clone()
        };
        let records: Vec<ImageRecord> = match names {
            [] => vec![named(None)],
            names => names.iter().map(|name| named(Some(name.clone()))).collect(),
        };
        lease.commit(self.blobs, self.layers, &records)?;
        Ok(records)
    }
}
