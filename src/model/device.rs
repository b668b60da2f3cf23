//! Devices the container may use: `--device`, `--device-cgroup-rule`, and the rules they become.
//!
//! A rule says for a kind of device and a pair of numbers which of reading, writing and making
//! nodes is allowed. In a list of rules the last one that speaks of a device and of one of the
//! three rights decides about that right; what no rule speaks of is denied. This is what control
//! groups of version 1 do for the lists that engines write, and what [`super::device_program`]
//! makes of them for version 2.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Error, Result, cdi, gpu::GpuRequest};

/// What the user asks for. The fields stay in the order of the command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceSpec {
    /// `--device HOST[:CONTAINER[:RIGHTS]]`
    pub mappings: Vec<DeviceMapping>,
    /// `--device vendor.com/class=name`
    pub qualified: Vec<cdi::QualifiedName>,
    /// `--gpus`
    pub gpus: Vec<GpuRequest>,
    /// `--device-cgroup-rule`
    pub rules: Vec<DeviceRule>,
    /// `--cdi-spec-dir`; empty is [`cdi::FOLDERS`].
    pub cdi_folders: Vec<String>,
}

impl DeviceSpec {
    /// Nothing of the host has to be looked at.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty() && self.qualified.is_empty() && self.gpus.is_empty()
    }
}

/// A device node, or a directory of them, of the host and where the container sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMapping {
    pub host: String,
    pub container: String,
    pub access: Access,
}

/// What may be done with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Access {
    pub read: bool,
    pub write: bool,
    /// Making a node with its numbers, mknod(2).
    pub mknod: bool,
}

impl Access {
    pub const ALL: Access = Access {
        read: true,
        write: true,
        mknod: true,
    };
    pub const MKNOD: Access = Access {
        read: false,
        write: false,
        mknod: true,
    };
}

impl FromStr for Access {
    type Err = Error;

    /// Each of `r`, `w` and `m` at most once, and at least one of them.
    fn from_str(text: &str) -> Result<Self> {
        let mut access = Access {
            read: false,
            write: false,
            mknod: false,
        };
        for letter in text.chars() {
            let place = match letter {
                'r' => &mut access.read,
                'w' => &mut access.write,
                'm' => &mut access.mknod,
                _ => return Err(bad_mode(text)),
            };
            if std::mem::replace(place, true) {
                return Err(bad_mode(text));
            }
        }
        if text.is_empty() {
            return Err(bad_mode(text));
        }
        Ok(access)
    }
}

fn bad_mode(text: &str) -> Error {
    Error::invalid(format!("bad mode specified: {text:?}"))
        .with_hint("device permissions are some of r, w and m (mknod)")
}

impl TryFrom<String> for Access {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Access> for String {
    fn from(access: Access) -> String {
        access.to_string()
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, "r"), (self.write, "w"), (self.mknod, "m")];
        letters
            .into_iter()
            .filter(|(allowed, _)| *allowed)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl FromStr for DeviceMapping {
    type Err = Error;

    /// `HOST[:CONTAINER][:RIGHTS]`, as Docker reads it: a second field that looks like rights is
    /// rights.
    fn from_str(text: &str) -> Result<Self> {
        let fields: Vec<&str> = text.split(':').collect();
        let (host, container, access) = match fields[..] {
            [host] => (host, None, None),
            [host, second] => match second.parse::<Access>() {
                Ok(access) => (host, None, Some(access)),
                Err(_) => (host, Some(second), None),
            },
            [host, container, access] => (host, Some(container), Some(access.parse()?)),
            _ => {
                return Err(Error::invalid(format!(
                    "invalid device specification: {text}"
                )));
            }
        };
        let container = container
            .filter(|container| !container.is_empty())
            .unwrap_or(host);
        for path in [host, container] {
            if !path.starts_with('/') || path.contains('\0') {
                return Err(Error::invalid(format!(
                    "invalid device specification {text:?}: {path:?} is not an absolute path"
                )));
            }
        }
        Ok(DeviceMapping {
            host: host.to_owned(),
            container: container.to_owned(),
            access: access.unwrap_or(Access::ALL),
        })
    }
}

/// Which devices a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    All,
    Block,
    Character,
}

impl DeviceKind {
    fn letter(self) -> char {
        match self {
            DeviceKind::All => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        }
    }
}

/// One line of a list of devices (cgroup v1, devices.allow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub allow: bool,
    pub kind: DeviceKind,
    /// `None` is every number.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

impl FromStr for DeviceRule {
    type Err = Error;

