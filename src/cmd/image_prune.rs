//! `image prune`: remove the images that nobody needs.

use clap::Args;

use super::{
    Session, parse,
    prune::{self, Choice},
    verb::{Arity, Outcome, Verb},
};

#[derive(Args)]
struct Flags {
    /// Remove those with a name, too, if no container uses them
    #[arg(long, short = 'a')]
    all: bool,
    /// Remove only those that fit: dangling, label, label!, until
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["image prune"],
    about: "Remove images without a name that no container uses",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    let known = [&Choice::FILTERS[..], &["dangling"]].concat();
    let choice = Choice::new(prune::filters(session, &flags.filter, &known)?)?;
    let dangling = choice.filters().boolean("dangling")?;
    let all = flags.all || dangling == Some(false);
    if !flags.force {
        let which = match all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        };
        let warning = format!("WARNING! This will remove {which}.");
        prune::confirm("image prune", &warning)?;
    }
    let bytes = prune::images(session.engine()?, all, &choice)?;
    prune::total(bytes)?;
    Ok(0)
}
