//! From what was asked ([`ContainerSpec`]), what the image says and what the host is, to what will
//! be done ([`SandboxPlan`]): a pure function, so that every flag is tested as a value.
//!
//! The planner does no I/O and decides nothing twice: `exec` and restarts use the stored outcome.

mod environment;
mod mounts;
pub mod user_namespace;

pub use environment::set as set_variable;
pub use mounts::{MASKED, READ_ONLY, SHM_BYTES};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    container::{ContainerRecord, NetworkMode, ProcessIdentity},
    host::{HostFacts, UserMode},
    image::ImageConfig,
    mount::Propagation,
    user_namespace::IdMaps,
};

/// Everything the sandbox carries out, in the order in which it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxPlan {
    pub hostname: String,
    /// The container gets a network namespace with loopback, or shares the host's.
    pub own_network: bool,
    /// The container's own user namespace, nested in the engine's.
    pub user_namespace: Option<UserNamespacePlan>,
    pub root: RootPlan,
    /// Attached one after the other, below the root.
    pub mounts: Vec<MountStep>,
    /// Hidden behind an empty read-only folder or `/dev/null`; skipped where absent.
    pub masked_paths: Vec<String>,
    pub read_only_paths: Vec<String>,
    /// Written below /proc/sys before that becomes read-only.
    pub sysctls: Vec<(String, String)>,
    pub process: ProcessPlan,
    /// Run a small init as process 1 that reaps and forwards signals.
    pub init: bool,
}

