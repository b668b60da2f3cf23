//! The solver: carries a graph out.
//!
//! ```text
//! begin    a request → a graph, and all that it needs
//! bases    images and contexts that stages begin with or copy from; pulled if they are missing
//! mod      one loop: which steps can be done now, whose worker has news
//! step     a step in its worker: is it in the cache? keep what it has made
//!  run_step   RUN      (emulation: for other processors)      copy_step   COPY, ADD, WORKDIR
//! finish   the target's layers and configuration → an image
//! imported, forecast   steps of caches of others (`--cache-from`), and what need not be done then
//! exported             steps for others (`--cache-to`)
//! ```
//!
//! A stage goes through its steps in order; stages that do not wait for each other go at the same time.
//! What a step has made is found again by its key ([`key`]): a RUN's is made here, and if the cache has
//! it there is no worker; that of a COPY needs the files' digests, and its worker looks.
//!
//! The loop has one thread (workers are forked). It keeps everything that it uses from garbage
//! collection by one lease. If a step fails, the others are ended; what was finished stays in the cache.

mod bases;
mod begin;
mod copy_step;
mod emulation;
mod exported;
mod finish;
mod forecast;
mod imported;
mod key;
mod run_step;
mod snapshot;
mod step;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(super) use bases::Search;
pub use begin::build;
pub(super) use begin::inputs;
pub use finish::{Built, BuiltImage, KeptImage};

use self::{
    bases::Foundation,
    forecast::Spared,
    imported::Imported,
    key::{Key, Keys},
    snapshot::Snapshot,
    step::{Made, Making},
};
use super::{
    graph::{Base, Graph, Operation, Origin, Source, Stage, Step},
    progress::{Event, Progress},
    request::{BuildContext, BuildRequest, Folder},
    worker::{News, Status, Worker},
};
use crate::{
    engine::Engine,
    model::{Context, Digest, Platform, Result},
    storage::{Lease, builds::StepRecord},
};

/// Steps that wait (for the network, say) leave processors free.
const LEAST_JOBS: usize = 4;

pub(super) struct Solver<'a> {
    pub engine: &'a Engine,
    pub request: &'a BuildRequest,
    pub graph: &'a Graph,
    /// What is asked for, one for each platform.
    pub targets: &'a [Target],
    foundations: &'a HashMap<Origin, Foundation>,
    /// Caches of others.
    imported: &'a [Imported],
    /// Stages in which there may be other files than last time, however these are made: there,
    /// definitions count for nothing.
    anew: &'a BTreeSet<usize>,
    /// RFC 3339.
    pub now: String,
    /// Seconds since 1970: what there is to say instead of now.
    epoch: Option<i64>,
    /// Of stages that are done.
    done: BTreeMap<usize, Snapshot>,
}

/// A stage that becomes an image.
pub(super) struct Target {
    pub stage: usize,
    pub platform: Platform,
}

impl Solver<'_> {
    /// Stages whose layers are those of a result.
    fn in_results(&self) -> BTreeSet<usize> {
        let targets = self.targets.iter();
        targets
            .flat_map(|target| self.graph.down_from(target.stage))
            .collect()
    }

    /// Whether the cache is not asked. What a RUN mounts counts by how it was made, which says nothing of
    /// a stage that is done anew.
    fn is_done_anew(&self, stage: &Stage, step: &Step) -> bool {
        let mounts_anew = matches!(step.operation, Operation::Run(_))
            && step.operation.sources().into_iter().any(
                |source| matches!(source, Source::Stage(number) if self.anew.contains(number)),
            );
        self.request.no_cache || stage.no_cache || mounts_anew
    }

    /// The layers behind a source that has layers.
    fn snapshot(&self, source: &Source) -> Option<&Snapshot> {
        match source {
            Source::Stage(stage) => self.done.get(stage),
            Source::Origin(origin) => match self.foundations.get(origin) {
                Some(Foundation::Image { snapshot, .. }) => Some(snapshot),
                _ => None,
            },
            Source::Context | Source::Scratch => None,
        }
    }

    /// The folder of the host behind a source that is one.
    fn folder(&self, source: &Source) -> Option<&Folder> {
        let context = match source {
            Source::Context => &self.request.context,
            Source::Origin(Origin::Context { name, .. }) => {
                self.request.named_contexts.get(name)?
            }
            _ => return None,
        };
        match context {
            BuildContext::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    fn is_ready(&self, step: &Step) -> bool {
        let mut sources = step.operation.sources().into_iter();
        sources.all(|source| match source {
            Source::Stage(stage) => self.done.contains_key(stage),
            _ => true,
        })
    }

    /// No file of a new layer is younger: seconds since 1970.
    fn youngest(&self) -> Option<i64> {
        self.epoch.filter(|_| self.request.rewrite_timestamps)
    }

    /// Times are part of what a step makes if they are set.
    fn with_times(&self, keys: &Keys) -> Keys {
        let Some(epoch) = self.youngest() else {
            return keys.clone();
        };
        let mut own = Key::new("times");
        own.step("step", keys).add("epoch", &epoch.to_le_bytes());
        own.finish()
    }
}

/// What became of a step, for the history.
pub(super) struct Done {
    /// It has made a layer.
    pub layer: bool,
    /// When that was, RFC 3339; none if there was nothing to do.
    pub created: Option<String>,
    pub record: Option<StepRecord>,
}

/// All steps are done that had to be.
struct Solved<'a> {
    solver: Solver<'a>,
    /// What became of them, by stage.
    outcomes: BTreeMap<usize, Vec<Done>>,
    /// Definitions of steps of stages that were not needed.
    unneeded: Vec<Digest>,
}

