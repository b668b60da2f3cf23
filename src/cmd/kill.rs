//! `kill`: send containers a signal.

use clap::Args;

use super::{
    Session, each, parse,
    verb::{Arity, Outcome, Verb},
};
use crate::model::signal::parse_signal;

#[derive(Args)]
struct Flags {
    /// Signal to send, name or number
    #[arg(long, short = 's', value_name = "string", default_value = "KILL")]
    signal: String,
}

pub const VERB: Verb = Verb {
    spellings: &["container kill", "kill"],
    about: "Kill running containers, or send them a signal",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: &[String]) -> Outcome {
    let signal = parse_signal(&flags.signal)?;
    let engine = session.engine()?;
    each::print_names(names, |name| engine.kill(name, signal))
}
