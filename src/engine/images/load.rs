//! `load`: images from an archive or a layout directory into the store.
//!
//! A docker-archive has no manifest in the registry's sense; one is generated (OCI), naming its
//! layers as they are. The image ID, being the configuration's digest, stays what it was.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    archive::{Archive, LoadSource},
    ingest::{ImageDocuments, Ingest, MAX_LAYERS},
    trust::Trust,
};
use crate::{
    engine::{Engine, LoadRequest, Progress},
    model::{
        Context, Digest, Error, ErrorKind, Platform, Reference, Result,
        image::{ImageConfig, ImageRecord},
        manifest::{self, Compression, Document},
    },
    storage::{Lease, Store, unpack::Privilege},
};

/// Annotations that name an image: the whole reference, and what may be only a tag.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";
pub(super) const OCI_NAME: &str = "org.opencontainers.image.ref.name";
/// Marks build attestations, which stand in an index beside the images.
const ATTESTATION: &str = "vnd.docker.reference.type";
/// Images in one archive.
const MAX_IMAGES: usize = 1000;
/// Bytes of all their documents, which are in memory together. A thousand images may share one
/// configuration of 4 MiB, and such an archive is small.
const MAX_DOCUMENTS: usize = 64 << 20;

/// An image that was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its names; none if the archive has none for it.
    pub names: Vec<Reference>,
    /// The image ID.
    pub id: Digest,
    /// One for each name; one without a name otherwise.
    pub records: Vec<ImageRecord>,
}

impl Engine {
    /// Loads every image of a docker-archive, OCI archive or OCI layout directory. `platform`
    /// chooses from indexes (default: this machine's) and skips other images if it is given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidContent`] and [`ErrorKind::DigestMismatch`] for a bad archive,
    /// [`ErrorKind::NoMatchingPlatform`]. Images loaded before the failing one stay.
    pub fn load(&self, request: &LoadRequest, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        self.enter_user_namespace()?;
        let source = match &request.input {
            Some(path) => LoadSource::Path(path.clone()),
            None => LoadSource::Stream(Box::new(std::io::stdin())),
        };
        let trust = Trust::read(&request.trust)?;
        let loaded = load_if(
            &self.store,
            self.privilege(),
            source,
            request.platform.as_ref(),
            progress,
            &|transport| trust.admit_file(transport, request.input.as_deref()),
        )?;
        for Loaded { id, .. } in &loaded {
            self.note_image("load", id.as_str(), id.as_str(), Some(id));
        }
        Ok(loaded)
    }
}

/// [`Engine::load`] into a given store.
pub fn load(
    store: &Store,
    privilege: Privilege,
    source: LoadSource,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    load_if(store, privilege, source, platform, progress, &|_| Ok(()))
}

/// [`load`], if `admit` allows this kind of archive. It is asked before anything is unpacked.
fn load_if(
    store: &Store,
    privilege: Privilege,
    source: LoadSource,
    platform: Option<&Platform>,
    progress: &dyn Progress,
    admit: &dyn Fn(&'static str) -> Result<()>,
) -> Result<Vec<Loaded>> {
    let lease = store.lease()?;
    let is_folder = matches!(&source, LoadSource::Path(path) if path.is_dir());
    let mut archive = Archive::open(&lease, source)?;
    admit(transport(&archive, is_folder)?)?;
    let mut loaded = Vec::new();
    for found in find_images(&archive, platform)? {
        loaded.push(take_in(&lease, privilege, progress, &mut archive, found)?);
    }
    Ok(loaded)
}

/// What containers-transports(5) calls the archive, as [`find_images`] reads it.
fn transport(archive: &Archive<'_>, is_folder: bool) -> Result<&'static str> {
    let is_oci = archive.document("oci-layout")?.is_some();
    Ok(match (is_oci, is_folder) {
        (true, true) => "oci",
        (true, false) => "oci-archive",
        (false, true) => "dir",
        (false, false) => "docker-archive",
    })
}

/// An image of the archive, before anything of it was unpacked.
struct Found {
    documents: ImageDocuments,
    names: Vec<Reference>,
    index: Option<Vec<u8>>,
}

fn take_in<'a>(
    lease: &'a Lease<'a>,
    privilege: Privilege,
    progress: &'a dyn Progress,
    archive: &mut Archive<'a>,
    found: Found,
) -> Result<Loaded> {
    let ingest = Ingest::begin(lease, privilege, progress, &found.documents)?;
    for (blob, size) in ingest.missing() {
        let staged = archive.take(&blob, size)?.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidContent,
                format!("layer {blob} is missing in the archive"),
            )
        })?;
        progress.layer_started(&blob, size);
        progress.layer_advanced(&blob, size);
        ingest.provide(staged);
    }
    let mut ingested = ingest.complete()?;
    if let Some(index) = &found.index {
        ingested.attach_index(lease.stage_document(index)?);
    }
    let records = ingested.commit(lease, &found.names)?;
    Ok(Loaded {
        names: found.names,
        id: Digest::clone(&records[0].config),
        records,
    })
}

