//! `export`: a container's files as a tar archive.

use std::{fs::File, io::Write, path::PathBuf};

use clap::Args;

use super::{
    Session,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::model::{Context, Result};

#[derive(Args)]
struct Flags {
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "string")]
    output: Option<PathBuf>,
}

pub const VERB: Verb = Verb {
    spellings: &["container export", "export"],
    about: "Write a container's files as a tar archive",
    usage: "[OPTIONS] CONTAINER",
    arity: Arity::Exactly(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, container: &str) -> Outcome {
    let output = flags
        .output
        .filter(|path| !matches!(path.to_str(), Some("-" | "/dev/stdout" | "")));
    if output.is_none() && ui::stdout_is_terminal() {
        return Err(Failure::Plain(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect".to_owned(),
            1,
        ));
    }
    let open = || -> Result<Box<dyn Write>> {
        let Some(path) = &output else {
            return Ok(Box::new(ui::output()));
        };
        let file = File::create(path).system(|| format!("cannot make {}", path.display()))?;
        Ok(Box::new(file))
    };
    session.engine()?.export_container(container, open)?;
    Ok(0)
}
