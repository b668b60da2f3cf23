//! What the skins ask of the engine and what they get back: plain data, one group a verb.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Progress, RegistryOptions};
use crate::model::{
    ContainerId, Digest, Platform, Reference, Result, TrustFiles,
    container::{AttachedStreams, ContainerState, NetworkMode},
    health::HealthStatus,
    manifest::Format,
    mount::Mount,
    resources::Resources,
    restart::RestartPolicy,
};

/// How an image that is not in the store is fetched for `run` and `create`. Whether it is at all
/// is the spec's `pull`.
pub struct PullSettings<'a> {
    pub registry: RegistryOptions,
    pub progress: &'a dyn Progress,
}

#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// A file or an OCI layout's folder; `None` is standard input.
    pub input: Option<PathBuf>,
    /// Those to choose from indexes.
    pub platforms: Vec<Platform>,
    pub trust: TrustFiles,
}

#[derive(Clone, Debug)]
pub struct ImportRequest {
    pub source: ImportSource,
    pub reference: Option<Reference>,
    /// Dockerfile instructions (`CMD …`, `ENV …`) for the configuration.
    pub changes: Vec<String>,
    pub message: Option<String>,
    pub platform: Option<Platform>,
    /// For a URL.
    pub registry: RegistryOptions,
    pub trust: TrustFiles,
}

/// Where the tar of an import, possibly compressed, comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportSource {
    Input,
    File(PathBuf),
    /// http or https.
    Url(String),
}

/// `container clone`
#[derive(Clone, Debug, Default)]
pub struct CloneRequest {
    pub container: String,
    /// Default: the original's, with `-clone` behind it.
    pub name: Option<String>,
    /// Default: the original's.
    pub image: Option<String>,
    /// Laid over the original's limits.
    pub changes: Resources,
    /// Remove the original; with `force` even if it runs.
    pub destroy: bool,
    pub force: bool,
    pub run: bool,
}

/// What `commit` makes of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    pub reference: Option<Reference>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// Dockerfile instructions for the configuration.
    pub changes: Vec<String>,
    /// A running container stands still meanwhile.
    pub pause: bool,
    pub format: Format,
    /// One layer with everything, instead of one more.
    pub squash: bool,
    /// All volumes of the container are declared by the image.
    pub include_volumes: bool,
}

/// One thing that removing an image did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    Deleted(Digest),
}

/// How the terminal is used by whoever watches a container.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// The bytes that detach; empty is never.
    pub detach_keys: Vec<u8>,
    /// Signals to this process go to the container.
    pub sig_proxy: bool,
    /// Standard input is connected if the container's is open, too; what comes on an output that is
    /// not connected is dropped.
    pub streams: AttachedStreams,
}

pub struct RunOptions<'a> {
    pub detach: bool,
    pub attach: AttachOptions,
    pub pull: PullSettings<'a>,
    /// Called once the container exists and before it starts (`--cidfile`). An error undoes it.
    pub created: &'a dyn Fn(&ContainerId) -> Result<()>,
}

/// How the command that watched a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// It still runs: started with `-d`, or left by the detach keys.
    Detached(ContainerId),
    /// Docker's exit code: 0–255, 128+n for a death by signal n.
    Exited(i32),
    /// The command was told to go (by a signal, or by the end of its output's reader) and ends with
    /// this code; the container goes on.
    Left(u8),
}

#[derive(Clone, Debug)]
pub struct StartOptions {
    /// `None` starts it and returns.
    pub attach: Option<AttachOptions>,
}

/// One more program in a running container.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    pub command: Vec<String>,
    /// `NAME=VALUE`, on top of the container's.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    /// All of the caller's capabilities, and no filter.
    pub privileged: bool,
    pub tty: bool,
    pub interactive: bool,
    pub detach: bool,
    /// The bytes that detach; empty is never.
    pub detach_keys: Vec<u8>,
    /// The name by which messages call this program.
    pub caller: String,
}

