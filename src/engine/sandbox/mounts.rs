//! The container's mounts: its root, the kernel's file systems, the user's, and the masks.
//!
//! Detached first, attached by descriptor. A directory that we need is made, or replaced if the
//! image has a link there: it is never followed (CVE-2026-41579: nodes made on the host through an
//! image whose /dev is a link).

use std::{
    ffi::{CStr, CString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{Cgroups, accounts, c_string, configured, devices, user_mounts};
use crate::{
    engine::plan::{
        FileSystem, MountStep, RootPlan, RootSource, SandboxPlan, Sysctl, TmpfsAttributes,
    },
    model::{Context, Error, ErrorKind, Result, mount::Propagation as Wanted},
    sys::{
        in_root,
        mount::{self, Attributes, Parameter, Propagation},
    },
};

pub(super) const NO_SUID_DEV_EXEC: Attributes = Attributes::NO_SUID
    .with(Attributes::NO_DEV)
    .with(Attributes::NO_EXEC);

/// What later steps need of the finished tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Our devpts, from which a terminal is opened, and our /dev, for its console.
    pub pseudo_terminals: Option<OwnedFd>,
    pub dev: Option<OwnedFd>,
    /// Sources that are to be given to the program's user.
    pub to_give: Vec<OwnedFd>,
}

/// Mounts that were made before the straight line begins.
#[derive(Debug)]
pub(super) struct Sources {
    /// By the supervisor, where the container's root could not.
    pub root: Option<OwnedFd>,
    /// One place a step of the plan.
    pub steps: Vec<Option<OwnedFd>>,
}

impl Sources {
    /// Those that this process has to make itself.
    pub(super) fn of(steps: &[MountStep]) -> Result<Sources> {
        Ok(Sources {
            root: None,
            steps: user_mounts::clone_connected(steps)?,
        })
    }
}

/// Mounts the root file system where the plan says and returns its root directory. One that was
/// `made` by the supervisor goes on its current directory, for the container's root can search
/// no way to the other.
pub(super) fn attach_root(
    plan: &SandboxPlan,
    cgroups: Cgroups<'_>,
    made: Option<OwnedFd>,
) -> Result<OwnedFd> {
    if let Some(root) = made {
        mount::attach_here(&root).system(|| "cannot mount the root file system".to_owned())?;
        return Ok(root);
    }
    let root = mount_root(&plan.root, root_attributes(plan, cgroups))?;
    let place = path(&plan.root.mount_point)?;
    mount::attach_at(&root, rustix::fs::CWD, &place).system(|| {
        format!(
            "cannot mount the root file system on {}",
            plan.root.mount_point.display()
        )
    })?;
    Ok(root)
}

/// Nodes of the image open nothing where no rules say which may. Those that the container was given
/// may lie in the root itself.
pub(super) fn root_attributes(plan: &SandboxPlan, cgroups: Cgroups<'_>) -> Attributes {
    let mut given = plan.devices.nodes.iter();
    let unguarded =
        !cgroups.devices_guarded && given.all(|node| node.container.starts_with("/dev/"));
    if plan.root.no_dev || unguarded {
        Attributes::NO_DEV
    } else {
        Attributes::NONE
    }
}

/// The root file system, detached.
pub(super) fn mount_root(plan: &RootPlan, attributes: Attributes) -> Result<OwnedFd> {
    match &plan.source {
        RootSource::Overlay {
            lower,
            data,
            upper,
            work,
            volatile,
            user_xattr,
        } => {
            let paths = |layers: &[std::path::PathBuf]| -> Result<Vec<CString>> {
                layers.iter().map(|layer| path(layer)).collect()
            };
            let (layers, data) = (paths(lower)?, paths(data)?);
            let (upper, work) = (path(upper)?, path(work)?);
            if layers.is_empty() {
                // overlayfs wants something below; nothing can be hidden or copied up.
                return directory(&upper, attributes);
            }
            overlay(
                (&layers, &data),
                Some((&upper, &work)),
                (*volatile, *user_xattr),
                attributes,
            )
        }
        RootSource::Directory(tree) => directory(&path(tree)?, attributes),
    }
}

fn directory(tree: &CStr, attributes: Attributes) -> Result<OwnedFd> {
    let what = || format!("cannot use {} as root file system", tree.to_string_lossy());
    let root = mount::clone_mount(rustix::fs::CWD, tree, true).system(what)?;
    if attributes != Attributes::NONE {
        mount::set_attributes(&root, attributes, None, true).system(what)?;
    }
    Ok(root)
}

pub(super) fn overlay(
    (lower, data): (&[CString], &[CString]),
    changes: Option<(&CStr, &CStr)>,
    (volatile, user_xattr): (bool, bool),
    attributes: Attributes,
) -> Result<OwnedFd> {
    let mut parameters: Vec<Parameter<'_>> = lower
        .iter()
        .map(|layer| Parameter::String(c"lowerdir+", layer))
        .collect();
    // Unknown before Linux 6.8, as is what they are for to ordinary users before 6.16.
    parameters.extend(
        data.iter()
            .map(|layer| Parameter::String(c"datadir+", layer)),
    );
    if let Some((upper, work)) = changes {
        parameters.push(Parameter::String(c"upperdir", upper));
        parameters.push(Parameter::String(c"workdir", work));
    }
    if volatile {
        parameters.push(Parameter::Flag(c"volatile"));
    }
    if user_xattr {
        parameters.push(Parameter::Flag(c"userxattr"));
    }
    let mounted = mount::new_mount(c"overlay", &parameters, attributes).or_else(|error| {
        if mount::takes_layers_one_by_one() {
            return Err(error);
        }
        // Before Linux 6.5 layers could only be given as one list. It has to fit into 255 bytes,
        // three layers; images with more are copied there.
        let list = lowerdir_list(lower);
        let mut parameters = parameters.split_off(lower.len());
        parameters.push(Parameter::String(c"lowerdir", &list));
        mount::new_mount(c"overlay", &parameters, attributes)
    });
    mounted.map_err(|cause| {
        Error::new(
            ErrorKind::OverlayRefused,
            "cannot mount the layers with overlayfs",
        )
        .with_source(cause)
        .with_hint("--storage-driver copy needs no overlayfs")
    })
}

/// Layers as one text: the separator and the escape character are ':' and '\\'.
fn lowerdir_list(lower: &[CString]) -> CString {
    let mut list = Vec::new();
    for layer in lower {
        if !list.is_empty() {
            list.push(b':');
        }
        for &byte in layer.as_bytes() {
            if matches!(byte, b':' | b'\\') {
                list.push(b'\\');
            }
            list.push(byte);
        }
    }
    CString::new(list).unwrap_or_default()
}

/// Whether a step mounts something of the host's that has to be opened by a path.
pub(super) fn has_source(step: &MountStep) -> bool {
    matches!(
        step,
        MountStep::Bind { .. }
            | MountStep::OwnFile { .. }
            | MountStep::DeviceMount { .. }
            | MountStep::Attached {
                file_system: FileSystem::Bind { .. },
                ..
            }
    )
}

/// Copies of the sources of all steps that [have one](has_source), in their order: by the
/// supervisor, for a container whose root may not look for them. What the host mounts there later
/// can appear in the container; nothing of the container's reaches the host.
pub(super) fn clone_all(steps: &[MountStep]) -> Result<Vec<OwnedFd>> {
    let clone = |source: &Path, recursive| {
        mount::clone_mount(rustix::fs::CWD, &path(source)?, recursive)
            .system(|| format!("cannot use bind source {}", source.display()))
    };
    let mut copies = Vec::new();
    for step in steps {
        let copy = match step {
            MountStep::Bind {
                source, options, ..
            } => user_mounts::clone_source(source, options)?,
            MountStep::Attached {
                file_system: FileSystem::Bind { source, recursive },
                ..
            } => clone(source, *recursive)?,
            MountStep::OwnFile { source, .. } => clone(source, false)?,
            MountStep::DeviceMount {
                source, recursive, ..
            } => clone(source, *recursive)?,
            _ => continue,
        };
        mount::set_attributes(&copy, Attributes::NONE, Some(Propagation::Slave), true)
            .system(|| "cannot prepare a bind source".to_owned())?;
        copies.push(copy);
    }
    Ok(copies)
}

/// Attaches everything that the plan names, in its order, then hides what must be hidden.
pub(super) fn build(
    plan: &SandboxPlan,
    connected: Vec<Option<OwnedFd>>,
    mut shared_memory: Option<OwnedFd>,
    own_cgroup: bool,
    root: BorrowedFd<'_>,
    null: BorrowedFd<'_>,
) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut proc = None;
    let mut sys = None;
    for (step, copy) in plan.mounts.iter().zip(connected) {
        match step {
            MountStep::Proc { fresh: true } => proc = Some(fresh_procfs(root, &plan.proc_options)?),
            MountStep::Proc { fresh: false } => proc = Some(host_procfs(root)?),
            MountStep::Sys { fresh: true } => sys = Some(fresh_sysfs(root, plan.sys_writable)?),
            MountStep::Sys { fresh: false } => sys = Some(host_sysfs(root, plan.sys_writable)?),
            MountStep::Cgroup { of_host: true, .. } => host_cgroup(sys.as_ref())?,
            MountStep::Cgroup { writable, .. } => {
                cgroup(sys.as_ref(), *writable && own_cgroup)?;
            }
            MountStep::Dev { make_nodes } => devices::build(root, *make_nodes, &mut tree)?,
            MountStep::Shm { bytes } => shm(dev_of(&tree)?, *bytes)?,
            MountStep::HostShm => host_in_dev(dev_of(&tree)?, c"shm", c"/dev/shm")?,
            MountStep::JoinedShm => joined_shm(dev_of(&tree)?, shared_memory.take())?,
            MountStep::HostMessageQueue => {
                host_in_dev(dev_of(&tree)?, c"mqueue", c"/dev/mqueue")?;
            }
            MountStep::MessageQueue => message_queue(dev_of(&tree)?)?,
            MountStep::Secrets | MountStep::DeviceNodes | MountStep::DeviceMount { .. } => {
                granted(root, plan, step, copy)?;
            }
            MountStep::OwnFile { source, target } => {
                own_file(root, copy, source, target, plan.root.read_only)?;
            }
            MountStep::Bind { .. }
            | MountStep::Overlay { .. }
            | MountStep::FileSystem { .. }
            | MountStep::Tmpfs { .. } => {
                let kernel = (proc.as_ref(), sys.as_ref());
                tree.to_give
                    .extend(user_mounts::carry_out(step, copy, root, kernel)?);
            }
            MountStep::Attached {
                file_system,
                target,
                change,
                propagation,
            } => configured::attach(root, file_system, copy, target, change, *propagation)?,
        }
    }
    if let Some(proc) = &proc {
        write_sysctls(proc.as_fd(), &plan.sysctls)?;
    }
    restrict(plan, (proc.as_ref(), sys.as_ref()), root, null)?;
    proc.into_iter().chain(sys).for_each(mount::leave_open);
    Ok(tree)
}

