//! Documents that stay where they are: `manifest inspect`, and `image inspect docker://NAME` with the
//! fields of `skopeo inspect`.

use serde_json::{Map, Value, json};

use super::{members::remote_name, referrers::media_type};
use crate::{
    engine::{Engine, Progress, RegistryOptions},
    model::{
        Context, Digest, Error, ErrorKind, Platform, Reference, Result,
        image::{ImageConfig, MAX_DOCUMENT_BYTES},
        index::{Artifact, Descriptor, Index},
        manifest::{self, Document, OCI_MANIFEST},
    },
    registry::{Registry, RemoteDocument},
};

/// What is wanted of a remote image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteView {
    /// Name, digest, tags and what the configuration says.
    Summary,
    /// The configuration as it is.
    Config,
    /// The manifest or index as it is.
    Raw,
}

impl Engine {
    /// The bytes of a local index, of that of an image that was built here for several platforms, or of the manifest or index of a registry.
    ///
    /// # Errors
    /// Those of [`Registry`].
    pub fn inspect_manifest(
        &self,
        typed: &str,
        options: &RegistryOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>> {
        if remote_name(typed).is_none()
            && let Some(record) =
                self.find_manifest(typed, crate::model::index::ManifestKind::Index)?
        {
            return self.store.read_blob(&record.digest, MAX_DOCUMENT_BYTES);
        }
        if remote_name(typed).is_none()
            && let Ok(image) = self.store.resolve_image(typed)
            && let (Some(index), false) = (&image.index, image.others.is_empty())
        {
            // Built here for several platforms.
            return self.store.read_blob(index, MAX_DOCUMENT_BYTES);
        }
        let far = Far::new(typed, options, progress)?;
        let document = far.document(&far.reference).map_err(|error| {
            // As Docker says it.
            match error.kind() {
                ErrorKind::NotFoundInRegistry => Error::new(
                    ErrorKind::NoSuchImage,
                    format!("no such manifest: {}", far.reference),
                )
                .with_source(error),
                _ => error,
            }
        })?;
        Document::parse(&document.bytes, document.media_type.as_deref())?;
        Ok(document.bytes)
    }

    /// The entry of a member of a local index, called as `manifest annotate` calls it.
    pub fn inspect_member(&self, list: &str, member: &str) -> Result<Descriptor> {
        let record = self.manifest_list(list)?;
        let index = self.read_index(&record)?;
        let digest = self.member_digest(&index, Some(&record), member)?;
        let found = index.entry(&digest).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NoSuchImage, format!("No such member: {member}")))
    }

    /// `docker manifest inspect --verbose`: every manifest with its descriptor and its bytes.
    pub fn inspect_manifest_verbose(
        &self,
        typed: &str,
        options: &RegistryOptions,
        progress: &dyn Progress,
    ) -> Result<Value> {
        let bytes = self.inspect_manifest(typed, options, progress)?;
        let plain = remote_name(typed).unwrap_or(typed);
        let name: Reference = plain.parse()?;
        let far = Far::new(typed, options, progress)?;
        let Ok(index) = Index::parse(&bytes).and_then(|index| match index.manifests.is_empty() {
            true => Err(Error::new(ErrorKind::InvalidContent, "not an index")),
            false => Ok(index),
        }) else {
            let descriptor = Descriptor::of(&bytes, &media_type(&bytes, None)?);
            return verbose(&name.to_string(), &descriptor, &bytes);
        };
        let record = self.manifest_list(typed).ok();
        let mut all = Vec::new();
        for entry in &index.manifests {
            let source = record
                .as_ref()
                .and_then(|record| record.sources.get(&entry.digest))
                .unwrap_or(&name);
            let at = source.at_digest(entry.digest.clone());
            let bytes = match self.store.read_blob(&entry.digest, MAX_DOCUMENT_BYTES) {
                Ok(bytes) => bytes,
                Err(_) => far.document(&at)?.bytes,
            };
            all.push(verbose(&at.to_string(), entry, &bytes)?);
        }
        Ok(Value::Array(all))
    }

    /// One object about an image of a registry, of which nothing is kept.
    ///
    /// # Errors
    /// Those of [`Registry`]; [`ErrorKind::NoMatchingPlatform`].
    pub fn inspect_remote(
        &self,
        typed: &str,
        view: RemoteView,
        platform: Option<&Platform>,
        options: &RegistryOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>> {
        let far = Far::new(typed, options, progress)?;
        let first = far.document(&far.reference)?;
        if view == RemoteView::Raw {
            return Ok(first.bytes);
        }
        let digest = first.digest.clone();
        let manifest = match Document::parse(&first.bytes, first.media_type.as_deref())? {
            Document::Manifest(_) => first,
            Document::Index(index) => {
                let host = Platform::host();
                let entry = manifest::choose(&index, platform.unwrap_or(&host))?;
                let chosen = manifest::digest_of(entry)?;
                far.document(&far.reference.at_digest(chosen))?
            }
        };
        let parsed = Artifact::parse(&manifest.bytes)?;
        let config = far.config(&parsed.config)?;
        if view == RemoteView::Config {
            return Ok(config);
        }
        let tags = far.registry.tags(&far.reference, &far.on_retry());
        let object = summary(
            &far.reference,
            &digest,
            tags.unwrap_or_default(),
            &parsed,
            &config,
        )?;
        serde_json::to_vec(&object).context(ErrorKind::System, || {
            "cannot write what was found".to_owned()
        })
    }
}

