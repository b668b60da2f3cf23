//! What the network process keeps of its rights: it reads what containers and strangers send, so
//! whoever takes it over must find nothing there.
//!
//! | who | capabilities | system calls |
//! |---|---|---|
//! | the process | links and firewall, entering namespaces, ports below 1024 | no program is executed, nobody traced, no memory made executable, no mount or namespace but of networks; sockets are of IP, netlink and unix(7) |
//! | the relay's thread | none (one, without a firewall that leads to it) | no file is opened; sockets of IP |
//! | the thread for names | none | files are opened for reading only; sockets of IP |
//!
//! The filters are profiles as containers have them (`confine/*.json`; `any` is part of each), compiled
//! when this program is built: loading one is a single system call. What they do not allow fails with
//! EPERM; in builds for tests it ends the process, which is seen.
//!
//! As root it also changes no files but those of the store's run root and the settings of the network
//! (landlock(7), where the kernel has it).
//!
//! Threads share their memory, so a thread's own filter keeps an attacker from what the kernel would do
//! for that thread. What he could do in the name of another one is what the process may do.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

use crate::{
    model::{Context, Result},
    sys::{
        landlock::{self, Change},
        process,
        seccomp::{self, Instruction},
    },
};

/// Whose filter it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// All of its threads.
    Process,
    /// The thread that moves bytes and reads packets.
    Relay,
    /// The thread that answers questions for names.
    Names,
}

impl Who {
    /// The filter's program.
    pub fn filter(self) -> &'static [Instruction] {
        static PROCESS: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/seccomp_process.rs"));
        static RELAY: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/seccomp_relay.rs"));
        static NAMES: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/seccomp_names.rs"));
        match self {
            Who::Process => PROCESS,
            Who::Relay => RELAY,
            Who::Names => NAMES,
        }
    }
}

/// Bits of capabilities(7).
const NET_BIND_SERVICE: u64 = 1 << 10;
/// Links, routes and the firewall, transparent sockets, TUN devices.
const NET_ADMIN: u64 = 1 << 12;
/// Of a socket that is bound to a link: to take it off again (socket(7), `SO_BINDTODEVICE`). Raw sockets
/// are not among what the filters let through.
const NET_RAW: u64 = 1 << 13;
/// For setns(2).
const SYS_ADMIN: u64 = 1 << 21;

/// Before the first thread is made: each has the same. `routed`: in its router's namespace it relays.
/// `runroot` is the store's.
pub(super) fn process(routed: bool, runroot: &Path) -> Result<()> {
    let what = || "cannot confine the network process".to_owned();
    let [_, permitted, _] = process::capability_sets().system(what)?;
    let mut kept = NET_BIND_SERVICE | NET_ADMIN | SYS_ADMIN;
    if routed {
        kept |= NET_RAW;
    }
    let kept = permitted & kept;
    process::set_capabilities(kept, 0).system(what)?;
    rustix::thread::set_no_new_privs(true).system(what)?;
    // An ordinary user's must look for its router among the descriptors of others of its kind, which the
    // kernel then denies.
    if !routed {
        let [leases, settings] = [runroot, Path::new(SETTINGS)].map(open_folder);
        let (leases, settings) = (leases.system(what)?, settings.system(what)?);
        let writable = [
            (leases.as_fd(), Change::All),
            (settings.as_fd(), Change::Write),
        ];
        // A kernel without does without.
        landlock::change_only_below(&writable).system(what)?;
    }
    seccomp::load(Who::Process.filter(), 0).system(what)
}

const SETTINGS: &str = "/proc/sys/net";

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The calling thread, from now on. `rebinds`: it takes sockets of the router off their links.
pub(super) fn thread(who: Who, rebinds: bool) -> Result<()> {
    let what = || "cannot confine a thread of the network process".to_owned();
    let kept = if rebinds { NET_RAW } else { 0 };
    process::set_capabilities(kept, 0).system(what)?;
    rustix::thread::set_no_new_privs(true).system(what)?;
    seccomp::load(who.filter(), 0).system(what)
}

const fn instruction(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    }
}
