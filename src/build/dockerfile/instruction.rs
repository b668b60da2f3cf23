//! Nodes → instructions: which there are, what they may be told, and what is wrong with them. Words
//! keep their `$variables`.

use super::{
    Complaint, Node, Result,
    nodes::{Heredoc, triggered},
    run_flags::{self, Network, Security},
    words,
};

/// One instruction of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    Add(Copying),
    Arg(Vec<Argument>),
    Cmd(CommandLine),
    Copy(Copying),
    Entrypoint(CommandLine),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    Healthcheck(Health),
    Label(Vec<(String, String)>),
    Maintainer(String),
    /// The trigger as it is written into the image.
    Onbuild(String),
    Run(Running),
    Shell(Vec<String>),
    Stopsignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// The beginning of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    pub platform: Option<String>,
    /// An image, an earlier stage, a named context or `scratch`.
    pub base: String,
    pub name: Option<String>,
}

/// What is executed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// By the shell of the stage ([`Instruction::Shell`]).
    Shell(String),
    /// These very words.
    Exec(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub default: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub command: CommandLine,
    pub heredocs: Vec<Heredoc>,
    /// Values of `--mount`, see [`run_flags::Mount`].
    pub mounts: Vec<String>,
    pub network: Network,
    pub security: Security,
}

