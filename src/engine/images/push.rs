//! `push`: from an image in the store to a name in a registry.
//!
//! ```text
//! plan        the documents as they lie in the store, and the blobs they name: all opened now, so
//!             that nobody can take them away
//! rewrite     only if asked for: other compression, other kind of documents ([`super::repack`])
//! blobs       layers and configuration; what the registry has is spared or mounted
//! documents   the manifest under its tag; or manifests by digest and then the index, if all that
//!             the index names is here
//! ```
//!
//! Documents go as they came, so what was pulled has the same digest in the next registry. Killed
//! anywhere before the last document, the name in the registry stands for what it stood for before,
//! and the next push finds the blobs there.

use std::{collections::BTreeSet, fs::File};

use super::repack::{self, Rewrite};
use crate::{
    engine::Engine,
    model::{
        BlobSource, Context, Digest, Error, ErrorKind, Platform, Reference, RegistryOptions,
        Result,
        image::{ImageConfig, ImageRecord, MAX_DOCUMENT_BYTES},
        manifest::{self, Document, Format},
    },
    registry::{PARALLEL_UPLOADS, Registry, UploadRequest, UploadWatch, Uploaded},
    storage::{Lease, Store},
};

/// Deeper nesting of indexes is refused.
const MAX_MANIFESTS: usize = 256;

#[derive(Clone, Debug)]
pub struct PushRequest {
    /// Images as they were typed, and the name that each gets in the registry.
    pub images: Vec<(String, Reference)>,
    pub registry: RegistryOptions,
    /// Push this platform's manifest alone, even if its whole index is here.
    pub platform: Option<Platform>,
    pub rewrite: Rewrite,
}

/// One image that is in the registry now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub name: Reference,
    pub digest: Digest,
    /// Bytes of the document that the name stands for.
    pub size: u64,
}

/// What becomes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushStage<'a> {
    Preparing,
    /// It is being packed in another way.
    Compressing,
    /// Bytes to be sent.
    Sending(u64),
    /// Bytes sent, counted from the layer's beginning.
    Sent(u64),
    Exists,
    /// From this repository.
    Mounted(&'a str),
    Pushed,
    /// Its licence forbids to spread it.
    Foreign,
}

/// Shows a push. Called from several threads.
pub trait PushProgress: Sync {
    /// The next image begins.
    fn image(&self, _: &Reference) {}
    fn layer(&self, layer: &Digest, stage: PushStage<'_>);
    fn pushed(&self, _: &Pushed) {}
    fn retrying(&self, what: &str, why: &str);
}

impl Engine {
    /// Sends images to registries, one after the other; those before the first failure stay there.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::NoSuchBlob`] if the store lacks a part of it;
    /// [`ErrorKind::NoMatchingPlatform`]; those of [`Registry`].
    pub fn push(&self, request: &PushRequest, progress: &dyn PushProgress) -> Result<Vec<Pushed>> {
        let registry = Registry::new(&request.registry);
        let mut pushed = Vec::new();
        for (image, name) in &request.images {
            registry.prepare(name)?;
            let record = self.store.resolve_image(image)?;
            let done = push_one(&self.store, &registry, request, &record, name, progress)?;
            let (familiar, short) = (name.familiar(), name.familiar_name());
            self.note_image("push", &familiar, &short, Some(&record.config));
            progress.pushed(&done);
            pushed.push(done);
        }
        Ok(pushed)
    }

    /// All names of the store in the repository of `name`, for `push --all-tags`.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`] if there is none.
    pub fn tags_of(&self, name: &Reference) -> Result<Vec<Reference>> {
        let names = self
            .store
            .images()?
            .into_iter()
            .filter_map(|record| record.name);
        let found: Vec<Reference> = names
            .filter(|other| other.name() == name.name() && other.tag().is_some())
            .collect();
        if found.is_empty() {
            return Err(not_here(&name.familiar_name()));
        }
        Ok(found)
    }

