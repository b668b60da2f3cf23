//! How ids in the container become ids outside, user_namespaces(7): what is asked for
//! ([`UserNamespace`], Podman's words) and what comes out of it ([`IdMaps`]).
//!
//! "Outside" are the ids of the namespace in which the engine works: the machine's as root; for an
//! ordinary user those of her own namespace, where 0 is the user and 1… are her subordinate ids.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Error, Result, host::IdRange};

/// The kernel's limit of ranges in one map.
pub const MAX_RANGES: usize = 340;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserNamespace {
    pub mode: UserNamespaceMode,
    pub uid_maps: Vec<MapRule>,
    pub gid_maps: Vec<MapRule>,
    /// Whose ranges of /etc/subuid and /etc/subgid are the container's ids from 0 on.
    pub subuid_name: Option<String>,
    pub subgid_name: Option<String>,
    /// The mode as it was typed, for `inspect`.
    pub typed: String,
}

impl UserNamespace {
    /// Whether the container has ids other than the engine's.
    pub fn is_own(&self) -> bool {
        self.mode != UserNamespaceMode::Host
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum UserNamespaceMode {
    /// The engine's ids: none of its own.
    #[default]
    Host,
    /// The user has this id inside too.
    KeepId {
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u32>,
    },
    /// A range that no other container has.
    Auto {
        size: Option<u32>,
        uid_maps: Vec<MapRule>,
        gid_maps: Vec<MapRule>,
    },
    /// All subordinate ids, the user's own not.
    NoMap,
    /// What `--uidmap` and `--gidmap` say.
    Private,
    /// That of another container.
    Container(String),
    /// The one that a file like /proc/PID/ns/user stands for.
    Path(String),
}

/// `--uidmap CONTAINER:OUTSIDE:COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRule {
    pub range: IdRange,
    /// `@`: the outer id is the machine's, whatever namespace the engine works in.
    pub of_machine: bool,
    /// `+`: changes the usual map instead of replacing it.
    pub extends: bool,
    /// `u` and `g`: only for these, where one flag's rules serve both.
    pub only: Option<IdKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdKind {
    User,
    Group,
}

impl FromStr for UserNamespaceMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mode, options) = match text.split_once(':') {
            Some((mode, options)) => (mode, Some(options)),
            None => (text, None),
        };
        match (mode, options) {
            ("" | "host", None) => Ok(Self::Host),
            ("nomap", None) => Ok(Self::NoMap),
            ("private", None) => Ok(Self::Private),
            ("keep-id", options) => keep_id(options.unwrap_or_default()),
            ("auto", options) => auto(options.unwrap_or_default()),
            ("container", Some(name)) if !name.is_empty() => Ok(Self::Container(name.to_owned())),
            ("ns", Some(path)) if path.starts_with('/') => Ok(Self::Path(path.to_owned())),
            _ => Err(Error::invalid(format!("invalid user namespace {text:?}")).with_hint(
                "host, keep-id[:uid=N,gid=N,size=N], auto[:size=N,uidmapping=C:H:N,gidmapping=C:H:N], nomap, private, container:NAME or ns:/PATH",
            )),
        }
    }
}

fn keep_id(options: &str) -> Result<UserNamespaceMode> {
    let (mut uid, mut gid, mut size) = (None, None, None);
    for (key, value) in pairs(options) {
        match key {
            "uid" => uid = Some(number("keep-id uid", value)?),
            "gid" => gid = Some(number("keep-id gid", value)?),
            "size" => size = Some(count("keep-id size", value)?),
            _ => return Err(unknown_option("keep-id", key, "uid, gid, size")),
        }
    }
    Ok(UserNamespaceMode::KeepId { uid, gid, size })
}

fn auto(options: &str) -> Result<UserNamespaceMode> {
    let (mut size, mut uid_maps, mut gid_maps) = (None, Vec::new(), Vec::new());
    for (key, value) in pairs(options) {
        match key {
            "size" => size = Some(count("auto size", value)?),
            "uidmapping" => uid_maps.push(value.parse()?),
            "gidmapping" => gid_maps.push(value.parse()?),
            _ => return Err(unknown_option("auto", key, "size, uidmapping, gidmapping")),
        }
    }
    Ok(UserNamespaceMode::Auto {
        size,
        uid_maps,
        gid_maps,
    })
}

fn pairs(options: &str) -> impl Iterator<Item = (&str, &str)> {
    let options = options.split(',').filter(|option| !option.is_empty());
    options.map(|option| option.split_once('=').unwrap_or((option, "")))
}

fn unknown_option(mode: &str, key: &str, known: &str) -> Error {
    Error::invalid(format!(
        "unknown option {key:?} of user namespace {mode}: there are {known}"
    ))
}

fn number(what: &str, text: &str) -> Result<u32> {
    // -1 is no id, and no map reaches it.
    match text.parse() {
        Ok(number) if number < u32::MAX => Ok(number),
        _ => Err(Error::invalid(format!("invalid {what} {text:?}"))),
    }
}

fn count(what: &str, text: &str) -> Result<u32> {
    match number(what, text)? {
        0 => Err(Error::invalid(format!("invalid {what} {text:?}"))),
        count => Ok(count),
    }
}

impl FromStr for MapRule {
    type Err = Error;

