//! Docker's commands about what is not here: swarm, plugins, Notary's trust, checkpoints. They are
//! answered as by an engine without these things, in its words and with its codes, since scripts ask
//! whether there is a swarm.

use super::{
    called,
    failure::Failure,
    template::List,
    ui,
    verb::{Arity, Outcome, Verb},
};

const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
const NO_TRUST: &str =
    "content trust (Notary) is not supported: `image trust` is about sigstore's signatures";
const NO_CHECKPOINTS: &str = "checkpoints are not supported: freeze the container with `pause`, or keep its files with `commit`";

/// A word with commands below it: whatever flags they are given, the answer is the same.
const GROUP: Verb = Verb {
    usage: "COMMAND",
    arity: Arity::AtLeast(0),
    program_after: Some(1),
    flags: |command| command.ignore_errors(true),
    ..Verb::PLAIN
};

pub static VERBS: &[Verb] = &[
    Verb {
        spellings: &["swarm"],
        about: "Manage Swarm: there is none here",
        run: |_, _, words| {
            let known = "ca init join join-token leave unlock unlock-key update";
            below("swarm", known, &words, |command| match command {
                "init" | "join" => {
                    Err("swarm mode is not supported: containers run on this machine")
                }
                "leave" => Err("This node is not part of a swarm"),
                _ => Err(NO_MANAGER),
            })
        },
        ..GROUP
    },
    Verb {
        spellings: &["node"],
        about: "Manage Swarm nodes: there is no swarm here",
        run: |_, _, words| {
            let known = "demote inspect ls list promote ps rm remove update";
            below("node", known, &words, |_| Err(NO_MANAGER))
        },
        ..GROUP
    },
    Verb {
        spellings: &["service"],
        about: "Manage Swarm services: there is no swarm here",
        run: |_, _, words| {
            let known = "create inspect logs ls list ps rm remove rollback scale update";
            below("service", known, &words, |_| Err(NO_MANAGER))
        },
        ..GROUP
    },
    Verb {
        spellings: &["stack"],
        about: "Manage Swarm stacks: there is no swarm here",
        run: |_, _, words| {
            let known = "config deploy up ls list ps rm remove down services";
            below("stack", known, &words, |_| Err(NO_MANAGER))
        },
        ..GROUP
    },
    // `config show` is this program's own.
    Verb {
        spellings: &[
            "config create",
            "config inspect",
            "config ls",
            "config list",
            "config rm",
            "config remove",
        ],
        about: "Manage Swarm configs: there is no swarm here",
        run: |_, _, _| Err(Failure::Plain(NO_MANAGER.to_owned(), 1)),
        ..GROUP
    },
    Verb {
        spellings: &["volume update"],
        about: "Update a Swarm volume: there is no swarm here",
        usage: "[OPTIONS] [VOLUME]",
        run: |_, _, _| Err(Failure::Plain(NO_MANAGER.to_owned(), 1)),
        ..GROUP
    },
    Verb {
        spellings: &["plugin"],
        about: "Manage plugins: there are none",
        run: |_, _, words| {
            let known = "create disable enable inspect install ls list push rm remove set upgrade";
            below("plugin", known, &words, |command| match command {
                "ls" | "list" => Ok("ID        NAME      DESCRIPTION   ENABLED"),
                "inspect" => Err("No such plugin"),
                _ => Err(
                    "plugins are not supported: volumes, networks and logs are this program's own",
                ),
            })
        },
        ..GROUP
    },
    Verb {
        spellings: &["trust"],
        about: "Manage trust by Notary: it is not supported",
        run: |_, _, words| {
            let known = "inspect key revoke sign signer view";
            below("trust", known, &words, |_| Err(NO_TRUST))
        },
        ..GROUP
    },
    Verb {
        spellings: &["checkpoint"],
        about: "Manage checkpoints: they are not supported",
        run: |_, _, words| {
            let known = "create ls list rm remove";
            below("checkpoint", known, &words, |_| Err(NO_CHECKPOINTS))
        },
        ..GROUP
    },
];

/// The value of --format.
fn format(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some(("--format", value)) => return Some(value),
            _ if word == "--format" => return words.next(),
            _ => {}
        }
    }
    None
}

/// A list of nothing, with these headings.
fn empty_list(headings: &str, format: Option<&str>) -> Outcome {
    let names = [
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("Enabled", "ENABLED"),
        ("PluginReference", "PLUGIN REFERENCE"),
    ];
    let list = List {
        headings: &names,
        default: "table",
    };
    match format {
        None | Some("" | "table") => ui::line(headings)?,
        asked => ui::raw(list.show(asked, &[])?.as_bytes())?,
    }
    Ok(0)
}

/// Answers one of the `known` commands below `group`: a line for standard output, or the failure.
fn below(
    group: &str,
    known: &str,
    words: &[String],
    answer: impl FnOnce(&str) -> Result<&'static str, &'static str>,
) -> Outcome {
    let own = called::name();
    let usage = |command: &str| format!("Usage:  {own} {group} {command}");
    let Some(command) = words.first() else {
        ui::aside(&usage("COMMAND"));
        return Ok(0);
    };
    if !known.split(' ').any(|one| one == command) {
        let message = format!("unknown command: {own} {group} {command}");
        return Err(Failure::UnknownCommand(message, None));
    }
    if words.iter().any(|word| word == "--help" || word == "-h") {
        ui::line(&usage(&format!("{command} [OPTIONS]")))?;
        return Ok(0);
    }
    match answer(command) {
        // What is not there has no identifiers.
        Ok(_) if words.iter().any(|word| word == "-q" || word == "--quiet") => Ok(0),
        Ok(line) if format(words).is_some() => empty_list(line, format(words)),
        Ok(line) => ui::line(line).map(|()| 0),
        Err(text) => Err(Failure::Plain(text.to_owned(), 1)),
    }
}