struct Far<'a> {
    registry: Registry,
    reference: Reference,
    progress: &'a dyn Progress,
}

impl<'a> Far<'a> {
    fn new(typed: &str, options: &RegistryOptions, progress: &'a dyn Progress) -> Result<Self> {
        let reference: Reference = remote_name(typed).unwrap_or(typed).parse()?;
        let registry = Registry::new(options);
        registry.prepare(&reference)?;
        Ok(Far {
            registry,
            reference,
            progress,
        })
    }

    fn on_retry(&self) -> impl Fn(&str, &str) {
        |what, why| self.progress.retrying(what, why)
    }

    fn document(&self, reference: &Reference) -> Result<RemoteDocument> {
        self.registry.document(reference, &self.on_retry())
    }

    fn config(&self, config: &Descriptor) -> Result<Vec<u8>> {
        self.registry.small_blob(
            &self.reference,
            &config.digest,
            config.size,
            &self.on_retry(),
        )
    }
}

/// Docker's keys in Docker's order.
fn verbose(name: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<Value> {
    use base64::Engine as _;
    let manifest: Value = serde_json::from_slice(bytes)
        .context(ErrorKind::InvalidContent, || "invalid manifest".to_owned())?;
    let kind = match descriptor.media_type.as_str() {
        OCI_MANIFEST => "OCIManifest",
        _ => "SchemaV2Manifest",
    };
    let mut object = Map::new();
    object.insert("Ref".to_owned(), json!(name));
    object.insert("Descriptor".to_owned(), json!(descriptor));
    let raw = base64::engine::general_purpose::STANDARD.encode(bytes);
    object.insert("Raw".to_owned(), json!(raw));
    object.insert(kind.to_owned(), manifest);
    Ok(Value::Object(object))
}

/// The fields of `skopeo inspect`, in its order. An artifact has no configuration to speak of.
fn summary(
    name: &Reference,
    digest: &Digest,
    tags: Vec<String>,
    manifest: &Artifact,
    config: &[u8],
) -> Result<Value> {
    let is_image = [manifest::OCI_CONFIG, manifest::DOCKER_CONFIG]
        .contains(&manifest.config.media_type.as_str());
    let config = match is_image {
        true => ImageConfig::parse(config)?,
        false => ImageConfig::default(),
    };
    let process = config.config.clone().unwrap_or_default();
    let layers: Vec<&Digest> = manifest.layers.iter().map(|layer| &layer.digest).collect();
    let data: Vec<Value> = manifest
        .layers
        .iter()
        .map(|layer| {
            json!({
                "MIMEType": layer.media_type,
                "Digest": layer.digest,
                "Size": layer.size,
                "Annotations": match layer.annotations.is_empty() {
                    true => Value::Null,
                    false => json!(layer.annotations),
                },
            })
        })
        .collect();
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("Name", json!(name.name()));
    put("Digest", json!(digest));
    put("RepoTags", json!(tags));
    put("Created", json!(config.created));
    let version = config.extra.get("docker_version").cloned();
    put("DockerVersion", version.unwrap_or_else(|| json!("")));
    put("Labels", json!(process.labels));
    put("Architecture", json!(config.architecture));
    if let Some(variant) = &config.variant {
        put("Variant", json!(variant));
    }
    put("Os", json!(config.os));
    put("Layers", json!(layers));
    put("LayersData", json!(data));
    put("Env", json!(process.env));
    if !is_image {
        put("ArtifactType", json!(manifest.kind()));
    }
    if !manifest.annotations.is_empty() {
        put("Annotations", json!(manifest.annotations));
    }
    Ok(Value::Object(object))
}
