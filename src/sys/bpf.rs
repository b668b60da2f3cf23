//! Programs that decide about devices for a control group, bpf(2): loaded and attached with two
//! system calls, without a library. Only root of the first user namespace may.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

/// `struct bpf_insn`, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Destination in the lower half on little-endian machines, in the upper on others.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    pub fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        let (low, high) = if cfg!(target_endian = "little") {
            (destination, source)
        } else {
            (source, destination)
        };
        Instruction {
            code,
            registers: (low & 0xf) | high << 4,
            offset,
            immediate,
        }
    }
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
/// Longest program that is taken, the kernel's `BPF_MAXINSNS`.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` has had since Linux 4.10; the kernel takes
/// shorter ones.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`. It lives as long as the descriptor or
/// something that it is attached to.
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    if program.len() > MAX_INSTRUCTIONS {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let license = c"Apache-2.0";
    let attributes = LoadAttributes {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).unwrap_or(u32::MAX),
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: `attributes` is laid out as the kernel's struct and outlives the call, as do the
    // instructions and the license that it points to; the kernel only reads them. The result is
    // checked.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const attributes,
            size_of::<LoadAttributes>(),
        )
    };
    match i32::try_from(result) {
        // SAFETY: the kernel has just made this descriptor (close-on-exec) for us alone.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Attaches a program to a control group (a directory of cgroup2). Those of the groups above stay in
/// force: a device must be allowed by all.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let number = |descriptor: i32| u32::try_from(descriptor).unwrap_or(u32::MAX);
    let attributes = AttachAttributes {
        target: number(cgroup.as_fd().as_raw_fd()),
        program: number(program.as_fd().as_raw_fd()),
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: `attributes` is laid out as the kernel's struct and outlives the call; both
    // descriptors are borrowed for it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attributes,
            size_of::<AttachAttributes>(),
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
