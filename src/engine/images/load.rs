//! `load`: images from an archive or a layout directory into the store.
//!
//! A docker-archive has no manifest in the registry's sense; one is generated (OCI), naming its
//! layers as they are. The image ID, being the configuration's digest, stays what it was.

use serde::Deserialize;

use super::{
    archive::{Archive, LoadSource},
    ingest::{ImageDocuments, Ingest, MAX_LAYERS},
    trust::Trust,
};
use crate::{
    engine::{Engine, LoadRequest, Progress},
    model::{
        Context, Digest, Error, ErrorKind, Platform, Reference, Result, TrustFiles,
        image::{ImageConfig, ImageRecord},
        manifest::{self, Document},
    },
    storage::{Lease, Store, unpack::Privilege},
};

/// Annotations that name an image: the whole reference, and what may be only a tag.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";
pub(super) const OCI_NAME: &str = "org.opencontainers.image.ref.name";
/// Marks build attestations, which stand in an index beside the images.
pub(super) const ATTESTATION: &str = "vnd.docker.reference.type";
/// Images in one archive.
const MAX_IMAGES: usize = 1000;
/// Bytes of all their documents, which are in memory together. A thousand images may share one
/// configuration of 4 MiB, and such an archive is small.
const MAX_DOCUMENTS: usize = 64 << 20;

