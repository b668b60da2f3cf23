//! Mounts as file descriptors: what `rustix` lacks of the mount API, and short forms of the rest.
//!
//! A mount is made detached (fsopen(2), fsmount(2), open_tree(2)), given its attributes
//! (mount_setattr(2)) and only then attached by move_mount(2), always to a directory that is held
//! as a descriptor. Nothing here follows a path of a container.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// `MOUNT_ATTR_*` bits, mount_setattr(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    pub const NONE: Attributes = Attributes(0);
    pub const READ_ONLY: Attributes = Attributes(libc::MOUNT_ATTR_RDONLY);
    pub const NO_SUID: Attributes = Attributes(libc::MOUNT_ATTR_NOSUID);
    pub const NO_DEV: Attributes = Attributes(libc::MOUNT_ATTR_NODEV);
    pub const NO_EXEC: Attributes = Attributes(libc::MOUNT_ATTR_NOEXEC);

    pub const NO_SYMLINK_FOLLOW: Attributes = Attributes(libc::MOUNT_ATTR_NOSYMFOLLOW);
    pub const NO_DIR_ACCESS_TIME: Attributes = Attributes(libc::MOUNT_ATTR_NODIRATIME);
    /// The three that exclude each other.
    pub const NO_ACCESS_TIME: Attributes = Attributes(libc::MOUNT_ATTR_NOATIME);
    pub const RELATIVE_ACCESS_TIME: Attributes = Attributes(libc::MOUNT_ATTR_RELATIME);
    pub const STRICT_ACCESS_TIME: Attributes = Attributes(libc::MOUNT_ATTR_STRICTATIME);
    /// Taken away before one of the three is set: mount_setattr(2) wants the whole field.
    pub const ALL_ACCESS_TIMES: Attributes = Attributes(libc::MOUNT_ATTR__ATIME);

    #[must_use]
    pub const fn with(self, other: Attributes) -> Attributes {
        Attributes(self.0 | other.0)
    }
}

/// A parameter of a file system that is about to be made, fsconfig(2).
#[derive(Clone, Copy, Debug)]
pub enum Parameter<'a> {
    Flag(&'a CStr),
    String(&'a CStr, &'a CStr),
}

/// Makes a new file system instance and returns its detached mount.
pub fn new_mount(
    kind: &CStr,
    parameters: &[Parameter<'_>],
    attributes: Attributes,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let names_its_device = parameters
        .iter()
        .any(|parameter| matches!(parameter, Parameter::String(key, _) if *key == c"source"));
    // What mount(8) and df(1) show as the device. They show "none" without it, which nobody minds
    // for file systems that programs do not look for.
    if [c"overlay", c"proc", c"tmpfs"].contains(&kind) && !names_its_device {
        fsconfig_set_string(context.as_fd(), c"source", kind)?;
    }
    for parameter in parameters {
        match *parameter {
            Parameter::Flag(key) => fsconfig_set_flag(context.as_fd(), key)?,
            Parameter::String(key, value) => fsconfig_set_string(context.as_fd(), key, value)?,
        }
    }
    if let Err(errno) = fsconfig_create(context.as_fd()) {
        return Err(explain(&context, errno));
    }
    // The attribute bits of fsmount(2) are those of mount_setattr(2).
    let flags = MountAttrFlags::from_bits_retain(attributes.0 as u32);
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
    leave_open(context);
    Ok(mounted)
}

/// Whether overlayfs knows `lowerdir+`: since Linux 6.5.
pub fn takes_layers_one_by_one() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 5)
}

/// For a process that executes soon, which closes all its descriptors at once: a close(2) for each
/// would be forty system calls a container.
pub fn leave_open(descriptor: OwnedFd) {
    let _ = std::os::fd::IntoRawFd::into_raw_fd(descriptor);
}

