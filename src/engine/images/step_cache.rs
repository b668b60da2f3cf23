//! Caches of builds ([`crate::model::step_cache`]) in registries and folders: read, used, written.
//!
//! ```text
//! read_step_cache     the documents: what steps there are
//! fetch_step_layer    one layer, when a step needs it: its archive's digest is checked on its way, its
//!                     diff id when it is unpacked
//! write_step_cache    archives, cache config, and last the manifest under its name
//! ```
//!
//! A folder is an OCI layout: what is called otherwise in it stays. Killed anywhere before the end,
//! the name stands for what it stood for before.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::Digest as _;

use super::{
    archive::{open_file, read_small},
    ingest::{UnpackedLayer, unpack_on},
    load::{OCI_NAME, descriptor},
    written::{Blob, Directory, Writer},
};
use crate::{
    engine::{Engine, downloads},
    model::{
        BlobSource, Context, Digest, Error, ErrorKind, Platform, Reference, RegistryOptions,
        Result,
        image::ImageConfig,
        manifest::{self, Document},
        step_cache::{self, CONFIG_TYPE, CacheSource, CacheWrap, INLINE, SharedLayer, SharedStep},
    },
    registry::{PARALLEL_UPLOADS, Registry, UploadRequest, UploadWatch},
    storage::{Lease, StagedBlob},
};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layer of a cache, here.
pub struct FetchedLayer {
    pub unpacked: UnpackedLayer,
    pub blob: StagedBlob,
}

/// Where a cache goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepCacheTarget {
    Registry(Reference),
    /// A folder.
    Local {
        path: PathBuf,
        tag: String,
    },
}

/// As messages name it.
impl std::fmt::Display for StepCacheTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StepCacheTarget::Registry(reference) => write!(f, "{reference}"),
            StepCacheTarget::Local { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

/// A cache to be written.
pub struct NewStepCache<'a> {
    pub target: &'a StepCacheTarget,
    pub wrap: CacheWrap,
    pub steps: Vec<SharedStep>,
    /// The archives of the layers, each once; none for one that should be there already. If it is not,
    /// its steps are left out.
    pub files: Vec<(SharedLayer, Option<File>)>,
}

impl Engine {
    /// The steps that a cache has, for any of these platforms.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidContent`] for what is neither a cache nor an image with one; those of
    /// [`Registry`]; what is wrong with the folder.
    pub fn read_step_cache(
        &self,
        source: &CacheSource,
        platforms: &[Platform],
        options: &RegistryOptions,
    ) -> Result<Vec<SharedStep>> {
        let opened = Opened::new(source, options)?;
        let (bytes, media_type) = opened.named()?;
        match Document::parse(&bytes, media_type.as_deref())? {
            Document::Manifest(manifest) => opened.steps(&manifest),
            Document::Index(index) => {
                let is_config =
                    |it: &&oci_spec::image::Descriptor| it.media_type().to_string() == CONFIG_TYPE;
                if let Some(config) = index.manifests().iter().find(is_config) {
                    return step_cache::parse(&opened.blob(config)?);
                }
                let mut steps = Vec::new();
                for platform in platforms {
                    // It may well be for other platforms alone.
                    let Ok(entry) = manifest::choose(&index, platform) else {
                        continue;
                    };
                    let digest = manifest::digest_of(entry)?;
                    let bytes = opened.document(&digest)?;
                    if let Document::Manifest(manifest) = Document::parse(&bytes, None)? {
                        steps.extend(opened.steps(&manifest)?);
                    }
                }
                Ok(steps)
            }
        }
    }

    /// Fetches a layer into the lease and unpacks it as one above those `below` (chain ids).
    ///
    /// # Errors
    /// [`ErrorKind::DigestMismatch`], [`ErrorKind::InvalidContent`] if it is not what the cache says.
    pub fn fetch_step_layer(
        &self,
        lease: &Lease<'_>,
        source: &CacheSource,
        layer: &SharedLayer,
        below: &[Digest],
        options: &RegistryOptions,
    ) -> Result<FetchedLayer> {
        let opened = Opened::new(source, options)?;
        let blob = opened.fetch(lease, layer)?;
        let folders = self.store.layer_folders(below)?;
        let folders: Vec<BorrowedFd<'_>> = folders.iter().map(AsFd::as_fd).collect();
        let tree = lease.stage_new_layer()?;
        let unpacked = unpack_on(
            &folders,
            blob.reader(),
            (&layer.blob, &layer.diff_id),
            tree,
            self.privilege(),
        )?;
        Ok(FetchedLayer { unpacked, blob })
    }

