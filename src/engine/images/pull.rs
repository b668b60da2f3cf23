//! `pull`: from a name in a registry to an image in the store.
//!
//! ```text
//! credentials   a helper program may run, so before anything else
//! namespace     an ordinary user becomes root of her own ids
//! HEAD          only if the name is known: the same digest means that nothing is to be done
//! policy        whether the name may be used at all; a rejected one costs no request
//! manifest      of the index the entry for the wanted platform; all verified by digest
//! signatures    if the policy asks for some (head of [`super::trust`])
//! config        says the platform, and what the layers unpack to
//! layers        those that the store lacks, several at once, unpacked while they arrive
//! commit        everything becomes visible at once
//! ```
//!
//! Killed anywhere before the commit, the name stands for what it stood for before, and what was
//! downloaded of unfinished layers is used by the next pull.

use oci_spec::image::MediaType;

use super::{
    ingest::{ImageDocuments, Ingest},
    trust::Trust,
};
use crate::{
    engine::{Engine, Progress, PullRequest, Pulled},
    model::{
        Digest, Error, ErrorKind, Platform, Reference, Result,
        image::{ImageConfig, ImageRecord, MAX_DOCUMENT_BYTES},
        manifest::{self, Document},
    },
    registry::{BlobRequest, PARALLEL, Registry, RemoteDocument},
    storage::{Lease, Store, unpack::Privilege},
};

impl Engine {
    /// Fetches an image and gives it the name it was asked for by.
    ///
    /// # Errors
    /// Those of [`Registry`]; [`ErrorKind::NoMatchingPlatform`]; [`ErrorKind::InvalidContent`] for
    /// what is not an image; [`ErrorKind::DigestMismatch`].
    pub fn pull(&self, request: &PullRequest, progress: &dyn Progress) -> Result<Pulled> {
        let registry = Registry::new(&request.registry);
        let candidates = registry.registries()?.candidates(&request.reference)?;
        for candidate in &candidates {
            registry.prepare(candidate)?;
        }
        self.enter_user_namespace()?;
        let mut missed = Vec::new();
        for reference in &candidates {
            let request = PullRequest {
                reference: reference.clone(),
                ..request.clone()
            };
            progress.pulling(reference);
            match pull_into(&self.store, self.privilege(), &registry, &request, progress) {
                Ok(pulled) => {
                    self.note_pull(reference, &pulled);
                    return Ok(pulled);
                }
                Err(error) if may_be_elsewhere(error.kind()) => missed.push(error),
                Err(error) => return Err(error),
            }
        }
        Err(nowhere(&request.reference, missed))
    }

    fn note_pull(&self, name: &Reference, pulled: &Pulled) {
        let image = &pulled.record.config;
        self.note_image("pull", &name.familiar(), &name.familiar_name(), Some(image));
    }
}

/// Whether the next registry is asked for a short name.
fn may_be_elsewhere(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFoundInRegistry | ErrorKind::Unauthorized | ErrorKind::Registry
    )
}

/// One registry's failure as it is; several in one line.
pub(super) fn nowhere(name: &Reference, mut missed: Vec<Error>) -> Error {
    match missed.len() {
        1 => missed.remove(0),
        _ => {
            let each: Vec<String> = missed.iter().map(Error::one_line).collect();
            let kind = missed.last().map_or(ErrorKind::Registry, Error::kind);
            let name = name.familiar();
            Error::new(
                kind,
                format!("no registry gave {name}: {}", each.join("; ")),
            )
        }
    }
}
/// [`Engine::pull`] for a process that is already who it should be.
pub fn pull_into(
    store: &Store,
    privilege: Privilege,
    registry: &Registry,
    request: &PullRequest,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let name = local_name(&request.reference);
    let demand = Trust::read(&request.registry.trust)?.demand(&name)?;
    store.sweep()?;
    let pull = Pull {
        lease: store.lease()?,
        registry,
        name,
        wanted: request.platform.clone().unwrap_or_else(Platform::host),
        progress,
    };
    let known = match store.image(&pull.name)? {
        Some(record) if pull.is_complete(&record)? => Some(record),
        _ => None,
    };
    // What is asked for is verified, whether or not the store has it.
    if let (Some(record), None) = (&known, &demand)
        && let Some(digest) = pull.unchanged(record)?
    {
        return Ok(up_to_date(record.clone(), digest));
    }
    let chosen = pull.resolve()?;
    if let Some(demand) = demand {
        demand.check(registry, &chosen.documents(), &|what, why| {
            progress.retrying(what, why);
        })?;
    }
    let digest = chosen.digest().clone();
    if let Some(record) = known
        && record.manifest == chosen.manifest.digest
        && record.index.as_ref() == chosen.index.as_ref().map(|index| &index.digest)
    {
        return Ok(up_to_date(record, digest));
    }
    Ok(Pulled {
        record: pull.take_in(privilege, &chosen)?,
        digest,
        up_to_date: false,
    })
}

