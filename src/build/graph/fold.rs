//! One stage: its instructions in their order, each with what came before it.
//!
//! The state of a stage is the configuration of the image as it would be now, what variables are
//! worth, and which ARGs there were. A stage that begins with another one has its state.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Base, Inputs, Known, Operation, Origin, Stage, Step, copying, running,
    scope::Scope,
    shown,
    survey::{Asking, Survey, Surveyed},
};
use crate::{
    build::{
        dockerfile::{
            Complaint, Dockerfile, Instruction, Node, Result,
            instruction::{Argument, CommandLine, Health},
            visible,
            words::{Expanded, Reading, Variables},
        },
        ignore::Ignore,
        lint::{self, Lint, OutlineArgument},
    },
    model::{
        Platform,
        health::HealthConfig,
        human,
        image::{History, ImageConfig, ProcessDefaults, RootFs},
        signal::parse_signal,
    },
};

const COMMENT: &str = "buildkit.dockerfile.v0";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// What all stages know.
pub(super) struct Shared<'a> {
    pub inputs: &'a Inputs,
    pub ignore: Option<&'a Ignore>,
    file: &'a Dockerfile,
    known: &'a Known,
    survey: &'a Survey,
}

/// What a stage leaves to those that begin with it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub config: ImageConfig,
    pub scope: Scope,
    /// ARGs; some have no value.
    arguments: Vec<(String, Option<String>)>,
    has_workdir: bool,
}

pub(super) struct Fold<'a> {
    pub shared: &'a Shared<'a>,
    pub state: State,
    pub lint: &'a mut Lint,
    index: usize,
    stage: &'a Surveyed,
    steps: Vec<Step>,
    /// Steps that have something to do: so far, and all.
    number: usize,
    total: usize,
    has_cmd: bool,
    argued: Vec<Argued>,
}

/// An ARG of a stage.
pub(super) struct Argued {
    pub shown: OutlineArgument,
    /// Its value is the global one's.
    pub is_import: bool,
}

pub(super) fn stages(
    file: &Dockerfile,
    inputs: &Inputs,
    known: &Known,
    survey: &Survey,
    ignore: Option<&Ignore>,
    lint: &mut Lint,
) -> Result<(BTreeMap<usize, Stage>, Vec<Argued>)> {
    let shared = Shared {
        inputs,
        ignore,
        file,
        known,
        survey,
    };
    let mut states: BTreeMap<usize, State> = BTreeMap::new();
    let mut stages = BTreeMap::new();
    let mut argued = Vec::new();
    for index in survey.reachable.iter().copied() {
        let surveyed = &survey.stages[index];
        let begun =
            begin(&shared, surveyed, &states).map_err(|fault| fault.at(&surveyed.node.lines))?;
        let does = |asking: &&Asking| does_something(&asking.step.instruction);
        let fetched = usize::from(matches!(surveyed.base, Base::Origin(_)));
        let mut fold = Fold {
            shared: &shared,
            state: begun,
            lint: &mut *lint,
            index,
            stage: surveyed,
            steps: Vec::new(),
            number: 0,
            total: fetched + surveyed.steps.iter().filter(does).count(),
            has_cmd: false,
            argued: Vec::new(),
        };
        let (stage, state) = fold.stage()?;
        argued.append(&mut fold.argued);
        stages.insert(index, stage);
        states.insert(index, state);
    }
    Ok((stages, argued))
}

fn does_something(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_)
    )
}

