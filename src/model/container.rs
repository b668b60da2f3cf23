//! A container as it is asked for ([`ContainerSpec`]), kept ([`ContainerRecord`]) and ended
//! ([`ExitRecord`]).

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    Digest, Error, ErrorKind, Platform, Result,
    account::AccountSpec,
    attachment::Attachment,
    device::DeviceSpec,
    dns::DnsSpec,
    health::HealthSpec,
    log::LogSpec,
    mount::{Mount, MountSettings},
    namespace::{self, Namespaces, Placement},
    network::{DEFAULT_NETWORK, is_default_name},
    private_network::PrivateNetwork,
    publish::{Port, PortMapping},
    resources::Resources,
    restart::RestartPolicy,
    security::SecuritySpec,
    user_namespace::{IdMaps, UserNamespace},
};

/// 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// From 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        ContainerId(Digest::sha256(bytes).hex().to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: what `ps` shows, and the default host name.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            Ok(ContainerId(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{text:?} is not a container ID")))
        }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> String {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// Checks a container's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 characters.
pub fn check_name(name: &str) -> Result<()> {
    if is_object_name(name) {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "invalid container name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, at least two"
        )))
    }
}

/// What Docker takes as the name of a container or a volume.
pub(super) fn is_object_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    first && (2..=255).contains(&name.len()) && bytes.all(rest)
}

/// What a container is asked to be, by whatever skin: the command line, the REST API, compose,
/// kube YAML or the builder. Values are checked and complete; nothing of the image or of the
/// host has been looked at yet. `None` and empty mean "as the image says".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The image as the user typed it: a reference, an ID or a prefix of one.
    pub image: String,
    /// What the root file system is made of.
    pub root: RootRequest,
    pub platform: Option<Platform>,
    pub pull: PullPolicy,
    pub name: Option<String>,
    /// A container of that name is removed first. Of no more meaning once this one is made.
    #[serde(skip)]
    pub replace: bool,
    /// `Some([])` (`--entrypoint ""`) clears the image's.
    pub entrypoint: Option<Vec<String>>,
    pub command: Vec<String>,
    /// `NAME=VALUE`, later ones win.
    pub env: Vec<String>,
    pub workdir: Option<String>,
    /// `user[:group]`, names or numbers, looked up in the container's own files.
    pub user: Option<String>,
    pub hostname: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Those of the user; once the container is made, all it has, with the names of its volumes.
    pub mounts: Vec<Mount>,
    pub mount_settings: MountSettings,
    pub network: NetworkMode,
    /// `-p`: ports of it that stand for ports of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<PortMapping>,
    /// `-P`: all exposed ports are published, each on any that is free.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub publish_all: bool,
    /// `--expose`, besides the image's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<Port>,
    #[serde(skip_serializing_if = "DnsSpec::is_empty")]
    pub dns: DnsSpec,
    pub namespaces: Namespaces,
    pub user_namespace: UserNamespace,
    pub security: SecuritySpec,
    pub resources: Resources,
    pub devices: DeviceSpec,
    pub account: AccountSpec,
    /// `--annotation`: runtime-spec annotations, for `inspect` and hooks.
    pub annotations: BTreeMap<String, String>,
    /// `--hooks-dir`: absolute.
    pub hook_folders: Vec<PathBuf>,
    pub read_only: bool,
    pub init: bool,
    pub tty: bool,
    /// Standard input is connected (`-i`).
    pub interactive: bool,
    /// Remove the container when it ends (`--rm`).
    pub auto_remove: bool,
    pub stop_signal: Option<i32>,
    /// Seconds between the stop signal and SIGKILL; -1 waits for ever.
    pub stop_timeout: Option<i64>,
    pub logging: LogSpec,
    pub restart: RestartPolicy,
    pub health: HealthSpec,
    /// Written into the record only, for `inspect`.
    pub cidfile: Option<String>,
    pub attach: AttachedStreams,
}

impl ContainerSpec {
    /// Takes `NAME=VALUE` in place of what the name stood for.
    pub fn set_variable(&mut self, variable: &str) {
        self.forget_variable(variable.split('=').next().unwrap_or_default());
        self.env.push(variable.to_owned());
    }

