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
mod security;
mod systemd;
pub mod user_namespace;

pub use accounts::lines_of;
pub use cgroup::{CgroupPlace, CgroupPlan, CgroupWrite};
pub use environment::set as set_variable;
pub use mounts::{SHM_BYTES, check_target};
pub use namespaces::{
    Join, NamespacePlan, Neighbour, Surroundings, Target, check as check_namespaces,
    check_shareable, targets,
};
pub use security::{asks_for_kernel, check, masks};
pub use systemd::{STOP_SIGNAL as SYSTEMD_STOP_SIGNAL, is_wanted as wants_systemd};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    account::{Line, UserEntry},
    cdi,
    container::{ContainerRecord, ProcessIdentity},
    device::{DeviceNode, DeviceRule},
    hook::HookPlan,
    host::{HostFacts, UserMode},
    image::ImageConfig,
    mount::{AttributeChange, Propagation},
    namespace::Personality,
    seccomp::SockFilter,
    secret::{SecretBytes, SecretWay},
    security::{SecuritySpec, Ulimit},
    user_namespace::IdMaps,
};

/// Everything the sandbox carries out, in the order in which it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxPlan {
    pub namespaces: NamespacePlan,
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
        /// Those of the host too, for `--privileged`.
        #[serde(default)]
        host_devices: bool,
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
        read_only: bool,
        recursive: bool,
        propagation: Propagation,
    },
    /// As a runtime configuration lists it: exactly these attributes.
    Attached {
        file_system: FileSystem,
        target: String,
        change: AttributeChange,
        propagation: Propagation,
    },
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

/// What is written into the root file system before anything is mounted in it. A line is written
/// only where its file has neither its name nor its number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountPlan {
    /// For passwd(5).
    pub users: Vec<Line>,
    /// For group(5).
    pub groups: Vec<Line>,
    /// The content of /etc/localtime, tzfile(5).
    pub local_time: Option<Vec<u8>>,
}

/// Values that only the container may see. They are not part of [`ProcessPlan`], which is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecretPlan {
    pub files: Vec<SecretFile>,
    /// Names of variables of the first process, and their values.
    pub variables: Vec<(String, SecretBytes)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretFile {
    pub target: String,
    pub uid: u32,
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    pub data: SecretBytes,
}

/// The devices beyond those that every container has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DevicePlan {
    pub nodes: Vec<DeviceNode>,
    /// Nodes are made anew; otherwise the host's are mounted, and what the user may do with them
    /// counts.
    pub make_nodes: bool,
    /// What the container's control group lets through. `None` is no limit: `--privileged`, and
    /// ordinary users, who have no devices but their own.
    pub rules: Option<Vec<DeviceRule>>,
    /// Somebody asked for less than the default gives away: without a control group that enforces
    /// the rules the container must not start.
    pub rules_must_hold: bool,
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
}

/// What a request names and had to be looked up: on the host, or in the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub devices: Vec<DeviceNode>,
    /// What devices need, by their CDI specifications.
    pub edits: cdi::Edits,
    /// With the names of their groups.
    pub host_users: Vec<(UserEntry, Option<String>)>,
    /// tzfile(5)
    pub local_time: Option<Vec<u8>>,
    pub secrets: Vec<(SecretWay, SecretBytes)>,
}

/// The plan of a container's first process.
pub fn container(
    record: &ContainerRecord,
    image: &ImageConfig,
    host: &HostFacts,
    files: &ContainerFiles,
    surroundings: &Surroundings,
) -> Result<SandboxPlan> {
    // With ids of its own a container is in no initial namespace, whoever starts it.
    let host = &HostFacts {
        initial_user_namespace: host.initial_user_namespace && record.ids.is_none(),
        ..host.clone()
    };
    let spec = &record.spec;
    let hostname = hostname(record, surroundings.hostname.as_deref());
    let namespaces = namespaces::plan(record, surroundings, hostname);
    let placement = namespaces.placement;
    let systemd = systemd::is_wanted(spec, &record.path);
    let mut arguments = vec![record.path.clone()];
    arguments.extend(record.args.iter().cloned());
    let working_directory = working_directory(spec, image)?;
    let user = user(record, image);
    let (masked_paths, read_only_paths) = security::masks(&spec.security, &host.thermal_folders);
    let sysctls = security::sysctls(
        &spec.security,
        security::OwnNamespaces::of(spec),
        host.initial_user_namespace,
    )?;
    let (capabilities, ambient) = security::capabilities(&spec.security, host.capabilities)?;
    let mut filter = security::filter(&spec.security, capabilities, host.kernel)?;
    if let FilterPlan::Program {
        listener: Some(listener),
        ..
    } = &mut filter
    {
        record.id.as_str().clone_into(&mut listener.container);
    }
    let mut environment = environment::compose(spec, image, hostname, &files.found.edits.env);
    if systemd {
        for variable in systemd::variables(record) {
            environment::set(&mut environment, &variable);
        }
    }
    Ok(SandboxPlan {
        namespaces,
        user_namespace: files.user_namespace.clone(),
        accounts: accounts::plan(spec, &user, &working_directory, files)?,
        secrets: accounts::secrets(files)?,
        devices: devices::plan(spec, host, files)?,
        root: RootPlan {
            source: files.root.clone(),
            mount_point: files.root.mount_point(),
            read_only: spec.read_only,
        },
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
        cgroup: cgroup::cgroup(&spec.resources)?,
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
            rights: process_rights(&spec.security, ambient, host)?,
        },
        init: spec.init,
        hooks: hooks::plan(record, files, &files.found.edits.hooks)?,
    })
}

fn process_rights(spec: &SecuritySpec, ambient: u64, host: &HostFacts) -> Result<ProcessRights> {
    let (additional_groups, keep_groups) = security::groups(spec, host)?;
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
