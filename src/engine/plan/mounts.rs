//! What is mounted in a container: Docker's and Podman's defaults, then what the user asked for.

use std::path::Path;

use super::{ContainerFiles, MountStep, namespaces, systemd, user_mounts::user_mount};
use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    host::HostFacts,
    mount::{Mount, absolute_target},
    namespace::{IpcMode, Place, Placement},
    security::SecuritySpec,
};

pub const SHM_BYTES: u64 = 64 << 20;

/// What was decided before about the container as a whole.
pub(super) struct Context<'a> {
    pub placement: Placement,
    /// Where hosts, hostname and resolv.conf are, if not in the container's folder.
    pub network_files: Option<&'a Path>,
    pub systemd: bool,
}

fn writable_cgroup(security: &SecuritySpec) -> bool {
    security.writable_cgroups.unwrap_or(security.privileged)
}

/// /dev/shm goes with the IPC namespace; that of a path has none that could be found.
fn shared_memory(spec: &ContainerSpec, placement: &Placement) -> Option<MountStep> {
    match (&spec.namespaces.ipc, placement.ipc) {
        (IpcMode::None, _) => None,
        (IpcMode::Container(_), _) => Some(MountStep::JoinedShm),
        (_, Place::Host) => Some(MountStep::HostShm),
        _ => Some(MountStep::Shm {
            bytes: spec.mount_settings.shm_size.unwrap_or(SHM_BYTES),
        }),
    }
}

/// The steps in their order: our own file systems first, so that a user's mount may go below
/// /dev, then the user's by depth, as Docker sorts them (a parent before what lies in it).
pub(super) fn steps(
    spec: &ContainerSpec,
    host: &HostFacts,
    files: &ContainerFiles,
    context: &Context<'_>,
) -> Result<Vec<MountStep>> {
    let Context { placement, .. } = context;
    let fresh_proc = namespaces::fresh_proc(placement, host);
    if !fresh_proc && !spec.security.proc_options.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "--security-opt proc-opts cannot be had with --pid host by an ordinary user",
        )
        .with_hint("the host's /proc is shown then, with its own options"));
    }
    let mut steps = vec![
        MountStep::Proc { fresh: fresh_proc },
        MountStep::Dev {
            make_nodes: host.initial_user_namespace,
        },
    ];
    steps.extend(shared_memory(spec, placement));
    steps.push(match placement.ipc {
        Place::Host => MountStep::HostMessageQueue,
        Place::Own | Place::Joined => MountStep::MessageQueue,
    });
    steps.push(MountStep::Sys {
        fresh: placement.network != Place::Host,
    });
    steps.push(MountStep::Cgroup {
        of_host: placement.cgroup == Place::Host,
        writable: (context.systemd || writable_cgroup(&spec.security))
            && placement.cgroup == Place::Own,
    });
    if context.systemd {
        steps.extend(systemd::mounts(spec));
    }
    steps.extend(super::devices::steps(files)?);
    steps.extend(files_of(spec, files, context.network_files)?);
    steps.extend(super::accounts::steps(files));
    Ok(steps)
}

/// What lies in the container's tree and outlives its processes: the user's mounts, and our files.
pub(super) fn files_of(
    spec: &ContainerSpec,
    files: &ContainerFiles,
    network_files: Option<&Path>,
) -> Result<Vec<MountStep>> {
    let mut steps = Vec::new();
    let mut wanted: Vec<(usize, &Mount)> = spec.mounts.iter().enumerate().collect();
    wanted.sort_by_key(|(_, mount)| depth(mount));
    // A volume on /etc does not hide them, one on /etc/hosts does.
    let shallow = wanted.partition_point(|(_, mount)| depth(mount) < 2);
    for (index, mount) in &wanted[..shallow] {
        steps.push(user_mount(mount, *index, files)?);
    }
    steps.extend(own_files(spec, files, network_files));
    for (index, mount) in &wanted[shallow..] {
        steps.push(user_mount(mount, *index, files)?);
    }
    Ok(steps)
}

/// What we write into /etc.
fn own_files(
    spec: &ContainerSpec,
    files: &ContainerFiles,
    network_files: Option<&Path>,
) -> impl Iterator<Item = MountStep> {
    let folder = network_files.unwrap_or(&files.directory).to_owned();
    [
        ("hostname", !spec.namespaces.no_hostname),
        ("hosts", !spec.namespaces.no_hosts),
        ("resolv.conf", !spec.dns.unmanaged),
    ]
    .into_iter()
    .filter(|(_, wanted)| *wanted)
    .map(move |(name, _)| MountStep::OwnFile {
        source: folder.join(name),
        target: format!("/etc/{name}"),
    })
}

fn depth(mount: &Mount) -> usize {
    let parts = mount.target.split('/').filter(|part| !part.is_empty());
    parts.count()
}

/// Files of procfs that may be replaced by others, which tell a container about itself (lxcfs):
/// nothing of the confinement is made of them. Others allow /proc/net/dev, too, but that is another
/// file for every process.
const REPLACEABLE: [&str; 10] = [
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/slabinfo",
    "proc/stat",
    "proc/swaps",
    "proc/sys/crypto/fips_enabled",
    "proc/sys/kernel/ns_last_pid",
    "proc/uptime",
];
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";

/// A place in procfs or sysfs on which something may be mounted: the file system's name, and the
/// path in it.
pub fn kernel_place(target: &str) -> Option<(&str, &str)> {
    let path = target.strip_prefix('/')?;
    (REPLACEABLE.contains(&path) || target == CGROUPS)
        .then(|| path.split_once('/'))
        .flatten()
}

/// Our /proc and /sys are what the confinement is made of: nothing may be put over them
/// (CVE-2019-16884 and its successors), nor over the root.
pub fn check_target(target: &str) -> Result<String> {
    let clean = absolute_target(target)
        .map_err(|why| Error::invalid(format!("invalid mount target {target:?}: {why}")))?;
    if matches!(clean.split('/').nth(1), Some("proc" | "sys")) {
        return Err(Error::invalid(format!(
            "invalid mount target {target:?}: nothing can be mounted on or below /proc, /sys, or on /"
        )));
    }
    Ok(clean)
}
