//! `wait`: wait for containers to end and print their exit codes.

use clap::Args;

use super::{
    Session, each, ui,
    verb::{Arity, Outcome, Verb},
};

#[derive(Args)]
struct Flags {}

pub const VERB: Verb = Verb {
    spellings: &["container wait", "wait"],
    about: "Wait until containers end, and print their exit codes",
    usage: "CONTAINER [CONTAINER...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |session, _, names| run(session, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, names: &[String]) -> Outcome {
    let engine = session.engine()?;
    each::each(names, |name| ui::line(&engine.wait(name)?.to_string()))
}
