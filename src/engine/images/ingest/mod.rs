//! From a manifest and its blobs to an image in the store: what `pull`, `load` and `import` share.
//!
//! ```text
//! Ingest::begin     manifest and configuration are checked against each other, and what the
//!                   store has already is claimed                                      (plan)
//! Ingest::sinks     for blobs that come one after the other: a sink each. A sink writes its blob
//!                   and lets a thread unpack behind it                                (sink, feed)
//! Ingest::provide   or: blobs that are staged already
//! Ingest::complete  unpacks what is still to be unpacked, gives implied directories the metadata
//!                   of the layers below, adds up sizes                                (unpack)
//! Ingested::commit  everything becomes visible at once, under the given names         (commit)
//! ```
//!
//! A sink and its unpacking thread share nothing but the blob's file and a counter of the bytes
//! in it ([`feed`]). The download is therefore never held up by the unpacking, memory stays
//! bounded, and bytes left by an earlier, interrupted attempt are unpacked like fresh ones, as are
//! those that another process is downloading. While layers arrive the disk is kept busy ([`flush`]),
//! so that little is left to be written at the end.
//!
//! Killed anywhere before the commit, only the lease and partial downloads are left behind.

mod commit;
mod feed;
mod flush;
mod plan;
mod sink;
mod unpack;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use commit::Ingested;
pub use feed::Ahead;
use flush::Flusher;
pub use plan::MAX_LAYERS;
use plan::{Layer, plan_layers};
use sink::LayerSink;
use unpack::inherit;
pub use unpack::{Unpacked, UnpackedLayer, unpack_on};

use crate::{
    engine::{LayerState, Progress},
    model::{
        BlobSink, Digest, Error, ErrorKind, Result,
        image::{ImageConfig, ImageRecord},
        manifest::{self, Document},
    },
    storage::{Lease, StagedBlob, unpack::Privilege},
};

/// The two documents that make an image, as their digests cover them.
#[derive(Clone, Debug)]
pub struct ImageDocuments {
    pub manifest: Vec<u8>,
    /// What the registry or the descriptor called the manifest.
    pub media_type: Option<String>,
    pub config: Vec<u8>,
}

/// A blob to be fetched, and where its bytes go.
pub struct WantedBlob<'i> {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub sink: Box<dyn BlobSink + 'i>,
}

/// An image on its way into the store.
pub struct Ingest<'a> {
    lease: &'a Lease<'a>,
    privilege: Privilege,
    progress: &'a dyn Progress,
    layers: Vec<Layer>,
    documents: Vec<StagedBlob>,
    created: Option<String>,
    staged: Mutex<Staged>,
    flusher: Flusher,
}

#[derive(Default)]
struct Staged {
    blobs: HashMap<Digest, StagedBlob>,
    /// By position in the image.
    trees: BTreeMap<usize, Unpacked>,
}