    /// Whether an image has exactly this name.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`] if none has.
    pub fn check_name(&self, name: &Reference) -> Result<()> {
        match self.store.image(name)? {
            Some(_) => Ok(()),
            None => Err(not_here(&name.familiar_name())),
        }
    }
}

fn not_here(name: &str) -> Error {
    Error::new(
        ErrorKind::NoSuchImage,
        format!("An image does not exist locally with the tag: {name}"),
    )
    .with_hint("`coracle images` lists those that are here, `coracle tag` gives names")
}

/// [`Engine::push`] of one image.
pub fn push_one(
    store: &Store,
    registry: &Registry,
    request: &PushRequest,
    record: &ImageRecord,
    name: &Reference,
    progress: &dyn PushProgress,
) -> Result<Pushed> {
    progress.image(name);
    let mut plan = Plan::new(store, record, request.platform.as_ref())?;
    let lease;
    if !request.rewrite.is_empty() {
        lease = store.lease()?;
        plan.rewrite(&lease, &request.rewrite, progress)?;
    }
    let shown: BTreeSet<Digest> = plan
        .manifests
        .iter()
        .flat_map(|manifest| manifest.layers.iter().map(|layer| layer.digest.clone()))
        .collect();
    let watch = Watch { progress, shown };
    let uploads = plan.uploads(&Lenders::of(store, name)?, progress)?;
    registry.upload(name, uploads, PARALLEL_UPLOADS, &watch)?;
    put_documents(registry, &plan, name, progress)
}

fn put_documents(
    registry: &Registry,
    plan: &Plan,
    name: &Reference,
    progress: &dyn PushProgress,
) -> Result<Pushed> {
    let put = |at: &Reference, document: &Stored| {
        registry.put_document(
            at,
            document.bytes.clone(),
            &document.media_type,
            &|what, why| {
                progress.retrying(what, why);
            },
        )
    };
    let named = match &plan.index {
        Some(index) => {
            for manifest in &plan.manifests {
                put(
                    &name.at_digest(manifest.document.digest()),
                    &manifest.document,
                )?;
            }
            index
        }
        None => &plan.manifests[0].document,
    };
    put(name, named)?;
    Ok(Pushed {
        name: name.clone(),
        digest: named.digest(),
        size: named.bytes.len() as u64,
    })
}

/// A manifest or index as it is sent.
pub(super) struct Stored {
    pub bytes: Vec<u8>,
    pub media_type: String,
}

impl Stored {
    fn new(bytes: Vec<u8>, fallback: &str) -> Stored {
        let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let own = json.and_then(|json| Some(json.get("mediaType")?.as_str()?.to_owned()));
        Stored {
            media_type: own.unwrap_or_else(|| fallback.to_owned()),
            bytes,
        }
    }

    pub fn digest(&self) -> Digest {
        use sha2::Digest as _;
        Digest::sha256(sha2::Sha256::digest(&self.bytes))
    }
}

/// One manifest and what it names.
pub(super) struct Manifest {
    pub document: Stored,
    pub config: Part,
    pub layers: Vec<Part>,
}

pub(super) struct Part {
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
    /// Absent for a layer that is not to be spread.
    pub file: Option<File>,
}

struct Plan {
    /// At least one; the only one, if there is no index.
    manifests: Vec<Manifest>,
    /// Everything that it names is among the manifests.
    index: Option<Stored>,
}

impl Plan {
    fn new(store: &Store, record: &ImageRecord, platform: Option<&Platform>) -> Result<Plan> {
        if let Some(index) = &record.index
            && platform.is_none()
            && let Some(plan) = Plan::whole_index(store, index)?
        {
            return Ok(plan);
        }
        let digest = match platform {
            Some(wanted) => choose(store, record, wanted)?,
            None => record.manifest.clone(),
        };
        Ok(Plan {
            manifests: vec![manifest(store, &digest)?],
            index: None,
        })
    }