/// COPY and ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copying {
    pub sources: Vec<Copied>,
    pub destination: String,
    /// A stage, an image or a named context, for COPY.
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    /// A layer of its own that asks nothing of those below.
    pub link: bool,
    pub parents: bool,
    pub excludes: Vec<String>,
    /// Of a remote source of ADD.
    pub checksum: Option<String>,
    pub keep_git_dir: Option<bool>,
    /// Whether ADD takes archives apart: local ones unless it is said, remote ones only then.
    pub unpack: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copied {
    /// A path or pattern in the context, or what ADD fetches.
    Named(String),
    /// Written into the Dockerfile.
    Heredoc(Heredoc),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    None,
    Command {
        command: CommandLine,
        /// `interval`, `timeout`, `start-period`, `start-interval`: Go's durations, as written.
        times: Vec<(&'static str, String)>,
        retries: Option<u32>,
    },
}

/// An instruction in a stage: not FROM.
///
/// # Errors
/// What is wrong with it, at the lines of the node.
pub fn instruction(node: &Node, escape: char) -> Result<Instruction> {
    typed(node, escape).map_err(|complaint| complaint.at(&node.lines))
}

/// # Errors
/// What is wrong with it, at the lines of the node.
pub fn from(node: &Node) -> Result<From> {
    let read = || {
        let mut flags = Flags::of(node);
        let platform = flags.text("platform")?;
        flags.end()?;
        let words: Vec<&str> = node.rest.split_whitespace().collect();
        let (base, name) = match words[..] {
            [base] => (base, None),
            [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => (base, Some(name)),
            _ => {
                let what = "FROM requires either one or three arguments";
                return Err(Complaint::new(what).with_hint("FROM <base> [AS <name>]"));
            }
        };
        let name = name.map(stage_name).transpose()?;
        let base = base.to_owned();
        Ok(From {
            platform,
            base,
            name,
        })
    };
    read().map_err(|complaint| complaint.at(&node.lines))
}

/// Stages are called without regard to case.
fn stage_name(name: &str) -> Result<String> {
    let lower = name.to_lowercase();
    let letters = |rest: &str| {
        rest.chars().all(|letter| {
            letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_.".contains(letter)
        })
    };
    let fits = lower.starts_with(|first: char| first.is_ascii_lowercase()) && letters(&lower);
    match fits {
        true => Ok(lower),
        false => Err(Complaint::new(format!(
            "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
        ))
        .about(name)),
    }
}

fn typed(node: &Node, escape: char) -> Result<Instruction> {
    let keyword = node.keyword.to_ascii_uppercase();
    let mut flags = Flags::of(node);
    let instruction = match keyword.as_str() {
        "ADD" => Instruction::Add(copying(node, &mut flags, escape)?),
        "ARG" => Instruction::Arg(arguments(node, escape)?),
        "CMD" => Instruction::Cmd(command_line(&node.rest)?),
        "COPY" => Instruction::Copy(copying(node, &mut flags, escape)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command_line(&node.rest)?),
        "ENV" => Instruction::Env(pairs(node, escape)?),
        "EXPOSE" => {
            let mut ports = at_least_one(node, node.rest.split_whitespace())?;
            ports.sort();
            Instruction::Expose(ports)
        }
        "FROM" => return Err(Complaint::new("FROM begins a stage").about(&node.keyword)),
        "HEALTHCHECK" => Instruction::Healthcheck(health(node, &mut flags)?),
        "LABEL" => Instruction::Label(pairs(node, escape)?),
        "MAINTAINER" => Instruction::Maintainer(exactly_one(node)?),
        "ONBUILD" => Instruction::Onbuild(onbuild(node, escape)?),
        "RUN" => Instruction::Run(running(node, &mut flags)?),
        "SHELL" => match array(&node.rest)? {
            Some(words) if !words.is_empty() => Instruction::Shell(words),
            Some(_) => return Err(Complaint::new("SHELL requires at least one argument")),
            None => {
                let what = "SHELL requires the arguments to be in JSON form";
                return Err(Complaint::new(what).with_hint(r#"SHELL ["/bin/sh", "-c"]"#));
            }
        },
        "STOPSIGNAL" => Instruction::Stopsignal(exactly_one(node)?),
        "USER" => Instruction::User(exactly_one(node)?),
        "VOLUME" => Instruction::Volume(volumes(node)?),
        "WORKDIR" => Instruction::Workdir(exactly_one(node)?),
        _ => return Err(unknown("instruction", &node.keyword, KEYWORDS)),
    };
    flags.end()?;
    Ok(instruction)
}

pub const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn unknown(what: &str, word: &str, known: &[&str]) -> Complaint {
    Complaint::new(format!("unknown {what}: {word}"))
        .about(word)
        .or_nearest(word, known.iter().copied())
}

/// The flags of one instruction; each is taken by who knows it, and none may be left.
struct Flags<'a> {
    keyword: &'a str,
    left: Vec<(&'a str, Option<&'a str>)>,
    known: Vec<&'static str>,
}

impl<'a> Flags<'a> {
    fn of(node: &'a Node) -> Self {
        let split = |flag: &'a String| {
            let flag = flag.trim_start_matches("--");
            match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            }
        };
        Flags {
            keyword: &node.keyword,
            left: node.flags.iter().map(split).collect(),
            known: Vec::new(),
        }
    }

    fn take(&mut self, name: &'static str) -> Vec<Option<&'a str>> {
        self.known.push(name);
        let (taken, left) = self.left.drain(..).partition(|(flag, _)| *flag == name);
        self.left = left;
        let taken: Vec<(&str, Option<&str>)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    fn texts(&mut self, name: &'static str) -> Result<Vec<String>> {
        let wanted = |value: Option<&str>| {
            value.map(str::to_owned).ok_or_else(|| {
                Complaint::new(format!("missing a value on flag: {name}"))
                    .about(format!("--{name}"))
            })
        };
        self.take(name).into_iter().map(wanted).collect()
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        let mut texts = self.texts(name)?;
        let text = texts.pop();
        match texts.is_empty() {
            true => Ok(text.filter(|text| !text.is_empty())),
            false => Err(duplicate(name)),
        }
    }

    fn boolean(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name)[..] {
            [] => Ok(None),
            [None] => Ok(Some(true)),
            [Some(value)] => match value.to_ascii_lowercase().as_str() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => {
                    let what = format!("expecting boolean value for flag {name}, not: {value}");
                    Err(Complaint::new(what).about(value))
                }
            },
            _ => Err(duplicate(name)),
        }
    }

    fn end(self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some((flag, _)) if self.known.is_empty() => Err(Complaint::new(format!(
                "{} takes no flags",
                self.keyword.to_ascii_uppercase()
            ))
            .about(format!("--{flag}"))),
            Some((flag, _)) => Err(unknown("flag", flag, &self.known)),
        }
    }
}

fn duplicate(name: &str) -> Complaint {
    Complaint::new(format!("duplicate flag specified: {name}")).about(format!("--{name}"))
}

