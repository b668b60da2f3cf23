//! `rmi`: take names from images, and remove those without any.

use clap::Args;

use super::{
    Session, each,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::engine::Removed;

#[derive(Args)]
struct Flags {
    /// Remove an image although a stopped container or another name uses it
    #[arg(long, short = 'f')]
    force: bool,
    /// For Docker's sake: images have no parents
    #[arg(long, hide = true)]
    no_prune: bool,
    #[arg(long, value_name = "string", hide = true)]
    platform: Vec<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["image rm", "image remove", "rmi"],
    about: "Remove images",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: &[String]) -> Outcome {
    if !flags.platform.is_empty() {
        return Err(Failure::Plain(
            "--platform is not supported yet".to_owned(),
            125,
        ));
    }
    let engine = session.engine()?;
    each::each(names, |name| {
        let mut removed = Vec::new();
        let result = engine
            .remove_image(name, flags.force)
            .map(|lines| removed = lines);
        each::forgive_missing(flags.force, result)?;
        for what in &removed {
            match what {
                Removed::Untagged(name) => ui::line(&format!("Untagged: {name}"))?,
                Removed::Deleted(digest) => ui::line(&format!("Deleted: {digest}"))?,
            }
        }
        Ok(())
    })
}
