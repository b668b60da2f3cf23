//! Which stages there are, what each begins with and whom it asks, and which of them are reached from
//! the target.
//!
//! FROM finds stages above it, `--from` and mounts find all of them: that one comes too late is said
//! where it is used, and only if it is used. Of two stages with one name, the later one is found.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use super::{
    Base, Inputs, Known, Needed, Origin, Source,
    fold::{self, Argued},
    normal,
    scope::{self, Globals},
};
use crate::{
    build::{
        dockerfile::{
            self, Complaint, Dockerfile, Instruction, Node, Result, run_flags,
            stages::trigger,
            words::{self, Variables},
        },
        lint::{self, Lint, OutlineArgument},
    },
    model::{Platform, Reference},
};

/// All stages of a file, by their number.
pub struct Survey {
    pub stages: Vec<Surveyed>,
    pub target: usize,
    pub reachable: BTreeSet<usize>,
    pub needed: Vec<Needed>,
    pub(super) globals: Globals,
}

pub struct Surveyed {
    pub name: Option<String>,
    pub base: Base,
    pub platform: Platform,
    pub node: Node,
    pub steps: Vec<Asking>,
    /// As FROM says it, with its variables.
    pub base_name: String,
    /// Global variables that FROM is made of.
    used: BTreeSet<String>,
}

/// An instruction, and whom it asks for files.
pub struct Asking {
    pub step: dockerfile::Step,
    /// It came with the base.
    pub is_trigger: bool,
    /// Of COPY and ADD one; of RUN one for each mount, none for those that come from nowhere.
    pub sources: Vec<Option<Source>>,
}

impl Survey {
    /// Its name, or `stage-N`; empty if it is the only one.
    pub fn shown_name(&self, index: usize) -> String {
        match &self.stages[index].name {
            _ if self.is_alone() => String::new(),
            Some(name) => name.clone(),
            None => format!("stage-{index}"),
        }
    }

    /// All names of ARG, wherever they are.
    pub(super) fn declared(&self) -> BTreeSet<&str> {
        let asked = self.stages.iter().flat_map(|stage| &stage.steps);
        let arguments = asked.filter_map(|asking| match &asking.step.instruction {
            Instruction::Arg(arguments) => Some(arguments),
            _ => None,
        });
        let own = arguments.flatten().map(|argument| argument.name.as_str());
        own.chain(self.globals.declared.keys().map(String::as_str))
            .collect()
    }

    /// Global ARGs that matter for what is reached: by FROM, or by an ARG that asks for them.
    pub(super) fn used_globals(&self, own: &[Argued]) -> Vec<OutlineArgument> {
        let stages = self.reachable.iter().map(|index| &self.stages[*index]);
        let mut pending: Vec<&String> = stages.flat_map(|stage| &stage.used).collect();
        let imports = own.iter().filter(|argument| argument.is_import);
        pending.extend(imports.map(|argument| &argument.shown.name));
        let mut used = BTreeSet::new();
        while let Some(name) = pending.pop() {
            if let Some(declared) = self.globals.declared.get(name)
                && used.insert(name)
            {
                pending.extend(&declared.from);
            }
        }
        let shown = |name: &&String| {
            let declared = self.globals.declared.get(*name)?;
            Some(OutlineArgument {
                name: (*name).clone(),
                value: declared.value.clone(),
                description: None,
                line: declared.line,
            })
        };
        used.iter().filter_map(shown).collect()
    }

    fn is_alone(&self) -> bool {
        let asked = self.stages.iter().flat_map(|stage| &stage.steps);
        let mut sources = asked.flat_map(|asking| asking.sources.iter().flatten());
        self.stages.len() == 1 && sources.all(|source| *source == Source::Context)
    }
}

