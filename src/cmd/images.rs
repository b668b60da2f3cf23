//! `images`: what is in the store.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    Session,
    failure::Failure,
    filter::{Filters, glob},
    parse,
    template::{List, Row},
    times, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::Engine,
    model::{Reference, human, image::ImageRecord},
};

#[derive(Args)]
struct Flags {
    /// For Docker's sake: there are no intermediate images
    #[arg(long, short = 'a')]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show those that fit: dangling, label, reference, before, since
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Do not shorten values
    #[arg(long)]
    no_trunc: bool,
    /// Print IDs alone
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["image ls", "image list", "images"],
    about: "List images",
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    arity: Arity::AtMost(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names.first()),
    ..Verb::PLAIN
};

const FILTERS: &[&str] = &["before", "dangling", "label", "reference", "since"];

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

fn run(session: &Session, flags: &Flags, name: Option<&String>) -> Outcome {
    let mut texts = flags.filter.clone();
    texts.extend(name.map(|name| format!("reference={name}")));
    let filters = Filters::parse(&texts, FILTERS)?;
    let format = flags
        .format
        .as_deref()
        .filter(|format| !format.is_empty())
        .or(session.settings.images_format.as_deref());
    let engine = session.engine()?;
    let mut images = engine.images()?;
    select(&mut images, &filters, engine)?;
    images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    if flags.quiet && format.is_none_or(|format| format == "table") {
        for image in &images {
            ui::line(&id(image, flags.no_trunc))?;
        }
        return Ok(0);
    }
    let mut rows: Vec<Row> = images
        .iter()
        .map(|image| row(image, flags.no_trunc))
        .collect();
    let mut default = if flags.digests {
        r"table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
            .to_owned()
    } else {
        r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}".to_owned()
    };
    // Podman's column, there once there are additional stores.
    if engine.has_additional_stores() {
        for (image, row) in images.iter().zip(&mut rows) {
            let read_only = engine.is_read_only(image).to_string();
            row.fields.push(("ReadOnly", read_only));
        }
        default.push_str(r"\t{{.ReadOnly}}");
    }
    let list = List {
        headings: &[HEADINGS, &[("ReadOnly", "R/O")]].concat(),
        default: &default,
    };
    ui::raw(list.show(format, &rows)?.as_bytes())?;
    Ok(0)
}

fn select(
    images: &mut Vec<ImageRecord>,
    filters: &Filters,
    engine: &Engine,
) -> Result<(), Failure> {
    let dangling = filters.boolean("dangling")?;
    let before = created(filters, "before", engine)?;
    let since = created(filters, "since", engine)?;
    let text = |image: &ImageRecord| image.created.clone().unwrap_or_default();
    images.retain(|image| {
        dangling.is_none_or(|wanted| image.name.is_none() == wanted)
            && filters.accepts("reference", |pattern| is_named(image, pattern))
            && before.as_ref().is_none_or(|moment| text(image) < *moment)
            && since.as_ref().is_none_or(|moment| text(image) > *moment)
    });
    if filters.has("label") {
        let mut error = None;
        images.retain(|image| match labels(image, engine) {
            Ok(labels) => filters.accepts_labels(&labels),
            Err(failure) => {
                error.get_or_insert(failure);
                false
            }
        });
        if let Some(failure) = error {
            return Err(failure);
        }
    }
    Ok(())
}

/// Docker matches the name, and the name with its tag.
fn is_named(image: &ImageRecord, pattern: &str) -> bool {
    image.name.as_ref().is_some_and(|name| {
        glob(pattern, &name.familiar_name())
            || glob(pattern, &name.familiar())
            || glob(pattern, &name.name())
            || pattern
                .parse::<Reference>()
                .is_ok_and(|wanted| wanted == *name && pattern.contains([':', '@']))
    })
}

fn created(filters: &Filters, key: &str, engine: &Engine) -> Result<Option<String>, Failure> {
    let Some(name) = filters.values(key).last() else {
        return Ok(None);
    };
    let object = engine.inspect_image(name)?;
    Ok(object["Created"].as_str().map(str::to_owned))
}

fn labels(image: &ImageRecord, engine: &Engine) -> Result<BTreeMap<String, String>, Failure> {
    let object = engine.inspect_image(image.config.as_str())?;
    let labels = object["Config"]["Labels"].as_object();
    Ok(labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect())
}

fn id(image: &ImageRecord, whole: bool) -> String {
    if whole {
        image.config.to_string()
    } else {
        image.config.short().to_owned()
    }
}

fn row(image: &ImageRecord, whole: bool) -> Row {
    let none = || "<none>".to_owned();
    let name = image.name.as_ref();
    let created = image.created.as_deref();
    let size = human::short_size(image.size);
    Row {
        fields: vec![
            ("ID", id(image, whole)),
            (
                "Repository",
                name.map_or_else(none, Reference::familiar_name),
            ),
            (
                "Tag",
                name.and_then(Reference::tag)
                    .map_or_else(none, str::to_owned),
            ),
            (
                "Digest",
                image.index.as_ref().unwrap_or(&image.manifest).to_string(),
            ),
            (
                "CreatedSince",
                created
                    .map(times::ago)
                    .filter(|age| !age.is_empty())
                    .unwrap_or_else(|| "N/A".to_owned()),
            ),
            (
                "CreatedAt",
                created.map_or_else(|| "N/A".to_owned(), times::go_text),
            ),
            ("Size", size.clone()),
            ("VirtualSize", size),
            ("Containers", "N/A".to_owned()),
            ("SharedSize", "N/A".to_owned()),
            ("UniqueSize", "N/A".to_owned()),
        ],
        labels: BTreeMap::new(),
    }
}
