//! `volume ls`: the volumes.

use clap::Args;

use super::{
    Session,
    failure::Failure,
    filter::Filters,
    listing::{Look, Marks, label_text},
    parse,
    template::{List, Row},
    verb::{Arity, Outcome, Verb},
};
use crate::{engine::volumes::VolumeSummary, model::volume::LOCAL};

#[derive(Args)]
struct Flags {
    /// Show cluster volumes alone: there are none without a swarm
    #[arg(long)]
    cluster: bool,
    /// Show those that fit: dangling, driver, label, label!, name, since, until
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    #[command(flatten)]
    look: Look,
    /// Print names alone
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["volume ls", "volume list"],
    about: "List volumes",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const FILTERS: &[&str] = &[
    "dangling", "driver", "label", "label!", "name", "since", "until",
];

const HEADINGS: &[(&str, &str)] = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
    ("Group", "GROUP"),
    ("Availability", "AVAILABILITY"),
];

/// Docker's columns for them.
const CLUSTER: List<'_> = List {
    headings: HEADINGS,
    default: r"table {{.Name}}\t{{.Group}}\t{{.Driver}}\t{{.Availability}}\t{{.Status}}",
};

const LIST: List<'_> = List {
    headings: HEADINGS,
    default: r"table {{.Driver}}\t{{.Name}}",
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let mut volumes = session.engine()?.volumes()?;
    select(&mut volumes, &filters)?;
    if flags.cluster {
        volumes.clear();
    }
    let rows: Vec<Row> = volumes.iter().map(row).collect();
    let configured = session.settings.volumes_format.as_deref();
    let quiet = flags.quiet.then_some("Name");
    let list = if flags.cluster { &CLUSTER } else { &LIST };
    flags.look.print(list, &rows, configured, quiet)
}

/// Keeps those that fit; shared with `volume prune`.
pub fn select(volumes: &mut Vec<VolumeSummary>, filters: &Filters) -> Result<(), Failure> {
    let marks = Marks::new(filters)?;
    let names = filters.patterns("name");
    volumes.retain(|volume| {
        marks.accept(volume.used_by.is_empty(), &volume.created, &volume.labels)
            && filters.accepts("driver", |driver| driver == LOCAL)
            && names.accept_name(&volume.name)
    });
    Ok(())
}

fn row(volume: &VolumeSummary) -> Row {
    let unknown = || "N/A".to_owned();
    Row {
        fields: vec![
            ("Availability", unknown()),
            ("Driver", LOCAL.to_owned()),
            ("Group", unknown()),
            ("Labels", label_text(&volume.labels)),
            ("Links", unknown()),
            ("Mountpoint", volume.mountpoint.clone()),
            ("Name", volume.name.clone()),
            ("Scope", LOCAL.to_owned()),
            ("Size", unknown()),
            ("Status", unknown()),
        ],
        labels: volume.labels.clone(),
    }
}