    /// Standard input ends with whoever is attached to it. That of a container that was made to run
    /// by itself (`-d -i`) stays open for the next.
    pub fn input_once(&self) -> bool {
        self.interactive && self.attach.stdin
    }

    /// Leaves a variable out, whoever has set it: the user before, the image or this program.
    pub fn unset_variable(&mut self, name: &str) {
        self.forget_variable(name);
        let unset = &mut self.account.unset;
        if !unset.iter().any(|other| other == name) {
            unset.push(name.to_owned());
        }
    }

    fn forget_variable(&mut self, name: &str) {
        self.env
            .retain(|variable| variable.split('=').next() != Some(name));
    }
}

/// Where a container's root file system comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootRequest {
    /// From the layers of the spec's `image`.
    #[default]
    Image,
    /// A folder of the host (`--rootfs`), by its absolute path. As an `overlay` it is only read,
    /// and what the container writes lies in the container's own folder.
    Directory { path: PathBuf, overlay: bool },
    /// Layers of the store, lowest first, by their chain ids: a step of a build. What is written lies
    /// in `upper` of `changes`, beside which an empty `work` is. The container is nobody's but the
    /// process's that starts it: it is killed with that, and no list shows it.
    Layers {
        layers: Vec<Digest>,
        changes: PathBuf,
    },
    /// An OCI runtime bundle (`--bundle`): its `config.json` says everything, and is kept as it
    /// was when the container was made.
    Bundle { path: PathBuf },
}

impl RootRequest {
    /// Of a step of a build.
    pub fn is_step(&self) -> bool {
        matches!(self, RootRequest::Layers { .. })
    }
}

/// Which streams of a container a command is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedStreams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl AttachedStreams {
    /// Both outputs, and the input if it is asked for.
    pub fn all(stdin: bool) -> Self {
        AttachedStreams {
            stdin,
            stdout: true,
            stderr: true,
        }
    }

    pub fn has_both_outputs(self) -> bool {
        self.stdout && self.stderr
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    Always,
    #[default]
    Missing,
    Never,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// A network namespace with loopback only.
    #[default]
    None,
    /// The host's network namespace.
    Host,
    /// That of a container: a name or an id, after `create` its whole id.
    Container(String),
    /// That which a file stands for, like `/run/netns/NAME`.
    Path(String),
    /// The default network, with everything left to the engine.
    Bridge,
    /// Networks by name; the default network is called `bridge` among them. Empty once the container
    /// was disconnected from all.
    Networks(Vec<Attachment>),
    /// A network of its own with a way out, that no other container is in.
    Private(PrivateNetwork),
}

/// What lasts of a container from `create` to `rm`: the file `containers/ID/record.json`. Replaced
/// as a whole by what changes it (`rename`, `update`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: ContainerId,
    pub name: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    pub spec: ContainerSpec,
    /// The image ID (digest of its configuration) and its layers' chain ids, lowest first:
    /// both keep the image's content alive. A container with a root file system of the user's
    /// own ([`RootRequest`]) has neither.
    pub image_id: Option<Digest>,
    pub layers: Vec<Digest>,
    /// The container's own ids, if it has any; `None` are the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdMaps>,
    /// The program and its arguments after the image's defaults were applied.
    pub path: String,
    pub args: Vec<String>,
}

/// What the supervisor says of a start, in `containers/ID/state.json`. It describes; whether the
/// container runs is asked of the kernel (the supervisor's lock).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// Process ids in the host's pid namespace; believed only with the start time and boot id.
    pub supervisor: ProcessIdentity,
    pub init: ProcessIdentity,
    /// RFC 3339 with nanoseconds, UTC.
    pub started: String,
    /// In which namespaces the first process is: `exec` enters those that are not the host's.
    #[serde(default)]
    pub namespaces: Placement,
    /// How often the supervisor has started the program anew since a command did.
    #[serde(default)]
    pub restarts: u32,
    /// How the first process was confined (the planner's `ProcessPlan`, as JSON): `exec` does it
    /// alike, whatever has changed since.
    pub process: String,
    /// The container's version 2 cgroup: a path of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<std::path::PathBuf>,
    /// Its version 1 cgroups, which hold its limits where version 2 has no controllers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legacy_cgroups: Vec<std::path::PathBuf>,
    /// No device rules are in force, because nothing in the container can make or meet a device: they
    /// are needed before a program comes in that can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spares_device_rules: bool,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// /proc/sys/kernel/random/boot_id
    pub boot_id: String,
}

