//! What need not be done at all, because a cache of others has what comes of it.
//!
//! A step that copies from a stage is known by how those files are made before they are
//! ([`Keys::definition`]). If a cache has it, the stage is not needed for it: nothing of it is done, and none
//! of its layers is fetched. So all steps are gone through beforehand, in a worker (contexts are
//! read), and stages are only begun that a step wants which no cache has. If it turns out that its layer
//! cannot be fetched, the stage is begun after all.
//!
//! With `mode=max` all that was made is handed on: a stage is spared only if its steps come from where they
//! go to, as in a pipeline that reads and writes one cache. Their layers are there already.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Solver, bases::Search, copy_step, imported::Imported, key::Keys, run_step, snapshot::Snapshot,
    step::Making,
};
use crate::{
    build::{
        graph::{Base, Operation, Source, Stage, Step},
        request::{BuildRequest, CacheMode, CacheTarget, StepCacheTarget},
        worker::{Reporter, Worker},
    },
    model::{Digest, Result},
    storage::Lease,
};

/// Steps that caches have, by stage and number: what they are known by.
pub(super) type Spared = BTreeMap<(usize, usize), Digest>;

impl Search<'_> {
    pub(super) fn spared(&mut self, solver: &Solver<'_>) -> Result<Spared> {
        let caches: Vec<&Imported> = solver
            .imported
            .iter()
            .filter(|cache| wanted_in_full(self.request).all(|place| cache.is_at(place)))
            .collect();
        let asks_a_stage = |step: &Step| {
            let sources = step.operation.sources();
            sources
                .iter()
                .any(|source| matches!(source, Source::Stage(_)))
        };
        let mut steps = solver.graph.stages.values().flat_map(|stage| &stage.steps);
        if caches.is_empty() || self.request.no_cache || !steps.any(asks_a_stage) {
            return Ok(Spared::default());
        }
        let mut worker = Worker::start(|reporter| {
            solver.engine.enter_user_namespace()?;
            let lease = solver.engine.store().lease()?;
            Ok((forecast(solver, &lease, reporter)?, ()))
        })?;
        let known = self.watch::<Vec<(usize, usize, Digest)>>(0, &mut worker);
        worker.finish();
        let has = |definition: &Digest| caches.iter().any(|cache| cache.has(definition));
        // What cannot be foreseen (a file that is not there) the step itself will tell.
        let known = known.unwrap_or_default().into_iter();
        Ok(known
            .filter(|(_, _, definition)| has(definition))
            .map(|(stage, at, definition)| ((stage, at), definition))
            .collect())
    }
}

/// Where all that was made goes to.
fn wanted_in_full(request: &BuildRequest) -> impl Iterator<Item = &StepCacheTarget> {
    request.cache_to.iter().filter_map(|target| match target {
        CacheTarget::Place {
            mode: CacheMode::Max,
            place,
            ..
        } => Some(place),
        _ => None,
    })
}

/// The stages that have to be done.
pub(super) fn needed(solver: &Solver<'_>, spared: &Spared) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut ahead: Vec<usize> = solver.targets.iter().map(|target| target.stage).collect();
    while let Some(number) = ahead.pop() {
        if !needed.insert(number) {
            continue;
        }
        let stage = &solver.graph.stages[&number];
        if let Base::Stage(below) = stage.base {
            ahead.push(below);
        }
        for (at, step) in stage.steps.iter().enumerate() {
            if spared.contains_key(&(number, at)) {
                continue;
            }
            for source in step.operation.sources() {
                if let Source::Stage(other) = source {
                    ahead.push(*other);
                }
            }
        }
    }
    needed
}

/// The definitions of all steps, as far as they can be known.
fn forecast(
    solver: &Solver<'_>,
    lease: &Lease<'_>,
    reporter: &Reporter,
) -> Result<Vec<(usize, usize, Digest)>> {
    let mut known = Vec::new();
    let mut ahead = Solver {
        done: BTreeMap::new(),
        now: solver.now.clone(),
        ..*solver
    };
    for (number, stage) in &solver.graph.stages {
        let Some(mut snapshot) = base(&ahead, stage) else {
            continue;
        };
        let mut is_known = true;
        for (at, step) in stage.steps.iter().enumerate() {
            if matches!(step.operation, Operation::None) {
                continue;
            }
            let making = Making {
                solver: &ahead,
                lease,
                reporter,
                parent: snapshot.clone(),
                name: String::new(),
                platform: &stage.platform,
                no_cache: false,
                by_content: false,
                in_result: false,
            };
            let Some(keys) = keys(&making, stage, step)? else {
                is_known = false;
                break;
            };
            let definition = ahead.with_times(&keys).definition;
            snapshot.keys = snapshot.keys_with(&Keys::same(&definition), None);
            if !stage.no_cache {
                known.push((*number, at, definition));
            }
        }
        // What is not to be taken from a cache is not foreseen for others either.
        if is_known && !stage.no_cache {
            ahead.done.insert(*number, snapshot);
        }
    }
    Ok(known)
}

fn base(solver: &Solver<'_>, stage: &Stage) -> Option<Snapshot> {
    match &stage.base {
        Base::Scratch => Some(Snapshot::empty()),
        Base::Stage(below) => solver.done.get(below).cloned(),
        Base::Origin(origin) => {
            let source = Source::Origin(origin.clone());
            let snapshot = solver.snapshot(&source).cloned();
            Some(snapshot.unwrap_or_else(Snapshot::empty))
        }
    }
}

/// None if they depend on something that has to be fetched, or on a stage of which that is so.
fn keys(making: &Making<'_>, stage: &Stage, step: &Step) -> Result<Option<Keys>> {
    let solver = making.solver;
    let is_open = |source: &&Source| matches!(source, Source::Stage(number) if !solver.done.contains_key(number));
    if step.operation.sources().iter().any(is_open) {
        return Ok(None);
    }
    match &step.operation {
        Operation::None => Ok(None),
        Operation::Run(run) => {
            let platform = stage.platform.to_string();
            run_step::foreseen(making, run, &platform).map(Some)
        }
        Operation::Copy(copy) => copy_step::foreseen(making, copy),
        Operation::Workdir { path, user } => {
            Ok(Some(copy_step::workdir_keys(making, path, user.as_deref())))
        }
    }
}
