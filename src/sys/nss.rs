//! Name services, made unreachable.
//!
//! In a static glibc program `getaddrinfo`, `getpwnam` and their kin load the *host's* NSS modules
//! with dlopen(3), which crashes when the host's glibc is another one (rust-lang/rust#100711) and
//! would run a container's libraries after its mount namespace was entered (CVE-2019-14271).
//! Defining the entry points here keeps the C library's own out of the program altogether, and
//! whoever calls one gets "not found". `make release` checks that no NSS symbol was linked.
//!
//! Host names are resolved by the registry's own resolver, users by our own parser of passwd(5).

use libc::{addrinfo, c_char, c_int, gid_t, group, passwd, size_t, uid_t};

/// getaddrinfo(3): always `EAI_FAIL`.
#[unsafe(no_mangle)]
pub extern "C" fn getaddrinfo(
    _node: *const c_char,
    _service: *const c_char,
    _hints: *const addrinfo,
    _result: *mut *mut addrinfo,
) -> c_int {
    libc::EAI_FAIL
}

/// freeaddrinfo(3): there is never anything to free.
#[unsafe(no_mangle)]
pub extern "C" fn freeaddrinfo(_list: *mut addrinfo) {}

/// getpwnam_r(3): never finds anybody. The result is set to null by the callers of std and nix.
#[unsafe(no_mangle)]
pub extern "C" fn getpwnam_r(
    _name: *const c_char,
    _entry: *mut passwd,
    _buffer: *mut c_char,
    _length: size_t,
    _result: *mut *mut passwd,
) -> c_int {
    libc::ENOENT
}

/// getpwuid_r(3): never finds anybody.
#[unsafe(no_mangle)]
pub extern "C" fn getpwuid_r(
    _uid: uid_t,
    _entry: *mut passwd,
    _buffer: *mut c_char,
    _length: size_t,
    _result: *mut *mut passwd,
) -> c_int {
    libc::ENOENT
}

/// getgrnam_r(3): never finds any group.
#[unsafe(no_mangle)]
pub extern "C" fn getgrnam_r(
    _name: *const c_char,
    _entry: *mut group,
    _buffer: *mut c_char,
    _length: size_t,
    _result: *mut *mut group,
) -> c_int {
    libc::ENOENT
}

/// getgrgid_r(3): never finds any group.
#[unsafe(no_mangle)]
pub extern "C" fn getgrgid_r(
    _gid: gid_t,
    _entry: *mut group,
    _buffer: *mut c_char,
    _length: size_t,
    _result: *mut *mut group,
) -> c_int {
    libc::ENOENT
}
