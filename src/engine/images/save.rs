//! `save`: images of the store as an archive or a directory.
//!
//! | format | files |
//! |---|---|
//! | docker-archive | an OCI layout that has `manifest.json` too, as Docker has written since 25 |
//! | oci-archive, oci-dir | an OCI layout, in a tar or not |
//! | docker-dir | `manifest.json` (schema 2), `version`, and every blob by the hexadecimal digits of its digest |
//!
//! The documents come first, so that whoever loads an archive from a pipe knows what each blob is when
//! it arrives. Blobs are copied as they are, compressed if they are: the image that is loaded has
//! the manifest digest of the one that was saved, and a layer that several images share is written
//! once. An image that was built here for several platforms goes with the others of its index.
//! Meanwhile another thread hashes them, from the pages that the copying brings into memory
//! anyway: a blob that the disk has damaged ends the saving instead of being handed on. (With the
//! instructions that processors have for it this costs 0.15 s of 240 MB, on the other core.)

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::{Value, json};
use sha2::Digest as _;

use super::{
    load::{CONTAINERD_NAME, OCI_NAME, descriptor},
    written::{self, Blob, Writer},
};
use crate::{
    engine::{Engine, LayerState, Progress},
    model::{
        Context, Digest, Error, ErrorKind, Platform, Reference, Result,
        image::{ImageConfig, ImageRecord, MAX_DOCUMENT_BYTES},
        index::ManifestKind,
        manifest::{self, Compression, Document, Format},
    },
    storage::{Lease, StagedBlob, Store, unpack::Decompressor},
};

const READ_BUFFER: usize = 256 << 10;
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// What Podman writes, and looks for.
const DIR_VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

/// What `save` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveFormat {
    #[default]
    DockerArchive,
    OciArchive,
    OciDir,
    DockerDir,
}

/// What becomes of the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerPacking {
    /// They are copied, and the manifest stays what it is.
    #[default]
    AsStored,
    Plain,
    /// Those that are not compressed become so, with gzip.
    Gzip,
}

/// Where an image's files go.
#[derive(Debug)]
pub enum SaveTarget {
    /// An archive, or the directory.
    Path(PathBuf),
    /// An archive, which may be a pipe.
    Stream(File),
}

#[derive(Clone, Debug, Default)]
pub struct SaveRequest {
    /// Names, of all tags if they have none, or IDs.
    pub images: Vec<String>,
    pub format: SaveFormat,
    pub packing: LayerPacking,
    /// An image for another one is refused.
    pub platform: Option<Platform>,
}

/// One image of an archive.
#[derive(Clone, Debug)]
pub struct SavedImage {
    pub record: ImageRecord,
    /// The names it gets.
    pub names: Vec<Reference>,
    /// What an OCI layout calls it, if that is not the names.
    pub label: Option<String>,
}

impl Engine {
    /// Writes images to a file, a stream or a directory.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::NoMatchingPlatform`]; [`ErrorKind::DigestMismatch`]
    /// for a blob that the disk has changed. A file that was to be written is not there then.
    pub fn save(
        &self,
        request: &SaveRequest,
        target: SaveTarget,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut images = self.chosen_images(&request.images, request.platform.as_ref())?;
        if let Some(wanted) = &request.platform {
            for image in &mut images {
                self.check_platform(image, wanted)?;
                image.record.others.clear();
            }
        }
        save(
            &self.store,
            &images,
            request.format,
            request.packing,
            target,
            progress,
        )?;
        for image in &images {
            let id = &image.record.config;
            let name = image.names.first();
            let name = name.map_or_else(|| id.to_string(), Reference::familiar);
            self.note_image("save", id.as_str(), &name, Some(id));
        }
        Ok(())
    }

    /// As Docker: a name without a tag is every tag of it, an ID stands for no name. Of a manifest list
    /// it is the image for the platform, under the list's name.
    pub(super) fn chosen_images(
        &self,
        typed: &[String],
        wanted: Option<&Platform>,
    ) -> Result<Vec<SavedImage>> {
        let mut images: Vec<SavedImage> = Vec::new();
        let mut add = |record: ImageRecord, name: Option<Reference>| {
            let known = images
                .iter()
                .position(|image| image.record.manifest == record.manifest);
            let at = match known {
                Some(at) => at,
                None => {
                    images.push(SavedImage {
                        record,
                        names: Vec::new(),
                        label: None,
                    });
                    images.len() - 1
                }
            };
            let names = &mut images[at].names;
            names.extend(name.filter(|name| !names.contains(name)));
        };
        for typed in typed {
            let tags = self.all_tags(typed)?;
            if tags.is_empty() {
                let record = self.image_here(typed, wanted)?;
                let list = self.find_manifest(typed, ManifestKind::Index)?;
                // Found by its name, not by what the name happens to look like.
                let asked: Option<Reference> = typed.parse().ok();
                let names = record
                    .name
                    .clone()
                    .into_iter()
                    .chain(list.map(|list| list.name));
                let mut fitting =
                    names.filter(|name| name.digest().is_none() && asked.as_ref() == Some(name));
                let name = fitting.next();
                add(record, name);
            }
            for record in tags {
                let name = record.name.clone();
                add(record, name);
            }
        }
        Ok(images)
    }