fn begin(shared: &Shared<'_>, stage: &Surveyed, states: &BTreeMap<usize, State>) -> Result<State> {
    let mut state = match &stage.base {
        Base::Scratch => State {
            config: empty(&stage.platform),
            ..State::default()
        },
        Base::Stage(index) => states.get(index).cloned().unwrap_or_default(),
        Base::Origin(origin) => {
            let known = shared.known.get(origin);
            let unknown = || Complaint::new(format!("{} was not fetched", name_of(origin)));
            let mut config = known.ok_or_else(unknown)?.clone();
            if config.architecture.is_empty() {
                config = ImageConfig {
                    config: config.config,
                    history: config.history,
                    ..empty(&stage.platform)
                };
            }
            config.created = None;
            State {
                config,
                ..State::default()
            }
        }
    };
    let defaults = state.config.config.get_or_insert_default();
    defaults.extra.remove("OnBuild");
    let env = defaults.env.get_or_insert_default();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(PATH.to_owned());
    }
    for variable in env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        state.scope.set(name, value);
    }
    if let Some(workdir) = &defaults.working_dir {
        defaults.working_dir = Some(clean("/", workdir));
    }
    Ok(state)
}

fn empty(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        os: platform.os.clone(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        },
        ..ImageConfig::default()
    }
}

fn name_of(origin: &Origin) -> String {
    match origin {
        Origin::Image { reference, .. } => reference.to_string(),
        Origin::Context { name, .. } => format!("context {name}"),
    }
}

/// Triggers of an image.
pub(super) fn onbuild(config: &ImageConfig) -> Vec<String> {
    let triggers = config
        .config
        .as_ref()
        .and_then(|defaults| defaults.extra.get("OnBuild"));
    let triggers = triggers.and_then(Value::as_array).into_iter().flatten();
    triggers
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// An absolute path without `.`, `..` and slashes that mean nothing; with an empty `root`, one that is
/// as absolute as it was.
pub(super) fn clean(root: &str, path: &str) -> String {
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{root}/{path}"),
    };
    let is_absolute = path.starts_with('/') || root.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if is_absolute {
        format!("/{joined}")
    } else {
        joined
    }
}

