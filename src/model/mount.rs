//! What the user asks to be mounted: `-v`, `--mount` and `--tmpfs`, as Docker writes them.

use serde::{Deserialize, Serialize};

use super::{Error, ErrorKind, Result};

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

/// Parses `-v`: `SOURCE:TARGET[:OPTION,…]`.
///
/// A source that begins with `/`, `.` or `~` is a path of the host and is kept as typed: only
/// the command knows the working directory and the home. Anything else would be a volume.
pub fn parse_volume(text: &str) -> Result<Mount> {
    let fields: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match fields[..] {
        _ if fields.iter().any(|field| field.is_empty()) => {
            return Err(invalid_volume(text, "a part of it is empty"));
        }
        [_] => return Err(volumes_are_missing(text)),
        // `-v NAME:/path` and `-v /path:ro` differ only in what the second field looks like.
        [path, options] if !options.starts_with('/') && path.starts_with('/') => {
            return Err(if options.split(',').all(is_volume_option) {
                volumes_are_missing(text)
            } else {
                invalid_volume(text, "the path in the container must be absolute")
            });
        }
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(invalid_volume(text, "it has more than three parts")),
    };
    let target = absolute_target(target).map_err(|why| invalid_volume(text, why))?;
    if !source.starts_with(['/', '.', '~']) {
        return Err(volumes_are_missing(text));
    }
    let (read_only, propagation) =
        volume_options(options).map_err(|why| invalid_volume(text, &why))?;
    Ok(Mount {
        target,
        source: MountSource::Bind {
            source: source.to_owned(),
            propagation,
            recursive: true,
            create_source: true,
        },
        read_only,
    })
}

fn invalid_volume(text: &str, why: &str) -> Error {
    Error::invalid(format!("invalid volume {text:?}: {why}"))
        .with_hint("write it as /path/on/the/host:/path/in/the/container[:ro]")
}

fn volumes_are_missing(text: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{text:?} asks for a volume: volumes are not there yet"),
    )
    .with_hint("use a folder of the host: /path/on/the/host:/path/in/the/container")
}

/// The groups of mutually exclusive options of `-v`.
#[derive(Clone, Copy, PartialEq)]
enum VolumeOption {
    Access,
    Label,
    Propagation,
    Copy,
    Consistency,
}

fn volume_option(option: &str) -> Option<VolumeOption> {
    Some(match option {
        "ro" | "rw" => VolumeOption::Access,
        "z" | "Z" => VolumeOption::Label,
        "nocopy" => VolumeOption::Copy,
        "consistent" | "cached" | "delegated" | "default" => VolumeOption::Consistency,
        _ if Propagation::parse(option).is_some() => VolumeOption::Propagation,
        _ => return None,
    })
}

fn is_volume_option(option: &str) -> bool {
    volume_option(option).is_some()
}

fn volume_options(options: &str) -> Result<(bool, Propagation), String> {
    let mut seen = Vec::new();
    let mut read_only = false;
    let mut propagation = Propagation::default();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let group =
            volume_option(option).ok_or_else(|| format!("{option:?} is not a mount option"))?;
        if seen.contains(&group) {
            return Err(format!("{option:?} contradicts or repeats another option"));
        }
        seen.push(group);
        match group {
            VolumeOption::Access => read_only = option == "ro",
            VolumeOption::Propagation => {
                propagation = Propagation::parse(option).unwrap_or_default();
            }
            // Labels are SELinux's, which is not asked here; consistency is for file sharing
            // into virtual machines; nothing is copied into a bind mount.
            VolumeOption::Label | VolumeOption::Copy | VolumeOption::Consistency => {}
        }
    }
    Ok((read_only, propagation))
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
fn absolute_target(target: &str) -> Result<String, &'static str> {
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
    let kind = keys.kind.as_deref().unwrap_or("volume");
    let family = match kind {
        "bind" | "tmpfs" => kind,
        "volume" | "image" | "npipe" | "cluster" | "glob" | "ramfs" | "devpts" | "artifact" => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{text:?} asks for a mount of type {kind}: only bind and tmpfs are there"),
            )
            .with_hint(
                "type=bind,source=/path/on/the/host,target=/path or type=tmpfs,target=/path",
            ));
        }
        other => return Err(invalid(format!("{other:?} is not a type of mount"))),
    };
    if let Some((key, of)) = keys.families.iter().find(|(_, of)| *of != family) {
        return Err(invalid(format!(
            "{key} belongs to type={of}, not to type={family}"
        )));
    }
    let target = keys
        .target
        .as_deref()
        .ok_or("target is missing")
        .and_then(absolute_target)
        .map_err(|why| invalid(why.to_owned()))?;
    let (source, read_only) = if family == "bind" {
        keys.bind()
    } else {
        keys.tmpfs()
    }
    .map_err(invalid)?;
    Ok(Mount {
        target,
        source,
        read_only,
    })
}