    /// `c 1:* rwm`: an `a`, `b` or `c`, two numbers or stars, and rights.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::invalid(format!("invalid device cgroup format '{text}'"))
                .with_hint("write it like 'c 1:* rwm': a, b or c, the numbers or *, the rights")
        };
        let number = |text: &str| match text {
            "*" => Some(None),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Some),
            _ => None,
        };
        let fields: Vec<&str> = text.split(' ').collect();
        let [kind, numbers, access] = fields[..] else {
            return Err(invalid());
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
        Ok(DeviceRule {
            allow: true,
            kind: match kind {
                "a" => DeviceKind::All,
                "b" => DeviceKind::Block,
                "c" => DeviceKind::Character,
                _ => return Err(invalid()),
            },
            major: number(major).ok_or_else(invalid)?,
            minor: number(minor).ok_or_else(invalid)?,
            access: access.parse().map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{} {major}:{minor} {}", self.kind.letter(), self.access)
    }
}

/// The lines for cgroup v1 in their order: the file (`devices.deny` or `devices.allow`) and what is
/// written to it. Everything is denied first.
pub fn version_1_lines(rules: &[DeviceRule]) -> Vec<(&'static str, String)> {
    let mut lines = vec![("devices.deny", "a *:* rwm".to_owned())];
    for rule in rules {
        let file = if rule.allow {
            "devices.allow"
        } else {
            "devices.deny"
        };
        lines.push((file, rule.to_string()));
    }
    lines
}

/// What every container may use: making any node (opening it is another matter), and the devices
/// of its own /dev. Terminals are 136:*, their multiplexer 5:2.
pub fn default_rules() -> Vec<DeviceRule> {
    let rule = |kind, major, minor, access| DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        access,
    };
    let mut rules = vec![
        rule(DeviceKind::Character, None, None, Access::MKNOD),
        rule(DeviceKind::Block, None, None, Access::MKNOD),
    ];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(rule(
            DeviceKind::Character,
            Some(major),
            Some(minor),
            Access::ALL,
        ));
    }
    rules.push(rule(DeviceKind::Character, Some(136), None, Access::ALL));
    rules
}

/// A node that was found on the host, and that the container gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// The host's node, links resolved.
    pub host: String,
    /// Absolute path in the container.
    pub container: String,
    pub kind: NodeKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    Block,
    Character,
    /// A CDI specification may name one.
    Fifo,
}

impl DeviceNode {
    /// The rule that lets the container use it.
    pub fn rule(&self) -> Option<DeviceRule> {
        let kind = match self.kind {
            NodeKind::Block => DeviceKind::Block,
            NodeKind::Character => DeviceKind::Character,
            NodeKind::Fifo => return None,
        };
        Some(DeviceRule {
            allow: true,
            kind,
            major: Some(self.major),
            minor: Some(self.minor),
            access: self.access,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> String {
        match text.parse::<DeviceMapping>() {
            Ok(found) => format!("{} {} {}", found.host, found.container, found.access),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn a_mapping_has_up_to_three_fields() {
        for (text, expected) in [
            ("/dev/fuse", "/dev/fuse /dev/fuse rwm"),
            ("/dev/fuse:/dev/x", "/dev/fuse /dev/x rwm"),
            ("/dev/fuse:r", "/dev/fuse /dev/fuse r"),
            ("/dev/fuse:/dev/x:mr", "/dev/fuse /dev/x rm"),
            ("/dev/fuse::rw", "/dev/fuse /dev/fuse rw"),
            ("/dev/fuse:/x:rr", "bad mode specified: \"rr\""),
            ("/dev/fuse:/x:", "bad mode specified: \"\""),
            ("/a:/b:r:w", "invalid device specification: /a:/b:r:w"),
            (
                "fuse",
                "invalid device specification \"fuse\": \"fuse\" is not an absolute path",
            ),
            (
                "/dev/fuse:x",
                "invalid device specification \"/dev/fuse:x\": \"x\" is not an absolute path",
            ),
        ] {
            assert_eq!(mapping(text), expected, "{text}");
        }
    }

    #[test]
    fn rules_are_read_and_printed_alike() {
        for text in ["c 1:* rwm", "b 8:0 r", "a *:* m", "c *:3 rw"] {
            assert_eq!(text.parse::<DeviceRule>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "c 1:3",
            "d 1:3 r",
            "c 1:3 x",
            "c 1 r",
            "c -1:3 r",
            "c 1:3 r r",
            "c  1:3 r",
            "c 4294967296:0 r",
            "c :3 r",
        ] {
            let error = text.parse::<DeviceRule>().unwrap_err();
            assert_eq!(
                error.message(),
                format!("invalid device cgroup format '{text}'")
            );
        }
    }

    #[test]
    fn version_1_denies_everything_first() {
        let lines = version_1_lines(&default_rules());
        assert_eq!(lines[0], ("devices.deny", "a *:* rwm".to_owned()));
        assert_eq!(lines[1], ("devices.allow", "c *:* m".to_owned()));
        assert_eq!(lines[3], ("devices.allow", "c 1:3 rwm".to_owned()));
        assert_eq!(lines[10], ("devices.allow", "c 136:* rwm".to_owned()));
    }
}
