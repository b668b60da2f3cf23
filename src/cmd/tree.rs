//! Every command, and the way from words to one of them.
//!
//! Looking a command up compares a few dozen names; nothing is built before it is found. A new
//! command is a file with a `VERB` and a line here.

use super::{verb::Verb, version};

/// The groups that some spellings begin with.
pub const GROUPS: &[(&str, &str)] = &[
    ("container", "Commands on containers"),
    ("image", "Commands on images"),
    ("system", "Commands on the engine"),
];

pub static VERBS: &[&Verb] = &[&version::VERB];

/// The command of exactly this spelling, and the spelling.
pub fn find(spelling: &str) -> Option<(&'static Verb, &'static str)> {
    VERBS.iter().find_map(|verb| {
        let spelling = verb.spellings.iter().find(|name| **name == spelling)?;
        Some((*verb, *spelling))
    })
}

pub fn group(name: &str) -> Option<(&'static str, &'static str)> {
    GROUPS.iter().find(|(group, _)| *group == name).copied()
}