/// What the keys of one `--mount` said, before its type is known (it may come last).
#[derive(Default)]
struct MountKeys {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<Propagation>,
    non_recursive: bool,
    /// `bind-recursive=readonly`: legal only for a read-only, private mount.
    must_be_read_only: bool,
    size: Option<u64>,
    mode: Option<u32>,
    /// Keys that only one type understands, with that type.
    families: Vec<(String, &'static str)>,
}

impl MountKeys {
    fn read(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), value),
            None => (field.to_ascii_lowercase(), "true"),
        };
        let bare = matches!(
            key.as_str(),
            "readonly"
                | "ro"
                | "volume-nocopy"
                | "bind-nonrecursive"
                | "u"
                | "chown"
                | "notmpcopyup"
        );
        if !bare && !field.contains('=') {
            return Err(format!("{field:?} must be written key=value"));
        }
        for (prefix, family) in [
            ("bind-", "bind"),
            ("volume-", "volume"),
            ("image-", "image"),
            ("tmpfs-", "tmpfs"),
        ] {
            if key.starts_with(prefix) {
                self.families.push((key.clone(), family));
            }
        }
        match key.as_str() {
            "type" => self.kind = Some(value.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(value.to_owned()),
            "readonly" | "ro" => self.read_only = parse_bool(&key, value)?,
            "consistency" => match value.to_ascii_lowercase().as_str() {
                "" | "default" | "consistent" | "cached" | "delegated" => {}
                _ => return Err(format!("{value:?} is not a consistency")),
            },
            "bind-propagation" => {
                let propagation = Propagation::parse(&value.to_ascii_lowercase());
                self.propagation =
                    Some(propagation.ok_or_else(|| format!("{value:?} is not a propagation"))?);
            }
            "bind-nonrecursive" => self.non_recursive = parse_bool(&key, value)?,
            "bind-recursive" => self.read_recursion(value)?,
            // Only understood; a mount of that type is refused later with a clear reason.
            "volume-subpath" | "volume-nocopy" | "volume-label" | "volume-driver"
            | "volume-opt" | "image-subpath" => {}
            "tmpfs-size" => {
                self.size =
                    Some(super::human::parse_bytes(value).map_err(|e| e.message().to_owned())?);
            }
            "tmpfs-mode" => {
                self.mode = Some(parse_mode(value).ok_or_else(|| {
                    format!("tmpfs-mode {value:?} is not an octal number up to 7777")
                })?);
            }
            // Labels are SELinux's; our tmpfs starts empty anyway.
            "relabel" if matches!(value, "shared" | "private") => {}
            "notmpcopyup" if parse_bool(&key, value)? => {}
            _ => return Err(format!("unknown key {key:?}")),
        }
        Ok(())
    }

    fn read_recursion(&mut self, value: &str) -> Result<(), String> {
        match value {
            "enabled" => {}
            "disabled" => self.non_recursive = true,
            "readonly" => self.must_be_read_only = true,
            "writable" => {
                return Err("bind-recursive=writable is not there: a read-only bind is \
                     read-only for everything below it"
                    .to_owned());
            }
            other => {
                return Err(format!(
                    "bind-recursive={other}: expected enabled, disabled or readonly"
                ));
            }
        }
        Ok(())
    }

    fn bind(&self) -> Result<(MountSource, bool), String> {
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
        if self.must_be_read_only && !(self.read_only && propagation == Propagation::RPrivate) {
            return Err(
                "bind-recursive=readonly needs readonly and bind-propagation=rprivate".to_owned(),
            );
        }
        let source = MountSource::Bind {
            source,
            propagation,
            recursive: !self.non_recursive,
            create_source: false,
        };
        Ok((source, self.read_only))
    }

    fn tmpfs(&self) -> Result<(MountSource, bool), String> {
        if self
            .source
            .as_deref()
            .is_some_and(|source| !source.is_empty())
        {
            return Err("a tmpfs has no source".to_owned());
        }
        let source = MountSource::Tmpfs {
            size: self.size,
            mode: self.mode,
            options: Vec::new(),
        };
        Ok((source, self.read_only))
    }
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

