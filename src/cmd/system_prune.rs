//! `system prune`: everything that nobody needs, one kind after the other.

use clap::Args;

use super::{
    Session,
    failure::Failure,
    parse,
    prune::{self, Choice},
    verb::{Arity, Outcome, Verb},
};

#[derive(Args)]
struct Flags {
    /// Remove images with a name, too, if no container uses them
    #[arg(long, short = 'a')]
    all: bool,
    /// Remove only what fits: label, label!, until
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
    /// Remove volumes without a name, too
    #[arg(long)]
    volumes: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["system prune"],
    about: "Remove stopped containers, unused networks, images and build cache",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    let choice = Choice::new(prune::filters(session, &flags.filter, &Choice::FILTERS)?)?;
    if flags.volumes && choice.filters().has("until") {
        return Err(Failure::Plain(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"".to_owned(),
            1,
        ));
    }
    if !flags.force {
        prune::confirm("system prune", &warning(flags))?;
    }
    let engine = session.engine()?;
    let mut bytes = prune::containers(engine, &choice)?;
    prune::networks(engine, &choice)?;
    if flags.volumes {
        bytes += prune::volumes(engine, false, choice.filters())?;
    }
    bytes += prune::images(engine, flags.all, &choice)?;
    bytes += prune::builds(engine, flags.all, &choice)?;
    prune::total(bytes)?;
    Ok(0)
}

/// Docker's list.
fn warning(flags: &Flags) -> String {
    let mut kinds = vec![
        "all stopped containers",
        "all networks not used by at least one container",
    ];
    if flags.volumes {
        kinds.push("all anonymous volumes not used by at least one container");
    }
    kinds.extend(match flags.all {
        true => [
            "all images without at least one container associated to them",
            "all build cache",
        ],
        false => ["all dangling images", "unused build cache"],
    });
    let list = |lines: &[&str]| -> String {
        let lines = lines.iter().map(|line| format!("  - {line}\n"));
        lines.collect()
    };
    let mut text = format!("WARNING! This will remove:\n{}", list(&kinds));
    if !flags.filter.is_empty() {
        let filters: Vec<&str> = flags.filter.iter().map(String::as_str).collect();
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        text.push_str(&list(&filters));
    }
    text
}
