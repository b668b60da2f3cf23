//! `kill`: send containers a signal.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session,
    chosen::{self, Choice},
    each, parse,
    verb::{Arity, Outcome, Verb},
};
use crate::model::signal::parse_signal;

#[derive(Args)]
struct Flags {
    /// All containers that run
    #[arg(long, short = 'a')]
    all: bool,
    /// The container whose ID is in this file, too
    #[arg(long, value_name = "file")]
    cidfile: Vec<PathBuf>,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
    /// Signal to send, name or number
    #[arg(
        long,
        short = 's',
        value_name = "string",
        default_value = "KILL",
        hide_default_value = true,
        hide_default_value = true
    )]
    signal: String,
}

pub const VERB: Verb = Verb {
    spellings: &["container kill", "kill"],
    about: "Kill running containers, or send them a signal",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: Vec<String>) -> Outcome {
    let signal = parse_signal(&flags.signal)?;
    let choice = Choice {
        all: flags.all,
        cidfiles: &flags.cidfile,
        latest: flags.latest,
        ..Choice::default()
    };
    let names = choice.names(session, "kill", names, chosen::is_up)?;
    let engine = session.engine()?;
    each::print_names(&names, |name| engine.kill(name, signal))
}