    /// `[u|g|+]CONTAINER:[@]OUTSIDE[:COUNT]`, or `@OUTSIDE` for the same id on both sides.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::invalid(format!("invalid id map {text:?}"))
                .with_hint("CONTAINER-ID:HOST-ID:COUNT, as in 0:100000:65536")
        };
        let numbers = text.trim_start_matches(['+', 'u', 'g']);
        let flags = &text[..text.len() - numbers.len()];
        let parts: Vec<&str> = numbers.split(':').collect();
        let (inside, outside, size) = match *parts.as_slice() {
            [outside] if outside.starts_with('@') => (&outside[1..], outside, "1"),
            [inside, outside] => (inside, outside, "1"),
            [inside, outside, size] => (inside, outside, size),
            _ => return Err(invalid()),
        };
        let plain = outside.strip_prefix('@');
        let range = IdRange {
            inside: inside.parse().map_err(|_| invalid())?,
            outside: plain.unwrap_or(outside).parse().map_err(|_| invalid())?,
            count: size.parse().map_err(|_| invalid())?,
        };
        let ends = |start: u32| start.checked_add(range.count).is_some();
        if range.count == 0 || !ends(range.inside) || !ends(range.outside) {
            return Err(invalid());
        }
        Ok(MapRule {
            range,
            of_machine: plain.is_some(),
            extends: flags.contains('+'),
            only: match (flags.contains('u'), flags.contains('g')) {
                (true, false) => Some(IdKind::User),
                (false, true) => Some(IdKind::Group),
                _ => None,
            },
        })
    }
}

/// The ids of one container, decided when it is made: its files are owned by them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
    /// Whom the program runs as if neither the request nor the image says so (keep-id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<(u32, u32)>,
    /// No automatic map may overlap this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reserved: bool,
}

impl IdMaps {
    pub fn outside_uid(&self, inside: u32) -> Option<u32> {
        outside(&self.uids, inside)
    }

    pub fn outside_gid(&self, inside: u32) -> Option<u32> {
        outside(&self.gids, inside)
    }

    /// The other way round: for reading files that the container has written.
    pub fn inside_uid(&self, outside: u32) -> Option<u32> {
        inside(&self.uids, outside)
    }

    pub fn inside_gid(&self, outside: u32) -> Option<u32> {
        inside(&self.gids, outside)
    }

    /// The container's root: user and group.
    pub fn root(&self) -> (u32, u32) {
        // Maps without a root are refused before they are used.
        (
            self.outside_uid(0).unwrap_or_default(),
            self.outside_gid(0).unwrap_or_default(),
        )
    }
}

fn outside(map: &[IdRange], id: u32) -> Option<u32> {
    let range = map
        .iter()
        .find(|range| id >= range.inside && id - range.inside < range.count)?;
    range.outside.checked_add(id - range.inside)
}

fn inside(map: &[IdRange], id: u32) -> Option<u32> {
    let range = map
        .iter()
        .find(|range| id >= range.outside && id - range.outside < range.count)?;
    range.inside.checked_add(id - range.outside)
}

/// A map as the kernel's files and Podman's `inspect` have it: `CONTAINER OUTSIDE COUNT`.
pub fn lines(map: &[IdRange], separator: char) -> Vec<String> {
    let line = |range: &IdRange| {
        let IdRange {
            inside,
            outside,
            count,
        } = range;
        format!("{inside}{separator}{outside}{separator}{count}")
    };
    map.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        use UserNamespaceMode::*;
        let parse = |text: &str| text.parse::<UserNamespaceMode>();
        let plain = KeepId {
            uid: None,
            gid: None,
            size: None,
        };
        assert_eq!(parse("").unwrap(), Host);
        assert_eq!(parse("keep-id").unwrap(), plain);
        assert_eq!(
            parse("keep-id:uid=200,gid=210").unwrap(),
            KeepId {
                uid: Some(200),
                gid: Some(210),
                size: None
            }
        );
        let Auto { size, uid_maps, .. } = parse("auto:size=8192,uidmapping=5:0:1").unwrap() else {
            panic!("not automatic");
        };
        assert_eq!((size, uid_maps.len()), (Some(8192), 1));
        assert_eq!(parse("container:db").unwrap(), Container("db".into()));
        for wrong in [
            "x",
            "host:1",
            "keep-id:uid=-1",
            "keep-id:u=1",
            "auto:size=0",
            "container:",
            "ns:x",
            "auto:size=4294967295",
            "nomap:x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules() {
        let rule = |text: &str| {
            let rule: MapRule = text.parse().unwrap();
            let IdRange {
                inside,
                outside,
                count,
            } = rule.range;
            (
                inside,
                outside,
                count,
                rule.of_machine,
                rule.extends,
                rule.only,
            )
        };
        assert_eq!(
            rule("0:100000:65536"),
            (0, 100_000, 65536, false, false, None)
        );
        assert_eq!(rule("5:7"), (5, 7, 1, false, false, None));
        assert_eq!(rule("+5:@7:2"), (5, 7, 2, true, true, None));
        assert_eq!(
            rule("u@500"),
            (500, 500, 1, true, false, Some(IdKind::User))
        );
        for wrong in [
            "",
            "1",
            "1:2:0",
            "a:1:1",
            "0:0:4294967296",
            "4294967295:0:2",
            "1:2:3:4",
        ] {
            assert!(wrong.parse::<MapRule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_go_both_ways() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let maps = IdMaps {
            uids: vec![
                range(0, 1, 1000),
                range(1000, 0, 1),
                range(1001, 1001, 64536),
            ],
            gids: vec![range(0, 5, 2)],
            ..IdMaps::default()
        };
        assert_eq!(maps.outside_uid(1000), Some(0));
        assert_eq!(maps.outside_uid(999), Some(1000));
        assert_eq!(maps.inside_uid(0), Some(1000));
        assert_eq!(maps.outside_uid(70_000), None);
        assert_eq!(maps.root(), (1, 5));
        assert_eq!(lines(&maps.gids, ':'), ["0:5:2"]);
    }
}
