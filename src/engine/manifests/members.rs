//! From what a user calls a member to entries of an index.
//!
//! A plain name is an image of the store, or a local index, and otherwise one in its registry;
//! `docker://NAME` is always the latter. Of an index one member is taken, or all.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    engine::{
        Engine, Progress, RegistryOptions,
        artifacts::{self, NewFile},
    },
    model::{
        Digest, Error, ErrorKind, Platform, Reference, Result,
        image::{ImageConfig, ImageRecord, MAX_DOCUMENT_BYTES},
        index::{Artifact, Descriptor, EntryChanges, EntryPlatform, Index, ManifestKind},
        manifest::{self, DOCKER_CONFIG, DOCKER_MANIFEST, Document, OCI_CONFIG, OCI_MANIFEST},
    },
    registry::{Registry, RemoteDocument},
    storage::{Lease, StagedBlob},
};

/// What `manifest add` is told.
pub struct AddRequest<'a> {
    /// Names, as typed.
    pub members: Vec<String>,
    /// Of an index, all entries instead of this platform's.
    pub all: bool,
    /// Said about every entry that is added.
    pub changes: EntryChanges,
    /// Files that become an artifact, instead of members.
    pub artifact: Option<ArtifactEntry>,
    pub registry: RegistryOptions,
    pub progress: &'a dyn Progress,
}

/// `manifest add --artifact`.
#[derive(Clone, Debug, Default)]
pub struct ArtifactEntry {
    pub files: Vec<NewFile>,
    pub artifact_type: Option<String>,
    pub config: Option<PathBuf>,
    pub config_type: Option<String>,
    pub subject: Option<String>,
}

/// What is about to be put into an index.
#[derive(Default)]
pub(super) struct Gathered {
    pub entries: Vec<Descriptor>,
    /// Manifests and configurations that were fetched or made.
    pub documents: BTreeMap<Digest, Vec<u8>>,
    /// Other new blobs.
    pub staged: Vec<StagedBlob>,
    /// Blobs of the store that are kept with the index.
    pub keeps: BTreeSet<Digest>,
    pub sources: BTreeMap<Digest, Reference>,
}

impl Gathered {
    fn keep_document(&mut self, bytes: Vec<u8>, digest: Digest) {
        self.keeps.insert(digest.clone());
        self.documents.insert(digest, bytes);
    }
}

/// The entry for a platform, by the rules of [`manifest::choose`].
pub(super) fn choose<'a>(index: &'a Index, wanted: &Platform) -> Result<&'a Descriptor> {
    let bytes = index.to_bytes()?;
    let media_type = index.media_type.as_deref();
    let Document::Index(parsed) = Document::parse(&bytes, media_type)? else {
        return Err(Error::new(ErrorKind::InvalidContent, "not an index"));
    };
    let digest = manifest::digest_of(manifest::choose(&parsed, wanted)?)?;
    let entry = index.entry(&digest);
    entry.ok_or_else(|| Error::new(ErrorKind::InvalidContent, "not an index"))
}

/// A name in a registry that was typed with `docker://`.
pub(in crate::engine) fn remote_name(typed: &str) -> Option<&str> {
    typed.strip_prefix("docker://")
}

pub(super) struct Gathering<'a> {
    pub engine: &'a Engine,
    pub registry: Registry,
    pub all: bool,
    pub wanted: Platform,
    pub progress: &'a dyn Progress,
}

impl<'a> Gathering<'a> {
    pub fn new(engine: &'a Engine, request: &AddRequest<'a>) -> Self {
        let host = Platform::host();
        let changes = &request.changes;
        let wanted = match (&changes.os, &changes.architecture) {
            (None, None) => host,
            (os, architecture) => Platform {
                os: os.clone().unwrap_or(host.os),
                architecture: architecture.clone().unwrap_or(host.architecture),
                variant: changes.variant.clone(),
            },
        };
        Gathering {
            engine,
            registry: Registry::new(&request.registry),
            all: request.all,
            wanted,
            progress: request.progress,
        }
    }

