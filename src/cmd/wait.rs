//! `wait`: wait for containers to end, or for another state, and print their exit codes.

use clap::Args;

use super::{
    Session,
    chosen::Choice,
    each, parse, ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{
    engine::Engine,
    model::{ErrorKind, Result, condition::Condition},
};

#[derive(Args)]
struct Flags {
    /// The state to wait for, instead of the end: running, paused, healthy, removed, …; one of several
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    condition: Vec<String>,
    /// Return when the first of the containers is in the state
    #[arg(long)]
    exit_first_match: bool,
    /// A container that is not there is no error: it prints -1
    #[arg(long)]
    ignore: bool,
    /// For Podman's sake: nothing is asked again and again here
    #[arg(long, short = 'i', value_name = "string", hide = true)]
    interval: Option<String>,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container wait", "wait"],
    about: "Wait until containers end, and print their exit codes",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: Vec<String>) -> Outcome {
    let conditions: Vec<Condition> = flags
        .condition
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_>>()?;
    let choice = Choice {
        latest: flags.latest,
        ..Choice::default()
    };
    let mut names = choice.names(session, "wait", names, |_| true)?;
    let engine = session.engine()?;
    if flags.interval.is_some() {
        ui::notice("--interval has no effect: changes are told, not asked for");
    }
    if flags.exit_first_match {
        if flags.ignore {
            names.retain(|name| engine.container_exists(name).is_ok());
        }
        let code = match names.is_empty() {
            true => NOT_THERE,
            false => engine.wait_for(&names, or_the_end(&conditions))?.1,
        };
        ui::line(&code.to_string())?;
        return Ok(0);
    }
    each::each(Class::Other, &names, |name| {
        let code = match wait(engine, name, &conditions) {
            Err(error) if flags.ignore && error.kind() == ErrorKind::NoSuchContainer => NOT_THERE,
            other => other?,
        };
        ui::line(&code.to_string())
    })
}

const NOT_THERE: i32 = -1;

fn wait(engine: &Engine, name: &str, conditions: &[Condition]) -> Result<i32> {
    match conditions {
        [] | [Condition::NotRunning] => engine.wait(name),
        _ => Ok(engine.wait_for(&[name.to_owned()], conditions)?.1),
    }
}

fn or_the_end(conditions: &[Condition]) -> &[Condition] {
    match conditions {
        [] => &[Condition::NotRunning],
        some => some,
    }
}
