//! `pause` and `unpause`: let containers stand still, and go on.

use clap::Args;

use super::{
    Session,
    chosen::{Choice, ChosenFlags},
    each, parse,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::Engine,
    model::{Result, container::ContainerState},
};

#[derive(Args)]
struct Flags {
    /// All containers that run, or for unpause, that stand still
    #[arg(long, short = 'a')]
    all: bool,
    /// Those that fit, as for ps
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    #[command(flatten)]
    chosen: ChosenFlags,
}

pub const PAUSE: Verb = Verb {
    spellings: &["container pause", "pause"],
    about: "Stop the processes of containers where they are",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: Flags::augment_args,
    run: |session, matches, names| {
        let flags = parse::flags(matches)?;
        let act = |engine: &Engine, name: &str| engine.pause(name);
        run(
            session,
            "pause",
            &flags,
            names,
            ContainerState::Running,
            act,
        )
    },
    ..Verb::PLAIN
};

pub const UNPAUSE: Verb = Verb {
    spellings: &["container unpause", "unpause"],
    about: "Let paused containers go on",
    run: |session, matches, names| {
        let flags = parse::flags(matches)?;
        let act = |engine: &Engine, name: &str| engine.unpause(name);
        run(
            session,
            "unpause",
            &flags,
            names,
            ContainerState::Paused,
            act,
        )
    },
    ..PAUSE
};

fn run(
    session: &Session,
    command: &str,
    flags: &Flags,
    names: Vec<String>,
    state: ContainerState,
    act: impl Fn(&Engine, &str) -> Result<()>,
) -> Outcome {
    let choice = Choice {
        all: flags.all,
        filters: &flags.filter,
        ..flags.chosen.choice()
    };
    let names = choice.names(session, command, names, |container| {
        container.state == state
    })?;
    let engine = session.engine()?;
    each::print_names(&names, |name| act(engine, name))
}