/// The words of a JSON array; none if it is something else.
fn array(text: &str) -> Result<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Err(_) => Ok(None),
        Ok(values) => {
            let words = values.into_iter().map(|value| match value {
                serde_json::Value::String(word) => Ok(word),
                other => Err(Complaint::new(
                    "when using JSON array syntax, arrays must be comprised of strings only",
                )
                .about(other.to_string())),
            });
            Ok(Some(words.collect::<Result<_>>()?))
        }
    }
}

fn command_line(text: &str) -> Result<CommandLine> {
    Ok(match array(text)? {
        Some(words) => CommandLine::Exec(words),
        None => CommandLine::Shell(text.to_owned()),
    })
}

/// An array or words.
fn listed(text: &str) -> Result<Vec<String>> {
    Ok(match array(text)? {
        Some(words) => words,
        None => text.split_whitespace().map(str::to_owned).collect(),
    })
}

fn exactly_one(node: &Node) -> Result<String> {
    match node.rest.is_empty() {
        false => Ok(node.rest.clone()),
        true => Err(Complaint::new(format!(
            "{} requires exactly one argument",
            node.keyword.to_ascii_uppercase()
        ))),
    }
}

fn at_least_one<'a>(node: &Node, words: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let words: Vec<String> = words.map(str::to_owned).collect();
    match words.is_empty() {
        false => Ok(words),
        true => Err(Complaint::new(format!(
            "{} requires at least one argument",
            node.keyword.to_ascii_uppercase()
        ))),
    }
}

fn volumes(node: &Node) -> Result<Vec<String>> {
    let volumes = listed(&node.rest)?;
    match volumes.iter().any(|volume| volume.trim().is_empty()) {
        true => Err(Complaint::new(
            "VOLUME specified can not be an empty string",
        )),
        false => at_least_one(node, volumes.iter().map(String::as_str)),
    }
}

fn arguments(node: &Node, escape: char) -> Result<Vec<Argument>> {
    let words = words::split(&node.rest, escape);
    at_least_one(node, words.iter().map(String::as_str))?;
    let argument = |word: &String| {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (word.as_str(), None),
        };
        match name.is_empty() {
            true => Err(Complaint::new("ARG names can not be blank").about(word.as_str())),
            false => Ok(Argument {
                name: name.to_owned(),
                default,
            }),
        }
    };
    words.iter().map(argument).collect()
}

/// `name=value …`, or in the old form one name, blanks and a value.
fn pairs(node: &Node, escape: char) -> Result<Vec<(String, String)>> {
    let keyword = node.keyword.to_ascii_uppercase();
    let words = words::split(&node.rest, escape);
    let Some(first) = words.first() else {
        return Err(Complaint::new(format!(
            "{keyword} requires at least one argument"
        )));
    };
    if !first.contains('=') {
        let (name, value) = node
            .rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| Complaint::new(format!("{keyword} must have two arguments")))?;
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => {
            Err(Complaint::new(format!("{keyword} names can not be blank")).about(word.as_str()))
        }
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Complaint::new(format!(
            "can't find = in {word:?}: it must be of the form name=value"
        ))
        .about(word.as_str())),
    };
    words.iter().map(pair).collect()
}

fn copying(node: &Node, flags: &mut Flags<'_>, escape: char) -> Result<Copying> {
    let is_add = node.is("ADD");
    let mut copying = Copying {
        chown: flags.text("chown")?,
        chmod: flags.text("chmod")?,
        link: flags.boolean("link")?.unwrap_or(false),
        excludes: flags.texts("exclude")?,
        ..Copying::default()
    };
    if is_add {
        copying.checksum = flags.text("checksum")?;
        copying.keep_git_dir = flags.boolean("keep-git-dir")?;
        copying.unpack = flags.boolean("unpack")?;
    } else {
        copying.from = flags.text("from")?;
        copying.parents = flags.boolean("parents")?.unwrap_or(false);
    }
    let mut words = listed(&node.rest)?;
    let keyword = node.keyword.to_ascii_uppercase();
    let destination = words.pop().filter(|_| !words.is_empty());
    copying.destination = destination.ok_or_else(|| {
        let what = format!("{keyword} requires at least two arguments");
        Complaint::new(what).with_hint(format!("{keyword} <source>... <destination>"))
    })?;
    if copying.destination.is_empty() {
        return Err(Complaint::new(format!(
            "{keyword} requires a destination that is not empty"
        )));
    }
    let mut documents = node.heredocs.iter();
    for word in words {
        let document = match words::heredoc(&word, escape) {
            Ok(Some(_)) => documents.next(),
            _ => None,
        };
        copying.sources.push(match document {
            Some(document) => Copied::Heredoc(document.clone()),
            None => Copied::Named(word),
        });
    }
    if documents.next().is_some() {
        let what = format!("{keyword} cannot accept a heredoc as a destination");
        return Err(Complaint::new(what).about(&copying.destination));
    }
    Ok(copying)
}

