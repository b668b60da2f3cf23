//! The use-cases: one file a verb, all of them methods of [`Engine`].
//!
//! Every skin (command line, REST API, compose, kube) calls these and nothing below them.

mod accounts;
pub mod artifacts;
mod boot;
pub mod builds;
pub mod bundle;
pub mod cgroup;
pub mod containers;
mod devices;
mod disk_usage;
mod doctor;
mod downloads;
mod events;
mod identity;
pub mod images;
mod info;
pub mod logins;
mod machine;
pub mod manifests;
pub mod networks;
pub mod plan;
pub mod requests;
mod reset;
pub mod sandbox;
pub mod secrets;
mod store_check;
pub mod supervisor;
pub mod volumes;

use std::path::{Path, PathBuf};

pub use crate::model::RegistryOptions;
pub use crate::registry::{DownloadRequest, Downloaded};
pub use crate::storage::Migrated;
pub use boot::{Boot, BootOptions, Init};
pub use containers::{Change, ChangeKind, Copied, CopyEnd, CopyRequest};
pub use disk_usage::{ImageUsage, UsageReport, UsageSum};
pub use events::EventOptions;
pub use images::archive::LoadSource;
pub use images::files::ImageFile;
pub use images::history::{HistoryStep, ImageTree, TreeLayer};
pub use images::load::{LoadOptions, Loaded};
pub use images::save::{LayerPacking, SaveFormat, SaveRequest, SaveTarget, SavedImage};
pub use images::scp::ScpRequest;
pub use images::trust::{TrustKind, TrustLine, TrustRequest, TrustView};
pub use images::{
    freshness::Freshness,
    push::{PushProgress, PushRequest, PushStage, Pushed},
    repack::Rewrite,
};
pub use requests::{
    AttachOptions, Check, CloneRequest, CommitRequest, ContainerSize, ContainerStats,
    ContainerSummary, CpuUsage, ExecSpec, Health, HealthVerdict, ImportRequest, IoUsage,
    LoadRequest, LogOptions, LogRecord, LogSink, LogStream, MemoryUsage, PublishedPort,
    PullSettings, Removed, RunOptions, RunOutcome, StartOptions, Usage,
};
pub use reset::Reset;
pub use store_check::{Finding, Outcome, StoreCheck, StoreCheckOptions};

use crate::{
    model::{Error, ErrorKind, Platform, Reference, Result, backend::Backend, host::UserMode},
    storage::{Driver, Store, unpack::Privilege},
};

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
    /// `tproxy` or `tun` ([`crate::model::backend`]); chosen automatically if absent.
    pub network_backend: Option<String>,
    /// The user's home and XDG folders, read from the environment by `cmd::env`.
    pub home: Option<PathBuf>,
    pub xdg_data_home: Option<PathBuf>,
    pub xdg_runtime_dir: Option<PathBuf>,
    /// Where registries.conf may be: read when a short name is not found in the store.
    pub registries: crate::model::registry::RegistriesFiles,
}

#[derive(Clone, Debug)]
pub struct PullRequest {
    pub reference: Reference,
    pub platform: Option<Platform>,
    pub registry: RegistryOptions,
}

/// How it stands with a layer. The words are Docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It will be fetched; compressed size in bytes.
    Planned(u64),
    /// Another command is fetching it, and we take the bytes from there.
    Elsewhere,
    /// What has come was of no use: it comes again from its first byte.
    Anew,
    /// All bytes are there and verified; the rest of it is being unpacked.
    Downloaded,
    /// So many bytes begin to be sent; [`Progress::layer_advanced`] counts them.
    Pushing(u64),
    Pushed,
    /// The registry has it already.
    OnServer,
    /// So many bytes begin to be written to an archive; [`Progress::layer_advanced`] counts them.
    Saving(u64),
    Saved,
    /// The registry has taken it from this repository of its own.
    Mounted(String),
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
    /// Anything else about a layer.
    fn layer_state(&self, _: &crate::model::Digest, _: LayerState) {}
    /// An attempt failed and will be repeated.
    fn retrying(&self, what: &str, why: &str);
    /// Something that was asked for has no effect.
    fn notice(&self, _: &str) {}
    /// A registry is about to be asked; for a short name there may be several, one after the other.
    fn pulling(&self, _: &Reference) {}
    /// `run` or `create` wants an image that the store does not have; a pull begins.
    fn image_missing(&self, _: &Reference) {}
    /// That pull is over.
    fn image_pulled(&self, _: &Pulled) {}
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

/// Bytes of memory that the machine has.
pub fn memory_bytes() -> Option<u64> {
    machine::memory_total()
}

/// The door of the library. Opening it reads no image and no container.
pub struct Engine {
    pub(crate) store: Store,
    /// `--storage-driver`, if it was given.
    pub(crate) forced_driver: Option<Driver>,
    pub(crate) network_backend: Option<Backend>,
    user: identity::User,
    /// The socket of an ordinary user's D-Bus, where it would be.
    user_bus: Option<PathBuf>,
}

impl Engine {
    /// Finds out who runs this and opens the store, making it if it is not there.
    pub fn open(options: EngineOptions) -> Result<Engine> {
        Engine::open_with(options, Store::open)
    }

