//! Containers that are named otherwise than by arguments: all, those that fit, the newest one, or
//! those of files.

use std::{fs, path::PathBuf};

use clap::{ArgMatches, Args, parser::ValueSource};

use super::{Session, failure::Failure, ps, verb::wrong_count};
use crate::{
    engine::ContainerSummary,
    model::{Context, ErrorKind, container::ContainerState},
};

/// For commands on containers that are there, whatever they do.
#[derive(Args)]
pub struct ChosenFlags {
    /// The container whose ID is in this file, too
    #[arg(long, value_name = "file")]
    cidfile: Vec<PathBuf>,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
}

/// Whether flags say which containers are meant, so that there need not be a name.
pub fn is_by_flags(flags: &ArgMatches) -> bool {
    let given = |flag| {
        flags.try_contains_id(flag).is_ok()
            && flags.value_source(flag) == Some(ValueSource::CommandLine)
    };
    ["all", "filter", "latest", "cidfile", "running"]
        .into_iter()
        .any(given)
}

/// What a command's flags say instead of names. Commands have different ones of them.
#[derive(Default)]
pub struct Choice<'a> {
    /// All containers that the command is for.
    pub all: bool,
    /// Those of them that fit.
    pub filters: &'a [String],
    pub cidfiles: &'a [PathBuf],
    pub latest: bool,
    /// A file that is not there is no error.
    pub ignore: bool,
}

impl ChosenFlags {
    /// Whether there need not be a name among the arguments.
    pub fn any(&self) -> bool {
        self.latest || !self.cidfile.is_empty()
    }

    pub fn choice(&self) -> Choice<'_> {
        Choice {
            cidfiles: &self.cidfile,
            latest: self.latest,
            ..Choice::default()
        }
    }

    /// Of `command`: the names that stand for the flags, before those that are given.
    pub fn names(
        &self,
        session: &Session,
        command: &str,
        given: Vec<String>,
    ) -> Result<Vec<String>, Failure> {
        self.choice().names(session, command, given, |_| true)
    }

    /// Of `command`, which acts on one container with words behind its name.
    pub fn one(
        &self,
        session: &Session,
        command: &str,
        words: &mut Vec<String>,
    ) -> Result<String, Failure> {
        let given = if self.any() {
            Vec::new()
        } else {
            words.drain(..words.len().min(1)).collect()
        };
        let mut names = self.names(session, command, given)?;
        if names.len() > 1 {
            return Err(conflict(
                "--latest and --cidfile name more than one container",
            ));
        }
        Ok(names.remove(0))
    }
}

impl Choice<'_> {
    /// Of `command`: the names to act on, as they were typed, then whole IDs for the flags. `fit`
    /// says which containers `--all` and `--filter` are about.
    pub fn names(
        &self,
        session: &Session,
        command: &str,
        given: Vec<String>,
        fit: impl Fn(&ContainerSummary) -> bool,
    ) -> Result<Vec<String>, Failure> {
        let by_state = self.all || !self.filters.is_empty();
        if by_state && (self.latest || !self.cidfiles.is_empty()) {
            return Err(conflict(
                "--all and --filter do not go with --latest and --cidfile",
            ));
        }
        if by_state && !given.is_empty() {
            return Err(conflict("--all and --filter take no names"));
        }
        if self.latest && !given.is_empty() {
            return Err(conflict("--latest and the name of a container"));
        }
        if by_state {
            let fitting = ps::fitting(session.engine()?, self.filters)?;
            let fitting = fitting.iter().filter(|container| fit(container));
            return Ok(fitting.map(|container| container.id.to_string()).collect());
        }
        let mut names = self.of_files()?;
        if self.latest {
            let all = session.engine()?.containers(true, false)?;
            let newest = all.first();
            let newest =
                newest.ok_or_else(|| Failure::Plain("there is no container".to_owned(), 1))?;
            names.push(newest.id.to_string());
        }
        names.extend(given);
        if names.is_empty() && self.cidfiles.is_empty() {
            return Err(wrong_count(command, "requires at least 1 argument"));
        }
        Ok(names)
    }

    fn of_files(&self) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for path in self.cidfiles {
            let text = match fs::read_to_string(path) {
                Err(error) if self.ignore && error.kind() == std::io::ErrorKind::NotFound => {
                    continue;
                }
                read => read.context(ErrorKind::InvalidArgument, || {
                    format!("cannot read container ID file {}", path.display())
                })?,
            };
            let id = text.split_whitespace().next();
            let id = id.ok_or_else(|| {
                let text = format!("there is no container ID in {}", path.display());
                Failure::Plain(text, 1)
            })?;
            names.push(id.to_owned());
        }
        Ok(names)
    }
}

/// What `--all` is about for commands that end something.
pub fn is_up(container: &ContainerSummary) -> bool {
    matches!(
        container.state,
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
    )
}

/// What `--all` is about for commands that begin something.
pub fn is_down(container: &ContainerSummary) -> bool {
    matches!(
        container.state,
        ContainerState::Created | ContainerState::Exited
    )
}

fn conflict(what: &str) -> Failure {
    Failure::Plain(format!("conflicting options: {what}"), 125)
}
