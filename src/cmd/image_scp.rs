//! `image scp`: an image from or to another machine, by ssh.

use clap::Args;

use super::{
    Session, diff, parse,
    progress::{Show, Stream},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{engine::ScpRequest, model::image_place::ImagePlace};

#[derive(Args)]
struct Flags {
    /// Print nothing
    #[arg(long, short = 'q')]
    quiet: bool,
    /// What to run on the other side; default: coracle, podman or docker, whatever is there
    #[arg(long, value_name = "command")]
    remote_command: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["image scp"],
    about: "Copy an image from or to another machine",
    usage: "[OPTIONS] [[USER@]HOST[:PORT]::]IMAGE [[USER@]HOST[:PORT]::][NAME]",
    arity: Arity::Between(1, 2),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, places: &[String]) -> Outcome {
    let request = ScpRequest {
        source: ImagePlace::parse(&places[0])?,
        target: ImagePlace::parse(places.get(1).map_or("", String::as_str))?,
        remote_command: flags.remote_command.filter(|text| !text.is_empty()),
        ssh: "ssh".into(),
        trust: session.settings.trust_files_or(None),
    };
    let show = Show::new(Stream::Stderr, flags.quiet || !ui::stderr_is_terminal());
    let copied = session.engine()?.scp(&request, &show);
    show.finish();
    let lines = copied?;
    if !flags.quiet {
        for line in lines {
            // Another machine has written it.
            let mut shown = String::new();
            diff::push_shown(&mut shown, line.as_bytes());
            ui::line(&shown)?;
        }
    }
    Ok(0)
}
