//! `init` and `container cleanup`: Podman's steps around a run, for scripts that take them.

use clap::Args;

use super::{
    Session,
    chosen::{self, Choice},
    each,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::model::container::ContainerState;

#[derive(Args)]
struct InitFlags {
    /// All containers that do not run
    #[arg(long, short = 'a')]
    all: bool,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container init", "init"],
    about: "Check that containers could be started",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: InitFlags::augment_args,
    run: |session, matches, names| init(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn init(session: &Session, flags: &InitFlags, names: Vec<String>) -> Outcome {
    let choice = Choice {
        all: flags.all,
        latest: flags.latest,
        ..Choice::default()
    };
    let names = choice.names(session, "init", names, chosen::is_down)?;
    let engine = session.engine()?;
    ui::notice("nothing is prepared before the start: start does it all");
    each::print_names(&names, |name| engine.check_startable(name))
}

#[derive(Args)]
struct CleanupFlags {
    /// All containers that have ended
    #[arg(long, short = 'a')]
    all: bool,
    /// For Podman's sake: an exec session leaves nothing behind
    #[arg(long, value_name = "string", hide = true)]
    exec: Option<String>,
    /// The container that was made last, instead of a name
    #[arg(long, short = 'l')]
    latest: bool,
    /// Remove the container too
    #[arg(long)]
    rm: bool,
    /// Remove the container and its image too
    #[arg(long)]
    rmi: bool,
}

pub const CLEANUP: Verb = Verb {
    spellings: &["container cleanup"],
    about: "Remove from the kernel what a killed supervisor has left of containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: CleanupFlags::augment_args,
    run: |session, matches, names| clean_up(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn clean_up(session: &Session, flags: &CleanupFlags, names: Vec<String>) -> Outcome {
    if flags.exec.is_some() && (flags.rm || flags.rmi) {
        let text = "conflicting options: --exec goes with neither --rm nor --rmi";
        return Err(Failure::Plain(text.to_owned(), 125));
    }
    let choice = Choice {
        all: flags.all,
        latest: flags.latest,
        ..Choice::default()
    };
    let names = choice.names(session, "cleanup", names, |container| {
        container.state == ContainerState::Exited
    })?;
    let engine = session.engine()?;
    each::print_names(&names, |name| {
        let image = engine.clean_up(name)?;
        if flags.rm || flags.rmi {
            // One that was to go at its end has gone.
            each::unless_missing(true, true, engine.remove_container(name, false, false))?;
        }
        if flags.rmi {
            engine.remove_image(&image, false)?;
        }
        Ok(())
    })
}
