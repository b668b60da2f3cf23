//! What the planner knows about the host: handed to it as a value, so that it needs no I/O.

use serde::{Deserialize, Serialize};

/// Facts about this process and this machine that change what a container gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    pub user: UserMode,
    /// `uname -r` as numbers: (6, 18).
    pub kernel: (u32, u32),
    /// The capabilities this process may hand on, as a bit mask (capabilities(7)).
    pub capabilities: u64,
    /// Folders below /sys that tell of a processor's temperature events, without the leading
    /// slash: a side channel that is masked (GHSA-6fw5-f8r9-fgfm).
    pub thermal_folders: Vec<String>,
}

/// How ids of the container become ids of the host (design.md, "Rootless first").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserMode {
    /// Real root: ids are the host's own.
    Root,
    /// An ordinary user with ranges in /etc/subuid and /etc/subgid.
    Rootless {
        uids: Vec<IdRange>,
        gids: Vec<IdRange>,
    },
    /// An ordinary user without: only id 0 exists, and it is the user.
    SingleId { uid: u32, gid: u32, why: String },
}

/// `count` ids from `inside` in the container are those from `outside` on the host
/// (user_namespaces(7), "uid_map").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}