/// Makes paths read-only and hides others, those of procfs and sysfs by our own descriptors of them.
fn restrict(
    plan: &SandboxPlan,
    (proc, sys): (Option<&OwnedFd>, Option<&OwnedFd>),
    root: BorrowedFd<'_>,
    null: BorrowedFd<'_>,
) -> Result<()> {
    let of = |first: &str| match first {
        "proc" => proc,
        "sys" => sys,
        _ => None,
    };
    for name in &plan.read_only_paths {
        if let Some((first, below)) = name.split_once('/')
            && let Some(file_system) = of(first)
        {
            make_read_only(file_system.as_fd(), below)?;
        }
    }
    let mut mask = Mask {
        null,
        spare_null: None,
        empty: None,
    };
    for name in &plan.masked_paths {
        match name.split_once('/') {
            Some((first @ ("proc" | "sys"), below)) => {
                if let Some(file_system) = of(first) {
                    mask.hide(file_system.as_fd(), below)?;
                }
            }
            _ => mask.hide_in_tree(root, name)?,
        }
    }
    mask.spare_null
        .into_iter()
        .chain(mask.empty)
        .for_each(mount::leave_open);
    Ok(())
}

fn dev_of(tree: &Tree) -> Result<&OwnedFd> {
    tree.dev
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::System, "the plan mounts below /dev before /dev"))
}

