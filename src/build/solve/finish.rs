//! The target's layers and configuration become an image.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd},
};

use super::{
    Done, Solver, Target,
    key::{Key, Keys},
    snapshot::{Layer, Origin, Snapshot},
};
use crate::{
    build::{
        progress::{Event, Progress, Silent},
        request::{Annotation, AnnotationLevel},
    },
    engine::images::new_image::{LayerArchiveOf, NewImage, StagedImage},
    model::{
        Digest, Error, ErrorKind, Platform, Result,
        image::{History, ImageConfig},
        index::{Descriptor, EntryPlatform, Index},
        manifest::{self, Compression, Format},
        step_cache::INLINE,
    },
    storage::{
        Lease, StagedBlob,
        builds::{StepLayer, StepRecord},
    },
};

/// What people see of a step that nobody has written.
const SQUASHED: &str = "[squash]";

/// What a build has made.
#[derive(Clone, Debug)]
pub struct Built {
    /// One for each platform, in the order in which they were asked for; there is at least one.
    pub images: Vec<BuiltImage>,
    /// The number of the image that names stand for.
    pub shown: usize,
    /// Of the images, if several platforms were asked for: its digest and size.
    pub index: Option<(Digest, u64)>,
}

impl Built {
    /// What names stand for: the index's digest, or the image's ID. None if nothing was kept.
    pub fn id(&self) -> Option<&Digest> {
        match &self.index {
            Some((digest, _)) => Some(digest),
            None => self.image_id(),
        }
    }

    /// The ID of the image that names stand for.
    pub fn image_id(&self) -> Option<&Digest> {
        Some(&self.images.get(self.shown)?.kept.as_ref()?.id)
    }
}

/// Of one platform.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    pub platform: Platform,
    /// None if it was not to be kept (`BuildRequest::without_image`).
    pub kept: Option<KeptImage>,
    pub config: ImageConfig,
    /// Chain ids, lowest first.
    pub layers: Vec<Digest>,
}

/// An image in the store.
#[derive(Clone, Debug)]
pub struct KeptImage {
    /// Of the configuration: the image's ID.
    pub id: Digest,
    pub manifest: Digest,
    /// Bytes.
    pub manifest_size: u64,
}

/// A target whose steps are done.
struct Ready {
    image: BuiltImage,
    snapshot: Snapshot,
}

/// What was committed.
struct Named {
    /// The number of the image that names stand for.
    shown: usize,
    index: Option<(Digest, u64)>,
}

/// An image's archives, with what is on its way to the store.
struct Archives {
    named: Vec<LayerArchiveOf>,
    staged: Vec<StagedBlob>,
    /// Of steps, whose own places are not needed any more.
    of_steps: Vec<Digest>,
}

