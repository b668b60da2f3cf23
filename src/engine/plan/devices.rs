//! Which devices a container gets, and what its control group lets through.

use std::path::PathBuf;

use super::{
    ContainerFiles, MountStep, RootSource, SandboxPlan, TmpfsAttributes, mounts::check_target,
};
use serde::{Deserialize, Serialize};

use crate::model::{
    ContainerSpec, Error, ErrorKind, Result, capability,
    cdi::HostMount,
    device::{self, DeviceNode, DeviceRule},
    host::HostFacts,
    namespace::Place,
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
    /// Nothing in the container can make or meet a node that the rules would have to decide about:
    /// they are left out ([`close`]).
    #[serde(default)]
    pub spares_rules: bool,
}

/// Closes the root's device nodes where no rules decide about them.
///
/// Putting rules into force is a good part of what a plain container's start costs. Where every
/// mount but our own /dev refuses device nodes, and no right of the container changes that, there is
/// nothing that they could forbid; a node of the image itself opens nothing then. A container with
/// ids of its own that has no rules (`--privileged`) owns the nodes of its image, which are the
/// machine's: they are closed too.
///
/// To be called with the finished plan.
pub fn close(plan: &mut SandboxPlan) {
    let Some(rules) = &plan.devices.rules else {
        plan.root.no_dev = plan.process.ids.is_some();
        return;
    };
    let asked = *rules != device::default_rules() || !plan.devices.nodes.is_empty();
    // Of others' files there are ways to others' nodes: /proc/PID/root.
    let sees_others = plan.namespaces.placement.pid != Place::Own;
    let may_more = plan.process.capabilities & !capability::DEFAULT != 0;
    plan.devices.spares_rules = !asked
        && !sees_others
        && !may_more
        && plan.hooks.is_none()
        && matches!(plan.root.source, RootSource::Overlay { .. })
        && plan.mounts.iter().all(has_no_nodes);
    plan.root.no_dev = plan.devices.spares_rules;
}

/// Whether what is mounted holds no device nodes but those that every container has.
fn has_no_nodes(step: &MountStep) -> bool {
    match step {
        MountStep::Proc { .. }
        | MountStep::Sys { .. }
        | MountStep::Cgroup { .. }
        | MountStep::Dev { .. }
        | MountStep::Shm { .. }
        | MountStep::MessageQueue
        | MountStep::OwnFile { .. }
        | MountStep::Secrets => true,
        MountStep::Tmpfs { attributes, .. } => attributes.no_dev,
        MountStep::HostShm
        | MountStep::JoinedShm
        | MountStep::HostMessageQueue
        | MountStep::DeviceNodes
        | MountStep::DeviceMount { .. }
        | MountStep::Bind { .. }
        | MountStep::Overlay { .. }
        | MountStep::FileSystem { .. }
        | MountStep::Attached { .. } => false,
    }
}

/// The nodes and the rules; `all_rights` says that the engine is root of the machine. A later node of a path takes the place of an earlier one.
pub(super) fn plan(
    spec: &ContainerSpec,
    host: &HostFacts,
    all_rights: bool,
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
    // Ids of its own take no device from a container: what its image holds is owned by them.
    let limited = all_rights && !spec.security.privileged;
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
        spares_rules: false,
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
