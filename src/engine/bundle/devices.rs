//! Devices of a configuration: nodes, and what may be done with them.

use oci_spec::runtime as oci;

use super::read::{invalid, unsupported};
use crate::model::{
    Result,
    device::{self, Access, DeviceKind, DeviceNode, DeviceRule, NodeKind},
};

/// `linux.devices`. Listing a node gives no right to it: rules do.
pub(super) fn nodes(linux: &oci::Linux) -> Result<Vec<DeviceNode>> {
    let listed = linux.devices().iter().flatten().enumerate();
    listed.map(|(index, device)| node(index, device)).collect()
}

fn node(index: usize, device: &oci::LinuxDevice) -> Result<DeviceNode> {
    let field = |name: &str| format!("linux.devices[{index}].{name}");
    let path = device.path().to_string_lossy().into_owned();
    if !path.starts_with('/') || path.contains('\0') {
        return Err(invalid(&field("path"), "it must be an absolute path"));
    }
    let kind = match device.typ() {
        oci::LinuxDeviceType::B => NodeKind::Block,
        oci::LinuxDeviceType::C | oci::LinuxDeviceType::U => NodeKind::Character,
        oci::LinuxDeviceType::P => NodeKind::Fifo,
        oci::LinuxDeviceType::A => return Err(invalid(&field("type"), "a node has one type")),
    };
    let number = |name: &str, number: i64| {
        u32::try_from(number).map_err(|_| invalid(&field(name), "it is not a device number"))
    };
    Ok(DeviceNode {
        host: path.clone(),
        container: path,
        kind,
        major: number("major", device.major())?,
        minor: number("minor", device.minor())?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        access: Access::ALL,
    })
}

/// `linux.resources.devices`, to come after those that every container has. A first rule that
/// denies all is what a list begins with anyway.
pub(super) fn rules(resources: &oci::LinuxResources) -> Result<Vec<DeviceRule>> {
    let listed = resources.devices().iter().flatten().enumerate();
    let rules: Vec<(usize, &oci::LinuxDeviceCgroup)> = listed
        .skip_while(|(_, rule)| {
            !rule.allow()
                && matches!(rule.typ(), None | Some(oci::LinuxDeviceType::A))
                && rule.major().is_none_or(|number| number < 0)
                && rule.minor().is_none_or(|number| number < 0)
        })
        .collect();
    let defaults = device::default_rules();
    let mut read = Vec::new();
    for (index, described) in rules {
        let rule = rule(index, described)?;
        // Every container has them, and they come first.
        if !(read.is_empty() && defaults.contains(&rule)) {
            read.push(rule);
        }
    }
    Ok(read)
}

fn rule(index: usize, rule: &oci::LinuxDeviceCgroup) -> Result<DeviceRule> {
    let field = |name: &str| format!("linux.resources.devices[{index}].{name}");
    let kind = match rule.typ() {
        None | Some(oci::LinuxDeviceType::A) => DeviceKind::All,
        Some(oci::LinuxDeviceType::B) => DeviceKind::Block,
        Some(oci::LinuxDeviceType::C | oci::LinuxDeviceType::U) => DeviceKind::Character,
        Some(oci::LinuxDeviceType::P) => {
            return Err(unsupported(&field("type"), "pipes are not controlled"));
        }
    };
    let number = |name: &str, number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| invalid(&field(name), "it is not a device number")),
    };
    let access = match rule.access().as_deref() {
        None | Some("") => Access::ALL,
        Some(letters) => letters
            .parse()
            .map_err(|_| invalid(&field("access"), "it is not some of r, w and m"))?,
    };
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number("major", rule.major())?,
        minor: number("minor", rule.minor())?,
        access,
    })
}

/// The nodes of a plan.
pub(super) fn described_nodes(
    nodes: &[DeviceNode],
) -> std::result::Result<Vec<oci::LinuxDevice>, oci_spec::OciSpecError> {
    let described = nodes.iter().map(|node| {
        oci::LinuxDeviceBuilder::default()
            .path(node.container.clone())
            .typ(match node.kind {
                NodeKind::Block => oci::LinuxDeviceType::B,
                NodeKind::Character => oci::LinuxDeviceType::C,
                NodeKind::Fifo => oci::LinuxDeviceType::P,
            })
            .major(i64::from(node.major))
            .minor(i64::from(node.minor))
            .file_mode(node.mode)
            .uid(node.uid)
            .gid(node.gid)
            .build()
    });
    described.collect()
}

/// The rules of a plan, after one that denies all.
pub(super) fn described_rules(
    rules: &[DeviceRule],
) -> std::result::Result<Vec<oci::LinuxDeviceCgroup>, oci_spec::OciSpecError> {
    let nothing = oci::LinuxDeviceCgroupBuilder::default()
        .allow(false)
        .access("rwm")
        .build()?;
    let mut all = vec![nothing];
    for rule in rules {
        let mut described = oci::LinuxDeviceCgroupBuilder::default()
            .allow(rule.allow)
            .typ(match rule.kind {
                DeviceKind::All => oci::LinuxDeviceType::A,
                DeviceKind::Block => oci::LinuxDeviceType::B,
                DeviceKind::Character => oci::LinuxDeviceType::C,
            })
            .access(rule.access.to_string())
            .build()?;
        described.set_major(rule.major.map(i64::from));
        described.set_minor(rule.minor.map(i64::from));
        all.push(described);
    }
    Ok(all)
}
