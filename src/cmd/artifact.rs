//! `artifact`: files in a registry. Podman's commands.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    Session, each,
    failure::Failure,
    inspect,
    manifest::FarFlags,
    manifest_far::{plain, registry_name, write_digest},
    parse,
    progress::{Show, Stream},
    removal_flags::RemovalFlags,
    signing_flags::SigningFlags,
    template::{Inspect, List, Row},
    times, ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{
    engine::artifacts::{ArtifactPush, Extract, NewArtifact, NewFile},
    model::{
        Error, ErrorKind, human,
        index::{self, Artifact, ManifestRecord, TITLE},
    },
};

#[derive(Args)]
struct AddFlags {
    /// Annotate the files, KEY=VALUE
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    /// Add to the artifact of this name
    #[arg(long, short = 'a')]
    append: bool,
    /// Media type of the files; found out if absent
    #[arg(long, value_name = "string")]
    file_type: Option<String>,
    /// Take the place of the artifact of this name
    #[arg(long)]
    replace: bool,
    /// Image or artifact that this one refers to
    #[arg(long, value_name = "string")]
    subject: Option<String>,
    /// Type of the artifact
    #[arg(long, value_name = "string")]
    r#type: Option<String>,
    #[command(flatten)]
    far: FarFlags,
}

pub const ADD: Verb = Verb {
    spellings: &["artifact add"],
    about: "Make an artifact of files",
    usage: "[OPTIONS] NAME FILE [FILE...]",
    arity: Arity::AtLeast(2),
    flags: AddFlags::augment_args,
    run: |session, matches, names| add(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn add(session: &Session, flags: &AddFlags, names: &[String]) -> Outcome {
    let annotations = index::annotations(&flags.annotation)?;
    if annotations.contains_key(TITLE) {
        let text = format!("the annotation {TITLE} is the file's name");
        return Err(Error::invalid(text).into());
    }
    match (flags.append, flags.replace, &flags.r#type) {
        (true, true, _) => {
            return Err(Error::invalid("--append and --replace exclude each other").into());
        }
        (true, _, Some(_)) => {
            return Err(Error::invalid("--append keeps the type: leave --type out").into());
        }
        _ => {}
    }
    let file = |path: &String| NewFile {
        path: path.into(),
        media_type: flags.file_type.clone(),
        titled: true,
        annotations: annotations.clone(),
    };
    let digest = session.engine()?.add_artifact(&NewArtifact {
        name: names[0].parse()?,
        files: names[1..].iter().map(file).collect(),
        artifact_type: flags.r#type.clone(),
        subject: flags.subject.clone(),
        append: flags.append,
        replace: flags.replace,
        registry: flags.far.options(session)?,
    })?;
    ui::line(digest.hex())?;
    Ok(0)
}

#[derive(Args)]
struct PullFlags {
    /// Not supported: artifacts are not decrypted here
    #[arg(long, hide = true, value_name = "stringArray")]
    decryption_key: Vec<String>,
    /// Print the digest alone
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    far: FarFlags,
}

pub const PULL: Verb = Verb {
    spellings: &["artifact pull"],
    about: "Fetch an artifact from a registry",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    arity: Arity::Exactly(1),
    flags: PullFlags::augment_args,
    run: |session, matches, names| {
        let flags: PullFlags = parse::flags(matches)?;
        if !flags.decryption_key.is_empty() {
            return Err(Failure::Refused(
                "--decryption-key is not supported".to_owned(),
                "artifacts are not decrypted here",
            ));
        }
        let show = Show::new(Stream::Stderr, flags.quiet);
        let options = flags.far.options(session)?;
        let name = registry_name(&names[0])?;
        let digest = session.engine()?.pull_artifact(&name, &options, &show);
        show.finish();
        ui::line(digest?.hex())?;
        Ok(0)
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct PushFlags {
    /// Write the digest to a file
    #[arg(long, value_name = "string")]
    digestfile: Option<PathBuf>,
    /// Print the digest alone
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    signing: SigningFlags,
    #[command(flatten)]
    far: FarFlags,
}

pub const PUSH: Verb = Verb {
    spellings: &["artifact push"],
    about: "Send an artifact to a registry",
    usage: "[OPTIONS] NAME [DESTINATION]",
    arity: Arity::Between(1, 2),
    flags: PushFlags::augment_args,
    run: |session, matches, names| push(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn push(session: &Session, flags: &PushFlags, names: &[String]) -> Outcome {
    if flags.signing.first().is_some() {
        let text =
            "signing is not supported: sign the digest that is pushed, for example with cosign";
        return Err(Error::new(ErrorKind::Unsupported, text).into());
    }
    let show = Show::new(Stream::Stderr, flags.quiet);
    let request = ArtifactPush {
        artifact: names[0].clone(),
        target: names.get(1).map(|name| registry_name(name)).transpose()?,
        registry: flags.far.options(session)?,
        progress: &show,
    };
    let pushed = session.engine()?.push_artifact(&request);
    show.finish();
    let pushed = pushed?;
    write_digest(flags.digestfile.as_deref(), pushed.digest.as_str())?;
    ui::line(pushed.digest.hex())?;
    Ok(0)
}

#[derive(Args)]
struct ListFlags {
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Do not shorten digests
    #[arg(long)]
    no_trunc: bool,
    /// Leave the heading out
    #[arg(long, short = 'n')]
    noheading: bool,
    /// Print digests alone
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub const LS: Verb = Verb {
    spellings: &["artifact ls", "artifact list"],
    about: "List artifacts",
    usage: "[OPTIONS]",
    flags: ListFlags::augment_args,
    run: |session, matches, _| list(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const HEADINGS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("VirtualSize", "VIRTUAL SIZE"),
    ("Type", "TYPE"),
];

fn list(session: &Session, flags: &ListFlags) -> Outcome {
    let artifacts = session.engine()?.artifacts()?;
    if flags.quiet {
        for (record, _) in &artifacts {
            ui::line(&digest_of(record, flags.no_trunc))?;
        }
        return Ok(0);
    }
    let rows: Vec<Row> = artifacts
        .iter()
        .map(|(record, artifact)| row(record, artifact, flags.no_trunc))
        .collect();
    let list = List {
        headings: HEADINGS,
        default: r"table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.Size}}",
    };
    let text = list.show(flags.format.as_deref(), &rows)?;
    let has_heading = flags
        .format
        .as_deref()
        .is_none_or(|format| format.starts_with("table"));
    let shown = match text.split_once('\n') {
        Some((_, rest)) if flags.noheading && has_heading => rest,
        _ => &text,
    };
    ui::raw(shown.as_bytes())?;
    Ok(0)
}

fn digest_of(record: &ManifestRecord, whole: bool) -> String {
    match whole {
        true => record.digest.hex().to_owned(),
        false => record.digest.short().to_owned(),
    }
}

fn row(record: &ManifestRecord, artifact: &Artifact, whole: bool) -> Row {
    let created = times::of_seconds(record.created);
    Row {
        fields: vec![
            ("Repository", record.name.familiar_name()),
            ("Tag", record.name.tag().unwrap_or("<none>").to_owned()),
            ("Digest", digest_of(record, whole)),
            ("Created", times::ago(&created)),
            ("CreatedAt", times::go_text(&created)),
            ("Size", human::short_size(artifact.size())),
            ("VirtualSize", artifact.size().to_string()),
            ("Type", plain(artifact.kind())),
        ],
        labels: artifact.annotations.clone(),
    }
}

#[derive(Args)]
struct InspectFlags {
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
    /// Look in the registry
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    far: FarFlags,
}

pub const INSPECT: Verb = Verb {
    spellings: &["artifact inspect"],
    about: "Show an artifact's manifest",
    usage: "[OPTIONS] NAME",
    arity: Arity::Exactly(1),
    flags: InspectFlags::augment_args,
    run: |session, matches, names| show(session, &parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn show(session: &Session, flags: &InspectFlags, name: &str) -> Outcome {
    let engine = session.engine()?;
    let template = flags.format.as_deref().map(Inspect::parse).transpose()?;
    let object = if flags.remote || name.starts_with("docker://") {
        let progress = Show::new(Stream::Stderr, false);
        let options = flags.far.options(session)?;
        let reference = registry_name(name)?;
        let far = format!("docker://{reference}");
        let bytes = engine.inspect_manifest(&far, &options, &progress)?;
        let digest = index::Descriptor::of(&bytes, "").digest;
        json!({
            "Manifest": Artifact::parse(&bytes)?,
            "Name": reference.to_string(),
            "Digest": reference.digest().unwrap_or(&digest),
        })
    } else {
        let (record, artifact) = engine.artifact(name)?;
        json!({
            "Manifest": artifact,
            "Name": record.name.to_string(),
            "Digest": record.digest,
        })
    };
    match template {
        Some(template) => ui::line(&template.show(None, &object)?)?,
        None => ui::json(&inspect::pretty_object(&object))?,
    }
    Ok(0)
}

pub const RM: Verb = Verb {
    spellings: &["artifact rm", "artifact remove"],
    about: "Remove artifacts from the store",
    usage: "[OPTIONS] NAME [NAME...]",
    arity: Arity::AtLeast(0),
    flags: RemovalFlags::augment_args,
    run: |session, matches, names| remove(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn remove(session: &Session, flags: &RemovalFlags, names: Vec<String>) -> Outcome {
    let engine = session.engine()?;
    let names = flags.chosen("artifact rm", names, || {
        let all = engine.artifacts()?.into_iter();
        Ok(all.map(|(record, _)| record.name.to_string()).collect())
    })?;
    each::each(Class::Remove, &names, |name| {
        match engine.remove_artifact(name) {
            Ok(record) => ui::line(record.digest.hex()),
            Err(error) if flags.overlook(error.kind(), ErrorKind::NoSuchImage) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

#[derive(Args)]
struct ExtractFlags {
    /// The file with this digest
    #[arg(long, value_name = "string")]
    digest: Option<String>,
    /// The file with this title
    #[arg(long, value_name = "string")]
    title: Option<String>,
}

pub const EXTRACT: Verb = Verb {
    spellings: &["artifact extract"],
    about: "Copy an artifact's files to a folder, or one to a file",
    usage: "[OPTIONS] NAME PATH",
    arity: Arity::Exactly(2),
    flags: ExtractFlags::augment_args,
    run: |session, matches, names| {
        let flags: ExtractFlags = parse::flags(matches)?;
        if flags.digest.is_some() && flags.title.is_some() {
            return Err(Error::invalid("--digest and --title exclude each other").into());
        }
        let digest = flags.digest.map(|text| text.parse()).transpose();
        session.engine()?.extract_artifact(&Extract {
            artifact: names[0].clone(),
            title: flags.title,
            digest: digest.map_err(|error: Error| Error::invalid(error.one_line()))?,
            destination: PathBuf::from(&names[1]),
        })?;
        Ok(0)
    },
    ..Verb::PLAIN
};
