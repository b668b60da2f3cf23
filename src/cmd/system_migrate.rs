//! `system migrate`: an older store becomes one of today's. `system renumber`: nothing to do here.

use clap::Args;

use super::{
    Session,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::engine::Engine;

#[derive(Args)]
struct Flags {
    /// For Podman's sake: there is no database
    #[arg(long, hide = true)]
    migrate_db: bool,
    /// For Podman's sake: refused, there is no other runtime
    #[arg(long, value_name = "string")]
    new_runtime: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["system migrate"],
    about: "Bring an older store to today's format",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

pub const RENUMBER: Verb = Verb {
    spellings: &["system renumber"],
    about: "For Podman's sake: locks have no numbers here",
    usage: "",
    arity: Arity::None,
    run: |_, _, _| {
        ui::notice("locks are files and have no numbers: nothing to do");
        Ok(0)
    },
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    if let Some(runtime) = &flags.new_runtime {
        return Err(Failure::Plain(
            format!(
                "--new-runtime {runtime:?}: there is no other runtime, coracle runs containers itself"
            ),
            125,
        ));
    }
    if flags.migrate_db {
        ui::notice("--migrate-db has no effect: there is no database");
    }
    let migrated = Engine::migrate(session.settings.engine_options())?;
    if migrated.from == migrated.to {
        ui::line(&format!(
            "the store is of version {}: nothing to migrate",
            migrated.to
        ))?;
    } else {
        ui::line(&format!(
            "the store was of version {} and is of version {} now, {} records written anew",
            migrated.from, migrated.to, migrated.records
        ))?;
    }
    Ok(0)
}
