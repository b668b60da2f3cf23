//! A parsed Dockerfile and what a build is told → a [`Graph`]: what is to be done, as a value.
//!
//! Nothing is read here and nothing is fetched. What a stage begins with is known when the
//! configurations of the images are, and these may bring instructions of their own (ONBUILD), which
//! may ask for further images. So a build goes around once or twice:
//!
//! ```text
//! loop { needed(file, inputs, known) → images and contexts; none are left: break; known += them }
//! graph(file, inputs, known, ignore) → Graph
//! ```
//!
//! - [`scope`] knows what variables are worth: ARG, ENV, what is predefined.
//! - [`survey`] knows the stages: what they begin with, whom they ask, which are reached from the
//!   target.
//! - [`fold`] goes through the instructions of one stage; [`copying`] and [`running`] know COPY, ADD
//!   and RUN.
//! - [`merge`] makes one graph of those for several platforms.
//! - [`shown`] prints what users see: labels of steps and the history, in BuildKit's words.
//!
//! The key of a step in the cache is made of its [`Operation`] as it is serialised, with the digests
//! of what it reads in place of the [`Source`]s. What must not be part of a key is not serialised.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
};

use serde::{Deserialize, Serialize};

use super::{
    dockerfile::{
        Complaint, Dockerfile, Result,
        run_flags::{Network, Security, Sharing},
        stages::known_frontend,
    },
    git_address::GitAddress,
    ignore::Ignore,
    lint::{self, OutlineArgument, Warning},
};
use crate::model::{Platform, Reference, image::ImageConfig};

pub use merge::merge;

mod copying;
mod fold;
mod merge;
mod running;
mod scope;
mod shown;
pub mod survey;
#[cfg(test)]
mod tests;

/// What a build is told on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    pub build_args: BTreeMap<String, String>,
    /// A stage by name or number; else the last one.
    pub target: Option<String>,
    /// What the image is for.
    pub platform: Platform,
    /// Somebody asked for that platform: else an image for another one may be made of such a base.
    pub platform_is_asked: bool,
    /// Whereon it is built.
    pub build_platform: Platform,
    /// Labels say for which platform each step is.
    pub many_platforms: bool,
    /// Names of named contexts. They stand for stages and images of these names.
    pub contexts: BTreeSet<String>,
    /// Of the image, besides those of LABEL.
    pub labels: BTreeMap<String, String>,
    pub no_cache: bool,
    /// Stages whose steps are done whatever the cache knows.
    pub no_cache_filter: BTreeSet<String>,
    /// Where RUN is that does not say so.
    pub network: Network,
    /// For checks: all stages are gone through, not only those that the target needs.
    pub all_stages: bool,
}

impl Inputs {
    pub fn new(platform: Platform) -> Self {
        Inputs {
            build_args: BTreeMap::new(),
            target: None,
            build_platform: platform.clone(),
            platform,
            platform_is_asked: false,
            many_platforms: false,
            contexts: BTreeSet::new(),
            labels: BTreeMap::new(),
            no_cache: false,
            no_cache_filter: BTreeSet::new(),
            network: Network::Default,
            all_stages: false,
        }
    }
}

impl Inputs {
    /// Arguments speak to the builder, too.
    fn lint(&self, file: &Dockerfile) -> Result<lint::Lint> {
        if let Some(frontend) = self.build_args.get("BUILDKIT_SYNTAX") {
            known_frontend(frontend)?;
        }
        let check = self.build_args.get("BUILDKIT_DOCKERFILE_CHECK");
        lint::Lint::of(file, check.map(String::as_str))
    }

    /// With platforms written in one way.
    fn normal(&self) -> Inputs {
        Inputs {
            platform: normal(self.platform.clone()),
            build_platform: normal(self.build_platform.clone()),
            ..self.clone()
        }
    }
}

/// A variant that goes without saying is not said: scripts compare TARGETPLATFORM with `linux/arm64`.
fn normal(platform: Platform) -> Platform {
    let variant = match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
        ("arm", None | Some("7")) => Some("v7".to_owned()),
        _ => platform.variant.clone(),
    };
    Platform {
        variant,
        ..platform
    }
}

/// What comes from outside of the Dockerfile and its context.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    Image {
        reference: Reference,
        platform: Platform,
    },
    /// One of [`Inputs::contexts`].
    Context { name: String, platform: Platform },
}

/// Configurations of what was asked for; of a context that is no image, the default one.
pub type Known = HashMap<Origin, ImageConfig>;

