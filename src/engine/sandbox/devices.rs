//! The container's /dev: a tmpfs with the six devices every program expects, the usual links, a
//! devpts of its own, and a console if there is a terminal.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, Uid, makedev},
    pty::OpenptFlags,
};

use super::mounts::{Tree, attach_own};
use crate::{
    engine::plan::DevicePlan,
    model::{
        Context, Error, ErrorKind, Result,
        device::{DeviceNode, NodeKind},
    },
    sys::{
        in_root,
        mount::{self, Attributes, Parameter},
    },
};

/// Name, host path, major and minor number (Linux's Documentation/admin-guide/devices.txt).
const NODES: [(&CStr, &CStr, u32, u32); 6] = [
    (c"null", c"/dev/null", 1, 3),
    (c"zero", c"/dev/zero", 1, 5),
    (c"full", c"/dev/full", 1, 7),
    (c"random", c"/dev/random", 1, 8),
    (c"urandom", c"/dev/urandom", 1, 9),
    (c"tty", c"/dev/tty", 5, 0),
];

const LINKS: [(&CStr, &CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
    (c"core", c"/proc/kcore"),
];

/// The host's /dev/null, checked to be that device.
pub(super) fn trusted_null() -> Result<OwnedFd> {
    let what = || "cannot open the host's /dev/null".to_owned();
    let null = rustix::fs::open(
        "/dev/null",
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
    .system(what)?;
    let stat = rustix::fs::fstat(&null).system(what)?;
    if is_device(&stat, makedev(1, 3)) {
        Ok(null)
    } else {
        Err(Error::new(
            ErrorKind::System,
            "the host's /dev/null is not the null device",
        ))
    }
}

/// The null device of our own /dev, before anything of the image has run.
pub(super) fn own_null(tree: &Tree) -> Result<OwnedFd> {
    let dev = tree
        .dev
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::System, "the container has no /dev"))?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(dev, c"null", flags, Mode::empty())
        .system(|| "cannot open /dev/null".to_owned())
}

/// The null device of a container that has been running: it may have put anything there, such as a
/// link to a descriptor of this very process.
pub(super) fn null_of_container(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let what = || "cannot open the container's /dev/null".to_owned();
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
    let null = in_root::open(root, c"/dev/null", flags).system(what)?;
    if is_device(&rustix::fs::fstat(&null).system(what)?, makedev(1, 3)) {
        Ok(null)
    } else {
        Err(Error::new(
            ErrorKind::Conflict,
            "the container's /dev/null is not the null device",
        ))
    }
}

fn is_device(stat: &rustix::fs::Stat, device: Dev) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == device
}

pub(super) fn build(root: BorrowedFd<'_>, make_nodes: bool, tree: &mut Tree) -> Result<()> {
    let what = || "cannot mount /dev".to_owned();
    let parameters = [
        Parameter::String(c"mode", c"755"),
        Parameter::String(c"size", c"65536k"),
    ];
    let dev = mount::new_mount(c"tmpfs", &parameters, Attributes::NO_SUID).system(what)?;
    attach_own(&dev, root, c"dev")?;
    // With a umask of 077 the nodes would come out unusable; this process executes soon anyway.
    rustix::process::umask(Mode::empty());
    for node in NODES {
        make_node(dev.as_fd(), node, make_nodes)
            .system(|| format!("cannot make /dev/{}", node.0.to_string_lossy()))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name)
            .system(|| format!("cannot make /dev/{}", name.to_string_lossy()))?;
    }
    tree.pseudo_terminals = Some(pseudo_terminals(dev.as_fd())?);
    tree.dev = Some(dev);
    Ok(())
}

/// Makes a device node, or mounts the host's where making one is not allowed (user namespaces,
/// outer containers).
fn make_node(
    dev: BorrowedFd<'_>,
    (name, host, major, minor): (&CStr, &CStr, u32, u32),
    make_nodes: bool,
) -> std::io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    if make_nodes {
        match rustix::fs::mknodat(
            dev,
            name,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        ) {
            Err(rustix::io::Errno::PERM) => {}
            other => return Ok(other?),
        }
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    mount::leave_open(rustix::fs::openat(dev, name, flags, mode)?);
    let node = mount::clone_mount(rustix::fs::CWD, host, false)?;
    mount::attach_at(&node, dev, name)?;
    mount::leave_open(node);
    Ok(())
}

/// Gives the container the devices it was asked to have.
pub(super) fn add_nodes(root: BorrowedFd<'_>, plan: &DevicePlan) -> Result<()> {
    for node in &plan.nodes {
        add_node(root, node, plan.make_nodes).system(|| {
            format!(
                "cannot give the container {} as {}",
                node.host, node.container
            )
        })?;
    }
    Ok(())
}

