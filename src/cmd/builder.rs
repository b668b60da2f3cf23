//! `builder` and `buildx`, but for `build` itself: there is one builder, this program, and it is always
//! there. It may be given more names, since scripts make a builder before they build.

use std::ffi::OsString;

use clap::Args;

use super::{
    Session, columns, env,
    failure::Failure,
    parse, ui,
    unsupported::{Answer, Unsupported, boolean},
    verb::{Arity, Outcome, Verb},
};
use crate::model::{Platform, builder::DEFAULT as NAME};

const DRIVER: &str = "coracle";

/// The words with the flags between `buildx` and the command behind the command.
pub fn hoist(words: &[OsString]) -> Vec<OsString> {
    let takes = |word: &OsString| match word.to_str() {
        Some("--builder") => Some(2),
        Some("-D" | "--debug") => Some(1),
        Some(word) if word.starts_with("--builder=") || word.starts_with("--debug=") => Some(1),
        _ => None,
    };
    let mut end = 1;
    while let Some(count) = words.get(end).and_then(takes) {
        end += count;
    }
    let is_buildx = words.first().is_some_and(|word| word == "buildx");
    if !is_buildx || end == 1 || end >= words.len() {
        return words.to_vec();
    }
    let count = if words[end] == "imagetools" { 2 } else { 1 };
    let (command, rest) = words[end..].split_at(count.min(words.len() - end));
    [&words[..1], command, &words[1..end], rest].concat()
}

/// What all commands of buildx take.
#[derive(Args)]
pub struct ClientFlags {
    /// Name of the builder
    #[arg(long, value_name = "string", hide = true)]
    builder: Option<String>,
    /// For docker's sake: `coracle --debug` says more
    #[arg(long, short = 'D', hide = true)]
    debug: bool,
    /// For docker's sake: the builder answers at once
    #[arg(long, value_name = "duration", default_value = "20s", hide = true)]
    timeout: String,
}

impl ClientFlags {
    /// The builder's name: the argument, the flag, or the current one.
    ///
    /// # Errors
    /// If nobody has given it that name.
    pub fn chosen(&self, session: &Session, argument: Option<&String>) -> Result<String, Failure> {
        let _ = (self.debug, &self.timeout);
        chosen(session, argument.or(self.builder.as_ref()))
    }
}

/// The same where `--builder` is a flag among others.
pub fn chosen(session: &Session, named: Option<&String>) -> Result<String, Failure> {
    let named = named.filter(|name| !name.is_empty()).cloned();
    let named = named.or_else(env::builder);
    if named.as_deref() == Some(NAME) {
        return Ok(NAME.to_owned());
    }
    let builders = session.engine()?.builders()?;
    let name = named.unwrap_or_else(|| builders.current().to_owned());
    builders.check(&name)?;
    Ok(name)
}

#[derive(Args)]
struct ListFlags {
    /// "table" or "json"
    #[arg(long, value_name = "string", default_value = "table")]
    format: String,
    /// For docker's sake: nothing is cut
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    client: ClientFlags,
}