/// The image as it is here, if all of it is and it is for the wanted platform.
pub(super) fn known(
    store: &Store,
    request: &PullRequest,
    progress: &dyn Progress,
) -> Result<Option<Pulled>> {
    let pull = Pull {
        lease: store.lease()?,
        registry: &Registry::new(&request.registry),
        name: local_name(&request.reference),
        wanted: request.platform.clone().unwrap_or_else(Platform::host),
        progress,
    };
    let Some(record) = store.image(&pull.name)? else {
        return Ok(None);
    };
    if !pull.is_complete(&record)? {
        return Ok(None);
    }
    let digest = record.index.clone();
    let digest = digest.unwrap_or_else(|| record.manifest.clone());
    Ok(Some(up_to_date(record, digest)))
}

fn up_to_date(record: ImageRecord, digest: Digest) -> Pulled {
    Pulled {
        record,
        digest,
        up_to_date: true,
    }
}

/// As Docker: what is pulled by digest is known by that alone, whatever tag stood before it.
fn local_name(reference: &Reference) -> Reference {
    match reference.digest() {
        Some(digest) => reference.at_digest(digest.clone()),
        None => reference.clone(),
    }
}

struct Pull<'a> {
    lease: Lease<'a>,
    registry: &'a Registry,
    name: Reference,
    wanted: Platform,
    progress: &'a dyn Progress,
}

/// What the name stands for in the registry.
struct Chosen {
    /// The index that the manifest was chosen from.
    index: Option<RemoteDocument>,
    manifest: RemoteDocument,
}

impl Chosen {
    fn digest(&self) -> &Digest {
        &self.index.as_ref().unwrap_or(&self.manifest).digest
    }

    /// The bytes that a signature may be for: of what the name stands for first.
    fn documents(&self) -> Vec<&[u8]> {
        let both = self.index.iter().chain([&self.manifest]);
        both.map(|document| document.bytes.as_slice()).collect()
    }
}