/// How a run ended: `containers/ID/exit.json`, replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// 0–255; 128+n for a death by signal n.
    pub code: i32,
    pub oom_killed: bool,
    /// A command asked for the end (`stop`, `kill`).
    #[serde(default)]
    pub by_hand: bool,
    /// The supervisor starts the program anew as long as it lives.
    #[serde(default)]
    pub restarting: bool,
    /// As in the start record, with the restart that is being waited for.
    #[serde(default)]
    pub restarts: u32,
    /// Why the container could not be started, if it could not.
    pub error: Option<String>,
    pub started: Option<String>,
    pub finished: String,
}

/// Docker's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    Created,
    Running,
    /// Running, and standing still: the kernel's freezer says so.
    Paused,
    /// Ended, and waiting for its supervisor to start it again.
    Restarting,
    /// Somebody is removing it.
    Removing,
    Exited,
    Dead,
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContainerState::Created => "created",
            ContainerState::Running => "running",
            ContainerState::Paused => "paused",
            ContainerState::Restarting => "restarting",
            ContainerState::Removing => "removing",
            ContainerState::Exited => "exited",
            ContainerState::Dead => "dead",
        })
    }
}

impl NetworkMode {
    /// One of the modes that have a word of their own; `None` for names of networks, with or without
    /// options. `private` has Podman's names of the programs that made such a network, too.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        match text {
            "none" => Ok(Some(NetworkMode::None)),
            "host" => Ok(Some(NetworkMode::Host)),
            "default" => Ok(Some(NetworkMode::Bridge)),
            _ if is_default_name(text) => Ok(Some(NetworkMode::Bridge)),
            "" => Err(Error::new(
                ErrorKind::InvalidArgument,
                "invalid network \"\": a name is missing",
            )),
            _ => match namespace::shared(text) {
                Some(namespace::Shared::Container(whose)) => {
                    Ok(Some(NetworkMode::Container(whose)))
                }
                Some(namespace::Shared::Path(path)) => Ok(Some(NetworkMode::Path(path))),
                None if text.starts_with("container:") => Err(Error::invalid(
                    "Invalid network mode: invalid container format container:<name|id>",
                )),
                None if text.starts_with("ns:") => Err(Error::invalid(format!(
                    "invalid network mode {text:?}: the path must be absolute"
                ))),
                None => Ok(PrivateNetwork::parse(text)?.map(NetworkMode::Private)),
            },
        }
    }

    /// The networks to be attached to, the default one by its name; none for the other modes.
    pub fn attachments(&self) -> Vec<Attachment> {
        match self {
            NetworkMode::Bridge => vec![Attachment::to(DEFAULT_NETWORK)],
            NetworkMode::Networks(attachments) => attachments.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether the container gets a way to others in a network namespace of its own.
    pub fn is_connected(&self) -> bool {
        matches!(
            self,
            NetworkMode::Bridge | NetworkMode::Networks(_) | NetworkMode::Private(_)
        )
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkMode::None => f.write_str("none"),
            NetworkMode::Host => f.write_str("host"),
            NetworkMode::Container(whose) => write!(f, "container:{whose}"),
            NetworkMode::Path(path) => write!(f, "ns:{path}"),
            NetworkMode::Bridge => f.write_str(DEFAULT_NETWORK),
            // As Docker has it, that of the first.
            NetworkMode::Networks(attachments) => f.write_str(
                attachments
                    .first()
                    .map_or(DEFAULT_NETWORK, |first| &first.network),
            ),
            NetworkMode::Private(_) => f.write_str("private"),
        }
    }
}
