//! Paths of a container, resolved inside its root and nowhere else: openat2(2) with
//! `RESOLVE_IN_ROOT`. The one place where a path that a container or an image could influence
//! meets a directory of ours.

use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path},
};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};

/// Opens `path` as seen from `root`: absolute paths, `..` and links all stay below it. Links of
/// procfs (`/proc/self/exe`, `/proc/self/fd/3`) are refused (CVE-2024-21626).
pub fn open(root: impl AsFd, path: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // Somebody who keeps renaming can make the kernel ask for a repetition every time.
    let mut attempts = 0;
    loop {
        attempts += 1;
        match rustix::fs::openat2(
            root.as_fd(),
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            // A rename or mount somewhere on the machine raced with `..`; the kernel asks to repeat.
            Err(rustix::io::Errno::AGAIN) if attempts < 128 => {}
            other => return Ok(other?),
        }
    }
}

/// Opens `path` below `directory`. Unlike with [`open`], a link that leads out of it (an absolute
/// one does) is an error: EXDEV.
pub fn open_source(directory: impl AsFd, path: &CStr) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match rustix::fs::openat2(directory.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN) if attempts < 128 => {}
            other => return Ok(other?),
        }
    }
}

/// Opens `path` below a directory of a file system of ours: neither up nor out of it, not onto a mount
/// on top of it, and through none of procfs's own links (CVE-2025-52881).
pub fn open_beneath(directory: impl AsFd, path: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(directory.as_fd(), path, flags, Mode::empty(), resolve)?;
    Ok(opened)
}

/// Refuses a place that lies in one of the kernel's file systems. A mount target's text says nothing
/// about that where the image has links: nothing may cover our /proc and /sys (CVE-2019-16884).
pub fn refuse_kernel_file_systems(place: impl AsFd) -> io::Result<()> {
    /// `f_type` of procfs, sysfs, cgroup and cgroup2, statfs(2).
    const KERNEL: [u64; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];
    let kind = rustix::fs::fstatfs(place)?.f_type as u64;
    if KERNEL.contains(&kind) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path leads into /proc or /sys",
        ));
    }
    Ok(())
}

/// Opens the directory at `path`, making it and its missing parents with `mode`.
pub fn open_or_make_directory(root: impl AsFd, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let c_path = c_string(path.as_os_str())?;
    match open(root.as_fd(), &c_path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directories(root.as_fd(), path, mode)
        }
        other => other,
    }
}

/// Opens the file at `path` as a place to mount on, making an empty one (and its parents) if
/// nothing is there.
pub fn open_or_make_file(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let c_path = c_string(path.as_os_str())?;
    match open(root.as_fd(), &c_path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = c_string(path.file_name().ok_or(io::ErrorKind::InvalidInput)?)?;
    let directory = open_or_make_directory(root.as_fd(), parent, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    // A dangling link at the end is refused (EEXIST) rather than followed.
    drop(rustix::fs::openat(
        &directory,
        &name,
        flags,
        Mode::from_raw_mode(0o644),
    )?);
    Ok(rustix::fs::openat(
        &directory,
        &name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// As [`open_or_make_file`], but a link that leads nowhere is replaced by an empty file: images have
/// such in /etc, to files that a service would make.
pub fn open_or_replace_file(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    // Where no link is involved, there is nothing to look out for.
    let plain = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let direct = rustix::fs::openat2(root.as_fd(), &c_string(path)?, flags, Mode::empty(), plain);
    if let Ok(place) = direct {
        return Ok(place);
    }
    match open_or_make_file(root.as_fd(), path) {
        Ok(place) => {
            refuse_kernel_file_systems(&place)?;
            return Ok(place);
        }
        // EEXIST: it leads nowhere; ELOOP: in a circle, or through a link of procfs.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ELOOP)) => {}
        Err(error) => return Err(error),
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = c_string(path.file_name().ok_or(io::ErrorKind::InvalidInput)?)?;
    let directory = open_or_make_directory(root.as_fd(), parent, Mode::from_raw_mode(0o755))?;
    rustix::fs::unlinkat(&directory, &name, rustix::fs::AtFlags::empty())?;
    open_or_make_file(root, path)
}

/// Walks down, making what is missing. Every step starts from a directory that is held, so a
/// link planted meanwhile can at worst lead elsewhere *inside* the root.
fn make_directories(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let mut done = std::path::PathBuf::from("/");
    let mut current = open(root, c"/", OFlags::PATH | OFlags::DIRECTORY)?;
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir => {
                done.pop();
                current = open(
                    root,
                    &c_string(done.as_os_str())?,
                    OFlags::PATH | OFlags::DIRECTORY,
                )?;
                continue;
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
        };
        done.push(name);
        let so_far = c_string(done.as_os_str())?;
        current = match open(root, &so_far, OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = c_string(name)?;
                match rustix::fs::mkdirat(&current, &name, mode) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&current, &name, flags, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(current)
}

/// The first `limit` bytes of a small file. What is not a regular file, or cannot be opened, is
/// empty, and opening never waits: a FIFO or an endless device must not hang us (CVE-2024-9676). Its
/// descriptor is left open, for a process that executes soon.
pub fn read_regular(root: impl AsFd, path: &CStr, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = open(root, path, flags) else {
        return Ok(Vec::new());
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Vec::new());
    }
    let size = usize::try_from(stat.st_size)
        .unwrap_or(usize::MAX)
        .min(limit);
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match rustix::io::read(&file, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    bytes.truncate(filled);
    super::mount::leave_open(file);
    Ok(bytes)
}

/// Opens `name` in a directory for reading if it is a regular file; `None` if it is anything else.
/// What it is is known before it is opened (by its own descriptor, not by its name again): opening a
/// device or a FIFO does something.
pub fn open_regular(directory: impl AsFd, name: &CStr) -> io::Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&place)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let file = reopen(&place, OFlags::RDONLY | OFlags::NONBLOCK)?;
    Ok(Some((file, stat)))
}

/// Opens the very file that a descriptor stands for, in another way.
pub fn reopen(place: impl AsFd, flags: OFlags) -> io::Result<OwnedFd> {
    let own = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    Ok(rustix::fs::open(
        own,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// A path for the kernel. A NUL inside is an error, never a shorter path.
pub fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
