//! Volumes: directories of the store that containers share and that outlive them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Error, ErrorKind, Result, container::is_object_name};

/// Docker's mark of a volume that was made without a name.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";
/// The one driver there is.
pub const LOCAL: &str = "local";

/// What lasts of a volume besides its files: `volumes/NAME/volume.json`, written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    pub name: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Of the driver: `type`, `device`, `o`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl VolumeRecord {
    /// Made without a name, for one container.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS_LABEL)
    }

    /// What is mounted instead of the volume's own directory.
    pub fn backing(&self) -> Result<Option<Backing>> {
        Backing::parse(&self.options)
    }
}

/// Checks a volume's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 characters.
pub fn check_volume_name(name: &str) -> Result<()> {
    if is_object_name(name) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid volume name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, at least two"
    ))
    .with_hint("a path of the host begins with '/' or './'"))
}

/// Checks a driver's name.
pub fn check_volume_driver(driver: &str) -> Result<()> {
    match driver {
        LOCAL | "" => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!("there is no volume driver {driver:?}"),
        )
        .with_hint("\"local\" is the only one; its options type, device and o mount file systems")),
    }
}

/// A file system that is mounted, in each container that uses the volume, in place of the
/// volume's own directory: options `type`, `device` and `o`, as mount(8) takes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// A directory of the host.
    Bind {
        device: String,
        recursive: bool,
        attributes: MountWords,
    },
    FileSystem {
        kind: String,
        device: String,
        /// Parameters of the file system, each with its value if it has one.
        parameters: Vec<(String, Option<String>)>,
        attributes: MountWords,
    },
}

/// The words of mount(8) that are the mount's and not the file system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountWords {
    pub read_only: bool,
    pub no_exec: bool,
    pub no_suid: bool,
    pub no_dev: bool,
}

impl MountWords {
    /// Whether the word was one of them.
    fn take(&mut self, word: &str) -> bool {
        match word {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "exec" => self.no_exec = false,
            "noexec" => self.no_exec = true,
            "suid" => self.no_suid = false,
            "nosuid" => self.no_suid = true,
            "dev" => self.no_dev = false,
            "nodev" => self.no_dev = true,
            "defaults" | "auto" | "noauto" | "_netdev" => {}
            _ => return false,
        }
        true
    }
}

impl Backing {
    fn parse(options: &BTreeMap<String, String>) -> Result<Option<Backing>> {
        if let Some(key) = options
            .keys()
            .find(|key| !matches!(key.as_str(), "type" | "device" | "o"))
        {
            return Err(Error::invalid(format!(
                "invalid volume option {key:?}: the local driver knows type, device and o"
            )));
        }
        let option = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
        let (kind, device) = (option("type"), option("device").to_owned());
        if kind.is_empty() && device.is_empty() {
            return match option("o") {
                "" => Ok(None),
                _ => Err(Error::invalid(
                    "the volume option \"o\" needs \"type\" and \"device\"",
                )),
            };
        }
        if device.is_empty() && kind != "tmpfs" {
            return Err(Error::invalid("the volume option \"device\" is missing"));
        }
        let (mut attributes, mut parameters) = (MountWords::default(), Vec::new());
        let (mut bind, mut recursive) = (false, false);
        for word in option("o").split(',').filter(|word| !word.is_empty()) {
            match word {
                "bind" => bind = true,
                "rbind" => (bind, recursive) = (true, true),
                _ if attributes.take(word) => {}
                _ => parameters.push(match word.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (word.to_owned(), None),
                }),
            }
        }
        if !bind && matches!(kind, "" | "none") {
            return Err(Error::invalid(
                "the volume option \"type\" names no file system, and \"o\" has no bind",
            ));
        }
        if !bind {
            return Ok(Some(Backing::FileSystem {
                kind: kind.to_owned(),
                device,
                parameters,
                attributes,
            }));
        }
        if !device.starts_with('/') {
            return Err(Error::invalid(format!(
                "the volume's device {device:?} is not an absolute path"
            )));
        }
        Ok(Some(Backing::Bind {
            device,
            recursive,
            attributes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backing(pairs: &[(&str, &str)]) -> Result<Option<Backing>> {
        let options = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Backing::parse(&options)
    }

    #[test]
    fn driver_options_name_a_file_system_or_a_folder() {
        assert_eq!(backing(&[]).unwrap(), None);
        let words = MountWords {
            read_only: true,
            ..MountWords::default()
        };
        assert_eq!(
            backing(&[("type", "none"), ("device", "/a"), ("o", "bind,ro")]).unwrap(),
            Some(Backing::Bind {
                device: "/a".into(),
                recursive: false,
                attributes: words,
            })
        );
        assert_eq!(
            backing(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,x")]).unwrap(),
            Some(Backing::FileSystem {
                kind: "tmpfs".into(),
                device: "tmpfs".into(),
                parameters: vec![("size".into(), Some("1m".into())), ("x".into(), None)],
                attributes: MountWords::default(),
            })
        );
        for wrong in [
            &[("o", "ro")][..],
            &[("type", "ext4")],
            &[("device", "/dev/sda")],
            &[("type", "none"), ("device", "/a")],
            &[("type", "none"), ("device", "a"), ("o", "bind")],
            &[("colour", "red")],
        ] {
            assert!(backing(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names() {
        for good in ["ab", "a.b-c_d", "0x"] {
            assert!(check_volume_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "a/b", "a b", "ä1", &"x".repeat(256)] {
            assert!(check_volume_name(bad).is_err(), "{bad}");
        }
    }
}
