//! What the user asks to be mounted: `-v`, `--mount` and `--tmpfs`, as Docker and Podman write them.
//!
//! ```text
//! volume_flag  -v        [SOURCE:]TARGET[:OPTION,…]
//! mount_flag   --mount   type=…,source=…,target=…,KEY=VALUE,…
//! tmpfs_flag   --tmpfs   TARGET[:OPTION,…]
//! ```
//!
//! All become a [`Mount`]. The parsers look at text alone; what an image or another container adds
//! ([`MountSettings`]) is known when the container is made.

mod attribute;
mod mount_flag;
mod tmpfs_flag;
mod volume_flag;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Digest, Error, Result};

pub use attribute::{Attribute, AttributeChange};
pub use mount_flag::{parse_mount, split_csv};
pub use tmpfs_flag::parse_tmpfs;
pub use volume_flag::{parse_volume, parse_volumes_from};

/// One mount the user asked for, in the order of the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: String,
    pub source: MountSource,
    pub read_only: bool,
    #[serde(default)]
    pub options: MountOptions,
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
    Volume(VolumeSource),
    Tmpfs {
        /// Bytes; `None` is the kernel's default (half of the memory).
        size: Option<u64>,
        /// Permission bits of its root; `None` is 1777.
        mode: Option<u32>,
        /// Mount options beyond those: `noexec`, `exec`, `suid`, `dev`, `ro`, `uid=…`, `gid=…`.
        options: Vec<String>,
        /// What the image has there is copied into it.
        #[serde(default)]
        copy_up: bool,
    },
    Ramfs {
        mode: Option<u32>,
    },
    Devpts {
        /// `uid=…`, `gid=…`, `mode=…`, `max=…`
        options: Vec<String>,
    },
    /// The files of an image.
    Image {
        /// As typed. Empty if the layers are known from the beginning.
        image: String,
        /// Found when the container is made, and kept from then on: chain ids, lowest first.
        #[serde(default)]
        layers: Vec<Digest>,
        /// Changes go to the container (`rw=true`); otherwise there are none.
        writable: bool,
    },
}

/// A volume: a directory of the store that outlives containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSource {
    /// Empty until the container is made, for one without a name.
    pub name: String,
    /// It was made for its container, and goes with it.
    pub anonymous: bool,
    /// What the image has there is not copied into it.
    pub no_copy: bool,
    /// For a volume that is not there yet.
    pub labels: BTreeMap<String, String>,
    pub driver: Option<String>,
    pub driver_options: BTreeMap<String, String>,
}

/// What `-v` and `--mount` say beyond source and target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountOptions {
    pub origin: Origin,
    /// The third field of `-v`, as typed: `inspect` shows it.
    pub typed: String,
    /// A read-only mount leaves what is mounted below it writable (`bind-recursive=writable`).
    pub writable_below: bool,
    /// What is mounted of the source: a relative path without `..`.
    pub subpath: Option<String>,
    /// Programs there may be executed, act as their owner, and devices be opened. `None` leaves
    /// it as the source has it.
    pub exec: Option<bool>,
    pub suid: Option<bool>,
    pub dev: Option<bool>,
    /// The source is given to the container's user first (`U`).
    pub chown: bool,
    /// Owners are shown as the container's user namespace has them; the map as typed, if one was.
    pub id_map: Option<String>,
    /// Changes go to the container (`O`), not to the source.
    pub overlay: Option<OverlayFolders>,
}

/// Where the changes of an overlay mount go, if not to the container's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayFolders {
    pub upper: Option<String>,
    pub work: Option<String>,
}

/// Who asked for a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// `-v`
    #[default]
    Volume,
    /// `--mount`
    Mount,
    /// `--tmpfs`
    Tmpfs,
    /// The image's `VOLUME`.
    Image,
    /// `--volumes-from`
    Container,
    /// `--read-only-tmpfs`
    Default,
}

/// Mounts that are not spelled out one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountSettings {
    pub volumes_from: Vec<VolumesFrom>,
    /// Of volumes that `-v` makes. `local` is the only one there is.
    pub volume_driver: Option<String>,
    pub image_volumes: ImageVolumes,
    /// Bytes of /dev/shm; `None` is 64 MiB.
    pub shm_size: Option<u64>,
    /// With a read-only root, /run, /tmp and /var/tmp are writable nevertheless.
    pub read_only_tmpfs: bool,
}

/// The volumes of another container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// A name or ID, as typed.
    pub container: String,
    /// `None` leaves them as they are there.
    pub read_only: Option<bool>,
}

/// What becomes of an image's `VOLUME`s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageVolumes {
    #[default]
    Anonymous,
    Tmpfs,
    Ignore,
}

impl ImageVolumes {
    /// Podman's words: `anonymous` (or `bind`), `tmpfs`, `ignore`.
    pub fn parse(text: &str) -> Result<ImageVolumes> {
        match text {
            "anonymous" | "bind" | "" => Ok(ImageVolumes::Anonymous),
            "tmpfs" => Ok(ImageVolumes::Tmpfs),
            "ignore" => Ok(ImageVolumes::Ignore),
            _ => Err(Error::invalid(format!(
                "invalid image volume mode {text:?}: expected anonymous, tmpfs or ignore"
            ))),
        }
    }
}

impl Mount {
    /// The volume that is mounted, if it is one.
    pub fn volume(&self) -> Option<&VolumeSource> {
        match &self.source {
            MountSource::Volume(volume) => Some(volume),
            _ => None,
        }
    }
}

/// The names of the volumes that go with a container: made for it, and without a name of the
/// user's.
pub fn anonymous_volumes(mounts: &[Mount]) -> Vec<String> {
    mounts
        .iter()
        .filter_map(Mount::volume)
        .filter(|volume| volume.anonymous && !volume.name.is_empty())
        .map(|volume| volume.name.clone())
        .collect()
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

impl Propagation {
    /// The words of mount(8): `rprivate`, `rshared`, …
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "shared" => Propagation::Shared,
            "rshared" => Propagation::RShared,
            "slave" => Propagation::Slave,
            "rslave" => Propagation::RSlave,
            "private" => Propagation::Private,
            "rprivate" => Propagation::RPrivate,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Shared => "shared",
            Propagation::RShared => "rshared",
            Propagation::Slave => "slave",
            Propagation::RSlave => "rslave",
            Propagation::Private => "private",
            Propagation::RPrivate => "rprivate",
        }
    }
}

/// The path in the container without `.`, `..` and doubled slashes, by its text alone: links of
/// the image are the sandbox's business. The root itself cannot be mounted over.
pub fn absolute_target(target: &str) -> Result<String, &'static str> {
    if !target.starts_with('/') {
        return Err("the path in the container must be absolute");
    }
    if target.contains('\0') {
        return Err("a path cannot contain a NUL byte");
    }
    let mut parts = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err("the container's root cannot be mounted over");
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A path below a source: relative, and it never goes up. Links there are the sandbox's business.
fn relative_subpath(path: &str) -> Result<Option<String>, &'static str> {
    if path.contains('\0') {
        return Err("a path cannot contain a NUL byte");
    }
    if path.starts_with('/') {
        return Err("the subpath must be relative");
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return Err("the subpath must not contain '..'");
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

/// The words of Go's `strconv.ParseBool`, which Docker accepts.
fn parse_bool(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{key}={value}: expected true or false")),
    }
}

/// Octal permission bits with set-id and sticky bits.
fn parse_mode(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok()?;
    (digits && mode <= 0o7777).then_some(mode)
}

fn number_up_to(text: &str, greatest: u32) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u32>().is_ok_and(|number| number <= greatest)
}