fn running(node: &Node, flags: &mut Flags<'_>) -> Result<Running> {
    let mounts = flags.texts("mount")?;
    for mount in &mounts {
        run_flags::mount_source(mount)?;
    }
    for mount in mounts.iter().filter(|mount| !mount.contains('$')) {
        run_flags::mount(mount, &mut |value| Ok(value.to_owned()))?;
    }
    let network = flags.text("network")?.unwrap_or_default();
    let security = flags.text("security")?.unwrap_or_default();
    let running = Running {
        command: command_line(&node.rest)?,
        heredocs: node.heredocs.clone(),
        mounts,
        network: network.parse()?,
        security: security.parse()?,
    };
    let is_nothing = match &running.command {
        CommandLine::Shell(line) => line.is_empty(),
        CommandLine::Exec(words) => words.is_empty(),
    };
    match is_nothing {
        true => Err(Complaint::new("RUN requires at least one argument")),
        false => Ok(running),
    }
}

fn health(node: &Node, flags: &mut Flags<'_>) -> Result<Health> {
    let mut times = Vec::new();
    for name in ["interval", "timeout", "start-period", "start-interval"] {
        times.extend(flags.text(name)?.map(|value| (name, value)));
    }
    let retries = flags.text("retries")?;
    let retries = retries
        .map(|text| match text.parse::<i32>() {
            Ok(number) => {
                u32::try_from(number).map_err(|_| format!("--retries cannot be negative ({text})"))
            }
            Err(_) => Err(format!("--retries is no number: {text}")),
        })
        .transpose()
        .map_err(|what| Complaint::new(what).about("--retries"))?;
    let (kind, rest) = node
        .rest
        .split_once(char::is_whitespace)
        .unwrap_or((&node.rest, ""));
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(Complaint::new("HEALTHCHECK requires at least one argument")),
        "NONE" if rest.trim().is_empty() => Ok(Health::None),
        "NONE" => Err(Complaint::new("HEALTHCHECK NONE takes no arguments")),
        "CMD" => {
            let command = command_line(rest.trim())?;
            let nothing = match &command {
                CommandLine::Shell(line) => line.is_empty(),
                CommandLine::Exec(words) => words.is_empty(),
            };
            match nothing {
                true => Err(Complaint::new("missing command after HEALTHCHECK CMD")),
                false => Ok(Health::Command {
                    command,
                    times,
                    retries,
                }),
            }
        }
        _ => Err(
            Complaint::new(format!("unknown type {kind:?} in HEALTHCHECK (try CMD)")).about(kind),
        ),
    }
}

fn onbuild(node: &Node, escape: char) -> Result<String> {
    let trigger = triggered(node);
    match trigger.keyword.to_ascii_uppercase().as_str() {
        "" => return Err(Complaint::new("ONBUILD requires at least one argument")),
        "ONBUILD" => {
            let what = "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
            return Err(Complaint::new(what));
        }
        keyword @ ("FROM" | "MAINTAINER") => {
            return Err(
                Complaint::new(format!("{keyword} isn't allowed as an ONBUILD trigger"))
                    .about(&trigger.keyword),
            );
        }
        _ => {}
    }
    typed(&trigger, escape)?;
    let mut text = node.rest.clone();
    for document in &node.heredocs {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    Ok(text)
}
