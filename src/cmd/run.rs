//! `run`: create a container, start it, and watch it unless `-d`.

use clap::Args;

use super::{
    Session,
    container_flags::{ContainerFlags, follow_settings, write_cidfile},
    each,
    failure::Failure,
    parse,
    progress::{Show, Stream},
    terminal::{self, DetachFlags, SignalFlags},
    ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::engine::{AttachOptions, PullSettings, RunOptions, RunOutcome};

#[derive(Args)]
struct Flags {
    /// Leave the container running in the background and print its ID
    #[arg(long, short = 'd')]
    detach: bool,
    #[command(flatten)]
    keys: DetachFlags,
    /// Remove the container and its image when it ends
    #[arg(long)]
    rmi: bool,
    #[command(flatten)]
    signals: SignalFlags,
    #[command(flatten)]
    container: ContainerFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["container run", "run"],
    about: "Create a container from an image and run a program in it",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    arity: Arity::OneUnless("bundle"),
    program_after: Some(1),
    unsupported: super::unsupported::RUN,
    class: Class::Run,
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, arguments),
};

fn run(session: &Session, flags: Flags, arguments: Vec<String>) -> Outcome {
    if flags.detach && !flags.container.attach.is_empty() {
        return Err(Failure::Plain(
            "conflicting options: cannot specify both --attach and --detach".to_owned(),
            1,
        ));
    }
    if flags.rmi && flags.detach {
        let text = "conflicting options: --rmi needs somebody to wait for the end, so not --detach";
        return Err(Failure::Plain(text.to_owned(), 125));
    }
    let show = Show::new(Stream::Stderr, flags.container.quiet);
    let pull = PullSettings {
        registry: flags.container.registry.options(session)?,
        progress: &show,
    };
    let detach_keys = flags.keys.keys(session)?;
    let mut spec = flags.container.into_spec(flags.detach, arguments)?;
    follow_settings(&mut spec, &session.settings);
    terminal::check_tty(spec.attach.stdin, spec.tty)?;
    spec.auto_remove |= flags.rmi;
    let image = flags.rmi.then(|| spec.image.clone());
    let cidfile = spec.cidfile.clone();
    let options = RunOptions {
        detach: flags.detach,
        attach: AttachOptions {
            detach_keys,
            sig_proxy: flags.signals.sig_proxy,
            streams: spec.attach,
        },
        pull,
        created: &|id| write_cidfile(cidfile.as_deref(), id),
    };
    let engine = session.starting_engine()?;
    let outcome = engine.run(spec, options)?;
    if let (Some(image), RunOutcome::Exited(_)) = (image, &outcome)
        && let Err(error) = engine.remove_image(&image, false)
    {
        // The program's exit code is what counts. Another container may use the image.
        each::tell(&error);
    }
    if let (RunOutcome::Detached(id), true) = (&outcome, flags.detach) {
        ui::line(id.as_str())?;
    }
    Ok(terminal::exit_code(&outcome))
}
