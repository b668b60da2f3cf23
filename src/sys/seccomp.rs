//! Loading a system call filter, seccomp(2).

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// One instruction of a classic BPF program (`struct sock_filter`, bpf(4)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub operand: u32,
}

/// Puts this thread and its future children under the filter. Needs `CAP_SYS_ADMIN` in the user
/// namespace or no_new_privs. `flags` are `SECCOMP_FILTER_FLAG_…`.
pub fn load(program: &[Instruction], flags: u32) -> io::Result<()> {
    set_filter(program, flags).map(drop)
}

/// The same, and the descriptor on which the calls arrive that the filter leaves to a listener,
/// seccomp_unotify(2).
pub fn load_with_listener(program: &[Instruction], flags: u32) -> io::Result<OwnedFd> {
    let number = set_filter(
        program,
        flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32,
    )?;
    let number = RawFd::try_from(number).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: with this flag the result is a new descriptor (close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn set_filter(program: &[Instruction], flags: u32) -> io::Result<libc::c_long> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        // The kernel only reads it; the field is not const in C.
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `Instruction` has the layout of `sock_filter` (repr(C), the same fields), the
    // pointer and length describe one live slice, and the kernel copies it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&program),
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