/// How the container gets its own ids; which they are is in its [`ProcessPlan`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserNamespacePlan {
    pub origin: UserNamespaceOrigin,
    /// The root's files are owned by the engine's ids, and mapped by the mounts; otherwise they are
    /// owned by the container's.
    pub maps_mounts: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum UserNamespaceOrigin {
    /// A new one.
    New,
    /// That of a process, checked to be the one that is meant.
    Process(ProcessIdentity),
    /// That a file stands for.
    File(PathBuf),
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootPlan {
    pub source: RootSource,
    /// An existing directory of the host, on which the root is mounted, in the container's namespace only.
    pub mount_point: PathBuf,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RootSource {
    Overlay {
        /// Topmost layer first. All paths are relative to the store's root, in which the supervisor
        /// works: the kernel takes no more than 255 bytes of each.
        lower: Vec<PathBuf>,
        /// Layers that only lend content to files of `lower` which name it ("data-only lower
        /// layers" in the kernel's overlayfs documentation).
        data: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        /// Never synced: only for containers that are removed when they end.
        volatile: bool,
        /// Whiteouts and such in `user.overlay.*`, as unprivileged mounts need it.
        user_xattr: bool,
    },
    /// A complete tree (the `copy` driver).
    Directory(PathBuf),
}

impl RootSource {
    /// Not the container's folder, which holds files that are mounted later: a directory that
    /// nobody needs any more once the root is there.
    fn mount_point(&self) -> PathBuf {
        match self {
            RootSource::Overlay { upper, .. } => upper.clone(),
            RootSource::Directory(tree) => tree.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MountStep {
    Proc,
    /// A fresh sysfs, read-only; the host's where the network namespace is not ours (the kernel
    /// lets only its owner mount one).
    Sys {
        fresh: bool,
    },
    Cgroup,
    /// A tmpfs with the default devices, links and a private devpts.
    Dev {
        make_nodes: bool,
    },
    Shm {
        bytes: u64,
    },
    MessageQueue,
    Tmpfs {
        target: String,
        options: Vec<TmpfsParameter>,
        attributes: TmpfsAttributes,
    },
    /// A file of ours over one of the image's; a link there that leads nowhere is replaced.
    OwnFile {
        source: PathBuf,
        target: String,
    },
    Bind {
        source: PathBuf,
        target: String,
        read_only: bool,
        recursive: bool,
        propagation: Propagation,
    },
}

/// A file system parameter, with its value if it has one (tmpfs(5)).
pub type TmpfsParameter = (String, Option<String>);

/// Mount attributes of a tmpfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsAttributes {
    pub read_only: bool,
    pub no_exec: bool,
    pub no_suid: bool,
    pub no_dev: bool,
}

/// A process of the container: its first one, or one that `exec` adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// The program and its arguments; a name without a slash is looked up in `PATH`.
    pub arguments: Vec<String>,
    /// `NAME=VALUE`; `HOME` is added from the container's passwd file if it is not here.
    pub environment: Vec<String>,
    pub working_directory: String,
    /// `user[:group]`, looked up in the container's own files. Empty is root.
    pub user: String,
    /// The bounding set, and what id 0 is permitted.
    pub capabilities: u64,
    pub terminal: bool,
    /// Its first size: rows and columns.
    pub terminal_size: Option<(u16, u16)>,
    /// Supplementary groups can be set (they cannot in a single-id user namespace).
    pub set_groups: bool,
    /// The ids that exist, if the container has a user namespace of its own.
    pub ids: Option<IdMaps>,
    pub filter: FilterPlan,
}

/// Which system calls are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterPlan {
    /// The profile that was compiled into this program.
    Default,
}

/// What the store has prepared for the container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerFiles {
    /// `containers/ID`
    pub directory: PathBuf,
    pub root: RootSource,
    pub user_namespace: Option<UserNamespacePlan>,
}

/// The plan of a container's first process.
pub fn container(
    record: &ContainerRecord,
    image: &ImageConfig,
    host: &HostFacts,
    files: &ContainerFiles,
) -> Result<SandboxPlan> {
    let spec = &record.spec;
    let own_network = spec.network == NetworkMode::None;
    let hostname = hostname(record);
    let mut arguments = vec![record.path.clone()];
    arguments.extend(record.args.iter().cloned());
    let mut sysctls = Vec::new();
    if own_network {
        sysctls.push((
            "net/ipv4/ip_unprivileged_port_start".to_owned(),
            "0".to_owned(),
        ));
        // The range must exist in the namespace's own map.
        if host.initial_user_namespace && record.ids.is_none() {
            sysctls.push((
                "net/ipv4/ping_group_range".to_owned(),
                "0 2147483647".to_owned(),
            ));
        }
    }
    Ok(SandboxPlan {
        own_network,
        user_namespace: files.user_namespace.clone(),
        root: RootPlan {
            source: files.root.clone(),
            mount_point: files.root.mount_point(),
            read_only: spec.read_only,
        },
        mounts: mounts::steps(spec, host, files)?,
        masked_paths: mounts::MASKED
            .map(str::to_owned)
            .into_iter()
            .chain(host.thermal_folders.iter().cloned())
            .collect(),
        read_only_paths: mounts::READ_ONLY.map(str::to_owned).to_vec(),
        sysctls,
        process: ProcessPlan {
            arguments,
            environment: environment::compose(spec, image, &hostname),
            working_directory: working_directory(spec, image)?,
            user: user(record, image),
            capabilities: crate::model::capability::DEFAULT & host.capabilities,
            terminal: spec.tty,
            terminal_size: None,
            set_groups: !matches!(host.user, UserMode::SingleId { .. }),
            ids: record.ids.clone(),
            filter: FilterPlan::Default,
        },
        hostname,
        init: spec.init,
    })
}

/// The program and arguments that an image and a request make together (Docker's table of
/// ENTRYPOINT and CMD): a given entrypoint drops the image's command too.
pub fn command_line(spec: &ContainerSpec, image: &ImageConfig) -> Result<(String, Vec<String>)> {
    let defaults = image.config.clone().unwrap_or_default();
    let (mut line, image_command) = match &spec.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), Vec::new()),
        None => (
            defaults.entrypoint.unwrap_or_default(),
            defaults.cmd.unwrap_or_default(),
        ),
    };
    line.extend(if spec.command.is_empty() {
        image_command
    } else {
        spec.command.clone()
    });
    let mut words = line.into_iter();
    match words.next() {
        Some(program) if !program.is_empty() => Ok((program, words.collect())),
        _ => Err(Error::invalid("no command specified")
            .with_hint("the image has no ENTRYPOINT and no CMD: name a command behind the image")),
    }
}

fn hostname(record: &ContainerRecord) -> String {
    record
        .spec
        .hostname
        .clone()
        .unwrap_or_else(|| record.id.short().to_owned())
}

/// With `keep-id` the user who is kept, as Podman has it, if nobody names another.
fn user(record: &ContainerRecord, image: &ImageConfig) -> String {
    let of_image = || {
        let user = image.config.as_ref().and_then(|config| config.user.clone());
        user.filter(|user| !user.is_empty())
    };
    let kept = || {
        let (uid, gid) = record.ids.as_ref()?.kept?;
        Some(format!("{uid}:{gid}"))
    };
    let asked = record.spec.user.clone();
    asked.or_else(of_image).or_else(kept).unwrap_or_default()
}

fn working_directory(spec: &ContainerSpec, image: &ImageConfig) -> Result<String> {
    let of_image = || {
        image
            .config
            .as_ref()
            .and_then(|config| config.working_dir.clone())
    };
    let path = spec
        .workdir
        .clone()
        .or_else(of_image)
        .filter(|path| !path.is_empty());
    let path = path.unwrap_or_else(|| "/".to_owned());
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("invalid working directory {path:?}: it must be an absolute path"),
        ))
    }
}
