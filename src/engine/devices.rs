//! Devices of the host, looked up when a container is made and again when it starts: numbers
//! change when hardware is plugged in anew.
//!
//! Nothing here is done for a container that asks for no devices.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::plan;
use crate::model::{
    ContainerSpec, Context, Error, ErrorKind, Result,
    cdi::{self, Found, QualifiedName, Specification},
    device::{Access, DeviceMapping, DeviceNode, DeviceSpec, NodeKind},
    gpu::GpuRequest,
};

/// No specification is read beyond this.
const MAX_SPECIFICATION: u64 = 8 << 20;
/// Directories of devices are not followed deeper than this.
const MAX_DEPTH: usize = 16;

/// Looks everything up.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for what does not exist, [`ErrorKind::Unsupported`] for GPUs that
/// nobody knows.
pub(super) fn find(spec: &ContainerSpec, found: &mut plan::Found) -> Result<()> {
    if spec.security.privileged {
        found.devices = of_the_host()?;
    }
    let spec = &spec.devices;
    if spec.is_empty() {
        return Ok(());
    }
    if !spec.qualified.is_empty() || !spec.gpus.is_empty() {
        found.edits = provided(spec)?;
        for node in std::mem::take(&mut found.edits.device_nodes) {
            found.devices.push(provided_node(node)?);
        }
    }
    for mapping in &spec.mappings {
        found.devices.extend(mapped(mapping)?);
    }
    for node in &found.devices {
        plan::check_target(&node.container)?;
    }
    Ok(())
}

/// One node, or all those below a directory.
fn mapped(mapping: &DeviceMapping) -> Result<Vec<DeviceNode>> {
    let failed = |why: &str| {
        Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": {why}",
            mapping.host
        ))
    };
    let path = fs::canonicalize(&mapping.host).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => failed("no such file or directory"),
        _ => failed(&cause.to_string()),
    })?;
    let data = path
        .metadata()
        .map_err(|cause| failed(&cause.to_string()))?;
    let mut nodes = Vec::new();
    if data.is_dir() {
        collect(
            &path,
            Path::new(&mapping.container),
            mapping.access,
            0,
            &mut nodes,
        )
        .map_err(|cause| failed(&cause.to_string()))?;
    } else {
        nodes.extend(node(&path, &data, &mapping.container, mapping.access));
    }
    if nodes.is_empty() {
        return Err(failed("not a device node"));
    }
    Ok(nodes)
}

/// Every device of the machine, for `--privileged`; for an ordinary user, those that she can read.
fn of_the_host() -> Result<Vec<DeviceNode>> {
    let mut nodes = mapped(&"/dev".parse()?)?;
    nodes
        .retain(|node| rustix::fs::access(node.host.as_str(), rustix::fs::Access::READ_OK).is_ok());
    Ok(nodes)
}

fn collect(
    folder: &Path,
    container: &Path,
    access: Access,
    depth: usize,
    nodes: &mut Vec<DeviceNode>,
) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    if folder == Path::new("/dev") {
        let own = own_to_a_machine();
        entries.retain(|entry| !own.iter().any(|name| entry.file_name() == name.as_str()));
    }
    for entry in entries {
        let (path, inside) = (entry.path(), container.join(entry.file_name()));
        let data = entry.metadata()?;
        if data.is_dir() && depth < MAX_DEPTH {
            collect(&path, &inside, access, depth + 1, nodes)?;
        } else if let Some(inside) = inside.to_str() {
            nodes.extend(node(&path, &data, inside, access));
        }
    }
    Ok(())
}

/// Names in /dev that a container has of its own, or that it must not take from the host: the terminals
/// that are shown just now.
fn own_to_a_machine() -> Vec<String> {
    let mut names: Vec<String> = ["console", "fd", "mqueue", "ptmx", "pts", "shm", "tty"]
        .map(str::to_owned)
        .to_vec();
    for terminal in ["console", "tty0"] {
        let path = format!("/sys/class/tty/{terminal}/active");
        let active = fs::read_to_string(path).unwrap_or_default();
        names.extend(active.split_whitespace().map(str::to_owned));
    }
    names
}

/// `None` for what is no device.
fn node(path: &Path, data: &fs::Metadata, container: &str, access: Access) -> Option<DeviceNode> {
    let kind = data.file_type();
    let kind = if kind.is_char_device() {
        NodeKind::Character
    } else if kind.is_block_device() {
        NodeKind::Block
    } else {
        return None;
    };
    Some(DeviceNode {
        host: path.to_str()?.to_owned(),
        container: container.to_owned(),
        kind,
        major: rustix::fs::major(data.rdev()),
        minor: rustix::fs::minor(data.rdev()),
        mode: data.mode() & 0o7777,
        uid: data.uid(),
        gid: data.gid(),
        access,
    })
}

/// The edits of all CDI devices, GPUs among them.
fn provided(spec: &DeviceSpec) -> Result<cdi::Edits> {
    let (found, broken) = specifications(&spec.cdi_folders)?;
    let mut names = spec.qualified.clone();
    for request in &spec.gpus {
        names.extend(gpus(&found, request)?);
    }
    cdi::resolve(&found, &names).map_err(|error| match broken {
        // A file that cannot be understood may be why.
        Some(cause) => error.with_hint(cause.one_line()),
        None => error,
    })
}

