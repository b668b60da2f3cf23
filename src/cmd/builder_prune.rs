//! `builder du` and `builder prune`: what earlier builds have left.

use clap::Args;

use super::{
    Session,
    builder::ClientFlags,
    columns,
    failure::Failure,
    filter::Filters,
    parse, prune, times, ui,
    verb::{Outcome, Verb},
};
use crate::{
    build::cache::{self, CacheEntry},
    model::{Result, human},
};

#[derive(Args)]
struct UsageFlags {
    #[command(flatten)]
    client: ClientFlags,
    /// Show those that fit: id, type, description, shared, inuse, until
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// "table" or "json"
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show all that is known of each
    #[arg(long)]
    verbose: bool,
}

pub const DU: Verb = Verb {
    spellings: &["builder du", "buildx du"],
    about: "Show what the build cache takes on the disk",
    usage: "[OPTIONS]",
    flags: UsageFlags::augment_args,
    run: |session, matches, _| usage(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

#[derive(Args)]
struct PruneFlags {
    /// Forget steps whose layers images have, too
    #[arg(long, short = 'a')]
    all: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// Remove only those that fit: id, type, description, shared, inuse, until
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
    /// Keep so many bytes, of what was used last
    #[arg(long, alias = "keep-storage", value_name = "bytes")]
    reserved_space: Option<String>,
    /// Remove no more than is above so many bytes
    #[arg(long, value_name = "bytes")]
    max_used_space: Option<String>,
    /// Stop when so many bytes of the disk are free
    #[arg(long, value_name = "bytes")]
    min_free_space: Option<String>,
    /// Show all that is known of each
    #[arg(long)]
    verbose: bool,
}

pub const PRUNE: Verb = Verb {
    spellings: &["builder prune", "buildx prune"],
    about: "Remove the build cache",
    usage: "[OPTIONS]",
    flags: PruneFlags::augment_args,
    run: |session, matches, _| remove(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const FILTERS: &[&str] = &[
    "description",
    "id",
    "inuse",
    "shared",
    "type",
    "until",
    "unused-for",
];

fn usage(session: &Session, flags: &UsageFlags) -> Outcome {
    flags.client.chosen(session, None)?;
    let choice = Choice::new(&flags.filter)?;
    let mut entries = cache::list(session.engine()?)?;
    entries.retain(|entry| choice.fits(entry));
    match flags.format.as_deref().unwrap_or_default() {
        "json" => {
            for entry in &entries {
                ui::line(&document(entry).to_string())?;
            }
            return Ok(0);
        }
        _ if flags.verbose => ui::raw(verbose(&entries).as_bytes())?,
        "table" | "" => ui::raw(table(&entries).as_bytes())?,
        other => {
            let text = format!("unknown format {other:?}: there are table and json");
            return Err(Failure::Plain(text, 1));
        }
    }
    let sum = |which: &dyn Fn(&&CacheEntry) -> bool| -> u64 {
        entries.iter().filter(which).map(|entry| entry.bytes).sum()
    };
    let shared = sum(&|entry| entry.shared);
    if shared > 0 {
        ui::line(&format!("Shared:\t\t{}", human::size(shared)))?;
    }
    ui::line(&format!(
        "Private:\t{}",
        human::size(sum(&|entry| !entry.shared))
    ))?;
    ui::line(&format!(
        "Reclaimable:\t{}",
        human::size(sum(&|entry| is_reclaimable(entry)))
    ))?;
    ui::line(&format!("Total:\t\t{}", human::size(sum(&|_| true))))?;
    Ok(0)
}

fn remove(session: &Session, flags: &PruneFlags) -> Outcome {
    flags.client.chosen(session, None)?;
    let choice = Choice::new(&flags.filter)?;
    let limit = |text: &Option<String>| text.as_deref().map(human::parse_bytes).transpose();
    let kept = limit(&flags.reserved_space)?.max(limit(&flags.max_used_space)?);
    if !flags.force {
        let which = if flags.all {
            "all build cache"
        } else {
            "all dangling build cache"
        };
        prune::confirm(
            "builder prune",
            &format!("WARNING! This will remove {which}."),
        )?;
    }
    let engine = session.engine()?;
    let mut room = kept.unwrap_or(0);
    let wanted = limit(&flags.min_free_space)?;
    let mut going: Vec<CacheEntry> = cache::list(engine)?
        .into_iter()
        .filter(|entry| !entry.in_use && (flags.all || !entry.shared) && choice.fits(entry))
        // What was used last comes first, and stays while there is room.
        .filter(|entry| {
            let stays = kept.is_some() && entry.bytes <= room;
            if stays {
                room -= entry.bytes;
            }
            !stays
        })
        .collect();
    if let Some(wanted) = wanted {
        going = oldest(going, wanted.saturating_sub(engine.free_bytes()?));
    }
    let bytes = cache::remove(engine, &going)?;
    let text = match flags.verbose {
        true => verbose(&going),
        false if going.is_empty() => String::new(),
        false => table(&going),
    };
    ui::raw(text.as_bytes())?;
    ui::line(&format!("Total:\t{}", human::size(bytes)))?;
    Ok(0)
}

/// Of these, the last used first, as many of the oldest as have so many bytes.
fn oldest(mut entries: Vec<CacheEntry>, bytes: u64) -> Vec<CacheEntry> {
    let mut sum = 0;
    let count = entries.iter().rev().take_while(|entry| {
        let is_short = sum < bytes;
        sum += entry.bytes;
        is_short
    });
    let kept = entries.len() - count.count();
    entries.split_off(kept)
}

fn is_reclaimable(entry: &CacheEntry) -> bool {
    !entry.in_use
}

struct Choice {
    filters: Filters,
    /// Seconds since 1970.
    until: Option<i128>,
}

impl Choice {
    fn new(texts: &[String]) -> Result<Choice, Failure> {
        let filters = Filters::parse(texts, FILTERS)?;
        let until = filters
            .values("until")
            .chain(filters.values("unused-for"))
            .last();
        let until = until.map(times::parse_moment).transpose()?;
        Ok(Choice {
            until: until.map(|nanoseconds| nanoseconds / 1_000_000_000),
            filters,
        })
    }

    fn fits(&self, entry: &CacheEntry) -> bool {
        let truth = |wanted: &str, is: bool| matches!(wanted, "1" | "true") == is;
        self.until
            .is_none_or(|moment| i128::from(entry.used) <= moment)
            && self.filters.accepts("id", |id| entry.id.starts_with(id))
            && self
                .filters
                .accepts("type", |kind| kind == entry.kind.as_str())
            && self
                .filters
                .accepts("description", |text| entry.description.contains(text))
            && self
                .filters
                .accepts("shared", |wanted| truth(wanted, entry.shared))
            && self
                .filters
                .accepts("inuse", |wanted| truth(wanted, entry.in_use))
    }
}

fn table(entries: &[CacheEntry]) -> String {
    let mut text = "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n".to_owned();
    for entry in entries {
        let mark = if entry.shared { "*" } else { "" };
        let used = times::from_seconds(entry.used).unwrap_or_default();
        text.push_str(&format!(
            "{}{mark}\t{}\t{}\t{}\n",
            entry.id,
            is_reclaimable(entry),
            human::size(entry.bytes),
            times::ago(&used)
        ));
    }
    columns::align(&text)
}

fn verbose(entries: &[CacheEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let used = times::from_seconds(entry.used).unwrap_or_default();
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("{:16}{value}\n", format!("{name}:")));
            }
        };
        line("ID", &entry.id);
        line("Parent", entry.parent.as_deref().unwrap_or_default());
        line("Created at", &entry.created);
        line(
            "Mutable",
            &(entry.kind == cache::CacheKind::Directory).to_string(),
        );
        line("Reclaimable", &is_reclaimable(entry).to_string());
        line("Shared", &entry.shared.to_string());
        line("Size", &human::size(entry.bytes));
        line("Description", &entry.description);
        line("Last used", &times::ago(&used));
        line("Type", entry.kind.as_str());
        text.push('\n');
    }
    text
}

fn document(entry: &CacheEntry) -> serde_json::Value {
    serde_json::json!({
        "ID": entry.id,
        "Parents": entry.parent.iter().collect::<Vec<_>>(),
        "CreatedAt": entry.created,
        "Mutable": entry.kind == cache::CacheKind::Directory,
        "Reclaimable": is_reclaimable(entry),
        "Shared": entry.shared,
        "Size": entry.bytes,
        "Description": entry.description,
        "LastUsedAt": times::from_seconds(entry.used).unwrap_or_default(),
        "Type": entry.kind.as_str(),
    })
}
