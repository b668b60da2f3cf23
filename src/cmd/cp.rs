//! `cp`: copy files into a container or out of it.

use clap::{ArgMatches, Args, parser::ValueSource};

use super::{
    Session,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{CopyEnd, CopyRequest},
    model::human,
};

#[derive(Args)]
struct Flags {
    /// Keep users and groups
    #[arg(long, short = 'a')]
    archive: bool,
    /// Copy what the source links to
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// Let files and folders take each other's place
    #[arg(long)]
    overwrite: bool,
    /// Do not say what was copied
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container cp", "cp"],
    about: "Copy files between a container and the local file system",
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tcoracle cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    arity: Arity::Exactly(2),
    flags: Flags::augment_args,
    run: |session, matches, ends| {
        let is_quiet = is_quiet(matches);
        run(session, parse::flags(matches)?, is_quiet, &ends)
    },
    ..Verb::PLAIN
};

/// Unless it is said otherwise, something is told to a terminal only.
fn is_quiet(matches: &ArgMatches) -> bool {
    match matches.value_source("quiet") {
        Some(ValueSource::CommandLine) => matches.get_flag("quiet"),
        _ => !ui::stdout_is_terminal(),
    }
}

fn run(session: &Session, flags: Flags, is_quiet: bool, ends: &[String]) -> Outcome {
    let (from, to) = (&ends[0], &ends[1]);
    for (end, what) in [(from, "source"), (to, "destination")] {
        if end.is_empty() {
            return Err(plain(&format!("{what} can not be empty")));
        }
    }
    let (from, to) = (end(from), end(to));
    let is_container = |end: &CopyEnd| matches!(end, CopyEnd::Container { .. });
    if !is_container(&from) && !is_container(&to) {
        return Err(plain("must specify at least one container source"));
    }
    if to == CopyEnd::Stream && ui::stdout_is_terminal() {
        return Err(plain("cannot write an archive to a terminal: redirect it"));
    }
    if from == CopyEnd::Stream && ui::stdin_is_terminal() {
        return Err(plain("standard input is a terminal"));
    }
    let says = !is_quiet && to != CopyEnd::Stream;
    let request = CopyRequest {
        from,
        to,
        archive: flags.archive,
        follow_link: flags.follow_link,
        overwrite: flags.overwrite,
    };
    let engine = session.engine()?;
    let copied = engine.copy(&request, &mut std::io::stdin().lock(), &mut ui::output())?;
    for notice in &copied.notices {
        ui::notice(notice);
    }
    if says {
        let size = human::short_size(copied.bytes);
        ui::aside(&format!("Successfully copied {size} to {}", copied.to));
    }
    Ok(0)
}

fn plain(words: &str) -> Failure {
    Failure::Plain(words.to_owned(), 1)
}

/// `CONTAINER:PATH`, unless the word is an absolute path or begins with a dot.
fn end(text: &str) -> CopyEnd {
    if text == "-" {
        return CopyEnd::Stream;
    }
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['/', '.']) => CopyEnd::Container {
            name: name.to_owned(),
            path: path.to_owned(),
        },
        _ => CopyEnd::Local(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_makes_a_container_unless_the_word_is_a_path() {
        let container = |name: &str, path: &str| CopyEnd::Container {
            name: name.into(),
            path: path.into(),
        };
        assert_eq!(end("c:/x"), container("c", "/x"));
        assert_eq!(end("c:x:y"), container("c", "x:y"));
        assert_eq!(end("c:"), container("c", ""));
        for path in ["/a:b", "./a:b", "../a:b", "a", ".a:b"] {
            assert_eq!(end(path), CopyEnd::Local(path.into()), "{path}");
        }
        assert_eq!(end("-"), CopyEnd::Stream);
    }
}
