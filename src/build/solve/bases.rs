//! What stages begin with and copy from: images, fetched if they are missing, and contexts.

use std::{collections::HashMap, path::Path};

use serde::de::DeserializeOwned;

use super::{
    key::Key,
    snapshot::{Layer, Origin as LayerOrigin, Snapshot},
};
use crate::{
    build::{
        dockerfile::Dockerfile,
        graph::{self, Inputs, Known, Origin},
        progress::{Event, Progress},
        request::{BuildContext, BuildRequest},
        worker::{News, Reporter, Status, Worker},
    },
    engine::{self, Engine, PullSettings},
    model::{
        Digest, Error, ErrorKind, LayoutImage, Platform, Reference, Result,
        container::PullPolicy,
        image::{ImageConfig, ImageRecord, chain_ids},
    },
    storage::Lease,
};

pub(super) enum Foundation {
    Image {
        snapshot: Snapshot,
    },
    /// A folder of the host: `Solver::folder` knows it.
    Files,
}

/// Looking for them, with the vertices that this shows.
pub(in crate::build) struct Search<'s> {
    pub engine: &'s Engine,
    pub request: &'s BuildRequest,
    pub lease: &'s Lease<'s>,
    pub progress: &'s mut dyn Progress,
    /// The next vertex.
    pub vertex: usize,
}