/// What of an archive is loaded, and as what.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Which images of indexes, and which others are skipped; none: this machine's of an index, and
    /// all others. The first that an index has gets the names.
    pub platforms: Vec<Platform>,
    /// Only the image that the archive calls so: a name, or the `org.opencontainers.image.ref.name`
    /// of an OCI layout.
    pub only: Option<String>,
    /// Instead of the names that the archive has.
    pub name: Option<Reference>,
}

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
        let source = match &request.input {
            Some(path) => LoadSource::Path(path.clone()),
            None => LoadSource::File(standard_input()?),
        };
        let options = LoadOptions {
            platforms: request.platforms.clone(),
            ..LoadOptions::default()
        };
        self.load_from(source, &options, &request.trust, progress)
    }

    /// [`Self::load`] from anywhere.
    pub fn load_from(
        &self,
        source: LoadSource,
        options: &LoadOptions,
        trust: &TrustFiles,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>> {
        let path = match &source {
            LoadSource::Path(path) => Some(path.clone()),
            _ => None,
        };
        // The user may read what root of her ids may not.
        let source = source.opened()?;
        self.enter_user_namespace()?;
        let trust = Trust::read(trust)?;
        let (store, privilege) = (&self.store, self.privilege());
        let admit = |transport| trust.admit_file(transport, path.as_deref());
        let loaded = load_if(store, privilege, source, options, progress, &admit)?;
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
    options: &LoadOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    load_if(store, privilege, source, options, progress, &|_| Ok(()))
}

/// [`load`], if `admit` allows this kind of archive. It is asked before anything is unpacked.
fn load_if(
    store: &Store,
    privilege: Privilege,
    source: LoadSource,
    options: &LoadOptions,
    progress: &dyn Progress,
    admit: &dyn Fn(&'static str) -> Result<()>,
) -> Result<Vec<Loaded>> {
    let lease = store.lease()?;
    let is_folder = matches!(&source, LoadSource::Path(path) if path.is_dir());
    let mut archive = Archive::open(&lease, source, privilege)?;
    admit(transport(&archive, is_folder)?)?;
    let mut loaded = Vec::new();
    for found in find_images(&mut archive, options)? {
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
pub(super) struct Found {
    documents: ImageDocuments,
    names: Vec<Reference>,
    /// What an OCI layout calls it.
    labels: Vec<String>,
    index: Option<Vec<u8>>,
}

pub(super) fn take_in<'a>(
    lease: &'a Lease<'a>,
    privilege: Privilege,
    progress: &'a dyn Progress,
    archive: &mut Archive<'a>,
    found: Found,
) -> Result<Loaded> {
    let ingest = Ingest::begin(lease, privilege, progress, &found.documents)?;
    archive.fill(&ingest)?;
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

fn find_images(archive: &mut Archive<'_>, options: &LoadOptions) -> Result<Vec<Found>> {
    let docker = archive.document("manifest.json")?;
    let oci = match archive.document("oci-layout")? {
        Some(_) => archive.document("index.json")?,
        None => None,
    };
    let is_dir = archive.document("version")?.is_some();
    let mut found = match (&oci, &docker) {
        (Some(index), _) => oci_images(archive, index, &options.platforms)?,
        (None, Some(manifest)) if is_dir => {
            oci_image(archive, manifest.clone(), None, &options.platforms)?
        }
        (None, Some(list)) => docker_images(archive, list)?,
        (None, None) if archive.document("repositories")?.is_some() => {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                "the archive is of Docker before 1.10: it has repositories and no manifest.json",
            )
            .with_hint("load it with an older Docker, and save it there anew"));
        }
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
    choose(found, options)
}

fn choose(mut found: Vec<Found>, options: &LoadOptions) -> Result<Vec<Found>> {
    if found.is_empty() {
        let empty = "the archive contains no image";
        return Err(Error::new(ErrorKind::InvalidContent, empty));
    }
    if let Some(only) = &options.only {
        found.retain(|image| image.is_called(only));
        if found.is_empty() {
            let text = format!("the archive contains no image called {only:?}");
            return Err(Error::new(ErrorKind::NoSuchImage, text));
        }
    }
    if !options.platforms.is_empty() {
        let mut fitting = Vec::new();
        for image in found {
            let offered = ImageConfig::parse(&image.documents.config)?.platform();
            if options
                .platforms
                .iter()
                .any(|wanted| wanted.accepts(&offered))
            {
                fitting.push(image);
            }
        }
        found = fitting;
    }
    if found.is_empty() {
        let wanted: Vec<String> = options.platforms.iter().map(ToString::to_string).collect();
        return Err(Error::new(
            ErrorKind::NoMatchingPlatform,
            format!(
                "no image of the archive is for platform {}",
                wanted.join(" or ")
            ),
        ));
    }
    if found.len() > MAX_IMAGES {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            format!("the archive contains more than {MAX_IMAGES} images"),
        ));
    }
    if let Some(name) = &options.name {
        for image in &mut found {
            image.names.clear();
        }
        found[0].names.push(name.clone());
    }
    Ok(found)
}

impl Found {
    fn is_called(&self, name: &str) -> bool {
        let reference: Option<Reference> = name.parse().ok();
        self.labels.iter().any(|label| label == name)
            || reference.is_some_and(|reference| self.names.contains(&reference))
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

fn oci_images(archive: &Archive<'_>, index: &[u8], platforms: &[Platform]) -> Result<Vec<Found>> {
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
        let bytes = archive.blob_document(&manifest::digest_of(entry)?)?;
        let media_type = entry.media_type().to_string();
        let mut found = oci_image(archive, bytes, Some(&media_type), platforms)?;
        let label = annotation(OCI_NAME);
        let name = annotation(CONTAINERD_NAME).or_else(|| {
            // A bare word is a tag of no repository.
            label.clone().filter(|name| name.contains(['/', ':']))
        });
        let names = name.map(|name| parse_name(&name)).transpose()?;
        // Those for other platforms are there, and without a name.
        if let Some(first) = found.first_mut() {
            first.names.extend(names);
        }
        for mut found in found {
            found.labels.extend(label.clone());
            let same = |image: &&mut Found| image.documents.manifest == found.documents.manifest;
            match images.iter_mut().find(same) {
                Some(image) => {
                    image.names.extend(found.names);
                    image.labels.extend(found.labels);
                }
                None => keep(&mut images, found)?,
            }
        }
    }
    Ok(images)
}

/// The image of a manifest, or those of an index that are wanted.
pub(super) fn oci_image(
    archive: &Archive<'_>,
    bytes: Vec<u8>,
    media_type: Option<&str>,
    platforms: &[Platform],
) -> Result<Vec<Found>> {
    let index = match Document::parse(&bytes, media_type)? {
        Document::Manifest(_) => {
            return Ok(vec![one_image(archive, bytes, media_type, None)?]);
        }
        Document::Index(index) => index,
    };
    let host = [Platform::host()];
    let wanted = if platforms.is_empty() {
        &host
    } else {
        platforms
    };
    let mut found: Vec<Found> = Vec::new();
    let mut missing = None;
    for platform in wanted {
        let chosen = match manifest::choose(&index, platform) {
            Ok(chosen) => chosen,
            Err(error) => {
                missing.get_or_insert(error);
                continue;
            }
        };
        let inner = archive.blob_document(&manifest::digest_of(chosen)?)?;
        let media_type = chosen.media_type().to_string();
        if !found.iter().any(|image| image.documents.manifest == inner) {
            let image = one_image(archive, inner, Some(&media_type), Some(bytes.clone()))?;
            found.push(image);
        }
    }
    match (found.is_empty(), missing) {
        (true, Some(error)) => Err(error),
        _ => Ok(found),
    }
}

fn one_image(
    archive: &Archive<'_>,
    bytes: Vec<u8>,
    media_type: Option<&str>,
    index: Option<Vec<u8>>,
) -> Result<Found> {
    let Document::Manifest(parsed) = Document::parse(&bytes, media_type)? else {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            "invalid image index: it leads to another index",
        ));
    };
    let config = archive.blob_document(&manifest::digest_of(parsed.config())?)?;
    Ok(Found {
        documents: ImageDocuments {
            manifest: bytes,
            media_type: media_type.map(str::to_owned),
            config,
        },
        names: Vec::new(),
        labels: Vec::new(),
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

fn docker_images(archive: &mut Archive<'_>, list: &[u8]) -> Result<Vec<Found>> {
    let images = docker_list(list)?;
    let mut found = Vec::new();
    for image in images.iter().take(MAX_IMAGES + 1) {
        let config = archive.config(&image.config)?;
        let parsed = ImageConfig::parse(&config)?;
        let names_of_layers = image.layers.as_deref().unwrap_or_default();
        if names_of_layers.len() > MAX_LAYERS {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!("invalid manifest.json: an image has more than {MAX_LAYERS} layers"),
            ));
        }
        if names_of_layers.len() != parsed.rootfs.diff_ids.len() {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!(
                    "invalid manifest.json: it has {} layers, the configuration {}",
                    names_of_layers.len(),
                    parsed.rootfs.diff_ids.len()
                ),
            ));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in names_of_layers.iter().zip(&parsed.rootfs.diff_ids) {
            let layer = archive.layer(name, diff_id)?;
            let media_type = manifest::layer_media_type(layer.compression);
            layers.push(descriptor(media_type, &layer.digest, layer.size));
        }
        let config_digest = {
            use sha2::Digest as _;
            Digest::sha256(sha2::Sha256::digest(&config))
        };
        let generated = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": manifest::OCI_MANIFEST,
            "config": descriptor(manifest::OCI_CONFIG, &config_digest, config.len() as u64),
            "layers": layers,
        });
        let image = Found {
            documents: ImageDocuments {
                manifest: generated.to_string().into_bytes(),
                media_type: Some(manifest::OCI_MANIFEST.to_owned()),
                config,
            },
            names: names(image)?,
            labels: Vec::new(),
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
        let config = archive.config(&image.config)?;
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

/// As a descriptor of its own: a file that it was redirected from is read where it is needed.
fn standard_input() -> Result<std::fs::File> {
    let own = rustix::stdio::stdin().try_clone_to_owned();
    own.map(Into::into)
        .system(|| "cannot read standard input".to_owned())
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
