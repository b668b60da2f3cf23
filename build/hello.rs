//! The program of the embedded image `localhost/coracle-hello`: says hello and what it can see.
//!
//! What it prints comes from the kernel's view of the container, not from what the engine says.
//! It speaks to the kernel directly, without the standard library and without libc: that makes it
//! a few KiB instead of a megabyte, of which every copy of coracle would carry half. It is no part
//! of the engine: it is compiled by `build/embedded.rs` and only ever runs inside a container.

#![no_std]
#![no_main]
// Otherwise the loops of memcpy and memset below would be compiled into calls of themselves.
#![no_builtins]

use core::arch::{asm, global_asm};

// The kernel starts a program with the stack pointer at argc (System V ABI, "Process
// Initialization"); a function wants it aligned.
#[cfg(target_arch = "x86_64")]
global_asm!(".global _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {}", "ud2", sym start);
#[cfg(target_arch = "aarch64")]
global_asm!(".global _start", "_start:", "mov x29, xzr", "bl {}", "brk 1", sym start);

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const GETPID: usize = 39;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const GETDENTS64: usize = 217;
    pub const CLOSE: usize = 3;
    pub const O_DIRECTORY: usize = 0o200000;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const GETPID: usize = 172;
    pub const EXIT_GROUP: usize = 94;
    pub const OPENAT: usize = 56;
    pub const GETDENTS64: usize = 61;
    pub const CLOSE: usize = 57;
    pub const O_DIRECTORY: usize = 0o40000;
}

extern "C" fn start() -> ! {
    print(b"Hello from a container!\n\n  my process id       ");
    print_number(syscall(number::GETPID, 0, 0, 0) as usize);
    let mut storage = [0; 4096];
    let status = read(b"/proc/self/status\0", &mut storage);
    print(b"\n  my user id          ");
    print(field(status, b"Uid:"));
    print_outside_id();
    let filtered = field(status, b"Seccomp:") == b"2";
    print(b"\n  my capabilities     ");
    print(field(status, b"CapEff:"));
    print(b"\n  system call filter  ");
    print(if filtered { b"on" } else { b"off" });
    print(b"\n  my host name        ");
    print(word(read(b"/proc/sys/kernel/hostname\0", &mut storage)));
    print(b"\n  processes I see     ");
    let mut processes = 0;
    for_each_name(b"/proc\0", |name| {
        processes += usize::from(name.iter().all(u8::is_ascii_digit));
    });
    print_number(processes);
    print(b"\n  my root directory  ");
    for_each_name(b"/\0", |name| {
        print(b" ");
        print(name);
    });
    print(b"\n  network            ");
    // Two lines of headings, then one a device: `    lo: 0 0 …`.
    let devices = read(b"/proc/net/dev\0", &mut storage);
    for line in devices.split(|&byte| byte == b'\n').skip(2) {
        let name = word(line);
        if let [name @ .., b':'] = name {
            print(b" ");
            print(name);
        }
    }
    print(b"\n\nOf the machine, only its kernel is in sight.\n");
    syscall(number::EXIT_GROUP, 0, 0, 0);
    loop {}
}

/// Which user of the machine the user 0 in here is, if it is another.
fn print_outside_id() {
    let mut storage = [0; 512];
    let map = read(b"/proc/self/uid_map\0", &mut storage);
    let inside = word(map);
    let outside = word(after(map, inside.len()));
    if inside == b"0" && outside != b"0" {
        print(b" (on the machine: ");
        print(outside);
        print(b")");
    }
}

/// The first word behind `name` in a file of `Name:<tab>value` lines.
fn field<'a>(text: &'a [u8], name: &[u8]) -> &'a [u8] {
    text.split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(name))
        .map_or(b"?", word)
}

fn word(text: &[u8]) -> &[u8] {
    text.split(u8::is_ascii_whitespace)
        .find(|word| !word.is_empty())
        .unwrap_or(b"?")
}

/// `text` without its leading blanks and without `count` bytes after them.
fn after(text: &[u8], count: usize) -> &[u8] {
    text.trim_ascii_start().get(count..).unwrap_or(b"")
}

/// The beginning of a file, as far as it fits; nothing if it cannot be read. `path` ends with 0.
fn read<'a>(path: &[u8], storage: &'a mut [u8]) -> &'a [u8] {
    let file = open(path, 0);
    let mut filled = 0;
    while let Some(rest) = storage.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let count = syscall(number::READ, file, rest.as_mut_ptr() as usize, rest.len());
        if count <= 0 {
            break;
        }
        filled += count as usize;
    }
    syscall(number::CLOSE, file, 0, 0);
    storage.get(..filled).unwrap_or(b"")
}

/// Calls `act` with every name in a directory except `.` and `..`. `path` ends with 0.
fn for_each_name(path: &[u8], mut act: impl FnMut(&[u8])) {
    let directory = open(path, number::O_DIRECTORY);
    let mut storage = [0_u8; 4096];
    loop {
        let count = syscall(
            number::GETDENTS64,
            directory,
            storage.as_mut_ptr() as usize,
            storage.len(),
        );
        if count <= 0 {
            break;
        }
        let mut entries = storage.get(..count as usize).unwrap_or(b"");
        // struct linux_dirent64, getdents(2): the length at 16, the name at 19.
        while let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            low,
            high,
            _,
            name @ ..,
        ] = entries
        {
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
            let name = name.get(..end).unwrap_or(b"");
            if name != b"." && name != b".." {
                act(name);
            }
            let length = usize::from(u16::from_ne_bytes([*low, *high]));
            entries = entries.get(length..).unwrap_or(b"");
        }
    }
    syscall(number::CLOSE, directory, 0, 0);
}

fn open(path: &[u8], flags: usize) -> usize {
    const AT_FDCWD: isize = -100;
    syscall(
        number::OPENAT,
        AT_FDCWD as usize,
        path.as_ptr() as usize,
        flags,
    ) as usize
}

fn print(text: &[u8]) {
    syscall(number::WRITE, 1, text.as_ptr() as usize, text.len());
}

fn print_number(mut number: usize) {
    let mut digits = [0; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    print(digits.get(20 - length..).unwrap_or(b""));
}

/// A system call with at most four arguments (the fourth is 0).
fn syscall(number: usize, first: usize, second: usize, third: usize) -> isize {
    let result: isize;
    // SAFETY: the callers above pass pointers to live buffers with their own lengths; the
    // registers are those of syscall(2), "Architecture calling conventions".
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") first, in("rsi") second,
             in("rdx") third, in("r10") 0, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") first => result, in("x1") second,
             in("x2") third, in("x3") 0, options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    syscall(number::EXIT_GROUP, 1, 0, 0);
    loop {}
}

// What the compiler expects every program to have (core's own documentation, "How to use the core
// library"); usually libc's.

#[unsafe(no_mangle)]
extern "C" fn memset(target: *mut u8, byte: i32, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller, compiled code, guarantees `count` writable bytes.
        unsafe { *target.add(index) = byte as u8 };
    }
    target
}

#[unsafe(no_mangle)]
extern "C" fn memcpy(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller, compiled code, guarantees `count` bytes on both sides.
        unsafe { *target.add(index) = *source.add(index) };
    }
    target
}

#[unsafe(no_mangle)]
extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller, compiled code, guarantees `count` bytes on both sides.
        let (left, right) = unsafe { (*left.add(index), *right.add(index)) };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    memcmp(left, right, count)
}