impl Fold<'_> {
    fn stage(&mut self) -> Result<(Stage, State)> {
        let stage = self.stage;
        let label = self.base_label();
        for asking in &stage.steps {
            let lines = &asking.step.node.lines;
            self.step(asking).map_err(|fault| fault.at(lines))?;
        }
        let inputs = self.shared.inputs;
        let is_target = self.index == self.shared.survey.target;
        if is_target {
            self.finish();
        }
        let filtered = stage.name.iter().any(|name| {
            let mut filter = inputs.no_cache_filter.iter();
            filter.any(|one| one.eq_ignore_ascii_case(name))
        });
        let result = Stage {
            name: stage
                .name
                .clone()
                .unwrap_or_else(|| format!("stage-{}", self.index)),
            platform: stage.platform.clone(),
            base: stage.base.clone(),
            label,
            lines: stage.node.lines.clone(),
            steps: std::mem::take(&mut self.steps),
            config: self.state.config.clone(),
            no_cache: inputs.no_cache || filtered,
        };
        Ok((result, std::mem::take(&mut self.state)))
    }

    /// What only the image that is asked for has.
    fn finish(&mut self) {
        let inputs = self.shared.inputs;
        if !inputs.labels.is_empty() {
            let labels = self.defaults_mut().labels.get_or_insert_default();
            labels.extend(inputs.labels.clone());
        }
        if inputs.platform_is_asked {
            let config = &mut self.state.config;
            config.os.clone_from(&inputs.platform.os);
            config
                .architecture
                .clone_from(&inputs.platform.architecture);
            config.variant.clone_from(&inputs.platform.variant);
        }
    }

    fn base_label(&mut self) -> Option<String> {
        let Base::Origin(origin) = &self.stage.base else {
            return None;
        };
        if let (Origin::Image { platform, .. }, Some(config)) =
            (origin, self.shared.known.get(origin))
            && !config.architecture.is_empty()
        {
            lint::check_base_platform(
                &self.stage.node,
                &self.stage.base_name,
                platform,
                &config.platform(),
                self.lint,
            );
        }
        Some(self.label(false, &format!("FROM {}", name_of(origin))))
    }

    fn label(&mut self, is_trigger: bool, text: &str) -> String {
        self.number += 1;
        let platform = self.shared.inputs.many_platforms.then(|| {
            let own = &self.stage.platform;
            match self.state.scope.get("TARGETARCH") {
                Some(target) if target != own.architecture => format!("{own}->{target}"),
                _ => own.to_string(),
            }
        });
        let name = self.shared.survey.shown_name(self.index);
        let prefix = shown::prefix(platform.as_deref(), &name, self.number, self.total);
        let onbuild = if is_trigger { "ONBUILD " } else { "" };
        visible(&format!("{prefix}{onbuild}{text}"))
    }

    /// Of an instruction, as it was written, with its variables.
    fn step_label(&mut self, asking: &Asking, reading: Reading) -> String {
        let escape = self.escape();
        let text = match &asking.step.instruction {
            Instruction::Run(run) => running::shown_command(run, &asking.step.node.text),
            _ => asking.step.node.text.clone(),
        };
        let mut scope = Cow::Borrowed(&self.state.scope);
        if let Instruction::Run(run) = &asking.step.instruction {
            for name in running::secret_variables(run) {
                scope.to_mut().set(&name, "****");
            }
        }
        let text = scope.shown(reading, &text, escape);
        self.label(asking.is_trigger, &shown::shouted(&text))
    }

    fn escape(&self) -> char {
        self.shared.file.directives.escape
    }

    pub fn defaults(&self) -> ProcessDefaults {
        self.state.config.config.clone().unwrap_or_default()
    }

    fn defaults_mut(&mut self) -> &mut ProcessDefaults {
        self.state.config.config.get_or_insert_default()
    }

    /// An absolute path; relative ones begin at the working directory.
    pub fn below_workdir(&self, path: &str) -> String {
        let config = self.state.config.config.as_ref();
        let workdir = config.and_then(|config| config.working_dir.as_deref());
        clean(workdir.unwrap_or("/"), path)
    }

    /// Caches of one name are one, but in another namespace.
    pub fn cache_id(&self, id: String) -> String {
        let args = &self.shared.inputs.build_args;
        match args.get("BUILDKIT_CACHE_MOUNT_NS") {
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{id}"),
            _ => id,
        }
    }

    /// What executes lines.
    pub fn shell(&self) -> Vec<String> {
        self.own_shell()
            .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
    }

    fn own_shell(&self) -> Option<Vec<String>> {
        let shell = self.state.config.config.as_ref()?.extra.get("Shell")?;
        let shell: Vec<String> = serde_json::from_value(shell.clone()).ok()?;
        (!shell.is_empty()).then_some(shell)
    }

    /// Expands a word.
    pub fn word(&mut self, node: &Node, text: &str) -> Result<String> {
        let expanded = self.state.scope.expand(text, self.escape())?;
        self.check_variables(node, &expanded);
        Ok(expanded.text)
    }

    pub fn check_variables(&mut self, node: &Node, expanded: &Expanded) {
        let arguments = self.state.arguments.iter();
        let declared: BTreeSet<&str> = arguments.map(|(name, _)| name.as_str()).collect();
        let known: Vec<&str> = self.state.scope.names().collect();
        lint::check_variables(node, expanded, &declared, known.into_iter(), self.lint);
    }

    /// `NAME=VALUE` of ARGs, as they are worth now.
    pub fn argument_values(&self) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for (name, value) in &self.state.arguments {
            let value = self.state.scope.get(name).or(value.as_deref());
            if seen.insert(name) {
                values.push(format!("{name}={}", value.unwrap_or_default()));
            }
        }
        values
    }

    /// A stage can only be asked once it is done.
    pub fn must_be_above(&self, index: usize, written: &str, verb: &str) -> Result<()> {
        if index < self.index {
            return Ok(());
        }
        let own = self.stage.name.clone();
        let own = own.unwrap_or_else(|| format!("stage-{}", self.index));
        let what = format!(
            "cannot {verb} from stage {written:?}, it needs to be defined before current stage {own:?}"
        );
        Err(Complaint::new(what).about(written))
    }

    fn history(&mut self, created_by: String, is_layer: bool) -> usize {
        let history = self.state.config.history.get_or_insert_default();
        history.push(History {
            created_by: Some(created_by),
            comment: Some(COMMENT.to_owned()),
            empty_layer: !is_layer,
            ..History::default()
        });
        history.len() - 1
    }

    fn done(&mut self, asking: &Asking, label: Option<String>, operation: Operation, told: String) {
        let is_layer = operation != Operation::None;
        let history = Some(self.history(told, is_layer));
        self.steps.push(Step {
            label,
            lines: asking.step.node.lines.clone(),
            operation,
            history,
        });
    }

    fn step(&mut self, asking: &Asking) -> Result<()> {
        match &asking.step.instruction {
            Instruction::Run(run) => {
                let label = self.step_label(asking, Reading::Shown);
                let step = running::run(self, run, asking)?;
                let told = running::created_by(self, &step.argv);
                self.done(asking, Some(label), Operation::Run(Box::new(step)), told);
            }
            Instruction::Copy(copy) | Instruction::Add(copy) => {
                let label = self.step_label(asking, Reading::Word);
                let (step, told) = copying::copy(self, copy, asking)?;
                self.done(asking, Some(label), Operation::Copy(Box::new(step)), told);
            }
            Instruction::Workdir(path) => self.workdir(asking, path)?,
            Instruction::Onbuild(trigger) => {
                let triggers = self.defaults_mut().extra.entry("OnBuild".to_owned());
                if let Value::Array(triggers) = triggers.or_insert_with(|| json!([])) {
                    triggers.push(json!(trigger));
                }
                self.steps.push(Step {
                    label: None,
                    lines: asking.step.node.lines.clone(),
                    operation: Operation::None,
                    history: None,
                });
            }
            _ => {
                let told = self.metadata(asking)?;
                self.done(asking, None, Operation::None, told);
            }
        }
        Ok(())
    }

    fn workdir(&mut self, asking: &Asking, path: &str) -> Result<()> {
        let node = &asking.step.node;
        let path = self.word(node, path)?;
        if !self.state.has_workdir && !path.starts_with('/') {
            lint::check_workdir(node, &path, self.lint);
        }
        self.state.has_workdir = true;
        let path = self.below_workdir(&path);
        self.defaults_mut().working_dir = Some(path.clone());
        let told = format!("WORKDIR {path}");
        if path == "/" {
            self.done(asking, None, Operation::None, told);
            return Ok(());
        }
        let label = self.step_label(asking, Reading::Word);
        let user = self.defaults().user.filter(|user| !user.is_empty());
        self.done(asking, Some(label), Operation::Workdir { path, user }, told);
        Ok(())
    }

    /// Instructions that only change the configuration; what the history says of each.
    fn metadata(&mut self, asking: &Asking) -> Result<String> {
        let node = &asking.step.node;
        Ok(match &asking.step.instruction {
            Instruction::Arg(arguments) => self.arguments(node, arguments)?,
            Instruction::Env(pairs) => self.env(node, pairs)?,
            Instruction::Label(pairs) => {
                let pairs = self.pairs(node, pairs)?;
                let labels = self.defaults_mut().labels.get_or_insert_default();
                labels.extend(pairs.iter().cloned());
                format!("LABEL{}", told(&pairs))
            }
            Instruction::Maintainer(name) => {
                self.state.config.author = Some(name.clone());
                format!("MAINTAINER {name}")
            }
            Instruction::Cmd(line) => {
                self.has_cmd = true;
                let words = self.words(node, line);
                let told = format!("CMD {}", shown::quoted_list(&words));
                let defaults = self.defaults_mut();
                defaults.cmd = Some(words);
                defaults.extra.insert("ArgsEscaped".to_owned(), json!(true));
                told
            }
            Instruction::Entrypoint(line) => {
                let words = self.words(node, line);
                let told = format!("ENTRYPOINT {}", shown::quoted_list(&words));
                let has_cmd = self.has_cmd;
                let defaults = self.defaults_mut();
                defaults.entrypoint = Some(words).filter(|words| !words.is_empty());
                if !has_cmd {
                    defaults.cmd = None;
                }
                told
            }
            Instruction::Healthcheck(health) => {
                let health = health_config(health)?;
                let told = format!("HEALTHCHECK {}", told_health(&health));
                let value = serde_json::to_value(health).unwrap_or_default();
                self.defaults_mut()
                    .extra
                    .insert("Healthcheck".to_owned(), value);
                told
            }
            Instruction::Expose(ports) => self.expose(node, ports)?,
            Instruction::User(user) => {
                let user = self.word(node, user)?;
                self.defaults_mut().user = Some(user.clone());
                format!("USER {user}")
            }
            Instruction::Volume(volumes) => self.volumes(node, volumes)?,
            Instruction::Stopsignal(signal) => {
                let signal = self.word(node, signal)?;
                let wrong =
                    |_| Complaint::new(format!("invalid signal: {signal}")).about(signal.clone());
                parse_signal(&signal).map_err(wrong)?;
                self.defaults_mut().stop_signal = Some(signal.clone());
                format!("STOPSIGNAL {signal}")
            }
            Instruction::Shell(words) => {
                self.defaults_mut()
                    .extra
                    .insert("Shell".to_owned(), json!(words));
                format!("SHELL {}", shown::list(words))
            }
            Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Add(_)
            | Instruction::Workdir(_)
            | Instruction::Onbuild(_) => String::new(),
        })
    }

    fn arguments(&mut self, node: &Node, arguments: &[Argument]) -> Result<String> {
        let mut told = String::from("ARG");
        for Argument { name, default } in arguments {
            lint::check_secret(node, "ARG", name, self.lint);
            let given = self.shared.inputs.build_args.get(name).cloned();
            let globals = &self.shared.survey.globals;
            let is_import = default.is_none() && globals.scope.get(name).is_some();
            let value = match (given, default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.word(node, default)?),
                (None, None) => globals.scope.get(name).map(str::to_owned),
            };
            self.argued.push(Argued {
                shown: OutlineArgument {
                    name: name.clone(),
                    value: value.clone().unwrap_or_default(),
                    description: None,
                    line: *node.lines.start(),
                },
                is_import,
            });
            // These two speak to the builder.
            let is_heard = name.starts_with("BUILDKIT_SBOM_SCAN_");
            if let Some(value) = value.as_ref().filter(|_| !is_heard) {
                self.state.scope.set(name, value);
            }
            told += &format!(" {name}");
            told.extend(value.iter().map(|value| format!("={value}")));
            self.state.arguments.push((name.clone(), value));
        }
        Ok(told)
    }

    fn env(&mut self, node: &Node, pairs: &[(String, String)]) -> Result<String> {
        let pairs = self.pairs(node, pairs)?;
        for (name, value) in &pairs {
            lint::check_secret(node, "ENV", name, self.lint);
            self.state.scope.set(name, value);
            let env = self.defaults_mut().env.get_or_insert_default();
            let is_it = |variable: &&mut String| {
                let known = variable
                    .split_once('=')
                    .map_or(&***variable, |(known, _)| known);
                known == name
            };
            let variable = format!("{name}={value}");
            match env.iter_mut().find(is_it) {
                Some(old) => *old = variable,
                None => env.push(variable),
            }
        }
        Ok(format!("ENV{}", told(&pairs)))
    }

    /// All with the values from before the instruction.
    fn pairs(&mut self, node: &Node, pairs: &[(String, String)]) -> Result<Vec<(String, String)>> {
        let pair = |(name, value): &(String, String)| {
            Ok((self.word(node, name)?, self.word(node, value)?))
        };
        pairs.iter().map(pair).collect()
    }

    fn words(&mut self, node: &Node, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(line) => {
                if self.own_shell().is_none() {
                    lint::check_shell_form(node, self.lint);
                }
                let mut words = self.shell();
                words.push(line.clone());
                words
            }
        }
    }

    fn volumes(&mut self, node: &Node, written: &[String]) -> Result<String> {
        let volumes = written.iter().map(|volume| self.word(node, volume));
        let volumes = volumes.collect::<Result<Vec<_>>>()?;
        if volumes.iter().any(String::is_empty) {
            let what = "VOLUME specified can not be an empty string";
            return Err(Complaint::new(what));
        }
        let known = self.defaults_mut().volumes.get_or_insert_default();
        known.extend(volumes.iter().map(|volume| (volume.clone(), json!({}))));
        Ok(format!("VOLUME {}", shown::list(&volumes)))
    }

    fn expose(&mut self, node: &Node, written: &[String]) -> Result<String> {
        let mut ports = Vec::new();
        for text in written {
            let expanded = self.state.scope.expand(text, self.escape())?;
            self.check_variables(node, &expanded);
            for word in &expanded.words {
                lint::check_expose(node, word, self.lint);
                ports.extend(exposed(word)?);
            }
        }
        let known = self.defaults_mut().exposed_ports.get_or_insert_default();
        known.extend(ports.iter().map(|port| (port.clone(), json!({}))));
        Ok(format!("EXPOSE {}", shown::list(&ports)))
    }
}