pub(super) fn survey(
    file: &Dockerfile,
    inputs: &Inputs,
    known: &Known,
    lint: &mut Lint,
) -> Result<Survey> {
    check_default_bases(file, inputs, lint);
    let globals = scope::globals(file, inputs, true)?;
    let surveyor = Surveyor {
        inputs,
        names: names(file),
        count: file.stages.len(),
        contexts: inputs.contexts.iter().map(|name| familiar(name)).collect(),
    };
    let mut stages: Vec<Surveyed> = Vec::new();
    let mut above: BTreeMap<String, usize> = BTreeMap::new();
    for (index, stage) in file.stages.iter().enumerate() {
        let begun = surveyor
            .base(file, stage, &globals, (&stages, &above), lint)
            .map_err(|fault| fault.at(&stage.node.lines))?;
        let name = stage.from.name.clone();
        above.extend(name.clone().map(|name| (name, index)));
        let steps = match begun.is_replaced {
            true => Vec::new(),
            false => {
                let triggers = triggers(&begun.base, &stages, known, &stage.node)?;
                surveyor.steps(triggers, &stage.steps)?
            }
        };
        stages.push(Surveyed {
            name,
            base: begun.base,
            platform: begun.platform,
            base_name: begun.name,
            used: begun.used,
            node: stage.node.clone(),
            steps,
        });
    }
    let target = target(inputs, &stages)?;
    no_circles(&stages)?;
    let reachable = match inputs.all_stages {
        true => (0..stages.len()).collect(),
        false => reachable(&stages, target),
    };
    let needed = unknown(&stages, &reachable, known);
    Ok(Survey {
        stages,
        target,
        reachable,
        needed,
        globals,
    })
}

fn names(file: &Dockerfile) -> BTreeMap<String, usize> {
    let stages = file.stages.iter().enumerate();
    stages
        .filter_map(|(index, stage)| Some((stage.from.name.clone()?, index)))
        .collect()
}

struct Surveyor<'a> {
    inputs: &'a Inputs,
    names: BTreeMap<String, usize>,
    count: usize,
    /// As images are called by those who use them.
    contexts: BTreeSet<String>,
}

/// What a stage begins with.
struct Begun {
    base: Base,
    platform: Platform,
    /// A named context stands for all of the stage.
    is_replaced: bool,
    name: String,
    used: BTreeSet<String>,
}

/// The stages above one, and their numbers by name.
type Above<'a> = (&'a [Surveyed], &'a BTreeMap<String, usize>);

