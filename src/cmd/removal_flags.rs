//! Flags of `rm` where things have no users: all of them or those that were named, and whether one
//! that is not there is a failure.

use clap::Args;

use super::{failure::Failure, verb::wrong_count};
use crate::model::{ErrorKind, Result};

#[derive(Args)]
pub struct RemovalFlags {
    /// Remove all
    #[arg(long, short = 'a')]
    all: bool,
    /// What is not there is no failure
    #[arg(long, short = 'i')]
    ignore: bool,
}

impl RemovalFlags {
    /// What is to be removed: `all`, or what was named. `verb` is as it is typed.
    pub fn chosen(
        &self,
        verb: &str,
        named: Vec<String>,
        all: impl FnOnce() -> Result<Vec<String>>,
    ) -> std::result::Result<Vec<String>, Failure> {
        let wrong = |why: &str| Err(wrong_count(verb, why));
        match (self.all, named.is_empty()) {
            (true, true) => Ok(all()?),
            (true, false) => wrong("takes no names with --all"),
            (false, true) => wrong("requires at least 1 argument"),
            (false, false) => Ok(named),
        }
    }

    /// Whether a failure of the kind that says "not there" counts for nothing.
    pub fn overlook(&self, found: ErrorKind, absent: ErrorKind) -> bool {
        self.ignore && found == absent
    }
}
