//! Container Device Interface: names of devices like `vendor.com/class=name`, and the
//! specifications in which vendors say what a container needs for one (CDI 0.3 to 1.1,
//! <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>).
//!
//! Specifications are files of the host's administrator, JSON or YAML. Which device a name stands
//! for is decided as the interface has it: a specification in a later folder comes before one in
//! an earlier folder, and a device that two files of one folder claim is nobody's.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Context, Error, ErrorKind, Result, device::Access};

/// Where specifications are looked for, later ones first.
pub const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// `vendor.com/class=name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QualifiedName {
    /// `vendor.com/class`
    pub kind: String,
    pub name: String,
}

impl QualifiedName {
    /// Whether `--device` means one of these and not a path.
    pub fn is_one(text: &str) -> bool {
        text.parse::<QualifiedName>().is_ok()
    }
}

impl FromStr for QualifiedName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("{text:?} is not the name of a CDI device"));
        let (kind, name) = text.split_once('=').ok_or_else(invalid)?;
        if is_kind(kind) && is_name(name, "_.:-", |first| first.is_ascii_alphanumeric()) {
            Ok(QualifiedName {
                kind: kind.to_owned(),
                name: name.to_owned(),
            })
        } else {
            Err(invalid())
        }
    }
}

impl TryFrom<String> for QualifiedName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<QualifiedName> for String {
    fn from(name: QualifiedName) -> String {
        name.to_string()
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.name)
    }
}

fn is_kind(kind: &str) -> bool {
    let letter = |first: u8| first.is_ascii_alphabetic();
    kind.split_once('/').is_some_and(|(vendor, class)| {
        is_name(vendor, "_.-", letter) && is_name(class, "_-", letter)
    })
}

fn is_name(text: &str, inside: &str, first: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || inside.as_bytes().contains(byte);
    bytes.first().is_some_and(|byte| first(*byte))
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(fits)
}

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Specification {
    cdi_version: String,
    pub kind: String,
    #[serde(default)]
    #[expect(dead_code, reason = "allowed in a file, and nobody's business here")]
    annotations: BTreeMap<String, String>,
    pub devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    pub name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "allowed in a file, and nobody's business here")]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

