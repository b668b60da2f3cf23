//! `diff`: what a container has changed of its image's files.

use clap::Args;
use serde_json::json;

use super::{
    Session,
    chosen::ChosenFlags,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::engine::{Change, ChangeKind};

#[derive(Args)]
struct Flags {
    /// json: one object with three lists
    #[arg(long, value_name = "string")]
    format: Option<String>,
    #[command(flatten)]
    chosen: ChosenFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["container diff", "diff"],
    about: "Show what a container has changed of its image's files",
    usage: "CONTAINER",
    arity: Arity::AtMost(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, mut names: Vec<String>) -> Outcome {
    let json = is_json(flags.format.as_deref())?;
    let name = flags.chosen.one(session, "diff", &mut names)?;
    let changes = session.engine()?.diff(&name)?;
    print(&changes, json)
}

#[derive(Args)]
struct ImageFlags {
    /// json: one object with three lists
    #[arg(long, value_name = "string")]
    format: Option<String>,
}

pub const IMAGE: Verb = Verb {
    spellings: &["image diff"],
    about: "Show what an image's top layer, or all of it, has otherwise than another image",
    usage: "[OPTIONS] IMAGE [IMAGE]",
    arity: Arity::Between(1, 2),
    flags: ImageFlags::augment_args,
    run: |session, matches, names| {
        let flags: ImageFlags = parse::flags(matches)?;
        let json = is_json(flags.format.as_deref())?;
        let other = names.get(1).map(String::as_str);
        print(&session.engine()?.image_diff(&names[0], other)?, json)
    },
    ..Verb::PLAIN
};

fn is_json(format: Option<&str>) -> Result<bool, Failure> {
    match format {
        None | Some("") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => {
            let text = format!("unknown format {other:?}: there is json");
            Err(Failure::Plain(text, 125))
        }
    }
}

fn print(changes: &[Change], json: bool) -> Outcome {
    if json {
        let of = |kind: ChangeKind| -> Vec<_> {
            let of_kind = changes.iter().filter(|change| change.kind == kind);
            of_kind
                .map(|change| String::from_utf8_lossy(&change.path))
                .collect()
        };
        let mut object = serde_json::Map::new();
        for (name, kind) in [
            ("changed", ChangeKind::Changed),
            ("added", ChangeKind::Added),
            ("deleted", ChangeKind::Deleted),
        ] {
            let paths = of(kind);
            if !paths.is_empty() {
                object.insert(name.to_owned(), json!(paths));
            }
        }
        ui::line(&serde_json::Value::Object(object).to_string())?;
        return Ok(0);
    }
    let lines: String = changes.iter().map(line).collect();
    ui::raw(lines.as_bytes())?;
    Ok(0)
}

/// A name may hold anything: control characters are shown, not sent to the terminal.
fn line(change: &Change) -> String {
    let kind = match change.kind {
        ChangeKind::Changed => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    let mut line = format!("{kind} ");
    push_shown(&mut line, &change.path);
    line.push('\n');
    line
}

/// A name as it can be shown: control characters as escapes.
pub fn push_shown(line: &mut String, name: &[u8]) {
    for letter in String::from_utf8_lossy(name).chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_line() {
        let change = Change {
            kind: ChangeKind::Added,
            path: b"/a\nD /etc\x1b[2J".to_vec(),
        };
        assert_eq!(line(&change), "A /a\\nD /etc\\u{1b}[2J\n");
    }
}
