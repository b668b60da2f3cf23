//! What is mounted in a container: Docker's and Podman's defaults, then what the user asked for.

use std::path::Path;

use super::{ContainerFiles, MountStep, TmpfsAttributes, TmpfsParameter};
use crate::model::{
    ContainerSpec, Error, Result,
    container::NetworkMode,
    host::HostFacts,
    mount::{Mount, MountSource},
};

pub const SHM_BYTES: u64 = 64 << 20;

/// The union of what Docker 28.5 and Podman 5.6 hide: kernel memory, keys, timing side channels
/// (GHSA-jq35-85cj-fj4p, GHSA-6fw5-f8r9-fgfm), firmware.
pub const MASKED: [&str; 13] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/devices/virtual/powercap",
    "sys/firmware",
    "sys/fs/selinux",
];

pub const READ_ONLY: [&str; 5] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];

/// The steps in their order: our own file systems first, so that a user's mount may go below
/// /dev, then the user's by depth, as Docker sorts them (a parent before what lies in it).
pub(super) fn steps(
    spec: &ContainerSpec,
    host: &HostFacts,
    files: &ContainerFiles,
) -> Result<Vec<MountStep>> {
    let own_network = spec.network == NetworkMode::None;
    let mut steps = vec![
        MountStep::Proc,
        MountStep::Dev {
            make_nodes: host.initial_user_namespace && files.user_namespace.is_none(),
        },
        MountStep::Shm { bytes: SHM_BYTES },
        MountStep::MessageQueue,
        MountStep::Sys { fresh: own_network },
        MountStep::Cgroup,
    ];
    for name in ["hostname", "hosts", "resolv.conf"] {
        steps.push(MountStep::OwnFile {
            source: files.directory.join(name),
            target: format!("/etc/{name}"),
        });
    }
    let mut wanted: Vec<&Mount> = spec.mounts.iter().collect();
    wanted.sort_by_key(|mount| {
        mount
            .target
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    for mount in wanted {
        steps.push(user_mount(mount)?);
    }
    Ok(steps)
}

fn user_mount(mount: &Mount) -> Result<MountStep> {
    let target = check_target(&mount.target)?;
    Ok(match &mount.source {
        MountSource::Bind {
            source,
            propagation,
            recursive,
            ..
        } => MountStep::Bind {
            source: Path::new(source).to_owned(),
            target,
            read_only: mount.read_only,
            recursive: *recursive,
            propagation: *propagation,
        },
        MountSource::Tmpfs {
            size,
            mode,
            options,
        } => {
            let (parameters, attributes) = tmpfs(*size, *mode, options, mount.read_only)?;
            MountStep::Tmpfs {
                target,
                options: parameters,
                attributes,
            }
        }
    })
}

/// Our /proc and /sys are what the confinement is made of: nothing may be put over them
/// (CVE-2019-16884 and its successors), nor over the root.
fn check_target(target: &str) -> Result<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let clean = format!("/{}", parts.join("/"));
    if !target.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount target {target:?}: it must be an absolute path"
        )));
    }
    if matches!(parts.first(), None | Some(&("proc" | "sys"))) {
        return Err(Error::invalid(format!(
            "invalid mount target {target:?}: nothing can be mounted on or below /proc, /sys, or on /"
        )));
    }
    Ok(clean)
}

/// Splits tmpfs options into file system parameters and mount attributes. Docker's defaults are
/// noexec, nosuid and nodev.
fn tmpfs(
    size: Option<u64>,
    mode: Option<u32>,
    options: &[String],
    read_only: bool,
) -> Result<(Vec<TmpfsParameter>, TmpfsAttributes)> {
    let mut attributes = TmpfsAttributes {
        read_only,
        no_exec: true,
        no_suid: true,
        no_dev: true,
    };
    let mut parameters = vec![(
        "mode".to_owned(),
        Some(format!("{:o}", mode.unwrap_or(0o1777))),
    )];
    if let Some(size) = size {
        parameters.push(("size".to_owned(), Some(size.to_string())));
    }
    for option in options {
        match option.as_str() {
            "ro" => attributes.read_only = true,
            "rw" => attributes.read_only = false,
            "exec" => attributes.no_exec = false,
            "noexec" => attributes.no_exec = true,
            "suid" => attributes.no_suid = false,
            "nosuid" => attributes.no_suid = true,
            "dev" => attributes.no_dev = false,
            "nodev" => attributes.no_dev = true,
            other => match other.split_once('=') {
                Some((key @ ("uid" | "gid" | "nr_inodes" | "nr_blocks" | "huge"), value)) => {
                    parameters.push((key.to_owned(), Some(value.to_owned())));
                }
                _ => return Err(Error::invalid(format!("invalid tmpfs option {other:?}"))),
            },
        }
    }
    Ok((parameters, attributes))
}
