//! From what was asked ([`ContainerSpec`]), what the image says and what the host is, to what will
//! be done ([`SandboxPlan`]): a pure function, so that every flag is tested as a value.
//!
//! The planner does no I/O and decides nothing twice: `exec` and restarts use the stored outcome.

mod accounts;
pub mod cgroup;
mod devices;
mod environment;
mod hooks;
mod mounts;
mod namespaces;
pub mod network_files;
mod requested;
mod security;
mod systemd;
mod user_mounts;
pub mod user_namespace;

pub use accounts::{AccountPlan, Found, SecretFile, SecretPlan, lines_of};
pub use cgroup::{CgroupPlace, CgroupPlan, CgroupWrite};
pub use devices::{DevicePlan, close as close_devices};
pub use environment::set as set_variable;
pub use mounts::{SHM_BYTES, check_target, kernel_place};
pub use namespaces::{
    Join, NamespacePlan, Neighbour, Surroundings, Target, check as check_namespaces,
    check_shareable, targets,
};
pub use requested::all_mounts;
pub use security::{asks_for_kernel, check, masks};
pub use systemd::{STOP_SIGNAL as SYSTEMD_STOP_SIGNAL, is_wanted as wants_systemd};
pub use user_mounts::check_mounts;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    container::{ContainerRecord, ProcessIdentity},
    hook::HookPlan,
    host::{HostFacts, UserMode},
    image::ImageConfig,
    mount::{AttributeChange, Propagation},
    namespace::Personality,
    seccomp::SockFilter,
    security::Ulimit,
    user_namespace::IdMaps,
    volume::Backing,
};

/// Everything the sandbox carries out, in the order in which it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxPlan {
    pub namespaces: NamespacePlan,
    /// The network namespace is the container's own, and somebody connects it to networks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_networks: bool,
    /// The container's own user namespace, nested in the engine's.
    #[serde(default)]
    pub user_namespace: Option<UserNamespacePlan>,
    pub root: RootPlan,
    pub accounts: AccountPlan,
    pub secrets: SecretPlan,
    pub devices: DevicePlan,
    /// Attached one after the other, below the root.
    pub mounts: Vec<MountStep>,
    /// Hidden behind an empty read-only folder or `/dev/null`; skipped where absent. Those of `proc/`
    /// and `sys/` are in our own file systems, the others in the image's tree.
    pub masked_paths: Vec<String>,
    pub read_only_paths: Vec<String>,
    /// Options of the container's procfs, proc(5).
    #[serde(default)]
    pub proc_options: Vec<(String, String)>,
    /// /sys is mounted writable as far as the kernel allows it.
    #[serde(default)]
    pub sys_writable: bool,
    /// Written below /proc/sys before that becomes read-only.
    pub sysctls: Vec<Sysctl>,
    pub cgroup: CgroupPlan,
    pub process: ProcessPlan,
    /// Run a small init as process 1 that reaps and forwards signals.
    pub init: bool,
    /// Programs of the host that are run on the way.
    #[serde(default)]
    pub hooks: Option<Box<HookPlan>>,
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
    /// Device nodes of the image open nothing.
    #[serde(default)]
    pub no_dev: bool,
}

