//! `config show`: the settings in force, and where each comes from.

use clap::Args;

use super::{
    Session, containers_conf,
    listing::Look,
    parse,
    template::{List, Row},
    verb::{Outcome, Verb},
};

#[derive(Args)]
struct Flags {
    #[command(flatten)]
    look: Look,
}

pub const VERB: Verb = Verb {
    spellings: &["config show"],
    about: "Show the settings that somebody made, and where",
    usage: "[OPTIONS]",
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    let list = List {
        headings: &[("Name", "NAME"), ("Value", "VALUE"), ("Origin", "ORIGIN")],
        default: r"table {{.Name}}\t{{.Value}}\t{{.Origin}}",
    };
    let mut settings = session.settings.origins.clone();
    settings.extend(containers_conf::shown()?);
    let rows: Vec<Row> = settings
        .iter()
        .map(|(name, value, origin)| Row {
            fields: vec![
                ("Name", (*name).to_owned()),
                ("Value", value.clone()),
                ("Origin", origin.clone()),
            ],
            labels: Default::default(),
        })
        .collect();
    flags.look.print(&list, &rows, None, None)
}