impl Pull<'_> {
    /// Whether all of a known image is in the store and it is for the wanted platform.
    fn is_complete(&self, record: &ImageRecord) -> Result<bool> {
        let documents = [
            Some(&record.manifest),
            Some(&record.config),
            record.index.as_ref(),
        ];
        for blob in documents.into_iter().flatten().chain(&record.blobs) {
            if !self.lease.has_blob(blob)? {
                return Ok(false);
            }
        }
        for layer in &record.layers {
            if !self.lease.has_layer(layer)? {
                return Ok(false);
            }
        }
        // A damaged blob is as good as none: it is fetched again.
        let Ok(config) = self
            .lease
            .store()
            .read_blob(&record.config, MAX_DOCUMENT_BYTES)
        else {
            return Ok(false);
        };
        Ok(ImageConfig::parse(&config)
            .is_ok_and(|config| fits(&self.wanted, &config.platform(), record.index.is_some())))
    }

    /// The digest of the name if it still stands for `record`, asked without fetching anything.
    /// For a name that is a digest there is nothing to ask.
    fn unchanged(&self, record: &ImageRecord) -> Result<Option<Digest>> {
        let known = record.index.as_ref().unwrap_or(&record.manifest);
        let announced = match self.name.digest() {
            Some(digest) => Some(digest.clone()),
            None => self
                .registry
                .announced_digest(&self.name, &|what, why| self.progress.retrying(what, why))?,
        };
        Ok(announced.filter(|digest| digest == known))
    }

    fn resolve(&self) -> Result<Chosen> {
        let first = self.document(&self.name)?;
        match Document::parse(&first.bytes, first.media_type.as_deref())? {
            Document::Manifest(_) => Ok(Chosen {
                index: None,
                manifest: first,
            }),
            Document::Index(index) => {
                let entry = manifest::choose(&index, &self.wanted)?;
                let digest = manifest::digest_of(entry)?;
                Ok(Chosen {
                    index: Some(first),
                    manifest: self.document(&self.name.at_digest(digest))?,
                })
            }
        }
    }

    /// A manifest or index, from the store if it is there.
    fn document(&self, reference: &Reference) -> Result<RemoteDocument> {
        if let Some(digest) = reference.digest()
            && let Some(bytes) = self.stored(digest)?
        {
            return Ok(RemoteDocument {
                bytes,
                media_type: None,
                digest: digest.clone(),
            });
        }
        self.registry
            .document(reference, &|what, why| self.progress.retrying(what, why))
    }

    fn config(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        if let Some(bytes) = self.stored(digest)? {
            return Ok(bytes);
        }
        self.registry
            .small_blob(&self.name, digest, size, &|what, why| {
                self.progress.retrying(what, why);
            })
    }

    /// The blob, if the store has it and the disk has not changed it.
    fn stored(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        if !self.lease.has_blob(digest)? {
            return Ok(None);
        }
        Ok(self
            .lease
            .store()
            .read_blob(digest, MAX_DOCUMENT_BYTES)
            .ok())
    }

    fn take_in(&self, privilege: Privilege, chosen: &Chosen) -> Result<ImageRecord> {
        let remote = &chosen.manifest;
        let parsed = Document::parse(&remote.bytes, remote.media_type.as_deref())?;
        let Document::Manifest(parsed) = parsed else {
            return Err(not_an_image(&self.name, "an index inside of an index"));
        };
        check_is_image(&self.name, parsed.config().media_type())?;
        let config = self.config(
            &manifest::digest_of(parsed.config())?,
            parsed.config().size(),
        )?;
        self.check_platform(&ImageConfig::parse(&config)?, chosen.index.is_some())?;

        let documents = ImageDocuments {
            manifest: remote.bytes.clone(),
            media_type: remote.media_type.clone(),
            config,
        };
        let ingest = Ingest::begin(&self.lease, privilege, self.progress, &documents)?;
        let blobs = ingest
            .sinks()?
            .into_iter()
            .map(|wanted| BlobRequest {
                digest: wanted.digest,
                size: wanted.size,
                sink: wanted.sink,
            })
            .collect();
        self.registry
            .fetch(&self.name, blobs, PARALLEL, &|what, why| {
                self.progress.retrying(what, why);
            })?;
        let mut ingested = ingest.complete()?;
        if let Some(index) = &chosen.index {
            ingested.attach_index(self.lease.stage_document(&index.bytes)?);
        }
        let records = ingested.commit(&self.lease, std::slice::from_ref(&self.name))?;
        records.into_iter().next().ok_or_else(|| {
            Error::new(
                ErrorKind::Store,
                format!("the store has no record of {}", self.name.familiar()),
            )
        })
    }

    fn check_platform(&self, config: &ImageConfig, from_index: bool) -> Result<()> {
        let offered = config.platform();
        if fits(&self.wanted, &offered, from_index) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NoMatchingPlatform,
            format!(
                "{} is for platform {offered}, not {}",
                self.name.familiar(),
                self.wanted
            ),
        )
        .with_hint(format!("pull it all the same with --platform {offered}")))
    }
}

/// Whether an image whose configuration says `offered` may be used where `wanted` is asked for.
/// What was chosen from an index was chosen by its variant there: configurations often leave it out
/// or say another. Some builders leave everything out, and the image then fits any.
fn fits(wanted: &Platform, offered: &Platform, from_index: bool) -> bool {
    if offered.os.is_empty() && offered.architecture.is_empty() {
        return true;
    }
    let variant = if from_index {
        None
    } else {
        offered.variant.clone()
    };
    wanted.accepts(&Platform {
        variant,
        ..offered.clone()
    })
}

/// Charts, signatures and other artifacts have manifests, too (OCI image specification,
/// "Guidelines for Artifact Usage").
fn check_is_image(name: &Reference, config_type: &MediaType) -> Result<()> {
    let media_type = config_type.to_string();
    match media_type.as_str() {
        manifest::OCI_CONFIG | manifest::DOCKER_CONFIG | "application/octet-stream" => Ok(()),
        other => Err(not_an_image(
            name,
            &format!("an artifact with a configuration of type {other}"),
        )),
    }
}

fn not_an_image(name: &Reference, what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidContent,
        format!("{} is not an image but {what}", name.familiar()),
    )
}
