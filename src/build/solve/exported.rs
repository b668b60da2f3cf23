//! Steps for others: `--cache-to`.
//!
//! `mode=min` has the steps whose layers are the result's, `max` those of all stages that were needed.
//! Each is known by its definition, and by its content as well if that is another key. Archives are
//! those of the image; of layers that are in no image they are made now. Stages that were not needed are
//! handed on as the cache has them that they were not needed for.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::File,
    os::fd::AsFd,
};

use super::{Done, Solver, Target, key::Keys, snapshot::Snapshot};
use crate::{
    build::{
        graph::Base,
        progress::{Event, Progress},
        request::{CacheMode, CacheTarget, CacheWrap, StepCacheTarget},
    },
    engine::images::step_cache::NewStepCache,
    model::{
        Digest, Result,
        manifest::{Compression, Format},
        step_cache::{self, SharedLayer, SharedStep},
    },
    storage::{
        Lease,
        builds::{StepLayer, StepRecord},
    },
};

/// What became of the steps, by stage.
type Outcomes = BTreeMap<usize, Vec<Done>>;

impl Solver<'_> {
    /// The cache in an image's own configuration.
    pub(super) fn inline_cache(
        &self,
        target: &Target,
        snapshot: &Snapshot,
        done: &Outcomes,
    ) -> Result<Option<String>> {
        if !self.request.cache_to.contains(&CacheTarget::Inline) {
            return Ok(None);
        }
        let mut steps = Vec::new();
        let stages = self.graph.down_from(target.stage).into_iter().collect();
        for (record, before) in self.records(done, Some(&stages)) {
            // The image knows its archives.
            let layer = record.layer.as_ref().map(|layer| SharedLayer {
                blob: layer.diff_id.clone(),
                size: 0,
                media_type: String::new(),
                diff_id: layer.diff_id.clone(),
            });
            steps.extend(shared(record, before, layer));
        }
        step_cache::inline(&steps, &snapshot.diff_ids()).map(Some)
    }

    /// Writes all others that are asked for.
    pub(super) fn export_caches(
        &self,
        lease: &Lease<'_>,
        progress: &mut dyn Progress,
        mut vertex: usize,
        (done, unneeded): (&Outcomes, &[Digest]),
    ) -> Result<()> {
        for target in &self.request.cache_to {
            let CacheTarget::Place {
                place,
                mode,
                wrap,
                ignore_error,
            } = target
            else {
                continue;
            };
            let name = match place {
                StepCacheTarget::Registry(_) => "exporting cache to registry",
                StepCacheTarget::Local { .. } => "exporting cache to client directory",
            };
            let id = vertex;
            vertex += 1;
            progress.event(Event::Vertex { id, name });
            progress.event(Event::Started { id });
            let mut say = |text: &str| {
                progress.event(Event::Status {
                    id,
                    text,
                    current: 0,
                    total: 0,
                    done: true,
                });
            };
            let stages = match mode {
                CacheMode::Min => Some(self.in_results()),
                CacheMode::Max => None,
            };
            let records = self.records(done, stages.as_ref());
            let handed_on = match mode {
                CacheMode::Min => Vec::new(),
                CacheMode::Max => self.handed_on(place, unneeded),
            };
            let steps = (&records[..], handed_on);
            match self.export_cache(lease, (place, *wrap), steps, &mut say) {
                Ok(()) => progress.event(Event::Done { id }),
                Err(error) => {
                    let text = error.one_line();
                    progress.event(Event::Failed { id, text: &text });
                    if !ignore_error {
                        return Err(error);
                    }
                    log::warn!("cannot write the cache {place}: {text}");
                }
            }
        }
        Ok(())
    }

    fn export_cache(
        &self,
        lease: &Lease<'_>,
        (target, wrap): (&StepCacheTarget, CacheWrap),
        (records, handed_on): (&[(&StepRecord, Option<Digest>)], Vec<SharedStep>),
        say: &mut dyn FnMut(&str),
    ) -> Result<()> {
        say("preparing build cache for export");
        let mut files = Vec::new();
        let mut seen = HashSet::new();
        let mut steps = Vec::new();
        for (record, before) in records {
            let mut named = None;
            if let Some(layer) = &record.layer {
                let (archive, file) = self.archive_of(lease, layer)?;
                if seen.insert(archive.blob.clone()) {
                    say(&format!("writing layer {}", archive.blob));
                    files.push((archive.clone(), Some(file)));
                }
                named = Some(archive);
            }
            steps.extend(shared(record, before.clone(), named));
        }
        for layer in handed_on.iter().filter_map(|step| step.layer.as_ref()) {
            if seen.insert(layer.blob.clone()) {
                files.push((layer.clone(), None));
            }
        }
        steps.extend(handed_on);
        let cache = NewStepCache {
            target,
            wrap,
            steps,
            files,
        };
        let engine = self.engine;
        let digest = engine.write_step_cache(cache, &self.request.registry)?;
        say(&format!("writing cache manifest {digest}"));
        Ok(())
    }

    /// Steps that were not needed, as the cache has them that is at this place.
    fn handed_on(&self, place: &StepCacheTarget, unneeded: &[Digest]) -> Vec<SharedStep> {
        let mut caches = self.imported.iter();
        let Some(cache) = caches.find(|cache| cache.is_at(place)) else {
            return Vec::new();
        };
        let steps = unneeded.iter().flat_map(|key| cache.known_as(key));
        steps.cloned().collect()
    }

    /// The archive of a step's layer.
    fn archive_of(&self, lease: &Lease<'_>, layer: &StepLayer) -> Result<(SharedLayer, File)> {
        let store = self.engine.store();
        let named = |blob: &Digest, size| SharedLayer {
            blob: blob.clone(),
            size,
            media_type: Format::Oci.layer_type(Compression::Gzip).to_owned(),
            diff_id: layer.diff_id.clone(),
        };
        if let Some((blob, size)) = &layer.blob {
            // In the step's own place, or an image's by now.
            let file = match lease.stage_step_blob(blob) {
                Ok(Some(staged)) => Some(staged.into_file()),
                Ok(None) => Some(store.open_blob(blob)?),
                Err(_) => None,
            };
            if let Some(file) = file {
                return Ok((named(blob, *size), file));
            }
        }
        let tree = store.open_layer(&layer.chain_id)?;
        let archive = self.archived(lease, tree.as_fd(), layer)?;
        Ok((named(archive.digest(), archive.size()), archive.into_file()))
    }

    /// Steps of these stages, or of all, with the key of the step before.
    fn records<'d>(
        &self,
        done: &'d Outcomes,
        stages: Option<&BTreeSet<usize>>,
    ) -> Vec<(&'d StepRecord, Option<Digest>)> {
        let mut records = Vec::new();
        let mut last: BTreeMap<usize, Option<Digest>> = BTreeMap::new();
        for (number, stage) in &self.graph.stages {
            let mut before = match &stage.base {
                Base::Stage(below) => last.get(below).cloned().flatten(),
                Base::Scratch | Base::Origin(_) => None,
            };
            let is_wanted = stages.is_none_or(|stages| stages.contains(number));
            for record in done.get(number).into_iter().flatten() {
                let Some(record) = &record.record else {
                    continue;
                };
                if is_wanted {
                    records.push((record, before.clone()));
                }
                before = Some(Keys::of(record).definition);
            }
            last.insert(*number, before);
        }
        records
    }
}

/// A step under each of its keys.
fn shared(
    record: &StepRecord,
    parent: Option<Digest>,
    layer: Option<SharedLayer>,
) -> Vec<SharedStep> {
    let keys = Keys::of(record);
    let step = SharedStep {
        content: (keys.content != keys.definition).then(|| keys.content.clone()),
        key: keys.definition.clone(),
        parent,
        layer,
        created: record.created.clone(),
        with_root: record.layer.as_ref().is_some_and(|layer| layer.with_root),
    };
    let mut steps = vec![step];
    if keys.content != keys.definition {
        steps.push(SharedStep {
            key: keys.content,
            content: None,
            ..steps[0].clone()
        });
    }
    steps
}