/// Attaches a file system of ours at the root's top level. A link there is not followed: it is no
/// directory, so the kernel refuses, and the place is made ours.
pub(super) fn attach_own(mounted: &OwnedFd, root: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let what = || format!("cannot mount /{}", name.to_string_lossy());
    match mount::attach_at(mounted, root, name) {
        Ok(()) => Ok(()),
        Err(_) => mount::attach(mounted, own_directory(root, name)?).system(what),
    }
}

/// A directory of the root's top level that belongs to us: made if it is missing, and replaced if
/// the image has something else there.
fn own_directory(root: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let what = || format!("cannot make /{}", name.to_string_lossy());
    let open = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(root, name, flags, Mode::empty())
    };
    match open() {
        Ok(directory) => return Ok(directory),
        Err(rustix::io::Errno::NOENT) => {}
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            rustix::fs::unlinkat(root, name, AtFlags::empty()).system(what)?;
        }
        Err(errno) => return Err(errno).system(what),
    }
    rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755)).system(what)?;
    open().system(what)
}

fn fresh_procfs(root: BorrowedFd<'_>, options: &[(String, String)]) -> Result<OwnedFd> {
    let options: Vec<(CString, CString)> = options
        .iter()
        .map(|(key, value)| Ok((c_string(key)?, c_string(value)?)))
        .collect::<Result<_>>()?;
    let parameters: Vec<Parameter<'_>> = options
        .iter()
        .map(|(key, value)| Parameter::String(key, value))
        .collect();
    kernel_file_system(root, c"proc", c"proc", &parameters, Attributes::NONE)
}

