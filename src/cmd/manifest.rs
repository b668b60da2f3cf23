//! `manifest create`, `add`, `annotate`, `remove`, `rm`, `exists`: indexes that are made here.
//!
//! Docker's members are far away, Podman's may be here: a plain name is an image of the store if
//! there is one, and in its registry otherwise; `docker://NAME` is always there.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session, each,
    failure::Failure,
    parse,
    progress::{Show, Stream},
    registry_flags::RegistryFlags,
    ui,
    verb::{Arity, Class, Outcome, Verb, wrong_count},
};
use crate::{
    engine::{
        RegistryOptions,
        artifacts::NewFile,
        manifests::{AddRequest, ArtifactEntry},
    },
    model::{
        Error, ErrorKind, Reference, Result,
        index::{self, EntryChanges},
    },
};

/// Podman's registry flags, and Docker's `--insecure`.
#[derive(Args)]
pub struct FarFlags {
    /// Allow plain http and unknown certificates
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl FarFlags {
    pub fn options(&self, session: &Session) -> Result<RegistryOptions> {
        let mut options = self.registry.options(session)?;
        if self.insecure {
            options.tls_verify = Some(false);
        }
        Ok(options)
    }
}

#[derive(Args)]
struct CreateFlags {
    /// Add all members of members that are lists
    #[arg(long)]
    all: bool,
    /// Add to a list that is there already
    #[arg(long, short = 'a')]
    amend: bool,
    /// Annotate the list, KEY=VALUE
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    #[command(flatten)]
    far: FarFlags,
}

pub const CREATE: Verb = Verb {
    spellings: &["manifest create"],
    about: "Make a manifest list of images here or in registries",
    usage: "[OPTIONS] LIST [IMAGE...]",
    arity: Arity::AtLeast(1),
    flags: CreateFlags::augment_args,
    run: |session, matches, names| create(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn create(session: &Session, flags: &CreateFlags, names: &[String]) -> Outcome {
    let list: Reference = names[0].parse()?;
    let annotations = index::annotations(&flags.annotation)?;
    let show = Show::new(Stream::Stderr, false);
    let request = AddRequest {
        members: names[1..].to_vec(),
        all: flags.all,
        changes: EntryChanges::default(),
        artifact: None,
        registry: flags.far.options(session)?,
        progress: &show,
    };
    session
        .engine()?
        .create_manifest_list(&list, flags.amend, &annotations, &request)?;
    ui::line(&format!("Created manifest list {list}"))?;
    Ok(0)
}

/// What is said about an entry.
#[derive(Args)]
struct EntryFlags {
    /// Annotate the entry, KEY=VALUE
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    /// Say another architecture
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Say which features of the processor are needed
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    features: Vec<String>,
    /// Say another operating system
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// Say which features of the operating system are needed
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Say which version of the operating system is needed
    #[arg(long, value_name = "string")]
    os_version: Option<String>,
    /// Say another variant of the architecture
    #[arg(long, value_name = "string")]
    variant: Option<String>,
}

impl EntryFlags {
    fn changes(&self) -> Result<EntryChanges> {
        Ok(EntryChanges {
            architecture: self.arch.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
            features: self.features.clone(),
            annotations: index::annotations(&self.annotation)?,
        })
    }
}

#[derive(Args)]
struct AddFlags {
    /// Add all members of an image that is a list
    #[arg(long)]
    all: bool,
    /// Add files, as an artifact
    #[arg(long)]
    artifact: bool,
    /// File that is the artifact's configuration
    #[arg(long, value_name = "string")]
    artifact_config: Option<PathBuf>,
    /// Media type of the artifact's configuration
    #[arg(long, value_name = "string")]
    artifact_config_type: Option<String>,
    /// Leave the files' names out
    #[arg(long)]
    artifact_exclude_titles: bool,
    /// Media type of the artifact's files
    #[arg(long, value_name = "string")]
    artifact_layer_type: Option<String>,
    /// Image that the artifact refers to
    #[arg(long, value_name = "string")]
    artifact_subject: Option<String>,
    /// Type of the artifact
    #[arg(long, value_name = "string")]
    artifact_type: Option<String>,
    #[command(flatten)]
    entry: EntryFlags,
    #[command(flatten)]
    far: FarFlags,
}

pub const ADD: Verb = Verb {
    spellings: &["manifest add"],
    about: "Add images, or files as an artifact, to a manifest list",
    usage: "[OPTIONS] LIST IMAGE|FILE [IMAGE|FILE...]",
    arity: Arity::AtLeast(2),
    flags: AddFlags::augment_args,
    run: |session, matches, names| add(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn add(session: &Session, flags: &AddFlags, names: &[String]) -> Outcome {
    let said_of_artifact = [
        flags.artifact_config.is_some(),
        flags.artifact_config_type.is_some(),
        flags.artifact_exclude_titles,
        flags.artifact_layer_type.is_some(),
        flags.artifact_subject.is_some(),
        flags.artifact_type.is_some(),
    ];
    if !flags.artifact && said_of_artifact.contains(&true) {
        let text = "the flags --artifact-… need --artifact".to_owned();
        return Err(Error::invalid(text).into());
    }
    let members = names[1..].to_vec();
    let show = Show::new(Stream::Stderr, false);
    let request = AddRequest {
        artifact: flags.artifact.then(|| entry_of_files(flags, &members)),
        members: if flags.artifact { Vec::new() } else { members },
        all: flags.all,
        changes: flags.entry.changes()?,
        registry: flags.far.options(session)?,
        progress: &show,
    };
    let digest = session
        .engine()?
        .add_to_manifest_list(&names[0], &request)?;
    ui::line(digest.hex())?;
    Ok(0)
}

fn entry_of_files(flags: &AddFlags, paths: &[String]) -> ArtifactEntry {
    let file = |path: &String| NewFile {
        path: path.into(),
        media_type: flags.artifact_layer_type.clone(),
        titled: !flags.artifact_exclude_titles,
        annotations: index::Annotations::new(),
    };
    ArtifactEntry {
        files: paths.iter().map(file).collect(),
        artifact_type: flags.artifact_type.clone(),
        config: flags.artifact_config.clone(),
        config_type: flags.artifact_config_type.clone(),
        subject: flags.artifact_subject.clone(),
    }
}

#[derive(Args)]
struct AnnotateFlags {
    /// Annotate the list itself
    #[arg(long)]
    index: bool,
    /// Image that the list refers to
    #[arg(long, value_name = "string")]
    subject: Option<String>,
    #[command(flatten)]
    entry: EntryFlags,
    #[command(flatten)]
    far: FarFlags,
}

pub const ANNOTATE: Verb = Verb {
    spellings: &["manifest annotate"],
    about: "Say more about a member of a manifest list, or about the list",
    usage: "[OPTIONS] LIST [IMAGE|DIGEST]",
    arity: Arity::Between(1, 2),
    flags: AnnotateFlags::augment_args,
    run: |session, matches, names| annotate(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn annotate(session: &Session, flags: &AnnotateFlags, names: &[String]) -> Outcome {
    let member = names.get(1).map(String::as_str);
    let changes = flags.entry.changes()?;
    let about_platform = EntryChanges {
        annotations: index::Annotations::new(),
        ..changes.clone()
    } != EntryChanges::default();
    let about_list = flags.index || flags.subject.is_some();
    match (about_list, member) {
        (true, Some(_)) => {
            let text = "--index and --subject are about the list: name no member";
            return Err(Error::invalid(text).into());
        }
        (true, None) if about_platform => {
            let text = "a list has no platform: only --annotation and --subject are about it";
            return Err(Error::invalid(text).into());
        }
        (false, None) => {
            return Err(wrong_count("manifest annotate", "requires 2 arguments"));
        }
        _ => {}
    }
    let engine = session.engine()?;
    let subject = match &flags.subject {
        Some(name) => Some(engine.descriptor_of(name, &flags.far.options(session)?)?),
        None => None,
    };
    engine.annotate_manifest_list(&names[0], member, &changes, subject)?;
    Ok(0)
}

pub const REMOVE: Verb = Verb {
    spellings: &["manifest remove"],
    about: "Take a member out of a manifest list",
    usage: "LIST IMAGE|DIGEST",
    arity: Arity::Exactly(2),
    run: |session, _, names| {
        let digest = session
            .engine()?
            .remove_from_manifest_list(&names[0], &names[1])?;
        ui::line(digest.hex())?;
        Ok(0)
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct RemoveFlags {
    /// A list that is not there is no failure
    #[arg(long, short = 'i')]
    ignore: bool,
}

pub const RM: Verb = Verb {
    spellings: &["manifest rm"],
    about: "Remove manifest lists from the store",
    usage: "[OPTIONS] LIST [LIST...]",
    arity: Arity::AtLeast(1),
    flags: RemoveFlags::augment_args,
    run: |session, matches, names| {
        let flags: RemoveFlags = parse::flags(matches)?;
        let engine = session.engine()?;
        each::each(Class::Remove, &names, |name| {
            match engine.remove_manifest_list(name) {
                Err(error) if flags.ignore && error.kind() == ErrorKind::NoSuchImage => Ok(()),
                other => Ok(other.map(drop)?),
            }
        })
    },
    ..Verb::PLAIN
};

pub const EXISTS: Verb = Verb {
    spellings: &["manifest exists"],
    about: "Tell by the exit code whether a manifest list is there",
    usage: "LIST",
    arity: Arity::Exactly(1),
    run: |session, _, names| match session.engine()?.manifest_list(&names[0]) {
        Ok(_) => Ok(0),
        Err(error) if error.kind() == ErrorKind::NoSuchImage => Ok(1),
        Err(error) => Err(Failure::Plain(error.one_line(), 125)),
    },
    ..Verb::PLAIN
};