/// What a build has to fetch before its graph can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    pub origin: Origin,
    /// Who asks for it.
    pub lines: RangeInclusive<u32>,
    /// A stage begins with it; else something is copied or mounted from it.
    pub is_base: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// By their number in the file; only those that the target needs. Each comes behind those it asks.
    pub stages: BTreeMap<usize, Stage>,
    pub target: usize,
    #[serde(skip)]
    pub warnings: Vec<Warning>,
    /// What may be given for the target, in the order of the file; for [`lint::outline`].
    #[serde(skip)]
    pub arguments: Vec<OutlineArgument>,
    /// `--build-arg` that no ARG asked for.
    pub unused_args: Vec<String>,
    /// What the directive `check` says of the warnings: they are errors.
    pub warnings_are_errors: bool,
    /// `SOURCE_DATE_EPOCH`, of the command line or of an ARG before the first FROM.
    pub source_date_epoch: Option<String>,
}

impl Graph {
    pub fn target(&self) -> &Stage {
        &self.stages[&self.target]
    }

    /// Stages whose layers are the result's: the target, what it begins with, and so on.
    pub fn in_result(&self) -> Vec<usize> {
        self.down_from(self.target)
    }

    /// Stages that are done whatever the cache knows, and those that have something of them.
    pub fn done_anew(&self) -> BTreeSet<usize> {
        let mut anew = BTreeSet::new();
        // Each comes behind those it asks.
        for (number, stage) in &self.stages {
            let steps = stage.steps.iter();
            let mut sources = steps.flat_map(|step| step.operation.sources());
            let asks = sources.any(|it| matches!(it, Source::Stage(other) if anew.contains(other)));
            let is_on = matches!(&stage.base, Base::Stage(below) if anew.contains(below));
            if stage.no_cache || asks || is_on {
                anew.insert(*number);
            }
        }
        anew
    }

    /// A stage, what it begins with, and so on.
    pub fn down_from(&self, stage: usize) -> Vec<usize> {
        let mut stages = vec![stage];
        let mut at = stage;
        while let Base::Stage(below) = &self.stages[&at].base {
            at = *below;
            stages.push(at);
        }
        stages
    }

