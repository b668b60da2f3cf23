//! `restart`: stop containers and start them again.

use clap::Args;

use super::{
    Session, each, parse,
    verb::{Arity, Outcome, Verb},
};
use crate::model::signal::parse_signal;

#[derive(Args)]
struct Flags {
    /// Signal that asks the container to end
    #[arg(long, short = 's', value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before SIGKILL, -1 waits for ever
    #[arg(
        long,
        short = 't',
        alias = "time",
        value_name = "int",
        allow_hyphen_values = true
    )]
    timeout: Option<i64>,
}

pub const VERB: Verb = Verb {
    spellings: &["container restart", "restart"],
    about: "Restart containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: &[String]) -> Outcome {
    let signal = flags.signal.as_deref().map(parse_signal).transpose()?;
    let engine = session.engine()?;
    each::print_names(names, |name| engine.restart(name, signal, flags.timeout))
}
