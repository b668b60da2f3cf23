//! `pull`: fetch images from a registry, or from an archive that a transport names.

use clap::Args;

use super::{
    Session, container_flags, each,
    failure::Failure,
    parse,
    progress::{Show, Stream},
    registry_flags::RegistryFlags,
    ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{
    engine::{Engine, Freshness, LoadRequest, PullRequest},
    model::{
        Error, Platform, Reference,
        transport::{Archive, Transport},
    },
};

#[derive(Args)]
struct Flags {
    /// Fetch all tags of the repository
    #[arg(long, short = 'a')]
    all_tags: bool,
    /// Architecture to choose from a multi-platform image
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Not supported: layers are not decrypted here
    #[arg(long, value_name = "string", hide = true)]
    decryption_key: Option<String>,
    /// Operating system to choose from a multi-platform image
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// Platform to choose from a multi-platform image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// When to ask the registry: always, missing, never or newer
    #[arg(long, value_name = "string", default_value = "always")]
    policy: String,
    /// Print the image's name alone
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Variant of the architecture to choose, such as v7
    #[arg(long, value_name = "string")]
    variant: Option<String>,
    #[command(flatten)]
    registry: RegistryFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["image pull", "pull"],
    about: "Fetch images from a registry",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST] [NAME...]",
    arity: Arity::AtLeast(1),
    unsupported: super::unsupported::TRANSFER,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: &[String]) -> Outcome {
    if flags.decryption_key.is_some() {
        return Err(Failure::Refused(
            "--decryption-key is not supported: layers are not decrypted here".to_owned(),
            "nothing was fetched",
        ));
    }
    let freshness = freshness(&flags.policy)?;
    let platform = platform(flags)?;
    let engine = session.engine()?;
    each::each(Class::Other, names, |typed| {
        match Transport::parse(typed)? {
            Transport::Archive(archive) => {
                from_archive(session, engine, flags, platform.clone(), typed, &archive)
            }
            Transport::Registry(typed) => {
                let request = PullRequest {
                    reference: typed.parse::<Reference>()?,
                    registry: flags.registry.options(session)?,
                    platform: platform.clone(),
                };
                let show = Show::new(Stream::Stdout, flags.quiet);
                if flags.all_tags {
                    return all_tags(engine, request, freshness, &typed, &show);
                }
                if parse::is_without_tag(&typed, &request.reference) {
                    show.line("Using default tag: latest");
                }
                let name = one(engine, &request, freshness, &show)?;
                ui::line(&name.to_string())
            }
        }
    })
}

fn one(
    engine: &Engine,
    request: &PullRequest,
    freshness: Freshness,
    show: &Show,
) -> Result<Reference, Failure> {
    let asked = &request.reference;
    let pulled = engine.pull_unless_here(request, freshness, show);
    show.finish();
    let pulled = pulled?;
    // registries.conf may have sent a short name somewhere else.
    let elsewhere = pulled.record.name.as_ref();
    let name = elsewhere.filter(|name| name.name() != asked.name());
    let name = name.unwrap_or(asked);
    show.summary(&pulled, &name.familiar());
    Ok(name.clone())
}

fn all_tags(
    engine: &Engine,
    request: PullRequest,
    freshness: Freshness,
    typed: &str,
    show: &Show,
) -> Result<(), Failure> {
    if !parse::is_without_tag(typed, &request.reference) {
        return Err(Failure::Plain(
            "tag can't be used with --all-tags/-a".to_owned(),
            1,
        ));
    }
    let mut name = request.reference.name();
    for tag in engine.tags_in_registry(&request.reference, &request.registry, show)? {
        let request = PullRequest {
            reference: tag,
            ..request.clone()
        };
        name = one(engine, &request, freshness, show)?.name();
    }
    ui::line(&name)
}

/// What is in it, under the names that it has there; the name that was typed, if one was, must be
/// among them, or is given to the only image.
fn from_archive(
    session: &Session,
    engine: &Engine,
    flags: &Flags,
    platform: Option<Platform>,
    typed: &str,
    archive: &Archive,
) -> Result<(), Failure> {
    let request = LoadRequest {
        input: Some(archive.path.clone()),
        platforms: platform.into_iter().collect(),
        trust: flags.registry.options(session)?.trust,
    };
    let show = Show::new(Stream::Stdout, flags.quiet);
    let loaded = engine.load(&request, &show);
    show.finish();
    let loaded = loaded?;
    let name = archive.name()?;
    let wanted = match (&name, loaded.as_slice()) {
        (None, all) => all.last(),
        (Some(name), [only]) if !only.names.contains(name) => {
            engine.tag(only.id.as_str(), name)?;
            Some(only)
        }
        (Some(name), all) => all.iter().find(|image| image.names.contains(name)),
    };
    let Some(wanted) = wanted else {
        return Err(Error::invalid(format!("{typed} is not in the archive")).into());
    };
    ui::line(wanted.id.as_str())
}

fn freshness(policy: &str) -> Result<Freshness, Failure> {
    match policy {
        "always" => Ok(Freshness::Always),
        "missing" | "ifnotpresent" => Ok(Freshness::Missing),
        "never" => Ok(Freshness::Never),
        "newer" | "ifnewer" => Ok(Freshness::Newer),
        other => Err(Failure::Flag(format!(
            "invalid argument {other:?} for \"--policy\" flag: expected always, missing, never or newer"
        ))),
    }
}

fn platform(flags: &Flags) -> Result<Option<Platform>, Failure> {
    let given = |flag: &Option<String>| flag.clone().filter(|text| !text.is_empty());
    let (os, arch, variant) = (given(&flags.os), given(&flags.arch), given(&flags.variant));
    if os.is_none() && arch.is_none() && variant.is_none() {
        return Ok(container_flags::platform(flags.platform.clone())?);
    }
    if given(&flags.platform).is_some() {
        return Err(Failure::Flag(
            "--platform cannot be used with --arch, --os and --variant".to_owned(),
        ));
    }
    let host = Platform::host();
    let mut text = format!(
        "{}/{}",
        os.unwrap_or(host.os),
        arch.as_ref().unwrap_or(&host.architecture)
    );
    if let Some(variant) = variant {
        text = format!("{text}/{variant}");
    }
    Ok(Some(text.parse()?))
}
