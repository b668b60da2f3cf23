//! `stop`: ask containers to end, and kill those that do not.

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
    /// Those that run and fit, as for ps
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// A container that is not there is no error
    #[arg(long, short = 'i')]
    ignore: bool,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
    #[command(flatten)]
    how: StopFlags,
}

/// How containers are asked to end.
#[derive(Args)]
pub struct StopFlags {
    /// Signal that asks the container to end
    #[arg(long, short = 's', value_name = "string")]
    pub signal: Option<String>,
    /// Seconds to wait before SIGKILL, -1 waits for ever
    #[arg(
        long,
        short = 't',
        alias = "time",
        value_name = "int",
        allow_hyphen_values = true
    )]
    pub timeout: Option<i64>,
}

pub const VERB: Verb = Verb {
    spellings: &["container stop", "stop"],
    about: "Stop running containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: Vec<String>) -> Outcome {
    let signal = flags.how.signal.as_deref().map(parse_signal).transpose()?;
    let choice = Choice {
        all: flags.all,
        filters: &flags.filter,
        cidfiles: &flags.cidfile,
        latest: flags.latest,
        ignore: flags.ignore,
    };
    let names = choice.names(session, "stop", names, chosen::is_up)?;
    let engine = session.engine()?;
    each::told(&names, |told| {
        engine.stop_all(&names, signal, flags.how.timeout, &mut |place, stopped| {
            told(place, each::unless_missing(flags.ignore, false, stopped));
        });
    })
}
