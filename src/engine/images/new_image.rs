//! An image that is made here: layers and a configuration → manifest, record, one commit. For
//! containers' `commit` and for builds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::load::descriptor;
use crate::{
    engine::{Engine, manifests::unix_seconds},
    model::{
        Context, Digest, Error, ErrorKind, Reference, Result,
        image::{ImageConfig, ImageRecord, MAX_DOCUMENT_BYTES},
        manifest::{self, Document, Format},
    },
    storage::{Lease, StagedBlob, StagedLayer},
};

/// A layer as the manifest names it.
#[derive(Clone, Debug)]
pub struct LayerArchiveOf {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

impl Engine {
    /// How the manifest of an image in the store names its layers.
    pub fn archives_of(&self, image: &ImageRecord) -> Result<Vec<LayerArchiveOf>> {
        let text = self.store.read_blob(&image.manifest, MAX_DOCUMENT_BYTES)?;
        let Document::Manifest(manifest) = Document::parse(&text, None)? else {
            return Err(Error::new(
                ErrorKind::Store,
                format!("{} is no manifest of an image", image.manifest),
            ));
        };
        let archive = |layer: &oci_spec::image::Descriptor| {
            Ok(LayerArchiveOf {
                media_type: layer.media_type().to_string(),
                digest: manifest::digest_of(layer)?,
                size: layer.size(),
            })
        };
        manifest.layers().iter().map(archive).collect()
    }
}

/// What there is to say of it. Layers and blobs are in the store, kept by the lease, or come along.
pub struct NewImage<'a> {
    pub config: &'a ImageConfig,
    pub format: Format,
    /// Lowest first, as are the chain ids.
    pub archives: &'a [LayerArchiveOf],
    pub chain_ids: Vec<Digest>,
    /// Bytes of all files.
    pub size: u64,
    /// Of the manifest.
    pub annotations: &'a [(String, String)],
    /// None: the record has no name.
    pub names: &'a [Reference],
}

/// What has been made: the digests of manifest and configuration.
#[derive(Clone, Debug)]
pub struct MadeImage {
    pub manifest: Digest,
    pub manifest_size: u64,
    pub config: Digest,
}

/// Its documents are written, and nothing is visible yet.
pub struct StagedImage {
    /// Without a name.
    pub record: ImageRecord,
    pub made: MadeImage,
    /// Manifest and configuration.
    pub documents: Vec<StagedBlob>,
}

impl StagedImage {
    /// The images of an index, of which `self` is the one that its name stands for here. Blobs of the
    /// others are kept with it.
    pub fn with_others(mut self, index: &Digest, others: &[StagedImage]) -> StagedImage {
        self.record.index = Some(index.clone());
        let mut known: BTreeSet<&Digest> = BTreeSet::new();
        for other in others {
            known.extend([&other.record.manifest, &other.record.config]);
            known.extend(&other.record.blobs);
        }
        for own in &self.record.blobs {
            known.remove(own);
        }
        self.record.others = known.into_iter().cloned().collect();
        self
    }

    /// One record for each name; one without, if there is none.
    pub fn records(&self, names: &[Reference]) -> Vec<ImageRecord> {
        let named = names.iter().map(|name| ImageRecord {
            name: Some(name.clone()),
            ..self.record.clone()
        });
        let mut records: Vec<ImageRecord> = named.collect();
        if records.is_empty() {
            records.push(self.record.clone());
        }
        records
    }
}

impl NewImage<'_> {
    /// Makes it visible, with what comes along.
    pub fn commit(
        self,
        lease: &Lease<'_>,
        mut blobs: Vec<StagedBlob>,
        layers: Vec<StagedLayer>,
    ) -> Result<MadeImage> {
        let names = self.names;
        let staged = self.stage(lease)?;
        let records = staged.records(names);
        blobs.extend(staged.documents);
        lease.commit(blobs, layers, &records)?;
        Ok(staged.made)
    }

    /// Writes its documents.
    pub fn stage(self, lease: &Lease<'_>) -> Result<StagedImage> {
        let what = || "cannot write the image configuration".to_owned();
        let config = serde_json::to_vec(self.config).context(ErrorKind::System, what)?;
        let config = lease.stage_document(&config)?;
        let manifest = self.manifest(&config).to_string();
        let manifest = lease.stage_document(manifest.as_bytes())?;
        let record = ImageRecord {
            name: None,
            manifest: manifest.digest().clone(),
            config: config.digest().clone(),
            index: None,
            blobs: self.archives.iter().map(|it| it.digest.clone()).collect(),
            others: Vec::new(),
            layers: self.chain_ids,
            size: self.size,
            created: self.config.created.clone(),
            tagged: unix_seconds(),
        };
        let made = MadeImage {
            manifest: record.manifest.clone(),
            manifest_size: manifest.size(),
            config: record.config.clone(),
        };
        Ok(StagedImage {
            record,
            made,
            documents: vec![manifest, config],
        })
    }

    fn manifest(&self, config: &StagedBlob) -> Value {
        let layers = self.archives.iter();
        let layers: Vec<Value> = layers
            .map(|layer| descriptor(&layer.media_type, &layer.digest, layer.size))
            .collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.format.manifest_type(),
            "config": descriptor(self.format.config_type(), config.digest(), config.size()),
            "layers": layers,
        });
        if !self.annotations.is_empty() {
            let pairs = self.annotations.iter().cloned();
            manifest["annotations"] = pairs
                .map(|(key, value)| (key, Value::from(value)))
                .collect();
        }
        manifest
    }
}
