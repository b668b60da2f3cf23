//! `tag`: give an image more names.

use clap::Args;

use super::{
    Session,
    verb::{Arity, Outcome, Verb},
};
use crate::model::{Error, Reference, Result};

#[derive(Args)]
struct Flags {}

pub const VERB: Verb = Verb {
    spellings: &["image tag", "tag"],
    about: "Give an image more names",
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG] [TARGET_IMAGE[:TAG]...]",
    arity: Arity::AtLeast(0),
    flags: Flags::augment_args,
    run: |session, matches, names| {
        // Docker's words; more than one target is Podman's.
        if names.len() < 2 {
            Arity::Exactly(2).check("tag", names.len(), matches)?;
        }
        run(session, &names[0], &names[1..])
    },
    ..Verb::PLAIN
};

fn run(session: &Session, image: &str, names: &[String]) -> Outcome {
    let targets: Vec<Reference> = names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_>>()?;
    if let Some(target) = targets.iter().find(|target| target.digest().is_some()) {
        return Err(Error::invalid(format!(
            "{target} has a digest, which only a registry can give"
        ))
        .into());
    }
    session.engine()?.tag_all(image, &targets)?;
    Ok(0)
}
