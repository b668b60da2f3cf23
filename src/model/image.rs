//! The image configuration (OCI image specification, `config.md`) with Docker's extra fields.
//!
//! Own types instead of `oci-spec`'s: those lose Docker's `Healthcheck`, `OnBuild`, `Shell`, …
//! on a round trip, and an image that was pulled must be pushed bit for bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Context, Digest, Error, ErrorKind, Platform, Reference, Result};

/// Largest manifest, index or configuration that is read: 4 MiB, as registries limit them.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub os: String,
    #[serde(default)]
    pub config: Option<ProcessDefaults>,
    pub rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<History>>,
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// What a container made from the image runs by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessDefaults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    pub env: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Reads a configuration blob and checks what the engine relies on.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let config: ImageConfig = serde_json::from_slice(bytes)
            .context(ErrorKind::InvalidContent, || {
                "invalid image configuration".to_owned()
            })?;
        if config.rootfs.kind != "layers" {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!(
                    "invalid image configuration: rootfs type {:?} is not \"layers\"",
                    config.rootfs.kind
                ),
            ));
        }
        for variable in config
            .config
            .iter()
            .flat_map(|config| config.env.iter().flatten())
        {
            if !variable.contains('=') || variable.starts_with('=') {
                // A name alone would copy the caller's variable into the container
                // (podman, CVE-2026-57231).
                return Err(Error::new(
                    ErrorKind::InvalidContent,
                    format!(
                        "invalid image configuration: environment entry {variable:?} is not NAME=VALUE"
                    ),
                ));
            }
        }
        Ok(config)
    }

    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }
}

/// The chain id of every layer, lowest first (OCI image specification, "Layer ChainID"): the
/// digest of a layer together with everything below it.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    use sha2::{Digest as _, Sha256};
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::sha256(Sha256::digest(format!("{below} {diff_id}"))),
        };
        chain.push(id);
    }
    chain
}

/// What the store remembers of one image under one name: enough for `run`, `images` and garbage
/// collection without reading a manifest. The file of `images/` holds exactly this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Absent for an image that has no name (`<none>`).
    pub name: Option<Reference>,
    /// The manifest of the chosen platform (never the index): the image as it was pulled.
    pub manifest: Digest,
    /// The configuration's digest, which is the image ID.
    pub config: Digest,
    /// The index that the manifest was chosen from, if it was; `RepoDigests` shows it.
    pub index: Option<Digest>,
    /// Compressed layer blobs, lowest first.
    pub blobs: Vec<Digest>,
    /// Of the images for other platforms that the index names, if they were built here along with this
    /// one: manifests, configurations and compressed layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Digest>,
    /// Chain ids of the unpacked layers, lowest first.
    pub layers: Vec<Digest>,
    /// Bytes of all layers unpacked, as `docker images` shows it.
    pub size: u64,
    /// `created` of the configuration, RFC 3339.
    pub created: Option<String>,
    /// When this name was given, Unix seconds.
    pub tagged: i64,
}
