//! The container's /dev: a tmpfs with the six devices every program expects, the usual links, a
//! devpts of its own, and a console if there is a terminal.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Dev, FileType, Mode, OFlags, makedev},
    pty::OpenptFlags,
};

use super::mounts::{Tree, attach_own};
use crate::{
    model::{Context, Error, ErrorKind, Result},
    sys::mount::{self, Attributes, Parameter},
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
    rustix::stdio::dup2_stdin(terminal).system(what)?;
    rustix::stdio::dup2_stdout(terminal).system(what)?;
    rustix::stdio::dup2_stderr(terminal).system(what)
}
