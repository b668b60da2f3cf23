//! Seccomp: profiles in Docker's format, and the filter programs made of them.
//!
//! | file | what |
//! |---|---|
//! | `default.json` | the profile of a container that asks for nothing else |
//! | [`profile`] | the format's types |
//! | [`compile`] | profile → program, for one set of capabilities |
//!
//! The default profile for the default capabilities is compiled when this program is built: a
//! start then costs one system call and no parsing. The build script includes `profile` and
//! `compile` as they are, so both files know nothing else of this crate.

pub mod compile;
pub mod profile;

/// One instruction of classic BPF as seccomp(2) takes it: `struct sock_filter` of
/// `linux/filter.h`, in the same layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockFilter {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// The oldest kernel that this program runs on: what a profile says of older ones is no matter.
pub const OLDEST_KERNEL: (u32, u32) = (5, 12);

/// What a container engine in the container needs in addition to the default profile: namespaces and
/// mounts in them, and keyrings. The kernel's own rules still hold, so a user namespace comes first.
pub static NESTING: &[&str] = &[
    "add_key",
    "clone",
    "clone3",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "keyctl",
    "listmount",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "open_tree_attr",
    "pivot_root",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "statmount",
    "umount",
    "umount2",
    "unshare",
];

/// What the default profile refuses for the number of faults that were found behind it.
pub static WIDE: &[&str] = &[
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "memfd_secret",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    "socket",
    "socketcall",
    "userfaultfd",
];

/// The text of the default profile.
pub const DEFAULT_PROFILE: &str = include_str!("default.json");

/// The default profile for [`super::capability::DEFAULT`] and this machine's architecture with
/// its 32-bit one.
pub fn default_filter() -> &'static [SockFilter] {
    const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }
    static FILTER: &[SockFilter] = include!(concat!(env!("OUT_DIR"), "/seccomp_default.rs"));
    FILTER
}
