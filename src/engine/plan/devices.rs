//! Which devices a container gets, and what its control group lets through.

use std::path::PathBuf;

use super::{ContainerFiles, MountStep, TmpfsAttributes, mounts::check_target};
use serde::{Deserialize, Serialize};

use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    cdi::HostMount,
    device::{self, DeviceNode, DeviceRule},
    host::HostFacts,
};

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
    let limited = host.initial_user_namespace && !spec.security.privileged;
    let rules = limited.then(|| {
        let mut rules = device::default_rules();
        rules.extend(files.found.devices.iter().filter_map(DeviceNode::rule));
        rules.extend_from_slice(&spec.devices.rules);
        rules
    });
    for (present, what) in [
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
