//! `load`: images from an archive or an OCI layout.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session, container_flags,
    failure::Failure,
    parse,
    progress::{Show, Stream},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::LoadRequest,
    model::{Platform, Result},
};

#[derive(Args)]
struct Flags {
    /// Archive or folder to read instead of standard input
    #[arg(long, short = 'i', value_name = "string")]
    input: Option<PathBuf>,
    /// Platforms to choose from multi-platform images
    #[arg(long, value_name = "string", value_delimiter = ',')]
    platform: Vec<String>,
    /// Show no progress
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Rules on which images may be used, instead of the usual file
    #[arg(long, value_name = "path", hide = true)]
    signature_policy: Option<PathBuf>,
}

pub const VERB: Verb = Verb {
    spellings: &["image load", "load"],
    about: "Load images from an archive, an OCI layout or standard input",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, parse::flags(matches)?),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags) -> Outcome {
    let input = flags.input.filter(|path| path.as_os_str() != "-");
    if input.is_none() && ui::stdin_is_terminal() {
        return Err(Failure::Plain(
            "requested load from stdin, but stdin is a terminal; name an archive with -i"
                .to_owned(),
            1,
        ));
    }
    let request = LoadRequest {
        input,
        platforms: platforms(flags.platform)?,
        trust: session.settings.trust_files_or(flags.signature_policy),
    };
    let show = Show::new(Stream::Stderr, flags.quiet || !ui::stderr_is_terminal());
    let loaded = session.engine()?.load(&request, &show);
    show.finish();
    for image in loaded? {
        for name in &image.names {
            ui::line(&format!("Loaded image: {}", name.familiar()))?;
        }
        if image.names.is_empty() {
            ui::line(&format!("Loaded image ID: {}", image.id))?;
        }
    }
    Ok(0)
}

/// `DOCKER_DEFAULT_PLATFORM` counts if nothing is asked for.
fn platforms(flags: Vec<String>) -> Result<Vec<Platform>> {
    if flags.iter().all(String::is_empty) {
        return Ok(container_flags::platform(None)?.into_iter().collect());
    }
    flags.iter().map(|text| text.parse()).collect()
}
