//! Containers that are named otherwise than by arguments: the newest one, or by a file.

use std::{fs, path::PathBuf};

use clap::Args;

use super::{Session, failure::Failure};
use crate::model::{Context, ErrorKind};

#[derive(Args)]
pub struct ChosenFlags {
    /// The container whose ID is in this file, too
    #[arg(long, value_name = "file")]
    cidfile: Vec<PathBuf>,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
}

impl ChosenFlags {
    /// Whether there need not be a name among the arguments.
    pub fn any(&self) -> bool {
        self.latest || !self.cidfile.is_empty()
    }

    /// Of `command`: the names that stand for the flags, before those that are given.
    pub fn names(
        &self,
        session: &Session,
        command: &str,
        given: Vec<String>,
    ) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for path in &self.cidfile {
            let text = fs::read_to_string(path).context(ErrorKind::InvalidArgument, || {
                format!("cannot read container ID file {}", path.display())
            })?;
            names.extend(text.split_whitespace().next().map(str::to_owned));
        }
        if self.latest {
            if !given.is_empty() {
                let text = "conflicting options: --latest and the name of a container";
                return Err(Failure::Plain(text.to_owned(), 125));
            }
            let newest = session
                .engine()?
                .containers(true, false)?
                .into_iter()
                .next();
            let newest =
                newest.ok_or_else(|| Failure::Plain("there is no container".to_owned(), 1))?;
            names.push(newest.id.to_string());
        }
        names.extend(given);
        if names.is_empty() {
            let text = format!("'coracle {command}' requires at least 1 argument");
            return Err(Failure::Arity(text));
        }
        Ok(names)
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
            let text = "conflicting options: --latest and --cidfile name more than one container";
            return Err(Failure::Plain(text.to_owned(), 125));
        }
        Ok(names.remove(0))
    }
}
