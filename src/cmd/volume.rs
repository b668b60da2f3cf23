//! `volume create`, `volume rm`, `volume exists`.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    Session, each, parse, ui,
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
    flags: CreateFlags::augment_args,
    run: |session, matches, names| create(session, parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn create(session: &Session, flags: CreateFlags, names: Vec<String>) -> Outcome {
    let request = VolumeRequest {
        name: names.into_iter().next().filter(|name| !name.is_empty()),
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

pub const REMOVE: Verb = Verb {
    spellings: &["volume rm", "volume remove"],
    about: "Remove volumes",
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    arity: Arity::AtLeast(0),
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
