//! User namespaces: making one for this process, or joining the one of another, user_namespaces(7).

use std::{
    ffi::CString,
    fmt::Write,
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    thread::UnshareFlags,
};

use super::{
    exec,
    fork::{self, Child},
    process,
};

/// `count` ids from `inside` are those from `outside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// A user namespace that this process is in, whose ids are being mapped by newuidmap(1) and
/// newgidmap(1). Until [`Self::finish`] only this user's own files may be touched.
#[derive(Debug)]
#[must_use]
pub struct Pending {
    mappers: Vec<(&'static str, Child)>,
}

/// Moves this process into a new user namespace and starts mapping `uids` and `gids` with the two
/// set-user-ID helpers, side by side. They were forked before the move: writing a map of several
/// ranges needs a process of the parent namespace that may.
pub fn begin(uids: &[IdRange], gids: &[IdRange]) -> io::Result<Pending> {
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let mut mappers = Vec::with_capacity(2);
    for (program, ranges) in [("newuidmap", uids), ("newgidmap", gids)] {
        let arguments = mapper_arguments(program, pid, ranges)?;
        let child = fork::fork(fork::Namespaces::NONE, || {
            // The other end closes in the parent once it is in the new namespace. This copy of it
            // has to be closed first.
            // SAFETY: the parent's `go` was copied into this process; nothing here uses it again.
            unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&go)) };
            let _ = rustix::io::read(&wait, &mut [0_u8; 1]);
            run_mapper(program, &arguments)
        })?;
        mappers.push((program, child));
    }
    unshare(UnshareFlags::NEWUSER)?;
    drop(go);
    Ok(Pending { mappers })
}

impl Pending {
    /// Waits until the ids are mapped. From here on this process is root of its namespace.
    pub fn finish(self) -> io::Result<()> {
        for (program, child) in self.mappers {
            let status = process::reap(&child.pidfd)?;
            if status == 127 {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{program} is not installed"),
                ));
            }
            if status != 0 {
                return Err(io::Error::other(format!(
                    "{program} failed with status {status}"
                )));
            }
        }
        Ok(())
    }
}

fn mapper_arguments(program: &str, pid: i32, ranges: &[IdRange]) -> io::Result<Vec<CString>> {
    let numbers = ranges
        .iter()
        .flat_map(|range| [range.inside, range.outside, range.count]);
    [program.to_owned(), pid.to_string()]
        .into_iter()
        .chain(numbers.map(|number| number.to_string()))
        .map(|argument| CString::new(argument).map_err(|_| io::ErrorKind::InvalidInput.into()))
        .collect()
}

/// The usual places, not `PATH`: the caller's environment must not choose who maps its ids.
fn run_mapper(program: &str, arguments: &[CString]) -> i32 {
    for folder in [
        "/usr/bin",
        "/bin",
        "/usr/local/bin",
        "/run/wrappers/bin",
        "/usr/sbin",
    ] {
        let Ok(path) = CString::new(format!("{folder}/{program}")) else {
            break;
        };
        exec::exec(&path, arguments, &[]);
    }
    127
}

/// Moves this process into a new user namespace in which only its own user and group exist, as
/// id 0. Needs no helper; supplementary groups stay (setgroups(2) must be given up for it).
pub fn enter_single_id(uid: u32, gid: u32) -> io::Result<()> {
    unshare(UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))
}

/// Joins the user namespace of the process `pid`, if it is one that this user owns and that maps
/// ids exactly as `uids` and `gids` say: then it is as good as a new one, whoever `pid` is by now.
/// Whether it was joined.
pub fn join(pid: i32, uids: &[IdRange], gids: &[IdRange]) -> io::Result<bool> {
    let maps_as = |file: &str, ranges: &[IdRange]| has_map(&format!("/proc/{pid}/{file}"), ranges);
    if !maps_as("uid_map", uids) || !maps_as("gid_map", gids) {
        return Ok(false);
    }
    let path = format!("/proc/{pid}/ns/user");
    let Ok(namespace) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    else {
        return Ok(false);
    };
    enter(namespace)?;
    Ok(true)
}

/// Writes the maps of a child that was made in a user namespace nested in this process's own, in
/// which this process has all rights. `pid` is its number in the mounted /proc.
pub fn map_child(pid: i32, uids: &[IdRange], gids: &[IdRange]) -> io::Result<()> {
    for (file, ranges) in [("uid_map", uids), ("gid_map", gids)] {
        let mut text = String::new();
        for range in ranges {
            let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
        }
        // The kernel takes a map in one write only.
        fs::write(format!("/proc/{pid}/{file}"), text)?;
    }
    Ok(())
}

