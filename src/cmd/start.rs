//! `start`: run created or stopped containers again, watching one of them with `-a` or `-i`.

use clap::Args;

use super::{
    Session,
    chosen::{self, Choice},
    each,
    failure::Failure,
    parse,
    terminal::{self, DetachFlags, SignalFlags},
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{AttachOptions, StartOptions},
    model::container::AttachedStreams,
};

#[derive(Args)]
struct Flags {
    /// All containers that do not run
    #[arg(long)]
    all: bool,
    /// Show the output and forward signals
    #[arg(long, short = 'a')]
    attach: bool,
    #[command(flatten)]
    keys: DetachFlags,
    /// Those that fit, as for ps
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// Connect standard input
    #[arg(long, short = 'i')]
    interactive: bool,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
    #[command(flatten)]
    signals: SignalFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["container start", "start"],
    about: "Start containers that do not run",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    unsupported: super::unsupported::START,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: Vec<String>) -> Outcome {
    let choice = Choice {
        all: flags.all,
        filters: &flags.filter,
        latest: flags.latest,
        ..Choice::default()
    };
    let names = choice.names(session, "start", names, chosen::is_down)?;
    let engine = session.engine()?;
    if !flags.attach && !flags.interactive {
        return each::print_names(&names, |name| {
            engine.start(name, StartOptions { attach: None }).map(drop)
        });
    }
    let [name] = names.as_slice() else {
        return Err(Failure::Plain(
            "you cannot start and attach multiple containers at once".to_owned(),
            1,
        ));
    };
    let attach = AttachOptions {
        detach_keys: flags.keys.keys(session)?,
        sig_proxy: flags.signals.sig_proxy,
        streams: AttachedStreams::all(flags.interactive),
    };
    let options = StartOptions {
        attach: Some(attach),
    };
    Ok(terminal::exit_code(&engine.start(name, options)?))
}
