//! Which layers an image has, and which of them the store lacks.

use super::invalid;
use crate::{
    model::{Digest, Result, image::chain_ids, manifest},
    storage::Lease,
};

/// More than any tool makes, and few enough to keep a descriptor or two for each.
pub const MAX_LAYERS: usize = 256;
/// One layer of the image being taken in.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub blob: Digest,
    pub size: u64,
    pub diff_id: Digest,
    pub chain_id: Digest,
    pub has_blob: bool,
    pub has_layer: bool,
}

impl Layer {
    pub fn is_there(&self) -> bool {
        self.has_blob && self.has_layer
    }
}

pub(super) fn plan_layers(
    lease: &Lease<'_>,
    descriptors: &[oci_spec::image::Descriptor],
    diff_ids: &[Digest],
) -> Result<Vec<Layer>> {
    if descriptors.len() != diff_ids.len() {
        return Err(invalid(&format!(
            "the manifest has {} layers, the configuration {}",
            descriptors.len(),
            diff_ids.len()
        )));
    }
    if descriptors.len() > MAX_LAYERS {
        return Err(invalid(&format!("it has more than {MAX_LAYERS} layers")));
    }
    let plan = |(descriptor, (diff_id, chain_id)): (_, (&Digest, Digest))| {
        let descriptor: &oci_spec::image::Descriptor = descriptor;
        manifest::layer_compression(descriptor.media_type().as_ref())?;
        if diff_id.algorithm() != "sha256" {
            return Err(invalid(&format!("the diff id {diff_id} is not SHA-256")));
        }
        let blob = manifest::digest_of(descriptor)?;
        // Of another size: the disk has damaged it, or the manifest lies. Fetched anew, that shows.
        let has_blob =
            lease.has_blob(&blob)? && lease.store().blob_size(&blob)? == descriptor.size();
        Ok(Layer {
            has_blob,
            has_layer: lease.has_layer(&chain_id)?,
            size: descriptor.size(),
            diff_id: diff_id.clone(),
            blob,
            chain_id,
        })
    };
    let ids = diff_ids.iter().zip(chain_ids(diff_ids));
    descriptors.iter().zip(ids).map(plan).collect()
}
