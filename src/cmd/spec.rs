//! `spec`: writes a runtime configuration, of a container as `run` would plan it.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session,
    container_flags::ContainerFlags,
    parse,
    progress::{Show, Stream},
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{engine::PullSettings, model::ContainerSpec};

#[derive(Args)]
struct Flags {
    /// Write it for an ordinary user, who becomes root in a user namespace
    #[arg(long)]
    rootless: bool,
    #[command(flatten)]
    container: ContainerFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["spec"],
    about: "Write the runtime configuration (config.json) of a container",
    usage: "[OPTIONS] [IMAGE [COMMAND] [ARG...]]",
    arity: Arity::AtLeast(0),
    program_after: Some(1),
    unsupported: super::unsupported::RUN,
    class: Class::Run,
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, arguments),
};

fn run(session: &Session, mut flags: Flags, arguments: Vec<String>) -> Outcome {
    let show = Show::new(Stream::Stderr, flags.container.quiet);
    let pull = PullSettings {
        registry: flags.container.registry.options(session)?,
        progress: &show,
    };
    let folder = flags.container.bundle.bundle.take();
    let folder = folder.unwrap_or_else(|| PathBuf::from("."));
    let mut spec = flags.container.into_spec(true, arguments)?;
    if spec.image.is_empty() {
        fill_in(&mut spec);
    }
    spec.hostname.get_or_insert_with(|| "coracle".to_owned());
    session
        .engine()?
        .write_runtime_spec(spec, &pull, &folder, flags.rootless)?;
    Ok(0)
}

/// What an image would have said: a shell on a terminal, to begin with.
fn fill_in(spec: &mut ContainerSpec) {
    if spec.entrypoint.is_none() && spec.command.is_empty() {
        spec.command = vec!["sh".to_owned()];
        spec.tty = true;
        spec.read_only = true;
    }
}