impl ContainerFiles {
    fn root_plan(&self, spec: &ContainerSpec) -> RootPlan {
        RootPlan {
            source: self.root.clone(),
            mount_point: self.root.mount_point(),
            read_only: spec.read_only,
            no_dev: false,
        }
    }
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
    /// A fresh procfs; the host's where the pid namespace is the host's and not ours to ask for.
    Proc {
        fresh: bool,
    },
    /// A fresh sysfs, read-only; the host's where the network namespace is not ours (the kernel
    /// lets only its owner mount one).
    Sys {
        fresh: bool,
    },
    /// The tree as the container's cgroup namespace shows it; with the host's namespace a copy
    /// of the host's mounts, which is never writable.
    Cgroup {
        of_host: bool,
        /// If the container has a cgroup of its own.
        writable: bool,
    },
    /// A tmpfs with the default devices, links and a private devpts.
    Dev {
        make_nodes: bool,
    },
    Shm {
        bytes: u64,
    },
    /// The host's /dev/shm.
    HostShm,
    /// That of the container whose IPC namespace is shared.
    JoinedShm,
    MessageQueue,
    /// The host's /dev/mqueue, where the IPC namespace is the host's and not ours.
    HostMessageQueue,
    /// The nodes of [`SandboxPlan::devices`].
    DeviceNodes,
    /// A path of the host that a device needs, by its CDI specification. Private.
    DeviceMount {
        source: PathBuf,
        target: String,
        recursive: bool,
        attributes: TmpfsAttributes,
    },
    Tmpfs {
        target: String,
        options: Vec<TmpfsParameter>,
        attributes: TmpfsAttributes,
        /// What the root has there is copied into it.
        copy_up: bool,
    },
    /// A file of ours over one of the image's; a link there that leads nowhere is replaced.
    OwnFile {
        source: PathBuf,
        target: String,
    },
    /// The files of [`SandboxPlan::secrets`].
    Secrets,
    Bind {
        source: PathBuf,
        target: String,
        options: BindOptions,
    },
    /// Layers as one tree, topmost first.
    Overlay {
        lower: Vec<PathBuf>,
        /// Where changes go, and the work directory beside it; without them it is read-only.
        changes: Option<(PathBuf, PathBuf)>,
        user_xattr: bool,
        target: String,
        options: BindOptions,
    },
    /// Another file system, which the kernel may refuse to mount.
    FileSystem {
        kind: String,
        device: String,
        parameters: Vec<TmpfsParameter>,
        target: String,
        options: BindOptions,
    },
    /// As a runtime configuration lists it: exactly these attributes.
    Attached {
        file_system: FileSystem,
        target: String,
        change: AttributeChange,
        propagation: Propagation,
    },
}

/// How a source of the user's is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindOptions {
    pub read_only: bool,
    /// What is mounted below a read-only source stays as it is.
    pub writable_below: bool,
    pub recursive: bool,
    pub propagation: Propagation,
    /// What of the source is mounted; a link on the way must not lead out of it.
    pub subpath: Option<String>,
    /// `None` leaves it as the source has it.
    pub no_exec: Option<bool>,
    pub no_suid: Option<bool>,
    pub no_dev: Option<bool>,
    /// The source is given to the process's user, with everything in it.
    pub chown: bool,
    /// Owners are shown through the map of the container's user namespace.
    #[serde(default)]
    pub id_map: bool,
    /// What the root has at the target is copied into an empty volume.
    pub fill: Option<FillPlan>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillPlan {
    /// The volume's folder, where copies are staged.
    pub folder: PathBuf,
    /// The container was never started before. Later starts only go on with what was interrupted.
    pub first_start: bool,
    /// The copy must outlive a power cut. One in a nameless volume is its container's, whose own
    /// files are not flushed either.
    pub durable: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FileSystem {
    /// A part of the host's tree.
    Bind { source: PathBuf, recursive: bool },
    /// A new instance, with the parameters of its type.
    New {
        kind: String,
        source: Option<String>,
        parameters: Vec<TmpfsParameter>,
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

/// A kernel parameter of one of the container's own namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Below /proc/sys.
    pub path: String,
    pub value: String,
    /// A kernel without it needs no setting.
    pub optional: bool,
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
    #[serde(default)]
    pub personality: Option<Personality>,
    /// The ids that exist, if the container has a user namespace of its own.
    #[serde(default)]
    pub ids: Option<IdMaps>,
    pub filter: FilterPlan,
    #[serde(default)]
    pub rights: ProcessRights,
}

/// What flags change about a process; the default is what happens without any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessRights {
    /// Held by users other than root too, through programs that know nothing of capabilities. Part of
    /// `capabilities`.
    pub ambient: u64,
    pub no_new_privileges: bool,
    /// Looked up in the container's group file.
    pub additional_groups: Vec<String>,
    /// Supplementary groups stay the caller's.
    pub keep_groups: bool,
    /// `None` is 0022.
    pub umask: Option<u32>,
    pub limits: Vec<Ulimit>,
    pub oom_score_adj: Option<i32>,
    /// The AppArmor profile from execve on.
    pub apparmor: Option<String>,
}

/// Which system calls are let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterPlan {
    /// The profile that was compiled into this program.
    Default,
    /// All.
    None,
    Program {
        instructions: Vec<PackedInstruction>,
        /// `SECCOMP_FILTER_FLAG_…`
        flags: u32,
        /// Who decides about calls that the program leaves to somebody else.
        listener: Option<Listener>,
    },
}

