//! `push`: send an image, or a manifest list with its members, to a registry.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session, container_flags,
    failure::Failure,
    manifest_far::{registry_name, write_digest},
    parse,
    progress::{self, Stream},
    push_progress::Show,
    registry_flags::RegistryFlags,
    signing_flags::SigningFlags,
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{Engine, PushRequest, Rewrite, manifests::ManifestPush},
    model::{
        Error, ErrorKind, Reference, Result,
        manifest::{Compression, Format},
        transport::{Archive, Transport},
    },
};

#[derive(Args)]
struct Flags {
    /// Send all tags of the repository
    #[arg(long, short = 'a')]
    all_tags: bool,
    /// For Podman's sake: layers are sent as they are stored
    #[arg(long, hide = true)]
    compress: bool,
    /// Pack layers this way: gzip or zstd
    #[arg(long, value_name = "string")]
    compression_format: Option<String>,
    /// Pack layers this tightly: 1 to 9 for gzip, 1 to 20 for zstd
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    compression_level: Option<i32>,
    /// Write the digest in the registry to a file
    #[arg(long, value_name = "file")]
    digestfile: Option<PathBuf>,
    /// Not supported: layers are not encrypted here
    #[arg(long, value_name = "ints", hide = true)]
    encrypt_layer: Option<String>,
    /// Not supported: layers are not encrypted here
    #[arg(long, value_name = "string", hide = true)]
    encryption_key: Option<String>,
    /// Pack layers anew even if they are packed that way already
    #[arg(long)]
    force_compression: bool,
    /// Kind of the image's documents: oci or v2s2 (default: as they are stored)
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
    /// Send this platform's image alone
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Print the image's name alone
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Leave signatures behind; they are never sent along
    #[arg(long)]
    remove_signatures: bool,
    #[command(flatten)]
    signing: SigningFlags,
    #[command(flatten)]
    registry: RegistryFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["image push", "push"],
    about: "Send an image to a registry",
    usage: "[OPTIONS] NAME[:TAG] [DESTINATION]",
    arity: Arity::Between(1, 2),
    unsupported: super::unsupported::TRANSFER,
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, &arguments),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, arguments: &[String]) -> Outcome {
    refuse_signing(&flags)?;
    let rewrite = rewrite(&flags)?;
    let show = Show::new(flags.quiet);
    let engine = session.engine()?;
    if !flags.all_tags && is_list(engine, &arguments[0])? {
        return push_list(session, engine, &flags, &rewrite, arguments);
    }
    let images = match arguments.get(1) {
        Some(_) if flags.all_tags => {
            return Err(Failure::Plain(
                "a destination can't be used with --all-tags/-a".to_owned(),
                1,
            ));
        }
        Some(destination) => match self::destination(destination)? {
            Ok(name) => vec![(arguments[0].clone(), name)],
            Err(archive) => return to_archive(engine, &flags, &rewrite, &arguments[0], &archive),
        },
        None => by_name(engine, &flags, &arguments[0], &show)?,
    };
    let request = PushRequest {
        images,
        registry: flags.registry.options(session)?,
        platform: container_flags::platform_flag(flags.platform)?,
        rewrite,
    };
    let pushed = engine.push(&request, &show);
    show.finish();
    let pushed = pushed?;
    if let Some(last) = pushed.last() {
        write_digest(flags.digestfile.as_deref(), last.digest.as_str())?;
    }
    if flags.quiet {
        for name in quiet_names(&request, flags.all_tags) {
            ui::line(&name)?;
        }
    }
    Ok(0)
}

/// The image is known by the name that it is to have in the registry.
fn by_name(
    engine: &Engine,
    flags: &Flags,
    typed: &str,
    show: &Show,
) -> Result<Vec<(String, Reference)>, Failure> {
    let Transport::Registry(typed) = Transport::parse(typed)? else {
        return Err(Error::invalid("the image to push must be one of the store").into());
    };
    let name: Reference = typed.parse()?;
    if name.digest().is_some() {
        return Err(Failure::Plain(
            "cannot push a digest reference".to_owned(),
            1,
        ));
    }
    let tagged = !parse::is_without_tag(&typed, &name);
    if flags.all_tags {
        if tagged {
            return Err(Failure::Plain(
                "tag can't be used with --all-tags/-a".to_owned(),
                1,
            ));
        }
        let all = engine.tags_of(&name)?;
        return Ok(all
            .into_iter()
            .map(|name| (name.to_string(), name))
            .collect());
    }
    if !tagged {
        show.line("Using default tag: latest");
    }
    engine.check_name(&name)?;
    Ok(vec![(name.to_string(), name)])
}

/// Whether a manifest list has this name, and no image.
fn is_list(engine: &Engine, typed: &str) -> Result<bool> {
    let Ok(Transport::Registry(typed)) = Transport::parse(typed) else {
        return Ok(false);
    };
    let Ok(name) = typed.parse::<Reference>() else {
        return Ok(false);
    };
    let missing = |error: &Error| error.kind() == ErrorKind::NoSuchImage;
    match engine.check_name(&name) {
        Err(error) if missing(&error) => {}
        other => return other.map(|()| false),
    }
    let lists = engine.manifest_lists()?;
    Ok(lists.iter().any(|list| list.name == name))
}

