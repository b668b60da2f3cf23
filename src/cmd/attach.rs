//! `attach`: watch a running container.

use clap::Args;

use super::{
    Session, parse,
    terminal::{self, DetachFlags, SignalFlags},
    verb::{Arity, Outcome, Verb},
};
use crate::engine::AttachOptions;

#[derive(Args)]
struct Flags {
    #[command(flatten)]
    keys: DetachFlags,
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
    arity: Arity::Exactly(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, name: &str) -> Outcome {
    let options = AttachOptions {
        detach_keys: flags.keys.keys(session)?,
        sig_proxy: flags.signals.sig_proxy,
        stdin: !flags.no_stdin,
    };
    Ok(terminal::exit_code(
        &session.engine()?.attach(name, options)?,
    ))
}
