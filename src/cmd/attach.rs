//! `attach`: watch a running container.

use clap::Args;

use super::{
    Session,
    chosen::Choice,
    parse,
    terminal::{self, DetachFlags, SignalFlags},
    verb::{Arity, Outcome, Verb},
};
use crate::{engine::AttachOptions, model::container::AttachedStreams};

#[derive(Args)]
struct Flags {
    #[command(flatten)]
    keys: DetachFlags,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
    /// Leave standard input alone
    #[arg(long)]
    no_stdin: bool,
    #[command(flatten)]
    signals: SignalFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["container attach", "attach"],
    about: "Connect this terminal to a running container",
    usage: "[OPTIONS] CONTAINER",
    arity: Arity::AtMost(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: Vec<String>) -> Outcome {
    if names.is_empty() && !flags.latest {
        return Arity::Exactly(1)
            .check("attach", 0, &Default::default())
            .map(|()| 0);
    }
    let choice = Choice {
        latest: flags.latest,
        ..Choice::default()
    };
    let name = choice.names(session, "attach", names, |_| true)?.remove(0);
    let options = AttachOptions {
        detach_keys: flags.keys.keys(session)?,
        sig_proxy: flags.signals.sig_proxy,
        streams: AttachedStreams::all(!flags.no_stdin),
    };
    Ok(terminal::exit_code(
        &session.engine()?.attach(&name, options)?,
    ))
}