/// One record of comma-separated values: a field may be wrapped in double quotes, within which
/// a doubled quote stands for one.
pub(super) fn split_csv(text: &str) -> Result<Vec<String>, &'static str> {
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

/// Parses `--tmpfs`: `TARGET[:OPTION,…]` with the options of tmpfs(5) and the flags of mount(8).
/// Flags are kept as typed: what an unsaid flag means is the planner's to decide.
pub fn parse_tmpfs(text: &str) -> Result<Mount> {
    let invalid = |why: &str| {
        Error::invalid(format!("invalid tmpfs {text:?}: {why}"))
            .with_hint("write it as /path[:size=64m,mode=1777,exec,…]")
    };
    let (target, typed) = text.split_once(':').unwrap_or((text, ""));
    let target = absolute_target(target).map_err(invalid)?;
    let (mut size, mut mode, mut read_only, mut options) = (None, None, false, Vec::new());
    for option in typed.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            // A share of the memory: the kernel knows how much that is.
            Some(("size", value)) if value.ends_with('%') => {
                if !number_up_to(&value[..value.len() - 1], u32::MAX) {
                    return Err(invalid("size is not a number and '%'"));
                }
                options.push(option.to_owned());
            }
            Some(("size", value)) => {
                size = Some(super::human::parse_bytes(value).map_err(|e| invalid(e.message()))?);
            }
            Some(("mode", value)) => {
                mode = Some(parse_mode(value).ok_or_else(|| invalid("mode is not octal"))?);
            }
            // -1 would mean "unchanged" to some system calls.
            Some(("uid" | "gid", value)) if number_up_to(value, u32::MAX - 1) => {
                options.push(option.to_owned());
            }
            Some(("nr_inodes" | "nr_blocks", value)) if is_kernel_count(value) => {
                options.push(option.to_owned());
            }
            None if option == "ro" => read_only = true,
            None if option == "rw" => read_only = false,
            None if TMPFS_FLAGS.contains(&option) => options.push(option.to_owned()),
            // Nothing is copied into our tmpfs.
            None if option == "notmpcopyup" => {}
            _ => return Err(invalid(&format!("{option:?} is not an option of tmpfs"))),
        }
    }
    Ok(Mount {
        target,
        source: MountSource::Tmpfs {
            size,
            mode,
            options,
        },
        read_only,
    })
}

const TMPFS_FLAGS: &[&str] = &[
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "sync",
    "async",
    "dirsync",
];

fn number_up_to(text: &str, greatest: u32) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u32>().is_ok_and(|number| number <= greatest)
}

/// A number with the kernel's suffix k, m or g.
fn is_kernel_count(text: &str) -> bool {
    let digits = text
        .strip_suffix(['k', 'K', 'm', 'M', 'g', 'G'])
        .unwrap_or(text);
    number_up_to(digits, u32::MAX)
}

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
