//! `stop`: ask containers to end, and kill those that do not.

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
    #[arg(long, short = 't', alias = "time", value_name = "int")]
    timeout: Option<i64>,
}

pub const VERB: Verb = Verb {
    spellings: &["container stop", "stop"],
    about: "Stop running containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: &[String]) -> Outcome {
    let signal = flags.signal.as_deref().map(parse_signal).transpose()?;
    let engine = session.engine()?;
    each::print_names(names, |name| engine.stop(name, signal, flags.timeout))
}