/// One line of `ps`.
#[derive(Clone, Debug)]
pub struct ContainerSummary {
    pub id: ContainerId,
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// `None` for a container without an image (`--rootfs`, `--bundle`).
    pub image_id: Option<Digest>,
    /// Layers' chain ids, lowest first: `--filter ancestor` compares them.
    pub layers: Vec<Digest>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// RFC 3339, UTC.
    pub created: String,
    pub state: ContainerState,
    /// `None` for a container without a health check.
    pub health: Option<HealthStatus>,
    pub exit_code: Option<i32>,
    /// RFC 3339, UTC.
    pub started: Option<String>,
    pub finished: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub network: NetworkMode,
    pub platform: Platform,
    /// Bytes of the writable layer and of the image; measured only when asked for.
    pub size: Option<ContainerSize>,
    /// `80/tcp`, as the image and the user say.
    pub exposed: Vec<String>,
    /// Those that can be reached from outside, now.
    pub ports: Vec<PublishedPort>,
    pub restart: RestartPolicy,
    /// Of the first process, as the host counts; 0 if there is none.
    pub pid: i32,
}

/// A port of a container that stands for one of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// In the container.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    pub host_ip: std::net::IpAddr,
    pub host_port: u16,
}

/// What a health check that was asked for has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthVerdict {
    pub passed: bool,
    /// How the container is with it.
    pub status: HealthStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerSize {
    pub writable: u64,
    pub image: u64,
}

/// What a container has used and may use: one reading. Counters go up from the container's start,
/// so a rate is the difference of two readings by the difference of their times.
#[derive(Clone, Debug)]
pub struct ContainerStats {
    pub id: ContainerId,
    pub name: String,
    /// When it was read: RFC 3339 with nanoseconds, UTC, and on a clock that never jumps.
    pub read: String,
    pub at: std::time::Duration,
    /// `None` if the container does not run.
    pub usage: Option<Usage>,
}

/// Figures of a running container. What the kernel does not count for it is 0, or `None` for a
/// limit that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: CpuUsage,
    pub memory: MemoryUsage,
    pub io: IoUsage,
    /// Tasks.
    pub pids: u64,
    pub pids_limit: Option<u64>,
}

/// Nanoseconds of processor time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    pub total: u64,
    pub user: u64,
    pub system: u64,
    /// Of each processor; empty where the kernel does not tell (cgroup version 2).
    pub per_processor: Vec<u64>,
    /// Of the whole machine, all processors together, idle time included.
    pub machine: u64,
    pub online_processors: u32,
    /// Scheduling periods, those in which the quota was used up, and the time waited then.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: u64,
}

/// Bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Everything that is charged to the container.
    pub charged: u64,
    /// As Docker shows it: without file pages that nobody has used for a while.
    pub used: u64,
    /// Its own limit or the machine's memory, whichever is less.
    pub limit: u64,
    pub swap: u64,
    /// The kernel's own words, memory.stat.
    pub details: BTreeMap<String, u64>,
}

/// Block devices together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoUsage {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// Which part of a log is wanted, and whether to wait for more.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub follow: bool,
    /// Nanoseconds after the Unix epoch.
    pub since: Option<i128>,
    pub until: Option<i128>,
    /// The last so many lines.
    pub tail: Option<u64>,
    pub details: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// One record of a log: usually a line with its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord<'a> {
    pub stream: LogStream,
    /// RFC 3339 with nanoseconds, UTC.
    pub time: &'a str,
    /// `NAME=VALUE` of each attribute, commas between them; only if they are asked for.
    pub details: &'a str,
    pub text: &'a [u8],
}

/// Takes what `logs` reads.
pub trait LogSink {
    /// Which containers there are, before anything is read.
    fn begin(&mut self, containers: &[(ContainerId, String)]);

    /// A record of the container with this number among those that were named.
    ///
    /// # Errors
    /// They end the reading.
    fn record(&mut self, container: usize, record: &LogRecord<'_>) -> Result<()>;

    /// There is no more for now.
    fn pause(&mut self) -> Result<()>;
}

/// One finding of `doctor`.
#[derive(Clone, Debug)]
pub struct Check {
    pub name: String,
    pub health: Health,
    /// What was found, in one line.
    pub detail: String,
    /// The command that would improve it.
    pub fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Fine,
    /// Works, but less well than it could.
    Limited,
    Broken,
    /// Could not be looked at.
    Unknown,
}