/// A writable one is refused where the outer one is not.
fn fresh_sysfs(root: BorrowedFd<'_>, writable: bool) -> Result<OwnedFd> {
    let mount = |extra| kernel_file_system(root, c"sys", c"sysfs", &[], extra);
    if writable {
        mount(Attributes::NONE).or_else(|_| mount(Attributes::READ_ONLY))
    } else {
        mount(Attributes::READ_ONLY)
    }
}

fn kernel_file_system(
    root: BorrowedFd<'_>,
    name: &CStr,
    kind: &CStr,
    parameters: &[Parameter<'_>],
    extra: Attributes,
) -> Result<OwnedFd> {
    let what = || format!("cannot mount /{}", name.to_string_lossy());
    let mounted = mount::new_mount(kind, parameters, NO_SUID_DEV_EXEC.with(extra)).map_err(|cause| {
        let refused = cause.raw_os_error() == Some(libc::EPERM);
        let error = Error::new(if refused { ErrorKind::Unsupported } else { ErrorKind::System }, what()).with_source(cause);
        if refused {
            // mount_too_revealing(): a new proc or sysfs is refused where the outer one is masked.
            error.with_hint("an outer container masks parts of its own; run that with --security-opt systempaths=unconfined")
        } else {
            error
        }
    })?;
    attach_own(&mounted, root, name)?;
    Ok(mounted)
}

fn kernel_attributes(writable: bool) -> Attributes {
    if writable {
        NO_SUID_DEV_EXEC
    } else {
        NO_SUID_DEV_EXEC.with(Attributes::READ_ONLY)
    }
}

/// With the host's network a fresh sysfs is not to be had without the host's rights; its own one,
/// read-only, shows the same network devices.
fn host_sysfs(root: BorrowedFd<'_>, writable: bool) -> Result<OwnedFd> {
    let attributes = if writable {
        Attributes::NONE
    } else {
        Attributes::READ_ONLY
    };
    let copy = host_tree(c"/sys", attributes)?;
    attach_own(&copy, root, c"sys")?;
    Ok(copy)
}

/// With the host's pid namespace the same holds for a fresh procfs.
fn host_procfs(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let copy = host_tree(c"/proc", Attributes::NONE)?;
    attach_own(&copy, root, c"proc")?;
    Ok(copy)
}

/// A copy of one of the host's kernel file systems, with all that is mounted below.
fn host_tree(path: &CStr, extra: Attributes) -> Result<OwnedFd> {
    let what = || format!("cannot mount {}", path.to_string_lossy());
    let copy = mount::clone_mount(rustix::fs::CWD, path, true).system(what)?;
    mount::set_attributes(&copy, NO_SUID_DEV_EXEC.with(extra), None, true).system(what)?;
    Ok(copy)
}

/// The host's cgroups, for a container in the host's cgroup namespace: to be looked at only, for
/// what lies there is not the container's (CVE-2022-0492: a writable release_agent is root on the
/// host).
fn host_cgroup(sys: Option<&OwnedFd>) -> Result<()> {
    let Some(sys) = sys else { return Ok(()) };
    attach_cgroup(sys, host_tree(c"/sys/fs/cgroup", Attributes::READ_ONLY)?)
}

/// cgroup2, seen from the container's own cgroup namespace; where the kernel has none (all
/// controllers in v1, or no namespace of ours) an empty read-only folder instead of the host's
/// tree (CVE-2023-25809).
fn cgroup(sys: Option<&OwnedFd>, writable: bool) -> Result<()> {
    let Some(sys) = sys else { return Ok(()) };
    let read_only = kernel_attributes(false);
    let attributes = kernel_attributes(writable);
    let mounted = mount::new_mount(c"cgroup2", &[], attributes)
        .or_else(|_| mount::new_mount(c"tmpfs", &[Parameter::String(c"size", c"0")], read_only))
        .system(|| "cannot mount /sys/fs/cgroup".to_owned())?;
    attach_cgroup(sys, mounted)
}

fn attach_cgroup(sys: &OwnedFd, mounted: OwnedFd) -> Result<()> {
    let attached = mount::attach_at(&mounted, sys, c"fs/cgroup");
    mount::leave_open(mounted);
    match attached {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.system(|| "cannot mount /sys/fs/cgroup".to_owned()),
    }
}

fn shm(dev: &OwnedFd, bytes: u64) -> Result<()> {
    let size = c_string(&bytes.to_string())?;
    let parameters = [
        Parameter::String(c"mode", c"1777"),
        Parameter::String(c"size", &size),
    ];
    mount_in_dev(dev, c"shm", c"tmpfs", &parameters, NO_SUID_DEV_EXEC)
}

fn message_queue(dev: &OwnedFd) -> Result<()> {
    mount_in_dev(dev, c"mqueue", c"mqueue", &[], NO_SUID_DEV_EXEC)
}

fn mount_in_dev(
    dev: &OwnedFd,
    name: &CStr,
    kind: &CStr,
    parameters: &[Parameter<'_>],
    attributes: Attributes,
) -> Result<()> {
    let what = || format!("cannot mount /dev/{}", name.to_string_lossy());
    let mounted = mount::new_mount(kind, parameters, attributes).system(what)?;
    attach_in_dev(dev, name, mounted)
}

/// The neighbour's, who may have put another tmpfs there: without its devices and programs.
fn joined_shm(dev: &OwnedFd, copy: Option<OwnedFd>) -> Result<()> {
    let copy = copy.ok_or_else(|| Error::new(ErrorKind::System, "the plan shares no /dev/shm"))?;
    mount::set_attributes(&copy, NO_SUID_DEV_EXEC, None, false)
        .system(|| "cannot mount /dev/shm".to_owned())?;
    attach_in_dev(dev, c"shm", copy)
}

/// The host's own; a host without it has nothing to share.
fn host_in_dev(dev: &OwnedFd, name: &CStr, path: &CStr) -> Result<()> {
    let what = || format!("cannot mount the host's {}", path.to_string_lossy());
    let copy = match mount::clone_mount(rustix::fs::CWD, path, false) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.system(what)?,
    };
    mount::set_attributes(&copy, NO_SUID_DEV_EXEC, None, false).system(what)?;
    attach_in_dev(dev, name, copy)
}

fn attach_in_dev(dev: &OwnedFd, name: &CStr, mounted: OwnedFd) -> Result<()> {
    let what = || format!("cannot mount /dev/{}", name.to_string_lossy());
    rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).system(what)?;
    mount::attach_at(&mounted, dev, name).system(what)?;
    mount::leave_open(mounted);
    Ok(())
}

