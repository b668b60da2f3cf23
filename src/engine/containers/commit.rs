//! `commit`: what a container has changed becomes a layer on top of its image's.
//!
//! ```text
//! freeze        a container that runs stands still while its files are copied, and no longer
//! take_changes  upper/ → a staged layer (storage::changes): from here on the container is free
//! archive       staged layer → tar → gzip → blob, both digests in one pass (storage::new_layer)
//! commit        blob, layer, configuration, manifest, record: one Lease::commit
//! ```
//!
//! The layers of the image are named as they are, in the image's own archives. If those are gone
//! (the image was removed, and only the container kept its files) everything becomes one layer.
//!
//! Killed anywhere before the commit nothing is to be seen, and the container goes on ([`standstill`]).
//!
//! [`standstill`]: super::standstill

use super::{
    inspect::{entrypoint_and_command, environment},
    standstill::Standstill,
};
use crate::{
    engine::{
        CommitRequest, Engine,
        images::{
            changes,
            new_image::{LayerArchiveOf, NewImage},
        },
        supervisor,
    },
    model::{
        Digest, Error, ErrorKind, Reference, Result,
        container::{ContainerRecord, ContainerState, RootRequest},
        image::{History, ImageConfig, ImageRecord, ProcessDefaults, chain_ids},
        manifest::{self, Compression, Format},
        mount::Mount,
        signal::signal_name,
    },
    storage::{ContainerDir, LayerFacts, Lease, StagedBlob, StagedLayer, changes::Changes},
};

impl Engine {
    /// Makes an image of a container, running or not; the image's ID. `notice` is told what is
    /// otherwise than asked for.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchContainer`]; [`ErrorKind::InvalidArgument`] for a wrong change;
    /// [`ErrorKind::Unsupported`] for a container whose root is a folder of the user's.
    pub fn commit(
        &self,
        container: &str,
        request: &CommitRequest,
        notice: &dyn Fn(&str),
    ) -> Result<Digest> {
        let (directory, record) = self.store.find_container(container)?;
        if record.spec.root != RootRequest::Image {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("cannot commit container {container}: it has no image"),
            )
            .with_hint("its root is a folder of yours: `coracle import` makes an image of an archive of it"));
        }
        let wanted = changes::defaults(&request.changes)?;
        self.enter_user_namespace()?;
        let image = record.image_id.as_ref().map(|id| self.image_config(id));
        let image = image.transpose()?.unwrap_or_default();
        let running = image.config.clone().unwrap_or_default();
        let defaults = changes::merge(wanted, effective(&record, &running, request));

        // It may have much to sweep: before the container stands still.
        let lease = self.store.lease()?;
        let frozen = self.freeze_for(request, &directory, notice);
        let taken = self.take(&lease, &directory, &record);
        drop(frozen);
        // Removed meanwhile: then some of its files, or all, may have been missing.
        self.store.container(directory.id())?;
        let (layer, changes) = taken?;
        left_out(&changes, notice);

        let below = if request.squash {
            None
        } else {
            let found = self.layers_below(&lease, &record, &image, request.format)?;
            if found.is_none() {
                notice(
                    "the archives of the image's layers are gone: the new image has one layer with everything",
                );
            }
            found
        };
        let mut making = Making::new(&lease, request, &record, &image, defaults);
        match below {
            Some(below) => making.stack(below, layer, &changes)?,
            None => making.squash(&layer)?,
        }
        let id = making.commit()?;
        let name = request.reference.as_ref().map(Reference::familiar);
        let more = [
            ("comment", request.message.as_deref().unwrap_or_default()),
            ("imageID", id.as_str()),
            ("imageRef", name.as_deref().unwrap_or_default()),
        ];
        self.note_container(&record, "commit", &more);
        Ok(id)
    }

    fn take(
        &self,
        lease: &Lease<'_>,
        directory: &ContainerDir,
        record: &ContainerRecord,
    ) -> Result<(StagedLayer, Changes)> {
        for layer in &record.layers {
            if !lease.has_layer(layer)? {
                // Says which, and what to do.
                self.store.layer_facts(layer)?;
            }
        }
        let shifted = !self.user.is_real_root() || directory.has_shifted_owners()?;
        let ids = record.ids.as_ref().filter(|_| shifted);
        let layer = lease.stage_new_layer()?;
        let changes =
            lease.take_changes(directory, &record.layers, ids, self.privilege(), &layer)?;
        Ok((layer, changes))
    }

    /// The layers of the container's image as its manifest names them, kept from now on; `None` if
    /// any of their archives is not there.
    fn layers_below(
        &self,
        lease: &Lease<'_>,
        record: &ContainerRecord,
        image: &ImageConfig,
        format: Format,
    ) -> Result<Option<Vec<LayerArchiveOf>>> {
        let images = self.store.images()?;
        let of_container = |other: &&ImageRecord| Some(&other.config) == record.image_id.as_ref();
        let Some(parent) = images.iter().find(of_container) else {
            return Ok(None);
        };
        for blob in [&parent.manifest].into_iter().chain(&parent.blobs) {
            if !lease.has_blob(blob)? {
                return Ok(None);
            }
        }
        let archives = self.archives_of(parent)?;
        if archives.len() != image.rootfs.diff_ids.len() {
            return Ok(None);
        }
        let below = |layer: LayerArchiveOf| {
            let compression = manifest::layer_compression(&layer.media_type)?;
            if format == Format::Docker && compression == Compression::Zstd {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "cannot write Docker's format: a layer of the image is compressed with zstd",
                )
                .with_hint("use --format oci, or --squash"));
            }
            Ok(LayerArchiveOf {
                media_type: format.layer_type(compression).to_owned(),
                ..layer
            })
        };
        let layers: Result<Vec<LayerArchiveOf>> = archives.into_iter().map(below).collect();
        layers.map(Some)
    }

    /// Lets the container stand still, if it runs and is to. One that cannot is committed all the
    /// same, and that is said.
    fn freeze_for(
        &self,
        request: &CommitRequest,
        directory: &ContainerDir,
        notice: &dyn Fn(&str),
    ) -> Option<Standstill> {
        if !request.pause {
            return None;
        }
        let status = directory.state().ok()?;
        if status.state != ContainerState::Running {
            return None;
        }
        let frozen = match super::pause::group_of(&status) {
            Ok(Some(group)) => self.hold_still(directory, &group),
            Ok(None) => Err(super::pause::no_group(
                "cannot pause container",
                directory.id().short(),
            )),
            Err(error) => Err(error),
        };
        match frozen {
            Ok(frozen) => frozen,
            Err(error) => {
                notice(&format!(
                    "the container goes on running while its files are read: {}",
                    error.one_line()
                ));
                None
            }
        }
    }
}

