//! `update`: other limits for containers.

use clap::Args;

use super::{
    Session,
    chosen::ChosenFlags,
    container_flags, each,
    failure::Failure,
    health_flags::HealthFlags,
    parse,
    resource_flags::LimitFlags,
    verb::{Arity, Outcome, Verb},
};
use crate::model::{
    ContainerSpec, resources::Resources, restart::RestartPolicy, security::parse_ulimit,
};

#[derive(Args)]
struct Flags {
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    chosen: ChosenFlags,
    #[command(flatten)]
    health: HealthFlags,
    /// Set a variable from the next start on, or copy one from this environment
    #[arg(long, short = 'e', value_name = "env")]
    env: Vec<String>,
    /// Limit a resource of each process from the next start on, NAME=SOFT[:HARD]
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<String>,
    /// Leave a variable out from the next start on
    #[arg(long, value_name = "env")]
    unsetenv: Vec<String>,
    /// When to start the container again: no, on-failure[:most], always or unless-stopped
    #[arg(long, value_name = "string")]
    restart: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["container update", "update"],
    about: "Change limits, restart policy, health check and variables of containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, names: Vec<String>) -> Outcome {
    let restart = flags.restart.as_deref();
    let restart = restart.map(str::parse::<RestartPolicy>).transpose()?;
    let changes = flags.limits.into_resources().map_err(Failure::Value)?;
    let env = container_flags::environment(&[], &flags.env).map_err(Failure::Value)?;
    let only_limits = env.is_empty() && flags.unsetenv.is_empty() && flags.ulimit.is_empty();
    if changes == Resources::default() && restart.is_none() && !flags.health.any() && only_limits {
        let text = "You must provide one or more flags when using this command.";
        return Err(Failure::Plain(text.to_owned(), 1));
    }
    let change = |spec: &mut ContainerSpec| {
        for name in &flags.unsetenv {
            spec.unset_variable(name);
        }
        for variable in &env {
            spec.set_variable(variable);
        }
        for text in &flags.ulimit {
            spec.security.set_ulimit(parse_ulimit(text)?);
        }
        flags.health.change(&mut spec.health)
    };
    // Before anything is changed.
    change(&mut ContainerSpec::default()).map_err(Failure::Value)?;
    let names = flags.chosen.names(session, "update", names)?;
    let engine = session.engine()?;
    each::print_names(&names, |name| {
        engine.update(name, &changes, restart, &change)
    })
}
