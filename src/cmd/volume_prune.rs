//! `volume prune`: remove the volumes that no container uses.

use std::io::BufRead;

use clap::Args;

use super::{
    Session,
    failure::Failure,
    filter::Filters,
    parse, ui,
    verb::{Arity, Outcome, Verb},
    volume_ls,
};
use crate::model::human;

#[derive(Args)]
struct Flags {
    /// Remove those with a name, too
    #[arg(long, short = 'a')]
    all: bool,
    /// Remove only those that fit: label, label!, until, since
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["volume prune"],
    about: "Remove volumes that no container uses",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const FILTERS: &[&str] = &["all", "label", "label!", "since", "until"];

fn run(session: &Session, flags: &Flags) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let all = flags.all || filters.boolean("all")?.unwrap_or(false);
    if !flags.force {
        let which = if all { "all" } else { "anonymous" };
        confirm(&format!(
            "WARNING! This will remove {which} local volumes not used by at least one container.\nAre you sure you want to continue? [y/N] "
        ))?;
    }
    let engine = session.engine()?;
    let mut volumes = engine.volumes()?;
    volume_ls::select(&mut volumes, &filters)?;
    let names: Vec<String> = volumes
        .into_iter()
        .filter(|volume| volume.used_by.is_empty() && (all || volume.anonymous))
        .map(|volume| volume.name)
        .collect();
    let (removed, bytes) = engine.prune_volumes(&names)?;
    if !removed.is_empty() {
        ui::line("Deleted Volumes:")?;
        for name in &removed {
            ui::line(name)?;
        }
        ui::line("")?;
    }
    ui::line(&format!(
        "Total reclaimed space: {}",
        human::short_size(bytes)
    ))?;
    Ok(0)
}

/// Anything but `y` is no.
fn confirm(question: &str) -> Result<(), Failure> {
    ui::raw(question.as_bytes())?;
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if answer.trim().eq_ignore_ascii_case("y") {
        Ok(())
    } else {
        Err(Failure::Plain(
            "volume prune has been cancelled".to_owned(),
            1,
        ))
    }
}