    /// Writes a cache; the digest of its document.
    ///
    /// # Errors
    /// Those of [`Registry`], and of writing files.
    pub fn write_step_cache(
        &self,
        mut cache: NewStepCache<'_>,
        options: &RegistryOptions,
    ) -> Result<Digest> {
        match cache.target {
            StepCacheTarget::Registry(reference) => {
                let registry = Registry::new(options);
                registry.prepare(reference)?;
                let (config, document, media_type) = cache
                    .documents(&|layer| registry.has_blob(reference, &layer.blob, &|_, _| {}))?;
                let digest = sha256(&document);
                let mut uploads = vec![upload(sha256(&config), config.len() as u64, config)];
                for (layer, file) in cache.files {
                    if let Some(file) = file {
                        uploads.push(upload(layer.blob, layer.size, file));
                    }
                }
                registry.upload(reference, uploads, PARALLEL_UPLOADS, &Unwatched)?;
                registry.put_document(reference, document, media_type, &|_, _| {})?;
                Ok(digest)
            }
            StepCacheTarget::Local { path, tag } => {
                std::fs::create_dir_all(path)
                    .system(|| format!("cannot make {}", path.display()))?;
                let mut folder = Directory::at(path, "oci-layout", "index.json")?;
                let has = |layer: &SharedLayer| Ok(folder.has(&place(&layer.blob), layer.size));
                let (config, document, media_type) = cache.documents(&has)?;
                let digest = sha256(&document);
                folder.document("oci-layout", LAYOUT)?;
                for (layer, file) in &cache.files {
                    let place = place(&layer.blob);
                    if let (Some(file), false) = (file, folder.has(&place, layer.size)) {
                        folder.blob(&place, layer.size, Blob::File(file, &|_| ()))?;
                    }
                }
                for bytes in [&config, &document] {
                    folder.document(&place(&sha256(bytes)), bytes)?;
                }
                let mut entry = descriptor(media_type, &digest, document.len() as u64);
                entry["annotations"] = json!({OCI_NAME: tag});
                let index = folder.merged_index(vec![entry])?;
                folder.document("index.json", &index)?;
                Box::new(folder).finish()?;
                Ok(digest)
            }
        }
    }
}

impl NewStepCache<'_> {
    /// Its configuration, the document that it is known by, and that one's type. `has` says what is there.
    fn documents(
        &mut self,
        has: &dyn Fn(&SharedLayer) -> Result<bool>,
    ) -> Result<(Vec<u8>, Vec<u8>, &'static str)> {
        let mut gone = Vec::new();
        for (layer, file) in &self.files {
            if file.is_none() && !has(layer)? {
                gone.push(layer.blob.clone());
            }
        }
        self.files.retain(|(layer, _)| !gone.contains(&layer.blob));
        let is_there = |layer: &SharedLayer| !gone.contains(&layer.blob);
        self.steps
            .retain(|step| step.layer.as_ref().is_none_or(is_there));
        let config = step_cache::config(&self.steps)?;
        let (document, media_type) = document(self, &config)?;
        Ok((config, document, media_type))
    }
}

