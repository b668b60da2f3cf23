//! `images`: what is in the store.

use std::collections::{BTreeMap, HashSet};

use clap::Args;

use super::{
    Session, columns,
    failure::Failure,
    filter::{Filters, glob},
    parse,
    template::{List, Row},
    times, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::Engine,
    model::{Digest, Reference, human, image::ImageRecord, index::ManifestRecord},
};

#[derive(Args)]
struct Flags {
    /// For Docker's sake: there are no intermediate images
    #[arg(long, short = 'a')]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show those that fit: before, containers, dangling, digest, id, label, label!, reference,
    /// reference!, since, until
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// For Podman's sake: names that images had before are not kept
    #[arg(long, hide = true)]
    history: bool,
    /// Do not shorten values
    #[arg(long)]
    no_trunc: bool,
    /// Do not print the table's headings
    #[arg(long, short = 'n')]
    noheading: bool,
    /// Print IDs alone
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Show the platforms of each image, and which are in use
    #[arg(long)]
    tree: bool,
    /// Sort by created, id, repository, size or tag
    #[arg(long, value_name = "string", default_value = "created")]
    sort: String,
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

const FILTERS: &[&str] = &[
    "after",
    "before",
    "containers",
    "dangling",
    "digest",
    "id",
    "intermediate",
    "label",
    "label!",
    "readonly",
    "reference",
    "reference!",
    "since",
    "until",
];

pub(super) const HEADINGS: &[(&str, &str)] = &[
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

/// `--format raw`
const RAW: &str = r"repository: {{ .Repository }}
tag: {{.Tag}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
";
const RAW_WITH_DIGEST: &str = r"repository: {{ .Repository }}
tag: {{.Tag}}
digest: {{.Digest}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
";

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
    if flags.history {
        ui::notice("--history has no effect: names that images had before are not kept");
    }
    let mut images = engine.images()?;
    images.extend(lists(engine)?);
    select(&mut images, &filters, engine)?;
    sort(&mut images, &flags.sort)?;
    if flags.tree {
        return images_tree(flags, engine, &images);
    }
    // A format of the settings does not count beside --quiet, one that was asked for wins.
    let asked = flags.format.as_deref().unwrap_or_default();
    if flags.quiet && matches!(asked, "" | "table" | "raw") {
        let label = if asked == "raw" { "image_id: " } else { "" };
        for image in &images {
            ui::line(&format!("{label}{}", id(image, flags.no_trunc)))?;
        }
        return Ok(0);
    }
    let format = match format {
        Some("raw") if flags.digests => Some(RAW_WITH_DIGEST),
        Some("raw") => Some(RAW),
        other => other,
    };
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
    let text = list.show(format, &rows)?;
    let is_table = format.is_none_or(|format| format.starts_with("table"));
    let shown = match text.split_once('\n') {
        Some((_, rest)) if flags.noheading && is_table => rest,
        _ => &text,
    };
    ui::raw(shown.as_bytes())?;
    Ok(0)
}

/// `--tree`: all names of an image in one entry, and below it what there is for each platform.
fn images_tree(flags: &Flags, engine: &Engine, images: &[ImageRecord]) -> Outcome {
    let others = [
        ("--quiet", flags.quiet),
        ("--no-trunc", flags.no_trunc),
        ("--digests", flags.digests),
        ("--format", flags.format.is_some()),
    ];
    if let Some((other, _)) = others.iter().find(|(_, given)| *given) {
        let text = format!("{other} is not yet supported with --tree");
        return Err(Failure::Plain(text, 1));
    }
    let containers = engine.containers(true, false)?;
    let is_used = |image: &ImageRecord| {
        let ids = containers
            .iter()
            .filter_map(|container| container.image_id.as_ref());
        ids.into_iter().any(|id| *id == image.config)
    };
    let mut text = "IMAGE\tID\tDISK USAGE\tEXTRA\n".to_owned();
    let mut shown = HashSet::new();
    for image in images {
        if !shown.insert(&image.config) {
            continue;
        }
        let same = images.iter().filter(|other| other.config == image.config);
        let names: Vec<String> = same
            .filter_map(|image| image.name.as_ref().map(Reference::familiar))
            .collect();
        let names = if names.is_empty() {
            "<untagged>".to_owned()
        } else {
            names.join(", ")
        };
        let (id, size) = (image.config.short(), human::short_size(image.size));
        let mark = if is_used(image) { "U" } else { "" };
        text.push_str(&format!("{names}\t{id}\t{size}\t{mark}\n"));
        // A list of manifests is of platforms, and has none itself.
        if !image.layers.is_empty() {
            let platform = engine.inspect_image(image.config.as_str())?;
            let part = |key: &str| platform[key].as_str().unwrap_or_default().to_owned();
            let parts = [part("Os"), part("Architecture"), part("Variant")];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            text.push_str(&format!("└─ {}\t{id}\t{size}\t{mark}\n", parts.join("/")));
        }
    }
    ui::raw(columns::align(&text).as_bytes())?;
    Ok(0)
}

/// Lists of manifests stand among the images, as in Podman: by the digest of the index, without layers.
fn lists(engine: &Engine) -> Result<Vec<ImageRecord>, Failure> {
    let lists = engine.manifest_lists()?;
    let image = |list: ManifestRecord| ImageRecord {
        name: Some(list.name),
        manifest: list.digest.clone(),
        config: list.digest,
        index: None,
        blobs: Vec::new(),
        others: Vec::new(),
        layers: Vec::new(),
        size: 0,
        created: times::from_seconds(list.created),
        tagged: list.created,
    };
    Ok(lists.into_iter().map(image).collect())
}

fn sort(images: &mut [ImageRecord], key: &str) -> Result<(), Failure> {
    let name = |image: &ImageRecord| image.name.as_ref().map(Reference::familiar_name);
    let tag = |image: &ImageRecord| image.name.as_ref()?.tag().map(str::to_owned);
    match key {
        "created" => {
            images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
        }
        "id" => images.sort_by(|a, b| a.config.cmp(&b.config)),
        "repository" => images.sort_by_cached_key(|image| (name(image), tag(image))),
        "size" => images.sort_by_key(|image| image.size),
        "tag" => images.sort_by_cached_key(|image| (tag(image), name(image))),
        other => {
            return Err(Failure::Plain(
                format!("invalid --sort {other:?}: expected created, id, repository, size or tag"),
                125,
            ));
        }
    }
    Ok(())
}

fn select(
    images: &mut Vec<ImageRecord>,
    filters: &Filters,
    engine: &Engine,
) -> Result<(), Failure> {
    let dangling = filters.boolean("dangling")?;
    let before = created(filters, "before", engine)?;
    let since = match created(filters, "since", engine)? {
        Some(moment) => Some(moment),
        None => created(filters, "after", engine)?,
    };
    let until = filters.values("until").last();
    let until = until.map(times::parse_moment).transpose()?;
    let text = |image: &ImageRecord| image.created.clone().unwrap_or_default();
    images.retain(|image| {
        dangling.is_none_or(|wanted| image.name.is_none() == wanted)
            && filters.accepts("reference", |pattern| is_named(image, pattern))
            && !filters
                .values("reference!")
                .any(|pattern| is_named(image, pattern))
            && filters.accepts("id", |start| has_id(image, start))
            && filters.accepts("digest", |start| has_digest(image, start))
            && before.as_ref().is_none_or(|moment| text(image) < *moment)
            && since.as_ref().is_none_or(|moment| text(image) > *moment)
            && until.is_none_or(|moment| times::nanoseconds(&text(image)) < moment)
    });
    // No image is either: layers that were only steps are not kept, and nothing is read-only.
    for key in ["intermediate", "readonly"] {
        if filters.boolean(key)? == Some(true) {
            images.clear();
        }
    }
    if let Some(wanted) = filters.boolean("containers")? {
        let containers = engine.containers(true, false)?;
        let used: HashSet<&Digest> = containers
            .iter()
            .filter_map(|container| container.image_id.as_ref())
            .collect();
        images.retain(|image| used.contains(&image.config) == wanted);
    }
    if filters.has("label") || filters.has("label!") {
        select_by_labels(images, filters, engine)?;
    }
    Ok(())
}

/// The only filter that reads more than the records.
fn select_by_labels(
    images: &mut Vec<ImageRecord>,
    filters: &Filters,
    engine: &Engine,
) -> Result<(), Failure> {
    let mut error = None;
    images.retain(|image| {
        let labels = match image.blobs.is_empty() && image.manifest == image.config {
            true => Ok(BTreeMap::new()),
            false => engine.image_labels(image),
        };
        match labels {
            Ok(labels) => filters.accepts_labels(&labels) && filters.refuses_no_label(&labels),
            Err(failure) => {
                error.get_or_insert(failure);
                false
            }
        }
    });
    error.map_or(Ok(()), |failure| Err(failure.into()))
}

fn has_id(image: &ImageRecord, start: &str) -> bool {
    let digits = start.strip_prefix("sha256:").unwrap_or(start);
    !digits.is_empty() && image.config.hex().starts_with(digits)
}

fn has_digest(image: &ImageRecord, start: &str) -> bool {
    let mut digests = image.index.iter().chain([&image.manifest]);
    digests.any(|digest| digest.as_str().starts_with(start) || digest.hex().starts_with(start))
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

fn id(image: &ImageRecord, whole: bool) -> String {
    if whole {
        image.config.to_string()
    } else {
        image.config.short().to_owned()
    }
}

pub(super) fn row(image: &ImageRecord, whole: bool) -> Row {
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
