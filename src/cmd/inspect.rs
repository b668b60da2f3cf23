//! `inspect`: everything about containers, images and volumes, as Docker's JSON.

use clap::Args;
use serde::Serialize;
use serde_json::{Value, ser::PrettyFormatter};

use super::{
    Session, called, container_flags, each,
    failure::Failure,
    go_types,
    manifest::FarFlags,
    parse,
    progress::{Show, Stream},
    template::Inspect,
    ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{
    engine::manifests::RemoteView,
    model::{Context, Error, ErrorKind, Result},
};

#[derive(Args)]
struct Flags {
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
    /// Show how much a container has written
    #[arg(long, short = 's')]
    size: bool,
    /// Show the container that was made last, too
    #[arg(long, short = 'l')]
    latest: bool,
    /// What the name stands for: container, image, network or volume
    #[arg(long, short = 't', value_name = "string")]
    r#type: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["inspect"],
    about: "Show everything about containers, images and volumes",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    arity: Arity::AtLeast(0),
    flags: Flags::augment_args,
    run: |session, matches, mut names| {
        let flags: Flags = parse::flags(matches)?;
        let kind = match flags.r#type.as_deref() {
            None | Some("" | "all") => Kind::Any,
            Some("container") => Kind::Container,
            Some("image") => Kind::Image,
            Some("network") => Kind::Network,
            Some("volume") => Kind::Volume,
            Some(other) => {
                return Err(Failure::Plain(
                    format!("{other:?} is not a valid value for --type"),
                    1,
                ));
            }
        };
        add_latest(session, flags.latest, &mut names)?;
        Arity::AtLeast(1).check("inspect", names.len(), matches)?;
        if flags.size && matches!(kind, Kind::Image | Kind::Network | Kind::Volume) {
            ui::notice("--size has no effect: only containers have one that is measured");
        }
        run(session, kind, flags.size, flags.format.as_deref(), &names)
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct ContainerFlags {
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
    /// Show the container that was made last, too
    #[arg(long, short = 'l')]
    latest: bool,
    /// Show how much a container has written
    #[arg(long, short = 's')]
    size: bool,
}

pub const CONTAINER: Verb = Verb {
    spellings: &["container inspect"],
    about: "Show everything about containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::AtLeast(0),
    flags: ContainerFlags::augment_args,
    run: |session, matches, mut names| {
        let flags: ContainerFlags = parse::flags(matches)?;
        add_latest(session, flags.latest, &mut names)?;
        Arity::AtLeast(1).check("container inspect", names.len(), matches)?;
        run(
            session,
            Kind::Container,
            flags.size,
            flags.format.as_deref(),
            &names,
        )
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct ImageFlags {
    /// Of docker://NAME: show the configuration alone
    #[arg(long)]
    config: bool,
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
    /// Of docker://NAME: show this platform's image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Of docker://NAME: show the manifest or index as it is
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    far: FarFlags,
}

pub const IMAGE: Verb = Verb {
    spellings: &["image inspect"],
    about: "Show everything about images, here or (docker://NAME) in a registry",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    arity: Arity::AtLeast(1),
    flags: ImageFlags::augment_args,
    run: |session, matches, names| {
        let flags: ImageFlags = parse::flags(matches)?;
        if names.iter().any(|name| name.starts_with("docker://")) {
            return far(session, &flags, &names);
        }
        if flags.raw || flags.config {
            let text = "--raw and --config are for images of registries: docker://NAME";
            return Err(Error::invalid(text).into());
        }
        run(session, Kind::Image, false, flags.format.as_deref(), &names)
    },
    ..Verb::PLAIN
};

/// Images that stay where they are: one object each, as skopeo shows them.
fn far(session: &Session, flags: &ImageFlags, names: &[String]) -> Outcome {
    let view = match (flags.raw, flags.config) {
        (false, false) => RemoteView::Summary,
        (true, false) => RemoteView::Raw,
        (false, true) => RemoteView::Config,
        (true, true) => {
            return Err(Error::invalid("--raw and --config exclude each other").into());
        }
    };
    let template = flags.format.as_deref().map(Inspect::parse).transpose()?;
    let platform = container_flags::platform(flags.platform.clone())?;
    let options = flags.far.options(session)?;
    let show = Show::new(Stream::Stderr, false);
    each::each(Class::Other, names, |name| {
        if !name.starts_with("docker://") {
            let text = format!("{name} is an image here: ask for it in another command");
            return Err(Error::invalid(text).into());
        }
        let engine = session.engine()?;
        let bytes = engine.inspect_remote(name, view, platform.as_ref(), &options, &show)?;
        // Byte for byte: its digest is the registry's.
        if view == RemoteView::Raw && template.is_none() {
            return ui::json(&bytes);
        }
        let object: Value = serde_json::from_slice(&bytes)
            .context(ErrorKind::InvalidContent, || "invalid document".to_owned())?;
        match &template {
            Some(template) => ui::line(&template.show(None, &object)?),
            None => ui::json(&pretty_object(&object)),
        }
    })
}

#[derive(Args)]
struct NetworkFlags {
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
    /// Has no effect: there are no swarms to tell more of
    #[arg(long, short = 'v')]
    verbose: bool,
}

pub const NETWORK: Verb = Verb {
    spellings: &["network inspect"],
    about: "Show everything about networks",
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    arity: Arity::AtLeast(1),
    flags: NetworkFlags::augment_args,
    run: |session, matches, names| {
        let flags: NetworkFlags = parse::flags(matches)?;
        let format = flags.format.as_deref();
        run(session, Kind::Network, false, format, &names)
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct VolumeFlags {
    /// All volumes
    #[arg(long, short = 'a')]
    all: bool,
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
}

pub const VOLUME: Verb = Verb {
    spellings: &["volume inspect"],
    about: "Show everything about volumes",
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    arity: Arity::AtLeast(0),
    flags: VolumeFlags::augment_args,
    run: |session, matches, mut names| {
        let flags: VolumeFlags = parse::flags(matches)?;
        if flags.all {
            let volumes = session.engine()?.volumes()?;
            names = volumes.into_iter().map(|volume| volume.name).collect();
        } else {
            Arity::AtLeast(1).check("volume inspect", names.len(), matches)?;
        }
        run(
            session,
            Kind::Volume,
            false,
            flags.format.as_deref(),
            &names,
        )
    },
    ..Verb::PLAIN
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Container,
    Image,
    Network,
    Volume,
}

fn add_latest(
    session: &Session,
    latest: bool,
    names: &mut Vec<String>,
) -> std::result::Result<(), Failure> {
    if latest {
        let newest = session
            .engine()?
            .containers(true, false)?
            .into_iter()
            .next();
        let newest = newest.ok_or_else(|| Failure::Plain("there is no container".to_owned(), 1))?;
        names.push(newest.id.to_string());
    }
    Ok(())
}

/// With a format, what was found is printed as it is found; without, all of it as one array, an
/// empty one too: scripts compare with `[]`.
fn run(
    session: &Session,
    kind: Kind,
    size: bool,
    format: Option<&str>,
    names: &[String],
) -> Outcome {
    let template = match format {
        None | Some("") => None,
        Some(format) => Some(Inspect::parse(format)?),
    };
    let mut found = Vec::new();
    let mut failed = Vec::new();
    for name in names {
        match (look_up(session, kind, size, name), &template) {
            (Ok((_, object)), None) => found.push(object),
            (Ok((kind, object)), Some(template)) => match template.show(Some(kind), &object) {
                Ok(text) => ui::line(&text)?,
                Err(failure) => failed.push(failure),
            },
            (Err(failure), _) => failed.push(failure),
        }
    }
    match template {
        None => ui::json(&pretty(&found))?,
        // Docker ends the output with an empty line when a template had nothing to show.
        Some(_) if failed.len() == names.len() => ui::line("")?,
        Some(_) => {}
    }
    for failure in &failed {
        match failure {
            Failure::Engine(error) => each::tell(error),
            Failure::Plain(message, _) => ui::error(message, None),
            _ => {}
        }
    }
    Ok(match (failed.is_empty(), called::as_podman()) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => 125,
    })
}

/// What the name stands for, and the structure that Docker's client has for it.
fn look_up(
    session: &Session,
    kind: Kind,
    size: bool,
    name: &str,
) -> std::result::Result<(&'static str, Value), Failure> {
    let engine = session.engine()?;
    let missing = |result: &Result<Value>| {
        result.as_ref().is_err_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::NoSuchContainer
                    | ErrorKind::NoSuchImage
                    | ErrorKind::NoSuchVolume
                    | ErrorKind::NoSuchNetwork
                    | ErrorKind::InvalidArgument
            )
        })
    };
    if kind == Kind::Network {
        return Ok((go_types::NETWORK, engine.inspect_network(name)?));
    }
    if kind == Kind::Volume {
        return Ok((go_types::VOLUME, engine.inspect_volume(name)?));
    }
    if kind != Kind::Image {
        let container = engine.inspect_container(name, size);
        if kind == Kind::Container || !missing(&container) {
            return Ok((go_types::CONTAINER, container?));
        }
    }
    let image = engine.inspect_image(name);
    if kind == Kind::Any && missing(&image) {
        // Containers, images, networks, volumes: Docker's order.
        let network = engine.inspect_network(name);
        if !missing(&network) {
            return Ok((go_types::NETWORK, network?));
        }
        let volume = engine.inspect_volume(name);
        if !missing(&volume) {
            return Ok((go_types::VOLUME, volume?));
        }
        return Err(Error::new(ErrorKind::NoSuchImage, format!("no such object: {name}")).into());
    }
    Ok((go_types::IMAGE, image?))
}

pub(super) fn pretty_one(object: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    let _ = object.serialize(&mut serializer);
    text.push(b'\n');
    text
}

/// Four spaces a level, as Go's `json.MarshalIndent` is called there.
pub(super) fn pretty(objects: &[Value]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    // Writing JSON values to memory has no way to fail.
    let _ = objects.serialize(&mut serializer);
    text.push(b'\n');
    text
}

/// One object alone.
pub(super) fn pretty_object(object: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    let _ = object.serialize(&mut serializer);
    text.push(b'\n');
    text
}