/// A stage on its way.
struct Run {
    /// As the graph numbers it.
    stage: usize,
    /// What its steps have made so far; none before it has begun.
    snapshot: Option<Snapshot>,
    /// The next step.
    at: usize,
    /// Who does it, and its vertex.
    worker: Option<(Worker, usize)>,
}

/// The steps of one build, under way.
struct Under<'s, 'a> {
    solver: Solver<'a>,
    lease: &'s Lease<'s>,
    progress: &'s mut dyn Progress,
    runs: Vec<Run>,
    /// Numbers of vertices, by stage and step.
    vertices: HashMap<(usize, usize), usize>,
    /// Steps that are in a cache, whatever they ask: they wait for no stage.
    spared: Spared,
    /// Stages that have to be done.
    needed: BTreeSet<usize>,
    /// What became of a stage's steps.
    outcomes: BTreeMap<usize, Vec<Done>>,
    jobs: usize,
    ticked: Instant,
}

impl<'a> Solver<'a> {
    /// Does all that the target needs.
    fn solve(
        self,
        lease: &Lease<'_>,
        progress: &mut dyn Progress,
        first_vertex: usize,
        spared: Spared,
    ) -> Result<Solved<'a>> {
        let mut vertices = HashMap::new();
        let mut next = first_vertex;
        for (number, stage) in &self.graph.stages {
            for at in 0..stage.steps.len() {
                if stage.steps[at].label.is_some() {
                    vertices.insert((*number, at), next);
                    next += 1;
                }
            }
        }
        let jobs = match self.request.jobs {
            0 => std::thread::available_parallelism()
                .map_or(LEAST_JOBS, |count| count.get().max(LEAST_JOBS)),
            jobs => jobs,
        };
        let stages = self.graph.stages.keys();
        let runs = stages.map(|stage| Run {
            stage: *stage,
            snapshot: None,
            at: 0,
            worker: None,
        });
        let mut under = Under {
            runs: runs.collect(),
            outcomes: BTreeMap::new(),
            needed: forecast::needed(&self, &spared),
            spared,
            solver: self,
            lease,
            progress,
            vertices,
            jobs,
            ticked: Instant::now(),
        };
        let outcome = under.run();
        under.end_all();
        if outcome.is_ok() {
            under.show_spared();
        }
        let mut unneeded = under.spared;
        unneeded.retain(|(stage, _), _| !under.needed.contains(stage));
        let unneeded = unneeded.into_values().collect();
        outcome.map(|()| Solved {
            solver: under.solver,
            outcomes: under.outcomes,
            unneeded,
        })
    }
}

impl Under<'_, '_> {
    fn run(&mut self) -> Result<()> {
        loop {
            // A stage that is done may let others go on.
            while self.advance_all()? {}
            let targets = &mut self.solver.targets.iter();
            if targets.all(|target| self.solver.done.contains_key(&target.stage)) {
                return Ok(());
            }
            self.wait()?;
        }
    }

    fn busy(&self) -> usize {
        self.runs.iter().filter(|run| run.worker.is_some()).count()
    }

