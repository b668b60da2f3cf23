//! Attributes of mounts, as a runtime configuration lists them.

use serde::{Deserialize, Serialize};

/// What may be done with the files of a mount, `MOUNT_ATTR_*` of mount_setattr(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attribute {
    ReadOnly,
    NoSuid,
    NoDev,
    NoExec,
    NoSymlinkFollow,
    NoDirAccessTime,
    NoAccessTime,
    RelativeAccessTime,
    StrictAccessTime,
}

/// Attributes that a mount gets or loses, alone or with the mounts below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeChange {
    /// Attribute, whether it is set, whether for the mounts below too; later ones win.
    pub changes: Vec<(Attribute, bool, bool)>,
}

impl Attribute {
    /// Options of mount(8) and, with an `r` in front, their recursive forms: the attribute, whether
    /// it is set, and whether for the mounts below too.
    pub fn parse(option: &str) -> Option<(Attribute, bool, bool)> {
        if let Some((attribute, on)) = Self::parse_plain(option) {
            return Some((attribute, on, false));
        }
        let (attribute, on) = Self::parse_plain(option.strip_prefix('r')?)?;
        Some((attribute, on, true))
    }

    fn parse_plain(option: &str) -> Option<(Attribute, bool)> {
        Some(match option {
            "ro" => (Attribute::ReadOnly, true),
            "rw" => (Attribute::ReadOnly, false),
            "nosuid" => (Attribute::NoSuid, true),
            "suid" => (Attribute::NoSuid, false),
            "nodev" => (Attribute::NoDev, true),
            "dev" => (Attribute::NoDev, false),
            "noexec" => (Attribute::NoExec, true),
            "exec" => (Attribute::NoExec, false),
            "nosymfollow" => (Attribute::NoSymlinkFollow, true),
            "symfollow" => (Attribute::NoSymlinkFollow, false),
            "nodiratime" => (Attribute::NoDirAccessTime, true),
            "diratime" => (Attribute::NoDirAccessTime, false),
            "noatime" => (Attribute::NoAccessTime, true),
            "relatime" | "atime" => (Attribute::RelativeAccessTime, true),
            "strictatime" => (Attribute::StrictAccessTime, true),
            _ => return None,
        })
    }
}

impl AttributeChange {
    pub fn put(&mut self, attribute: Attribute, on: bool, recursive: bool) {
        self.changes.push((attribute, on, recursive));
    }

    pub fn is_read_only(&self) -> bool {
        let last = self
            .changes
            .iter()
            .rfind(|(attribute, ..)| *attribute == Attribute::ReadOnly);
        last.is_some_and(|(_, on, _)| *on)
    }
}