    /// Nothing if a part of it is not in the store: most images have other platforms, too.
    fn whole_index(store: &Store, digest: &Digest) -> Result<Option<Plan>> {
        let bytes = store.read_blob(digest, MAX_DOCUMENT_BYTES)?;
        let Document::Index(index) = Document::parse(&bytes, None)? else {
            return Ok(None);
        };
        let mut manifests = Vec::new();
        for entry in index.manifests().iter().take(MAX_MANIFESTS + 1) {
            match manifest(store, &manifest::digest_of(entry)?) {
                Ok(manifest) => manifests.push(manifest),
                Err(error) if error.kind() == ErrorKind::NoSuchBlob => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        if manifests.is_empty() || manifests.len() > MAX_MANIFESTS {
            return Ok(None);
        }
        Ok(Some(Plan {
            manifests,
            index: Some(Stored::new(bytes, manifest::OCI_INDEX)),
        }))
    }

    /// The index then names its manifests as they have become. What is no image among them, such as
    /// a statement on how one was built, stays as it is.
    fn rewrite(
        &mut self,
        lease: &Lease<'_>,
        rewrite: &Rewrite,
        progress: &dyn PushProgress,
    ) -> Result<()> {
        for manifest in &mut self.manifests {
            let known = |layer: &Part| manifest::layer_compression(&layer.media_type).is_ok();
            if self.index.is_none() || manifest.layers.iter().all(known) {
                repack::rewrite(lease, rewrite, manifest, progress)?;
            }
        }
        let Some(index) = &mut self.index else {
            return Ok(());
        };
        let what = || "cannot rewrite the index".to_owned();
        let mut json: serde_json::Value =
            serde_json::from_slice(&index.bytes).context(ErrorKind::InvalidContent, what)?;
        let entries = json.get_mut("manifests").and_then(|all| all.as_array_mut());
        for (entry, manifest) in entries.into_iter().flatten().zip(&self.manifests) {
            entry["mediaType"] = manifest.document.media_type.clone().into();
            entry["digest"] = manifest.document.digest().as_str().into();
            entry["size"] = manifest.document.bytes.len().into();
        }
        if let Some(format) = rewrite.format {
            index.media_type = match format {
                Format::Oci => manifest::OCI_INDEX.to_owned(),
                Format::Docker => manifest::DOCKER_INDEX.to_owned(),
            };
            json["mediaType"] = index.media_type.clone().into();
        }
        index.bytes = serde_json::to_vec(&json).context(ErrorKind::System, what)?;
        Ok(())
    }

    /// Each blob once.
    fn uploads(
        &mut self,
        lenders: &Lenders,
        progress: &dyn PushProgress,
    ) -> Result<Vec<UploadRequest<'static>>> {
        let mut seen = BTreeSet::new();
        let mut uploads = Vec::new();
        for manifest in &mut self.manifests {
            for part in &mut manifest.layers {
                progress.layer(&part.digest, PushStage::Preparing);
            }
            for part in manifest.layers.iter_mut().chain([&mut manifest.config]) {
                if !seen.insert(part.digest.clone()) {
                    continue;
                }
                let Some(file) = part.file.take() else {
                    progress.layer(&part.digest, PushStage::Foreign);
                    continue;
                };
                uploads.push(UploadRequest {
                    mount_from: lenders.having(&part.digest),
                    digest: part.digest.clone(),
                    size: part.size,
                    source: Box::new(file) as Box<dyn BlobSource>,
                });
            }
        }
        Ok(uploads)
    }
}

/// The manifest of `wanted` among those that the image came with.
fn choose(store: &Store, record: &ImageRecord, wanted: &Platform) -> Result<Digest> {
    if let Some(index) = &record.index
        && let Document::Index(index) =
            Document::parse(&store.read_blob(index, MAX_DOCUMENT_BYTES)?, None)?
        && let Ok(entry) = manifest::choose(&index, wanted)
    {
        let digest = manifest::digest_of(entry)?;
        if store.has_blob(&digest)? {
            return Ok(digest);
        }
    }
    let config = ImageConfig::parse(&store.read_blob(&record.config, MAX_DOCUMENT_BYTES)?)?;
    if wanted.accepts(&config.platform()) {
        return Ok(record.manifest.clone());
    }
    let name = record.name.as_ref().map(Reference::familiar);
    Err(Error::new(
        ErrorKind::NoMatchingPlatform,
        format!(
            "{} is here for platform {}, not for {wanted}",
            name.unwrap_or_else(|| record.config.to_string()),
            config.platform()
        ),
    )
    .with_hint(format!("pull it with --platform {wanted} first")))
}

fn manifest(store: &Store, digest: &Digest) -> Result<Manifest> {
    let bytes = store.read_blob(digest, MAX_DOCUMENT_BYTES)?;
    let Document::Manifest(parsed) = Document::parse(&bytes, None)? else {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            format!("{digest} is an index where a manifest should be"),
        ));
    };
    let part = |descriptor: &oci_spec::image::Descriptor| -> Result<Part> {
        let digest = manifest::digest_of(descriptor)?;
        let media_type = descriptor.media_type().to_string();
        let file = if is_foreign(&media_type) {
            None
        } else {
            Some(store.open_blob(&digest)?)
        };
        Ok(Part {
            digest,
            size: descriptor.size(),
            media_type,
            file,
        })
    };
    Ok(Manifest {
        config: part(parsed.config())?,
        layers: parsed.layers().iter().map(part).collect::<Result<_>>()?,
        document: Stored::new(bytes, manifest::OCI_MANIFEST),
    })
}