    /// All members. Credential helpers run before the first request.
    pub fn members(&self, typed: &[String]) -> Result<Gathered> {
        let mut gathered = Gathered::default();
        let mut far = Vec::new();
        for name in typed {
            if !self.local(name, &mut gathered)? {
                let reference: Reference = remote_name(name).unwrap_or(name).parse()?;
                self.registry.prepare(&reference)?;
                far.push(reference);
            }
        }
        for reference in far {
            self.remote(&reference, &mut gathered)?;
        }
        Ok(gathered)
    }

    fn local(&self, typed: &str, gathered: &mut Gathered) -> Result<bool> {
        if remote_name(typed).is_some() {
            return Ok(false);
        }
        match self.engine.store.resolve_image(typed) {
            Ok(image) => {
                self.local_image(&image, gathered)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NoSuchImage => {
                self.local_index(typed, gathered)
            }
            Err(error) => Err(error),
        }
    }

    fn local_image(&self, image: &ImageRecord, gathered: &mut Gathered) -> Result<()> {
        if let (true, Some(index), Some(name)) = (self.all, &image.index, &image.name) {
            let index = Index::parse(&self.engine.store.read_blob(index, MAX_DOCUMENT_BYTES)?)?;
            for entry in index.manifests {
                let source = name.at_digest(entry.digest.clone());
                gathered.sources.insert(entry.digest.clone(), source);
                gathered.entries.push(entry);
            }
            self.keep_image(image, gathered);
            return Ok(());
        }
        let bytes = self
            .engine
            .store
            .read_blob(&image.manifest, MAX_DOCUMENT_BYTES)?;
        let config = self.engine.image_config(&image.config)?;
        let mut entry = Descriptor {
            digest: image.manifest.clone(),
            platform: Some(entry_platform(&config)),
            ..Descriptor::of(&bytes, &manifest_type(&bytes, None)?)
        };
        entry.size = bytes.len() as u64;
        gathered.entries.push(entry);
        if let Some(name) = &image.name {
            gathered
                .sources
                .insert(image.manifest.clone(), name.clone());
        }
        self.keep_image(image, gathered);
        Ok(())
    }

    #[allow(clippy::unused_self, reason = "reads like its siblings")]
    fn keep_image(&self, image: &ImageRecord, gathered: &mut Gathered) {
        gathered.keeps.insert(image.manifest.clone());
        gathered.keeps.insert(image.config.clone());
        gathered.keeps.extend(image.blobs.iter().cloned());
        gathered.keeps.extend(image.others.iter().cloned());
    }

    /// All entries of another index of the store, or the platform's.
    fn local_index(&self, typed: &str, gathered: &mut Gathered) -> Result<bool> {
        let Some(record) = self.engine.find_manifest(typed, ManifestKind::Index)? else {
            return Ok(false);
        };
        let index = self.engine.read_index(&record)?;
        let taken: Vec<Descriptor> = if self.all {
            index.manifests
        } else {
            vec![choose(&index, &self.wanted)?.clone()]
        };
        gathered.entries.extend(taken);
        gathered.keeps.extend(record.keeps);
        gathered.sources.extend(record.sources);
        Ok(true)
    }

    fn remote(&self, reference: &Reference, gathered: &mut Gathered) -> Result<()> {
        let document = self.fetch(reference)?;
        let manifest = match Document::parse(&document.bytes, document.media_type.as_deref())? {
            Document::Manifest(_) => document,
            Document::Index(_) if self.all => {
                for entry in Index::parse(&document.bytes)?.manifests {
                    let source = reference.at_digest(entry.digest.clone());
                    gathered.sources.insert(entry.digest.clone(), source);
                    gathered.entries.push(entry);
                }
                return Ok(());
            }
            Document::Index(index) => {
                let entry = manifest::choose(&index, &self.wanted)?;
                let digest = manifest::digest_of(entry)?;
                let known = Index::parse(&document.bytes)?.entry(&digest).cloned();
                let manifest = self.fetch(&reference.at_digest(digest.clone()))?;
                gathered.sources.insert(digest.clone(), reference.clone());
                gathered.keep_document(manifest.bytes, digest);
                gathered.entries.extend(known);
                return Ok(());
            }
        };
        let media_type = manifest_type(&manifest.bytes, manifest.media_type.as_deref())?;
        let mut entry = Descriptor {
            digest: manifest.digest.clone(),
            ..Descriptor::of(&manifest.bytes, &media_type)
        };
        self.describe(reference, &manifest, &mut entry, gathered)?;
        gathered
            .sources
            .insert(entry.digest.clone(), reference.clone());
        gathered.keep_document(manifest.bytes, manifest.digest);
        gathered.entries.push(entry);
        Ok(())
    }

    /// An image's configuration says its platform; an artifact has a type instead.
    fn describe(
        &self,
        reference: &Reference,
        manifest: &RemoteDocument,
        entry: &mut Descriptor,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let parsed = Artifact::parse(&manifest.bytes)?;
        let config = &parsed.config;
        if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str())
            || parsed.artifact_type.is_some()
        {
            entry.artifact_type = Some(parsed.kind().to_owned());
            return Ok(());
        }
        let bytes =
            self.registry
                .small_blob(reference, &config.digest, config.size, &|what, why| {
                    self.progress.retrying(what, why);
                })?;
        entry.platform = Some(entry_platform(&ImageConfig::parse(&bytes)?));
        gathered.keep_document(bytes, config.digest.clone());
        Ok(())
    }

