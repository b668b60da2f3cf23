//! `update`: other limits for containers.

use clap::Args;

use super::{
    Session,
    chosen::ChosenFlags,
    each,
    failure::Failure,
    health_flags::HealthFlags,
    parse,
    resource_flags::LimitFlags,
    verb::{Arity, Outcome, Verb},
};
use crate::model::{health::HealthSpec, resources::Resources, restart::RestartPolicy};

#[derive(Args)]
struct Flags {
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    chosen: ChosenFlags,
    #[command(flatten)]
    health: HealthFlags,
    /// When to start the container again: no, on-failure[:most], always or unless-stopped
    #[arg(long, value_name = "string")]
    restart: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["container update", "update"],
    about: "Change the limits, the restart policy or the health check of containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::AtLeast(0),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, names: Vec<String>) -> Outcome {
    if names.is_empty() && !flags.chosen.any() {
        let text = "'coracle update' requires at least 1 argument";
        return Err(Failure::Arity(text.to_owned()));
    }
    let restart = flags.restart.as_deref();
    let restart = restart.map(str::parse::<RestartPolicy>).transpose()?;
    let changes = flags.limits.into_resources()?;
    if changes == Resources::default() && restart.is_none() && !flags.health.any() {
        let text = "You must provide one or more flags when using this command.";
        return Err(Failure::Plain(text.to_owned(), 1));
    }
    let health = |spec: &mut HealthSpec| flags.health.change(spec);
    // Before anything is changed.
    health(&mut HealthSpec::default())?;
    let names = flags.chosen.names(session, "update", names)?;
    let engine = session.engine()?;
    each::print_names(&names, |name| {
        engine.update(name, &changes, restart, &health)
    })
}
