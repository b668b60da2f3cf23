//! `system check`: whether the store is what it says, and its repair.

use clap::Args;
use serde_json::{Value, json};

use super::{
    Session,
    failure::Failure,
    parse,
    progress::{Show, Stream},
    registry_flags::RegistryFlags,
    template, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{self, Finding, Health, StoreCheck, StoreCheckOptions},
    model::human,
};

#[derive(Args)]
struct Flags {
    /// With --repair: remove images and containers that cannot be mended, and mend what running containers use
    #[arg(long, short = 'f')]
    force: bool,
    /// "json", or a template in Go's language for each check
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Age at which leftovers and content that nothing names are told of
    #[arg(long, short = 'm', value_name = "duration", default_value = "24h0m0s")]
    max: String,
    /// Look at sizes, not at contents
    #[arg(long, short = 'q')]
    quick: bool,
    /// Mend what can be mended
    #[arg(long, short = 'r')]
    repair: bool,
    #[command(flatten)]
    registry: RegistryFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["system check"],
    about: "Look whether the store is sound, and mend it",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

/// What could not be looked at mostly has one cause; `--format json` has all of it.
const MOST_UNKNOWN: usize = 10;

/// Exit code 1 if something is broken and was not mended, or could not be looked at.
fn run(session: &Session, flags: &Flags) -> Outcome {
    let options = StoreCheckOptions {
        repair: flags.repair,
        force: flags.force,
        quick: flags.quick,
        max_age: human::parse_duration(&flags.max)?,
    };
    if flags.force && !flags.repair {
        ui::notice("--force has no effect without --repair");
    }
    let registry = flags.registry.options(session)?;
    let show = Show::new(Stream::Stderr, true);
    let checks = session.engine()?.check_store(options, &registry, &show)?;
    match flags.format.as_deref() {
        None | Some("") => text(&checks)?,
        Some("json") => {
            let all: Vec<Value> = checks.iter().map(as_json).collect();
            let text = serde_json::to_string_pretty(&all).unwrap_or_default();
            ui::json(format!("{text}\n").as_bytes())?;
        }
        Some(format) => {
            for check in &checks {
                ui::line(&template::object(format, None, &as_json(check))?)?;
            }
        }
    }
    let any = |health| checks.iter().any(|check| check.health == health);
    if any(Health::Broken) {
        return Ok(1);
    }
    if any(Health::Unknown) {
        // What nobody has seen is not known to be sound.
        let text = "the check is not complete: not everything could be looked at";
        return Err(Failure::Plain(text.to_owned(), 1));
    }
    Ok(0)
}

fn text(checks: &[StoreCheck]) -> std::result::Result<(), Failure> {
    let wide = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for check in checks {
        let verdict = match check.health {
            Health::Fine => "ok     ",
            Health::Limited => "note   ",
            Health::Broken => "BROKEN ",
            Health::Unknown => "unknown",
        };
        ui::line(&format!(
            "{verdict}  {:wide$}  {}",
            check.name,
            summary(check)
        ))?;
        for finding in &check.findings {
            ui::line(&format!("         {:wide$}  {}", "", told(finding)))?;
        }
        for unknown in check.unknown.iter().take(MOST_UNKNOWN) {
            ui::line(&format!(
                "         {:wide$}  could not look: {}",
                "",
                plain(unknown)
            ))?;
        }
        if let Some(more @ 1..) = check.unknown.len().checked_sub(MOST_UNKNOWN) {
            ui::line(&format!("         {:wide$}  … and {more} more", ""))?;
        }
    }
    Ok(())
}

fn summary(check: &StoreCheck) -> String {
    let mut parts = Vec::new();
    if check.looked > 0 {
        parts.push(format!("{} looked at", check.looked));
    }
    let count = |outcome| {
        let findings = check.findings.iter();
        findings
            .filter(|finding| finding.outcome == outcome)
            .count()
    };
    for (outcome, word) in [
        (engine::Outcome::Found, "found"),
        (engine::Outcome::Mended, "mended"),
        (engine::Outcome::Removed, "removed"),
    ] {
        match count(outcome) {
            0 => {}
            n => parts.push(format!("{n} {word}")),
        }
    }
    parts.join(", ")
}

fn told(finding: &Finding) -> String {
    let what = plain(&finding.what);
    let why = plain(&finding.why);
    let end = match (finding.outcome, &finding.left) {
        (engine::Outcome::Mended, _) => " (mended)".to_owned(),
        (engine::Outcome::Removed, _) => " (removed)".to_owned(),
        (engine::Outcome::Found, Some(left)) => format!(" ({})", plain(left)),
        (engine::Outcome::Found, None) => String::new(),
    };
    format!("{what}: {why}{end}")
}

/// Names of files may hold anything.
fn plain(text: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => '?',
        false => letter,
    };
    text.chars().map(shown).collect()
}

fn as_json(check: &StoreCheck) -> Value {
    let findings: Vec<Value> = check
        .findings
        .iter()
        .map(|finding| {
            json!({
                "What": finding.what,
                "Why": finding.why,
                "Outcome": match finding.outcome {
                    engine::Outcome::Found => "found",
                    engine::Outcome::Mended => "mended",
                    engine::Outcome::Removed => "removed",
                },
                "Left": finding.left,
            })
        })
        .collect();
    json!({
        "Name": check.name,
        "Result": match check.health {
            Health::Fine => "fine",
            Health::Limited => "note",
            Health::Broken => "broken",
            Health::Unknown => "unknown",
        },
        "Looked": check.looked,
        "Findings": findings,
        "Unknown": check.unknown,
    })
}
