//! `--mount type=…,source=…,target=…,KEY=VALUE,…`

use std::collections::BTreeMap;

use super::{
    Mount, MountOptions, MountSource, Origin, OverlayFolders, Propagation, VolumeSource,
    absolute_target, parse_bool, parse_mode, relative_subpath,
};
use crate::model::{
    Error, ErrorKind, Result, human,
    volume::{check_volume_driver, check_volume_name},
};

/// Parses `--mount`: one line of comma-separated `key=value`, quoted as in CSV (RFC 4180), so
/// that `"source=/a,b"` keeps its comma.
pub fn parse_mount(text: &str) -> Result<Mount> {
    let invalid = |why: String| {
        Error::invalid(format!("invalid mount {text:?}: {why}"))
            .with_hint("for example type=bind,source=/path/on/the/host,target=/path,readonly")
    };
    let mut keys = MountKeys::default();
    for field in split_csv(text).map_err(|why| invalid(why.to_owned()))? {
        keys.read(&field).map_err(&invalid)?;
    }
    let family = match keys.kind.as_deref().unwrap_or("volume") {
        "bind" => "bind",
        "volume" => "volume",
        "tmpfs" => "tmpfs",
        "ramfs" => "ramfs",
        "devpts" => "devpts",
        "image" => "image",
        kind @ ("npipe" | "cluster" | "glob" | "artifact") => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{text:?} asks for a mount of type {kind}, which is not there"),
            )
            .with_hint("bind, volume, tmpfs, ramfs, devpts and image are"));
        }
        other => return Err(invalid(format!("{other:?} is not a type of mount"))),
    };
    if let Some((key, of)) = keys
        .families
        .iter()
        .find(|(_, of)| !of.split(' ').any(|one| one == family))
    {
        return Err(invalid(format!(
            "{key} belongs to type={}, not to type={family}",
            of.replace(' ', " or ")
        )));
    }
    let target = keys
        .target
        .as_deref()
        .ok_or("target is missing")
        .and_then(absolute_target)
        .map_err(|why| invalid(why.to_owned()))?;
    let read_only = keys.read_only.unwrap_or(false);
    let options = keys.options.clone();
    if let Some(driver) = &keys.volume.driver {
        check_volume_driver(driver)?;
    }
    let source = keys.source_of(family).map_err(invalid)?;
    Ok(Mount {
        target,
        source,
        read_only,
        options,
    })
}

/// What the keys of one `--mount` said, before its type is known (it may come last).
struct MountKeys {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: Option<bool>,
    propagation: Option<Propagation>,
    non_recursive: bool,
    /// `bind-recursive=readonly`: legal only for a read-only, private mount.
    must_be_read_only: bool,
    create_source: bool,
    size: Option<u64>,
    mode: Option<u32>,
    copy_up: bool,
    volume: VolumeSource,
    device_options: Vec<String>,
    /// Words of tmpfs(5) beside size and mode.
    words: Vec<String>,
    options: MountOptions,
    /// Keys that only some types understand, with those types.
    families: Vec<(String, &'static str)>,
}

impl Default for MountKeys {
    fn default() -> MountKeys {
        MountKeys {
            kind: None,
            source: None,
            target: None,
            read_only: None,
            propagation: None,
            non_recursive: false,
            must_be_read_only: false,
            create_source: false,
            size: None,
            mode: None,
            copy_up: false,
            volume: VolumeSource::default(),
            device_options: Vec::new(),
            words: Vec::new(),
            options: MountOptions {
                origin: Origin::Mount,
                ..MountOptions::default()
            },
            families: Vec::new(),
        }
    }
}

/// Keys that may stand without a value.
const BARE: &[&str] = &[
    "readonly",
    "ro",
    "rw",
    "volume-nocopy",
    "bind-nonrecursive",
    "bind-create-src",
    "create",
    "u",
    "chown",
    "idmap",
    "tmpcopyup",
    "notmpcopyup",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "o",
    "overlay",
    "z",
];

/// The types that understand a key; all do if it is not here.
fn families_of(key: &str) -> Option<&'static str> {
    const PREFIXES: &[(&str, &str)] = &[
        ("bind-", "bind"),
        ("volume-", "volume"),
        ("image-", "image"),
        ("tmpfs-", "tmpfs ramfs"),
    ];
    let of_prefix = PREFIXES.iter().find(|(prefix, _)| key.starts_with(prefix));
    Some(match key {
        "tmpfs-size" | "size" | "tmpcopyup" | "notmpcopyup" => "tmpfs",
        "mode" => "tmpfs ramfs devpts",
        "uid" | "gid" | "max" => "devpts",
        "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" => "bind volume tmpfs",
        "u" | "chown" | "idmap" | "o" | "overlay" | "relabel" | "z" => "bind volume",
        "create" => "bind",
        "rw" => "bind volume tmpfs ramfs image",
        "subpath" => "volume image",
        _ => return of_prefix.map(|(_, families)| *families),
    })
}