fn left_out(changes: &Changes, notice: &dyn Fn(&str)) {
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    if changes.sockets > 0 {
        let count = changes.sockets;
        notice(&format!(
            "{count} socket{} left out: an image has none",
            plural(count)
        ));
    }
    if changes.reserved_names > 0 {
        let count = changes.reserved_names;
        notice(&format!(
            "{count} name{} beginning with \".wh.\" left out: in an image they mean something else",
            plural(count)
        ));
    }
}

/// What the container runs, as an image says it: Docker's configuration of a container.
fn effective(
    record: &ContainerRecord,
    image: &ProcessDefaults,
    request: &CommitRequest,
) -> ProcessDefaults {
    let spec = &record.spec;
    let (entrypoint, cmd) = entrypoint_and_command(record, image);
    let mut labels = image.labels.clone().unwrap_or_default();
    labels.extend(spec.labels.clone());
    let mut volumes = image.volumes.clone().unwrap_or_default();
    // Docker counts those without a name as the container's own.
    let counts = |mount: &&Mount| {
        let volume = mount.volume();
        volume.is_some_and(|volume| volume.anonymous || request.include_volumes)
    };
    for mount in spec.mounts.iter().filter(counts) {
        volumes.insert(mount.target.clone(), serde_json::json!({}));
    }
    let health = spec.health.shown(image);
    let health = health.and_then(|check| serde_json::to_value(check).ok());
    ProcessDefaults {
        user: spec.user.clone().or(image.user.clone()),
        exposed_ports: crate::engine::networks::exposed_map(spec, image),
        env: Some(environment(&spec.env, image)),
        entrypoint,
        cmd,
        volumes: Some(volumes).filter(|volumes| !volumes.is_empty()),
        working_dir: spec.workdir.clone().or(image.working_dir.clone()),
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        stop_signal: spec
            .stop_signal
            .map(signal_name)
            .or(image.stop_signal.clone()),
        extra: health
            .map(|check| ("Healthcheck".to_owned(), check))
            .into_iter()
            .collect(),
    }
}

