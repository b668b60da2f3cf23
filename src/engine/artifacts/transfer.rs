//! Documents and their blobs between the store and registries: `artifact pull`, `artifact push`,
//! and what `manifest push` needs of every member.
//!
//! A blob that the store lacks but another repository has is mounted if that is in the same registry,
//! and fetched into the lease if not: only when the target asks for its bytes.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    sync::{Mutex, PoisonError},
    thread,
};

use crate::{
    engine::{Engine, LayerState, Progress, RegistryOptions, images::trust::Trust},
    model::{
        BlobSink, BlobSource, Digest, Error, ErrorKind, Reference, Result,
        index::{Artifact, Descriptor, ManifestKind, ManifestRecord},
        manifest::{Document, OCI_MANIFEST},
    },
    registry::{BlobRequest, PARALLEL, Registry, UploadRequest, UploadWatch, Uploaded},
    storage::{BlobWriter, Lease, StagedBlob, manifests::Expected},
};

/// Where an artifact goes.
pub struct ArtifactPush<'a> {
    /// A local name.
    pub artifact: String,
    /// Default: that name.
    pub target: Option<Reference>,
    pub registry: RegistryOptions,
    pub progress: &'a dyn Progress,
}

#[derive(Clone, Debug)]
pub struct PushedArtifact {
    pub digest: Digest,
    pub target: Reference,
}

impl Engine {
    /// Fetches an artifact and gives it the name it was asked for by; the digest of its manifest.
    ///
    /// # Errors
    /// Those of [`Registry`]; [`ErrorKind::InvalidContent`] for an index.
    pub fn pull_artifact(
        &self,
        reference: &Reference,
        options: &RegistryOptions,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let demand = Trust::read(&options.trust)?.demand(reference)?;
        let registry = Registry::new(options);
        registry.prepare(reference)?;
        let lease = self.store.lease()?;
        let on_retry = |what: &str, why: &str| progress.retrying(what, why);
        let document = registry.document(reference, &on_retry)?;
        if let Some(demand) = demand {
            demand.check(&registry, &[&document.bytes], &on_retry)?;
        }
        let parsed = Document::parse(&document.bytes, document.media_type.as_deref())?;
        if matches!(parsed, Document::Index(_)) {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!("{} is an index, not an artifact", reference.familiar()),
            )
            .with_hint(
                "`coracle manifest inspect` shows its members: pull one of them by its digest",
            ));
        }
        let artifact = Artifact::parse(&document.bytes)?;
        let mut blobs = fetch_blobs(&registry, &lease, reference, &artifact, progress)?;
        blobs.push(lease.stage_document(&document.bytes)?);
        let needed = std::iter::once(&artifact.config).chain(&artifact.layers);
        let record = ManifestRecord {
            name: reference.clone(),
            kind: ManifestKind::Artifact,
            digest: document.digest.clone(),
            keeps: needed.map(|blob| blob.digest.clone()).collect(),
            created: crate::engine::manifests::unix_seconds(),
            sources: BTreeMap::new(),
        };
        if let Some(there) = self.store.manifest(reference)?
            && there.kind != ManifestKind::Artifact
        {
            return Err(Error::new(
                ErrorKind::NameInUse,
                format!("{} is a manifest list here", reference.familiar()),
            )
            .with_hint("`coracle manifest rm` removes it"));
        }
        lease.commit_manifest(blobs, &record, Expected::Anything)?;
        Ok(document.digest)
    }

    /// Sends an artifact to a registry, and notes it with its subject there.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; those of [`Registry`].
    pub fn push_artifact(&self, push: &ArtifactPush<'_>) -> Result<PushedArtifact> {
        let (record, artifact) = self.artifact(&push.artifact)?;
        let target = push.target.clone().unwrap_or_else(|| record.name.clone());
        let transfer = Transfer::new(self, &push.registry, push.progress)?;
        let to = Target::new(&transfer, &target)?;
        let bytes = self
            .store
            .read_blob(&record.digest, crate::model::image::MAX_DOCUMENT_BYTES)?;
        to.send_blobs(&bytes, None)?;
        let media_type = artifact.media_type.as_deref().unwrap_or(OCI_MANIFEST);
        to.send_document(&target, bytes, media_type)?;
        self.note_image("push", &target.familiar(), &target.familiar_name(), None);
        Ok(PushedArtifact {
            digest: record.digest,
            target,
        })
    }
}

