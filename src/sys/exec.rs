//! Becoming another program, and becoming ourselves again from a file that nobody can write to.

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use super::mount::{self, Attributes};

/// execve(2). Returns only with the error.
pub fn exec(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: all three are valid, NUL-terminated C strings or NULL-terminated arrays of such,
    // which live until the call has failed.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// execveat(2) of an open file. Returns only with the error.
pub fn exec_descriptor(
    program: impl AsFd,
    arguments: &[CString],
    environment: &[CString],
) -> io::Error {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: as for `exec`; the empty path with AT_EMPTY_PATH names the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_fd().as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// This program's own file, behind a detached mount of its own. To be executed, and then, by what it
/// has become, made read-only and not executable with [`seal`]: whoever gets hold of it through
/// `/proc/PID/exe` can neither write to it nor run it (CVE-2019-5736). Where the file cannot be
/// mounted (it was replaced by an upgrade, or lies on a mount of another namespace) a copy in memory
/// that nobody can write to.
///
/// Needs `CAP_SYS_ADMIN` over the current mount namespace.
pub fn own_program() -> io::Result<OwnedFd> {
    match mounted_self() {
        Ok(program) => Ok(program),
        Err(_) => copied_self(),
    }
}

/// Closes the file that this process executes, from [`own_program`], to everybody: the mount's
/// attributes act on it as long as it is in use, though nobody can reach the mount any more.
pub fn seal(program: OwnedFd) -> io::Result<()> {
    let attributes = Attributes::READ_ONLY
        .with(Attributes::NO_SUID)
        .with(Attributes::NO_EXEC);
    match mount::set_attributes(&program, attributes, None, false) {
        // A copy in memory is no mount; its content is sealed already.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok(rustix::fs::fchmod(&program, Mode::empty())?)
        }
        other => other,
    }
}

fn mounted_self() -> io::Result<OwnedFd> {
    let running = rustix::fs::stat("/proc/self/exe")?;
    // Not /proc/self/exe itself: in a new mount namespace that still names the old one's mount.
    let path = std::fs::read_link("/proc/self/exe")?;
    let path =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = mount::clone_mount(rustix::fs::CWD, &path, false)?;
    let found = rustix::fs::fstat(&program)?;
    if (found.st_dev, found.st_ino) != (running.st_dev, running.st_ino) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(program)
}

fn copied_self() -> io::Result<OwnedFd> {
    let source = rustix::fs::open(
        "/proc/self/exe",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let copy =
        rustix::fs::memfd_create(c"coracle", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    while rustix::fs::sendfile(&copy, &source, None, 1 << 30)? > 0 {}
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, all)?;
    Ok(copy)
}

/// Marks every descriptor from `first` up close-on-exec, close_range(2).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC closes nothing; no descriptor's owner is affected.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_int,
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Lets `descriptors` through the next exec, and nothing else (what the caller of this command
/// left open would stay so for a container's life). Their numbers, as an argument for the program:
/// it takes them with [`inherited`].
pub fn hand_over(descriptors: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<CString> {
    close_on_exec_from(3)?;
    let mut numbers = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        numbers.push(descriptor.as_raw_fd().to_string());
    }
    CString::new(numbers.join(",")).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Takes the descriptors that [`hand_over`] let through, from its text. To be called once, before
/// anything is opened.
pub fn inherited<const COUNT: usize>(numbers: &str) -> io::Result<[OwnedFd; COUNT]> {
    let (first, more) = inherited_with_more(numbers)?;
    if more.is_empty() {
        Ok(first)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// [`inherited`] for as many descriptors, and any number behind them.
pub fn inherited_with_more<const COUNT: usize>(
    numbers: &str,
) -> io::Result<([OwnedFd; COUNT], Vec<OwnedFd>)> {
    let mut descriptors = Vec::with_capacity(COUNT);
    for number in numbers.split(',') {
        let number: i32 = number.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        if number < 3 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: by the contract above it is open, and nobody has taken it yet. Somebody who
        // executes us with numbers that are not gets EBADF from every use of them.
        descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    close_on_exec_from(3)?;
    if descriptors.len() < COUNT {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let more = descriptors.split_off(COUNT);
    let first = descriptors
        .try_into()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok((first, more))
}

/// Closes every descriptor but `kept`, in a process that never returns to the code that owns the
/// others.
pub fn close_all_but(kept: &[std::os::fd::BorrowedFd<'_>]) {
    let mut numbers: Vec<u32> = kept
        .iter()
        .filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok())
        .collect();
    numbers.sort_unstable();
    let mut first = 0;
    for number in numbers.into_iter().chain([u32::MAX]) {
        if first < number {
            // SAFETY: the owners of these descriptors are never run again (see above), so nobody
            // uses a number that has come to mean something else.
            unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
        }
        first = number.saturating_add(1);
    }
}
