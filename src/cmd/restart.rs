//! `restart`: stop containers and start them again.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session,
    chosen::{self, Choice},
    each, parse,
    stop::StopFlags,
    verb::{Arity, Outcome, Verb},
};
use crate::model::signal::parse_signal;

#[derive(Args)]
struct Flags {
    /// All containers, whether they run or not
    #[arg(long, short = 'a')]
    all: bool,
    /// The container whose ID is in this file, too
    #[arg(long, value_name = "file")]
    cidfile: Vec<PathBuf>,
    /// Those that fit, as for ps
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
    /// All containers that run
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    how: StopFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["container restart", "restart"],
    about: "Restart containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: Vec<String>) -> Outcome {
    let signal = flags.how.signal.as_deref().map(parse_signal).transpose()?;
    let choice = Choice {
        all: flags.all || flags.running,
        filters: &flags.filter,
        cidfiles: &flags.cidfile,
        latest: flags.latest,
        ..Choice::default()
    };
    let names = choice.names(session, "restart", names, |container| {
        !flags.running || chosen::is_up(container)
    })?;
    let engine = session.engine()?;
    each::print_names(&names, |name| {
        engine.restart(name, signal, flags.how.timeout)
    })
}
