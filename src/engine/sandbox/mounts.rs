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

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{c_string, devices, user_mounts};
use crate::{
    engine::plan::{MountStep, RootPlan, RootSource, SandboxPlan},
    model::{Context, Error, ErrorKind, Result},
    sys::{
        in_root,
        mount::{self, Attributes, Parameter},
    },
};

const NO_SUID_DEV_EXEC: Attributes = Attributes::NO_SUID
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

/// Mounts the root file system where the plan says and returns its root directory.
pub(super) fn attach_root(plan: &RootPlan) -> Result<OwnedFd> {
    let place = path(&plan.mount_point)?;
    let root = match &plan.source {
        RootSource::Overlay {
            lower,
            upper,
            work,
            volatile,
            user_xattr,
        } => {
            let layers: Vec<CString> = lower
                .iter()
                .map(|layer| path(layer))
                .collect::<Result<_>>()?;
            let (upper, work) = (path(upper)?, path(work)?);
            overlay(&layers, Some((&upper, &work)), *volatile, *user_xattr)?
        }
        RootSource::Directory(tree) => mount::clone_mount(rustix::fs::CWD, &path(tree)?, false)
            .system(|| format!("cannot use {} as root file system", tree.display()))?,
    };
    mount::attach_at(&root, rustix::fs::CWD, &place).system(|| {
        format!(
            "cannot mount the root file system on {}",
            plan.mount_point.display()
        )
    })?;
    Ok(root)
}