impl FilterPlan {
    /// Says to the listener, if there is one, whose calls it gets.
    fn tell_listener(&mut self, container: &str) {
        if let FilterPlan::Program {
            listener: Some(listener),
            ..
        } = self
        {
            container.clone_into(&mut listener.container);
        }
    }
}

/// A socket whose owner takes the descriptor of seccomp_unotify(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub path: String,
    /// Text of the profile for the owner.
    pub metadata: String,
    /// The container's id, by which the owner knows it.
    pub container: String,
}

/// One instruction as a number, so that a plan's text stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PackedInstruction(u64);

impl From<(u16, u8, u8, u32)> for PackedInstruction {
    fn from((code, jt, jf, k): (u16, u8, u8, u32)) -> Self {
        PackedInstruction(
            u64::from(code) << 48 | u64::from(jt) << 40 | u64::from(jf) << 32 | u64::from(k),
        )
    }
}

impl From<PackedInstruction> for SockFilter {
    fn from(PackedInstruction(bits): PackedInstruction) -> Self {
        SockFilter {
            code: (bits >> 48) as u16,
            jt: (bits >> 40) as u8,
            jf: (bits >> 32) as u8,
            k: bits as u32,
        }
    }
}

/// What the store has prepared for the container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerFiles {
    /// `containers/ID`
    pub directory: PathBuf,
    pub root: RootSource,
    pub user_namespace: Option<UserNamespacePlan>,
    pub found: Found,
    /// Every volume that a mount names.
    pub volumes: BTreeMap<String, VolumeFiles>,
    /// The container was never started before.
    pub first_start: bool,
    /// For mounts of images and overlays, at the mount's place in the request; may be shorter.
    pub image_mounts: Vec<Option<ImageFiles>>,
}

/// A volume as it lies in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeFiles {
    /// Its files.
    pub data: PathBuf,
    /// Where they are staged when it is filled.
    pub folder: PathBuf,
    /// What is mounted instead of its files.
    pub backing: Option<Backing>,
}

/// What an overlay of the user's is made of. Relative to the store's root, as the layers are.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageFiles {
    /// Topmost first.
    pub layers: Vec<PathBuf>,
    /// For changes.
    pub upper: PathBuf,
    pub work: PathBuf,
    /// An empty folder, for an image with one layer.
    pub empty: PathBuf,
    pub user_xattr: bool,
}

/// With ids of its own a container is in no initial user namespace, whoever starts it.
fn host_of(record: &ContainerRecord, host: &HostFacts) -> HostFacts {
    HostFacts {
        initial_user_namespace: host.initial_user_namespace && record.ids.is_none(),
        ..host.clone()
    }
}

impl SandboxPlan {
    /// What happens at a container's first start alone is not done again.
    pub fn was_started_before(&mut self) {
        for step in &mut self.mounts {
            if let MountStep::Bind { options, .. }
            | MountStep::Overlay { options, .. }
            | MountStep::FileSystem { options, .. } = step
                && let Some(fill) = &mut options.fill
            {
                fill.first_start = false;
            }
        }
    }
}

/// The root and what is mounted in it for longer than the container runs: what there is of a
/// container that does not. Nothing in it reaches the host's mounts.
pub fn files(spec: &ContainerSpec, files: &ContainerFiles) -> Result<(RootPlan, Vec<MountStep>)> {
    let mut steps = mounts::files_of(spec, files, None)?;
    steps.retain(|step| match step {
        MountStep::Tmpfs { .. } => false,
        MountStep::FileSystem { kind, .. } => {
            !["tmpfs", "ramfs", "devpts"].contains(&kind.as_str())
        }
        _ => true,
    });
    for step in &mut steps {
        if let MountStep::Bind { options, .. }
        | MountStep::Overlay { options, .. }
        | MountStep::FileSystem { options, .. } = step
        {
            options.propagation = Propagation::RPrivate;
            options.chown = false;
        }
    }
    Ok((files.root_plan(spec), steps))
}