    /// Takes every stage as far as it gets; whether one was finished.
    fn advance_all(&mut self) -> Result<bool> {
        let mut finished = false;
        for at in 0..self.runs.len() {
            if self.runs[at].worker.is_none()
                && self.needed.contains(&self.runs[at].stage)
                && !self.solver.done.contains_key(&self.runs[at].stage)
            {
                finished |= self.advance(at)?;
            }
        }
        Ok(finished)
    }

    /// Takes one stage as far as it gets without waiting; whether it is done.
    fn advance(&mut self, run: usize) -> Result<bool> {
        let graph = self.solver.graph;
        let number = self.runs[run].stage;
        let stage = &graph.stages[&number];
        if self.runs[run].snapshot.is_none() {
            let Some(base) = self.base(stage) else {
                return Ok(false);
            };
            self.runs[run].snapshot = Some(base);
        }
        while let Some(step) = stage.steps.get(self.runs[run].at) {
            if matches!(step.operation, Operation::None) {
                self.note(run, None);
                continue;
            }
            let goes_on = match self.solver.is_ready(step) {
                true => self.take_or_start(run, stage, step)?,
                false => self.fetch_spared(run, stage, step)?,
            };
            if !goes_on {
                return Ok(false);
            }
        }
        let snapshot = self.runs[run].snapshot.take();
        let snapshot = snapshot.unwrap_or_else(Snapshot::empty);
        self.solver.done.insert(number, snapshot);
        Ok(true)
    }

    fn base(&self, stage: &Stage) -> Option<Snapshot> {
        match &stage.base {
            Base::Scratch => Some(Snapshot::empty()),
            Base::Stage(below) => self.solver.done.get(below).cloned(),
            Base::Origin(origin) => {
                let source = Source::Origin(origin.clone());
                Some(
                    self.solver
                        .snapshot(&source)
                        .cloned()
                        .unwrap_or_else(Snapshot::empty),
                )
            }
        }
    }

    /// The step is over, with a layer or without.
    fn note(&mut self, run: usize, record: Option<&StepRecord>) {
        let run = &mut self.runs[run];
        self.outcomes.entry(run.stage).or_default().push(Done {
            layer: record.is_some_and(|record| record.layer.is_some()),
            created: record.map(|record| record.created.clone()),
            record: record.cloned(),
        });
        run.at += 1;
    }

    /// Goes past a step that is in the cache (then true), or starts a worker for it if one may be.
    fn take_or_start(&mut self, run: usize, stage: &Stage, step: &Step) -> Result<bool> {
        let Some(parent) = self.runs[run].snapshot.clone() else {
            return Ok(false);
        };
        let vertex = self.vertex(run, step);
        let no_cache = self.solver.is_done_anew(stage, step);
        let by_content = self.solver.anew.contains(&self.runs[run].stage);
        let mut key = None;
        if let Operation::Run(operation) = &step.operation {
            if let Err(error) = run_step::check_allowed(&self.solver, operation) {
                return Err(self.located(run, error));
            }
            let platform = stage.platform.to_string();
            let made = run_step::key(&self.solver, operation, &parent, &platform)?;
            if !no_cache && !run_step::reads_context(&self.solver, operation) {
                let keys = self.solver.with_times(&made.clone().finish());
                if let Some(record) = self.taken(&parent, &keys, by_content)? {
                    self.progress.event(Event::Cached { id: vertex });
                    self.note(run, Some(&record));
                    self.push(run, record);
                    return Ok(true);
                }
            }
            key = Some(made);
        }
        self.start(run, (stage, step), (parent, vertex), |making| {
            make(making, step, key)
        })?;
        Ok(false)
    }

    /// Takes a step that waits for others from a cache, if it is there: it need not wait. Then a
    /// worker is fetching it.
    fn fetch_spared(&mut self, run: usize, stage: &Stage, step: &Step) -> Result<bool> {
        let place = (self.runs[run].stage, self.runs[run].at);
        let known = self.spared.get(&place).cloned();
        let (Some(definition), Some(parent)) = (known, self.runs[run].snapshot.clone()) else {
            return Ok(false);
        };
        let vertex = self.vertex(run, step);
        let keys = Keys::same(&definition);
        self.start(run, (stage, step), (parent, vertex), |making| {
            let found = imported::find(making, &keys);
            Ok(found.map_or(Made::Missed, Made::Cached))
        })?;
        Ok(false)
    }

