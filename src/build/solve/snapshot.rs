//! What a step begins with and leaves behind: layers, and a key that says how they came about.

use super::key::{Key, Keys};
use crate::{
    model::{Digest, image::chain_ids},
    storage::builds::{StepLayer, StepRecord},
};

/// A layer of a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub chain_id: Digest,
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// An image's: as its manifest names the archive.
    Image {
        media_type: String,
        blob: Digest,
        /// Bytes.
        size: u64,
    },
    Step(Box<StepRecord>),
}

#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Name all that is below and how it came about.
    pub keys: Keys,
    /// The step that was the last, for lists.
    pub last: Option<Digest>,
}

impl Snapshot {
    /// Nothing at all.
    pub fn empty() -> Snapshot {
        Snapshot {
            layers: Vec::new(),
            keys: Key::new("scratch").finish(),
            last: None,
        }
    }

    pub fn chain_ids(&self) -> Vec<Digest> {
        let layers = self.layers.iter();
        layers.map(|layer| layer.chain_id.clone()).collect()
    }

    pub fn diff_ids(&self) -> Vec<Digest> {
        let layers = self.layers.iter();
        layers.map(|layer| layer.diff_id.clone()).collect()
    }

    /// The chain id of one more layer.
    pub fn chain_with(&self, diff_id: &Digest) -> Digest {
        let mut diff_ids = self.diff_ids();
        diff_ids.push(diff_id.clone());
        chain_ids(&diff_ids)
            .pop()
            .unwrap_or_else(|| diff_id.clone())
    }

    /// What this is known by behind one more step: a linked one's own keys say nothing of what is below, and
    /// those of one that makes something else each time nothing of what it has made.
    pub fn keys_with(&self, step: &Keys, layer: Option<&Digest>) -> Keys {
        let mut key = Key::new("snapshot");
        key.step("below", &self.keys).step("step", step);
        if let Some(layer) = layer {
            key.outcome("layer", layer);
        }
        key.finish()
    }

    /// Goes on with what a step has made.
    ///
    /// The new key holds what was below, since the step's may not (`COPY --link`), and what the step has
    /// made, since it may make something else another time: what was done on that is not done on this.
    pub fn push(&mut self, record: StepRecord) {
        let layer = record.layer.as_ref().map(|layer| &layer.diff_id);
        self.keys = self.keys_with(&Keys::of(&record), layer);
        self.last = Some(record.key.clone());
        let Some(StepLayer {
            chain_id,
            diff_id,
            size,
            ..
        }) = record.layer.clone()
        else {
            return;
        };
        self.layers.push(Layer {
            chain_id,
            diff_id,
            size,
            origin: Origin::Step(Box::new(record)),
        });
    }
}