pub(super) fn bits(wanted: TmpfsAttributes) -> Attributes {
    let mut attributes = Attributes::NONE;
    for (on, attribute) in [
        (wanted.read_only, Attributes::READ_ONLY),
        (wanted.no_exec, Attributes::NO_EXEC),
        (wanted.no_suid, Attributes::NO_SUID),
        (wanted.no_dev, Attributes::NO_DEV),
    ] {
        if on {
            attributes = attributes.with(attribute);
        }
    }
    attributes
}

pub(super) fn own_file(
    root: BorrowedFd<'_>,
    copy: Option<OwnedFd>,
    source: &Path,
    target: &str,
    read_only: bool,
) -> Result<()> {
    let what = || format!("cannot mount {} on {target}", source.display());
    let copy = match copy {
        Some(copy) => copy,
        None => mount::clone_mount(rustix::fs::CWD, &path(source)?, false).system(what)?,
    };
    if read_only {
        mount::set_attributes(&copy, Attributes::READ_ONLY, None, false).system(what)?;
    }
    let place = in_root::open_or_replace_file(root, target.as_ref()).system(what)?;
    mount::attach(&copy, &place).system(what)?;
    mount::leave_open(copy);
    mount::leave_open(place);
    Ok(())
}

/// What the container is given beyond what every container has: devices and secrets.
fn granted(
    root: BorrowedFd<'_>,
    plan: &SandboxPlan,
    step: &MountStep,
    copy: Option<OwnedFd>,
) -> Result<()> {
    match step {
        MountStep::Secrets => accounts::mount_secrets(root, &plan.secrets.files),
        MountStep::DeviceNodes => devices::add_nodes(root, &plan.devices),
        MountStep::DeviceMount {
            source,
            target,
            recursive,
            attributes,
        } => device_mount(root, copy, (source, *recursive), target, *attributes),
        _ => Ok(()),
    }
}