/// What a container gets for a device.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Edits {
    /// `NAME=VALUE`
    pub env: Vec<String>,
    pub device_nodes: Vec<Node>,
    pub mounts: Vec<HostMount>,
    pub hooks: Vec<Hook>,
    /// Supplementary groups of the program.
    pub additional_gids: Vec<u32>,
    pub intel_rdt: Option<serde_json::Value>,
    /// Since 1.1: network interfaces that are moved into the container.
    pub net_devices: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Node {
    /// In the container; on the host too unless `host_path` says otherwise.
    pub path: String,
    pub host_path: Option<String>,
    /// `b`, `c`, `u` or `p`; as the host's node if absent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Permission bits, a decimal number in the file.
    pub file_mode: Option<u32>,
    pub permissions: Option<Access>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostMount {
    pub host_path: String,
    pub container_path: String,
    pub options: Vec<String>,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A program of the host, runtime-spec config.md, "POSIX-platform Hooks".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hook {
    /// `createRuntime`, `createContainer`, `startContainer`, `poststart`, `poststop`, `prestart`
    pub hook_name: String,
    pub path: String,
    /// With the program's name.
    pub args: Vec<String>,
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<i64>,
}

impl Specification {
    /// Reads a file: JSON if `name` says so, else YAML.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let what = || format!("cannot understand the CDI specification {name}");
        let found: Specification = if name.ends_with(".json") {
            serde_json::from_slice(bytes).context(ErrorKind::InvalidArgument, what)?
        } else {
            let options = serde_saphyr::options! { strict_booleans: true };
            serde_saphyr::from_slice_with_options(bytes, options)
                .context(ErrorKind::InvalidArgument, what)?
        };
        let invalid = |why: String| Error::invalid(format!("{}: {why}", what()));
        if !is_known_version(&found.cdi_version) {
            return Err(invalid(format!(
                "its version {:?} is not between 0.3 and 1.1",
                found.cdi_version
            )));
        }
        if !is_kind(&found.kind) {
            return Err(invalid(format!("{:?} is not a kind of device", found.kind)));
        }
        Ok(found)
    }
}

fn is_known_version(text: &str) -> bool {
    let mut numbers = text
        .trim_start_matches('v')
        .split('.')
        .map(|number| number.parse::<u32>().ok());
    matches!(
        (numbers.next().flatten(), numbers.next().flatten()),
        (Some(0), Some(3..)) | (Some(1), Some(0 | 1))
    )
}

/// A specification and the place of its folder in the list of folders.
#[derive(Clone, Debug)]
pub struct Found {
    pub priority: usize,
    pub specification: Specification,
}

/// What the named devices need, all together. What a file says for all its devices comes once, before
/// the first of them.
///
/// A name `all` that no specification has stands for every device of its kind.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] with all the names that stand for nothing.
pub fn resolve(found: &[Found], names: &[QualifiedName]) -> Result<Edits> {
    let mut edits = Edits::default();
    let mut unresolvable = Vec::new();
    let mut begun: Vec<usize> = Vec::new();
    for name in names {
        let places = places(found, name);
        if places.is_empty() {
            unresolvable.push(name.to_string());
        }
        for (file, device) in places {
            let specification = &found[file].specification;
            if !begun.contains(&file) {
                begun.push(file);
                edits.append(&specification.container_edits);
            }
            edits.append(&specification.devices[device].container_edits);
        }
    }
    if unresolvable.is_empty() {
        Ok(edits)
    } else {
        Err(Error::invalid(format!(
            "CDI device injection failed: unresolvable CDI devices {}",
            unresolvable.join(", ")
        )))
    }
}

/// The names that the specifications give for a kind, in order.
pub fn names_of(found: &[Found], kind: &str) -> Vec<String> {
    let mut names: Vec<String> = found
        .iter()
        .filter(|file| file.specification.kind == kind)
        .flat_map(|file| &file.specification.devices)
        .map(|device| device.name.clone())
        .collect();
    // Numbers as numbers.
    names.sort_by_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
    names.dedup();
    names
}

/// Files and devices in them, as indices.
fn places(found: &[Found], name: &QualifiedName) -> Vec<(usize, usize)> {
    if let Some(place) = place(found, &name.kind, &name.name) {
        return vec![place];
    }
    if name.name != "all" {
        return Vec::new();
    }
    names_of(found, &name.kind)
        .iter()
        .filter_map(|device| place(found, &name.kind, device))
        .collect()
}

fn place(found: &[Found], kind: &str, name: &str) -> Option<(usize, usize)> {
    let claims: Vec<(usize, usize)> = found
        .iter()
        .enumerate()
        .filter(|(_, file)| file.specification.kind == kind)
        .filter_map(|(index, file)| {
            let devices = &file.specification.devices;
            let device = devices.iter().position(|device| device.name == name)?;
            Some((index, device))
        })
        .collect();
    let highest = claims.iter().map(|(file, _)| found[*file].priority).max()?;
    let mut best = claims
        .into_iter()
        .filter(|(file, _)| found[*file].priority == highest);
    match (best.next(), best.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

impl Edits {
    fn append(&mut self, other: &Edits) {
        self.env.extend_from_slice(&other.env);
        self.device_nodes.extend_from_slice(&other.device_nodes);
        self.mounts.extend_from_slice(&other.mounts);
        self.hooks.extend_from_slice(&other.hooks);
        self.additional_gids
            .extend(other.additional_gids.iter().filter(|gid| **gid != 0));
        self.net_devices.extend_from_slice(&other.net_devices);
        if other.intel_rdt.is_some() {
            self.intel_rdt.clone_from(&other.intel_rdt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(priority: usize, text: &str) -> Found {
        Found {
            priority,
            specification: Specification::parse("x.yaml", text.as_bytes()).unwrap(),
        }
    }

    fn names(texts: &[&str]) -> Vec<QualifiedName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    const TWO: &str = "cdiVersion: 0.5.0\nkind: example.com/gpu\ncontainerEdits:\n  env: [ALL=1]\ndevices:\n- name: '0'\n  containerEdits:\n    env: [A=0]\n- name: '1'\n  containerEdits:\n    env: [A=1]\n    deviceNodes:\n    - path: /dev/x\n      hostPath: /dev/null\n      permissions: rw\n      fileMode: 438\n";

    #[test]
    fn names_are_told_from_paths() {
        for text in ["nvidia.com/gpu=all", "vendor.com/net-x=0:1", "a/b=c"] {
            assert!(QualifiedName::is_one(text), "{text}");
        }
        for text in [
            "/dev/a=b",
            "vendor.com/gpu",
            "vendor.com/gpu=",
            "1a/b=c",
            "a./b=c",
            "a/b=-",
            "a/b/c=d",
        ] {
            assert!(!QualifiedName::is_one(text), "{text}");
        }
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = r#"{"cdiVersion":"0.6.0","kind":"v.com/d","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/a","major":1,"minor":3,"type":"c"}],"hooks":[{"hookName":"createContainer","path":"/bin/x","args":["x"]}],"additionalGids":[0,44]}}]}"#;
        let found = Found {
            priority: 0,
            specification: Specification::parse("a.json", json.as_bytes()).unwrap(),
        };
        let edits = resolve(&[found], &names(&["v.com/d=a"])).unwrap();
        assert_eq!(edits.device_nodes[0].major, Some(1));
        assert_eq!(edits.hooks[0].hook_name, "createContainer");
        assert_eq!(edits.additional_gids, [44]);
        assert_eq!(
            resolve(&[file(0, json)], &names(&["v.com/d=a"])).unwrap(),
            edits
        );
    }

    #[test]
    fn what_counts_for_all_devices_comes_once() {
        let edits = resolve(
            &[file(0, TWO)],
            &names(&["example.com/gpu=1", "example.com/gpu=0"]),
        )
        .unwrap();
        assert_eq!(edits.env, ["ALL=1", "A=1", "A=0"]);
        let all = resolve(&[file(0, TWO)], &names(&["example.com/gpu=all"])).unwrap();
        assert_eq!(all.env, ["ALL=1", "A=0", "A=1"]);
    }

    #[test]
    fn later_folders_win_and_equals_cancel_out() {
        let other = TWO.replace("A=", "B=");
        let wanted = names(&["example.com/gpu=0"]);
        let edits = resolve(&[file(0, TWO), file(1, &other)], &wanted).unwrap();
        assert_eq!(edits.env, ["ALL=1", "B=0"]);
        let error = resolve(&[file(1, TWO), file(1, &other)], &wanted).unwrap_err();
        assert_eq!(
            error.message(),
            "CDI device injection failed: unresolvable CDI devices example.com/gpu=0"
        );
    }

    #[test]
    fn bad_files_are_refused() {
        for text in [
            "cdiVersion: 0.2.0\nkind: a.com/b\ndevices: []\n",
            "cdiVersion: 2.0.0\nkind: a.com/b\ndevices: []\n",
            "cdiVersion: 0.5.0\nkind: nonsense\ndevices: []\n",
            "cdiVersion: 0.5.0\nkind: a.com/b\ndevices: []\nwhat: 1\n",
            "- 1\n",
            "",
        ] {
            assert!(
                Specification::parse("x.yaml", text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }
}
