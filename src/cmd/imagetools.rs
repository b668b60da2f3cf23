//! `buildx imagetools`: indexes of images in registries, looked at and made there.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    Session,
    builder::ClientFlags,
    called,
    failure::Failure,
    manifest_far::{plain, registry_name},
    parse,
    progress::{Show, Stream},
    template, ui,
    unsupported::{Answer, Unsupported, boolean, refused},
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{
        Engine, RegistryOptions,
        manifests::{AddRequest, ManifestPush, PushedManifest},
    },
    model::{Context, Digest, ErrorKind, Reference, Result, index, index::EntryChanges},
};

#[derive(Args)]
struct InspectFlags {
    /// A template in Go's language over .Name and .Manifest (default "{{.Manifest}}")
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Print the document as it is
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    client: ClientFlags,
}

/// The word above the commands.
pub const GROUP: Verb = Verb {
    spellings: &["buildx imagetools"],
    about: "Look at indexes of registries, and make them",
    usage: "COMMAND",
    run: |_, _, _| {
        let own = called::name();
        ui::aside(&format!(
            "Usage:  {own} buildx imagetools COMMAND\n\nCommands:\n  create   {}\n  inspect  {}",
            CREATE.about, INSPECT.about
        ));
        Ok(0)
    },
    ..Verb::PLAIN
};