/// What a CDI specification wants to be seen: a path of the host, below nothing of ours.
fn device_mount(
    root: BorrowedFd<'_>,
    copy: Option<OwnedFd>,
    (source, recursive): (&Path, bool),
    target: &str,
    attributes: TmpfsAttributes,
) -> Result<()> {
    let what = || format!("cannot mount {} on {target}", source.display());
    let copy = match copy {
        Some(copy) => copy,
        None => mount::clone_mount(rustix::fs::CWD, &path(source)?, recursive).system(what)?,
    };
    let private = Some(Propagation::Private);
    mount::set_attributes(&copy, bits(attributes), private, true).system(what)?;
    let stat = rustix::fs::fstat(&copy).system(what)?;
    let place = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        in_root::open_or_make_directory(root, target.as_ref(), Mode::from_raw_mode(0o755))
    } else {
        in_root::open_or_make_file(root, target.as_ref())
    }
    .system(what)?;
    in_root::refuse_kernel_file_systems(&place).system(what)?;
    mount::attach(&copy, place).system(what)
}

/// The kernel's kind, and whether it goes down to the mounts below.
pub(super) fn propagation_of(wanted: Wanted) -> (Propagation, bool) {
    match wanted {
        Wanted::Shared => (Propagation::Shared, false),
        Wanted::RShared => (Propagation::Shared, true),
        Wanted::Slave => (Propagation::Slave, false),
        Wanted::RSlave => (Propagation::Slave, true),
        Wanted::Private => (Propagation::Private, false),
        Wanted::RPrivate => (Propagation::Private, true),
    }
}

/// Below /proc/sys.
const DOMAIN_NAME: &str = "kernel/domainname";

/// Kernel parameters of the container's own namespaces, through our own procfs.
fn write_sysctls(proc: BorrowedFd<'_>, sysctls: &[Sysctl]) -> Result<()> {
    for Sysctl {
        path,
        value,
        optional,
    } in sysctls
    {
        let what = || format!("cannot set sysctl {} to {value:?}", path.replace('/', "."));
        if path == DOMAIN_NAME {
            // The file belongs to root of the machine; the call is for root of the namespace.
            rustix::system::setdomainname(value.as_bytes()).system(what)?;
            continue;
        }
        let file = c_string(&format!("sys/{path}"))?;
        match in_root::open_beneath(proc, &file, OFlags::WRONLY) {
            Ok(file) => {
                match rustix::io::write(&file, value.as_bytes()) {
                    // What nobody asked for may be refused: a user namespace of somebody else's has
                    // other groups than we think.
                    Err(rustix::io::Errno::INVAL) if *optional => {}
                    done => drop(done.system(what)?),
                }
                mount::leave_open(file);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if !optional {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("{}: this kernel has no such parameter", what()),
                    ));
                }
            }
            Err(error) => return Err(error).context(ErrorKind::Unsupported, what),
        }
    }
    Ok(())
}

