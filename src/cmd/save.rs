//! `save`: images as an archive, or as a directory.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session,
    failure::Failure,
    parse,
    progress::{Show, Stream},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::engine::{LayerPacking, SaveFormat, SaveRequest, SaveTarget};

#[derive(Args)]
struct Flags {
    /// Compress layers that are not
    #[arg(long)]
    compress: bool,
    /// docker-archive, oci-archive, oci-dir or docker-dir
    #[arg(long, value_name = "string", default_value = "docker-archive")]
    format: String,
    /// For Podman's sake: several images always go into one archive
    #[arg(long, short = 'm')]
    multi_image_archive: bool,
    /// Write to this file (a folder, for the two formats that are one) instead of standard output
    #[arg(long, short = 'o', value_name = "string")]
    output: Option<PathBuf>,
    /// Platform the image must be for
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Show no progress
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Write layers uncompressed
    #[arg(long)]
    uncompressed: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["image save", "save"],
    about: "Write images to an archive or standard output",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, images: Vec<String>) -> Outcome {
    let format = match flags.format.as_str() {
        "docker-archive" | "" => SaveFormat::DockerArchive,
        "oci-archive" => SaveFormat::OciArchive,
        "oci-dir" => SaveFormat::OciDir,
        "docker-dir" => SaveFormat::DockerDir,
        other => {
            return Err(Failure::Plain(
                format!(
                    "unknown format {other:?}: there are docker-archive, oci-archive, oci-dir and docker-dir"
                ),
                125,
            ));
        }
    };
    let packing = match (flags.uncompressed, flags.compress) {
        (true, true) => {
            let text = "--compress and --uncompressed contradict each other";
            return Err(Failure::Plain(text.to_owned(), 125));
        }
        (true, false) => LayerPacking::Plain,
        (false, true) => LayerPacking::Gzip,
        (false, false) => LayerPacking::AsStored,
    };
    let output = flags
        .output
        .filter(|path| !matches!(path.to_str(), Some("-" | "/dev/stdout" | "")));
    let target = match output {
        Some(path) => SaveTarget::Path(path),
        None if matches!(format, SaveFormat::OciDir | SaveFormat::DockerDir) => {
            let text = format!("the format {} is a folder: name one with -o", flags.format);
            return Err(Failure::Plain(text, 125));
        }
        None if ui::stdout_is_terminal() => {
            return Err(Failure::Plain(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect".to_owned(),
                1,
            ));
        }
        None => SaveTarget::Stream(ui::output_file()?),
    };
    let request = SaveRequest {
        images,
        format,
        packing,
        platform: flags
            .platform
            .filter(|text| !text.is_empty())
            .map(|text| text.parse())
            .transpose()?,
    };
    let show = Show::new(Stream::Stderr, flags.quiet || !ui::stderr_is_terminal());
    let saved = session.engine()?.save(&request, target, &show);
    show.finish();
    saved?;
    Ok(0)
}