    /// Whatever any step needs from outside.
    pub fn origins(&self) -> Vec<&Origin> {
        let mut origins: Vec<&Origin> = Vec::new();
        for stage in self.stages.values() {
            let base = match &stage.base {
                Base::Origin(origin) => Some(origin),
                _ => None,
            };
            let sources = stage.steps.iter().flat_map(|step| step.operation.sources());
            let sources = sources.filter_map(|source| match source {
                Source::Origin(origin) => Some(origin),
                _ => None,
            });
            for origin in base.into_iter().chain(sources) {
                if !origins.contains(&origin) {
                    origins.push(origin);
                }
            }
        }
        origins
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name; of one without, `stage-N`.
    pub name: String,
    pub platform: Platform,
    pub base: Base,
    /// Of the step that is the base, as [`Step::label`].
    pub label: Option<String>,
    /// Those of FROM.
    pub lines: RangeInclusive<u32>,
    pub steps: Vec<Step>,
    /// As it is when all steps are done. Its history has those of the base and one entry for each
    /// instruction, without times; its layers are those of the base.
    pub config: ImageConfig,
    /// Its steps are done whatever the cache knows.
    pub no_cache: bool,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// Nothing at all.
    Scratch,
    Stage(usize),
    Origin(Origin),
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The context of the build.
    Context,
    Scratch,
    Stage(usize),
    Origin(Origin),
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `[build 2/5] RUN make`; none if there is nothing to do.
    pub label: Option<String>,
    pub lines: RangeInclusive<u32>,
    pub operation: Operation,
    /// Its entry in the history of the configuration. ONBUILD has none.
    pub history: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Only the configuration is another one.
    None,
    Run(Box<RunStep>),
    Copy(Box<CopyStep>),
    /// The directory is there afterwards, made with its parents if it was not: 0755.
    Workdir {
        path: String,
        user: Option<String>,
    },
}

impl Operation {
    pub fn sources(&self) -> Vec<&Source> {
        match self {
            Operation::None | Operation::Workdir { .. } => Vec::new(),
            Operation::Run(run) => run.mounts.iter().filter_map(Mount::source).collect(),
            Operation::Copy(copy) => copy.sources.iter().filter_map(CopySource::source).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    pub argv: Vec<String>,
    /// A here-document that is a script: an executable file of this name, read-only, below
    /// [`SCRIPTS`], which `argv` names.
    pub script: Option<Document>,
    /// `NAME=VALUE`: ENV and the ARGs in scope.
    pub env: Vec<String>,
    /// Proxies of `--build-arg`; they set variables and are part of neither the key nor the history.
    #[serde(skip)]
    pub proxies: Vec<String>,
    pub workdir: String,
    /// Empty is root.
    pub user: String,
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub security: Security,
}

/// Where [`RunStep::script`] is seen.
pub const SCRIPTS: &str = "/dev/pipes";

/// One `--mount` of RUN; targets are absolute. What is in it is never part of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    Bind {
        target: String,
        source: Source,
        /// Below the source, absolute.
        path: String,
        /// What is written is thrown away.
        writable: bool,
    },
    /// Kept from build to build.
    Cache {
        target: String,
        id: String,
        sharing: Sharing,
        /// What it begins with.
        source: Source,
        path: String,
        read_only: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Tmpfs {
        target: String,
        /// Bytes.
        size: Option<u64>,
    },
    /// A file, a variable or both.
    Secret {
        id: String,
        target: Option<String>,
        env: Option<String>,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    /// The socket of an agent; SSH_AUTH_SOCK names the first.
    Ssh {
        id: String,
        target: String,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

impl Mount {
    pub fn source(&self) -> Option<&Source> {
        match self {
            Mount::Bind { source, .. } | Mount::Cache { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// COPY and ADD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyStep {
    pub sources: Vec<CopySource>,
    /// Absolute, without `.` and `..`, and without a slash at its end.
    pub destination: String,
    /// It is a directory that sources are put into: it ended in `/`, or there are many sources.
    pub into_directory: bool,
    /// `USER[:GROUP]`, to be looked up in the target's files; else 0:0, and what archives say.
    pub chown: Option<String>,
    pub chmod: Option<Chmod>,
    /// A layer of its own: nothing below it is read, and links at the destination are not followed.
    pub link: bool,
    /// Patterns as those of .dockerignore, from the root of what is copied.
    pub excludes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chmod {
    Octal(u32),
    /// `u=rwX,go=rX`, checked.
    Symbolic(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopySource {
    /// Of a directory its content; a link is followed if it is named itself.
    Path {
        source: Source,
        /// Absolute, below the source; a pattern of Go's filepath.Match. One that matches nothing is
        /// fine if it has wildcards.
        path: String,
        /// Of ADD: an archive is taken apart.
        unpack: bool,
    },
    /// `--parents`: what matches `pattern` below `root`, with the directories from `root` on.
    Parents {
        source: Source,
        /// Absolute; a pattern as well.
        root: String,
        /// Without a slash at its beginning; `**` is any number of directories.
        pattern: String,
    },
    /// Written into the Dockerfile: mode 0644.
    Document(Document),
    /// Mode 0600, time of Last-Modified.
    Http {
        url: String,
        /// What the file is called.
        name: String,
        checksum: Option<String>,
        unpack: bool,
    },
    Git(GitAddress),
}

impl CopySource {
    pub fn source(&self) -> Option<&Source> {
        match self {
            CopySource::Path { source, .. } | CopySource::Parents { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// One part of a path, neither `.` nor `..`.
    pub name: String,
    pub content: String,
}

impl Document {
    fn new(name: &str, content: String) -> Result<Document> {
        let is_path = matches!(name, "" | "." | "..") || name.contains(['/', '\0']);
        match is_path {
            true => Err(Complaint::new(format!("invalid name of a heredoc: {name:?}")).about(name)),
            false => Ok(Document {
                name: name.to_owned(),
                content,
            }),
        }
    }
}

/// Images and contexts that are not known yet and that the target asks for.
///
/// # Errors
/// What is wrong in the Dockerfile or in the inputs.
pub fn needed(file: &Dockerfile, inputs: &Inputs, known: &Known) -> Result<Vec<Needed>> {
    let mut lint = inputs.lint(file)?;
    survey::survey(file, &inputs.normal(), known, &mut lint).map(|survey| survey.needed)
}

/// All that is to be done; `ignore` is the context's .dockerignore, for the checks.
///
/// # Errors
/// What is wrong in the Dockerfile or in the inputs.
pub fn graph(
    file: &Dockerfile,
    inputs: &Inputs,
    known: &Known,
    ignore: Option<&Ignore>,
) -> Result<Graph> {
    let inputs = &inputs.normal();
    let mut lint = inputs.lint(file)?;
    lint::check_file(file, &mut lint);
    let survey = survey::survey(file, inputs, known, &mut lint)?;
    let (stages, own) = fold::stages(file, inputs, known, &survey, ignore, &mut lint)?;
    let mut arguments = survey.used_globals(&own);
    arguments.extend(
        own.into_iter()
            .filter(|argument| !argument.is_import)
            .map(|one| one.shown),
    );
    arguments.sort_by_key(|argument| argument.line);
    arguments.dedup_by(|later, earlier| later.name == earlier.name);
    let declared = survey.declared();
    let is_used = |name: &String| scope::is_predefined(name) || declared.contains(name.as_str());
    let unused_args = inputs.build_args.keys().filter(|name| !is_used(name));
    Ok(Graph {
        stages,
        target: survey.target,
        unused_args: unused_args.cloned().collect(),
        arguments,
        source_date_epoch: survey.globals.source_date_epoch(inputs),
        warnings_are_errors: lint.warnings_are_errors(),
        warnings: lint.into_warnings(),
    })
}