fn make_read_only(file_system: BorrowedFd<'_>, name: &str) -> Result<()> {
    let what = || format!("cannot make {name} read-only");
    let path = c_string(name)?;
    let copy = match mount::clone_mount(file_system, &path, true) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.system(what)?,
    };
    mount::set_attributes(
        &copy,
        Attributes::READ_ONLY.with(NO_SUID_DEV_EXEC),
        None,
        true,
    )
    .system(what)?;
    mount::attach_at(&copy, file_system, &path).system(what)?;
    mount::leave_open(copy);
    Ok(())
}

/// Hides files behind the host's null device and directories behind one empty folder.
struct Mask<'a> {
    null: BorrowedFd<'a>,
    /// A copy that was made for a path that turned out not to exist.
    spare_null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Mask<'_> {
    fn hide(&mut self, file_system: BorrowedFd<'_>, name: &str) -> Result<()> {
        let what = || format!("cannot mask {name}");
        let path = c_string(name)?;
        let null = match self.spare_null.take() {
            Some(null) => null,
            None => mount::clone_mount(self.null, c"", false).system(what)?,
        };
        match mount::attach_at(&null, file_system, &path) {
            Ok(()) => {
                mount::leave_open(null);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.spare_null = Some(null);
                Ok(())
            }
            // A file cannot be mounted on a directory (move_mount(2) says so with EINVAL).
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.spare_null = Some(null);
                self.hide_directory(file_system, &path).system(what)
            }
            Err(error) => Err(error).system(what),
        }
    }

    /// A path of the image's tree, its links followed inside.
    fn hide_in_tree(&mut self, root: BorrowedFd<'_>, name: &str) -> Result<()> {
        let what = || format!("cannot mask /{name}");
        let place = match in_root::open(root, &c_string(name)?, OFlags::PATH) {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
                ) =>
            {
                return Ok(());
            }
            other => other.system(what)?,
        };
        in_root::refuse_kernel_file_systems(&place).context(ErrorKind::InvalidArgument, what)?;
        let stat = rustix::fs::fstat(&place).system(what)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.hide_directory(place.as_fd(), c"").system(what);
        }
        let null = mount::clone_mount(self.null, c"", false).system(what)?;
        mount::attach(&null, &place).system(what)
    }

    /// With an empty path the directory itself.
    fn hide_directory(&mut self, file_system: BorrowedFd<'_>, path: &CStr) -> std::io::Result<()> {
        let empty = match &self.empty {
            None => mount::new_mount(
                c"tmpfs",
                &[
                    Parameter::String(c"nr_inodes", c"1"),
                    Parameter::String(c"mode", c"555"),
                ],
                NO_SUID_DEV_EXEC.with(Attributes::READ_ONLY),
            )?,
            Some(empty) => mount::clone_mount(empty, c"", false)?,
        };
        if path.is_empty() {
            mount::attach(&empty, file_system)?;
        } else {
            mount::attach_at(&empty, file_system, path)?;
        }
        match self.empty {
            None => self.empty = Some(empty),
            Some(_) => mount::leave_open(empty),
        }
        Ok(())
    }
}

/// Makes `root` this process's root and lets go of the host's tree: pivot_root(2), "pivot_root(".",
/// ".")".
pub(super) fn pivot_into(root: BorrowedFd<'_>) -> Result<()> {
    let what = || "cannot change into the root file system".to_owned();
    rustix::process::fchdir(root).system(what)?;
    rustix::process::pivot_root(c".", c".").system(what)?;
    mount::detach_current_directory().system(what)
}

pub(super) fn path(path: &Path) -> Result<CString> {
    in_root::c_string(path.as_os_str())
        .system(|| format!("invalid path {:?}", path.as_os_str().as_bytes()))
}