impl Surveyor<'_> {
    fn base(
        &self,
        file: &Dockerfile,
        stage: &dockerfile::Stage,
        globals: &Globals,
        (stages, above): Above<'_>,
        lint: &mut Lint,
    ) -> Result<Begun> {
        let escape = file.directives.escape;
        let name = globals.scope.expand(&stage.from.base, escape)?;
        lint::check_from(stage, &name, &globals.names(), lint);
        if name.text.is_empty() {
            let what = format!("base name ({}) should not be blank", stage.from.base);
            return Err(Complaint::new(what).about(&stage.from.base));
        }
        let mut used = name.used.clone();
        let asked = self.platform(stage, escape, globals, (&mut used, &mut *lint))?;
        let platform = asked.unwrap_or_else(|| self.inputs.platform.clone());
        let own = stage.from.name.as_deref();
        let own = own.filter(|own| self.is_context(own));
        let above = above.get(&name.text.to_lowercase());
        if let (None, Some(index)) = (own, above) {
            return Ok(Begun {
                base: Base::Stage(*index),
                platform: stages[*index].platform.clone(),
                is_replaced: false,
                name: name.text,
                used,
            });
        }
        let origin = self.outside(own.unwrap_or(&name.text), platform.clone())?;
        Ok(Begun {
            base: origin.map_or(Base::Scratch, Base::Origin),
            platform,
            is_replaced: own.is_some(),
            name: name.text,
            used,
        })
    }

    fn platform(
        &self,
        stage: &dockerfile::Stage,
        escape: char,
        globals: &Globals,
        (used, lint): (&mut BTreeSet<String>, &mut Lint),
    ) -> Result<Option<Platform>> {
        let Some(written) = &stage.from.platform else {
            return Ok(None);
        };
        let expanded = globals.scope.expand(written, escape)?;
        used.extend(expanded.used.iter().cloned());
        let target = globals.scope.get("TARGETPLATFORM");
        lint::check_platform(stage, written, &expanded, target, lint);
        if expanded.text.is_empty() {
            let what = format!("empty platform value from expression {written}");
            return Err(Complaint::new(what).about(written));
        }
        let platform = expanded.text.parse::<Platform>();
        let fault = |error: crate::model::Error| {
            let what = format!("failed to parse platform {written}: {}", error.one_line());
            Complaint::new(what).about(written)
        };
        platform
            .map(|platform| Some(normal(platform)))
            .map_err(fault)
    }

    fn is_context(&self, name: &str) -> bool {
        let reserved = name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context");
        !reserved && self.contexts.contains(&familiar(name))
    }

    /// Of `scratch`, none.
    fn outside(&self, name: &str, platform: Platform) -> Result<Option<Origin>> {
        if name == "scratch" {
            return Ok(None);
        }
        if self.is_context(name) {
            // By the name that whoever gave it knows.
            let same = |given: &&String| familiar(given) == familiar(name);
            let name = self.inputs.contexts.iter().find(same).cloned();
            let name = name.unwrap_or_default();
            return Ok(Some(Origin::Context { name, platform }));
        }
        let reference = name.parse::<Reference>().map_err(|error| {
            let what = format!("failed to parse stage name {name:?}: {}", error.one_line());
            Complaint::new(what).about(name)
        })?;
        Ok(Some(Origin::Image {
            reference,
            platform,
        }))
    }

    fn steps(
        &self,
        triggers: Vec<dockerfile::Step>,
        own: &[dockerfile::Step],
    ) -> Result<Vec<Asking>> {
        let own = own.iter().map(|step| (step.clone(), false));
        let triggers = triggers.into_iter().map(|step| (step, true));
        let asking = |(step, is_trigger): (dockerfile::Step, bool)| {
            let sources = self.sources(&step);
            let sources = sources.map_err(|fault| fault.at(&step.node.lines))?;
            Ok(Asking {
                step,
                is_trigger,
                sources,
            })
        };
        triggers.chain(own).map(asking).collect()
    }

    fn sources(&self, step: &dockerfile::Step) -> Result<Vec<Option<Source>>> {
        match &step.instruction {
            Instruction::Copy(copy) | Instruction::Add(copy) => match &copy.from {
                None => Ok(vec![Some(Source::Context)]),
                Some(from) => self.flag(from).map(|source| vec![Some(source)]),
            },
            Instruction::Run(run) => run.mounts.iter().map(|mount| self.mount(mount)).collect(),
            _ => Ok(Vec::new()),
        }
    }

    fn flag(&self, from: &str) -> Result<Source> {
        let nothing = |_: &str| None;
        if words::expand(from, '\\', &nothing)?.text != from {
            let what = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
            return Err(Complaint::new(what).about(from));
        }
        match from.parse::<usize>() {
            Ok(index) if index >= self.count => {
                Err(Complaint::new(format!("invalid stage index {index}")).about(from))
            }
            _ => self.source(from),
        }
    }

    fn mount(&self, text: &str) -> Result<Option<Source>> {
        Ok(match run_flags::mount_source(text)? {
            run_flags::MountSource::Nothing => None,
            run_flags::MountSource::Context => Some(Source::Context),
            run_flags::MountSource::Named(from) => Some(self.source(&from)?),
        })
    }

    fn source(&self, name: &str) -> Result<Source> {
        let index = name.parse::<usize>().ok();
        if let Some(index) = index.filter(|index| *index < self.count) {
            return Ok(Source::Stage(index));
        }
        if let Some(index) = self.names.get(&name.to_lowercase()) {
            return Ok(Source::Stage(*index));
        }
        let origin = self.outside(name, self.inputs.platform.clone())?;
        Ok(origin.map_or(Source::Scratch, Source::Origin))
    }
}

/// `docker.io/library/alpine:latest` is called `alpine`.
fn familiar(name: &str) -> String {
    match name.parse::<Reference>() {
        Err(_) => name.to_lowercase(),
        Ok(reference) => {
            let familiar = reference.familiar();
            let bare = familiar.strip_suffix(":latest");
            bare.map_or(familiar.clone(), str::to_owned)
        }
    }
}

/// What the base wants to be done first. Those of a stage are its own, not those of its base.
fn triggers(
    base: &Base,
    stages: &[Surveyed],
    known: &Known,
    from: &Node,
) -> Result<Vec<dockerfile::Step>> {
    let texts: Vec<String> = match base {
        Base::Scratch => Vec::new(),
        Base::Origin(origin) => known.get(origin).map(fold::onbuild).unwrap_or_default(),
        Base::Stage(index) => {
            let steps = stages[*index].steps.iter();
            let texts = steps.filter_map(|asking| match &asking.step.instruction {
                Instruction::Onbuild(text) => Some(text.clone()),
                _ => None,
            });
            texts.collect()
        }
    };
    texts.iter().map(|text| trigger(text, from)).collect()
}