    fn all_tags(&self, typed: &str) -> Result<Vec<ImageRecord>> {
        let Ok(name) = typed.parse::<Reference>() else {
            return Ok(Vec::new());
        };
        let last = typed.rsplit('/').next().unwrap_or(typed);
        if name.digest().is_some() || last.contains(':') {
            return Ok(Vec::new());
        }
        let mut records = self.store.images()?;
        records.retain(|record| {
            let other = record.name.as_ref();
            other.is_some_and(|other| other.digest().is_none() && other.name() == name.name())
        });
        Ok(records)
    }

    /// # Errors
    /// [`ErrorKind::NoMatchingPlatform`] for an image that is for another one.
    pub fn check_image_platform(&self, typed: &str, wanted: &Platform) -> Result<()> {
        let images = self.chosen_images(&[typed.to_owned()], Some(wanted))?;
        images
            .iter()
            .try_for_each(|image| self.check_platform(image, wanted))
    }

    fn check_platform(&self, image: &SavedImage, wanted: &Platform) -> Result<()> {
        let offered = self.image_config(&image.record.config)?.platform();
        if wanted.accepts(&offered) {
            return Ok(());
        }
        let name = image.names.first().map(Reference::familiar);
        let name = name.unwrap_or_else(|| image.record.config.to_string());
        let text = format!(
            "image {name} was found but does not provide the specified platform ({wanted}): it is for {offered}"
        );
        Err(Error::new(ErrorKind::NoMatchingPlatform, text))
    }
}

/// [`Engine::save`] of given images.
pub fn save(
    store: &Store,
    images: &[SavedImage],
    format: SaveFormat,
    packing: LayerPacking,
    target: SaveTarget,
    progress: &dyn Progress,
) -> Result<()> {
    let lease = store.lease()?;
    let mut files = Files {
        lease: &lease,
        progress,
        packing,
        blobs: BTreeMap::new(),
        order: Vec::new(),
    };
    let mut ready = Vec::new();
    for image in images {
        let one = files.image(image, format == SaveFormat::DockerDir)?;
        let is_whole = format != SaveFormat::DockerDir && packing == LayerPacking::AsStored;
        ready.push(match &image.record.index {
            Some(index) if is_whole && !image.record.others.is_empty() => {
                files.index(image, one, index)?
            }
            _ => one,
        });
    }
    let mut writer: Box<dyn Writer> = match (target, format) {
        (SaveTarget::Path(path), SaveFormat::OciDir) => {
            Box::new(written::Directory::at(&path, "oci-layout", "index.json")?)
        }
        (SaveTarget::Path(path), SaveFormat::DockerDir) => {
            Box::new(written::Directory::at(&path, "version", "manifest.json")?)
        }
        (SaveTarget::Path(path), _) => Box::new(written::Archive::at(&path)?),
        (SaveTarget::Stream(_), SaveFormat::OciDir | SaveFormat::DockerDir) => {
            return Err(Error::invalid("a directory cannot be written to a stream")
                .with_hint("name one with -o"));
        }
        (SaveTarget::Stream(stream), _) => Box::new(written::Archive::to(stream)),
    };
    if format == SaveFormat::DockerDir {
        let [image] = &ready[..] else {
            return Err(Error::invalid("a docker-dir holds one image"));
        };
        writer.document("version", DIR_VERSION)?;
        writer.document("manifest.json", &image.manifest)?;
    } else {
        writer.document("oci-layout", LAYOUT)?;
        let index = writer.merged_index(index_entries(&ready))?;
        writer.document("index.json", &index)?;
        if format == SaveFormat::DockerArchive {
            writer.document("manifest.json", &docker_list(&ready)?)?;
        }
    }
    files.write(&mut *writer, format == SaveFormat::DockerDir)?;
    writer.finish()
}

