//! `pause` and `unpause`: let containers stand still, and go on.

use clap::Args;

use super::{
    Session,
    chosen::ChosenFlags,
    each,
    failure::Failure,
    parse, ps,
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
    arity: Arity::AtLeast(0),
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
    mut names: Vec<String>,
    state: ContainerState,
    act: impl Fn(&Engine, &str) -> Result<()>,
) -> Outcome {
    let by_state = flags.all || !flags.filter.is_empty();
    if by_state && (!names.is_empty() || flags.chosen.any()) {
        let text = "conflicting options: --all and --filter take no names";
        return Err(Failure::Plain(text.to_owned(), 1));
    }
    if !by_state {
        names = flags.chosen.names(session, command, names)?;
    }
    let engine = session.engine()?;
    if by_state {
        names = ps::fitting(engine, &flags.filter)?
            .into_iter()
            .filter(|container| container.state == state)
            .map(|container| container.id.to_string())
            .collect();
    }
    each::print_names(&names, |name| act(engine, name))
}
