//! `untag`: take names from an image.

use clap::Args;

use super::{
    Session,
    verb::{Arity, Outcome, Verb},
};
use crate::model::{Reference, Result};

#[derive(Args)]
struct Flags {}

pub const VERB: Verb = Verb {
    spellings: &["image untag", "untag"],
    about: "Take names from an image, all of them if none is given; the image stays",
    usage: "IMAGE [NAME...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |session, _, names| run(session, &names[0], &names[1..]),
    ..Verb::PLAIN
};

fn run(session: &Session, image: &str, names: &[String]) -> Outcome {
    let names: Vec<Reference> = names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_>>()?;
    session.engine()?.untag(image, &names)?;
    Ok(0)
}
