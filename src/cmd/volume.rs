//! `volume create`, `volume rm`, `volume exists`.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    Session, each, parse, ui,
    unsupported::{Answer, Unsupported, refused, valued},
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{
    engine::volumes::VolumeRequest,
    model::{Error, ErrorKind, Result},
};

#[derive(Args)]
struct CreateFlags {
    /// What keeps the volume: local is the only one
    #[arg(long, short = 'd', value_name = "string", default_value = "local")]
    driver: String,
    /// Give the volume's directory to this group
    #[arg(long, value_name = "gid")]
    gid: Option<u32>,
    /// Do not fail if the volume is there already
    #[arg(long)]
    ignore: bool,
    /// Set a label, KEY=VALUE
    #[arg(long, short = 'l', value_name = "list")]
    label: Vec<String>,
    /// The volume's name, as the argument
    #[arg(long, value_name = "string", hide = true)]
    name: Option<String>,
    /// Option of the driver: type, device or o, as mount(8) takes them (default map[])
    #[arg(long, short = 'o', value_name = "map")]
    opt: Vec<String>,
    /// Give the volume's directory to this user
    #[arg(long, value_name = "uid")]
    uid: Option<u32>,
}

pub const CREATE: Verb = Verb {
    spellings: &["volume create"],
    about: "Make a volume",
    usage: "[OPTIONS] [VOLUME]",
    arity: Arity::AtMost(1),
    unsupported: OF_CLUSTERS,
    flags: CreateFlags::augment_args,
    run: |session, matches, names| create(session, parse::flags(matches)?, names),
    ..Verb::PLAIN
};

const NO_CLUSTER: &str = "cluster volumes belong to a swarm, and there is none";

/// Docker's flags of cluster volumes.
static OF_CLUSTERS: &[Unsupported] = &[
    refused("availability", NO_CLUSTER),
    refused("group", NO_CLUSTER),
    refused("limit-bytes", NO_CLUSTER),
    refused("required-bytes", NO_CLUSTER),
    refused("scope", NO_CLUSTER),
    refused("secret", NO_CLUSTER),
    refused("sharing", NO_CLUSTER),
    refused("topology-preferred", NO_CLUSTER),
    refused("topology-required", NO_CLUSTER),
    refused("type", NO_CLUSTER),
];

fn create(session: &Session, flags: CreateFlags, names: Vec<String>) -> Outcome {
    let argument = names.into_iter().next();
    if argument.is_some() && flags.name.is_some() {
        let text = "conflicting options: cannot specify a volume-name through both --name and as a positional arg";
        return Err(Error::invalid(text).into());
    }
    let name = argument.or(flags.name);
    let request = VolumeRequest {
        name: name.filter(|name| !name.is_empty()),
        driver: flags.driver,
        labels: pairs(&flags.label),
        options: driver_options(&flags.opt)?,
        uid: flags.uid,
        gid: flags.gid,
    };
    // As with Docker, a volume that is there is no failure, with or without --ignore.
    let _ = flags.ignore;
    let (name, _) = session.engine()?.create_volume(request)?;
    ui::line(&name)?;
    Ok(0)
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    texts
        .iter()
        .map(|text| text.split_once('=').unwrap_or((text, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn driver_options(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for text in texts {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!(
                "invalid volume option {text:?}: write it KEY=VALUE"
            ))
        })?;
        options.insert(key.to_owned(), value.to_owned());
    }
    Ok(options)
}

#[derive(Args)]
struct RemoveFlags {
    /// Remove all volumes that no container uses
    #[arg(long, short = 'a')]
    all: bool,
    /// A volume that is not there is no failure
    #[arg(long, short = 'f')]
    force: bool,
}

/// Podman's time until the containers of a volume are killed.
static OF_REMOVAL: &[Unsupported] = &[Unsupported {
    short: Some('t'),
    instead: "no container is stopped",
    ..valued("time", Answer::Ignore)
}];

pub const REMOVE: Verb = Verb {
    spellings: &["volume rm", "volume remove"],
    about: "Remove volumes",
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    arity: Arity::AtLeast(0),
    unsupported: OF_REMOVAL,
    flags: RemoveFlags::augment_args,
    run: |session, matches, names| {
        let flags: RemoveFlags = parse::flags(matches)?;
        if flags.all {
            Arity::None.check("volume rm --all", names.len(), matches)?;
        } else {
            Arity::AtLeast(1).check("volume rm", names.len(), matches)?;
        }
        remove(session, &flags, names)
    },
    ..Verb::PLAIN
};

fn remove(session: &Session, flags: &RemoveFlags, mut names: Vec<String>) -> Outcome {
    if flags.all {
        let volumes = session.engine()?.volumes()?;
        names = volumes.into_iter().map(|volume| volume.name).collect();
    }
    let engine = session.engine()?;
    each::each(Class::Remove, &names, |name| {
        // As with Docker, one that is not there is as good as removed.
        match engine.remove_volume(name) {
            Err(error) if flags.force && error.kind() == ErrorKind::NoSuchVolume => {}
            removed => removed?,
        }
        ui::line(name)
    })
}

pub const EXISTS: Verb = Verb {
    spellings: &["volume exists"],
    about: "Tell by the exit code whether a volume is there",
    usage: "VOLUME",
    arity: Arity::Exactly(1),
    run: |session, _, names| {
        let name = names.first().map(String::as_str).unwrap_or_default();
        match session.engine()?.volume_exists(name) {
            Ok(there) => Ok(u8::from(!there)),
            Err(error) if error.kind() == ErrorKind::NoSuchVolume => Ok(1),
            Err(error) => Err(error.into()),
        }
    },
    ..Verb::PLAIN
};