/// The plan of a container's first process.
pub fn container(
    record: &ContainerRecord,
    image: &ImageConfig,
    host: &HostFacts,
    files: &ContainerFiles,
    surroundings: &Surroundings,
) -> Result<SandboxPlan> {
    let all_rights = host.initial_user_namespace;
    let (spec, host) = (&record.spec, &host_of(record, host));
    let hostname = hostname(record, surroundings.hostname.as_deref());
    let namespaces = namespaces::plan(record, surroundings, hostname);
    let placement = namespaces.placement;
    let systemd = systemd::is_wanted(spec, &record.path);
    let must_be_writable = spec.security.writable_cgroups == Some(true);
    let cgroup = CgroupPlan {
        must_be_writable,
        ..cgroup::cgroup(&spec.resources, systemd || must_be_writable)?
    };
    let arguments = [std::slice::from_ref(&record.path), &record.args].concat();
    let (working_directory, user) = (working_directory(spec, image)?, user(record, image));
    let (masked_paths, read_only_paths) = security::masks(&spec.security, &host.thermal_folders);
    let sysctls = security::sysctls(
        &spec.security,
        security::OwnNamespaces::of(spec),
        user_namespace::pinging_groups(record, host),
    )?;
    let (capabilities, ambient) = security::capabilities(&spec.security, host.capabilities)?;
    let mut filter = security::filter(&spec.security, capabilities, host.kernel)?;
    filter.tell_listener(record.id.as_str());
    let mut environment = environment::compose(spec, image, hostname, &files.found.edits.env);
    let of_systemd = systemd.then(|| systemd::variables(record));
    for variable in of_systemd.iter().flatten() {
        environment::set(&mut environment, variable);
    }
    Ok(SandboxPlan {
        namespaces,
        awaits_networks: spec.network.is_connected(),
        user_namespace: files.user_namespace.clone(),
        accounts: accounts::plan(spec, &user, &working_directory, files)?,
        secrets: accounts::secrets(files)?,
        devices: devices::plan(spec, host, all_rights, files)?,
        root: files.root_plan(spec),
        mounts: mounts::steps(
            spec,
            host,
            files,
            &mounts::Context {
                placement,
                network_files: surroundings.network_files.as_deref(),
                systemd,
            },
        )?,
        masked_paths,
        read_only_paths,
        proc_options: security::proc_options(
            &spec.security,
            namespaces::fresh_proc(&placement, host),
        )?,
        sys_writable: spec.security.privileged,
        sysctls,
        cgroup,
        process: ProcessPlan {
            arguments,
            environment,
            working_directory,
            user,
            capabilities,
            terminal: spec.tty,
            terminal_size: None,
            set_groups: !matches!(host.user, UserMode::SingleId { .. }),
            personality: spec.namespaces.personality,
            ids: record.ids.clone(),
            filter,
            rights: process_rights(spec, ambient, host, &files.found)?,
        },
        init: spec.init,
        hooks: hooks::plan(record, files, &files.found.edits.hooks)?,
    })
}

fn process_rights(
    spec: &ContainerSpec,
    ambient: u64,
    host: &HostFacts,
    found: &Found,
) -> Result<ProcessRights> {
    let spec = &spec.security;
    let (mut additional_groups, keep_groups) = security::groups(spec, host)?;
    additional_groups.extend(found.edits.additional_gids.iter().map(u32::to_string));
    Ok(ProcessRights {
        ambient,
        no_new_privileges: spec.no_new_privileges,
        additional_groups,
        keep_groups,
        umask: spec.umask,
        limits: spec.ulimits.clone(),
        oom_score_adj: spec.oom_score_adj,
        apparmor: spec.apparmor.clone(),
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

/// What the container is called: as asked for, as the namespace that it shares, or by its id.
pub fn hostname<'a>(record: &'a ContainerRecord, shared: Option<&'a str>) -> &'a str {
    let asked = record.spec.hostname.as_deref();
    asked.or(shared).unwrap_or(record.id.short())
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