/// An image whose files are known.
struct Ready {
    manifest: Vec<u8>,
    manifest_digest: Digest,
    media_type: String,
    config: Digest,
    layers: Vec<Digest>,
    platform: Platform,
    names: Vec<Reference>,
    label: Option<String>,
}

enum Source {
    Bytes(Vec<u8>),
    /// With its size.
    Store(u64),
    Staged(StagedBlob),
}

/// Every blob of the images, each once.
struct Files<'a> {
    lease: &'a Lease<'a>,
    progress: &'a dyn Progress,
    packing: LayerPacking,
    blobs: BTreeMap<Digest, Source>,
    order: Vec<Digest>,
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::sha256(sha2::Sha256::digest(bytes))
}

impl Files<'_> {
    fn add(&mut self, digest: &Digest, source: Source) {
        if !self.blobs.contains_key(digest) {
            self.order.push(digest.clone());
            self.blobs.insert(digest.clone(), source);
        }
    }

    fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.lease.has_blob(digest)?;
        self.lease.store().read_blob(digest, MAX_DOCUMENT_BYTES)
    }

    fn image(&mut self, image: &SavedImage, docker_types: bool) -> Result<Ready> {
        let manifest = self.read(&image.record.manifest)?;
        let config = self.read(&image.record.config)?;
        let platform = ImageConfig::parse(&config)?.platform();
        let mut document: Value = serde_json::from_slice(&manifest)
            .context(ErrorKind::InvalidContent, || {
                format!("invalid manifest {}", image.record.manifest)
            })?;
        let Document::Manifest(parsed) = Document::parse(&manifest, None)? else {
            let text = format!("{} is an index, not a manifest", image.record.manifest);
            return Err(Error::new(ErrorKind::Store, text));
        };
        let mut changed = false;
        let mut layers = Vec::new();
        for (position, layer) in parsed.layers().iter().enumerate() {
            let digest = manifest::digest_of(layer)?;
            let stored = manifest::layer_compression(layer.media_type().as_ref())?;
            let kept = self.layer(&digest)?;
            changed |= kept.digest != digest;
            let compression = kept.compression.unwrap_or(stored);
            let kind = match docker_types {
                true => Format::Docker.layer_type(compression).to_owned(),
                false if kept.digest == digest => layer.media_type().to_string(),
                false => manifest::layer_media_type(compression).to_owned(),
            };
            document["layers"][position] = descriptor(&kind, &kept.digest, kept.size);
            layers.push(kept.digest);
        }
        let mut media_type = document["mediaType"].as_str().map(str::to_owned);
        if docker_types {
            changed |= media_type.as_deref() != Some(manifest::DOCKER_MANIFEST);
            media_type = Some(manifest::DOCKER_MANIFEST.to_owned());
            document["mediaType"] = json!(manifest::DOCKER_MANIFEST);
            document["config"]["mediaType"] = json!(manifest::DOCKER_CONFIG);
        } else if changed && media_type.as_deref() == Some(manifest::DOCKER_MANIFEST) {
            media_type = Some(manifest::OCI_MANIFEST.to_owned());
            document["mediaType"] = json!(manifest::OCI_MANIFEST);
            document["config"]["mediaType"] = json!(manifest::OCI_CONFIG);
        }
        let manifest = match changed {
            true => document.to_string().into_bytes(),
            false => manifest,
        };
        let manifest_digest = match changed {
            true => sha256(&manifest),
            false => image.record.manifest.clone(),
        };
        if !docker_types {
            self.add(&manifest_digest, Source::Bytes(manifest.clone()));
        }
        self.add(&image.record.config, Source::Bytes(config));
        // Documents first, see above.
        self.order
            .sort_by_key(|digest| !matches!(self.blobs[digest], Source::Bytes(_)));
        Ok(Ready {
            manifest,
            manifest_digest,
            media_type: media_type.unwrap_or_else(|| manifest::OCI_MANIFEST.to_owned()),
            config: image.record.config.clone(),
            layers,
            platform,
            names: image.names.clone(),
            label: image.label.clone(),
        })
    }

    /// All images of the index that `image` was built in, instead of that one.
    fn index(&mut self, image: &SavedImage, one: Ready, digest: &Digest) -> Result<Ready> {
        let bytes = self.read(digest)?;
        let Document::Index(index) = Document::parse(&bytes, None)? else {
            return Ok(one);
        };
        for entry in index.manifests() {
            let manifest = manifest::digest_of(entry)?;
            if manifest == image.record.manifest {
                continue;
            }
            let document = self.read(&manifest)?;
            let Document::Manifest(parsed) = Document::parse(&document, None)? else {
                continue;
            };
            let other = SavedImage {
                record: ImageRecord {
                    config: manifest::digest_of(parsed.config())?,
                    manifest,
                    ..image.record.clone()
                },
                names: Vec::new(),
                label: None,
            };
            self.image(&other, false)?;
        }
        let media_type = index.media_type().as_ref().map(ToString::to_string);
        self.add(digest, Source::Bytes(bytes.clone()));
        self.order
            .sort_by_key(|digest| !matches!(self.blobs[digest], Source::Bytes(_)));
        Ok(Ready {
            manifest: bytes,
            manifest_digest: digest.clone(),
            media_type: media_type.unwrap_or_else(|| manifest::OCI_INDEX.to_owned()),
            platform: Platform {
                os: String::new(),
                architecture: String::new(),
                variant: None,
            },
            ..one
        })
    }

    /// The layer's blob as it is to be written.
    fn layer(&mut self, digest: &Digest) -> Result<Kept> {
        self.lease.has_blob(digest)?;
        let store = self.lease.store();
        let as_stored = |size: u64| Kept {
            digest: digest.clone(),
            size,
            compression: None,
        };
        let mut start = Vec::new();
        let file = store.open_blob(digest)?;
        let what = || format!("cannot read blob {digest}");
        (&file).take(6).read_to_end(&mut start).system(what)?;
        let is_plain = crate::storage::unpack::sniff(&start) == Compression::None;
        let keep = match self.packing {
            LayerPacking::AsStored => true,
            LayerPacking::Plain => is_plain,
            LayerPacking::Gzip => !is_plain,
        };
        if keep {
            let size = store.blob_size(digest)?;
            self.add(digest, Source::Store(size));
            return Ok(as_stored(size));
        }
        let staged = match self.packing {
            LayerPacking::Gzip => self.lease.compress_blob(&mut store.open_blob(digest)?)?,
            _ => plain(self.lease, store.open_blob(digest)?, digest)?,
        };
        let kept = Kept {
            digest: staged.digest().clone(),
            size: staged.size(),
            compression: Some(match self.packing {
                LayerPacking::Gzip => Compression::Gzip,
                _ => Compression::None,
            }),
        };
        self.add(&kept.digest, Source::Staged(staged));
        Ok(kept)
    }

    /// Copies all blobs while a second thread verifies those of the store.
    fn write(&self, writer: &mut dyn Writer, flat: bool) -> Result<()> {
        let name = |digest: &Digest| match flat {
            true => digest.hex().to_owned(),
            false => format!("blobs/{}/{}", digest.algorithm(), digest.hex()),
        };
        let mut stored = Vec::new();
        for digest in &self.order {
            if let Source::Store(size) = &self.blobs[digest]
                && !writer.has(&name(digest), *size)
            {
                stored.push(digest);
            }
        }
        let over = AtomicBool::new(false);
        let verify = || -> Result<()> {
            stored
                .iter()
                .try_for_each(|digest| verify(self.lease.store(), digest, &over))
                .inspect_err(|_| over.store(true, Ordering::Relaxed))
        };
        thread::scope(|scope| {
            let verifier = thread::Builder::new()
                .name("verify".to_owned())
                .spawn_scoped(scope, verify)
                .system(|| "cannot start a thread".to_owned())?;
            let mut copied = Ok(());
            for digest in &self.order {
                if copied.is_err() || over.load(Ordering::Relaxed) {
                    break;
                }
                copied = self.copy(writer, &name(digest), digest);
            }
            if copied.is_err() {
                over.store(true, Ordering::Relaxed);
            }
            let verified = verifier.join().unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::System,
                    "the thread that verifies blobs died",
                ))
            });
            copied.and(verified)
        })
    }

    fn copy(&self, writer: &mut dyn Writer, name: &str, digest: &Digest) -> Result<()> {
        match &self.blobs[digest] {
            Source::Bytes(bytes) if writer.has(name, bytes.len() as u64) => Ok(()),
            Source::Store(size) if writer.has(name, *size) => Ok(()),
            Source::Bytes(bytes) => writer.blob(name, bytes.len() as u64, Blob::Bytes(bytes)),
            Source::Store(size) => {
                let file = self.lease.store().open_blob(digest)?;
                let advanced = |bytes| self.progress.layer_advanced(digest, bytes);
                self.progress.layer_state(digest, LayerState::Saving(*size));
                writer.blob(name, *size, Blob::File(&file, &advanced))?;
                self.progress.layer_state(digest, LayerState::Saved);
                Ok(())
            }
            Source::Staged(blob) => {
                writer.blob(name, blob.size(), Blob::Reader(&mut blob.reader()))
            }
        }
    }
}

