//! `system reset`: everything goes.

use clap::Args;

use super::{
    Session, parse, prune, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::engine::Engine;

#[derive(Args)]
struct Flags {
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["system reset"],
    about: "Remove all containers, images, volumes and everything else of the store",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    // The engine of the session would make a store where there is none.
    let options = session.settings.engine_options();
    if !flags.force {
        let (root, runroot) = options.places()?;
        let lines = [
            "all containers".to_owned(),
            "all images".to_owned(),
            "all volumes".to_owned(),
            "all secrets".to_owned(),
            format!("the content of the root: {}", root.display()),
            format!("the content of the run root: {}", runroot.display()),
        ];
        let list: String = lines.iter().map(|line| format!("  - {line}\n")).collect();
        let warning = format!("WARNING! This will remove:\n{}", list.trim_end());
        prune::confirm("system reset", &warning)?;
    }
    match Engine::reset(options)? {
        None => ui::notice("there is no store: nothing to do"),
        Some(reset) if !reset.left.is_empty() => ui::notice(&format!(
            "left in {}, not the store's: {}",
            reset.root.display(),
            shown(&reset.left)
        )),
        Some(_) => {}
    }
    Ok(0)
}

fn shown(names: &[String]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .take(10)
        .map(|name| format!("{name:?}"))
        .collect();
    quoted.join(", ")
}