fn find_images(archive: &Archive<'_>, platform: Option<&Platform>) -> Result<Vec<Found>> {
    let docker = archive.document("manifest.json")?;
    let oci = match archive.document("oci-layout")? {
        Some(_) => archive.document("index.json")?,
        None => None,
    };
    let mut found = match (&oci, &docker) {
        (Some(index), _) => oci_images(archive, index, platform)?,
        (None, Some(list)) => docker_images(archive, list)?,
        (None, None) => {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                "no image found: there is neither manifest.json nor oci-layout with index.json",
            )
            .with_hint("use `coracle import` for a tar of a root file system"));
        }
    };
    if let (Some(_), Some(list)) = (&oci, &docker) {
        add_docker_names(archive, list, &mut found)?;
    }
    let offered = found.len();
    if let Some(wanted) = platform {
        let mut fitting = Vec::new();
        for image in found {
            if wanted.accepts(&ImageConfig::parse(&image.documents.config)?.platform()) {
                fitting.push(image);
            }
        }
        found = fitting;
    }
    match (found.len(), platform) {
        (0, Some(wanted)) if offered > 0 => Err(Error::new(
            ErrorKind::NoMatchingPlatform,
            format!("no image of the archive is for platform {wanted}"),
        )),
        (0, _) => Err(Error::new(
            ErrorKind::InvalidContent,
            "the archive contains no image",
        )),
        (1..=MAX_IMAGES, _) => Ok(found),
        _ => Err(Error::new(
            ErrorKind::InvalidContent,
            format!("the archive contains more than {MAX_IMAGES} images"),
        )),
    }
}

fn keep(images: &mut Vec<Found>, image: Found) -> Result<()> {
    images.push(image);
    let bytes = images.iter().map(
        |Found {
             documents, index, ..
         }| {
            documents.manifest.len() + documents.config.len() + index.as_ref().map_or(0, Vec::len)
        },
    );
    if bytes.sum::<usize>() > MAX_DOCUMENTS {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            format!(
                "the documents of the archive's images are larger than {} MiB",
                MAX_DOCUMENTS >> 20
            ),
        ));
    }
    Ok(())
}

// ---- OCI -------------------------------------------------------------------------------------

fn oci_images(
    archive: &Archive<'_>,
    index: &[u8],
    platform: Option<&Platform>,
) -> Result<Vec<Found>> {
    let Document::Index(index) = Document::parse(index, Some(manifest::OCI_INDEX))? else {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            "invalid index.json: it is a manifest",
        ));
    };
    let mut images: Vec<Found> = Vec::new();
    for entry in index.manifests().iter().take(MAX_IMAGES + 1) {
        let annotation = |key: &str| {
            let annotations = entry.annotations().as_ref()?;
            annotations.get(key).cloned()
        };
        if annotation(ATTESTATION).is_some() {
            continue;
        }
        let digest = manifest::digest_of(entry)?;
        let bytes = archive.blob_document(&digest)?;
        let mut found = oci_image(archive, bytes, entry.media_type().as_ref(), platform)?;
        let name = annotation(CONTAINERD_NAME).or_else(|| {
            // A bare word is a tag of no repository.
            annotation(OCI_NAME).filter(|name| name.contains(['/', ':']))
        });
        found
            .names
            .extend(name.map(|name| parse_name(&name)).transpose()?);
        let same = |image: &&mut Found| image.documents.manifest == found.documents.manifest;
        match images.iter_mut().find(same) {
            Some(image) => image.names.extend(found.names),
            None => keep(&mut images, found)?,
        }
    }
    Ok(images)
}

