//! `container prune`: remove the containers that do not run.

use clap::Args;

use super::{
    Session, parse,
    prune::{self, Choice},
    verb::{Arity, Outcome, Verb},
};

#[derive(Args)]
struct Flags {
    /// Remove only those that fit: label, label!, until
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container prune"],
    about: "Remove all stopped containers",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    let choice = Choice::new(prune::filters(session, &flags.filter, &Choice::FILTERS)?)?;
    if !flags.force {
        let warning = "WARNING! This will remove all stopped containers.";
        prune::confirm("container prune", warning)?;
    }
    let bytes = prune::containers(session.engine()?, &choice)?;
    prune::total(bytes)?;
    Ok(0)
}