pub(super) fn overlay(
    lower: &[CString],
    changes: Option<(&CStr, &CStr)>,
    volatile: bool,
    user_xattr: bool,
) -> Result<OwnedFd> {
    let mut parameters: Vec<Parameter<'_>> = lower
        .iter()
        .map(|layer| Parameter::String(c"lowerdir+", layer))
        .collect();
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
    let mounted = mount::new_mount(c"overlay", &parameters, Attributes::NONE).or_else(|error| {
        if mount::takes_layers_one_by_one() {
            return Err(error);
        }
        // Before Linux 6.5 layers could only be given as one list. It has to fit into 255 bytes,
        // three layers; images with more are copied there.
        let list = lowerdir_list(lower);
        let mut parameters = parameters.split_off(lower.len());
        parameters.push(Parameter::String(c"lowerdir", &list));
        mount::new_mount(c"overlay", &parameters, Attributes::NONE)
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

/// Attaches everything that the plan names, in its order, then hides what must be hidden.
pub(super) fn build(
    plan: &SandboxPlan,
    connected: Vec<Option<OwnedFd>>,
    root: BorrowedFd<'_>,
    null: BorrowedFd<'_>,
) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut proc = None;
    let mut sys = None;
    for (step, copy) in plan.mounts.iter().zip(connected) {
        match step {
            MountStep::Proc => proc = Some(fresh_procfs(root)?),
            MountStep::Sys { fresh: true } => sys = Some(fresh_sysfs(root)?),
            MountStep::Sys { fresh: false } => sys = Some(host_sysfs(root)?),
            MountStep::Cgroup => cgroup(sys.as_ref())?,
            MountStep::Dev { make_nodes } => devices::build(root, *make_nodes, &mut tree)?,
            MountStep::Shm { bytes } => shm(dev_of(&tree)?, *bytes)?,
            MountStep::MessageQueue => message_queue(dev_of(&tree)?)?,
            MountStep::OwnFile { source, target } => {
                own_file(root, source, target, plan.root.read_only)?;
            }
            MountStep::Bind { .. }
            | MountStep::Overlay { .. }
            | MountStep::FileSystem { .. }
            | MountStep::Tmpfs { .. } => {
                let kernel = (proc.as_ref(), sys.as_ref());
                tree.to_give
                    .extend(user_mounts::carry_out(step, copy, root, kernel)?);
            }
        }
    }
    if let Some(proc) = &proc {
        write_sysctls(proc.as_fd(), &plan.sysctls)?;
    }
    let of = |name: &str| {
        if name.starts_with("proc/") {
            proc.as_ref()
        } else {
            sys.as_ref()
        }
    };
    for name in &plan.read_only_paths {
        let Some((file_system, below)) = of(name).zip(name.split_once('/')) else {
            continue;
        };
        make_read_only(file_system.as_fd(), below.1)?;
    }
    let mut mask = Mask {
        null,
        spare_null: None,
        empty: None,
    };
    for name in &plan.masked_paths {
        let Some((file_system, below)) = of(name).zip(name.split_once('/')) else {
            continue;
        };
        mask.hide(file_system.as_fd(), below.1)?;
    }
    mask.spare_null
        .into_iter()
        .chain(mask.empty)
        .chain(proc)
        .chain(sys)
        .for_each(mount::leave_open);
    Ok(tree)
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

fn fresh_procfs(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    kernel_file_system(root, c"proc", c"proc", Attributes::NONE)
}

fn fresh_sysfs(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    kernel_file_system(root, c"sys", c"sysfs", Attributes::READ_ONLY)
}

fn kernel_file_system(
    root: BorrowedFd<'_>,
    name: &CStr,
    kind: &CStr,
    extra: Attributes,
) -> Result<OwnedFd> {
    let what = || format!("cannot mount /{}", name.to_string_lossy());
    let mounted = mount::new_mount(kind, &[], NO_SUID_DEV_EXEC.with(extra)).map_err(|cause| {
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

/// With the host's network a fresh sysfs is not to be had without the host's rights; its own one,
/// read-only, shows the same network devices.
fn host_sysfs(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let what = || "cannot mount /sys".to_owned();
    let copy = mount::clone_mount(rustix::fs::CWD, c"/sys", true).system(what)?;
    mount::set_attributes(
        &copy,
        NO_SUID_DEV_EXEC.with(Attributes::READ_ONLY),
        None,
        true,
    )
    .system(what)?;
    attach_own(&copy, root, c"sys")?;
    Ok(copy)
}

/// cgroup2, seen from the container's own cgroup namespace; where the kernel has none (all
/// controllers in v1, or no namespace of ours) an empty read-only folder instead of the host's
/// tree (CVE-2023-25809).
fn cgroup(sys: Option<&OwnedFd>) -> Result<()> {
    let Some(sys) = sys else { return Ok(()) };
    let attributes = NO_SUID_DEV_EXEC.with(Attributes::READ_ONLY);
    let mounted = mount::new_mount(c"cgroup2", &[], attributes)
        .or_else(|_| mount::new_mount(c"tmpfs", &[Parameter::String(c"size", c"0")], attributes))
        .system(|| "cannot mount /sys/fs/cgroup".to_owned())?;
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
    rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).system(what)?;
    let mounted = mount::new_mount(kind, parameters, attributes).system(what)?;
    mount::attach_at(&mounted, dev, name).system(what)?;
    mount::leave_open(mounted);
    Ok(())
}

fn own_file(root: BorrowedFd<'_>, source: &Path, target: &str, read_only: bool) -> Result<()> {
    let what = || format!("cannot mount {} on {target}", source.display());
    let copy = mount::clone_mount(rustix::fs::CWD, &path(source)?, false).system(what)?;
    if read_only {
        mount::set_attributes(&copy, Attributes::READ_ONLY, None, false).system(what)?;
    }
    let place = in_root::open_or_replace_file(root, target.as_ref()).system(what)?;
    mount::attach(&copy, &place).system(what)?;
    mount::leave_open(copy);
    mount::leave_open(place);
    Ok(())
}

/// Network settings of the container's own namespace, through our own procfs.
fn write_sysctls(proc: BorrowedFd<'_>, sysctls: &[(String, String)]) -> Result<()> {
    for (name, value) in sysctls {
        let file = c_string(&format!("sys/{name}"))?;
        match rustix::fs::openat(proc, &file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => {
                rustix::io::write(&file, value.as_bytes())
                    .system(|| format!("cannot set sysctl {name}"))?;
                mount::leave_open(file);
            }
            // A kernel without the setting has its restriction not either.
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno).system(|| format!("cannot set sysctl {name}")),
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
        mount::attach_at(&empty, file_system, path)?;
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
