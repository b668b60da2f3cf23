//! Steps that others have done: `--cache-from`.
//!
//! What a cache says ("this key made that layer") is believed for the build that names it, and for no
//! other: a step that is taken from it gets a key of its own in this store, made of the key, the
//! layer's diff id and the key below. So the next build with that cache need not fetch it again, one
//! without it does not find it, and what is built on top of it is not mistaken for what would have
//! been built on a layer of ours. The layer itself is what its chain id says, whoever made it: it is
//! verified before it is in the store.
//!
//! A cache that cannot be read, and a layer that cannot be fetched, are told of, and no failure: then
//! the step is done.

use std::collections::HashMap;

use super::{
    Solver,
    bases::Search,
    key::{Key, Keys},
    snapshot::Snapshot,
    step::Making,
};
use crate::{
    build::{
        progress::Event,
        request::{CacheSource, StepCacheTarget},
        worker::Worker,
    },
    model::{
        Context, Digest, Error, ErrorKind, Platform, Result,
        manifest::{self, Compression},
        step_cache::SharedStep,
    },
    storage::{
        Lease,
        builds::{StepLayer, StepRecord},
    },
};

/// A cache that was read.
pub(super) struct Imported {
    source: CacheSource,
    steps: HashMap<Digest, SharedStep>,
}

impl Imported {
    pub fn has(&self, definition: &Digest) -> bool {
        self.steps.contains_key(definition)
    }

    /// A step under all keys that it has.
    pub fn known_as(&self, definition: &Digest) -> Vec<&SharedStep> {
        let step = self.steps.get(definition);
        let other = step.and_then(|step| self.steps.get(step.content.as_ref()?));
        step.into_iter().chain(other).collect()
    }

    /// Whether its layers are there.
    pub fn is_at(&self, target: &StepCacheTarget) -> bool {
        match (&self.source, target) {
            (CacheSource::Registry(from), StepCacheTarget::Registry(to)) => {
                from.name() == to.name()
            }
            (CacheSource::Local { path: from, .. }, StepCacheTarget::Local { path: to, .. }) => {
                from == to
            }
            _ => false,
        }
    }

    fn step(&self, keys: &Keys, by_content: bool) -> Option<&SharedStep> {
        let by_definition = self.steps.get(&keys.definition);
        let by_definition = by_definition.filter(|_| !by_content);
        by_definition.or_else(|| self.steps.get(&keys.content))
    }
}

impl Search<'_> {
    /// Reads what `--cache-from` names, each in a worker: registries want threads.
    pub(super) fn caches(&mut self, platforms: &[Platform]) -> Result<Vec<Imported>> {
        let mut found = Vec::new();
        let request = self.request;
        for (number, source) in request.cache_from.iter().enumerate() {
            let id = self.vertex;
            self.vertex += 1;
            let name = format!("importing cache manifest from {source}");
            self.progress.event(Event::Vertex { id, name: &name });
            self.progress.event(Event::Started { id });
            // More than fits into a message.
            let place = self.lease.path().join(format!("cache-{number}"));
            let engine = self.engine;
            let mut worker = Worker::start(|_| {
                let steps = engine.read_step_cache(source, platforms, &request.registry)?;
                let what = || "cannot note what a cache has".to_owned();
                let text = serde_json::to_vec(&steps).context(ErrorKind::System, what)?;
                std::fs::write(&place, text).system(what)?;
                Ok(((), ()))
            })?;
            let outcome = self.watch::<()>(id, &mut worker);
            worker.finish();
            let steps = outcome.and_then(|()| {
                let what = || "cannot read what a cache has".to_owned();
                let text = std::fs::read(&place).system(what)?;
                serde_json::from_slice::<Vec<SharedStep>>(&text).context(ErrorKind::System, what)
            });
            match steps {
                Ok(steps) => {
                    let steps = steps.into_iter();
                    found.push(Imported {
                        source: source.clone(),
                        steps: steps.map(|step| (step.key.clone(), step)).collect(),
                    });
                    self.progress.event(Event::Done { id });
                }
                Err(error) => {
                    let text = error.one_line();
                    self.progress.event(Event::Failed { id, text: &text });
                    log::warn!("cannot use the cache {source}: {text}");
                }
            }
        }
        Ok(found)
    }
}

