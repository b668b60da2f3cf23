//! `rm`: remove containers.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session,
    chosen::Choice,
    each,
    failure::Failure,
    parse, ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{engine::Engine, model::Result};

#[derive(Args)]
struct Flags {
    /// All containers
    #[arg(long, short = 'a')]
    all: bool,
    /// The container whose ID is in this file, too
    #[arg(long, value_name = "file")]
    cidfile: Vec<PathBuf>,
    /// The containers too that use the namespaces of these
    #[arg(long)]
    depend: bool,
    /// Those that fit, as for ps
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Kill a container that runs
    #[arg(long, short = 'f')]
    force: bool,
    /// A container that is not there is no error
    #[arg(long, short = 'i')]
    ignore: bool,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
    /// For Docker's sake: there are no links
    #[arg(long, hide = true)]
    link: bool,
    /// With --force: seconds between the stop signal and SIGKILL, -1 waits for ever (default 0)
    #[arg(long, short = 't', value_name = "int", allow_hyphen_values = true)]
    time: Option<i64>,
    /// Remove the container's nameless volumes too
    #[arg(long, short = 'v')]
    volumes: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container rm", "container remove", "rm"],
    about: "Remove containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: Vec<String>) -> Outcome {
    if flags.link {
        return Err(Failure::Plain("--link is not supported".to_owned(), 1));
    }
    if flags.time.is_some() && !flags.force {
        let text = "--force option must be specified to use the --time option";
        return Err(Failure::Plain(text.to_owned(), 125));
    }
    let choice = Choice {
        all: flags.all,
        filters: &flags.filter,
        cidfiles: &flags.cidfile,
        latest: flags.latest,
        ignore: flags.ignore,
    };
    let mut names = choice.names(session, "rm", names, |_| true)?;
    let engine = session.engine()?;
    if flags.depend {
        names = engine.with_dependents(&names)?;
    }
    if flags.force && names.len() > 1 {
        match flags.time {
            None | Some(0) => engine.kill_ahead(&names),
            // What cannot be stopped is told below.
            some => engine.stop_all(&names, None, some, &mut |_, _| {}),
        }
    }
    each::each(Class::Remove, &names, |name| {
        let removed = remove(engine, name, flags);
        if each::unless_missing(flags.ignore, flags.force, removed)? {
            ui::line(name)?;
        }
        Ok(())
    })
}

fn remove(engine: &Engine, name: &str, flags: &Flags) -> Result<()> {
    if flags.time.is_some_and(|seconds| seconds != 0) {
        engine.stop(name, None, flags.time)?;
    }
    engine.remove_container(name, flags.force, flags.volumes)
}