    fn open_with(
        options: EngineOptions,
        open: impl FnOnce(&Path, &Path) -> Result<Store>,
    ) -> Result<Engine> {
        let user = identity::User::detect()?;
        let is_root = *user.mode() == UserMode::Root;
        let root = options.store_root(is_root)?;
        let runroot = options.store_runroot(user.uid());
        let user_bus = (!is_root).then(|| options.user_bus(user.uid()));
        let forced_driver = options
            .storage_driver
            .as_deref()
            .map(Driver::parse)
            .transpose()?;
        let network_backend = options.network_backend.as_deref();
        let network_backend = network_backend.map(str::parse).transpose()?;
        let mut store = open(&root, &runroot)?;
        let additional = options.additional_stores()?;
        if !additional.is_empty() {
            store.add_stores(&additional, user.opener())?;
        }
        let files = options.registries;
        store.look_up_short_names(move |name| {
            let known = logins::registries(&files).and_then(|known| known.candidates(name));
            // A file that cannot be read is the pull's business: here it names nothing.
            known.unwrap_or_default()
        });
        Ok(Engine {
            store,
            forced_driver,
            network_backend,
            user,
            user_bus,
        })
    }

    /// What the user should know about the mode this runs in, said once a boot.
    pub fn notice(&self) -> Option<String> {
        self.user.notice(&self.store)
    }

    /// What containers are started with first; see `storage::driver`.
    pub(crate) fn driver(&self) -> Driver {
        self.forced_driver.unwrap_or(Driver::Overlay)
    }

    /// Whether files of layers may have every owner and be devices: only in the first user
    /// namespace.
    pub(crate) fn privilege(&self) -> Privilege {
        if self.user.is_real_root() {
            Privilege::Root
        } else {
            Privilege::Rootless
        }
    }

    /// As whom this makes cgroups; units of systemd are named by whoever needs one.
    pub(crate) fn cgroup_caller(&self) -> cgroup::Caller<'_> {
        match self.user.has_namespace() {
            false => cgroup::Caller::Root,
            true => cgroup::Caller::User {
                bus: self.user_bus.as_deref(),
                unit: "coracle",
            },
        }
    }

    /// Becomes root of the user's own ids, in a user namespace, where files of other ids can be
    /// made and removed and containers started. Does nothing for root. Only while this process has
    /// one thread.
    pub(crate) fn enter_user_namespace(&self) -> Result<()> {
        self.user.begin_namespace(&self.store)?;
        self.user.finish_namespace()
    }
}

impl EngineOptions {
    fn store_root(&self, is_root: bool) -> Result<PathBuf> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        if is_root {
            return Ok("/var/lib/coracle".into());
        }
        let data = match (&self.xdg_data_home, &self.home) {
            (Some(data), _) if data.is_absolute() => data.clone(),
            (_, Some(home)) if home.is_absolute() => home.join(".local/share"),
            _ => {
                let message = "cannot tell where images and containers belong: HOME is not set";
                return Err(Error::new(ErrorKind::InvalidArgument, message)
                    .with_hint("set HOME, or name a directory with --root"));
            }
        };
        Ok(data.join("coracle"))
    }

    /// `additionalimagestore=DIR`, also with the name of the driver before it, as podman has it. Other
    /// options have no effect, and are told of.
    fn additional_stores(&self) -> Result<Vec<PathBuf>> {
        let mut stores = Vec::new();
        for option in &self.storage_options {
            let Some((name, value)) = option.split_once('=') else {
                return Err(Error::invalid(format!(
                    "invalid storage option {option:?}: expected NAME=VALUE"
                )));
            };
            match name.strip_prefix("overlay.").unwrap_or(name) {
                "additionalimagestore" if value.is_empty() => {
                    return Err(Error::invalid("additionalimagestore= names no folder"));
                }
                "additionalimagestore" => stores.push(PathBuf::from(value)),
                _ => log::warn!("storage option {name:?} has no effect"),
            }
        }
        Ok(stores)
    }

    fn user_bus(&self, uid: u32) -> PathBuf {
        match &self.xdg_runtime_dir {
            Some(dir) if dir.is_absolute() => dir.join("bus"),
            _ => PathBuf::from(format!("/run/user/{uid}/bus")),
        }
    }

    /// The last resort is in /tmp, where [`Store::open`] checks whose it is.
    fn store_runroot(&self, uid: u32) -> PathBuf {
        if let Some(runroot) = &self.runroot {
            return runroot.clone();
        }
        if uid == 0 {
            return "/run/coracle".into();
        }
        let session = PathBuf::from(format!("/run/user/{uid}"));
        match &self.xdg_runtime_dir {
            Some(dir) if dir.is_absolute() && dir.is_dir() => dir.join("coracle"),
            _ if session.is_dir() => session.join("coracle"),
            _ => PathBuf::from(format!("/tmp/coracle-{uid}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_users_store_is_below_the_home() {
        let options = EngineOptions {
            home: Some("/home/u".into()),
            ..EngineOptions::default()
        };
        let root = options.store_root(false).unwrap();
        assert_eq!(root, PathBuf::from("/home/u/.local/share/coracle"));
        let options = EngineOptions {
            xdg_data_home: Some("/data".into()),
            ..options
        };
        let root = options.store_root(false).unwrap();
        assert_eq!(root, PathBuf::from("/data/coracle"));
        assert_eq!(
            options.store_root(true).unwrap(),
            PathBuf::from("/var/lib/coracle")
        );
    }

    #[test]
    fn without_a_home_the_user_is_asked_for_a_root() {
        let error = EngineOptions::default().store_root(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.hint().unwrap_or_default().contains("--root"));
    }
}
