//! `context`: Docker's ways to reach daemons. There is one, `default`, which is this program: it can
//! be looked at and chosen, and there are no others to be made.

use clap::Args;
use serde_json::{Value, json};

use super::{
    failure::Failure,
    listing::Look,
    parse,
    template::{self, List, Row},
    ui,
    verb::{Arity, Verb},
};

const NAME: &str = "default";
const DESCRIPTION: &str = "This machine, without a daemon";
/// What Docker's client says of its own default; some scripts take the socket from it.
const ENDPOINT: &str = "unix:///var/run/docker.sock";

#[derive(Args)]
struct ListFlags {
    /// Print names alone
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    look: Look,
}

pub const LS: Verb = Verb {
    spellings: &["context ls", "context list"],
    about: "List contexts: there is one",
    usage: "[OPTIONS]",
    flags: ListFlags::augment_args,
    run: |_, matches, _| {
        let flags: ListFlags = parse::flags(matches)?;
        let list = List {
            headings: &[
                ("Name", "NAME"),
                ("Description", "DESCRIPTION"),
                ("DockerEndpoint", "DOCKER ENDPOINT"),
                ("Error", "ERROR"),
                // A mark in the name's column, without a heading.
                ("Current", ""),
            ],
            default: r"table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
        };
        let fields = [
            ("Name", NAME),
            ("Description", DESCRIPTION),
            ("DockerEndpoint", ENDPOINT),
            ("Current", "true"),
            ("Error", ""),
        ];
        let row = Row {
            fields: fields
                .map(|(name, value)| (name, value.to_owned()))
                .to_vec(),
            labels: Default::default(),
        };
        flags
            .look
            .print(&list, &[row], None, flags.quiet.then_some("Name"))
    },
    ..Verb::PLAIN
};

pub const SHOW: Verb = Verb {
    spellings: &["context show"],
    about: "Print the name of the current context",
    run: |_, _, _| ui::line(NAME).map(|()| 0),
    ..Verb::PLAIN
};

#[derive(Args)]
struct InspectFlags {
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
}

pub const INSPECT: Verb = Verb {
    spellings: &["context inspect"],
    about: "Show everything about contexts",
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    arity: Arity::AtLeast(0),
    flags: InspectFlags::augment_args,
    run: |_, matches, names| {
        let flags: InspectFlags = parse::flags(matches)?;
        names.iter().try_for_each(|name| known(name))?;
        let count = names.len().max(1);
        match flags.format.as_deref().filter(|format| !format.is_empty()) {
            None | Some("json") => {
                let all: Vec<Value> = vec![described(); count];
                let text = match flags.format {
                    None => serde_json::to_string_pretty(&all),
                    Some(_) => serde_json::to_string(&all),
                };
                ui::line(&text.unwrap_or_default())?;
            }
            Some(format) => {
                for _ in 0..count {
                    ui::line(&template::object(format, None, &described())?)?;
                }
            }
        }
        Ok(0)
    },
    ..Verb::PLAIN
};

pub const USE: Verb = Verb {
    spellings: &["context use"],
    about: "For docker's sake: the only context is always in use",
    usage: "CONTEXT",
    arity: Arity::Exactly(1),
    run: |_, _, names| {
        known(&names[0])?;
        ui::line(NAME)?;
        ui::aside(&format!("Current context is now \"{NAME}\""));
        Ok(0)
    },
    ..Verb::PLAIN
};

/// What would make or change another one.
const CHANGE: Verb = Verb {
    arity: Arity::AtLeast(1),
    flags: |command| command.ignore_errors(true),
    run: |_, _, _| {
        Err(Failure::Plain(
            "there is no daemon to reach by another context: \"default\" is the only one"
                .to_owned(),
            1,
        ))
    },
    ..Verb::PLAIN
};

pub const CREATE: Verb = Verb {
    spellings: &["context create"],
    about: "Not supported: there is no daemon to reach by another context",
    usage: "[OPTIONS] CONTEXT",
    ..CHANGE
};

pub const UPDATE: Verb = Verb {
    spellings: &["context update"],
    about: "Not supported: there is nothing to change of the only context",
    usage: "[OPTIONS] CONTEXT",
    ..CHANGE
};

pub const EXPORT: Verb = Verb {
    spellings: &["context export"],
    about: "Not supported: there is nothing in the only context to be taken elsewhere",
    usage: "[OPTIONS] CONTEXT [FILE|-]",
    ..CHANGE
};

pub const IMPORT: Verb = Verb {
    spellings: &["context import"],
    about: "Not supported: there is no daemon to reach by another context",
    usage: "CONTEXT FILE|-",
    ..CHANGE
};

#[derive(Args)]
struct RemoveFlags {
    /// For docker's sake: the only context is always in use, and stays
    #[arg(long, short = 'f', hide = true)]
    force: bool,
}

pub const RM: Verb = Verb {
    spellings: &["context rm", "context remove"],
    about: "For docker's sake: the only context stays",
    usage: "[OPTIONS] CONTEXT [CONTEXT...]",
    arity: Arity::AtLeast(1),
    flags: RemoveFlags::augment_args,
    run: |_, matches, names| {
        let flags: RemoveFlags = parse::flags(matches)?;
        let _ = flags.force;
        names.iter().try_for_each(|name| known(name))?;
        let text = "context \"default\" cannot be removed".to_owned();
        Err(Failure::Plain(text, 1))
    },
    ..Verb::PLAIN
};

fn known(name: &str) -> Result<(), Failure> {
    match name {
        NAME => Ok(()),
        other => Err(Failure::Plain(
            format!("context {other:?} does not exist"),
            1,
        )),
    }
}

fn described() -> Value {
    json!({
        "Name": NAME,
        "Metadata": {},
        "Endpoints": {"docker": {"Host": ENDPOINT, "SkipTLSVerify": false}},
        "TLSMaterial": {},
        "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
    })
}
