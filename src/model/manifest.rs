//! Manifests and indexes, OCI and Docker schema 2, and what their media types mean.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::{Context, Digest, Error, ErrorKind, Platform, Result};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a registry is asked for, best first.
pub const ACCEPTED: [&str; 4] = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];

/// A document that a tag or digest of a registry can stand for.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    Manifest(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

/// Which of the two families of documents an image is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Oci,
    /// Docker's, schema 2.
    Docker,
}

impl Format {
    pub fn manifest_type(self) -> &'static str {
        match self {
            Format::Oci => OCI_MANIFEST,
            Format::Docker => DOCKER_MANIFEST,
        }
    }

    pub fn index_type(self) -> &'static str {
        match self {
            Format::Oci => OCI_INDEX,
            Format::Docker => DOCKER_INDEX,
        }
    }

    pub fn config_type(self) -> &'static str {
        match self {
            Format::Oci => OCI_CONFIG,
            Format::Docker => DOCKER_CONFIG,
        }
    }

    /// Docker's has no type for zstd that others than Docker know.
    pub fn layer_type(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Format::Oci, compression) => layer_media_type(compression),
            (Format::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Format::Docker, Compression::Gzip) => {
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
            }
            (Format::Docker, Compression::Zstd) => {
                "application/vnd.docker.image.rootfs.diff.tar.zstd"
            }
        }
    }
}

/// How the bytes of a layer blob are packed around the tar stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Document {
    /// Reads a manifest or index. `media_type` is what the registry or descriptor said; it and
    /// the document's own `mediaType` must agree, and a document with the fields of both kinds
    /// is refused: the same bytes must not mean two things (CVE-2021-41190).
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self> {
        let invalid = || "invalid image manifest".to_owned();
        let json: serde_json::Value =
            serde_json::from_slice(bytes).context(ErrorKind::InvalidContent, invalid)?;
        let refuse = |why: String| {
            Err(Error::new(
                ErrorKind::InvalidContent,
                format!("invalid image manifest: {why}"),
            ))
        };
        let has = |key: &str| json.get(key).is_some();
        if (has("layers") || has("config")) && has("manifests") {
            return refuse("it has both layers and manifests".to_owned());
        }
        let inner = json.get("mediaType").and_then(|value| value.as_str());
        let media_type = media_type.map(|text| text.split(';').next().unwrap_or(text).trim());
        let stated = match (media_type, inner) {
            // Some registries serve everything as JSON; then the document's word counts.
            (
                Some("application/json" | "application/octet-stream" | "text/plain") | None,
                inner,
            ) => inner,
            (Some(outer), Some(inner)) if outer != inner => {
                return refuse(format!(
                    "it was announced as {outer:?} and calls itself {inner:?}"
                ));
            }
            (outer, _) => outer,
        };
        let is_index = match stated {
            Some(OCI_INDEX | DOCKER_INDEX) => true,
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => false,
            Some(other) => return refuse(format!("media type {other:?} is not supported")),
            None => has("manifests"),
        };
        if json
            .get("schemaVersion")
            .and_then(serde_json::Value::as_u64)
            != Some(2)
        {
            return refuse(
                "its schema version is not 2 (images of that age must be converted first)"
                    .to_owned(),
            );
        }
        if is_index {
            if !has("manifests") {
                return refuse("an index without manifests".to_owned());
            }
            let index = serde_json::from_value(json).context(ErrorKind::InvalidContent, invalid)?;
            Ok(Document::Index(Box::new(index)))
        } else {
            let manifest =
                serde_json::from_value(json).context(ErrorKind::InvalidContent, invalid)?;
            Ok(Document::Manifest(Box::new(manifest)))
        }
    }
}

/// The digest of a descriptor as the store's own type.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    descriptor.digest().to_string().parse()
}

/// The entry of an index for `wanted`. Among several that fit, the first with exactly the wanted
/// variant wins; attestations (`unknown/unknown`) never fit.
pub fn choose<'a>(index: &'a ImageIndex, wanted: &Platform) -> Result<&'a Descriptor> {
    let offered: Vec<(Option<Platform>, &Descriptor)> = index
        .manifests()
        .iter()
        .map(|entry| (platform_of(entry), entry))
        .collect();
    let fitting: Vec<&(Option<Platform>, &Descriptor)> = offered
        .iter()
        .filter(|(platform, _)| {
            platform
                .as_ref()
                .is_none_or(|platform| wanted.accepts(platform))
        })
        .collect();
    let exact = fitting
        .iter()
        .find(|(platform, _)| platform.as_ref() == Some(wanted));
    if let Some((_, entry)) = exact.or(fitting.first()) {
        return Ok(entry);
    }
    let mut names: Vec<String> = offered
        .iter()
        .filter_map(|(platform, _)| platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    names.dedup();
    Err(Error::new(
        ErrorKind::NoMatchingPlatform,
        format!(
            "no image for platform {wanted}; there are: {}",
            names.join(", ").escape_debug()
        ),
    )
    .with_hint("choose one of them with --platform"))
}

fn platform_of(entry: &Descriptor) -> Option<Platform> {
    entry.platform().as_ref().map(|platform| Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone(),
    })
}

/// How a layer of this media type is compressed. A type that is not a tar layer is an error:
/// leaving the layer out would silently run another image.
pub fn layer_compression(media_type: &str) -> Result<Compression> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        other => Err(Error::new(
            ErrorKind::InvalidContent,
            format!("layer media type {other:?} is not supported"),
        )),
    }
}

/// The media type of an OCI layer compressed so.
pub fn layer_media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}
