//! The use-cases: one file a verb, all of them methods of [`Engine`].
//!
//! Every skin (command line, REST API, compose, kube) calls these and nothing below them.

pub mod images;
pub mod plan;
pub mod sandbox;

use std::path::PathBuf;

use crate::model::{Platform, Reference, Result};

/// Where things are and how they are stored, as flags, environment and configuration say.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// `--root`; default `$XDG_DATA_HOME/coracle`, or `/var/lib/coracle` for root.
    pub root: Option<PathBuf>,
    /// `--runroot`; default `$XDG_RUNTIME_DIR/coracle`, or `/run/coracle` for root.
    pub runroot: Option<PathBuf>,
    /// `--storage-driver`: `overlay` or `copy`; chosen automatically if absent.
    pub storage_driver: Option<String>,
    /// `--storage-opt NAME=VALUE`.
    pub storage_options: Vec<String>,
    /// The user's home and XDG folders, read from the environment by `cmd::env`.
    pub home: Option<PathBuf>,
    pub xdg_data_home: Option<PathBuf>,
    pub xdg_runtime_dir: Option<PathBuf>,
}

/// How to talk to registries, as flags, environment and configuration say.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// `--tls-verify`: `Some(false)` also allows plain http; `None` verifies, and allows plain http
    /// for loopback addresses as Docker does.
    pub tls_verify: Option<bool>,
    /// `--creds user:password`.
    pub credentials: Option<(String, String)>,
    /// `--authfile`, and the default places to look for one, first match wins.
    pub auth_files: Vec<PathBuf>,
    /// Folders like `/etc/docker/certs.d`, holding `HOST[:PORT]/ca.crt`, `client.cert`, `client.key`.
    pub certs_dirs: Vec<PathBuf>,
    /// `SSL_CERT_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `http_proxy`, `https_proxy`, `no_proxy` as the environment gives them.
    pub http_proxy: Option<String>,
    pub https_proxy: Option<String>,
    pub no_proxy: Option<String>,
}

#[derive(Clone, Debug)]
pub struct PullRequest {
    pub reference: Reference,
    pub platform: Option<Platform>,
    pub registry: RegistryOptions,
}

/// What happens during a pull or load, for whoever shows it. Called from several threads.
pub trait Progress: Sync {
    /// A layer is about to be fetched; `total` is its compressed size in bytes.
    fn layer_started(&self, layer: &crate::model::Digest, total: u64);
    /// So many more compressed bytes have arrived.
    fn layer_advanced(&self, layer: &crate::model::Digest, bytes: u64);
    /// The layer was already in the store.
    fn layer_exists(&self, layer: &crate::model::Digest);
    /// The layer is verified and unpacked.
    fn layer_done(&self, layer: &crate::model::Digest);
    /// An attempt failed and will be repeated.
    fn retrying(&self, what: &str, why: &str);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn layer_started(&self, _: &crate::model::Digest, _: u64) {}
    fn layer_advanced(&self, _: &crate::model::Digest, _: u64) {}
    fn layer_exists(&self, _: &crate::model::Digest) {}
    fn layer_done(&self, _: &crate::model::Digest) {}
    fn retrying(&self, _: &str, _: &str) {}
}

/// The outcome of a pull.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub record: crate::model::image::ImageRecord,
    /// The digest that the tag stands for in the registry (of the index, if there is one).
    pub digest: crate::model::Digest,
    /// The name stood for this very image before.
    pub up_to_date: bool,
}

/// The door of the library.
pub struct Engine {
    pub(crate) options: EngineOptions,
}

impl Engine {
    pub fn open(options: EngineOptions) -> Result<Engine> {
        Ok(Engine { options })
    }
}
