//! `system df`: what the store takes on the disk.

use std::{collections::BTreeMap, fmt::Write};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Session,
    container_rows::{self, Wanted},
    failure::Failure,
    images, parse,
    template::{self, List, Row},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{UsageReport, UsageSum},
    model::human,
};

#[derive(Args)]
struct Flags {
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show each image, container and volume
    #[arg(long, short = 'v')]
    verbose: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["system df"],
    about: "Show what images, containers and volumes take on the disk",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const HEADINGS: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Total", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("RawSize", "RAW SIZE"),
    ("RawReclaimable", "RAW RECLAIMABLE"),
];
const TABLE: &str = r"table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const IMAGE_TABLE: &str = r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINER_TABLE: &str = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const VOLUME_HEADINGS: &[(&str, &str)] = &[
    ("Name", "VOLUME NAME"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
];
const VOLUME_TABLE: &str = r"table {{.Name}}\t{{.Links}}\t{{.Size}}";
/// There is no build cache.
const CACHE_TABLE: &str =
    "CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n";

fn run(session: &Session, flags: &Flags) -> Outcome {
    let format = flags.format.as_deref().filter(|format| !format.is_empty());
    let usage = session.engine()?.disk_usage()?;
    match (flags.verbose, format) {
        (false, format) => {
            let list = List {
                headings: HEADINGS,
                default: TABLE,
            };
            ui::raw(list.show(format, &sums(&usage))?.as_bytes())?;
        }
        (true, None | Some("table")) => ui::raw(verbose(&usage)?.as_bytes())?,
        (true, Some(format)) => ui::line(&template::object(format, None, &document(&usage))?)?,
    }
    Ok(0)
}

fn sums(usage: &UsageReport) -> Vec<Row> {
    let row = |name: &str, sum: &UsageSum| {
        let part = match (sum.reclaimable * 100).checked_div(sum.bytes) {
            Some(percent) => format!("{} ({percent}%)", human::size(sum.reclaimable)),
            None => human::size(sum.reclaimable),
        };
        Row {
            fields: vec![
                ("Type", name.to_owned()),
                ("TotalCount", sum.total.to_string()),
                ("Total", sum.total.to_string()),
                ("Active", sum.active.to_string()),
                ("Size", human::size(sum.bytes)),
                ("Reclaimable", part),
                ("RawSize", sum.bytes.to_string()),
                ("RawReclaimable", sum.reclaimable.to_string()),
            ],
            labels: BTreeMap::new(),
        }
    };
    vec![
        row("Images", &usage.images),
        row("Containers", &usage.containers),
        row("Local Volumes", &usage.volumes),
        row("Build Cache", &usage.builds),
    ]
}

fn verbose(usage: &UsageReport) -> Result<String, Failure> {
    let table = |headings, default, rows: &[Row]| List { headings, default }.show(None, rows);
    let mut text = "Images space usage:\n\n".to_owned();
    text.push_str(&table(images::HEADINGS, IMAGE_TABLE, &image_rows(usage))?);
    text.push_str("\nContainers space usage:\n\n");
    text.push_str(&table(
        container_rows::HEADINGS,
        CONTAINER_TABLE,
        &container_rows(usage),
    )?);
    text.push_str("\nLocal Volumes space usage:\n\n");
    text.push_str(&table(VOLUME_HEADINGS, VOLUME_TABLE, &volume_rows(usage))?);
    let _ = write!(
        text,
        "\nBuild cache usage: {}\n\n",
        human::size(usage.builds.bytes)
    );
    text.push_str(CACHE_TABLE);
    Ok(text)
}

/// An image has one row, with the first of its names.
fn image_rows(usage: &UsageReport) -> Vec<Row> {
    let images = usage.each_image.iter().filter_map(|image| {
        let mut row = images::row(image.records.first()?, false);
        for (key, value) in &mut row.fields {
            match *key {
                "Size" | "VirtualSize" => *value = human::short_size(image.shared + image.unique),
                "SharedSize" => *value = human::short_size(image.shared),
                "UniqueSize" => *value = human::short_size(image.unique),
                "Containers" => *value = image.containers.to_string(),
                _ => {}
            }
        }
        Some(row)
    });
    images.collect()
}

fn container_rows(usage: &UsageReport) -> Vec<Row> {
    let wanted = Wanted::of("json");
    let containers = usage.each_container.iter().map(|(container, bytes)| {
        let mut row = container_rows::row(container, false, &wanted);
        for (key, value) in &mut row.fields {
            if *key == "Size" {
                *value = human::short_size(*bytes);
            }
        }
        row
    });
    containers.collect()
}

fn volume_rows(usage: &UsageReport) -> Vec<Row> {
    let volumes = usage.each_volume.iter().map(|(volume, bytes)| Row {
        fields: vec![
            ("Name", volume.name.clone()),
            ("Links", volume.used_by.len().to_string()),
            ("Size", human::short_size(*bytes)),
            ("Driver", "local".to_owned()),
            ("Scope", "local".to_owned()),
            ("Mountpoint", volume.mountpoint.clone()),
        ],
        labels: volume.labels.clone(),
    });
    volumes.collect()
}

/// What a template of `-v` is applied to.
fn document(usage: &UsageReport) -> Value {
    let objects = |rows: Vec<Row>| -> Vec<Value> {
        let object = |row: Row| {
            let fields = row.fields.into_iter();
            let fields = fields.map(|(key, value)| (key.to_owned(), Value::String(value)));
            Value::Object(fields.collect::<Map<String, Value>>())
        };
        rows.into_iter().map(object).collect()
    };
    json!({
        "Images": objects(image_rows(usage)),
        "Containers": objects(container_rows(usage)),
        "Volumes": objects(volume_rows(usage)),
        "BuildCache": [],
    })
}