/// Adds the kernel's own words about a refused file system (fsopen(2), "Message retrieval").
fn explain(context: &OwnedFd, errno: rustix::io::Errno) -> io::Error {
    let mut text = [0_u8; 512];
    let error = io::Error::from(errno);
    match rustix::io::read(context, &mut text) {
        // Messages begin with a level: "e overlay: …".
        Ok(length) if length > 2 => {
            let text = String::from_utf8_lossy(&text[2..length]).trim().to_owned();
            io::Error::new(error.kind(), format!("{error} ({text})"))
        }
        _ => error,
    }
}

/// A detached copy of the mount at a path relative to `dir`, open_tree(2). With `recursive`
/// whatever is mounted below comes along. An empty path is the descriptor's own file.
pub fn clone_mount(dir: impl AsFd, path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    Ok(open_tree(dir, path, flags)?)
}

/// Attaches a detached mount on the file or directory that `target` is.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let both_are_descriptors =
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, c"", target, c"", both_are_descriptors)?)
}

/// Attaches a detached mount at a path below `dir`. Only for file systems that we made ourselves
/// (procfs, sysfs, our /dev): a trailing link is not followed, but links in between would be.
pub fn attach_at(mount: impl AsFd, dir: impl AsFd, path: &CStr) -> io::Result<()> {
    Ok(move_mount(
        mount,
        c"",
        dir,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// Makes every mount of this process's namespace private: what is mounted from here on reaches
/// nobody else, and nothing of theirs reaches us.
pub fn make_all_private() -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: 0,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    mount_setattr(rustix::fs::CWD, c"/", &attributes, libc::AT_RECURSIVE)
}

/// Propagation of a mount, mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Shared,
    Slave,
    Private,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Private => libc::MS_PRIVATE,
        }
    }
}

/// mount_setattr(2) on the mount that `mount` is the root of: adds attributes and, if asked,
/// changes the propagation; `recursive` includes the mounts below.
pub fn set_attributes(
    mount: impl AsFd,
    add: Attributes,
    propagation: Option<Propagation>,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: add.0,
        attr_clr: 0,
        propagation: propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    mount_setattr(
        mount.as_fd(),
        c"",
        &attributes,
        libc::AT_EMPTY_PATH | recursive,
    )
}

/// Makes a detached mount show its files' owners through the map of a user namespace
/// (mount_setattr(2), `MOUNT_ATTR_IDMAP`): what id 0 of the file system is becomes what id 0 of that
/// namespace is. `EINVAL` where the file system cannot; `EPERM` for all but real root.
pub fn id_map(mount: impl AsFd, user_namespace: impl AsFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_fd().as_raw_fd().cast_unsigned().into(),
    };
    mount_setattr(mount.as_fd(), c"", &attributes, libc::AT_EMPTY_PATH)
}

/// Attaches a detached mount on this process's current directory, which need not be searchable.
pub fn attach_here(mount: impl AsFd) -> io::Result<()> {
    attach(mount, rustix::fs::CWD)
}

/// mount_setattr(2) that takes attributes away, then adds some.
pub fn change_attributes(
    mount: impl AsFd,
    add: Attributes,
    remove: Attributes,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: add.0,
        attr_clr: remove.0,
        propagation: 0,
        userns_fd: 0,
    };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    mount_setattr(
        mount.as_fd(),
        c"",
        &attributes,
        libc::AT_EMPTY_PATH | recursive,
    )
}

fn mount_setattr(
    dir: BorrowedFd<'_>,
    path: &CStr,
    attributes: &libc::mount_attr,
    flags: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the path is a C string, and `attributes` points to a struct of the size given; the
    // kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Detaches every mount of the old root after pivot_root(2): `umount2(".", MNT_DETACH)`, with the
/// old root as the current directory.
pub fn detach_current_directory() -> io::Result<()> {
    Ok(rustix::mount::unmount(
        c".",
        rustix::mount::UnmountFlags::DETACH,
    )?)
}
