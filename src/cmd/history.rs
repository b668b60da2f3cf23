//! `history`: how an image was made, last step first.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    Session, parse,
    template::{List, Row},
    times, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{engine::HistoryStep, model::human};

/// As Docker, in letters.
const LONGEST_COMMAND: usize = 45;

#[derive(Args)]
struct Flags {
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Sizes and ages in words; --human=false: bytes and moments
    #[arg(long, short = 'H', default_value = "true")]
    human: bool,
    /// Do not shorten values
    #[arg(long)]
    no_trunc: bool,
    /// Platform the image must be for
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Print IDs alone
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["image history", "history"],
    about: "Show how an image was made, and what each step added",
    usage: "[OPTIONS] IMAGE",
    arity: Arity::Exactly(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
    ("Tags", "TAGS"),
];

fn run(session: &Session, flags: &Flags, image: &str) -> Outcome {
    let engine = session.engine()?;
    let platform = flags.platform.as_deref().filter(|text| !text.is_empty());
    if let Some(platform) = platform {
        engine.check_image_platform(image, &platform.parse()?)?;
    }
    let steps = engine.image_history(image)?;
    let format = flags.format.as_deref();
    if flags.quiet && format.is_none_or(|format| matches!(format, "" | "table")) {
        for step in &steps {
            ui::line(&id(step, flags.no_trunc))?;
        }
        return Ok(0);
    }
    let rows: Vec<Row> = steps.iter().map(|step| row(step, flags)).collect();
    let list = List {
        headings: HEADINGS,
        default: match flags.human {
            true => r"table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
            false => r"table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        },
    };
    ui::raw(list.show(format, &rows)?.as_bytes())?;
    Ok(0)
}

fn id(step: &HistoryStep, whole: bool) -> String {
    match &step.image {
        None => "<missing>".to_owned(),
        Some(image) if whole => image.to_string(),
        Some(image) => image.short().to_owned(),
    }
}

fn row(step: &HistoryStep, flags: &Flags) -> Row {
    let created = step.created.as_deref();
    let age = created.map(times::ago).filter(|age| !age.is_empty());
    Row {
        fields: vec![
            ("ID", id(step, flags.no_trunc)),
            ("CreatedSince", age.unwrap_or_else(|| "N/A".to_owned())),
            ("CreatedAt", shown(created.unwrap_or_default())),
            ("CreatedBy", command(&step.created_by, flags.no_trunc)),
            (
                "Size",
                match flags.human {
                    true => human::short_size(step.size),
                    false => step.size.to_string(),
                },
            ),
            ("Comment", shown(&step.comment)),
            ("Tags", step.tags.join(", ")),
        ],
        labels: BTreeMap::new(),
    }
}

/// What an image says of itself may hold anything: control characters are shown, not sent to the
/// terminal. A tab would shift the columns.
fn shown(text: &str) -> String {
    let mut line = String::new();
    super::diff::push_shown(&mut line, text.replace('\t', " ").as_bytes());
    line
}

fn command(text: &str, whole: bool) -> String {
    let text = shown(text);
    if whole || text.chars().count() <= LONGEST_COMMAND {
        return text;
    }
    let mut short: String = text.chars().take(LONGEST_COMMAND - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_one_short_line() {
        assert_eq!(command("a\tb\x1b[2J\nc", false), "a b\\u{1b}[2J\\nc");
        let long = "x".repeat(60);
        assert_eq!(command(&long, true), long);
        assert_eq!(command(&long, false).chars().count(), 45);
        assert!(command(&long, false).ends_with('…'));
    }
}
