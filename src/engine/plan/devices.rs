//! Which devices a container gets, and what its control group lets through.

use std::path::PathBuf;

use super::{ContainerFiles, DevicePlan, MountStep, TmpfsAttributes, mounts::check_target};
use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    cdi::HostMount,
    device::{self, DeviceNode},
    host::HostFacts,
};

/// The nodes and the rules. A later node of a path takes the place of an earlier one.
pub(super) fn plan(
    spec: &ContainerSpec,
    host: &HostFacts,
    files: &ContainerFiles,
) -> Result<DevicePlan> {
    let mut nodes: Vec<DeviceNode> = Vec::new();
    for node in &files.found.devices {
        let container = check_target(&node.container)?;
        nodes.retain(|other| other.container != container);
        nodes.push(DeviceNode {
            container,
            ..node.clone()
        });
    }
    let rules = host.initial_user_namespace.then(|| {
        let mut rules = device::default_rules();
        rules.extend(files.found.devices.iter().filter_map(DeviceNode::rule));
        rules.extend_from_slice(&spec.devices.rules);
        rules
    });
    for (present, what) in [
        (
            !files.found.edits.additional_gids.is_empty(),
            "additional groups",
        ),
        (files.found.edits.intel_rdt.is_some(), "Intel RDT classes"),
        (!files.found.edits.net_devices.is_empty(), "network devices"),
    ] {
        if present {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("CDI device injection failed: {what} are not supported"),
            ));
        }
    }
    Ok(DevicePlan {
        nodes,
        make_nodes: host.initial_user_namespace,
        rules_must_hold: files
            .found
            .devices
            .iter()
            .any(|node| !(node.access.read && node.access.write)),
        rules,
    })
}

/// What has to be mounted for devices: nodes, then the files of CDI specifications. Before the
/// user's own mounts: no node is made in a folder of the host.
pub(super) fn steps(files: &ContainerFiles) -> Result<Vec<MountStep>> {
    let mut steps = Vec::new();
    if !files.found.devices.is_empty() {
        steps.push(MountStep::DeviceNodes);
    }
    for mount in &files.found.edits.mounts {
        steps.push(host_mount(mount)?);
    }
    Ok(steps)
}

fn host_mount(mount: &HostMount) -> Result<MountStep> {
    let refused = |why: String| {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "CDI device injection failed: mount {:?}: {why}",
                mount.container_path
            ),
        )
    };
    if !matches!(mount.kind.as_str(), "" | "bind" | "none") {
        return Err(refused(format!("type {:?} is not supported", mount.kind)));
    }
    let mut attributes = TmpfsAttributes {
        read_only: false,
        no_exec: false,
        no_suid: false,
        no_dev: false,
    };
    let mut recursive = false;
    for option in &mount.options {
        match option.as_str() {
            "ro" => attributes.read_only = true,
            "rw" => attributes.read_only = false,
            "noexec" => attributes.no_exec = true,
            "nosuid" => attributes.no_suid = true,
            "nodev" => attributes.no_dev = true,
            "exec" | "suid" | "dev" | "bind" | "private" | "rprivate" | "relatime" => {}
            "rbind" => recursive = true,
            other => return Err(refused(format!("option {other:?} is not supported"))),
        }
    }
    Ok(MountStep::DeviceMount {
        source: PathBuf::from(&mount.host_path),
        target: check_target(&mount.container_path)?,
        recursive,
        attributes,
    })
}
