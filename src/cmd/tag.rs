//! `tag`: give an image one more name.

use clap::Args;

use super::{
    Session,
    verb::{Arity, Outcome, Verb},
};
use crate::model::{Error, Reference};

#[derive(Args)]
struct Flags {}

pub const VERB: Verb = Verb {
    spellings: &["image tag", "tag"],
    about: "Give an image one more name",
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    arity: Arity::Exactly(2),
    flags: Flags::augment_args,
    run: |session, _, names| run(session, &names[0], &names[1]),
    ..Verb::PLAIN
};

fn run(session: &Session, image: &str, name: &str) -> Outcome {
    let target: Reference = name.parse()?;
    if target.digest().is_some() {
        return Err(Error::invalid(format!(
            "{name} has a digest, which only a registry can give"
        ))
        .into());
    }
    session.engine()?.tag(image, &target)?;
    Ok(0)
}