pub const INSPECT: Verb = Verb {
    spellings: &["buildx imagetools inspect"],
    about: "Show an image or an index of a registry",
    usage: "[OPTIONS] NAME",
    arity: Arity::Exactly(1),
    flags: InspectFlags::augment_args,
    run: |session, matches, names| inspect(session, &parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn inspect(session: &Session, flags: &InspectFlags, name: &str) -> Outcome {
    flags.client.chosen(session, None)?;
    let reference = registry_name(name)?;
    let show = Show::new(Stream::Stderr, false);
    let options = session.settings.registry_options();
    let far = format!("docker://{reference}");
    let bytes = session.engine()?.inspect_manifest(&far, &options, &show)?;
    if flags.raw {
        ui::raw(&bytes)?;
        return Ok(0);
    }
    let document: Value = serde_json::from_slice(&bytes)
        .context(ErrorKind::InvalidContent, || "invalid manifest".to_owned())?;
    let shown = json!({
        "Name": reference.to_string(),
        "Manifest": with_descriptor(&document, &bytes),
    });
    match flags.format.as_deref() {
        None | Some("" | "{{.Manifest}}") => {
            ui::raw(page(&reference, &shown["Manifest"]).as_bytes())?;
        }
        Some(format) => ui::line(&template::object(format, None, &shown)?)?,
    }
    Ok(0)
}

/// The document's entries behind its own descriptor, as buildx has them.
fn with_descriptor(document: &Value, bytes: &[u8]) -> Value {
    let mut manifest = json!({
        "schemaVersion": document["schemaVersion"],
        "mediaType": document["mediaType"],
        "digest": Digest::sha256(Sha256::digest(bytes)).to_string(),
        "size": bytes.len(),
    });
    for key in ["manifests", "config", "layers", "annotations"] {
        if !document[key].is_null() {
            manifest[key] = document[key].clone();
        }
    }
    manifest
}

/// Somebody else's words: what they would do to a terminal stays text.
fn page(name: &Reference, manifest: &Value) -> String {
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    let mut page = format!(
        "Name:      {name}\nMediaType: {}\nDigest:    {}\n",
        text(&manifest["mediaType"]),
        text(&manifest["digest"])
    );
    let entries = manifest["manifests"].as_array();
    for (place, entry) in entries.into_iter().flatten().enumerate() {
        let platform = &entry["platform"];
        let parts = ["os", "architecture", "variant"].map(|key| text(&platform[key]));
        let platform: Vec<&str> = parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        let start = if place == 0 { "\nManifests:\n" } else { "\n" };
        page.push_str(&format!(
            "{start}  Name:      {}@{}\n  MediaType: {}\n  Platform:  {}\n",
            name.name(),
            text(&entry["digest"]),
            text(&entry["mediaType"]),
            platform.join("/")
        ));
    }
    page
}

#[derive(Args)]
struct CreateFlags {
    /// Annotate the index, KEY=VALUE
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    /// Add to the index that is there already
    #[arg(long)]
    append: bool,
    /// Print the index and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Write what came out, as JSON, to a file
    #[arg(long, value_name = "string")]
    metadata_file: Option<PathBuf>,
    /// How progress is shown; quiet and none show nothing (default "auto")
    #[arg(long, value_name = "string")]
    progress: Option<String>,
    /// Name of the index; several get the same
    #[arg(long, short = 't', value_name = "stringArray")]
    tag: Vec<String>,
    #[command(flatten)]
    client: ClientFlags,
}

static OF_CREATE: &[Unsupported] = &[
    Unsupported {
        short: Some('f'),
        ..refused("file", "name the sources as arguments")
    },
    Unsupported {
        short: Some('p'),
        ..refused(
            "platform",
            "name the images of these platforms by their digests",
        )
    },
    Unsupported {
        harmless: &["true", "1", "t", "T", "TRUE", "True"],
        instead: "an index is made of whatever is named",
        ..boolean("prefer-index", Answer::Refuse)
    },
];

pub const CREATE: Verb = Verb {
    spellings: &["buildx imagetools create"],
    about: "Make an index of images of registries, in a registry",
    usage: "[OPTIONS] SOURCE [SOURCE...]",
    arity: Arity::AtLeast(1),
    unsupported: OF_CREATE,
    flags: CreateFlags::augment_args,
    run: |session, matches, names| create(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn create(session: &Session, flags: &CreateFlags, sources: &[String]) -> Outcome {
    flags.client.chosen(session, None)?;
    let tags: Vec<Reference> = flags
        .tag
        .iter()
        .map(|tag| registry_name(tag))
        .collect::<Result<_>>()?;
    if tags.is_empty() && (flags.append || !flags.dry_run) {
        return Err(Failure::Plain(
            "no repositories specified, please set a reference in tag or source".to_owned(),
            1,
        ));
    }
    let engine = session.engine()?;
    let quiet = matches!(flags.progress.as_deref(), Some("quiet" | "none"));
    let show = Show::new(Stream::Stderr, quiet);
    let appended = tags
        .first()
        .filter(|_| flags.append)
        .map(ToString::to_string);
    let members = appended.iter().chain(sources);
    let members = members.map(|name| Ok(format!("docker://{}", registry_name(name)?)));
    let request = AddRequest {
        members: members.collect::<Result<_>>()?,
        all: true,
        changes: EntryChanges::default(),
        artifact: None,
        registry: session.settings.registry_options(),
        progress: &show,
    };
    // Made here under a name of this process's, sent, and removed whatever comes of it.
    let list: Reference = format!("localhost/imagetools:{}", std::process::id()).parse()?;
    engine.create_manifest_list(
        &list,
        false,
        &index::annotations(&flags.annotation)?,
        &request,
    )?;
    let outcome = match flags.dry_run {
        true => print(engine, &list, &request.registry, &show),
        false => send(engine, &list, &tags, &request.registry, &show)
            .and_then(|pushed| note(flags, &pushed)),
    };
    show.finish();
    engine.remove_manifest_list(&list.to_string())?;
    outcome?;
    Ok(0)
}

fn print(
    engine: &Engine,
    list: &Reference,
    options: &RegistryOptions,
    show: &Show,
) -> std::result::Result<(), Failure> {
    let bytes = engine.inspect_manifest(&list.to_string(), options, show)?;
    ui::raw(&bytes)?;
    ui::line("")
}

fn send(
    engine: &Engine,
    list: &Reference,
    tags: &[Reference],
    options: &RegistryOptions,
    show: &Show,
) -> std::result::Result<Vec<PushedManifest>, Failure> {
    let push = |tag: &Reference| {
        let pushed = engine.push_manifest_list(&ManifestPush {
            list: list.to_string(),
            target: Some(tag.clone()),
            all: true,
            format: None,
            registry: options.clone(),
            progress: show,
        });
        Ok(pushed?)
    };
    tags.iter().map(push).collect()
}

fn note(flags: &CreateFlags, pushed: &[PushedManifest]) -> std::result::Result<(), Failure> {
    for one in pushed {
        ui::aside(&format!("pushed {} to {}", one.digest, one.target));
    }
    let (Some(file), Some(first)) = (&flags.metadata_file, pushed.first()) else {
        return Ok(());
    };
    let names: Vec<String> = pushed.iter().map(|one| one.target.to_string()).collect();
    let document = json!({
        "containerimage.descriptor": {
            "digest": first.digest.to_string(),
            "size": first.size,
        },
        "image.name": names.join(","),
    });
    let text = format!("{document:#}\n");
    std::fs::write(file, text).context(ErrorKind::InvalidArgument, || {
        format!("cannot write {}", file.display())
    })?;
    Ok(())
}
