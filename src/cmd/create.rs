//! `create`: what `run` does, up to the start.

use clap::Args;

use super::{
    Session,
    container_flags::{ContainerFlags, follow_settings, write_cidfile},
    parse,
    progress::{Show, Stream},
    ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::engine::PullSettings;

#[derive(Args)]
struct Flags {
    #[command(flatten)]
    container: ContainerFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["container create", "create"],
    about: "Create a container without starting it",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    arity: Arity::OneUnless("bundle"),
    program_after: Some(1),
    unsupported: super::unsupported::RUN,
    class: Class::Create,
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, arguments),
};

fn run(session: &Session, flags: Flags, arguments: Vec<String>) -> Outcome {
    let show = Show::new(Stream::Stderr, flags.container.quiet);
    let pull = PullSettings {
        registry: flags.container.registry.options(session)?,
        progress: &show,
    };
    let mut spec = flags.container.into_spec(false, arguments)?;
    follow_settings(&mut spec, &session.settings);
    let cidfile = spec.cidfile.clone();
    let engine = session.starting_engine()?;
    let id = engine.create(spec, &pull)?;
    if let Err(error) = write_cidfile(cidfile.as_deref(), &id) {
        // Nobody would learn its name.
        let _ = engine.remove_container(id.as_str(), true, true);
        return Err(error.into());
    }
    ui::line(id.as_str())?;
    Ok(0)
}
