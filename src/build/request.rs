//! What a build is asked for: everything that the flags say, read and checked.
//!
//! Nothing here has a relative path, a `~` or a name of a variable left in it, and nothing is looked up
//! later but images. Contexts are open already ([`super::context`]): a build sees the folder that was
//! there when it began.

use std::{collections::BTreeMap, fmt, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use crate::model::{
    ContainerSpec, LayoutImage, Platform, Reference, RegistryOptions, container::PullPolicy,
};

pub use crate::{
    engine::images::step_cache::StepCacheTarget,
    model::step_cache::{CacheSource, CacheWrap},
};

use super::{ignore::Ignore, invoke::Invoke, ssh::Agent};

/// A file that was read: a Dockerfile, patterns of what is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// As messages name it.
    pub name: String,
    pub text: String,
}

#[derive(Debug, Default)]
pub struct BuildRequest {
    pub dockerfile: Text,
    /// What COPY and ADD take files from if they do not say otherwise.
    pub context: BuildContext,
    /// `--build-context`: instead of stages and images of these names.
    pub named_contexts: BTreeMap<String, BuildContext>,
    /// `--build-arg`, later ones win. Those without a value in the environment are not here.
    pub build_args: BTreeMap<String, String>,
    /// A stage's name or number; the last one otherwise.
    pub target: Option<String>,
    /// Of the results; the host's if it is empty. Several become an index.
    pub platforms: Vec<Platform>,
    /// What all RUN have besides what their instruction says: limits, lines of /etc/hosts, network,
    /// /dev/shm, volumes. Its image, command and environment are nothing.
    pub run: ContainerSpec,
    pub secrets: BTreeMap<String, Secret>,
    /// By their ids.
    pub ssh: BTreeMap<String, Agent>,
    /// `--invoke`: what is opened where a RUN has failed.
    pub invoke: Option<Invoke>,
    /// What RUN may ask for beyond a container's usual rights.
    pub entitlements: Entitlements,
    pub labels: BTreeMap<String, String>,
    pub annotations: Vec<Annotation>,
    /// Nothing is asked of the cache; what comes out is still put there.
    pub no_cache: bool,
    /// The same for these stages alone.
    pub no_cache_stages: Vec<String>,
    pub pull: PullPolicy,
    pub registry: RegistryOptions,
    pub cache_from: Vec<CacheSource>,
    pub cache_to: Vec<CacheTarget>,
    /// All layers but those of the base image become one.
    pub squash: bool,
    /// Steps at a time; as many as there are processors if it is 0.
    pub jobs: usize,
    /// Seconds since 1970: the time of the configuration and of its history, and of files with
    /// `rewrite_timestamps`. That of now if it is absent.
    pub source_date_epoch: Option<i64>,
    /// No file in a new layer is younger than that.
    pub rewrite_timestamps: bool,
    /// Documents of the image are Docker's, not OCI's.
    pub docker_documents: bool,
    /// Names of the result in the store.
    pub tags: Vec<Reference>,
    /// No image is written to the store: `--output type=cacheonly`, or outputs of files alone.
    pub without_image: bool,
}

/// Where files, or a root file system, come from.
#[derive(Clone, Debug, Default)]
pub enum BuildContext {
    /// No files at all.
    #[default]
    Empty,
    Folder(Folder),
    /// `docker-image://`
    Image(Reference),
    /// `oci-layout://`: an image in a folder of the host.
    OciLayout {
        path: PathBuf,
        image: LayoutImage,
    },
    /// `target:`: a stage of this Dockerfile.
    Stage(String),
}

/// A folder of the host, held open: of the user, or one that an archive was unpacked to. All that is
/// in it is hostile: symbolic links are followed inside of it alone.
#[derive(Clone, Debug)]
pub struct Folder {
    pub root: Arc<OwnedFd>,
    /// For messages.
    pub path: PathBuf,
    pub ignore: Option<IgnoreFile>,
}

/// Patterns, and what they were read from.
#[derive(Clone, Debug)]
pub struct IgnoreFile {
    pub written: Text,
    /// Not shared between threads: it notes which of its patterns were of use.
    pub patterns: std::rc::Rc<Ignore>,
}

/// What a RUN may read and nothing else ever sees: not a layer, not a key, not a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

/// As BuildKit limits it.
pub const MAX_SECRET_BYTES: u64 = 500 << 10;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`
    pub host_network: bool,
    /// `security.insecure`
    pub insecure: bool,
}

/// `--annotation [LEVEL[PLATFORM],…:]KEY=VALUE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    pub level: AnnotationLevel,
    /// Of this platform's document alone.
    pub platform: Option<Platform>,
    pub key: String,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationLevel {
    Manifest,
    Index,
    /// Of the index's descriptor of the manifest.
    ManifestDescriptor,
    IndexDescriptor,
}

/// `--cache-to`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheTarget {
    /// In the image's own configuration.
    Inline,
    Place {
        place: StepCacheTarget,
        mode: CacheMode,
        wrap: CacheWrap,
        /// What cannot be written is told of, and no failure.
        ignore_error: bool,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// The layers of the result.
    #[default]
    Min,
    /// Those of all stages.
    Max,
}