/// Whether a process is in the user namespace that this process is in.
pub fn is_own(pid: i32) -> bool {
    let link = |process: &str| fs::read_link(format!("/proc/{process}/ns/user")).ok();
    let own = link("self");
    own.is_some() && own == link(&pid.to_string())
}

/// The user namespace of a process.
pub fn of_process(pid: i32) -> io::Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    Ok(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// The maps of a namespace that is nested in this process's own: looked up by a process that enters it.
///
/// # Errors
/// `PermissionDenied` if it cannot be entered.
pub fn maps_of(namespace: impl AsFd) -> io::Result<(Vec<IdRange>, Vec<IdRange>)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = fork::fork(fork::Namespaces::NONE, || {
        let maps = || -> io::Result<()> {
            if !is_nested_here(namespace.as_fd())? {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            enter(&namespace)?;
            for file in ["uid_map", "gid_map"] {
                let mut text = process::read_small(&format!("/proc/self/{file}"))?;
                text.push(0);
                rustix::io::write(&write, &text)?;
            }
            Ok(())
        };
        i32::from(maps().is_err())
    })?;
    drop(write);
    let status = process::reap(&child.pidfd)?;
    if status != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let text = io::read_to_string(fs::File::from(read))?;
    let mut maps = text.split('\0').map(parse_map);
    let mut next = || maps.next().flatten().ok_or(io::ErrorKind::InvalidData);
    Ok((next()?, next()?))
}

/// Whether this process's user namespace is the parent of that one: maps are in ids of the parent.
fn is_nested_here(namespace: BorrowedFd<'_>) -> io::Result<bool> {
    /// ioctl_ns(2): `_IO(0xb7, 0x2)`.
    const NS_GET_PARENT: libc::Ioctl = 0xb702;
    // SAFETY: this request takes no argument and returns a new descriptor or -1.
    let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT) };
    if parent == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    let parent = unsafe { OwnedFd::from_raw_fd(parent) };
    let own = rustix::fs::stat("/proc/self/ns/user")?;
    Ok(rustix::fs::fstat(parent)?.st_ino == own.st_ino)
}

fn parse_map(text: &str) -> Option<Vec<IdRange>> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdRange {
            inside: next()?,
            outside: next()?,
            count: next()?,
        })
    };
    text.lines().map(line).collect()
}

/// Joins the user namespace that owns a namespace of another kind, ioctl_nsfs(2), unless this
/// process is in it already (`None`). Whether it then maps ids exactly as `uids` and `gids` say; if
/// not, this process is of no more use.
pub fn join_owner(of: impl AsFd, uids: &[IdRange], gids: &[IdRange]) -> io::Result<Option<bool>> {
    /// `_IO(0xb7, 1)`
    const NS_GET_USERNS: u64 = 0xb701;
    // SAFETY: the request takes no argument and returns a new descriptor or -1.
    let owner = unsafe { libc::ioctl(of.as_fd().as_raw_fd(), NS_GET_USERNS as _) };
    if owner == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for this call; nobody else owns it.
    let owner = unsafe { OwnedFd::from_raw_fd(owner) };
    let (there, here) = (
        rustix::fs::fstat(&owner)?,
        rustix::fs::stat("/proc/self/ns/user")?,
    );
    if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) {
        return Ok(None);
    }
    enter(owner)?;
    let maps_as = |file: &str, ranges: &[IdRange]| has_map(&format!("/proc/self/{file}"), ranges);
    Ok(Some(maps_as("uid_map", uids) && maps_as("gid_map", gids)))
}

/// Whether a file like /proc/PID/uid_map says exactly these ranges.
fn has_map(path: &str, ranges: &[IdRange]) -> bool {
    let Ok(text) = process::read_small(path) else {
        return false;
    };
    let text = String::from_utf8_lossy(&text);
    text.split_ascii_whitespace().map(str::parse).eq(ranges
        .iter()
        .flat_map(|range| [Ok(range.inside), Ok(range.outside), Ok(range.count)]))
}

/// Moves this process into a user namespace nested in its own.
pub fn enter(namespace: impl AsFd) -> io::Result<()> {
    let kind = rustix::thread::LinkNameSpaceType::User;
    Ok(rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        Some(kind),
    )?)
}

/// Gives this process a mount namespace of its own. It receives the host's later mounts and
/// unmounts (mount_namespaces(7), "slave"), so it keeps no device busy.
pub fn unshare_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: unsharing is unsound only for descriptors shared between threads (CLONE_FILES),
    // which is never among these flags.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}
