//! `manifest inspect`, `push` and `referrers`: documents in registries.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, ser::PrettyFormatter};

use super::{
    Session,
    manifest::FarFlags,
    parse,
    progress::{Show, Stream},
    signing_flags::SigningFlags,
    template::{List, Row},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::manifests::ManifestPush,
    model::{Context, Error, ErrorKind, Reference, Result, human, manifest::Format},
};

#[derive(Args)]
struct InspectFlags {
    /// Show every member's manifest, too
    #[arg(long, short = 'v')]
    verbose: bool,
    #[command(flatten)]
    far: FarFlags,
}

pub const INSPECT: Verb = Verb {
    spellings: &["manifest inspect"],
    about: "Show a manifest list, or a manifest of a registry",
    usage: "[OPTIONS] [LIST] NAME",
    arity: Arity::Between(1, 2),
    flags: InspectFlags::augment_args,
    run: |session, matches, names| inspect(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn inspect(session: &Session, flags: &InspectFlags, names: &[String]) -> Outcome {
    let engine = session.engine()?;
    let options = flags.far.options(session)?;
    let show = Show::new(Stream::Stderr, false);
    let shown = match names {
        [list, member] => serde_json::json!(engine.inspect_member(list, member)?),
        _ if flags.verbose => engine.inspect_manifest_verbose(&names[0], &options, &show)?,
        _ => {
            let bytes = engine.inspect_manifest(&names[0], &options, &show)?;
            serde_json::from_slice(&bytes)
                .context(ErrorKind::InvalidContent, || "invalid manifest".to_owned())?
        }
    };
    ui::json(&indented(&shown, "\t"))?;
    Ok(0)
}

/// In Docker's order of keys: the document's own.
fn indented(value: &Value, step: &str) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(step.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // Writing JSON values to memory has no way to fail.
    let _ = value.serialize(&mut serializer);
    text.push(b'\n');
    text
}

#[derive(Args)]
struct PushFlags {
    /// Push the members, too
    #[arg(long, default_value = "true", value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    all: Option<bool>,
    /// Write the list's digest to a file
    #[arg(long, value_name = "string")]
    digestfile: Option<PathBuf>,
    /// Type of the list: oci or v2s2
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
    /// Remove the list here when it is there
    #[arg(long, short = 'p')]
    purge: bool,
    /// Say nothing but the digest
    #[arg(long, short = 'q')]
    quiet: bool,
    /// For Podman's sake: signatures are never copied along
    #[arg(long, hide = true)]
    remove_signatures: bool,
    /// As --purge
    #[arg(long)]
    rm: bool,
    #[command(flatten)]
    signing: SigningFlags,
    /// Not supported: members are pushed byte for byte
    #[arg(long, hide = true, value_name = "strings")]
    add_compression: Vec<String>,
    /// For Podman's sake: members are pushed byte for byte
    #[arg(long, hide = true, value_name = "string")]
    compression_format: Option<String>,
    /// For Podman's sake: members are pushed byte for byte
    #[arg(long, hide = true, value_name = "int")]
    compression_level: Option<String>,
    /// Not supported: members are pushed byte for byte
    #[arg(long, hide = true)]
    force_compression: bool,
    #[command(flatten)]
    far: FarFlags,
}

pub const PUSH: Verb = Verb {
    spellings: &["manifest push"],
    about: "Send a manifest list and its members to a registry",
    usage: "[OPTIONS] LIST [DESTINATION]",
    arity: Arity::Between(1, 2),
    flags: PushFlags::augment_args,
    run: |session, matches, names| push(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

impl PushFlags {
    /// What was asked for and cannot be.
    fn check(&self) -> Result<()> {
        let packing = [
            ("--add-compression", !self.add_compression.is_empty()),
            ("--force-compression", self.force_compression),
        ];
        let packing = packing.iter().find(|(_, given)| *given);
        if let Some(flag) = self.signing.first().or(packing.map(|(flag, _)| *flag)) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{flag} is not supported: members are pushed byte for byte"),
            ));
        }
        if self.compression_format.is_some() || self.compression_level.is_some() {
            ui::notice("the compression has no effect: members are pushed byte for byte");
        }
        Ok(())
    }

    fn format(&self) -> Result<Option<Format>> {
        match self.format.as_deref() {
            None | Some("") => Ok(None),
            Some("oci") => Ok(Some(Format::Oci)),
            Some("v2s2" | "docker") => Ok(Some(Format::Docker)),
            Some(other) => Err(Error::invalid(format!(
                "invalid --format {other:?}: expected oci or v2s2"
            ))),
        }
    }
}

fn push(session: &Session, flags: &PushFlags, names: &[String]) -> Outcome {
    flags.check()?;
    let engine = session.engine()?;
    let show = Show::new(Stream::Stderr, flags.quiet);
    let request = ManifestPush {
        list: names[0].clone(),
        target: names.get(1).map(|name| registry_name(name)).transpose()?,
        all: flags.all.unwrap_or(true),
        format: flags.format()?,
        registry: flags.far.options(session)?,
        progress: &show,
    };
    let pushed = engine.push_manifest_list(&request);
    show.finish();
    let pushed = pushed?;
    if !flags.quiet {
        for member in &pushed.members {
            let digest = member.digest().map_or("", |digest| digest.as_str());
            ui::line(&format!("Pushed ref {member} with digest: {digest}"))?;
        }
    }
    write_digest(flags.digestfile.as_deref(), pushed.digest.as_str())?;
    ui::line(pushed.digest.as_str())?;
    if flags.purge || flags.rm {
        engine.remove_manifest_list(&names[0])?;
    }
    Ok(0)
}

pub(super) fn write_digest(path: Option<&std::path::Path>, digest: &str) -> Result<()> {
    match path {
        Some(path) => std::fs::write(path, digest).context(ErrorKind::InvalidArgument, || {
            format!("cannot write {}", path.display())
        }),
        None => Ok(()),
    }
}

/// `docker://` may stand before it; other places are not registries.
pub(super) fn registry_name(typed: &str) -> Result<Reference> {
    let name = typed.strip_prefix("docker://").unwrap_or(typed);
    for transport in [
        "oci",
        "oci-archive",
        "docker-archive",
        "dir",
        "containers-storage",
    ] {
        if typed
            .strip_prefix(transport)
            .is_some_and(|rest| rest.starts_with(':'))
            && typed.contains('/')
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{transport}: is not a place that this can be pushed to"),
            )
            .with_hint("name a registry: HOST/NAME:TAG"));
        }
    }
    name.parse()
}

