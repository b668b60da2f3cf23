//! Every command, and the way from words to one of them.
//!
//! Looking a command up compares a few dozen names; nothing is built before it is found. A new
//! command is a file with a `VERB` and a line here.

use super::{
    attach, clone, commit, container_prune, cp, create, diff, doctor, events, exec, exists, export,
    healthcheck, history, image_files, image_prune, image_scp, image_trust, images, import, info,
    init, inspect, kill, load, logs, pause, port, ps, pull, refused, rename, restart, rm, rmi, run,
    save, secret, spec, start, stats, stop, system_boot, system_check, system_prune, system_resume,
    tag, top, update, verb::Verb, version, volume, volume_archive, volume_ls, volume_prune, wait,
};

/// The groups that some spellings begin with.
pub const GROUPS: &[(&str, &str)] = &[
    ("container", "Commands on containers"),
    ("healthcheck", "Commands on health checks"),
    ("image", "Commands on images"),
    ("secret", "Commands on secrets"),
    ("system", "Commands on the engine"),
    ("volume", "Commands on volumes"),
];

/// The most frequent first: that is the order they are compared in.
pub static VERBS: &[&Verb] = &[
    &run::VERB,
    &exec::VERB,
    &ps::VERB,
    &inspect::VERB,
    &inspect::CONTAINER,
    &inspect::IMAGE,
    &rm::VERB,
    &stop::VERB,
    &restart::VERB,
    &start::VERB,
    &create::VERB,
    &logs::VERB,
    &events::VERB,
    &port::VERB,
    &images::VERB,
    &pull::VERB,
    &rmi::VERB,
    &tag::VERB,
    &load::VERB,
    &save::VERB,
    &import::VERB,
    &kill::VERB,
    &wait::VERB,
    &spec::VERB,
    &top::VERB,
    &stats::VERB,
    &pause::PAUSE,
    &pause::UNPAUSE,
    &update::VERB,
    &healthcheck::RUN,
    &attach::VERB,
    &cp::VERB,
    &clone::VERB,
    &commit::VERB,
    &diff::VERB,
    &diff::IMAGE,
    &history::VERB,
    &image_files::LIST,
    &image_files::TREE,
    &image_scp::VERB,
    &rename::VERB,
    &exists::CONTAINER,
    &exists::IMAGE,
    &init::VERB,
    &init::CLEANUP,
    &refused::CHECKPOINT,
    &refused::RESTORE,
    &refused::MOUNT,
    &refused::UNMOUNT,
    &refused::IMAGE_MOUNT,
    &refused::IMAGE_UNMOUNT,
    &refused::RUNLABEL,
    &export::VERB,
    &volume_ls::VERB,
    &volume::CREATE,
    &inspect::VOLUME,
    &volume::REMOVE,
    &volume_prune::VERB,
    &volume::EXISTS,
    &volume_archive::EXPORT,
    &volume_archive::IMPORT,
    &secret::CREATE,
    &secret::LS,
    &secret::INSPECT,
    &secret::RM,
    &secret::EXISTS,
    &container_prune::VERB,
    &image_prune::VERB,
    &image_trust::VERB,
    &system_prune::VERB,
    &system_check::VERB,
    &info::VERB,
    &system_resume::VERB,
    &system_boot::VERB,
    &doctor::VERB,
    &version::VERB,
];

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