impl Search<'_> {
    /// The configurations of what stages begin with and copy from.
    pub fn configurations(&mut self, file: &Dockerfile, inputs: &Inputs) -> Result<Known> {
        let mut known = Known::new();
        self.all(file, inputs, &mut HashMap::new(), &mut known)?;
        Ok(known)
    }

    /// Everything that the graph needs, besides what is known.
    pub(super) fn all(
        &mut self,
        file: &Dockerfile,
        inputs: &Inputs,
        foundations: &mut HashMap<Origin, Foundation>,
        known: &mut Known,
    ) -> Result<()> {
        let text = &self.request.dockerfile;
        loop {
            let needed = graph::needed(file, inputs, known)
                .map_err(|complaint| complaint.into_error(&text.name, &text.text))?;
            if needed.is_empty() {
                return Ok(());
            }
            for needed in needed {
                let found = self.find(&needed.origin);
                let (foundation, config) =
                    found.map_err(|error| crate::build::located(text, &needed.lines, error))?;
                known.insert(needed.origin.clone(), config);
                foundations.insert(needed.origin, foundation);
            }
        }
    }

    fn find(&mut self, origin: &Origin) -> Result<(Foundation, ImageConfig)> {
        match origin {
            Origin::Image {
                reference,
                platform,
            } => self.image(reference, platform),
            Origin::Context { name, platform } => {
                let context = self.request.named_contexts.get(name);
                match context.unwrap_or(&BuildContext::Empty) {
                    BuildContext::Image(reference) => self.image(reference, platform),
                    BuildContext::OciLayout { path, image } => {
                        self.image_of_layout(name, path, image, platform)
                    }
                    BuildContext::Folder(_) | BuildContext::Empty => {
                        Ok((Foundation::Files, ImageConfig::default()))
                    }
                    BuildContext::Stage(target) => Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "build context {name}: target:{target} is another target of a bake file"
                        ),
                    )
                    .with_hint("build it with -t NAME, and use docker-image://NAME")),
                }
            }
        }
    }

    fn image(
        &mut self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(Foundation, ImageConfig)> {
        let id = self.vertex;
        self.vertex += 1;
        let name = match self.request.platforms.len() {
            0 | 1 => format!("[internal] load metadata for {reference}"),
            _ => format!("[{platform} internal] load metadata for {reference}"),
        };
        self.progress.event(Event::Vertex { id, name: &name });
        let fetched = self.fetch(id, reference, platform);
        self.found(id, &reference.to_string(), fetched)
    }

    /// The same of an image in a folder.
    fn image_of_layout(
        &mut self,
        context: &str,
        folder: &Path,
        image: &LayoutImage,
        platform: &Platform,
    ) -> Result<(Foundation, ImageConfig)> {
        let id = self.vertex;
        self.vertex += 1;
        let name = format!("[context {context}] load OCI layout {}", folder.display());
        self.progress.event(Event::Vertex { id, name: &name });
        self.progress.event(Event::Started { id });
        let (engine, trust) = (self.engine, &self.request.registry.trust);
        let fetched = Worker::start(|reporter| {
            let shown = Shown(reporter);
            let found = engine.image_of_layout(folder, image, platform, trust, &shown)?;
            // It has a record, and stays.
            Ok((found, ()))
        });
        let fetched = fetched.and_then(|mut worker| {
            let outcome = self.watch(id, &mut worker);
            worker.finish();
            outcome
        });
        self.found(id, context, fetched)
    }

    fn found(
        &mut self,
        id: usize,
        name: &str,
        fetched: Result<ImageRecord>,
    ) -> Result<(Foundation, ImageConfig)> {
        let found = fetched.and_then(|record| {
            let snapshot = self.snapshot(&record, name)?;
            let config = self.engine.image_config(&record.config)?;
            Ok((Foundation::Image { snapshot }, config))
        });
        match &found {
            Ok(_) => self.progress.event(Event::Done { id }),
            Err(error) => {
                let text = error.one_line();
                self.progress.event(Event::Failed { id, text: &text });
            }
        }
        found
    }

    /// In the store, or by a worker from the registry.
    fn fetch(
        &mut self,
        id: usize,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ImageRecord> {
        self.progress.event(Event::Started { id });
        let policy = self.request.pull;
        if policy != PullPolicy::Always
            && let Some(image) = self.engine.base_image_here(reference, platform)?
        {
            return Ok(image);
        }
        let (engine, request) = (self.engine, self.request);
        let mut worker = Worker::start(|reporter| {
            let shown = Shown(reporter);
            let found =
                engine.base_image(reference, platform, policy, &settings(request, &shown))?;
            // It has a name, and stays.
            Ok((found, ()))
        })?;
        let outcome = self.watch(id, &mut worker);
        worker.finish();
        outcome
    }

    /// What a worker says, and what it has in the end.
    pub(super) fn watch<V: DeserializeOwned>(
        &mut self,
        id: usize,
        worker: &mut Worker,
    ) -> Result<V> {
        loop {
            let outputs: Vec<_> = worker.outputs().collect();
            let mut watched: Vec<_> = outputs.iter().map(|(_, output)| *output).collect();
            watched.push(worker.socket());
            let ready = super::ready(&watched, None)?;
            let has_news = ready.contains(&outputs.len());
            let written = ready.iter().filter_map(|at| Some(outputs.get(*at)?.0));
            // Before the news: its last words come behind all of them.
            for number in written.collect::<Vec<_>>() {
                let mut bytes = Vec::new();
                if worker.read(number, &mut bytes).is_some() {
                    self.progress.event(Event::Output {
                        id,
                        stream: if number == 0 { 1 } else { 2 },
                        bytes: &bytes,
                    });
                }
            }
            if !has_news {
                continue;
            }
            match worker.news::<V>() {
                News::Ended(outcome) => return outcome,
                News::Status(status) => super::tell(self.progress, id, &status),
            }
        }
    }

    /// Its layers, which stay from here on.
    fn snapshot(&self, record: &ImageRecord, name: &str) -> Result<Snapshot> {
        let gone = || {
            Error::new(
                ErrorKind::NoSuchImage,
                format!("image {name} was removed meanwhile"),
            )
        };
        for blob in [&record.manifest, &record.config]
            .into_iter()
            .chain(&record.blobs)
        {
            if !self.lease.has_blob(blob)? {
                return Err(gone());
            }
        }
        let config = self.engine.image_config(&record.config)?;
        let archives = self.engine.archives_of(record)?;
        let mut layers = Vec::new();
        for ((chain_id, diff_id), archive) in record
            .layers
            .iter()
            .zip(&config.rootfs.diff_ids)
            .zip(archives)
        {
            if !self.lease.has_layer(chain_id)? {
                return Err(gone());
            }
            layers.push(Layer {
                chain_id: chain_id.clone(),
                diff_id: diff_id.clone(),
                size: self.engine.store().layer_facts(chain_id)?.size,
                origin: LayerOrigin::Image {
                    media_type: archive.media_type,
                    blob: archive.digest,
                    size: archive.size,
                },
            });
        }
        // Not by the names that the layers have in the store: a linked one has its own, whatever is below.
        let mut key = Key::new("layers");
        if let Some(top) = chain_ids(&config.rootfs.diff_ids).last() {
            key.digest("top", top);
        }
        Ok(Snapshot {
            layers,
            keys: key.finish(),
            last: None,
        })
    }
}

fn settings<'p>(request: &BuildRequest, progress: &'p dyn engine::Progress) -> PullSettings<'p> {
    PullSettings {
        registry: request.registry.clone(),
        progress,
    }
}

/// A pull, as parts of a vertex.
struct Shown<'r>(&'r Reporter);

impl Shown<'_> {
    fn layer(&self, layer: &Digest, total: u64, done: bool) {
        self.0.status(Status {
            text: layer.to_string(),
            current: if done { total } else { 0 },
            total,
            done,
        });
    }
}

impl engine::Progress for Shown<'_> {
    fn layer_started(&self, layer: &Digest, total: u64) {
        self.layer(layer, total, false);
    }
    fn layer_advanced(&self, _: &Digest, _: u64) {}
    fn layer_exists(&self, layer: &Digest) {
        self.layer(layer, 0, true);
    }
    fn layer_done(&self, layer: &Digest) {
        self.layer(layer, 0, true);
    }
    fn retrying(&self, what: &str, why: &str) {
        self.notice(&format!("{what}: {why}; trying again"));
    }
    fn notice(&self, text: &str) {
        self.0.status(Status {
            text: text.to_owned(),
            current: 0,
            total: 0,
            done: true,
        });
    }
}