/// All blobs of an artifact that the store lacks.
fn fetch_blobs(
    registry: &Registry,
    lease: &Lease<'_>,
    reference: &Reference,
    artifact: &Artifact,
    progress: &dyn Progress,
) -> Result<Vec<StagedBlob>> {
    let done = Mutex::new(Vec::new());
    let mut requests: Vec<BlobRequest<'_>> = Vec::new();
    for blob in std::iter::once(&artifact.config).chain(&artifact.layers) {
        if requests.iter().any(|known| known.digest == blob.digest) {
            continue;
        }
        if lease.has_blob(&blob.digest)? && lease.store().blob_size(&blob.digest)? == blob.size {
            progress.layer_exists(&blob.digest);
            continue;
        }
        progress.layer_started(&blob.digest, blob.size);
        let writer = lease.write_blob(&blob.digest, blob.size)?;
        requests.push(BlobRequest {
            digest: blob.digest.clone(),
            size: blob.size,
            sink: Box::new(StoreSink {
                digest: blob.digest.clone(),
                writer: Some(writer),
                done: &done,
                progress,
            }),
        });
    }
    registry.fetch(reference, requests, PARALLEL, &|what, why| {
        progress.retrying(what, why);
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Bytes on their way into the store.
struct StoreSink<'a> {
    digest: Digest,
    /// `None` once it was finished.
    writer: Option<BlobWriter>,
    done: &'a Mutex<Vec<StagedBlob>>,
    progress: &'a dyn Progress,
}

impl StoreSink<'_> {
    fn writer(&mut self) -> Result<&mut BlobWriter> {
        self.writer
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::System, "a blob was completed twice"))
    }
}

impl BlobSink for StoreSink<'_> {
    fn received(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::offset)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer()?.write(bytes)?;
        self.progress
            .layer_advanced(&self.digest, bytes.len() as u64);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.writer()?.restart()
    }

    fn verify(&mut self) -> Result<bool> {
        self.writer()?.verify()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer()?;
        if let Some(writer) = self.writer.take() {
            let blob = writer.finish()?;
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push(blob);
        }
        self.progress.layer_done(&self.digest);
        Ok(())
    }
}

// ---- to a registry ----------------------------------------------------------------------------

/// One command's sending.
pub(in crate::engine) struct Transfer<'a> {
    pub options: RegistryOptions,
    pub registry: Registry,
    pub lease: Lease<'a>,
    pub progress: &'a dyn Progress,
}

impl<'a> Transfer<'a> {
    pub fn new(
        engine: &'a Engine,
        options: &RegistryOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        Ok(Transfer {
            options: options.clone(),
            registry: Registry::new(options),
            lease: engine.store.lease()?,
            progress,
        })
    }
}

/// A repository that gets documents and what they need.
pub(in crate::engine) struct Target<'a> {
    transfer: &'a Transfer<'a>,
    reference: &'a Reference,
}

impl<'a> Target<'a> {
    pub fn new(transfer: &'a Transfer<'a>, reference: &'a Reference) -> Result<Self> {
        transfer.registry.prepare(reference)?;
        Ok(Target {
            transfer,
            reference,
        })
    }

    /// The blobs that a manifest names, from the store or from where the manifest came from.
    pub fn send_blobs(&self, manifest: &[u8], source: Option<&Reference>) -> Result<()> {
        let manifest = Artifact::parse(manifest)?;
        let Transfer {
            lease, registry, ..
        } = self.transfer;
        let mut requests: Vec<UploadRequest<'_>> = Vec::new();
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            let twice = requests.iter().any(|known| known.digest == blob.digest);
            if twice || is_foreign(blob) {
                continue;
            }
            let source_of_bytes: Box<dyn BlobSource> = if lease.has_blob(&blob.digest)? {
                Box::new(lease.store().open_blob(&blob.digest)?)
            } else {
                Box::new(FarBlob {
                    options: &self.transfer.options,
                    lease,
                    from: source.cloned(),
                    blob: blob.clone(),
                    file: Mutex::new(None),
                })
            };
            requests.push(UploadRequest {
                digest: blob.digest.clone(),
                size: blob.size,
                source: source_of_bytes,
                mount_from: source.cloned().into_iter().collect(),
            });
        }
        let watch = Watch {
            progress: self.transfer.progress,
            told: Mutex::default(),
        };
        registry.upload(self.reference, requests, PARALLEL, &watch)
    }

    /// A document whose blobs are there, under a name of the repository. If it has a subject and the
    /// registry does not keep referrers itself, it is noted in the list that stands in for that.
    pub fn send_document(&self, at: &Reference, bytes: Vec<u8>, media_type: &str) -> Result<()> {
        let on_retry = |what: &str, why: &str| self.transfer.progress.retrying(what, why);
        let registry = &self.transfer.registry;
        let referrer = crate::engine::manifests::Referrer::of(&bytes, media_type);
        let noted = registry.put_document(at, bytes, media_type, &on_retry)?;
        match referrer {
            Some((subject, referrer)) if noted.as_ref() != Some(&subject) => {
                crate::engine::manifests::note_referrer(
                    registry, at, &subject, &referrer, &on_retry,
                )
            }
            _ => Ok(()),
        }
    }
}