/// The step as a cache has it, fetched if it is not here; what fails is told of.
pub(super) fn find(making: &Making<'_>, keys: &Keys) -> Option<StepRecord> {
    for cache in making.solver.imported {
        let Some(step) = cache.step(keys, making.by_content) else {
            continue;
        };
        match take(making, keys, &cache.source, step) {
            Ok(record) => return Some(record),
            Err(error) => {
                let text = error.one_line();
                making.say(&format!("cannot use the cache {}: {text}", cache.source));
            }
        }
    }
    None
}

/// A step that was taken from one of the caches before.
pub(super) fn taken(
    solver: &Solver<'_>,
    lease: &Lease<'_>,
    parent: &Snapshot,
    (keys, by_content): (&Keys, bool),
) -> Result<Option<StepRecord>> {
    let caches = solver.imported.iter();
    for step in caches.filter_map(|cache| cache.step(keys, by_content)) {
        if let Some(record) = lease.find_step(&own(parent, keys, step))? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The key that this store knows it by.
fn own(parent: &Snapshot, keys: &Keys, step: &SharedStep) -> Digest {
    let mut key = Key::new("imported");
    key.step("parent", &parent.keys);
    key.digest("key", &keys.definition);
    if let Some(layer) = &step.layer {
        key.digest("layer", &layer.diff_id);
    }
    key.finish().own
}

/// What it was made from when it was made, whatever that would be now.
fn content_of(step: &SharedStep, keys: &Keys) -> Digest {
    if step.key != keys.definition {
        return keys.content.clone();
    }
    step.content.clone().unwrap_or_else(|| step.key.clone())
}

fn take(
    making: &Making<'_>,
    keys: &Keys,
    source: &CacheSource,
    step: &SharedStep,
) -> Result<StepRecord> {
    let (lease, below) = (making.lease, &making.parent);
    let own = own(below, keys, step);
    if let Some(record) = lease.find_step(&own)? {
        return Ok(record);
    }
    if step.created.parse::<jiff::Timestamp>().is_err() {
        let text = format!("invalid time of a step: {:?}", step.created);
        return Err(Error::new(ErrorKind::InvalidContent, text));
    }
    let mut record = StepRecord {
        squashes: false,
        key: own,
        parent: below.last.clone(),
        layer: None,
        unflushed: None,
        created: step.created.clone(),
        name: making.name.clone(),
        shared: Some((content_of(step, keys), keys.definition.clone())),
    };
    let Some(layer) = &step.layer else {
        return lease.commit_step(record, None, None);
    };
    let is_gzip = manifest::layer_compression(&layer.media_type)? == Compression::Gzip;
    let mut made = StepLayer {
        chain_id: below.chain_with(&layer.diff_id),
        diff_id: layer.diff_id.clone(),
        size: 0,
        blob: is_gzip.then(|| (layer.blob.clone(), layer.size)),
        with_root: step.with_root,
    };
    let engine = making.solver.engine;
    if lease.has_layer(&made.chain_id)? && lease.has_blob(&layer.blob)? {
        made.size = engine.store().layer_facts(&made.chain_id)?.size;
        record.layer = Some(made);
        return lease.commit_step(record, None, None);
    }
    making.say(&format!("fetching {} from {source}", layer.blob));
    let options = &making.solver.request.registry;
    let fetched = engine.fetch_step_layer(lease, source, layer, &below.chain_ids(), options)?;
    made.size = fetched.unpacked.bytes;
    record.layer = Some(made);
    let unpacked = Some((fetched.unpacked.layer, fetched.unpacked.entries));
    lease.commit_step(record, unpacked, is_gzip.then_some(fetched.blob))
}
