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
