//! `volume prune`: remove the volumes that no container uses.

use clap::Args;

use super::{
    Session, parse, prune,
    verb::{Arity, Outcome, Verb},
};

#[derive(Args)]
struct Flags {
    /// Remove those with a name, too
    #[arg(long, short = 'a')]
    all: bool,
    /// Remove only those that fit: label, label!, until, since
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["volume prune"],
    about: "Remove volumes that no container uses",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const FILTERS: &[&str] = &["all", "label", "label!", "since", "until"];

fn run(session: &Session, flags: &Flags) -> Outcome {
    let filters = prune::filters(session, &flags.filter, FILTERS)?;
    let all = flags.all || filters.boolean("all")?.unwrap_or(false);
    if !flags.force {
        let which = if all { "all" } else { "anonymous" };
        let warning = format!(
            "WARNING! This will remove {which} local volumes not used by at least one container."
        );
        prune::confirm("volume prune", &warning)?;
    }
    let bytes = prune::volumes(session.engine()?, all, &filters)?;
    prune::total(bytes)?;
    Ok(0)
}
