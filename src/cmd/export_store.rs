//! `image export-store`: images as a store for others.

use std::path::Path;

use clap::Args;

use super::{
    Session,
    progress::{Show, Stream},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::model::Reference;

#[derive(Args)]
struct Flags {}

pub const VERB: Verb = Verb {
    spellings: &["image export-store"],
    about: "Write images as a store that others can use",
    usage: "IMAGE [IMAGE...] DIR",
    arity: Arity::AtLeast(2),
    flags: Flags::augment_args,
    run: |session, _, words| run(session, &words),
    ..Verb::PLAIN
};

fn run(session: &Session, words: &[String]) -> Outcome {
    let Some((folder, images)) = words.split_last() else {
        return Ok(1);
    };
    let show = Show::new(Stream::Stderr, true);
    let exported = session
        .engine()?
        .export_store(images, Path::new(folder), &show)?;
    for image in exported {
        let name = image.name.as_ref().map(Reference::familiar);
        ui::line(&format!(
            "Exported image: {}",
            name.unwrap_or_else(|| image.config.to_string())
        ))?;
    }
    Ok(0)
}