fn upload(digest: Digest, size: u64, source: impl BlobSource + 'static) -> UploadRequest<'static> {
    UploadRequest {
        digest,
        size,
        source: Box::new(source),
        mount_from: Vec::new(),
    }
}

struct Unwatched;

impl UploadWatch for Unwatched {
    fn retrying(&self, _: &str, _: &str) {}
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::sha256(sha2::Sha256::digest(bytes))
}

/// Below a layout.
fn place(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// The document that a cache is known by, and its type.
fn document(cache: &NewStepCache<'_>, config: &[u8]) -> Result<(Vec<u8>, &'static str)> {
    let layers = cache.files.iter();
    let mut entries: Vec<Value> = layers
        .map(|(layer, _)| descriptor(&layer.media_type, &layer.blob, layer.size))
        .collect();
    let config = descriptor(CONFIG_TYPE, &sha256(config), config.len() as u64);
    let (document, media_type) = match cache.wrap {
        CacheWrap::Manifest => (
            json!({
                "schemaVersion": 2,
                "mediaType": manifest::OCI_MANIFEST,
                "config": config,
                "layers": entries,
            }),
            manifest::OCI_MANIFEST,
        ),
        wrap => {
            let media_type = match wrap {
                CacheWrap::DockerIndex => manifest::DOCKER_INDEX,
                _ => manifest::OCI_INDEX,
            };
            entries.push(config);
            let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
            (index, media_type)
        }
    };
    let bytes = serde_json::to_vec(&document).context(ErrorKind::System, || {
        "cannot write the cache's manifest".to_owned()
    })?;
    Ok((bytes, media_type))
}

/// A cache that is being read.
enum Opened<'a> {
    Registry(Box<Registry>, &'a Reference),
    Local {
        path: &'a Path,
        tag: &'a str,
        digest: Option<&'a Digest>,
    },
}

impl<'a> Opened<'a> {
    fn new(source: &'a CacheSource, options: &RegistryOptions) -> Result<Opened<'a>> {
        Ok(match source {
            CacheSource::Registry(reference) => {
                let registry = Registry::new(options);
                registry.prepare(reference)?;
                Opened::Registry(Box::new(registry), reference)
            }
            CacheSource::Local { path, tag, digest } => Opened::Local {
                path,
                tag,
                digest: digest.as_ref(),
            },
        })
    }

    /// The document that the cache is known by, and what it was called.
    fn named(&self) -> Result<(Vec<u8>, Option<String>)> {
        match self {
            Opened::Registry(registry, reference) => {
                let document = registry.document(reference, &|_, _| {})?;
                Ok((document.bytes, document.media_type))
            }
            Opened::Local {
                path, tag, digest, ..
            } => {
                let digest = match digest {
                    Some(digest) => Digest::clone(digest),
                    None => tagged(path, tag)?,
                };
                Ok((self.document(&digest)?, None))
            }
        }
    }

    /// Verified.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        match self {
            Opened::Registry(registry, reference) => {
                let reference = reference.at_digest(digest.clone());
                Ok(registry.document(&reference, &|_, _| {})?.bytes)
            }
            Opened::Local { path, .. } => {
                let place = path.join(place(digest));
                let bytes = read_small(&place)?.ok_or_else(|| missing(&place))?;
                match sha256(&bytes) == *digest {
                    true => Ok(bytes),
                    false => Err(Error::new(
                        ErrorKind::DigestMismatch,
                        format!("{} is damaged", place.display()),
                    )),
                }
            }
        }
    }

    /// A small blob.
    fn blob(&self, descriptor: &oci_spec::image::Descriptor) -> Result<Vec<u8>> {
        let digest = manifest::digest_of(descriptor)?;
        match self {
            Opened::Registry(registry, reference) => {
                registry.small_blob(reference, &digest, descriptor.size(), &|_, _| {})
            }
            Opened::Local { .. } => self.document(&digest),
        }
    }

    /// Those of a cache, or of an image.
    fn steps(&self, manifest: &oci_spec::image::ImageManifest) -> Result<Vec<SharedStep>> {
        let config = self.blob(manifest.config())?;
        if manifest.config().media_type().to_string() == CONFIG_TYPE {
            return step_cache::parse(&config);
        }
        let config = ImageConfig::parse(&config)?;
        let Some(inline) = config.extra.get(INLINE).and_then(Value::as_str) else {
            return Err(
                Error::new(ErrorKind::InvalidContent, "it is an image without a cache")
                    .with_hint("build it with --cache-to type=inline"),
            );
        };
        let layers = manifest.layers().iter().zip(&config.rootfs.diff_ids);
        let layer = |(layer, diff_id): (&oci_spec::image::Descriptor, &Digest)| {
            Ok(SharedLayer {
                blob: manifest::digest_of(layer)?,
                size: layer.size(),
                media_type: layer.media_type().to_string(),
                diff_id: diff_id.clone(),
            })
        };
        step_cache::parse_inline(inline, layers.map(layer).collect::<Result<_>>()?)
    }

    fn fetch(&self, lease: &Lease<'_>, layer: &SharedLayer) -> Result<StagedBlob> {
        let mut writer = lease.write_blob_alone(&layer.blob, layer.size)?;
        match self {
            Opened::Registry(registry, reference) => {
                let blob = (&layer.blob, layer.size);
                downloads::fetch_blob(writer, registry, reference, blob, &|_, _| {})
            }
            Opened::Local { path, .. } => {
                let place = path.join(place(&layer.blob));
                let what = || format!("cannot read {}", place.display());
                let mut file = open_file(&place).system(what)?;
                let mut buffer = vec![0; 256 << 10];
                loop {
                    match file.read(&mut buffer) {
                        Ok(0) => return writer.finish(),
                        Ok(length) => writer.write(&buffer[..length])?,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error).system(what),
                    }
                }
            }
        }
    }
}

fn missing(path: &Path) -> Error {
    Error::new(
        ErrorKind::NoSuchBlob,
        format!("{} is missing", path.display()),
    )
}

/// What a layout has under a name.
fn tagged(path: &Path, tag: &str) -> Result<Digest> {
    let place = path.join("index.json");
    let bytes = read_small(&place)?.ok_or_else(|| missing(&place))?;
    let Document::Index(index) = Document::parse(&bytes, Some(manifest::OCI_INDEX))? else {
        return Err(missing(&place));
    };
    let is_called = |entry: &&oci_spec::image::Descriptor| {
        let annotations = entry.annotations().as_ref();
        annotations
            .and_then(|all| all.get(OCI_NAME))
            .map(String::as_str)
            == Some(tag)
    };
    let entry = index.manifests().iter().find(is_called);
    let entry = entry.ok_or_else(|| {
        Error::new(
            ErrorKind::NoSuchBlob,
            format!("{} has no tag {tag}", path.display()),
        )
    })?;
    manifest::digest_of(entry)
}