    fn fetch(&self, reference: &Reference) -> Result<RemoteDocument> {
        self.registry
            .document(reference, &|what, why| self.progress.retrying(what, why))
    }
}

impl Engine {
    /// Files become an artifact, which becomes a member.
    pub(super) fn gather_artifact(
        &self,
        new: &ArtifactEntry,
        options: &RegistryOptions,
        lease: &Lease<'_>,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let mut artifact = Artifact::new(new.artifact_type.as_deref());
        let (config, described) =
            artifacts::config(new.config.as_deref(), new.config_type.as_deref())?;
        artifact.config = described;
        gathered.keep_document(config, artifact.config.digest.clone());
        if let Some(subject) = &new.subject {
            artifact.subject = Some(self.descriptor_of(subject, options)?);
        }
        let (layers, staged) = artifacts::stage(lease, &new.files)?;
        gathered
            .keeps
            .extend(layers.iter().map(|layer| layer.digest.clone()));
        gathered.staged = staged;
        artifact.layers = layers;
        let bytes = artifact.to_bytes()?;
        let mut entry = Descriptor::of(&bytes, OCI_MANIFEST);
        entry.artifact_type = Some(artifact.kind().to_owned());
        gathered.keep_document(bytes, entry.digest.clone());
        gathered.entries.push(entry);
        Ok(())
    }
}

fn entry_platform(config: &ImageConfig) -> EntryPlatform {
    let text = |key: &str| {
        let value = config.extra.get(key)?.as_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    EntryPlatform {
        os_version: text("os.version"),
        ..EntryPlatform::of(&config.platform())
    }
}

/// What a manifest is called in an index.
pub(super) fn manifest_type(bytes: &[u8], announced: Option<&str>) -> Result<String> {
    let Document::Manifest(manifest) = Document::parse(bytes, announced)? else {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            "an index where a manifest was expected",
        ));
    };
    let stated = manifest.media_type().as_ref().map(ToString::to_string);
    let announced = announced
        .filter(|text| [OCI_MANIFEST, DOCKER_MANIFEST].contains(text))
        .map(str::to_owned);
    Ok(stated.or(announced).unwrap_or_else(|| {
        match manifest.config().media_type().to_string().as_str() {
            DOCKER_CONFIG => DOCKER_MANIFEST,
            _ => OCI_MANIFEST,
        }
        .to_owned()
    }))
}
