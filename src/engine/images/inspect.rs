//! `image inspect`: Docker's keys in Docker's order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{
    engine::Engine,
    model::{
        Context, Digest, ErrorKind, Reference, Result,
        image::{ImageConfig, ImageRecord, MAX_DOCUMENT_BYTES, ProcessDefaults},
        manifest::OCI_MANIFEST,
    },
};

/// Go's zero time: what Docker shows for an image that does not say when it was made.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// One object of `docker image inspect`.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::NoMatchingPlatform`] of a manifest list;
    /// [`ErrorKind::NoSuchBlob`], [`ErrorKind::DigestMismatch`].
    pub fn inspect_image(&self, typed: &str) -> Result<Value> {
        let record = self.image_here(typed, None)?;
        let config = self.image_config(&record.config)?;
        let names: Vec<ImageRecord> = self
            .store
            .visible_images()?
            .into_iter()
            .filter(|other| other.config == record.config)
            .collect();
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("Id", json!(record.config));
        put("RepoTags", json!(repo_tags(&names)));
        put("RepoDigests", json!(repo_digests(&names)));
        put("Parent", json!(""));
        put("Comment", json!(comment(&config)));
        put("Created", json!(config.created.as_deref().unwrap_or(NEVER)));
        put("DockerVersion", extra(&config, "docker_version"));
        put("Author", json!(config.author.as_deref().unwrap_or("")));
        put("Config", process_defaults(config.config.as_ref())?);
        put("Architecture", json!(config.architecture));
        if let Some(variant) = &config.variant {
            put("Variant", json!(variant));
        }
        put("Os", json!(config.os));
        if config.extra.contains_key("os.version") {
            put("OsVersion", extra(&config, "os.version"));
        }
        put("Size", json!(record.size));
        put("GraphDriver", self.graph_driver(&record)?);
        put(
            "RootFS",
            json!({"Type": "layers", "Layers": config.rootfs.diff_ids}),
        );
        put("Metadata", json!({"LastTagTime": last_tag_time(&names)}));
        let (manifest, length) = self.manifest_of(&record)?;
        put("Descriptor", descriptor(&record, &manifest, length));
        for (key, value) in podmans(&record, &config, &manifest) {
            put(key, value);
        }
        Ok(Value::Object(object))
    }

    /// The configuration of an image that is in the store.
    pub(crate) fn image_config(&self, id: &Digest) -> Result<ImageConfig> {
        ImageConfig::parse(&self.store.read_blob(id, MAX_DOCUMENT_BYTES)?)
    }

    pub fn image_labels(&self, record: &ImageRecord) -> Result<BTreeMap<String, String>> {
        let config = self.image_config(&record.config)?.config;
        Ok(config.and_then(|config| config.labels).unwrap_or_default())
    }

    fn graph_driver(&self, record: &ImageRecord) -> Result<Value> {
        let mut trees = self.store.overlay_lowers(&record.layers).into_iter();
        let mut data = Map::new();
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let top = trees.next().map(text);
        let below: Vec<String> = trees.map(text).collect();
        if !below.is_empty() {
            data.insert("LowerDir".to_owned(), json!(below.join(":")));
        }
        if let Some(top) = top {
            data.insert("UpperDir".to_owned(), json!(top));
        }
        let driver = self.driver();
        Ok(json!({"Data": data, "Name": driver.name()}))
    }

    /// The manifest, and how many bytes it has.
    fn manifest_of(&self, record: &ImageRecord) -> Result<(Value, usize)> {
        let text = self.store.read_blob(&record.manifest, MAX_DOCUMENT_BYTES)?;
        let manifest = serde_json::from_slice(&text).context(ErrorKind::InvalidContent, || {
            format!("invalid manifest {}", record.manifest)
        })?;
        Ok((manifest, text.len()))
    }
}

fn media_type(manifest: &Value) -> &str {
    manifest["mediaType"].as_str().unwrap_or(OCI_MANIFEST)
}

fn descriptor(record: &ImageRecord, manifest: &Value, length: usize) -> Value {
    json!({
        "mediaType": media_type(manifest),
        "digest": record.manifest,
        "size": length,
    })
}

/// Keys that Podman has and Docker has not.
fn podmans(
    record: &ImageRecord,
    config: &ImageConfig,
    manifest: &Value,
) -> Vec<(&'static str, Value)> {
    let process = config.config.as_ref();
    vec![
        (
            "Digest",
            json!(record.index.as_ref().unwrap_or(&record.manifest)),
        ),
        ("ManifestType", json!(media_type(manifest))),
        ("Annotations", manifest["annotations"].clone()),
        (
            "Labels",
            json!(process.and_then(|process| process.labels.as_ref())),
        ),
        (
            "User",
            json!(
                process
                    .and_then(|process| process.user.as_deref())
                    .unwrap_or("")
            ),
        ),
        ("History", json!(config.history)),
    ]
}

fn repo_tags(names: &[ImageRecord]) -> Vec<String> {
    names
        .iter()
        .filter_map(|record| record.name.as_ref())
        .filter(|name| name.digest().is_none())
        .map(Reference::familiar)
        .collect()
}

fn repo_digests(names: &[ImageRecord]) -> BTreeSet<String> {
    let digest = |record: &ImageRecord| -> Option<String> {
        let shown: &Digest = record.index.as_ref().unwrap_or(&record.manifest);
        Some(format!("{}@{shown}", record.name.as_ref()?.familiar_name()))
    };
    names.iter().filter_map(digest).collect()
}

fn comment(config: &ImageConfig) -> &str {
    config
        .history
        .as_ref()
        .and_then(|history| history.last())
        .and_then(|last| last.comment.as_deref())
        .unwrap_or("")
}

fn extra(config: &ImageConfig, key: &str) -> Value {
    let value = config.extra.get(key).and_then(Value::as_str);
    json!(value.unwrap_or(""))
}

/// Keys that Docker always shows come first, whatever the image leaves out.
fn process_defaults(defaults: Option<&ProcessDefaults>) -> Result<Value> {
    let text = serde_json::to_value(defaults.cloned().unwrap_or_default())
        .context(ErrorKind::System, || {
            "cannot show the configuration".to_owned()
        })?;
    let mut config = Map::new();
    for (key, default) in [
        ("User", json!("")),
        ("ExposedPorts", Value::Null),
        ("Env", Value::Null),
        ("Cmd", Value::Null),
        ("Healthcheck", Value::Null),
        ("Volumes", Value::Null),
        ("WorkingDir", json!("")),
        ("Entrypoint", Value::Null),
        ("OnBuild", Value::Null),
        ("Labels", Value::Null),
        ("StopSignal", Value::Null),
        ("Shell", Value::Null),
    ] {
        let optional = ["ExposedPorts", "Healthcheck", "StopSignal", "Shell"].contains(&key);
        match text.get(key) {
            Some(value) => config.insert(key.to_owned(), value.clone()),
            None if optional => None,
            None => config.insert(key.to_owned(), default),
        };
    }
    for (key, value) in text.as_object().into_iter().flatten() {
        config.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Ok(Value::Object(config))
}

fn last_tag_time(names: &[ImageRecord]) -> String {
    names
        .iter()
        .filter(|record| record.name.is_some())
        .map(|record| record.tagged)
        .max()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or(NEVER.to_owned(), |time| time.to_string())
}