impl<'a> Ingest<'a> {
    /// # Errors
    /// [`ErrorKind::InvalidContent`] if the documents are not those of one runnable image;
    /// [`ErrorKind::DigestMismatch`] if the configuration is not the one of the manifest.
    pub fn begin(
        lease: &'a Lease<'a>,
        privilege: Privilege,
        progress: &'a dyn Progress,
        image: &ImageDocuments,
    ) -> Result<Self> {
        let parsed = Document::parse(&image.manifest, image.media_type.as_deref())?;
        let Document::Manifest(parsed) = parsed else {
            return Err(invalid("an index stands where a manifest should"));
        };
        let config = ImageConfig::parse(&image.config)?;
        let documents = vec![
            lease.stage_document(&image.manifest)?,
            lease.stage_document(&image.config)?,
        ];
        let promised = manifest::digest_of(parsed.config())?;
        if promised != *documents[1].digest() {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "the configuration has the digest {}, the manifest says {promised}",
                    documents[1].digest()
                ),
            ));
        }
        let promised = parsed.config().size();
        if promised != documents[1].size() {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "the configuration has {} bytes, the manifest says {promised}",
                    documents[1].size()
                ),
            ));
        }
        let layers = plan_layers(lease, parsed.layers(), &config.rootfs.diff_ids)?;
        for layer in &layers {
            match layer.is_there() {
                true => progress.layer_exists(&layer.blob),
                false => progress.layer_state(&layer.blob, LayerState::Planned(layer.size)),
            }
        }
        Ok(Ingest {
            lease,
            privilege,
            progress,
            layers,
            documents,
            created: config.created,
            staged: Mutex::default(),
            flusher: Flusher::new(lease.store()),
        })
    }

    /// Every blob that must be fetched. They may be filled in any order and by different threads;
    /// for one that failed this may be called again.
    pub fn sinks(&self) -> Result<Vec<WantedBlob<'_>>> {
        let mut seen = HashSet::new();
        let mut sinks = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let wanted = !layer.has_blob && !self.staged().blobs.contains_key(&layer.blob);
            if wanted && seen.insert(&layer.blob) {
                sinks.push(WantedBlob {
                    digest: layer.blob.clone(),
                    size: layer.size,
                    sink: Box::new(LayerSink::new(self, index)),
                });
            }
        }
        Ok(sinks)
    }

    /// The blobs that [`Self::sinks`] or [`Self::provide`] must still deliver, and their sizes.
    pub fn missing(&self) -> Vec<(Digest, u64)> {
        let staged = self.staged();
        let mut seen = HashSet::new();
        let missing = self.layers.iter().filter(|layer| !layer.has_blob);
        missing
            .filter(|layer| !staged.blobs.contains_key(&layer.blob) && seen.insert(&layer.blob))
            .map(|layer| (layer.blob.clone(), layer.size))
            .collect()
    }

    /// A verified layer blob from elsewhere.
    pub fn provide(&self, blob: StagedBlob) {
        self.staged().blobs.insert(blob.digest().clone(), blob);
    }

    /// Tells whoever shows progress that a blob has arrived, all at once.
    pub fn announce(&self, blob: &Digest, size: u64) {
        self.progress.layer_started(blob, size);
        self.progress.layer_advanced(blob, size);
    }

    /// The tree of a blob, unpacked while nobody knew which layer it is. One that is not of this
    /// image, or there already, is dropped.
    pub fn provide_unpacked(&self, blob: &Digest, tree: Unpacked) {
        let mut staged = self.staged();
        let fits = |(index, layer): &(usize, &Layer)| {
            let wanted = !layer.has_layer && !staged.trees.contains_key(index);
            wanted && layer.blob == *blob && layer.diff_id == *tree.diff_id(blob)
        };
        let found = self.layers.iter().enumerate().find(fits);
        if let Some((index, _)) = found {
            staged.trees.insert(index, tree);
        }
    }

    /// Unpacks what no sink has unpacked, and completes the trees.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBlob`] if a blob was not delivered, and those of unpacking.
    pub fn complete(self) -> Result<Ingested> {
        if let Some((blob, _)) = self.missing().first() {
            return Err(Error::new(
                ErrorKind::NoSuchBlob,
                format!("layer {blob} of the image is missing"),
            ));
        }
        self.unpack_the_rest()?;
        self.flusher.stop();
        let Staged { blobs, mut trees } = self
            .staged
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        inherit(self.lease, &self.layers, &trees)?;

        let mut size = 0_u64;
        let mut lowest = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            let facts = match trees.get_mut(&index) {
                Some(unpacked) => unpacked.seal(layer)?,
                None => self.lease.store().layer_facts(&layer.chain_id)?,
            };
            size = size.saturating_add(facts.size);
            if facts.opaque_root {
                lowest = index;
            }
        }
        // What an opaque root hides is no part of any container's file system.
        trees.retain(|index, _| *index >= lowest);
        let record = ImageRecord {
            name: None,
            manifest: self.documents[0].digest().clone(),
            config: self.documents[1].digest().clone(),
            index: None,
            others: Vec::new(),
            blobs: self.layers.iter().map(|layer| layer.blob.clone()).collect(),
            layers: self.layers[lowest..]
                .iter()
                .map(|layer| layer.chain_id.clone())
                .collect(),
            size,
            created: self.created,
            tagged: 0,
        };
        Ok(Ingested {
            record,
            blobs: self
                .documents
                .into_iter()
                .chain(blobs.into_values())
                .collect(),
            layers: trees.into_values().map(|unpacked| unpacked.layer).collect(),
        })
    }

    fn staged(&self) -> MutexGuard<'_, Staged> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidContent, format!("invalid image: {why}"))
}

fn died() -> Error {
    Error::new(
        ErrorKind::System,
        "a thread that unpacks a layer did not answer",
    )
}
