//! `rename`: give a container another name.

use super::verb::{Arity, Verb};

pub const VERB: Verb = Verb {
    spellings: &["container rename", "rename"],
    about: "Give a container another name",
    usage: "CONTAINER NEW_NAME",
    arity: Arity::Exactly(2),
    run: |session, _, names| {
        session.engine()?.rename(&names[0], &names[1])?;
        Ok(0)
    },
    ..Verb::PLAIN
};
