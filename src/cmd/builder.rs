//! `builder` and `buildx`, but for `build` itself: there is one builder, this program, and it is always
//! there.

use clap::Args;

use super::{
    columns,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::model::Platform;

const NAME: &str = "default";
const DRIVER: &str = "coracle";

#[derive(Args)]
struct ListFlags {
    /// "table" or "json"
    #[arg(long, value_name = "string", default_value = "table")]
    format: String,
    /// For docker's sake: nothing is cut
    #[arg(long)]
    no_trunc: bool,
}

pub const LS: Verb = Verb {
    spellings: &["builder ls", "buildx ls"],
    about: "List builders: there is one",
    usage: "[OPTIONS]",
    flags: ListFlags::augment_args,
    run: |_, matches, _| list(&parse::flags(matches)?),
    ..Verb::PLAIN
};

fn list(flags: &ListFlags) -> Outcome {
    let _ = flags.no_trunc;
    let platform = Platform::host();
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    match flags.format.as_str() {
        "json" => ui::line(
            &serde_json::json!({
                "Name": NAME,
                "Driver": DRIVER,
                "Current": true,
                "Nodes": [{
                    "Name": NAME,
                    "Endpoint": NAME,
                    "Status": "running",
                    "Version": version,
                    "Platforms": [platform.to_string()],
                }],
            })
            .to_string(),
        )?,
        "table" | "" => {
            let text = format!(
                "NAME/NODE\tDRIVER/ENDPOINT\tSTATUS\tBUILDKIT\tPLATFORMS\n{NAME}*\t{DRIVER}\t\t\t\n \\_ {NAME}\t \\_ {NAME}\trunning\t{version}\t{platform}\n"
            );
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

#[derive(Args)]
struct InspectFlags {
    /// For docker's sake: it is always running
    #[arg(long)]
    bootstrap: bool,
}

pub const INSPECT: Verb = Verb {
    spellings: &["builder inspect", "buildx inspect"],
    about: "Show the builder",
    usage: "[OPTIONS] [NAME]",
    arity: Arity::AtMost(1),
    flags: InspectFlags::augment_args,
    run: |_, matches, names| {
        let flags: InspectFlags = parse::flags(matches)?;
        let _ = flags.bootstrap;
        known(names.first())?;
        let platform = Platform::host();
        let version = env!("CARGO_PKG_VERSION");
        ui::line(&format!(
            "Name:   {NAME}\nDriver: {DRIVER}\n\nNodes:\nName:             {NAME}\nEndpoint:         {NAME}\nStatus:           running\nBuildKit version: v{version}\nPlatforms:        {platform}"
        ))?;
        Ok(0)
    },
    ..Verb::PLAIN
};

pub fn known(name: Option<&String>) -> Result<(), Failure> {
    match name.map(String::as_str) {
        None | Some("" | NAME) => Ok(()),
        Some(other) => Err(Failure::Plain(format!("no builder {other:?} found"), 1)),
    }
}

/// What would set up another builder, which scripts do before they build.
#[derive(Args)]
struct CreateFlags {
    #[arg(long, hide = true)]
    append: bool,
    #[arg(long, hide = true)]
    bootstrap: bool,
    #[arg(long, alias = "config", value_name = "string", hide = true)]
    buildkitd_config: Option<String>,
    #[arg(long, value_name = "string", hide = true)]
    buildkitd_flags: Option<String>,
    #[arg(long, value_name = "string", hide = true)]
    driver: Option<String>,
    #[arg(long, value_name = "list", hide = true)]
    driver_opt: Vec<String>,
    #[arg(long, hide = true)]
    leave: bool,
    #[arg(long, value_name = "string", hide = true)]
    name: Option<String>,
    #[arg(long, value_name = "string", hide = true)]
    node: Option<String>,
    #[arg(long, value_name = "list", hide = true)]
    platform: Vec<String>,
    #[arg(long = "use", hide = true)]
    make_current: bool,
}

pub const CREATE: Verb = Verb {
    spellings: &["builder create", "buildx create"],
    about: "For docker's sake: the builder that is there is the only one",
    usage: "[OPTIONS] [CONTEXT|ENDPOINT]",
    arity: Arity::AtMost(1),
    flags: CreateFlags::augment_args,
    run: |_, matches, _| {
        let _: CreateFlags = parse::flags(matches)?;
        ui::notice(
            "no builder was made: the one that is there needs no daemon and is the only one",
        );
        ui::line(NAME)?;
        Ok(0)
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct UseFlags {
    #[arg(long, hide = true)]
    default: bool,
    #[arg(long, hide = true)]
    global: bool,
}

pub const USE: Verb = Verb {
    spellings: &["builder use", "buildx use"],
    about: "For docker's sake: the builder is always in use",
    usage: "[OPTIONS] NAME",
    arity: Arity::Exactly(1),
    flags: UseFlags::augment_args,
    run: |_, matches, names| {
        let _: UseFlags = parse::flags(matches)?;
        known(names.first())?;
        Ok(0)
    },
    ..Verb::PLAIN
};

pub const STOP: Verb = Verb {
    spellings: &["builder stop", "buildx stop"],
    about: "For docker's sake: nothing runs between builds",
    usage: "[NAME]",
    arity: Arity::AtMost(1),
    run: |_, _, names| {
        known(names.first())?;
        Ok(0)
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct RemoveFlags {
    #[arg(long, hide = true)]
    all_inactive: bool,
    #[arg(long, short = 'f', hide = true)]
    force: bool,
    #[arg(long, hide = true)]
    keep_daemon: bool,
    #[arg(long, hide = true)]
    keep_state: bool,
}

pub const RM: Verb = Verb {
    spellings: &["builder rm", "buildx rm"],
    about: "For docker's sake: the only builder stays",
    usage: "[OPTIONS] [NAME...]",
    arity: Arity::AtLeast(0),
    flags: RemoveFlags::augment_args,
    run: |_, matches, names| {
        let flags: RemoveFlags = parse::flags(matches)?;
        if flags.all_inactive {
            return Ok(0);
        }
        known(names.first())?;
        Err(Failure::Refused(
            "the builder \"default\" cannot be removed".to_owned(),
            "`coracle builder prune` removes what it keeps",
        ))
    },
    ..Verb::PLAIN
};

pub const VERSION: Verb = Verb {
    spellings: &["buildx version"],
    about: "Show the version",
    run: |_, _, _| {
        ui::line(concat!("coracle v", env!("CARGO_PKG_VERSION")))?;
        Ok(0)
    },
    ..Verb::PLAIN
};
