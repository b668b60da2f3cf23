//! Processes: who they are, how to signal them, what they may do.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, WaitIdOptions, pidfd_open},
};

/// Reads a small file of procfs: one read(2) returns all of it if the buffer has room, so a shorter
/// result is the end. That of a process that has ended is `NotFound`, also if it was there to be opened.
pub fn read_small(path: &str) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    read_whole(&file).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => io::ErrorKind::NotFound.into(),
        _ => error,
    })
}

/// Reads the rest of an open file, of which a read that comes up short is the end.
pub fn read_whole(file: impl AsFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4 << 10];
    let mut filled = 0;
    loop {
        match rustix::io::read(&file, &mut bytes[filled..]) {
            Ok(count) if filled + count < bytes.len() => {
                bytes.truncate(filled + count);
                return Ok(bytes);
            }
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        bytes.resize(bytes.len() * 4, 0);
    }
}

/// A file in memory with this content, at its beginning, memfd_create(2).
pub fn memory_file(name: &std::ffi::CStr, content: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while written < content.len() {
        written += rustix::io::pwrite(&file, &content[written..], written as u64)?;
    }
    Ok(file)
}

/// The same, and nobody can change it any more, memfd_create(2) "File sealing".
pub fn sealed_memory_file(name: &std::ffi::CStr, content: &[u8]) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut written = 0;
    while written < content.len() {
        written += rustix::io::pwrite(&file, &content[written..], written as u64)?;
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// The start time of a process in clock ticks since boot, field 22 of proc_pid_stat(5); together
/// with the boot id it tells a process from a later one with the same number.
pub fn start_time(pid: i32) -> io::Result<u64> {
    let stat = read_small(&format!("/proc/{pid}/stat"))?;
    // The name in parentheses may contain anything, ')' and newlines included: count from the last.
    let after_name = stat
        .iter()
        .rposition(|&byte| byte == b')')
        .ok_or(io::ErrorKind::InvalidData)?;
    std::str::from_utf8(&stat[after_name + 1..])
        .ok()
        .and_then(|rest| rest.split_ascii_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// This boot's id, random(4).
pub fn boot_id() -> io::Result<String> {
    let text = read_small("/proc/sys/kernel/random/boot_id")?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Opens a process and checks that it is still the one that started at `start_time`. `None` if
/// it is gone.
pub fn open(pid: i32, start_time_then: u64) -> io::Result<Option<OwnedFd>> {
    let Some(number) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // Looked at after opening: if it is the right one now, the descriptor is the right one too.
    match start_time(pid) {
        Ok(now) if now == start_time_then => Ok(Some(pidfd)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number that the process has in the pid namespace of the mounted /proc, from the
/// descriptor's fdinfo (pidfd_open(2)). Our supervisor lives in a pid namespace of its own but
/// sees the host's /proc, so this is the number that others know.
pub fn host_pid(pidfd: impl AsFd) -> io::Result<i32> {
    let info = read_small(&format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd()))?;
    let info = String::from_utf8_lossy(&info);
    info.lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Kills the process group whose leader a child of this process is, and the child. Nothing is done
/// to a process that is no child: its number could not be trusted.
pub fn kill_group(leader: impl AsFd) -> io::Result<()> {
    let id = rustix::process::WaitId::PidFd(leader.as_fd());
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // Not reaped, the number is its own.
    rustix::process::waitid(id, look)?;
    if let Ok(Some(pid)) = number_here(&leader) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    signal(&leader, libc::SIGKILL)
}

/// The number that the process has in this one's pid namespace, which may lie below that of the
/// mounted /proc.
fn number_here(pidfd: impl AsFd) -> io::Result<Option<Pid>> {
    let numbers = |path: &str| -> io::Result<Vec<i32>> {
        let text = read_small(path)?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let numbers = line.unwrap_or_default().split_ascii_whitespace();
        Ok(numbers.filter_map(|number| number.parse().ok()).collect())
    };
    let depth = numbers("/proc/self/status")?.len();
    let theirs = numbers(&format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd()))?;
    let number = depth.checked_sub(1).and_then(|place| theirs.get(place));
    Ok(number.copied().and_then(Pid::from_raw))
}

/// Reaps children that have ended, but not `spared`: somebody wants its exit code.
pub fn reap_others(spared: impl AsFd) {
    while let Some(pid) = ended_child() {
        // If the spared one has not ended even now, it is another that had.
        let at_once = Some(std::time::Duration::ZERO);
        if !matches!(wait_ended(&spared, at_once), Ok(false)) {
            return;
        }
        let id = rustix::process::WaitId::Pid(pid);
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if rustix::process::waitid(id, ended).is_err() {
            return;
        }
    }
}

/// A child that has ended and is not reaped yet.
fn ended_child() -> Option<Pid> {
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeroes is a valid `siginfo_t`; the number stays 0 if no child has ended.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is writable.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &mut info, look) };
    if result == -1 {
        return None;
    }
    // SAFETY: waitid(2) fills this field, or leaves it 0.
    Pid::from_raw(unsafe { info.si_pid() })
}

/// This process's number in the pid namespace of the mounted /proc.
pub fn own_host_pid() -> io::Result<i32> {
    let link = fs::read_link("/proc/self")?;
    link.to_str()
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// pidfd_send_signal(2), with real-time signals too.
pub fn signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed and means what kill(2) would send.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Waits until the process has ended or the time is over; whether it has ended. `None` waits for
/// ever.
pub fn wait_ended(pidfd: impl AsFd, limit: Option<std::time::Duration>) -> io::Result<bool> {
    let deadline = limit.map(|limit| std::time::Instant::now() + limit);
    loop {
        let left =
            deadline.map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut descriptors = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits for any child; its status as [`reap`] gives it.
pub fn reap_any() -> io::Result<i32> {
    reap_id(rustix::process::WaitId::All)
}

/// Reaps a child that has ended; its status as a shell would give it (128+n after signal n).
pub fn reap(pidfd: impl AsFd) -> io::Result<i32> {
    reap_id(rustix::process::WaitId::PidFd(pidfd.as_fd()))
}

fn reap_id(id: rustix::process::WaitId<'_>) -> io::Result<i32> {
    loop {
        match rustix::process::waitid(id.clone(), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => 255,
                });
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The numbers and groups a process acts under, credentials(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups; `None` leaves them, where setgroups(2) is denied (user_namespaces(7)).
    pub groups: Option<Vec<u32>>,
}

/// Takes on `credentials` for good, keeping the permitted capabilities for [`set_capabilities`]
/// to reduce. Groups first: they need the capability that the user id takes away.
pub fn set_credentials(credentials: &Credentials) -> io::Result<()> {
    if let Some(groups) = &credentials.groups {
        // SAFETY: the pointer and length describe one live slice of gid_t.
        check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    }
    let (uid, gid) = (credentials.uid, credentials.gid);
    if uid != 0 {
        rustix::thread::set_keep_capabilities(true)?;
    }
    // The raw calls: glibc's would want to tell other threads, and there are none.
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Leaves only `mask` in the bounding set, capabilities(7).
pub fn limit_bounding_set(mask: u64) -> io::Result<()> {
    let known = caps::all();
    let first_unknown = known.len() as u32;
    for capability in known {
        if mask & capability.bitmask() == 0 {
            caps::drop(None, caps::CapSet::Bounding, capability).map_err(io::Error::other)?;
        }
    }
    // A newer kernel may have more, which nobody has asked for.
    for number in first_unknown..64 {
        // SAFETY: plain numbers.
        let result =
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        if result == -1 {
            let error = io::Error::last_os_error();
            // The kernel knows no capability of this number, nor any above it.
            return match error.raw_os_error() {
                Some(libc::EINVAL) => Ok(()),
                _ => Err(error),
            };
        }
    }
    Ok(())
}

/// Sets effective and permitted to `mask`; inheritable and ambient to `ambient`, a part of it, which
/// programs keep whose files have no capabilities of their own. Inheritable is never more than that
/// (CVE-2022-24769 and its kin were inheritable sets that were not empty).
pub fn set_capabilities(mask: u64, ambient: u64) -> io::Result<()> {
    let set = rustix::thread::CapabilitySet::from_bits_retain(mask);
    let sets = rustix::thread::CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: rustix::thread::CapabilitySet::from_bits_retain(ambient),
    };
    // An inheritable set that shrinks takes the ambient one with it.
    rustix::thread::set_capabilities(None, sets)?;
    caps::all()
        .into_iter()
        .filter(|capability| ambient & capability.bitmask() != 0)
        .try_for_each(|capability| caps::raise(None, caps::CapSet::Ambient, capability))
        .map_err(io::Error::other)
}

/// The ambient capabilities of this process as a mask.
pub fn ambient_capabilities() -> io::Result<u64> {
    let set = caps::read(None, caps::CapSet::Ambient).map_err(io::Error::other)?;
    Ok(set
        .iter()
        .fold(0, |mask, capability| mask | capability.bitmask()))
}

/// The effective capabilities of this process as a mask.
pub fn effective_capabilities() -> io::Result<u64> {
    Ok(rustix::thread::capabilities(None)?.effective.bits())
}

/// Effective, permitted and inheritable capabilities of this process as masks.
pub fn capability_sets() -> io::Result<[u64; 3]> {
    let sets = rustix::thread::capabilities(None)?;
    Ok([
        sets.effective.bits(),
        sets.permitted.bits(),
        sets.inheritable.bits(),
    ])
}

/// A new session keyring that nobody else has, keyctl(2): keys are not namespaced. `ENOSYS` where
/// the kernel has no keys.
pub fn new_session_keyring() -> io::Result<()> {
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING with a null name makes an anonymous keyring.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<u8>(),
        )
    })
}

/// Hides this process's memory, descriptors and `/proc` entries from the container it is about to
/// enter: `PR_SET_DUMPABLE` 0, prctl(2).
pub fn hide() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(
        rustix::process::DumpableBehavior::NotDumpable,
    )?)
}

/// Has this process killed when the thread that made it ends: `PR_SET_PDEATHSIG`, prctl(2). Is
/// forgotten at every change of credentials and by children.
pub fn die_with_parent() -> io::Result<()> {
    let kill = rustix::process::Signal::KILL;
    Ok(rustix::process::set_parent_process_death_signal(Some(
        kill,
    ))?)
}

/// What lists of processes call this one: at most 15 bytes, `PR_SET_NAME`, prctl(2).
pub fn set_name(name: &std::ffi::CStr) {
    let _ = rustix::thread::set_name(name);
}

/// Makes this process the parent of all its descendants' orphans, `PR_SET_CHILD_SUBREAPER`, prctl(2).
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: plain numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    check(libc::c_long::from(result))
}

/// Whether the other end of a socket has been closed.
pub fn is_hung_up(socket: impl AsFd) -> io::Result<bool> {
    let mut descriptors = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    loop {
        match poll(&mut descriptors, Some(&at_once)) {
            Ok(_) => return Ok(!descriptors[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sets the execution domain, personality(2).
pub fn set_personality(domain: libc::c_ulong) -> io::Result<()> {
    // SAFETY: a plain number.
    check(libc::c_long::from(unsafe { libc::personality(domain) }))
}

/// Brings the loopback interface up and gives it its addresses, netdevice(7).
pub fn bring_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq` with a NUL-terminated name.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            std::ptr::from_ref(&request),
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Lets go of the memory that this program's code and constants take in this process, madvise(2)
/// `MADV_DONTNEED`: they come back from the page cache when they are touched. What is read-only
/// only after relocation (vtables, mostly) stays, because the file has another content there.
pub fn forget_program_pages() {
    unsafe extern "C" {
        /// The first byte of the program's image, and the end of its code: set by the linker
        /// (ld(1), "--print-map").
        static __ehdr_start: libc::c_char;
        static etext: libc::c_char;
    }
    let page = rustix::param::page_size();
    let start = &raw const __ehdr_start as usize;
    let end = (&raw const etext as usize).next_multiple_of(page);
    // SAFETY: from the ELF header to the end of the code lie only mappings of the program's file
    // that were never written to (a static-pie program has no relocations there), so dropping
    // them changes no byte that anybody will read.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    forget_unused_stack(page);
    // What the heap has free goes back too.
    #[cfg(target_env = "gnu")]
    // SAFETY: no precondition.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Gives back the pages that deeper calls than this one have used.
#[inline(never)]
fn forget_unused_stack(page: usize) {
    /// Less than what the kernel keeps free below a stack (`stack_guard_gap`, 1 MiB).
    const DEPTH: usize = 256 << 10;
    let here = 0_u8;
    let frame = &raw const here as usize;
    // A whole page stays for the calls that are going on.
    let end = frame / page * page - page;
    // Another thread's stack has neighbours.
    if rustix::thread::gettid() != rustix::process::getpid() {
        return;
    }
    // SAFETY: the stack grows downwards, and everything below the page under this frame belongs to
    // calls that have returned: nobody reads it before writing it. Nothing else is mapped so near;
    // what is not mapped at all only makes the call fail after the rest is done.
    unsafe {
        libc::madvise(
            (end - DEPTH) as *mut libc::c_void,
            DEPTH,
            libc::MADV_DONTNEED,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_while_it_is_looked_at_is_not_found() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let stat = fs::File::open(format!("/proc/{}/stat", child.id())).unwrap();
        let path = format!("/proc/self/fd/{}", stat.as_raw_fd());
        assert!(!read_small(&path).unwrap().is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        let error = read_small(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
}