#[derive(Args)]
struct ReferrersFlags {
    /// Show those of this type
    #[arg(long, value_name = "string")]
    artifact_type: Option<String>,
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Print digests alone
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    far: FarFlags,
}

pub const REFERRERS: Verb = Verb {
    spellings: &["manifest referrers"],
    about: "List what refers to an image of a registry: signatures, bills of materials, …",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    arity: Arity::Exactly(1),
    flags: ReferrersFlags::augment_args,
    run: |session, matches, names| referrers(session, &parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn referrers(session: &Session, flags: &ReferrersFlags, name: &str) -> Outcome {
    let show = Show::new(Stream::Stderr, false);
    let subject = registry_name(name)?;
    let (_, found) = session.engine()?.referrers(
        &subject,
        flags.artifact_type.as_deref(),
        &flags.far.options(session)?,
        &show,
    )?;
    if flags.quiet {
        for entry in &found {
            ui::line(entry.digest.as_str())?;
        }
        return Ok(0);
    }
    let rows: Vec<Row> = found
        .iter()
        .map(|entry| Row {
            fields: vec![
                ("Digest", entry.digest.to_string()),
                // Somebody else's words: what they would do to a terminal stays text.
                (
                    "ArtifactType",
                    plain(entry.artifact_type.as_deref().unwrap_or("<none>")),
                ),
                ("MediaType", plain(&entry.media_type)),
                ("Size", human::short_size(entry.size)),
                (
                    "Name",
                    format!("{}@{}", subject.familiar_name(), entry.digest),
                ),
            ],
            labels: entry.annotations.clone(),
        })
        .collect();
    let list = List {
        headings: &[
            ("Digest", "DIGEST"),
            ("ArtifactType", "ARTIFACT TYPE"),
            ("MediaType", "MEDIA TYPE"),
            ("Size", "SIZE"),
            ("Name", "NAME"),
        ],
        default: r"table {{.Digest}}\t{{.ArtifactType}}\t{{.Size}}",
    };
    ui::raw(list.show(flags.format.as_deref(), &rows)?.as_bytes())?;
    Ok(0)
}

/// Without what a terminal would take for commands.
pub(super) fn plain(text: &str) -> String {
    text.escape_debug()
        .to_string()
        .replace("\\\"", "\"")
        .replace("\\'", "'")
}
