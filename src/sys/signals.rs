//! Signals as readable descriptors, signalfd(2), and the dispositions a child must not inherit.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

/// A set of signals, sigsetops(3).
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    pub fn empty() -> Self {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset(3) initialises the whole set and cannot fail on a valid pointer.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            SignalSet(set.assume_init())
        }
    }

    pub fn all() -> Self {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: sigfillset(3) initialises the whole set and cannot fail on a valid pointer.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            SignalSet(set.assume_init())
        }
    }

    #[must_use]
    pub fn without(mut self, signal: i32) -> Self {
        // SAFETY: the set is initialised; an invalid number is refused by the call.
        unsafe { libc::sigdelset(&mut self.0, signal) };
        self
    }

    pub fn of(signals: &[i32]) -> Self {
        signals
            .iter()
            .fold(Self::empty(), |set, signal| set.with(*signal))
    }

    #[must_use]
    pub fn with(mut self, signal: i32) -> Self {
        // SAFETY: the set is initialised; an invalid number is refused by the call (EINVAL) and
        // leaves the set as it is.
        unsafe { libc::sigaddset(&mut self.0, signal) };
        self
    }
}

/// Blocks exactly `set` in this thread and returns what was blocked before, sigprocmask(2).
pub fn block_only(set: &SignalSet) -> io::Result<SignalSet> {
    let mut before = SignalSet::empty();
    // SAFETY: both point to initialised sets that outlive the call.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &set.0, &mut before.0) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(before)
    }
}

/// A descriptor that becomes readable when a signal of `set` is pending. The set must be blocked.
pub fn descriptor(set: &SignalSet) -> io::Result<OwnedFd> {
    // SAFETY: -1 asks for a new descriptor; the set is initialised and only read.
    let fd = unsafe { libc::signalfd(-1, &set.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Stops this process as SIGTSTP does by default, though that may be blocked, and returns when it is
/// continued. Nothing happens where nobody could continue it (an orphaned process group).
pub fn stop_here() {
    restore_default(libc::SIGTSTP);
    let stop = SignalSet::of(&[libc::SIGTSTP]);
    // SAFETY: raise(3) takes a number; the set is initialised and outlives both calls, which change
    // the mask of this thread only.
    unsafe {
        libc::raise(libc::SIGTSTP);
        libc::sigprocmask(libc::SIG_UNBLOCK, &stop.0, std::ptr::null_mut());
        libc::sigprocmask(libc::SIG_BLOCK, &stop.0, std::ptr::null_mut());
    }
}

/// The number of the next pending signal, if there is one.
pub fn next(descriptor: impl AsFd) -> io::Result<Option<i32>> {
    // SAFETY: all zeroes is a valid `signalfd_siginfo`.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` is writable for `size` bytes, and any bytes are a valid value of it.
    let read = unsafe {
        libc::read(
            descriptor.as_fd().as_raw_fd(),
            std::ptr::from_mut(&mut info).cast(),
            size,
        )
    };
    if read == size as isize {
        return Ok(Some(info.ssi_signo as i32));
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        error => Err(error),
    }
}

/// Gives `signal` its default action in this process (Rust's runtime ignores SIGPIPE, and ignored
/// signals are inherited through exec).
pub fn restore_default(signal: i32) {
    // SAFETY: SIG_DFL installs no handler; an invalid number is refused by the call.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Gives every signal that the caller of this program had ignored its default action (a program
/// started with `nohup` or `&` ignores some, and exec keeps that), but for SIGPIPE, which is ours.
pub fn restore_defaults() {
    let status = super::process::read_small("/proc/self/status").unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    for number in 1..=64 {
        if mask.unwrap_or(u64::MAX) >> (number - 1) & 1 != 0 && number != libc::SIGPIPE {
            restore_default_of_any(number);
        }
    }
}

/// rt_sigaction(2) itself: the C library keeps two real-time signals to itself, but what it executes
/// would inherit that they are ignored.
fn restore_default_of_any(number: i32) {
    // `struct sigaction` of the kernel: SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0_u64; 4];
    // SAFETY: it is read only, is as long as the struct on every 64-bit architecture, and installs no
    // handler; the last argument is the mask's size.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            default.as_ptr(),
            std::ptr::null::<u64>(),
            size_of::<u64>(),
        )
    };
}

/// Ignores `signal` in this process.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no handler; an invalid number is refused by the call.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}
