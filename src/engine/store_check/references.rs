//! What images refer to: record → manifest → configuration → layers → blobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Checking, StoreCheck, shown};
use crate::model::{
    Digest, Reference, Result,
    image::{ImageConfig, ImageRecord, MAX_DOCUMENT_BYTES, chain_ids},
    index::{ManifestKind, ManifestRecord},
    manifest::{self, Document},
};

/// An image as its documents describe it.
pub(super) struct Known {
    pub layers: Vec<KnownLayer>,
}

#[derive(Clone)]
pub(super) struct KnownLayer {
    pub chain_id: Digest,
    pub diff_id: Digest,
    pub blob: Digest,
    pub below: Vec<Digest>,
}

/// One image under all its names.
pub(super) struct Image {
    pub record: ImageRecord,
    pub names: Vec<Reference>,
}

impl Checking<'_> {
    /// One entry an image id and manifest, with all names of it.
    pub(super) fn all_images(&self) -> Result<Vec<Image>> {
        let mut by_id: BTreeMap<(Digest, Digest), Image> = BTreeMap::new();
        for record in self.store().images()? {
            let name = record.name.clone();
            let image = by_id
                .entry((record.config.clone(), record.manifest.clone()))
                .or_insert(Image {
                    record,
                    names: Vec::new(),
                });
            image.names.extend(name);
        }
        Ok(by_id.into_values().collect())
    }

    pub(super) fn images(&mut self) {
        let mut blobs = StoreCheck::new("blobs");
        let outcome = self.look_at_blobs(&mut blobs);
        self.end(blobs, outcome);
        let mut images = StoreCheck::new("images");
        let outcome = self.look_at_images(&mut images);
        self.end(images, outcome);
    }

    /// Blobs that are not what they are called, and those that are missing.
    fn look_at_blobs(&mut self, check: &mut StoreCheck) -> Result<()> {
        let digests = self.store().blob_digests()?;
        check.looked = digests.len() as u64;
        let images = self.all_images()?;
        let mut bad: BTreeMap<Digest, String> = BTreeMap::new();
        if !self.options.quick {
            let flaws = self.store().verify_blobs(&digests, &|_| {});
            for flaw in flaws.unread {
                let what = format!("blob {}: {}", flaw.digest, flaw.why);
                check.unknown.push(what);
            }
            let damaged = flaws.damaged.into_iter();
            bad.extend(damaged.map(|flaw| (flaw.digest, flaw.why)));
        }
        let _shared = self.store().lock_shared()?;
        for image in &images {
            if !self.is_still_there(&image.record)? {
                continue;
            }
            for digest in blobs_of(&image.record) {
                if !self.store().has_blob(digest)? {
                    bad.insert(digest.clone(), "it is missing".to_owned());
                }
            }
            for (digest, size) in self.promised_sizes(&image.record) {
                if let Ok(found) = self.store().blob_size(&digest)
                    && found != size
                {
                    let why = format!("it has {found} bytes, the manifest says {size}");
                    bad.entry(digest).or_insert(why);
                }
            }
        }
        for record in self.named_manifests()? {
            for digest in [&record.digest].into_iter().chain(&record.keeps) {
                if !self.store().has_blob(digest)? {
                    bad.insert(digest.clone(), "it is missing".to_owned());
                }
            }
        }
        for (_, record) in self.store().containers()? {
            if let Some(config) = &record.image_id
                && !self.store().has_blob(config)?
            {
                bad.insert(config.clone(), "it is missing".to_owned());
            }
        }
        drop(_shared);
        self.mend_blobs(check, &images, bad)
    }

    fn mend_blobs(
        &mut self,
        check: &mut StoreCheck,
        images: &[Image],
        bad: BTreeMap<Digest, String>,
    ) -> Result<()> {
        let wanted: BTreeSet<Digest> = bad.keys().cloned().collect();
        let fetched = match self.options.repair && !bad.is_empty() {
            true => self.refetch(images, &wanted),
            false => HashMap::new(),
        };
        let manifests = self.named_manifests()?;
        for (digest, why) in bad {
            let users: Vec<&Image> = images
                .iter()
                .filter(|image| blobs_of(&image.record).any(|blob| *blob == digest))
                .collect();
            let images = users.iter();
            let images = images.map(|image| shown(&image.names, &image.record.config));
            let manifests = manifests.iter().filter(|record| needs(record, &digest));
            let manifests = manifests.map(|record| {
                let kind = match record.kind {
                    ManifestKind::Index => "manifest list",
                    ManifestKind::Artifact => "artifact",
                };
                format!("{kind} {}", record.name.familiar())
            });
            let named: Vec<String> = images.chain(manifests).collect();
            let finding = check.find(format!("blob {digest}"), why);
            if !self.options.repair {
                finding.left =
                    (!named.is_empty()).then(|| format!("needed by {}", named.join(", ")));
                continue;
            }
            match fetched.get(&digest) {
                Some(Ok(())) => finding.settle(Ok(true)),
                _ if named.is_empty() && self.engine.store.remove_stray_blob(&digest)? => {
                    finding.settle(Ok(true));
                }
                other => {
                    let why = match other {
                        Some(Err(why)) => why.as_str(),
                        _ if users.is_empty() => "remove it and make it again",
                        _ => "no name of its image refers to a registry",
                    };
                    finding.left = Some(format!("{why}; needed by {}", named.join(", ")));
                    self.doomed_images
                        .extend(users.iter().map(|image| image.record.config.clone()));
                }
            }
        }
        Ok(())
    }

    fn named_manifests(&self) -> Result<Vec<ManifestRecord>> {
        let mut records = self.store().manifests(ManifestKind::Index)?;
        records.extend(self.store().manifests(ManifestKind::Artifact)?);
        Ok(records)
    }

    /// Sizes of layer blobs as the manifest has them, if it can be read.
    fn promised_sizes(&self, record: &ImageRecord) -> Vec<(Digest, u64)> {
        let Ok(text) = self.store().read_blob(&record.manifest, MAX_DOCUMENT_BYTES) else {
            return Vec::new();
        };
        let Ok(Document::Manifest(manifest)) = Document::parse(&text, None) else {
            return Vec::new();
        };
        let layers = manifest.layers().iter();
        layers
            .filter_map(|layer| Some((manifest::digest_of(layer).ok()?, layer.size())))
            .collect()
    }

    /// Whether the record says the same as when it was read.
    fn is_still_there(&self, record: &ImageRecord) -> Result<bool> {
        let images = self.store().images()?;
        Ok(images
            .iter()
            .any(|other| other.config == record.config && other.manifest == record.manifest))
    }

    fn look_at_images(&mut self, check: &mut StoreCheck) -> Result<()> {
        for image in self.all_images()? {
            check.looked += 1;
            let what = shown(&image.names, &image.record.config);
            // Told by the check of blobs already.
            let Ok(known) = self.known(&image.record) else {
                if self.is_still_there(&image.record)? {
                    check.unknown.push(format!(
                        "{what}: its manifest or configuration cannot be read"
                    ));
                }
                continue;
            };
            let chain: Vec<&Digest> = known.layers.iter().map(|layer| &layer.chain_id).collect();
            let blobs: Vec<&Digest> = known.layers.iter().map(|layer| &layer.blob).collect();
            let own: Vec<&Digest> = image.record.layers.iter().collect();
            let same_blobs = image.record.blobs.iter().collect::<Vec<_>>() == blobs;
            if !(same_blobs && chain.ends_with(&own)) {
                let finding = check.find(&what, "its record names other layers than its manifest");
                finding.left = Some(format!("pull or load it again; needed by {what}"));
                self.doomed_images.push(image.record.config.clone());
            }
        }
        Ok(())
    }

    /// What the manifest and the configuration say of the layers.
    pub(super) fn known(&self, record: &ImageRecord) -> Result<Known> {
        let text = self
            .store()
            .read_blob(&record.manifest, MAX_DOCUMENT_BYTES)?;
        let Document::Manifest(parsed) = Document::parse(&text, None)? else {
            return Err(crate::model::Error::new(
                crate::model::ErrorKind::InvalidContent,
                "its manifest is an index",
            ));
        };
        let config = self.store().read_blob(&record.config, MAX_DOCUMENT_BYTES)?;
        let diff_ids = ImageConfig::parse(&config)?.rootfs.diff_ids;
        let chain = self.folders_of(record, &diff_ids);
        let mut layers = Vec::new();
        for (index, (descriptor, diff_id)) in parsed.layers().iter().zip(&diff_ids).enumerate() {
            layers.push(KnownLayer {
                chain_id: chain[index].clone(),
                diff_id: diff_id.clone(),
                blob: manifest::digest_of(descriptor)?,
                below: chain[..index].to_vec(),
            });
        }
        Ok(Known { layers })
    }
}

impl Checking<'_> {
    /// What each layer is called here: by the layers below it, or, if a build has linked it, by others.
    /// Then its own facts say that it is the one. Those below an opaque layer may be missing in the record.
    fn folders_of(&self, record: &ImageRecord, diff_ids: &[Digest]) -> Vec<Digest> {
        let mut chain = chain_ids(diff_ids);
        let own = chain.iter_mut().zip(diff_ids).rev();
        for ((usual, diff_id), named) in own.zip(record.layers.iter().rev()) {
            let is_it = |named| {
                let facts = self.store().layer_facts(named);
                facts.is_ok_and(|facts| facts.diff_id == *diff_id)
            };
            if usual != named && is_it(named) {
                usual.clone_from(named);
            }
        }
        chain
    }
}

fn needs(record: &ManifestRecord, digest: &Digest) -> bool {
    record.digest == *digest || record.keeps.contains(digest)
}

pub(super) fn blobs_of(record: &ImageRecord) -> impl Iterator<Item = &Digest> {
    [&record.manifest, &record.config]
        .into_iter()
        .chain(&record.index)
        .chain(&record.blobs)
        .chain(&record.others)
}
