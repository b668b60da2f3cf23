//! `search`: repositories of registries, by a part of their name.

use clap::Args;
use serde_json::json;

use super::{
    Session,
    failure::Failure,
    filter::Filters,
    parse,
    registry_flags::RegistryFlags,
    template::{List, Row},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::logins::{self, FoundRepository},
    model::{Error, Reference, reference::DOCKER_HUB},
};

/// Docker's and podman's default.
const USUAL_LIMIT: usize = 25;
/// What Docker Hub gives at most.
const MAX_LIMIT: usize = 100;
/// Characters of a description, unless `--no-trunc`.
const SHOWN: usize = 45;

#[derive(Args)]
struct Flags {
    /// For podman's sake: Docker's columns are shown anyway
    #[arg(long, hide = true)]
    compatible: bool,
    /// Show those that fit: stars=N, is-official=BOOL, is-automated=BOOL
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show at most so many of each registry
    #[arg(long, value_name = "int")]
    limit: Option<i64>,
    /// List the tags of the repository that is named
    #[arg(long)]
    list_tags: bool,
    /// Show descriptions whole
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    registry: RegistryFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["image search", "search"],
    about: "Search registries for images",
    usage: "[OPTIONS] TERM",
    arity: Arity::Exactly(1),
    flags: Flags::augment_args,
    run: |session, matches, terms| run(session, &parse::flags(matches)?, &terms[0]),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, term: &str) -> Outcome {
    let limit = limit(flags)?;
    if flags.list_tags {
        return list_tags(session, flags, term, limit);
    }
    let filters = Filters::parse(&flags.filter, &["is-automated", "is-official", "stars"])?;
    let stars = stars(&filters)?;
    let official = filters.boolean("is-official")?;
    let automated = filters.boolean("is-automated")?;
    let options = flags.registry.options(session)?;
    let asked = limit.unwrap_or(USUAL_LIMIT);
    let mut found = logins::search(&options, term, asked)?;
    found.retain(|(_, one)| {
        one.stars >= stars
            && official.is_none_or(|wanted| one.official == wanted)
            && automated.is_none_or(|wanted| one.automated == wanted)
    });
    let rows: Vec<Row> = found
        .iter()
        .map(|(registry, one)| row(registry, one, flags.no_trunc))
        .collect();
    let list = List {
        headings: &[
            ("Index", "INDEX"),
            ("Name", "NAME"),
            ("Description", "DESCRIPTION"),
            ("StarCount", "STARS"),
            ("Stars", "STARS"),
            ("IsOfficial", "OFFICIAL"),
            ("Official", "OFFICIAL"),
            ("IsAutomated", "AUTOMATED"),
            ("Automated", "AUTOMATED"),
        ],
        default: r"table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    };
    ui::raw(list.show(flags.format.as_deref(), &rows)?.as_bytes())?;
    Ok(0)
}

fn limit(flags: &Flags) -> Result<Option<usize>, Failure> {
    match flags.limit {
        None | Some(0) => Ok(None),
        Some(limit) => match usize::try_from(limit) {
            Ok(limit) if limit <= MAX_LIMIT || flags.list_tags => Ok(Some(limit)),
            _ => Err(Error::invalid(format!(
                "invalid --limit {limit}: expected 1 to {MAX_LIMIT}"
            ))
            .into()),
        },
    }
}

fn stars(filters: &Filters) -> Result<u64, Failure> {
    let mut least = 0;
    for text in filters.values("stars") {
        let stars = text
            .parse()
            .map_err(|_| Error::invalid(format!("invalid filter stars={text}: not a number")))?;
        least = least.max(stars);
    }
    Ok(least)
}

fn row(registry: &str, one: &FoundRepository, whole: bool) -> Row {
    let mark = |yes: bool| if yes { "[OK]" } else { "" }.to_owned();
    let name = if registry == DOCKER_HUB {
        one.name.clone()
    } else {
        format!("{registry}/{}", one.name)
    };
    Row {
        fields: vec![
            ("Index", registry.to_owned()),
            ("Name", quiet(&name)),
            ("Description", description(&one.description, whole)),
            ("StarCount", one.stars.to_string()),
            ("Stars", one.stars.to_string()),
            ("IsOfficial", mark(one.official)),
            ("Official", mark(one.official)),
            ("IsAutomated", mark(one.automated)),
            ("Automated", mark(one.automated)),
        ],
        labels: std::collections::BTreeMap::new(),
    }
}

/// A registry's words without what steers a terminal or a table.
fn quiet(text: &str) -> String {
    let shown = |c: char| match c {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    };
    text.chars().map(shown).collect()
}

fn description(text: &str, whole: bool) -> String {
    let text = quiet(text);
    if whole || text.chars().count() <= SHOWN {
        return text;
    }
    let mut short: String = text.chars().take(SHOWN - 1).collect();
    short.push('…');
    short
}

fn list_tags(session: &Session, flags: &Flags, name: &str, limit: Option<usize>) -> Outcome {
    if !flags.filter.is_empty() {
        return Err(Failure::Plain(
            "--filter does not go with --list-tags".to_owned(),
            125,
        ));
    }
    let typed: Reference = name.parse()?;
    let (reference, mut tags) = logins::tags(&flags.registry.options(session)?, &typed)?;
    tags.truncate(limit.unwrap_or(USUAL_LIMIT));
    let repository = reference.name();
    if flags.format.as_deref() == Some("json") {
        let list = json!([{"Name": repository, "Tags": tags}]);
        ui::line(&serde_json::to_string_pretty(&list).unwrap_or_default())?;
        return Ok(0);
    }
    let rows: Vec<Row> = tags
        .iter()
        .map(|tag| Row {
            fields: vec![("Name", repository.clone()), ("Tag", quiet(tag))],
            labels: std::collections::BTreeMap::new(),
        })
        .collect();
    let list = List {
        headings: &[("Name", "NAME"), ("Tag", "TAG")],
        default: r"table {{.Name}}\t{{.Tag}}",
    };
    ui::raw(list.show(flags.format.as_deref(), &rows)?.as_bytes())?;
    Ok(0)
}