pub const LS: Verb = Verb {
    spellings: &["builder ls", "buildx ls"],
    about: "List the names of the builder",
    usage: "[OPTIONS]",
    flags: ListFlags::augment_args,
    run: |session, matches, _| list(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

fn list(session: &Session, flags: &ListFlags) -> Outcome {
    let _ = flags.no_trunc;
    let current = flags.client.chosen(session, None)?;
    let builders = session.engine()?.builders()?;
    match flags.format.as_str() {
        "json" => {
            for name in builders.all() {
                ui::line(&document(name, name == current).to_string())?;
            }
        }
        "table" | "" => {
            let (platform, version) = (Platform::host(), VERSION_TEXT);
            let mut text = "NAME/NODE\tDRIVER/ENDPOINT\tSTATUS\tBUILDKIT\tPLATFORMS\n".to_owned();
            for name in builders.all() {
                let mark = if name == current { "*" } else { "" };
                text.push_str(&format!(
                    "{name}{mark}\t{DRIVER}\t\t\t\n \\_ {name}\t \\_ {NAME}\trunning\t{version}\t{platform}\n"
                ));
            }
            ui::raw(columns::align(&text).as_bytes())?;
        }
        other => {
            return Err(Failure::Plain(
                format!("unknown format {other:?}: there are table and json"),
                1,
            ));
        }
    }
    Ok(0)
}

fn document(name: &str, is_current: bool) -> serde_json::Value {
    serde_json::json!({
        "Name": name,
        "Driver": DRIVER,
        "Current": is_current,
        "Nodes": [{
            "Name": name,
            "Endpoint": NAME,
            "Status": "running",
            "Version": VERSION_TEXT,
            "Platforms": [Platform::host().to_string()],
        }],
    })
}

#[derive(Args)]
struct InspectFlags {
    /// For docker's sake: it is always running
    #[arg(long)]
    bootstrap: bool,
    #[command(flatten)]
    client: ClientFlags,
}

pub const INSPECT: Verb = Verb {
    spellings: &["builder inspect", "buildx inspect"],
    about: "Show the builder",
    usage: "[OPTIONS] [NAME]",
    arity: Arity::AtMost(1),
    flags: InspectFlags::augment_args,
    run: |session, matches, names| {
        let flags: InspectFlags = parse::flags(matches)?;
        let _ = flags.bootstrap;
        let name = flags.client.chosen(session, names.first())?;
        let platform = Platform::host();
        ui::line(&format!(
            "Name:   {name}\nDriver: {DRIVER}\n\nNodes:\nName:             {name}\nEndpoint:         {NAME}\nStatus:           running\nBuildKit version: {VERSION_TEXT}\nPlatforms:        {platform}"
        ))?;
        Ok(0)
    },
    ..Verb::PLAIN
};

/// What would set up another builder, which scripts do before they build.
#[derive(Args)]
struct CreateFlags {
    /// Go on if the name is there already
    #[arg(long)]
    append: bool,
    /// For docker's sake: it is always running
    #[arg(long, hide = true)]
    bootstrap: bool,
    /// For docker's sake: there is no buildkitd
    #[arg(long, alias = "config", value_name = "string", hide = true)]
    buildkitd_config: Option<String>,
    /// For docker's sake: there is no buildkitd
    #[arg(long, value_name = "string", hide = true)]
    buildkitd_flags: Option<String>,
    /// Where it builds: docker or docker-container, which mean this machine
    #[arg(long, value_name = "string")]
    driver: Option<String>,
    /// For docker's sake: there is no buildkitd
    #[arg(long, value_name = "stringArray", hide = true)]
    driver_opt: Vec<String>,
    /// Its name, one made up if nothing is said
    #[arg(long, value_name = "string")]
    name: Option<String>,
    /// For docker's sake: a builder is one node
    #[arg(long, value_name = "string", hide = true)]
    node: Option<String>,
    /// For docker's sake: every platform is built for that this machine can run
    #[arg(long, value_name = "stringArray", hide = true)]
    platform: Vec<String>,
    /// Make it the current one
    #[arg(long = "use")]
    make_current: bool,
    #[command(flatten)]
    client: ClientFlags,
}

static OF_NODES: &[Unsupported] = &[Unsupported {
    instead: "a builder is one node: `coracle buildx rm` removes it",
    ..boolean("leave", Answer::Refuse)
}];

pub const CREATE: Verb = Verb {
    spellings: &["builder create", "buildx create"],
    about: "Give the builder one more name",
    usage: "[OPTIONS] [CONTEXT|ENDPOINT]",
    arity: Arity::AtMost(1),
    unsupported: OF_NODES,
    flags: CreateFlags::augment_args,
    run: |session, matches, _| create(session, parse::flags(matches)?),
    ..Verb::PLAIN
};

fn create(session: &Session, flags: CreateFlags) -> Outcome {
    if let Some(driver) = &flags.driver
        && !matches!(driver.as_str(), "" | "docker" | "docker-container" | DRIVER)
    {
        return Err(Failure::Refused(
            format!("--driver {driver:?} is not supported"),
            "builds run on this machine: leave it out, or say docker-container",
        ));
    }
    let name = flags.name.filter(|name| !name.is_empty());
    let engine = session.engine()?;
    let name = name.map_or_else(|| engine.made_up_name(), Ok)?;
    engine.change_builders(|builders| {
        builders.add(&name, flags.append)?;
        match flags.make_current {
            true => builders.choose(&name),
            false => Ok(()),
        }
    })?;
    ui::line(&name)?;
    Ok(0)
}

#[derive(Args)]
struct UseFlags {
    /// For docker's sake: there are no contexts for which there could be a default
    #[arg(long, hide = true)]
    default: bool,
    /// For docker's sake: there are no contexts between which a builder could change
    #[arg(long, hide = true)]
    global: bool,
    #[command(flatten)]
    client: ClientFlags,
}

pub const USE: Verb = Verb {
    spellings: &["builder use", "buildx use"],
    about: "Choose the current one of the builder's names",
    usage: "[OPTIONS] NAME",
    arity: Arity::Exactly(1),
    flags: UseFlags::augment_args,
    run: |session, matches, names| {
        let flags: UseFlags = parse::flags(matches)?;
        let _ = (flags.default, flags.global);
        let name = flags.client.chosen(session, names.first())?;
        session
            .engine()?
            .change_builders(|builders| builders.choose(&name))?;
        Ok(0)
    },
    ..Verb::PLAIN
};

pub const STOP: Verb = Verb {
    spellings: &["builder stop", "buildx stop"],
    about: "For docker's sake: nothing runs between builds",
    usage: "[NAME]",
    arity: Arity::AtMost(1),
    flags: ClientFlags::augment_args,
    run: |session, matches, names| {
        let flags: ClientFlags = parse::flags(matches)?;
        flags.chosen(session, names.first())?;
        Ok(0)
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct RemoveFlags {
    /// For docker's sake: the builder is always active
    #[arg(long, hide = true)]
    all_inactive: bool,
    /// For docker's sake: nothing is asked
    #[arg(long, short = 'f', hide = true)]
    force: bool,
    /// For docker's sake: there is no buildkitd
    #[arg(long, hide = true)]
    keep_daemon: bool,
    /// For docker's sake: what the builder keeps stays anyway
    #[arg(long, hide = true)]
    keep_state: bool,
    #[command(flatten)]
    client: ClientFlags,
}

pub const RM: Verb = Verb {
    spellings: &["builder rm", "buildx rm"],
    about: "Take names from the builder",
    usage: "[OPTIONS] [NAME...]",
    arity: Arity::AtLeast(0),
    flags: RemoveFlags::augment_args,
    run: |session, matches, names| remove(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn remove(session: &Session, flags: &RemoveFlags, names: &[String]) -> Outcome {
    let _ = (flags.force, flags.keep_daemon, flags.keep_state);
    if flags.all_inactive {
        return Ok(0);
    }
    let names = match names {
        [] => vec![flags.client.chosen(session, None)?],
        names => names.to_vec(),
    };
    for name in &names {
        session
            .engine()?
            .change_builders(|builders| builders.remove(name))?;
        ui::line(&format!("{name} removed"))?;
    }
    Ok(0)
}

/// The release of buildx whose command line this is.
const BUILDX: &str = "v0.24.0";
const VERSION_TEXT: &str = concat!("v", env!("CARGO_PKG_VERSION"));

pub const VERSION: Verb = Verb {
    spellings: &["buildx version"],
    about: "Show the version",
    flags: ClientFlags::augment_args,
    run: |_, _, _| {
        ui::line(&format!(
            "github.com/docker/buildx {BUILDX} coracle-{VERSION_TEXT}"
        ))?;
        Ok(0)
    },
    ..Verb::PLAIN
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_before_the_command_go_behind_it() {
        for (typed, read) in [
            (
                "buildx --builder x du --verbose",
                "buildx du --builder x --verbose",
            ),
            (
                "buildx -D --builder=x build .",
                "buildx build -D --builder=x .",
            ),
            (
                "buildx --builder x imagetools inspect y",
                "buildx imagetools inspect --builder x y",
            ),
            ("buildx du --builder x", "buildx du --builder x"),
            ("buildx --builder", "buildx --builder"),
            ("builder --builder x du", "builder --builder x du"),
        ] {
            let words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
            let read: Vec<OsString> = read.split(' ').map(OsString::from).collect();
            assert_eq!(hoist(&words), read, "{typed}");
        }
    }
}