fn oci_image(
    archive: &Archive<'_>,
    bytes: Vec<u8>,
    media_type: &str,
    platform: Option<&Platform>,
) -> Result<Found> {
    let (bytes, media_type, index) = match Document::parse(&bytes, Some(media_type))? {
        Document::Manifest(_) => (bytes, media_type.to_owned(), None),
        Document::Index(index) => {
            let host = Platform::host();
            let chosen = manifest::choose(&index, platform.unwrap_or(&host))?;
            let inner = archive.blob_document(&manifest::digest_of(chosen)?)?;
            (inner, chosen.media_type().to_string(), Some(bytes))
        }
    };
    let Document::Manifest(parsed) = Document::parse(&bytes, Some(&media_type))? else {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            "invalid image index: it leads to another index",
        ));
    };
    let config = archive.blob_document(&manifest::digest_of(parsed.config())?)?;
    Ok(Found {
        documents: ImageDocuments {
            manifest: bytes,
            media_type: Some(media_type),
            config,
        },
        names: Vec::new(),
        index,
    })
}

// ---- docker-archive --------------------------------------------------------------------------

/// An item of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

fn docker_list(list: &[u8]) -> Result<Vec<DockerImage>> {
    serde_json::from_slice(list).context(ErrorKind::InvalidContent, || {
        "invalid manifest.json".to_owned()
    })
}

fn docker_images(archive: &Archive<'_>, list: &[u8]) -> Result<Vec<Found>> {
    let images = docker_list(list)?;
    let mut known: BTreeMap<Digest, Compression> = BTreeMap::new();
    let mut found = Vec::new();
    for image in images.iter().take(MAX_IMAGES + 1) {
        let (config_digest, config_size) = archive.member(&image.config)?;
        let config = archive.blob_document(&config_digest)?;
        let mut layers = Vec::new();
        if image
            .layers
            .as_ref()
            .is_some_and(|list| list.len() > MAX_LAYERS)
        {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!("invalid manifest.json: an image has more than {MAX_LAYERS} layers"),
            ));
        }
        for name in image.layers.iter().flatten() {
            let (digest, size) = archive.member(name)?;
            let compression = match known.get(&digest) {
                Some(compression) => *compression,
                None => archive.compression(&digest)?,
            };
            known.insert(digest.clone(), compression);
            layers.push(descriptor(
                manifest::layer_media_type(compression),
                &digest,
                size,
            ));
        }
        let generated = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": manifest::OCI_MANIFEST,
            "config": descriptor(manifest::OCI_CONFIG, &config_digest, config_size),
            "layers": layers,
        });
        let image = Found {
            documents: ImageDocuments {
                manifest: generated.to_string().into_bytes(),
                media_type: Some(manifest::OCI_MANIFEST.to_owned()),
                config,
            },
            names: names(image)?,
            index: None,
        };
        keep(&mut found, image)?;
    }
    Ok(found)
}

pub(in crate::engine) fn descriptor(
    media_type: &str,
    digest: &Digest,
    size: u64,
) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": digest.as_str(), "size": size})
}

/// Docker writes both formats at once, and all names of an image only into `manifest.json`.
fn add_docker_names(archive: &Archive<'_>, list: &[u8], found: &mut [Found]) -> Result<()> {
    for image in docker_list(list)?.iter().take(MAX_IMAGES) {
        // A directory has no names to look up; its index is enough.
        let Ok((config, _)) = archive.member(&image.config) else {
            continue;
        };
        let config = archive.blob_document(&config)?;
        let same = |found: &&mut Found| found.documents.config == config;
        if let Some(found) = found.iter_mut().find(same) {
            for name in names(image)? {
                if !found.names.contains(&name) {
                    found.names.push(name);
                }
            }
        }
    }
    Ok(())
}

fn names(image: &DockerImage) -> Result<Vec<Reference>> {
    let tags = image.repo_tags.iter().flatten();
    tags.map(|name| parse_name(name)).collect()
}

fn parse_name(name: &str) -> Result<Reference> {
    name.parse().map_err(|error: Error| {
        Error::new(
            ErrorKind::InvalidContent,
            "invalid image name in the archive",
        )
        .with_source(error)
    })
}
