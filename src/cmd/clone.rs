//! `container clone`: one more container like one that is there.

use clap::Args;

use super::{
    Session,
    failure::Failure,
    parse,
    progress::{Show, Stream},
    registry_flags::RegistryFlags,
    resource_flags::LimitFlags,
    ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::engine::{CloneRequest, PullSettings};

#[derive(Args)]
struct Flags {
    /// Remove the original
    #[arg(long)]
    destroy: bool,
    /// With --destroy: also if it runs
    #[arg(long, short = 'f')]
    force: bool,
    /// Name of the new container
    #[arg(long, value_name = "string")]
    name: Option<String>,
    /// Start the new container
    #[arg(long)]
    run: bool,
    /// Not supported: there are no pods
    #[arg(long, value_name = "string", hide = true)]
    pod: Option<String>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    registry: RegistryFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["container clone"],
    about: "Make a container like another one",
    usage: "[OPTIONS] CONTAINER [NAME] [IMAGE]",
    arity: Arity::Between(1, 3),
    class: Class::Run,
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, &arguments),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, arguments: &[String]) -> Outcome {
    let refuse = |text: &str| Err(Failure::Plain(text.to_owned(), 125));
    if flags.force && !flags.destroy {
        return refuse("cannot set --force without --destroy");
    }
    if flags.pod.is_some() {
        return refuse("--pod is not supported: there are no pods yet");
    }
    if flags.name.is_some() && arguments.len() > 1 {
        return refuse("cannot set --name and give a name as an argument");
    }
    let show = Show::new(Stream::Stderr, false);
    let pull = PullSettings {
        registry: flags.registry.options(session)?,
        progress: &show,
    };
    let request = CloneRequest {
        container: arguments[0].clone(),
        name: flags.name.or_else(|| arguments.get(1).cloned()),
        image: arguments.get(2).cloned(),
        changes: flags.limits.into_resources()?,
        destroy: flags.destroy,
        force: flags.force,
        run: flags.run,
    };
    let id = session
        .starting_engine()?
        .clone_container(&request, &pull)?;
    ui::line(id.as_str())?;
    Ok(0)
}
