//! The kernel door: safe functions over the system calls that `rustix` does not wrap, and over
//! the few that are only safe under a promise. The one room that may say `unsafe`.
//!
//! Every function says which manual page it follows; every `unsafe` block names the precondition
//! and who guarantees it. Errors are `std::io::Error` (an errno): the caller knows which
//! operation on which thing it was.

#![allow(
    unsafe_code,
    reason = "this room is where unsafe code lives; see style.md 13"
)]

pub mod bpf;
pub mod datagram;
pub mod entry;
pub mod exec;
pub mod file_copy;
pub mod fork;
pub mod in_root;
pub mod json_bytes;
pub mod landlock;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod nss;
pub mod packet;
pub mod poll;
pub mod process;
pub mod seccomp;
pub mod signals;
pub mod socket;
pub mod tree_removal;
pub mod tree_size;
pub mod tun;
pub mod user_namespace;