    /// Starts a worker for a step, if one may be.
    fn start(
        &mut self,
        run: usize,
        (stage, step): (&Stage, &Step),
        (parent, vertex): (Snapshot, usize),
        work: impl FnOnce(&Making<'_>) -> Result<Made>,
    ) -> Result<()> {
        if self.busy() >= self.jobs {
            return Ok(());
        }
        self.progress.event(Event::Started { id: vertex });
        let in_result = self.solver.in_results();
        let in_result = in_result.contains(&self.runs[run].stage);
        let by_content = self.solver.anew.contains(&self.runs[run].stage);
        let solver = &self.solver;
        let worker = Worker::start(|reporter| {
            solver.engine.enter_user_namespace()?;
            let lease = solver.engine.store().lease()?;
            let making = Making {
                solver,
                lease: &lease,
                reporter,
                parent,
                name: step.label.clone().unwrap_or_default(),
                platform: &stage.platform,
                no_cache: solver.is_done_anew(stage, step),
                by_content,
                in_result,
            };
            let made = work(&making)?;
            Ok((made, lease))
        })?;
        self.runs[run].worker = Some((worker, vertex));
        Ok(())
    }

    /// A step has to be done after all, and what it asks.
    fn miss(&mut self, run: usize) {
        let place = (self.runs[run].stage, self.runs[run].at);
        self.spared.remove(&place);
        self.needed = forecast::needed(&self.solver, &self.spared);
    }

    /// Steps of stages that nobody needed are as good as cached.
    fn show_spared(&mut self) {
        for (number, stage) in &self.solver.graph.stages {
            if self.needed.contains(number) {
                continue;
            }
            for (at, step) in stage.steps.iter().enumerate() {
                let vertex = self.vertices.get(&(*number, at)).copied();
                if let (Some(id), Some(name)) = (vertex, &step.label) {
                    self.progress.event(Event::Vertex { id, name });
                    self.progress.event(Event::Cached { id });
                }
            }
        }
    }

    /// What is here already.
    fn taken(
        &self,
        parent: &Snapshot,
        keys: &Keys,
        by_content: bool,
    ) -> Result<Option<StepRecord>> {
        if let Some(record) = self.lease.find_step(&keys.own)? {
            return Ok(Some(record));
        }
        imported::taken(&self.solver, self.lease, parent, (keys, by_content))
    }

    /// Makes a step known.
    fn vertex(&mut self, run: usize, step: &Step) -> usize {
        let place = (self.runs[run].stage, self.runs[run].at);
        let id = self.vertices.get(&place).copied().unwrap_or_default();
        let name = step.label.as_deref().unwrap_or_default();
        self.progress.event(Event::Vertex { id, name });
        id
    }

    fn push(&mut self, run: usize, record: StepRecord) {
        if let Some(snapshot) = &mut self.runs[run].snapshot {
            snapshot.push(record);
        }
    }

    /// Waits until a worker has something, and deals with it.
    fn wait(&mut self) -> Result<()> {
        /// Which worker, and its socket or one of its outputs.
        #[derive(Clone, Copy)]
        enum Place {
            Socket,
            Output(usize),
        }
        let mut places: Vec<(usize, Place)> = Vec::new();
        let mut watched: Vec<BorrowedFd<'_>> = Vec::new();
        for (at, run) in self.runs.iter().enumerate() {
            let Some((worker, _)) = &run.worker else {
                continue;
            };
            for (number, output) in worker.outputs() {
                places.push((at, Place::Output(number)));
                watched.push(output);
            }
            places.push((at, Place::Socket));
            watched.push(worker.socket());
        }
        let ready = ready(&watched, self.progress.tick_every())?;
        if self
            .progress
            .tick_every()
            .is_some_and(|every| self.ticked.elapsed() >= every)
        {
            self.ticked = Instant::now();
            self.progress.event(Event::Tick);
        }
        for at in ready {
            match places[at] {
                (run, Place::Output(number)) => {
                    self.show(run, number);
                }
                (run, Place::Socket) => self.hear(run)?,
            }
        }
        Ok(())
    }

    /// Shows what a step's program has written; whether there may be more.
    fn show(&mut self, run: usize, number: usize) -> bool {
        let Some((worker, vertex)) = &mut self.runs[run].worker else {
            return false;
        };
        let mut buffer = Vec::new();
        if worker.read(number, &mut buffer).is_none() {
            return false;
        }
        if !buffer.is_empty() {
            self.progress.event(Event::Output {
                id: *vertex,
                stream: if number == 0 { 1 } else { 2 },
                bytes: &buffer,
            });
        }
        true
    }

    fn hear(&mut self, run: usize) -> Result<()> {
        let Some((worker, vertex)) = &self.runs[run].worker else {
            return Ok(());
        };
        let vertex = *vertex;
        match worker.news::<Made>() {
            News::Status(status) => {
                tell(self.progress, vertex, &status);
                Ok(())
            }
            News::Ended(outcome) => self.ended(run, vertex, outcome),
        }
    }

    fn ended(&mut self, run: usize, vertex: usize, outcome: Result<Made>) -> Result<()> {
        self.show_rest(run);
        let worker = self.runs[run].worker.take();
        let kept = outcome.and_then(|made| {
            let (record, cached) = match made {
                Made::Cached(record) => (record, true),
                Made::New(record) => (record, false),
                Made::Missed => return Ok(None),
            };
            // The worker's lease holds it until it is let go.
            let found = self.lease.find_step(&record.key)?;
            Ok(Some((found.unwrap_or(record), cached)))
        });
        if let Some((worker, _)) = worker {
            match &self.solver.request.invoke {
                Some(invoke) if worker.has_stopped() => invoke.hold(worker),
                _ => worker.finish(),
            }
        }
        match kept {
            Ok(None) => {
                self.miss(run);
                Ok(())
            }
            Ok(Some((record, cached))) => {
                self.note(run, Some(&record));
                self.push(run, record);
                self.progress.event(match cached {
                    true => Event::Cached { id: vertex },
                    false => Event::Done { id: vertex },
                });
                Ok(())
            }
            Err(error) => {
                let text = error.one_line();
                self.progress.event(Event::Failed {
                    id: vertex,
                    text: &text,
                });
                Err(self.located(run, error))
            }
        }
    }

    /// What is still in the pipes of a worker that has said its last.
    fn show_rest(&mut self, run: usize) {
        for number in 0..2 {
            loop {
                let has_more = self.runs[run].worker.as_ref().is_some_and(|(worker, _)| {
                    let output = worker.outputs().find(|(it, _)| *it == number);
                    output.is_some_and(|(_, output)| {
                        let at_once = Some(Duration::ZERO);
                        ready(&[output], at_once).is_ok_and(|ready| !ready.is_empty())
                    })
                });
                if !has_more || !self.show(run, number) {
                    break;
                }
            }
        }
    }

    /// An error of a step, with the place in the Dockerfile.
    fn located(&self, run: usize, error: crate::model::Error) -> crate::model::Error {
        let run = &self.runs[run];
        let step = &self.solver.graph.stages[&run.stage].steps[run.at];
        super::located(&self.solver.request.dockerfile, &step.lines, error)
    }

    fn end_all(&mut self) {
        for run in &mut self.runs {
            if let Some((worker, vertex)) = run.worker.take() {
                worker.kill();
                self.progress.event(Event::Cancelled { id: vertex });
            }
        }
    }
}

fn make(making: &Making<'_>, step: &Step, key: Option<Key>) -> Result<Made> {
    match (&step.operation, key) {
        (Operation::Run(run), Some(key)) => run_step::make(making, run, key),
        (Operation::Copy(copy), _) => copy_step::make(making, copy),
        (Operation::Workdir { path, user }, _) => copy_step::workdir(making, path, user.as_deref()),
        (Operation::None | Operation::Run(_), _) => unreachable!("there is nothing to do"),
    }
}

fn tell(progress: &mut dyn Progress, id: usize, status: &Status) {
    progress.event(Event::Status {
        id,
        text: &status.text,
        current: status.current,
        total: status.total,
        done: status.done,
    });
}

/// The numbers of those descriptors that have something or have ended.
fn ready(watched: &[BorrowedFd<'_>], limit: Option<Duration>) -> Result<Vec<usize>> {
    let mut polled: Vec<PollFd<'_>> = watched
        .iter()
        .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
        .collect();
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: limit.subsec_nanos().into(),
    });
    loop {
        match poll(&mut polled, limit.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => {
                other.system(|| "cannot wait for the steps".to_owned())?;
                break;
            }
        }
    }
    let is_ready = |(_, descriptor): &(usize, &PollFd<'_>)| !descriptor.revents().is_empty();
    let ready = polled.iter().enumerate().filter(is_ready);
    Ok(ready.map(|(at, _)| at).collect())
}
