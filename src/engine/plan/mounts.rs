//! What is mounted in a container: Docker's and Podman's defaults, then what the user asked for.

use std::path::Path;

use super::{ContainerFiles, MountStep, TmpfsAttributes, TmpfsParameter, namespaces, systemd};
use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    host::HostFacts,
    mount::{Mount, MountSource},
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
        _ => Some(MountStep::Shm { bytes: SHM_BYTES }),
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
            host_devices: spec.security.privileged,
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
    let folder = context.network_files.unwrap_or(&files.directory);
    for (name, wanted) in [
        ("hostname", !spec.namespaces.no_hostname),
        ("hosts", !spec.namespaces.no_hosts),
        ("resolv.conf", true),
    ] {
        if wanted {
            steps.push(MountStep::OwnFile {
                source: folder.join(name),
                target: format!("/etc/{name}"),
            });
        }
    }
    if context.systemd {
        steps.extend(systemd::mounts(spec));
    }
    steps.extend(super::devices::steps(files)?);
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
    steps.extend(super::accounts::steps(files));
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
pub fn check_target(target: &str) -> Result<String> {
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