impl Solver<'_> {
    pub(super) fn finish(
        &self,
        lease: &Lease<'_>,
        progress: &mut dyn Progress,
        vertex: usize,
        done: &BTreeMap<usize, Vec<Done>>,
    ) -> Result<Built> {
        if self.request.without_image {
            return self.write(lease, &mut Silent, vertex, done);
        }
        progress.event(Event::Vertex {
            id: vertex,
            name: "exporting to image",
        });
        progress.event(Event::Started { id: vertex });
        let outcome = self.write(lease, progress, vertex, done);
        match &outcome {
            Ok(_) => progress.event(Event::Done { id: vertex }),
            Err(error) => {
                let text = error.one_line();
                progress.event(Event::Failed {
                    id: vertex,
                    text: &text,
                });
            }
        }
        outcome
    }

    fn write(
        &self,
        lease: &Lease<'_>,
        progress: &mut dyn Progress,
        vertex: usize,
        done: &BTreeMap<usize, Vec<Done>>,
    ) -> Result<Built> {
        let mut status = |text: &str, done: bool| {
            progress.event(Event::Status {
                id: vertex,
                text,
                current: 0,
                total: 0,
                done,
            });
        };
        let mut ready = Vec::new();
        for target in self.targets {
            ready.push(self.ready(lease, target, done, &mut status)?);
        }
        if self.request.without_image {
            return Ok(Built {
                images: ready.into_iter().map(|ready| ready.image).collect(),
                shown: 0,
                index: None,
            });
        }
        status("exporting layers", false);
        let mut staged = Vec::new();
        let mut blobs = Vec::new();
        let mut of_steps = Vec::new();
        for ready in &mut ready {
            let (image, archives) = self.stage(lease, ready)?;
            ready.image.kept = Some(KeptImage {
                id: image.made.config.clone(),
                manifest: image.made.manifest.clone(),
                manifest_size: image.made.manifest_size,
            });
            blobs.extend(archives.staged);
            of_steps.extend(archives.of_steps);
            staged.push(image);
        }
        status("exporting layers", true);
        let named = self.commit(lease, &ready, staged, blobs)?;
        lease.drop_step_blobs(of_steps.iter());
        let records: Vec<StepRecord> = ready[named.shown]
            .snapshot
            .layers
            .iter()
            .filter_map(|layer| match &layer.origin {
                Origin::Step(record) => Some(StepRecord::clone(record)),
                Origin::Image { .. } => None,
            })
            .collect();
        lease.acknowledge_steps(&records)?;
        for image in ready.iter().filter_map(|ready| ready.image.kept.as_ref()) {
            status(&format!("writing image {}", image.id), true);
        }
        if let Some((index, _)) = &named.index {
            status(&format!("writing manifest list {index}"), true);
        }
        for name in &self.request.tags {
            status(&format!("naming to {name}"), true);
        }
        Ok(Built {
            images: ready.into_iter().map(|ready| ready.image).collect(),
            shown: named.shown,
            index: named.index,
        })
    }

    /// A target's layers and configuration.
    fn ready(
        &self,
        lease: &Lease<'_>,
        target: &Target,
        done: &BTreeMap<usize, Vec<Done>>,
        status: &mut dyn FnMut(&str, bool),
    ) -> Result<Ready> {
        let snapshot = self.done.get(&target.stage).cloned();
        let mut snapshot = snapshot.unwrap_or_else(Snapshot::empty);
        if self.request.squash {
            status("squashing layers", false);
            snapshot = self.squashed(lease, snapshot)?;
            status("squashing layers", true);
        }
        let mut config = self.config(target, &snapshot, done);
        if let Some(cache) = self.inline_cache(target, &snapshot, done)? {
            config.extra.insert(INLINE.to_owned(), cache.into());
        }
        Ok(Ready {
            image: BuiltImage {
                platform: target.platform.clone(),
                kept: None,
                config,
                layers: snapshot.chain_ids(),
            },
            snapshot,
        })
    }

    fn format(&self) -> Format {
        match self.request.docker_documents {
            true => Format::Docker,
            false => Format::Oci,
        }
    }

    /// Writes an image's documents.
    fn stage(&self, lease: &Lease<'_>, ready: &Ready) -> Result<(StagedImage, Archives)> {
        let snapshot = &ready.snapshot;
        let archives = self.archives(lease, snapshot, self.format())?;
        let level = AnnotationLevel::Manifest;
        let annotations = self.annotations(level, Some(&ready.image.platform));
        let image = NewImage {
            config: &ready.image.config,
            format: self.format(),
            archives: &archives.named,
            chain_ids: snapshot.chain_ids(),
            size: snapshot.layers.iter().map(|layer| layer.size).sum(),
            annotations: &annotations,
            names: &[],
        };
        Ok((image.stage(lease)?, archives))
    }

    /// Those of a level that are for this platform.
    fn annotations(
        &self,
        level: AnnotationLevel,
        platform: Option<&Platform>,
    ) -> Vec<(String, String)> {
        let fits = |annotation: &&Annotation| {
            let wanted = annotation.platform.as_ref();
            annotation.level == level
                && wanted.is_none_or(|wanted| platform.is_some_and(|it| wanted.accepts(it)))
        };
        let annotations = self.request.annotations.iter().filter(fits);
        annotations
            .map(|annotation| (annotation.key.clone(), annotation.value.clone()))
            .collect()
    }

    /// Makes everything visible at once. Of several images names stand for the host's, or else the
    /// first one, with the index of all.
    fn commit(
        &self,
        lease: &Lease<'_>,
        ready: &[Ready],
        mut staged: Vec<StagedImage>,
        mut blobs: Vec<StagedBlob>,
    ) -> Result<Named> {
        let host = Platform::host();
        let mut platforms = ready.iter().map(|ready| &ready.image.platform);
        let shown = platforms
            .position(|it| host.accepts(it))
            .unwrap_or_default();
        let mut index = None;
        if ready.len() > 1 {
            let document = lease.stage_document(&self.index(ready)?)?;
            index = Some((document.digest().clone(), document.size()));
            blobs.push(document);
        }
        for image in &mut staged {
            blobs.append(&mut image.documents);
        }
        let mut image = staged.swap_remove(shown);
        if let Some((index, _)) = &index {
            image = image.with_others(index, &staged);
        }
        lease.commit(blobs, Vec::new(), &image.records(&self.request.tags))?;
        Ok(Named { shown, index })
    }

    fn index(&self, ready: &[Ready]) -> Result<Vec<u8>> {
        let mut index = Index::default();
        for image in ready.iter().map(|ready| &ready.image) {
            let Some(kept) = &image.kept else { continue };
            let level = AnnotationLevel::ManifestDescriptor;
            let annotations = self.annotations(level, Some(&image.platform));
            let mut entry = Descriptor::of(b"", self.format().manifest_type());
            entry.digest = kept.manifest.clone();
            entry.size = kept.manifest_size;
            entry.platform = Some(EntryPlatform::of(&image.config.platform()));
            entry.annotations = annotations.into_iter().collect();
            index.put(entry);
        }
        let annotations = self.annotations(AnnotationLevel::Index, None);
        index.annotations = annotations.into_iter().collect();
        index.choose_type();
        index.to_bytes()
    }

    /// With one layer in place of all that are not the base image's. It is kept as a step's is.
    fn squashed(&self, lease: &Lease<'_>, snapshot: Snapshot) -> Result<Snapshot> {
        let of_image = |layer: &&Layer| matches!(layer.origin, Origin::Image { .. });
        let count = snapshot.layers.iter().take_while(of_image).count();
        if snapshot.layers.len() < count + 2 {
            return Ok(snapshot);
        }
        let mut key = Key::new("squash");
        key.step("step", &snapshot.keys);
        let keys = key.finish();
        let mut below = Snapshot {
            layers: snapshot.layers[..count].to_vec(),
            keys: snapshot.keys.clone(),
            last: snapshot.last.clone(),
        };
        let record = match lease.find_step(&keys.own)? {
            Some(record) => record,
            None => self.squash(lease, &snapshot, &below, &keys)?,
        };
        below.push(record);
        Ok(below)
    }

    fn squash(
        &self,
        lease: &Lease<'_>,
        snapshot: &Snapshot,
        below: &Snapshot,
        keys: &Keys,
    ) -> Result<StepRecord> {
        let (bottom, all) = (below.chain_ids(), snapshot.chain_ids());
        let (layer, changes) = lease.squash_on(&bottom, &all, self.engine.privilege())?;
        let mut record = StepRecord {
            squashes: true,
            key: keys.own.clone(),
            shared: keys.shared(),
            parent: snapshot.last.clone(),
            layer: None,
            unflushed: None,
            created: self.now.clone(),
            name: SQUASHED.to_owned(),
        };
        if changes.is_empty() {
            return lease.commit_step(record, None, None);
        }
        let with_root = changes.root_changed;
        let archive = lease.archive_layer(layer.tree(), with_root)?;
        record.layer = Some(StepLayer {
            chain_id: below.chain_with(&archive.diff_id),
            diff_id: archive.diff_id,
            size: changes.bytes,
            blob: Some((archive.blob.digest().clone(), archive.blob.size())),
            with_root,
        });
        lease.commit_step(record, Some((layer, changes.entries)), Some(archive.blob))
    }

    /// Where the layers' archives are, or making them.
    fn archives(&self, lease: &Lease<'_>, snapshot: &Snapshot, format: Format) -> Result<Archives> {
        let mut archives = Archives {
            named: Vec::new(),
            staged: Vec::new(),
            of_steps: Vec::new(),
        };
        for layer in &snapshot.layers {
            let (compression, digest, size) = match &layer.origin {
                Origin::Image {
                    media_type,
                    blob,
                    size,
                } => {
                    let compression = manifest::layer_compression(media_type)?;
                    (compression, blob.clone(), *size)
                }
                Origin::Step(record) => {
                    let (digest, size) = self.archive(lease, layer, record, &mut archives)?;
                    (Compression::Gzip, digest, size)
                }
            };
            if format == Format::Docker && compression == Compression::Zstd {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "cannot write Docker's format: a layer of the base image is compressed with zstd",
                )
                .with_hint("use --format oci"));
            }
            archives.named.push(LayerArchiveOf {
                media_type: format.layer_type(compression).to_owned(),
                digest,
                size,
            });
        }
        Ok(archives)
    }

    fn archive(
        &self,
        lease: &Lease<'_>,
        layer: &Layer,
        record: &StepRecord,
        archives: &mut Archives,
    ) -> Result<(Digest, u64)> {
        let made = record.layer.as_ref();
        if let Some((blob, size)) = made.and_then(|made| made.blob.clone()) {
            archives.staged.extend(lease.stage_step_blob(&blob)?);
            archives.of_steps.push(blob.clone());
            return Ok((blob, size));
        }
        let Some(made) = made else {
            return Err(Error::new(ErrorKind::System, "a layer was lost"));
        };
        let tree = self.engine.store().open_layer(&layer.chain_id)?;
        let blob = self.archived(lease, tree.as_fd(), made)?;
        let named = (blob.digest().clone(), blob.size());
        archives.staged.push(blob);
        Ok(named)
    }

    /// Makes the archive of a layer that is there.
    pub(super) fn archived(
        &self,
        lease: &Lease<'_>,
        tree: BorrowedFd<'_>,
        layer: &StepLayer,
    ) -> Result<StagedBlob> {
        let archive = lease.archive_layer(tree, layer.with_root)?;
        if archive.diff_id != layer.diff_id {
            return Err(Error::new(
                ErrorKind::Store,
                format!("layer {} in the store was changed", layer.chain_id),
            )
            .with_hint("`coracle builder prune -a` forgets it"));
        }
        Ok(archive.blob)
    }

    /// The target's configuration with its layers and times. Those are the steps' own, so what comes
    /// from the cache alone is the same image again.
    fn config(
        &self,
        target: &Target,
        snapshot: &Snapshot,
        done: &BTreeMap<usize, Vec<Done>>,
    ) -> ImageConfig {
        let mut config = self.graph.stages[&target.stage].config.clone();
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids = snapshot.diff_ids();
        let mut history: Vec<History> = config.history.take().unwrap_or_default();
        // What comes before the first step is as old as the base image.
        let of_base = history.iter().rev().find_map(|entry| entry.created.clone());
        let stages = self.graph.down_from(target.stage).into_iter().rev();
        let mut steps = stages.filter_map(|stage| done.get(&stage)).flatten();
        // Or, of an image that begins with nothing, as its first step.
        let first = || steps.find_map(|done| done.created.clone());
        let mut time = config.created.clone().or(of_base).or_else(first);
        // By the layers of the image: it is not if there was but one.
        let own = snapshot
            .layers
            .last()
            .filter(|layer| matches!(&layer.origin, Origin::Step(record) if record.squashes));
        let is_squashed = self.request.squash && own.is_some();
        for number in self.graph.down_from(target.stage).into_iter().rev() {
            let stage = &self.graph.stages[&number];
            let none = Vec::new();
            let of_stage = done.get(&number).unwrap_or(&none);
            for (step, done) in stage.steps.iter().zip(of_stage) {
                if done.created.is_some() {
                    time.clone_from(&done.created);
                }
                let Some(entry) = step.history.and_then(|at| history.get_mut(at)) else {
                    continue;
                };
                entry.created = Some(time.clone().unwrap_or_else(|| self.now.clone()));
                entry.empty_layer = !done.layer || is_squashed;
            }
        }
        if is_squashed {
            history.push(History {
                created: Some(time.clone().unwrap_or_else(|| self.now.clone())),
                comment: Some("all new layers as one".to_owned()),
                ..History::default()
            });
        }
        config.created = Some(match self.epoch {
            Some(_) => self.now.clone(),
            None => time.unwrap_or_else(|| self.now.clone()),
        });
        if self.epoch.is_some() {
            for entry in &mut history {
                if entry.created.as_ref().is_none_or(|then| *then > self.now) {
                    entry.created = Some(self.now.clone());
                }
            }
        }
        config.history = Some(history);
        config
    }
}
