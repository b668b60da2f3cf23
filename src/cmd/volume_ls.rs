//! `volume ls`: the volumes.

use clap::Args;

use super::{
    Session,
    failure::Failure,
    filter::Filters,
    parse,
    template::{List, Row},
    times, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{engine::volumes::VolumeSummary, model::volume::LOCAL};

#[derive(Args)]
struct Flags {
    /// Show those that fit: dangling, driver, label, label!, name, since, until
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Leave the headings out
    #[arg(long, short = 'n')]
    noheading: bool,
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

fn run(session: &Session, flags: &Flags) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let format = flags
        .format
        .as_deref()
        .filter(|format| !format.is_empty())
        .or(session.settings.volumes_format.as_deref());
    let mut volumes = session.engine()?.volumes()?;
    select(&mut volumes, &filters)?;
    if flags.quiet && format.is_none_or(|format| format == "table") {
        for volume in &volumes {
            ui::line(&volume.name)?;
        }
        return Ok(0);
    }
    let rows: Vec<Row> = volumes.iter().map(row).collect();
    let list = List {
        headings: HEADINGS,
        default: r"table {{.Driver}}\t{{.Name}}",
    };
    let text = list.show(format, &rows)?;
    let is_table = format.is_none_or(|format| format.starts_with("table"));
    let text = match text.split_once('\n') {
        Some((_, rest)) if flags.noheading && is_table => rest,
        _ => &text,
    };
    ui::raw(text.as_bytes())?;
    Ok(0)
}

/// Keeps those that fit; shared with `volume prune`.
pub fn select(volumes: &mut Vec<VolumeSummary>, filters: &Filters) -> Result<(), Failure> {
    let dangling = filters.boolean("dangling")?;
    let (since, until) = (moment(filters, "since")?, moment(filters, "until")?);
    let names = filters.patterns("name");
    volumes.retain(|volume| {
        let created = times::nanoseconds(&volume.created);
        dangling.is_none_or(|wanted| volume.used_by.is_empty() == wanted)
            && filters.accepts("driver", |driver| driver == LOCAL)
            && names.accept_name(&volume.name)
            && filters.accepts_labels(&volume.labels)
            && filters.refuses_no_label(&volume.labels)
            && since.is_none_or(|moment| created >= moment)
            && until.is_none_or(|moment| created < moment)
    });
    Ok(())
}

fn moment(filters: &Filters, key: &str) -> Result<Option<i128>, Failure> {
    let last = filters.values(key).last();
    Ok(last.map(times::parse_moment).transpose()?)
}

fn row(volume: &VolumeSummary) -> Row {
    let labels: Vec<String> = volume
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let unknown = || "N/A".to_owned();
    Row {
        fields: vec![
            ("Availability", unknown()),
            ("Driver", LOCAL.to_owned()),
            ("Group", unknown()),
            ("Labels", labels.join(",")),
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