/// As `manifest push --all`, with what `push` prints.
fn push_list(
    session: &Session,
    engine: &Engine,
    flags: &Flags,
    rewrite: &Rewrite,
    arguments: &[String],
) -> Outcome {
    let only_format = Rewrite {
        format: rewrite.format,
        ..Rewrite::default()
    };
    if *rewrite != only_format || flags.platform.is_some() {
        return Err(Failure::Refused(
            "--platform and --compression-format are for images, and this is a manifest list"
                .to_owned(),
            "its members are pushed byte for byte: push one of them by its own name",
        ));
    }
    let list: Reference = registry_name(&arguments[0])?;
    let target = match arguments.get(1).map(|typed| destination(typed)) {
        None => list.clone(),
        Some(name) => name?.map_err(|_| {
            Error::invalid("a manifest list can be pushed to a registry alone")
                .with_hint("name one: HOST/NAME:TAG")
        })?,
    };
    let show = progress::Show::new(Stream::Stdout, flags.quiet);
    show.line(&format!(
        "The push refers to repository [{}]",
        target.name()
    ));
    let pushed = engine.push_manifest_list(&ManifestPush {
        list: list.to_string(),
        target: Some(target.clone()),
        all: true,
        format: rewrite.format,
        registry: flags.registry.options(session)?,
        progress: &show,
    });
    show.finish();
    let pushed = pushed?;
    write_digest(flags.digestfile.as_deref(), pushed.digest.as_str())?;
    let tag = target.tag().unwrap_or("latest");
    show.line(&format!(
        "{tag}: digest: {} size: {}",
        pushed.digest, pushed.size
    ));
    if flags.quiet {
        ui::line(&target.to_string())?;
    }
    Ok(0)
}

/// A name in a registry, or else an archive.
fn destination(typed: &str) -> Result<std::result::Result<Reference, Archive>> {
    match Transport::parse(typed)? {
        Transport::Registry(name) => {
            let name: Reference = name.parse()?;
            if name.digest().is_some() {
                return Err(Error::invalid(format!(
                    "{typed} has a digest, which only the image's bytes can give"
                )));
            }
            Ok(Ok(name))
        }
        Transport::Archive(archive) => Ok(Err(archive)),
    }
}

fn to_archive(
    engine: &Engine,
    flags: &Flags,
    rewrite: &Rewrite,
    image: &str,
    archive: &Archive,
) -> Outcome {
    if *rewrite != Rewrite::default() || flags.digestfile.is_some() || flags.platform.is_some() {
        return Err(Failure::Refused(
            "--format, --compression-format, --platform and --digestfile are for registries"
                .to_owned(),
            "`coracle save` has flags for archives",
        ));
    }
    engine.push_to_archive(image, archive)?;
    Ok(0)
}

fn quiet_names(request: &PushRequest, all_tags: bool) -> Vec<String> {
    let names = request.images.iter().map(|(_, name)| name);
    if all_tags {
        return names.take(1).map(Reference::name).collect();
    }
    names.map(ToString::to_string).collect()
}

fn rewrite(flags: &Flags) -> Result<Rewrite, Failure> {
    let bad = |value: &str, flag: &str, expected: &str| {
        Failure::Flag(format!(
            "invalid argument {value:?} for \"{flag}\" flag: expected {expected}"
        ))
    };
    let compression = match flags.compression_format.as_deref() {
        None => None,
        Some("gzip") => Some(Compression::Gzip),
        Some("zstd") => Some(Compression::Zstd),
        Some("zstd:chunked") => {
            ui::notice("zstd:chunked is written as zstd: what it adds is not used here");
            Some(Compression::Zstd)
        }
        Some(other) => return Err(bad(other, "--compression-format", "gzip or zstd")),
    };
    if let Some(level) = flags.compression_level {
        let most = match compression {
            Some(Compression::Zstd) => 20,
            _ => 9,
        };
        if !(1..=most).contains(&level) {
            let expected = format!("1 to {most}");
            return Err(bad(&level.to_string(), "--compression-level", &expected));
        }
    }
    let format = match flags.format.as_deref() {
        None => None,
        Some("oci") => Some(Format::Oci),
        Some("v2s2" | "docker") => Some(Format::Docker),
        Some("v2s1") => {
            return Err(Failure::Plain(
                "format v2s1 is not supported: registries have given it up".to_owned(),
                125,
            ));
        }
        Some(other) => return Err(bad(other, "-f, --format", "oci or v2s2")),
    };
    if flags.compress {
        ui::notice("--compress has no effect: it is for folders that dir: names");
    }
    Ok(Rewrite {
        format,
        compression,
        level: flags.compression_level,
        force: flags.force_compression,
    })
}

/// An image that should be signed or encrypted must not go out without.
fn refuse_signing(flags: &Flags) -> Result<(), Failure> {
    if let Some(flag) = flags.signing.first() {
        return Err(Failure::Refused(
            format!("{flag} is not supported: images are not signed here"),
            "push without it and sign the digest, for example with cosign",
        ));
    }
    if flags.encrypt_layer.is_some() || flags.encryption_key.is_some() {
        return Err(Failure::Refused(
            "--encryption-key is not supported: layers are not encrypted here".to_owned(),
            "nothing was sent",
        ));
    }
    Ok(())
}
