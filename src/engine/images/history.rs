//! `history` and `image tree`: how an image came to be, and which images share its layers.

use crate::{
    engine::Engine,
    model::{
        Digest, Reference, Result,
        image::{History, ImageRecord},
    },
};

/// One step of an image's making.
#[derive(Clone, Debug)]
pub struct HistoryStep {
    /// Of the image that had this step as its last, if that is known.
    pub image: Option<Digest>,
    /// RFC 3339.
    pub created: Option<String>,
    pub created_by: String,
    pub comment: String,
    /// Bytes of the layer's files; 0 for a step that made none.
    pub size: u64,
    pub tags: Vec<String>,
}

/// A layer as `image tree` shows it.
#[derive(Clone, Debug)]
pub struct TreeLayer {
    pub chain_id: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// Names of the images that end with it.
    pub top_of: Vec<String>,
    /// Layers that lie on it; none in the tree of one image alone.
    pub children: Vec<TreeLayer>,
}

/// An image and its layers.
#[derive(Clone, Debug)]
pub struct ImageTree {
    pub record: ImageRecord,
    pub tags: Vec<String>,
    /// Lowest first; with dependents, those that lie on its top.
    pub layers: Vec<TreeLayer>,
}

impl Engine {
    /// The steps of an image's making, last first. Sizes are those of the unpacked layers. Layers
    /// that the configuration's history does not tell of have steps without a command.
    pub fn image_history(&self, typed: &str) -> Result<Vec<HistoryStep>> {
        let record = self.image_here(typed, None)?;
        let config = self.image_config(&record.config)?;
        // A layer below an opaque one is part of no container's files, and has no folder here.
        let without = config
            .rootfs
            .diff_ids
            .len()
            .saturating_sub(record.layers.len());
        let folders = record.layers.iter().map(Some);
        let mut layers = std::iter::repeat_n(None, without).chain(folders);
        let mut next_size = || {
            let facts = layers.next()?.map(|layer| self.store.layer_facts(layer));
            Some(facts.and_then(Result::ok).map_or(0, |facts| facts.size))
        };
        let step = |told: History, size: u64| HistoryStep {
            image: None,
            created: told.created,
            created_by: told.created_by.unwrap_or_default(),
            comment: told.comment.unwrap_or_default(),
            size,
            tags: Vec::new(),
        };
        let mut steps = Vec::new();
        for told in config.history.unwrap_or_default() {
            let size = match told.empty_layer {
                true => 0,
                false => next_size().unwrap_or(0),
            };
            steps.push(step(told, size));
        }
        while let Some(size) = next_size() {
            steps.push(step(History::default(), size));
        }
        steps.reverse();
        if let Some(last) = steps.first_mut() {
            last.tags = names_of(&self.store.images()?, |other| other.config == record.config);
            last.image = Some(record.config);
        }
        Ok(steps)
    }

    /// The layers of an image; with `dependents`, instead those of other images that lie on its
    /// topmost one.
    pub fn image_tree(&self, typed: &str, dependents: bool) -> Result<ImageTree> {
        let record = self.image_here(typed, None)?;
        let images = self.store.images()?;
        let tags = names_of(&images, |other| other.config == record.config);
        let layers = match (dependents, record.layers.split_last()) {
            (true, Some((top, below))) => vec![self.subtree(&images, below.len(), top)],
            _ => {
                let layers = record.layers.iter();
                layers
                    .map(|layer| self.tree_layer(&images, layer))
                    .collect()
            }
        };
        Ok(ImageTree {
            record,
            tags,
            layers,
        })
    }

    fn tree_layer(&self, images: &[ImageRecord], chain_id: &Digest) -> TreeLayer {
        let facts = self.store.layer_facts(chain_id);
        TreeLayer {
            chain_id: chain_id.clone(),
            size: facts.map_or(0, |facts| facts.size),
            top_of: names_of(images, |image| image.layers.last() == Some(chain_id)),
            children: Vec::new(),
        }
    }

    fn subtree(&self, images: &[ImageRecord], depth: usize, chain_id: &Digest) -> TreeLayer {
        let mut above: Vec<&Digest> = images
            .iter()
            .filter(|image| image.layers.get(depth) == Some(chain_id))
            .filter_map(|image| image.layers.get(depth + 1))
            .collect();
        above.sort();
        above.dedup();
        let children = above.into_iter();
        let children = children.map(|layer| self.subtree(images, depth + 1, layer));
        TreeLayer {
            children: children.collect(),
            ..self.tree_layer(images, chain_id)
        }
    }
}

fn names_of(images: &[ImageRecord], fits: impl Fn(&ImageRecord) -> bool) -> Vec<String> {
    let named = images.iter().filter(|image| fits(image));
    let names = named.filter_map(|image| image.name.as_ref());
    names.map(Reference::familiar).collect()
}
