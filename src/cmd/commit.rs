//! `commit`: an image from what a container has changed.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::CommitRequest,
    model::{Context, Reference, manifest::Format},
};

#[derive(Args)]
struct Flags {
    /// Author, as "Name <mail address>"
    #[arg(long, short = 'a', value_name = "string")]
    author: Option<String>,
    /// Apply a Dockerfile instruction (CMD, ENV, ...) to the image
    #[arg(long, short = 'c', value_name = "list")]
    change: Vec<String>,
    /// Kind of the image's documents: oci or docker
    #[arg(long, short = 'f', value_name = "format", default_value = "oci")]
    format: String,
    /// Write the image's ID to a file
    #[arg(long, value_name = "file")]
    iidfile: Option<PathBuf>,
    /// Declare all volumes of the container in the image
    #[arg(long)]
    include_volumes: bool,
    /// Comment in the image's history
    #[arg(long, short = 'm', value_name = "string")]
    message: Option<String>,
    /// Leave a running container running meanwhile
    #[arg(long)]
    no_pause: bool,
    /// Pause a running container meanwhile
    #[arg(long = "pause", short = 'p', action = clap::ArgAction::SetFalse)]
    pause: bool,
    /// For Podman's sake: nothing but the ID is printed anyway
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Make one layer of everything, the image's own included
    #[arg(long, short = 's')]
    squash: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container commit", "commit"],
    about: "Make an image of a container's changes",
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    arity: Arity::Between(1, 2),
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, &arguments),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, arguments: &[String]) -> Outcome {
    let format = match flags.format.as_str() {
        "oci" => Format::Oci,
        "docker" => Format::Docker,
        other => {
            return Err(Failure::Flag(format!(
                "invalid argument {other:?} for \"-f, --format\" flag: expected oci or docker"
            )));
        }
    };
    let request = CommitRequest {
        reference: arguments.get(1).map(|name| reference(name)).transpose()?,
        author: flags.author,
        message: flags.message,
        changes: flags.change,
        pause: flags.pause && !flags.no_pause,
        format,
        squash: flags.squash,
        include_volumes: flags.include_volumes,
    };
    let image = session
        .engine()?
        .commit(&arguments[0], &request, &|text| ui::notice(text))?;
    if let Some(file) = &flags.iidfile {
        std::fs::write(file, image.as_str())
            .system(|| format!("cannot write {}", file.display()))?;
    }
    ui::line(image.as_str())?;
    Ok(0)
}

fn reference(name: &str) -> Result<Reference, Failure> {
    let reference: Reference = name.parse()?;
    if reference.digest().is_some() {
        return Err(Failure::Plain(
            "refusing to create a tag with a digest reference".to_owned(),
            1,
        ));
    }
    Ok(reference)
}