struct Kept {
    digest: Digest,
    size: u64,
    /// If it is not what the manifest says any more.
    compression: Option<Compression>,
}

fn plain(lease: &Lease<'_>, blob: File, digest: &Digest) -> Result<StagedBlob> {
    let failed = |error: std::io::Error| match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => {
            Error::new(ErrorKind::System, format!("cannot read blob {digest}")).with_source(error)
        }
    };
    let mut reader = Decompressor::detect(blob).map_err(failed)?;
    let mut writer = lease.write_new_blob()?;
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return writer.finish(),
            Ok(length) => writer.write(&buffer[..length])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn verify(store: &Store, digest: &Digest, over: &AtomicBool) -> Result<()> {
    let what = || format!("cannot read blob {digest}");
    let mut file = store.open_blob(digest)?;
    let found = match digest.algorithm() {
        "sha512" => Digest::sha512(hash(sha2::Sha512::new(), &mut file, over).system(what)?),
        _ => Digest::sha256(hash(sha2::Sha256::new(), &mut file, over).system(what)?),
    };
    if found == *digest || over.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DigestMismatch,
        format!("blob {digest} in the store is damaged"),
    )
    .with_hint("pull or load the image again"))
}

fn hash<H: sha2::Digest>(
    mut hash: H,
    file: &mut File,
    over: &AtomicBool,
) -> std::io::Result<sha2::digest::Output<H>> {
    let mut buffer = vec![0; READ_BUFFER];
    while !over.load(Ordering::Relaxed) {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => hash.update(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash.finalize())
}

// ---- documents -------------------------------------------------------------------------------

/// The entries of `index.json`: one for each name, one without if there is none.
fn index_entries(images: &[Ready]) -> Vec<Value> {
    let mut entries = Vec::new();
    for image in images {
        let mut entry = descriptor(
            &image.media_type,
            &image.manifest_digest,
            image.manifest.len() as u64,
        );
        let platform = &image.platform;
        if !platform.os.is_empty() && !platform.architecture.is_empty() {
            entry["platform"] = json!({"architecture": platform.architecture, "os": platform.os});
            if let Some(variant) = &platform.variant {
                entry["platform"]["variant"] = json!(variant);
            }
        }
        if let Some(label) = &image.label {
            let mut entry = entry.clone();
            entry["annotations"] = json!({OCI_NAME: label});
            entries.push(entry);
            continue;
        }
        for name in &image.names {
            let mut entry = entry.clone();
            let name = name.to_string();
            entry["annotations"] = json!({CONTAINERD_NAME: name, OCI_NAME: name});
            entries.push(entry);
        }
        if image.names.is_empty() {
            entries.push(entry);
        }
    }
    entries
}

fn docker_list(images: &[Ready]) -> Result<Vec<u8>> {
    let path = |digest: &Digest| format!("blobs/{}/{}", digest.algorithm(), digest.hex());
    let list: Vec<Value> = images
        .iter()
        .map(|image| {
            let names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
            let names = if names.is_empty() {
                Value::Null
            } else {
                json!(names)
            };
            let layers: Vec<String> = image.layers.iter().map(path).collect();
            json!({"Config": path(&image.config), "RepoTags": names, "Layers": layers})
        })
        .collect();
    serde_json::to_vec(&list).context(ErrorKind::System, || {
        "cannot write manifest.json".to_owned()
    })
}

/// `index.json` with these entries, and those of `old` that are called otherwise.
pub(super) fn index(old: Option<&[u8]>, entries: Vec<Value>) -> Result<Vec<u8>> {
    let name = |entry: &Value| entry["annotations"][OCI_NAME].as_str().map(str::to_owned);
    let mut all: Vec<Value> = Vec::new();
    if let Some(old) = old {
        let old: Value = serde_json::from_slice(old).context(ErrorKind::InvalidContent, || {
            "invalid index.json".to_owned()
        })?;
        for entry in old["manifests"].as_array().into_iter().flatten() {
            let replaced = entries.iter().any(|new| match name(entry) {
                Some(old) => name(new) == Some(old),
                None => new["digest"] == entry["digest"],
            });
            if !replaced {
                all.push(entry.clone());
            }
        }
    }
    all.extend(entries);
    let index = json!({
        "schemaVersion": 2, "mediaType": manifest::OCI_INDEX, "manifests": all
    });
    serde_json::to_vec(&index).context(ErrorKind::System, || "cannot write index.json".to_owned())
}
