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
    let json = match flags.format.as_deref() {
        None | Some("") => false,
        Some("json") => true,
        Some(other) => {
            let text = format!("unknown format {other:?}: there is json");
            return Err(Failure::Plain(text, 125));
        }
    };
    let name = flags.chosen.one(session, "diff", &mut names)?;
    let changes = session.engine()?.diff(&name)?;
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
    for letter in String::from_utf8_lossy(&change.path).chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line.push('\n');
    line
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
