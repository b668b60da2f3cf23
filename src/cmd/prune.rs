//! What the commands that clean up share: the question, the filters, the last line.

use std::{collections::BTreeMap, io::BufRead};

use super::{Session, failure::Failure, filter::Filters, times, ui};
use crate::{
    build::cache::{self, CacheEntry},
    engine::{Engine, Removed},
    model::{Result, human, image::ImageRecord},
};

/// Anything but `y` is no.
pub fn confirm(command: &str, warning: &str) -> std::result::Result<(), Failure> {
    let question = format!("{warning}\nAre you sure you want to continue? [y/N] ");
    ui::raw(question.as_bytes())?;
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if answer.trim().eq_ignore_ascii_case("y") {
        Ok(())
    } else {
        Err(Failure::Plain(format!("{command} has been cancelled"), 1))
    }
}

/// The filters of a prune: those of the command line, and those of Docker's `config.json` that they do
/// not say the opposite of.
pub fn filters(
    session: &Session,
    given: &[String],
    known: &[&str],
) -> std::result::Result<Filters, Failure> {
    let configured = session.settings.prune_filters.iter().filter(|text| {
        let opposite = match text.split_once('=') {
            Some(("label", value)) => format!("label!={value}"),
            Some(("label!", value)) => format!("label={value}"),
            _ => return true,
        };
        !given.contains(&opposite)
    });
    let all: Vec<String> = given.iter().chain(configured).cloned().collect();
    Filters::parse(&all, known)
}

/// Which objects the filters of a prune leave.
pub struct Choice {
    filters: Filters,
    /// Nanoseconds after the epoch: only what is older.
    until: Option<i128>,
}

impl Choice {
    pub const FILTERS: [&'static str; 3] = ["label", "label!", "until"];

    pub fn new(filters: Filters) -> Result<Choice> {
        let until = filters.values("until").last();
        let until = until.map(times::parse_moment).transpose()?;
        Ok(Choice { filters, until })
    }

    pub fn filters(&self) -> &Filters {
        &self.filters
    }

    /// `created` is RFC 3339. What does not say when it was made is old.
    pub fn fits(&self, created: &str, labels: &BTreeMap<String, String>) -> bool {
        self.until
            .is_none_or(|moment| times::nanoseconds(created) < moment)
            && self.filters.accepts_labels(labels)
            && self.filters.refuses_no_label(labels)
    }

    fn asks_for_labels(&self) -> bool {
        self.filters.has("label") || self.filters.has("label!")
    }
}

/// Removes and lists what `container prune` would; the bytes that are free now.
pub fn containers(engine: &Engine, choice: &Choice) -> std::result::Result<u64, Failure> {
    let (removed, bytes) =
        engine.prune_containers(&|container| choice.fits(&container.created, &container.labels))?;
    let ids = removed.iter().map(ToString::to_string);
    list("Deleted Containers:", ids)?;
    Ok(bytes)
}

/// The same for images.
pub fn images(engine: &Engine, all: bool, choice: &Choice) -> std::result::Result<u64, Failure> {
    let chosen = |image: &ImageRecord| {
        let labels = match choice.asks_for_labels() {
            true => engine.image_labels(image)?,
            false => BTreeMap::new(),
        };
        Ok(choice.fits(image.created.as_deref().unwrap_or_default(), &labels))
    };
    let (removed, bytes) = engine.prune_images(all, &chosen)?;
    let lines = removed.iter().map(|what| match what {
        Removed::Untagged(name) => format!("untagged: {name}"),
        Removed::Deleted(digest) => format!("deleted: {digest}"),
    });
    list("Deleted Images:", lines)?;
    Ok(bytes)
}

/// The same for volumes without a name, or with `all` for every one.
pub fn volumes(engine: &Engine, all: bool, filters: &Filters) -> std::result::Result<u64, Failure> {
    let mut volumes = engine.volumes()?;
    super::volume_ls::select(&mut volumes, filters)?;
    let names: Vec<String> = volumes
        .into_iter()
        .filter(|volume| volume.used_by.is_empty() && (all || volume.anonymous))
        .map(|volume| volume.name)
        .collect();
    let (removed, bytes) = engine.prune_volumes(&names)?;
    list("Deleted Volumes:", removed.into_iter())?;
    Ok(bytes)
}

/// The same for networks, which take no room.
pub fn networks(engine: &Engine, choice: &Choice) -> std::result::Result<(), Failure> {
    let names: Vec<String> = engine
        .networks()?
        .into_iter()
        .filter(|network| network.custom && network.used_by.is_empty())
        .filter(|network| choice.fits(&network.created, &network.labels))
        .map(|network| network.name)
        .collect();
    let removed = engine.prune_networks(&names)?;
    list("Deleted Networks:", removed.into_iter())
}

/// The same for what builds keep: with `all` also what images have, too. Nothing of it has labels.
pub fn builds(engine: &Engine, all: bool, choice: &Choice) -> std::result::Result<u64, Failure> {
    if choice.asks_for_labels() {
        return Ok(0);
    }
    let old = |entry: &CacheEntry| {
        let used = i128::from(entry.used) * 1_000_000_000;
        choice.until.is_none_or(|moment| used < moment)
    };
    let mut going = cache::list(engine)?;
    going.retain(|entry| !entry.in_use && (all || !entry.shared) && old(entry));
    if going.is_empty() {
        return Ok(0);
    }
    let bytes = cache::remove(engine, &going)?;
    let ids = going.into_iter().map(|entry| entry.id);
    list("Deleted build cache objects:", ids)?;
    Ok(bytes)
}

pub fn total(bytes: u64) -> std::result::Result<(), Failure> {
    say(&format!(
        "Total reclaimed space: {}",
        human::short_size(bytes)
    ))
}

/// `prune | grep -q NAME` reads no further than the name: what is to be removed is removed all the
/// same, and that nobody reads on is no failure.
fn say(text: &str) -> std::result::Result<(), Failure> {
    match ui::line(text) {
        Err(Failure::BrokenPipe) => Ok(()),
        said => said,
    }
}

fn list(heading: &str, lines: impl Iterator<Item = String>) -> std::result::Result<(), Failure> {
    let lines: Vec<String> = lines.collect();
    match lines.is_empty() {
        true => Ok(()),
        false => say(&format!("{heading}\n{}\n", lines.join("\n"))),
    }
}