fn add_node(root: BorrowedFd<'_>, node: &DeviceNode, make_nodes: bool) -> std::io::Result<()> {
    let kind = match node.kind {
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Character => FileType::CharacterDevice,
        NodeKind::Fifo => FileType::Fifo,
    };
    if !make_nodes && kind != FileType::Fifo {
        return mount_node(root, node);
    }
    let path = Path::new(&node.container);
    let name = in_root::c_string(path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let folder = in_root::open_or_make_directory(root, parent, Mode::from_raw_mode(0o755))?;
    in_root::refuse_kernel_file_systems(&folder)?;
    let device = makedev(node.major, node.minor);
    let mode = Mode::from_raw_mode(node.mode);
    let make = || rustix::fs::mknodat(&folder, &name, kind, mode, device);
    match make() {
        // One of the container's own devices, or of an earlier start. Nothing else is replaced.
        Err(rustix::io::Errno::EXIST) => {
            let there = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(there.st_mode) {
                FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                    rustix::fs::unlinkat(&folder, &name, AtFlags::empty())?;
                    make()?;
                }
                _ => return Err(std::io::ErrorKind::AlreadyExists.into()),
            }
        }
        Err(rustix::io::Errno::PERM) if kind != FileType::Fifo => return mount_node(root, node),
        other => other?,
    }
    if (node.uid, node.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(&folder, &name, Some(uid), Some(gid), flags)?;
    }
    Ok(())
}

/// Mounts the host's own node: with it come its owner and mode, and so the rights that the user has.
fn mount_node(root: BorrowedFd<'_>, node: &DeviceNode) -> std::io::Result<()> {
    let copy = mount::clone_mount(rustix::fs::CWD, &in_root::c_string(&node.host)?, false)?;
    // It was looked at before; somebody may have put another file there.
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&copy)?.st_mode);
    if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        return Err(std::io::Error::other("it is no device any more"));
    }
    let place = in_root::open_or_make_file(root, node.container.as_ref())?;
    in_root::refuse_kernel_file_systems(&place)?;
    mount::attach(&copy, &place)
}

/// A devpts instance that nobody shares. Its group is tty (5) where that id exists.
fn pseudo_terminals(dev: BorrowedFd<'_>) -> Result<OwnedFd> {
    let what = || "cannot mount /dev/pts".to_owned();
    rustix::fs::mkdirat(dev, c"pts", Mode::from_raw_mode(0o755)).system(what)?;
    let common = [
        Parameter::Flag(c"newinstance"),
        Parameter::String(c"ptmxmode", c"0666"),
        Parameter::String(c"mode", c"0620"),
    ];
    let with_group = [
        common[0],
        common[1],
        common[2],
        Parameter::String(c"gid", c"5"),
    ];
    let attributes = Attributes::NO_SUID.with(Attributes::NO_EXEC);
    let mounted = mount::new_mount(c"devpts", &with_group, attributes)
        .or_else(|_| mount::new_mount(c"devpts", &common, attributes))
        .system(what)?;
    mount::attach_at(&mounted, dev, c"pts").system(what)?;
    Ok(mounted)
}

/// Opens a terminal of our own devpts, makes it this process's controlling terminal, standard
/// streams and /dev/console, and returns its master. Everything goes by descriptor: a path could
/// have been swapped (CVE-2025-52565).
pub(super) fn open_terminal(tree: &Tree, owner: u32, size: Option<(u16, u16)>) -> Result<OwnedFd> {
    let what = || "cannot make a terminal".to_owned();
    let missing = || Error::new(ErrorKind::System, "a terminal needs /dev");
    let instance = tree.pseudo_terminals.as_ref().ok_or_else(missing)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(instance, c"ptmx", flags, Mode::empty()).system(what)?;
    rustix::pty::unlockpt(&master).system(what)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags).system(what)?;
    prepare_terminal(terminal.as_fd(), owner, size)?;
    if let Some(dev) = &tree.dev {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(dev, c"console", flags, Mode::from_raw_mode(0o600)).system(what)?);
        let console = mount::clone_mount(&terminal, c"", false).system(what)?;
        mount::attach_at(&console, dev, c"console").system(what)?;
    }
    take_terminal(terminal.as_fd())?;
    Ok(master)
}

/// Gives a new terminal its owner and its first size.
pub(super) fn prepare_terminal(
    terminal: BorrowedFd<'_>,
    owner: u32,
    size: Option<(u16, u16)>,
) -> Result<()> {
    let owner = rustix::fs::Uid::from_raw(owner);
    rustix::fs::fchown(terminal, Some(owner), None)
        .system(|| "cannot own the terminal".to_owned())?;
    if let Some((rows, columns)) = size {
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(terminal, size)
            .system(|| "cannot size the terminal".to_owned())?;
    }
    Ok(())
}

/// Makes an open terminal the controlling one and the standard streams.
pub(super) fn take_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    let what = || "cannot take the terminal".to_owned();
    rustix::process::ioctl_tiocsctty(terminal).system(what)?;
    connect_terminal(terminal)
}

/// Makes an open terminal the standard streams.
pub(super) fn connect_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    let what = || "cannot take the terminal".to_owned();
    rustix::stdio::dup2_stdin(terminal).system(what)?;
    rustix::stdio::dup2_stdout(terminal).system(what)?;
    rustix::stdio::dup2_stderr(terminal).system(what)
}
