//! `rm`: remove containers.

use clap::Args;

use super::{
    Session, each,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};

#[derive(Args)]
struct Flags {
    /// Kill a container that runs
    #[arg(long, short = 'f')]
    force: bool,
    /// For Docker's sake: there are no links
    #[arg(long, short = 'l', hide = true)]
    link: bool,
    /// Remove the container's nameless volumes too
    #[arg(long, short = 'v')]
    volumes: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container rm", "container remove", "rm"],
    about: "Remove containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: &[String]) -> Outcome {
    if flags.link {
        return Err(Failure::Plain("--link is not supported".to_owned(), 1));
    }
    let engine = session.engine()?;
    each::each(names, |name| {
        let removed = engine.remove_container(name, flags.force, flags.volumes);
        if each::forgive_missing(flags.force, removed)? {
            ui::line(name)?;
        }
        Ok(())
    })
}