/// The CDI devices that stand for a request: the first vendor's that has any.
fn gpus(found: &[Found], request: &GpuRequest) -> Result<Vec<QualifiedName>> {
    const KINDS: [(&str, &str); 2] = [("nvidia", "nvidia.com/gpu"), ("amd", "amd.com/gpu")];
    let of_driver = |driver: &str| match request.driver.as_str() {
        "" | "cdi" => true,
        wanted => wanted == driver,
    };
    let (kind, known) = KINDS
        .iter()
        .filter(|(driver, _)| of_driver(driver))
        .map(|(_, kind)| (*kind, cdi::names_of(found, kind)))
        .find(|(_, names)| !names.is_empty())
        .ok_or_else(|| request.not_served())?;
    let names = match request.count {
        0 => request.devices.clone(),
        -1 => vec!["all".to_owned()],
        count => {
            let numbered = known.iter().filter(|name| name.parse::<u32>().is_ok());
            let first: Vec<String> = numbered
                .take(usize::try_from(count).unwrap_or(usize::MAX))
                .cloned()
                .collect();
            if i64::try_from(first.len()).ok() != Some(count) {
                return Err(request.not_served().with_hint(format!(
                    "{count} GPUs are wanted, and CDI specifications know {}",
                    first.len()
                )));
            }
            first
        }
    };
    names
        .into_iter()
        .map(|name| format!("{kind}={name}").parse())
        .collect()
}

/// Every specification of the folders, and what is wrong with the first that cannot be read: a
/// broken file takes its own devices away and no others.
fn specifications(folders: &[String]) -> Result<(Vec<Found>, Option<Error>)> {
    let defaults = cdi::FOLDERS.map(str::to_owned);
    let folders = if folders.is_empty() {
        &defaults[..]
    } else {
        folders
    };
    let (mut found, mut broken) = (Vec::new(), None);
    for (priority, folder) in folders.iter().enumerate() {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(cause).system(|| format!("cannot read {folder}")),
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let known = file
                .extension()
                .is_some_and(|end| end == "json" || end == "yaml" || end == "yml");
            if !known {
                continue;
            }
            match specification(&file) {
                Ok(specification) => found.push(Found {
                    priority,
                    specification,
                }),
                Err(error) => broken = broken.or(Some(error)),
            }
        }
    }
    Ok((found, broken))
}

fn specification(file: &Path) -> Result<Specification> {
    let name = file.display().to_string();
    let data = file.metadata().system(|| format!("cannot read {name}"))?;
    if !data.is_file() || data.len() > MAX_SPECIFICATION {
        return Err(Error::invalid(format!(
            "the CDI specification {name} is not a small file"
        )));
    }
    let bytes = fs::read(file).system(|| format!("cannot read {name}"))?;
    Specification::parse(&name, &bytes)
}

/// A node of a specification, completed by what the host has.
fn provided_node(wanted: cdi::Node) -> Result<DeviceNode> {
    let host = wanted.host_path.as_deref().unwrap_or(&wanted.path);
    let access = wanted.permissions.unwrap_or(Access::ALL);
    let invalid = |why: &str| {
        Error::invalid(format!(
            "CDI device injection failed: device node {host:?}: {why}"
        ))
    };
    if !wanted.path.starts_with('/') {
        return Err(invalid("its path is not absolute"));
    }
    let on_host = fs::metadata(host)
        .ok()
        .and_then(|data| node(Path::new(host), &data, &wanted.path, access));
    let kind = match (wanted.kind.as_deref(), &on_host) {
        (None, Some(node)) => node.kind,
        (Some("b"), _) => NodeKind::Block,
        (Some("c" | "u"), _) => NodeKind::Character,
        (Some("p"), _) => NodeKind::Fifo,
        (None, None) => return Err(invalid("the host has no such device")),
        (Some(_), _) => return Err(invalid("its type is unknown")),
    };
    let number = |given: Option<u32>, of_host: Option<u32>| match (given, of_host) {
        (Some(given), _) => Ok(given),
        (None, Some(of_host)) => Ok(of_host),
        (None, None) if kind == NodeKind::Fifo => Ok(0),
        (None, None) => Err(invalid("the host has no such device")),
    };
    let on_host = on_host.as_ref();
    Ok(DeviceNode {
        kind,
        major: number(wanted.major, on_host.map(|node| node.major))?,
        minor: number(wanted.minor, on_host.map(|node| node.minor))?,
        mode: wanted
            .file_mode
            .or(on_host.map(|node| node.mode))
            .unwrap_or(0o666)
            & 0o777,
        uid: wanted.uid.or(on_host.map(|node| node.uid)).unwrap_or(0),
        gid: wanted.gid.or(on_host.map(|node| node.gid)).unwrap_or(0),
        host: host.to_owned(),
        container: wanted.path,
        access,
    })
}

/// Whether anything is asked for that only a control group can enforce.
pub(super) fn refuse_unenforceable(spec: &DeviceSpec, is_root: bool) -> Result<()> {
    if is_root {
        return Ok(());
    }
    if !spec.rules.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "device cgroup rules are not supported in rootless mode or in a user namespace",
        )
        .with_hint("a container of yours can use the devices that you can use"));
    }
    // Whether nodes can be made (m) makes no difference: nobody can in a user namespace.
    let limited = |mapping: &&DeviceMapping| !(mapping.access.read && mapping.access.write);
    match spec.mappings.iter().find(limited) {
        None => Ok(()),
        Some(mapping) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "device {} cannot be limited to {:?} without root",
                mapping.host,
                mapping.access.to_string()
            ),
        )
        .with_hint("leave the permissions out: what you may do with the device counts")),
    }
}
