//! What the user asks to be mounted: `-v`, `--mount` and `--tmpfs`, as Docker writes them.

use serde::{Deserialize, Serialize};

/// One mount the user asked for, in the order of the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: String,
    pub source: MountSource,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute after the command made it so; as typed before.
        source: String,
        propagation: Propagation,
        /// Mounts below the source come along (`rbind`). Docker's default is yes.
        recursive: bool,
        /// `-v` makes a missing source directory, `--mount` refuses it.
        create_source: bool,
    },
    Tmpfs {
        /// Bytes; `None` is the kernel's default (half of the memory).
        size: Option<u64>,
        /// Permission bits of its root; `None` is 1777.
        mode: Option<u32>,
        /// Mount options beyond those: `noexec`, `exec`, `suid`, `dev`, `ro`, `uid=…`, `gid=…`.
        options: Vec<String>,
    },
}

/// Mount propagation, mount_namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    Shared,
    RShared,
    Slave,
    RSlave,
    Private,
    #[default]
    RPrivate,
}