fn target(inputs: &Inputs, stages: &[Surveyed]) -> Result<usize> {
    let Some(wanted) = &inputs.target else {
        return Ok(stages.len() - 1);
    };
    let lower = wanted.to_lowercase();
    let named = |stage: &Surveyed| stage.name.as_deref() == Some(&lower);
    let numbered = wanted.parse().ok().filter(|index| *index < stages.len());
    stages.iter().rposition(named).or(numbered).ok_or_else(|| {
        let what = format!("target stage {wanted:?} could not be found");
        let names = stages.iter().filter_map(|stage| stage.name.as_deref());
        Complaint::new(what).or_nearest(&lower, names)
    })
}

/// The stages that one asks.
fn asked(stage: &Surveyed) -> impl Iterator<Item = (usize, &RangeInclusive<u32>)> {
    let sources = stage.steps.iter().flat_map(|asking| {
        let lines = &asking.step.node.lines;
        let sources = asking.sources.iter().flatten();
        sources.map(move |source| (source, lines))
    });
    sources.filter_map(|(source, lines)| match source {
        Source::Stage(index) => Some((*index, lines)),
        _ => None,
    })
}

fn no_circles(stages: &[Surveyed]) -> Result<()> {
    // Of each stage: whether all that it reaches is known to be free of circles.
    let mut done = vec![false; stages.len()];
    for start in 0..stages.len() {
        let mut path = vec![start];
        let mut pending: Vec<Vec<(usize, RangeInclusive<u32>)>> = vec![neighbours(stages, start)];
        while let Some(next) = pending.last_mut() {
            match next.pop() {
                None => {
                    pending.pop();
                    done[path.pop().unwrap_or(start)] = true;
                }
                Some((stage, lines)) if path.contains(&stage) => {
                    let name = stages[start].name.clone();
                    let name = name.unwrap_or_else(|| format!("stage-{start}"));
                    let what = format!("circular dependency detected on stage: {name}");
                    return Err(Complaint::new(what).at(&lines));
                }
                Some((stage, _)) if done[stage] => {}
                Some((stage, _)) => {
                    path.push(stage);
                    pending.push(neighbours(stages, stage));
                }
            }
        }
    }
    Ok(())
}

fn neighbours(stages: &[Surveyed], index: usize) -> Vec<(usize, RangeInclusive<u32>)> {
    let asked = asked(&stages[index]).map(|(stage, lines)| (stage, lines.clone()));
    asked.collect()
}

fn reachable(stages: &[Surveyed], target: usize) -> BTreeSet<usize> {
    let mut reachable = BTreeSet::new();
    let mut pending = vec![target];
    while let Some(index) = pending.pop() {
        if !reachable.insert(index) {
            continue;
        }
        if let Base::Stage(base) = stages[index].base {
            pending.push(base);
        }
        pending.extend(asked(&stages[index]).map(|(stage, _)| stage));
    }
    reachable
}

fn unknown(stages: &[Surveyed], reachable: &BTreeSet<usize>, known: &Known) -> Vec<Needed> {
    let mut needed: Vec<Needed> = Vec::new();
    let mut add = |origin: &Origin, lines: &RangeInclusive<u32>, is_base: bool| {
        let seen = needed.iter_mut().find(|one| one.origin == *origin);
        match seen {
            Some(one) => one.is_base |= is_base,
            None if known.contains_key(origin) => {}
            None => needed.push(Needed {
                origin: origin.clone(),
                lines: lines.clone(),
                is_base,
            }),
        }
    };
    for stage in reachable.iter().map(|index| &stages[*index]) {
        if let Base::Origin(origin) = &stage.base {
            add(origin, &stage.node.lines, true);
        }
        for asking in &stage.steps {
            for source in asking.sources.iter().flatten() {
                if let Source::Origin(origin) = source {
                    add(origin, &asking.step.node.lines, false);
                }
            }
        }
    }
    needed
}

fn check_default_bases(file: &Dockerfile, inputs: &Inputs, lint: &mut Lint) {
    let Ok(globals) = scope::globals(file, inputs, false) else {
        return;
    };
    for stage in &file.stages {
        let expanded = globals
            .scope
            .expand(&stage.from.base, file.directives.escape);
        if let Ok(expanded) = expanded {
            lint::check_default_base(stage, &expanded.text, lint);
        }
    }
}