impl MountKeys {
    fn read(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        if value.is_none() && !BARE.contains(&key.as_str()) {
            return Err(format!("{field:?} must be written key=value"));
        }
        if let Some(families) = families_of(&key) {
            self.families.push((key.clone(), families));
        }
        if self.read_flag(&key, value)? {
            return Ok(());
        }
        self.read_value(&key, value.unwrap_or_default())
    }

    /// Keys that are booleans. Whether this was one.
    fn read_flag(&mut self, key: &str, value: Option<&str>) -> Result<bool, String> {
        let said = || parse_bool(key, value.unwrap_or("true"));
        let options = &mut self.options;
        match key {
            "readonly" | "ro" => self.read_only = Some(said()?),
            "rw" => self.read_only = Some(!said()?),
            "bind-nonrecursive" => self.non_recursive = said()?,
            "bind-create-src" | "create" => self.create_source = said()?,
            "volume-nocopy" => self.volume.no_copy = said()?,
            "u" | "chown" => options.chown = said()?,
            "tmpcopyup" => self.copy_up = said()?,
            "notmpcopyup" => self.copy_up = !said()?,
            "exec" => options.exec = Some(said()?),
            "noexec" => options.exec = Some(!said()?),
            "suid" => options.suid = Some(said()?),
            "nosuid" => options.suid = Some(!said()?),
            "dev" => options.dev = Some(said()?),
            "nodev" => options.dev = Some(!said()?),
            "o" | "overlay" => options.overlay = said()?.then(OverlayFolders::default),
            "idmap" => {
                options.id_map = Some(value.filter(|map| *map != "true").unwrap_or("").to_owned());
            }
            // Labels are SELinux's, which confines nothing here.
            "z" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_value(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "type" => self.kind = Some(value.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(value.to_owned()),
            "consistency" => match value.to_ascii_lowercase().as_str() {
                "" | "default" | "consistent" | "cached" | "delegated" => {}
                _ => return Err(format!("{value:?} is not a consistency")),
            },
            "bind-propagation" => {
                let propagation = Propagation::parse(&value.to_ascii_lowercase());
                self.propagation =
                    Some(propagation.ok_or_else(|| format!("{value:?} is not a propagation"))?);
            }
            "bind-recursive" => self.read_recursion(value)?,
            "volume-subpath" | "image-subpath" | "subpath" => {
                self.options.subpath = relative_subpath(value)?;
            }
            "volume-label" => insert(&mut self.volume.labels, value),
            "volume-driver" => self.volume.driver = Some(value.to_owned()),
            "volume-opt" => insert(&mut self.volume.driver_options, value),
            "tmpfs-size" | "size" => {
                self.size = Some(human::parse_bytes(value).map_err(|e| e.message().to_owned())?);
            }
            "tmpfs-mode" | "mode" => {
                self.mode =
                    Some(parse_mode(value).ok_or_else(|| {
                        format!("{key} {value:?} is not an octal number up to 7777")
                    })?);
            }
            "uid" | "gid" | "max" => {
                if !super::number_up_to(value, u32::MAX - 1) {
                    return Err(format!("{key}={value} is not a number"));
                }
                self.device_options.push(format!("{key}={value}"));
            }
            "relabel" if matches!(value, "shared" | "private") => {}
            _ => return Err(format!("unknown key {key:?}")),
        }
        Ok(())
    }

    fn read_recursion(&mut self, value: &str) -> Result<(), String> {
        match value {
            "enabled" => {}
            "disabled" => self.non_recursive = true,
            "readonly" => self.must_be_read_only = true,
            "writable" => self.options.writable_below = true,
            other => {
                return Err(format!(
                    "bind-recursive={other}: expected enabled, disabled, writable or readonly"
                ));
            }
        }
        Ok(())
    }

    fn source_of(mut self, family: &str) -> Result<MountSource, String> {
        let has_source = self
            .source
            .as_deref()
            .is_some_and(|source| !source.is_empty());
        if has_source && matches!(family, "tmpfs" | "ramfs" | "devpts") {
            return Err(format!("a {family} has no source"));
        }
        if self.create_source && family != "bind" {
            return Err("only a bind's source can be made".to_owned());
        }
        match family {
            "bind" => self.bind(),
            "tmpfs" => Ok(MountSource::Tmpfs {
                size: self.size,
                mode: self.mode,
                options: self.tmpfs_words(),
                copy_up: self.copy_up,
            }),
            "ramfs" => Ok(MountSource::Ramfs { mode: self.mode }),
            "devpts" => {
                let mode = self.mode.map(|mode| format!("mode={mode:o}"));
                self.device_options.extend(mode);
                Ok(MountSource::Devpts {
                    options: self.device_options,
                })
            }
            "image" => match self.source.take() {
                Some(image) if !image.is_empty() => Ok(MountSource::Image {
                    image,
                    layers: Vec::new(),
                    writable: self.read_only == Some(false),
                }),
                _ => Err("source is missing: the image's name".to_owned()),
            },
            _ => self.volume(),
        }
    }

    /// They are asked of a tmpfs in the words of mount(8).
    fn tmpfs_words(&mut self) -> Vec<String> {
        let options = &mut self.options;
        for (said, yes, no) in [
            (options.exec.take(), "exec", "noexec"),
            (options.suid.take(), "suid", "nosuid"),
            (options.dev.take(), "dev", "nodev"),
        ] {
            self.words
                .extend(said.map(|said| if said { yes } else { no }.to_owned()));
        }
        std::mem::take(&mut self.words)
    }

    fn volume(self) -> Result<MountSource, String> {
        let name = self.source.unwrap_or_default();
        if !name.is_empty() {
            check_volume_name(&name).map_err(|error| error.message().to_owned())?;
        }
        Ok(MountSource::Volume(VolumeSource {
            anonymous: name.is_empty(),
            name,
            ..self.volume
        }))
    }

    fn bind(self) -> Result<MountSource, String> {
        let source = match self.source.as_deref() {
            None | Some("") => return Err("source is missing".to_owned()),
            Some(source) if source.contains('\0') => {
                return Err("a path cannot contain a NUL byte".to_owned());
            }
            Some(source) if source.starts_with(['/', '.', '~']) => source.to_owned(),
            Some(source) => {
                return Err(format!(
                    "source {source:?} must be absolute or begin with './'"
                ));
            }
        };
        let propagation = self.propagation.unwrap_or_default();
        let read_only = self.read_only == Some(true);
        if self.must_be_read_only && !(read_only && propagation == Propagation::RPrivate) {
            return Err(
                "bind-recursive=readonly needs readonly and bind-propagation=rprivate".to_owned(),
            );
        }
        if self.options.writable_below && !read_only {
            return Err("bind-recursive=writable needs readonly".to_owned());
        }
        Ok(MountSource::Bind {
            source,
            propagation,
            recursive: !self.non_recursive,
            create_source: self.create_source,
        })
    }
}

fn insert(map: &mut BTreeMap<String, String>, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    map.insert(key.to_owned(), value.to_owned());
}

/// One record of comma-separated values: a field may be wrapped in double quotes, within which
/// a doubled quote stands for one.
pub fn split_csv(text: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let end = if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = unquote(quoted)?;
            fields.push(field);
            after
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let field = &rest[..end];
            if field.contains('"') {
                return Err("a quote in the middle of a field: quote the whole key=value");
            }
            fields.push(field.to_owned());
            &rest[end..]
        };
        match end.strip_prefix(',') {
            Some(next) => rest = next,
            None if end.is_empty() => return Ok(fields),
            None => return Err("text after a closing quote"),
        }
    }
}

/// The field up to its closing quote, and what follows that.
fn unquote(quoted: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let quote = rest.find('"').ok_or("a quote is not closed")?;
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, rest)),
        }
    }
}