/// Layers that may not be given away: they are fetched from the addresses in the manifest.
fn is_foreign(blob: &Descriptor) -> bool {
    let has_urls = blob
        .extra
        .get("urls")
        .and_then(serde_json::Value::as_array)
        .is_some_and(|urls| !urls.is_empty());
    has_urls
        && (blob.media_type.contains(".foreign.") || blob.media_type.contains(".nondistributable."))
}

/// A blob of another registry. Fetched when its first byte is asked for, by the thread that asks: it
/// has a client and connections of its own.
struct FarBlob<'a> {
    options: &'a RegistryOptions,
    lease: &'a Lease<'a>,
    from: Option<Reference>,
    blob: Descriptor,
    file: Mutex<Option<File>>,
}

impl FarBlob<'_> {
    fn fetch(&self) -> Result<File> {
        let Some(from) = &self.from else {
            return Err(Error::new(
                ErrorKind::NoSuchBlob,
                format!("blob {} is not in the store", self.blob.digest),
            )
            .with_hint("pull the image that it belongs to"));
        };
        // In the lease: it goes with the command's end.
        let Descriptor { digest, size, .. } = &self.blob;
        let writer = self.lease.write_blob_alone(digest, *size)?;
        let file = writer.reader()?;
        let done = Mutex::new(Vec::new());
        let request = BlobRequest {
            digest: digest.clone(),
            size: *size,
            sink: Box::new(StoreSink {
                digest: digest.clone(),
                writer: Some(writer),
                done: &done,
                progress: &crate::engine::Silent,
            }),
        };
        // A small blob is asked for on the thread that drives the upload, and one thread can drive one
        // client: this one gets its own.
        let options = self.options;
        let fetched = thread::scope(|scope| {
            let fetch = move || Registry::new(options).fetch(from, vec![request], 1, &|_, _| {});
            scope.spawn(fetch).join()
        });
        match fetched {
            Ok(result) => result.map(|()| file),
            Err(_) => Err(Error::new(
                ErrorKind::System,
                "a thread that fetches a blob did not answer",
            )),
        }
    }
}

impl BlobSource for FarBlob<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = Some(self.fetch()?);
        }
        match &*file {
            Some(file) => file.read_at(offset, buffer),
            None => Ok(0),
        }
    }
}

/// Says how uploads go.
struct Watch<'a> {
    progress: &'a dyn Progress,
    /// What was told of each blob that is being sent, in bytes.
    told: Mutex<HashMap<Digest, u64>>,
}

impl UploadWatch for Watch<'_> {
    fn started(&self, digest: &Digest, size: u64) {
        self.progress.layer_state(digest, LayerState::Pushing(size));
    }

    fn sent(&self, digest: &Digest, bytes: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.entry(digest.clone()).or_default();
        // After a broken line it begins further back; what was told is not taken back.
        if bytes > *before {
            self.progress.layer_advanced(digest, bytes - *before);
            *before = bytes;
        }
    }

    fn finished(&self, digest: &Digest, how: &Uploaded) {
        let state = match how {
            Uploaded::Existed => LayerState::OnServer,
            Uploaded::Mounted(from) => LayerState::Mounted(from.clone()),
            Uploaded::Sent => LayerState::Pushed,
        };
        self.progress.layer_state(digest, state);
    }

    fn retrying(&self, what: &str, why: &str) {
        self.progress.retrying(what, why);
    }
}
