//! An image as another kind of documents, or with its layers packed in another way.
//!
//! The configuration, and with it the image's ID, stays; the manifest becomes another one. Layers
//! are unpacked and packed again on all cores, into files of the lease, so memory stays bounded.

use std::{
    fs::File,
    io::{self, BufReader, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use flate2::write::GzEncoder;

use super::push::{Manifest, Part, PushProgress, PushStage};
use crate::{
    model::{
        Context, Error, ErrorKind, Result,
        manifest::{self, Compression, Format},
    },
    storage::{BlobWriter, Lease, StagedBlob, unpack::Decompressor},
};

/// What is to be different in the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    pub format: Option<Format>,
    pub compression: Option<Compression>,
    /// Default: the one of the compression's own program, lowered to 6 for gzip.
    pub level: Option<i32>,
    /// Pack layers anew that are packed this way already.
    pub force: bool,
}

impl Rewrite {
    pub fn is_empty(&self) -> bool {
        *self == Rewrite::default()
    }

    /// Whether a layer packed as `now` is to be packed anew, and how.
    fn of(&self, now: Compression) -> Option<Compression> {
        let wanted = self.compression.unwrap_or(now);
        let anew = wanted != now || self.force || self.level.is_some();
        (anew && wanted != Compression::None).then_some(wanted)
    }
}

/// Changes `image` as `rewrite` says.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for Docker's documents with zstd layers;
/// [`ErrorKind::InvalidContent`] for layers that cannot be unpacked.
pub(super) fn rewrite(
    lease: &Lease<'_>,
    rewrite: &Rewrite,
    image: &mut Manifest,
    progress: &dyn PushProgress,
) -> Result<()> {
    let what = || "cannot rewrite the manifest".to_owned();
    let mut json: serde_json::Value =
        serde_json::from_slice(&image.document.bytes).context(ErrorKind::InvalidContent, what)?;
    let was_docker = image.document.media_type == manifest::DOCKER_MANIFEST;
    let own = if was_docker {
        Format::Docker
    } else {
        Format::Oci
    };
    let format = rewrite.format.unwrap_or(own);
    let packed = pack_layers(lease, rewrite, &image.layers, progress)?;
    for (index, (layer, packed)) in image.layers.iter_mut().zip(packed).enumerate() {
        if layer.file.is_none() {
            continue;
        }
        let mut compression = manifest::layer_compression(&layer.media_type)?;
        if let Some((blob, wanted)) = packed {
            compression = wanted;
            layer.digest = blob.digest().clone();
            layer.size = blob.size();
            layer.file = Some(blob.into_file());
        }
        if format == Format::Docker && compression == Compression::Zstd {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "cannot write Docker's format: a layer of the image is compressed with zstd",
            )
            .with_hint("use --compression-format gzip, or --format oci"));
        }
        layer.media_type = format.layer_type(compression).to_owned();
        let entry = &mut json["layers"][index];
        entry["mediaType"] = layer.media_type.clone().into();
        entry["digest"] = layer.digest.as_str().into();
        entry["size"] = layer.size.into();
    }
    json["mediaType"] = format.manifest_type().into();
    json["config"]["mediaType"] = format.config_type().into();
    if format == Format::Docker
        && let Some(fields) = json.as_object_mut()
    {
        for unknown in ["annotations", "artifactType", "subject"] {
            fields.remove(unknown);
        }
    }
    image.document.media_type = format.manifest_type().to_owned();
    image.document.bytes = serde_json::to_vec(&json).context(ErrorKind::System, what)?;
    Ok(())
}

type Packed = Option<(StagedBlob, Compression)>;

/// For each layer its new form, if it gets one.
fn pack_layers(
    lease: &Lease<'_>,
    rewrite: &Rewrite,
    layers: &[Part],
    progress: &dyn PushProgress,
) -> Result<Vec<Packed>> {
    let mut work: Vec<(usize, Compression, Compression)> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let now = manifest::layer_compression(&layer.media_type)?;
        if let (Some(wanted), Some(_)) = (rewrite.of(now), &layer.file) {
            work.push((index, now, wanted));
        }
    }
    let results: Mutex<Vec<Packed>> = Mutex::new(layers.iter().map(|_| None).collect());
    let failed: Mutex<Option<Error>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(work.len()) {
            scope.spawn(|| {
                while let Some((index, _, wanted)) = work.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let layer = &layers[*index];
                    progress.layer(&layer.digest, PushStage::Compressing);
                    match pack(lease, layer, *wanted, rewrite.level) {
                        Ok(blob) => {
                            let mut results =
                                results.lock().unwrap_or_else(PoisonError::into_inner);
                            results[*index] = Some((blob, *wanted));
                        }
                        Err(error) => {
                            next.store(usize::MAX / 2, Ordering::Relaxed);
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

fn pack(
    lease: &Lease<'_>,
    layer: &Part,
    wanted: Compression,
    level: Option<i32>,
) -> Result<StagedBlob> {
    let what = || format!("cannot pack layer {} anew", layer.digest);
    let file: &File = layer
        .file
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::System, what()))?;
    let mut plain = Decompressor::detect(BufReader::new(file)).system(what)?;
    let writer = Blob(lease.write_new_blob()?);
    let writer = match wanted {
        Compression::None => copied(&mut plain, writer),
        Compression::Gzip => {
            let level = u32::try_from(level.unwrap_or(6)).unwrap_or(6);
            let mut encoder = GzEncoder::new(writer, flate2::Compression::new(level.min(9)));
            io::copy(&mut plain, &mut encoder).and_then(|_| encoder.finish())
        }
        Compression::Zstd => {
            zstd::Encoder::new(writer, level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)).and_then(
                |mut encoder| {
                    encoder.include_checksum(true)?;
                    io::copy(&mut plain, &mut encoder)?;
                    encoder.finish()
                },
            )
        }
    };
    writer.context(ErrorKind::InvalidContent, what)?.0.finish()
}

fn copied(plain: &mut impl io::Read, mut writer: Blob) -> io::Result<Blob> {
    io::copy(plain, &mut writer)?;
    Ok(writer)
}

/// A blob that compressors write to.
struct Blob(BlobWriter);

impl Write for Blob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
