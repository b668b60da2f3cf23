//! `volume export` and `volume import`: a volume's files as a tar archive.

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
struct ExportFlags {
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "string")]
    output: Option<PathBuf>,
}

pub const EXPORT: Verb = Verb {
    spellings: &["volume export"],
    about: "Write a volume's files as a tar archive",
    usage: "[OPTIONS] VOLUME",
    arity: Arity::Exactly(1),
    flags: ExportFlags::augment_args,
    run: |session, matches, names| export(session, parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn export(session: &Session, flags: ExportFlags, name: &str) -> Outcome {
    let output = flags
        .output
        .filter(|path| !matches!(path.to_str(), Some("-" | "/dev/stdout" | "")));
    if output.is_none() && ui::stdout_is_terminal() {
        return Err(Failure::Plain(
            "refusing to write an archive to a terminal: use -o FILE or redirect".to_owned(),
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
    session.engine()?.export_volume(name, open)?;
    Ok(0)
}

pub const IMPORT: Verb = Verb {
    spellings: &["volume import"],
    about: "Put the files of a tar archive into a volume",
    usage: "VOLUME [SOURCE]",
    arity: Arity::Between(1, 2),
    run: |session, _, arguments| import(session, &arguments),
    ..Verb::PLAIN
};

fn import(session: &Session, arguments: &[String]) -> Outcome {
    let source = arguments.get(1).filter(|source| *source != "-");
    if source.is_none() && ui::stdin_is_terminal() {
        return Err(Failure::Plain("standard input is a terminal".to_owned(), 1));
    }
    let source = source.map(PathBuf::from);
    session
        .engine()?
        .import_volume(&arguments[0], source.as_ref())?;
    Ok(0)
}
