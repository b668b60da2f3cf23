//! What systemd as a container's first process wants to find, as Podman prepares it (systemd's
//! "Container Interface"): volatile folders, a cgroup tree it may write to, its own stop signal.

use super::{MountStep, TmpfsAttributes};
use crate::model::{ContainerSpec, container::ContainerRecord, namespace::SystemdMode};

/// SIGRTMIN+3 in the kernel's numbers: systemd halts (systemd(1), "Signals").
pub const STOP_SIGNAL: i32 = 37;

/// Whether the program is an init that wants it.
pub fn is_wanted(spec: &ContainerSpec, program: &str) -> bool {
    match spec.namespaces.systemd {
        SystemdMode::Never => false,
        SystemdMode::Always => true,
        SystemdMode::Detect => {
            program.rsplit('/').next() == Some("systemd")
                || ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"].contains(&program)
        }
    }
}

/// Variables by which systemd knows that it is in a container, and its machine id.
pub(super) fn variables(record: &ContainerRecord) -> [String; 2] {
    let id = &record.id.as_str()[..32];
    ["container=oci".to_owned(), format!("container_uuid={id}")]
}

/// Volatile folders, but for those that the user mounts something on.
pub(super) fn mounts(spec: &ContainerSpec) -> Vec<MountStep> {
    [
        ("/run", "755"),
        ("/run/lock", "755"),
        ("/tmp", "1777"),
        ("/var/log/journal", "755"),
    ]
    .into_iter()
    .filter(|(target, _)| {
        let same = |other: &str| other.trim_end_matches('/') == *target;
        !spec.mounts.iter().any(|mount| same(&mount.target))
    })
    .map(|(target, mode)| MountStep::Tmpfs {
        target: target.to_owned(),
        options: vec![("mode".to_owned(), Some(mode.to_owned()))],
        attributes: TmpfsAttributes {
            read_only: false,
            no_exec: false,
            no_suid: true,
            no_dev: true,
        },
        copy_up: false,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inits_are_known_by_their_paths() {
        let spec = ContainerSpec::default();
        for program in [
            "systemd",
            "/lib/systemd/systemd",
            "/sbin/init",
            "/usr/sbin/init",
        ] {
            assert!(is_wanted(&spec, program), "{program}");
        }
        for program in ["init", "/bin/sh", "/opt/init", "systemd-run"] {
            assert!(!is_wanted(&spec, program), "{program}");
        }
    }
}
