//! Every command, and the way from words to one of them.
//!
//! Looking a command up compares a few dozen names; nothing is built before it is found. A new
//! command is a file with a `VERB` and a line here.

use super::{
    artifact, attach, build, builder, builder_prune, clone, commit, completion, config_show,
    container_prune, context, cp, create, diff, doctor, events, exec, exists, export, export_store,
    healthcheck, history, image_files, image_prune, image_scp, image_trust, images, imagetools,
    import, info, init, inspect, kill, load, login, logs, manifest, manifest_far, network,
    network_connect, network_create, network_ls, pause, port, ps, pull, push, reference, refused,
    rename, restart, rm, rmi, run, save, search, secret, spec, start, stats, stop, swarm,
    system_alias, system_boot, system_check, system_df, system_migrate, system_prune, system_reset,
    system_resume, tag, top, untag, update, verb::Verb, version, volume, volume_archive, volume_ls,
    volume_prune, wait,
};

/// The groups that some spellings begin with.
pub const GROUPS: &[(&str, &str)] = &[
    ("artifact", "Commands on artifacts: files in registries"),
    ("builder", "Commands on builds"),
    (
        "buildx",
        "Commands on builds, by the names of docker's plugin",
    ),
    ("config", "Commands on settings"),
    ("container", "Commands on containers"),
    ("context", "Commands on contexts: ways to reach daemons"),
    ("healthcheck", "Commands on health checks"),
    ("image", "Commands on images"),
    ("manifest", "Commands on manifest lists"),
    ("network", "Commands on networks"),
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
    &push::VERB,
    &build::VERB,
    &rmi::VERB,
    &tag::VERB,
    &load::VERB,
    &login::LOGIN,
    &login::LOGOUT,
    &search::VERB,
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
    &export::VERB,
    &volume_ls::VERB,
    &volume::CREATE,
    &inspect::VOLUME,
    &volume::REMOVE,
    &volume_prune::VERB,
    &volume::EXISTS,
    &volume_archive::EXPORT,
    &volume_archive::IMPORT,
    &network_ls::VERB,
    &network_create::VERB,
    &inspect::NETWORK,
    &network::REMOVE,
    &network_ls::PRUNE,
    &network_connect::CONNECT,
    &network_connect::DISCONNECT,
    &network::EXISTS,
    &network::UPDATE,
    &network::RELOAD,
    &secret::CREATE,
    &secret::LS,
    &secret::INSPECT,
    &secret::RM,
    &secret::EXISTS,
    &manifest::CREATE,
    &manifest::ADD,
    &manifest::ANNOTATE,
    &manifest_far::INSPECT,
    &manifest_far::PUSH,
    &manifest_far::REFERRERS,
    &manifest::REMOVE,
    &manifest::RM,
    &manifest::EXISTS,
    &artifact::ADD,
    &artifact::PULL,
    &artifact::PUSH,
    &artifact::LS,
    &artifact::INSPECT,
    &artifact::RM,
    &artifact::EXTRACT,
    &container_prune::VERB,
    &image_prune::VERB,
    &export_store::VERB,
    &image_trust::VERB,
    &system_prune::VERB,
    &system_check::VERB,
    &system_reset::VERB,
    &system_migrate::VERB,
    &system_migrate::RENUMBER,
    &info::VERB,
    &system_resume::VERB,
    &system_boot::VERB,
    &system_alias::VERB,
    &reference::MAN,
    &reference::MARKDOWN,
    &system_df::VERB,
    &untag::VERB,
    &config_show::VERB,
    &context::LS,
    &context::SHOW,
    &context::INSPECT,
    &context::USE,
    &context::CREATE,
    &context::UPDATE,
    &context::EXPORT,
    &context::IMPORT,
    &context::RM,
    &builder_prune::DU,
    &builder_prune::PRUNE,
    &builder::LS,
    &builder::INSPECT,
    &builder::CREATE,
    &builder::USE,
    &builder::STOP,
    &builder::RM,
    &builder::VERSION,
    &imagetools::GROUP,
    &imagetools::INSPECT,
    &imagetools::CREATE,
    &completion::VERB,
    &doctor::VERB,
    &version::VERB,
];

/// Those that act, and behind them those that only answer.
pub fn all() -> impl Iterator<Item = &'static Verb> {
    let act = VERBS.iter().copied();
    act.chain(swarm::VERBS).chain(refused::VERBS)
}

/// The command of exactly this spelling, and the spelling.
pub fn find(spelling: &str) -> Option<(&'static Verb, &'static str)> {
    all().find_map(|verb| {
        let spelling = verb.spellings.iter().find(|name| **name == spelling)?;
        Some((verb, *spelling))
    })
}

pub fn group(name: &str) -> Option<(&'static str, &'static str)> {
    GROUPS.iter().find(|(group, _)| *group == name).copied()
}

/// What may be typed: below a group, or, if it is empty, as the first word.
pub fn spellings(group: &str) -> impl Iterator<Item = &'static str> {
    let groups = GROUPS.iter().map(|(name, _)| *name);
    let verbs = all().flat_map(|verb| verb.spellings).copied();
    verbs
        .chain(groups)
        .filter(move |spelling| match spelling.split_once(' ') {
            Some((its, _)) => its == group,
            None => group.is_empty(),
        })
}