/// The image on its way.
struct Making<'a> {
    lease: &'a Lease<'a>,
    request: &'a CommitRequest,
    record: &'a ContainerRecord,
    image: ImageConfig,
    history: Vec<History>,
    descriptors: Vec<LayerArchiveOf>,
    chain: Vec<Digest>,
    size: u64,
    blobs: Vec<StagedBlob>,
    layers: Vec<StagedLayer>,
}

impl<'a> Making<'a> {
    fn new(
        lease: &'a Lease<'a>,
        request: &'a CommitRequest,
        record: &'a ContainerRecord,
        below: &ImageConfig,
        defaults: ProcessDefaults,
    ) -> Self {
        let given = below.config.clone().unwrap_or_default();
        let command = entrypoint_and_command(record, &given).1;
        let command = command.unwrap_or_default().join(" ");
        let platform = |key: &str| {
            below
                .extra
                .get(key)
                .map(|value| (key.to_owned(), value.clone()))
        };
        let history = History {
            created: Some(supervisor::now()),
            created_by: Some(command),
            author: request.author.clone(),
            comment: request.message.clone(),
            empty_layer: false,
        };
        Making {
            lease,
            request,
            record,
            image: ImageConfig {
                created: history.created.clone(),
                author: request.author.clone(),
                architecture: below.architecture.clone(),
                variant: below.variant.clone(),
                os: below.os.clone(),
                config: Some(defaults),
                rootfs: below.rootfs.clone(),
                history: below.history.clone(),
                extra: ["os.version", "os.features"]
                    .into_iter()
                    .filter_map(platform)
                    .collect(),
            },
            history: vec![history],
            descriptors: Vec::new(),
            chain: Vec::new(),
            size: 0,
            blobs: Vec::new(),
            layers: Vec::new(),
        }
    }

    /// The new layer on those below; none if nothing was changed.
    fn stack(
        &mut self,
        below: Vec<LayerArchiveOf>,
        layer: StagedLayer,
        changes: &Changes,
    ) -> Result<()> {
        self.descriptors = below;
        self.chain.clone_from(&self.record.layers);
        for layer in &self.record.layers {
            self.size += self.lease.store().layer_facts(layer)?.size;
        }
        if changes.is_empty() {
            self.history[0].empty_layer = true;
            return Ok(());
        }
        self.add(layer, changes)
    }

    fn squash(&mut self, layer: &StagedLayer) -> Result<()> {
        let (squashed, changes) = self.lease.squash(&self.record.layers, layer)?;
        self.image.rootfs.diff_ids.clear();
        self.image.history = None;
        self.add(squashed, &changes)
    }

    fn add(&mut self, mut layer: StagedLayer, changes: &Changes) -> Result<()> {
        let archive = self
            .lease
            .archive_layer(layer.tree(), changes.root_changed)?;
        self.image.rootfs.diff_ids.push(archive.diff_id.clone());
        let chain_id = chain_ids(&self.image.rootfs.diff_ids).pop();
        let chain_id = chain_id.unwrap_or_else(|| archive.diff_id.clone());
        layer.seal_as(
            &chain_id,
            &LayerFacts {
                diff_id: archive.diff_id,
                size: changes.bytes,
                entries: changes.entries,
                opaque_root: false,
                unflushed: None,
            },
        )?;
        self.descriptors.push(LayerArchiveOf {
            media_type: self.request.format.layer_type(Compression::Gzip).to_owned(),
            digest: archive.blob.digest().clone(),
            size: archive.blob.size(),
        });
        self.chain.push(chain_id);
        self.size = self.size.saturating_add(changes.bytes);
        self.blobs.push(archive.blob);
        self.layers.push(layer);
        Ok(())
    }

    fn commit(mut self) -> Result<Digest> {
        let mut history = self.image.history.take().unwrap_or_default();
        history.append(&mut self.history);
        self.image.history = Some(history);
        self.image.rootfs.kind = "layers".to_owned();
        let names: Vec<Reference> = self.request.reference.iter().cloned().collect();
        let image = NewImage {
            config: &self.image,
            format: self.request.format,
            archives: &self.descriptors,
            chain_ids: self.chain,
            size: self.size,
            annotations: &[],
            names: &names,
        };
        Ok(image.commit(self.lease, self.blobs, self.layers)?.config)
    }
}
