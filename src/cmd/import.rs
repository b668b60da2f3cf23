//! `import`: an image from the tar archive of a file system.

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
    engine::{ImportRequest, requests::ImportSource},
    model::{Platform, Result},
};

#[derive(Args)]
struct Flags {
    /// Architecture the image is for
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Apply a Dockerfile instruction (CMD, ENV, ...) to the image
    #[arg(long, short = 'c', value_name = "list")]
    change: Vec<String>,
    /// Comment in the image's history
    #[arg(long, short = 'm', value_name = "string")]
    message: Option<String>,
    /// Operating system the image is for
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// Platform the image is for
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// For Podman's sake: nothing but the ID is printed anyway
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Variant of the architecture the image is for
    #[arg(long, value_name = "string")]
    variant: Option<String>,
    /// Rules on which images may be used, instead of the usual file
    #[arg(long, value_name = "path", hide = true)]
    signature_policy: Option<PathBuf>,
}

pub const VERB: Verb = Verb {
    spellings: &["image import", "import"],
    about: "Make an image from a tar archive of files",
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    arity: Arity::Between(1, 2),
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, &arguments),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, arguments: &[String]) -> Outcome {
    let source = arguments[0].as_str();
    let source = match source {
        "-" => ImportSource::Input,
        url if url.starts_with("http://") || url.starts_with("https://") => {
            ui::aside(&format!("Downloading from {url}"));
            ImportSource::Url(url.to_owned())
        }
        path => ImportSource::File(PathBuf::from(path)),
    };
    if source == ImportSource::Input && ui::stdin_is_terminal() {
        return Err(Failure::Plain("standard input is a terminal".to_owned(), 1));
    }
    let request = ImportRequest {
        source,
        reference: arguments.get(1).map(|name| name.parse()).transpose()?,
        changes: flags.change,
        message: flags.message,
        platform: platform(flags.platform, [flags.os, flags.arch, flags.variant])?,
        registry: session.settings.registry_options(),
        trust: session.settings.trust_files_or(flags.signature_policy),
    };
    let image = session
        .engine()?
        .import(&request, &Show::new(Stream::Stderr, true))?;
    ui::line(image.as_str())?;
    Ok(0)
}

/// Podman's three flags change single words of it.
fn platform(
    whole: Option<String>,
    [os, arch, variant]: [Option<String>; 3],
) -> Result<Option<Platform>> {
    let whole = container_flags::platform(whole)?;
    if os.is_none() && arch.is_none() && variant.is_none() {
        return Ok(whole);
    }
    let base = whole.unwrap_or_else(Platform::host);
    // Another architecture's variant says nothing.
    let kept = if arch.is_some() { None } else { base.variant };
    let (os, arch) = (os.unwrap_or(base.os), arch.unwrap_or(base.architecture));
    let mut text = format!("{os}/{arch}");
    if let Some(variant) = variant.or(kept) {
        text.push_str(&format!("/{variant}"));
    }
    text.parse().map(Some)
}