fn told(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .map(|(name, value)| format!(" {name}={value}"))
        .collect()
}

/// `PORT[-PORT][/PROTOCOL]`, with an address and a port of the host in front that mean nothing.
fn exposed(text: &str) -> Result<Vec<String>> {
    let fault = |what: &str| Complaint::new(format!("{what}: {text}")).about(text);
    let port = text.rsplit_once(':').map_or(text, |(_, port)| port);
    let (ports, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        protocol @ ("tcp" | "udp" | "sctp") => protocol.to_owned(),
        other => return Err(Complaint::new(format!("invalid proto: {other}")).about(text)),
    };
    if ports.is_empty() {
        return Err(fault("no port specified"));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| {
        let plain = text.chars().all(|digit| digit.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| plain)
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first..=last)
            .map(|port| format!("{port}/{protocol}"))
            .collect()),
        _ => Err(Complaint::new(format!("invalid containerPort: {ports}")).about(text)),
    }
}

fn health_config(health: &Health) -> Result<HealthConfig> {
    let Health::Command {
        command,
        times,
        retries,
    } = health
    else {
        return Ok(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        });
    };
    let test = match command {
        CommandLine::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        CommandLine::Exec(words) => {
            let words = words.iter().cloned();
            std::iter::once("CMD".to_owned()).chain(words).collect()
        }
    };
    let mut config = HealthConfig {
        test: Some(test),
        retries: retries.map_or(0, i64::from),
        ..HealthConfig::default()
    };
    for (name, text) in times {
        let wrong = |error: crate::model::Error| Complaint::new(error.one_line()).about(text);
        let time = human::parse_duration(text).map_err(wrong)?;
        if time > Duration::ZERO && time < SHORTEST_INTERVAL {
            let what = format!("Interval {name:?} cannot be less than 1ms");
            return Err(Complaint::new(what).about(text));
        }
        let time = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        match *name {
            "interval" => config.interval = time,
            "timeout" => config.timeout = time,
            "start-period" => config.start_period = time,
            _ => config.start_interval = time,
        }
    }
    Ok(config)
}

fn told_health(health: &HealthConfig) -> String {
    let time = |nanoseconds: i64| {
        let nanoseconds = u64::try_from(nanoseconds).unwrap_or_default();
        human::go_duration(Duration::from_nanos(nanoseconds))
    };
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        shown::list(health.test.as_deref().unwrap_or_default()),
        time(health.interval),
        time(health.timeout),
        time(health.start_period),
        time(health.start_interval),
        health.retries
    )
}
