//! `container exists` and `image exists`: the answer is the exit code.

use clap::Args;

use super::verb::{Arity, Outcome, Verb};
use crate::model::{ErrorKind, Result};

#[derive(Args)]
struct Flags {
    /// For Podman's sake: no other program's containers are looked at
    #[arg(long, hide = true)]
    external: bool,
}

pub const CONTAINER: Verb = Verb {
    spellings: &["container exists"],
    about: "Tell by the exit code whether a container is there",
    usage: "CONTAINER",
    arity: Arity::Exactly(1),
    flags: Flags::augment_args,
    run: |session, _, names| answer(session.engine()?.container_exists(&names[0])),
    ..Verb::PLAIN
};

pub const IMAGE: Verb = Verb {
    spellings: &["image exists"],
    about: "Tell by the exit code whether an image is there",
    usage: "IMAGE",
    arity: Arity::Exactly(1),
    run: |session, _, names| answer(session.engine()?.image_exists(&names[0])),
    ..Verb::PLAIN
};

fn answer(found: Result<()>) -> Outcome {
    match found {
        Ok(()) => Ok(0),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NoSuchContainer | ErrorKind::NoSuchImage
            ) =>
        {
            Ok(1)
        }
        // Not "no": it cannot be told.
        Err(error) => Err(super::failure::Failure::Plain(error.one_line(), 125)),
    }
}
