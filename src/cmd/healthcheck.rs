//! `healthcheck run`: have a container's health checked now.

use clap::Args;

use super::{
    Session, parse, ui,
    verb::{Arity, Class, Outcome, Verb, wrong_count},
};
use crate::model::health::HealthStatus;

#[derive(Args)]
struct Flags {
    /// End with 0 whatever the check finds
    #[arg(long)]
    ignore_result: bool,
}

pub const RUN: Verb = Verb {
    spellings: &["healthcheck run"],
    about: "Check the health of a container now",
    usage: "[OPTIONS] CONTAINER",
    arity: Arity::Exactly(1),
    // 1 is what a failed check ends with.
    class: Class::Run,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: &[String]) -> Outcome {
    let [name] = names else {
        return Err(wrong_count("healthcheck run", "requires 1 argument"));
    };
    let verdict = session.engine()?.check_health(name)?;
    if verdict.passed {
        return Ok(0);
    }
    // Podman's words: of one that is still well enough too.
    ui::line(match verdict.status {
        HealthStatus::Starting => "starting",
        HealthStatus::Healthy | HealthStatus::Unhealthy => "unhealthy",
    })?;
    Ok(u8::from(!flags.ignore_result))
}