/// Windows' base layers, mostly: they are fetched from where their `urls` say.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".foreign.") || media_type.contains(".nondistributable.")
}

/// Other repositories of the same registry, and what they probably hold: images that the store
/// knows by names there.
struct Lenders {
    known: Vec<(Reference, BTreeSet<Digest>)>,
}

impl Lenders {
    fn of(store: &Store, target: &Reference) -> Result<Lenders> {
        let known = store
            .images()?
            .into_iter()
            .filter_map(|record| {
                let name = record.name?;
                let neighbour = name.registry() == target.registry()
                    && name.repository() != target.repository();
                let blobs = record.blobs.into_iter().chain([record.config]);
                neighbour.then(|| (name, blobs.collect()))
            })
            .collect();
        Ok(Lenders { known })
    }

    fn having(&self, blob: &Digest) -> Vec<Reference> {
        let having = self.known.iter().filter(|(_, blobs)| blobs.contains(blob));
        having.map(|(name, _)| name.clone()).collect()
    }
}

/// Tells of layers alone.
struct Watch<'a> {
    progress: &'a dyn PushProgress,
    shown: BTreeSet<Digest>,
}

impl Watch<'_> {
    fn tell(&self, blob: &Digest, stage: PushStage<'_>) {
        if self.shown.contains(blob) {
            self.progress.layer(blob, stage);
        }
    }
}

impl UploadWatch for Watch<'_> {
    fn started(&self, blob: &Digest, size: u64) {
        self.tell(blob, PushStage::Sending(size));
    }

    fn sent(&self, blob: &Digest, bytes: u64) {
        self.tell(blob, PushStage::Sent(bytes));
    }

    fn finished(&self, blob: &Digest, how: &Uploaded) {
        self.tell(
            blob,
            match how {
                Uploaded::Existed => PushStage::Exists,
                Uploaded::Mounted(from) => PushStage::Mounted(from),
                Uploaded::Sent => PushStage::Pushed,
            },
        );
    }

    fn retrying(&self, what: &str, why: &str) {
        self.progress.retrying(what, why);
    }
}
