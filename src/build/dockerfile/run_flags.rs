//! What RUN may be told of its surroundings: `--mount`, `--network`, `--security`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Complaint, Result};
use crate::model::mount::split_csv;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    #[default]
    Default,
    None,
    /// Needs the entitlement `network.host`.
    Host,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    #[default]
    Sandbox,
    /// Needs the entitlement `security.insecure`.
    Insecure,
}

impl FromStr for Network {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "default" => Ok(Network::Default),
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            _ => Err(Complaint::new(format!("invalid network mode: {text}"))
                .about(text)
                .with_hint("there are default, none and host")),
        }
    }
}

impl FromStr for Security {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "sandbox" => Ok(Security::Sandbox),
            "insecure" => Ok(Security::Insecure),
            _ => Err(Complaint::new(format!("security {text:?} is not valid"))
                .about(text)
                .with_hint("there are sandbox and insecure")),
        }
    }
}

/// One `--mount`. Its content is never part of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    pub kind: MountKind,
    /// Where it is seen; relative to the working directory, which it is if it is not said.
    pub target: Option<String>,
    /// Of what is mounted: its root if it is not said.
    pub source: Option<String>,
    /// A stage, an image or a named context; else the context of the build.
    pub from: Option<String>,
    pub id: Option<String>,
    /// What is written to a bind is thrown away.
    pub writable: Option<bool>,
    pub sharing: Option<Sharing>,
    pub required: bool,
    /// Name of the variable that a secret is in.
    pub env: Option<String>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Bytes, of a tmpfs.
    pub size: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// Who else may have a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    #[default]
    Shared,
    Private,
    Locked,
}

/// What a mount is made of, as far as it is known before variables are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// It begins empty, or is not of files.
    Nothing,
    Context,
    /// A stage, an image or a named context.
    Named(String),
}

/// Whom a mount asks: `from`, which no variable may be part of.
///
/// # Errors
/// What is no line of CSV, and variables.
pub fn mount_source(text: &str) -> Result<MountSource> {
    let mut kind = MountKind::Bind;
    let mut from = None;
    for field in fields(text)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        match key.to_ascii_lowercase().as_str() {
            "from" if value.contains('$') => {
                let what = "'from' doesn't support variable expansion, define alias stage instead";
                return Err(Complaint::new(what).about(value));
            }
            "from" => from = Some(value.to_owned()),
            "type" if !value.contains('$') => kind = value.parse()?,
            _ => {}
        }
    }
    Ok(match (kind, from.filter(|from| !from.is_empty())) {
        (MountKind::Bind | MountKind::Cache, Some(from)) => MountSource::Named(from),
        (MountKind::Bind, None) => MountSource::Context,
        _ => MountSource::Nothing,
    })
}

fn fields(text: &str) -> Result<Vec<String>> {
    split_csv(text)
        .map_err(|why| Complaint::new(format!("failed to parse csv mounts: {why}")).about(text))
}

/// `key=value,key,…`: fields of a line of CSV, values expanded as `expand` says.
///
/// # Errors
/// Keys that there are not for this type, values out of range, what is missing.
pub fn mount(text: &str, expand: &mut dyn FnMut(&str) -> Result<String>) -> Result<Mount> {
    let mut mount = Mount::default();
    let mut pairs = Vec::new();
    for field in fields(text)? {
        pairs.push(match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(expand(value)?)),
            None => (field.to_ascii_lowercase(), None),
        });
    }
    // What keys there are depends on it.
    for (_, kind) in pairs.iter().filter(|(key, _)| key == "type") {
        mount.kind = kind.as_deref().unwrap_or_default().parse()?;
    }
    for (key, value) in &pairs {
        mount.set(key, value.as_deref())?;
    }
    mount.check()?;
    Ok(mount)
}

impl MountKind {
    fn as_str(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Cache => "cache",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Secret => "secret",
            MountKind::Ssh => "ssh",
        }
    }
}

impl FromStr for MountKind {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self> {
        const ALL: [MountKind; 5] = [
            MountKind::Bind,
            MountKind::Cache,
            MountKind::Tmpfs,
            MountKind::Secret,
            MountKind::Ssh,
        ];
        let lower = text.to_ascii_lowercase();
        let found = ALL.into_iter().find(|kind| kind.as_str() == lower);
        found.ok_or_else(|| {
            Complaint::new(format!("unsupported mount type {text:?}"))
                .about(text)
                .or_nearest(&lower, ALL.into_iter().map(MountKind::as_str))
        })
    }
}

const KEYS: [&str; 17] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
];

impl Mount {
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        use MountKind::{Secret, Ssh, Tmpfs};
        let kind = self.kind;
        let of = |kinds: &[MountKind]| match kinds.contains(&kind) {
            true => Ok(()),
            false => {
                let what = format!("unexpected key '{key}' for mount type '{}'", kind.as_str());
                Err(Complaint::new(what).about(key))
            }
        };
        match (key, value) {
            ("ro" | "readonly", _) => self.writable = Some(!boolean(key, value)?),
            ("rw" | "readwrite", _) => self.writable = Some(boolean(key, value)?),
            ("required", _) => {
                of(&[Secret, Ssh])?;
                self.required = boolean(key, value)?;
            }
            // Podman's, of systems with labels on files.
            ("z" | "relabel", _)
                if value.is_none_or(|value| matches!(value, "shared" | "private")) => {}
            (key, None) => {
                let what = format!("invalid field '{key}' must be a key=value pair");
                return Err(Complaint::new(what).about(key));
            }
            ("type", Some(_)) => {}
            ("target" | "dst" | "destination", Some(text)) => self.target = Some(text.to_owned()),
            ("source" | "src", Some(text)) => self.source = Some(text.to_owned()),
            ("from", Some(text)) => self.from = Some(text.to_owned()),
            ("id", Some(text)) => self.id = Some(text.to_owned()),
            ("sharing", Some(text)) => self.sharing = Some(text.parse()?),
            ("env", Some(text)) => {
                of(&[Secret])?;
                self.env = Some(text.to_owned());
            }
            ("mode", Some(text)) => self.mode = Some(number(key, text, 8)?),
            ("uid", Some(text)) => self.uid = Some(number(key, text, 10)?),
            ("gid", Some(text)) => self.gid = Some(number(key, text, 10)?),
            ("size", Some(text)) => {
                of(&[Tmpfs])?;
                let size = crate::model::human::parse_bytes(text);
                self.size = Some(size.map_err(|_| invalid(key, text))?);
            }
            _ => {
                return Err(Complaint::new(format!("unexpected key '{key}'"))
                    .about(key)
                    .or_nearest(key, KEYS.into_iter()));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        use MountKind::{Cache, Secret, Ssh};
        let kind = self.kind.as_str();
        let fault = |what: String| Err(Complaint::new(what));
        if !matches!(self.kind, Secret | Ssh | Cache) {
            for (name, value) in [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)] {
                if value.is_some() {
                    return fault(format!("{name} not allowed for {kind:?} type mounts"));
                }
            }
        }
        if self.kind == Secret {
            if self.from.is_some() {
                return fault("secret mount should not have a from".to_owned());
            }
            if self.sharing.is_some() {
                return fault("secret mount should not define sharing".to_owned());
            }
            let named = [&self.source, &self.target, &self.id];
            if named.iter().all(|name| name.is_none()) {
                let what = "invalid secret mount. one of source, target required";
                return fault(what.to_owned());
            }
            if self.source.is_some() && self.id.is_some() {
                return fault("both source and id can't be set".to_owned());
            }
        }
        if self.sharing.is_some() && self.kind != Cache {
            return fault(format!("invalid cache sharing set for {kind} mount"));
        }
        Ok(())
    }
}

impl FromStr for Sharing {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "shared" => Ok(Sharing::Shared),
            "private" => Ok(Sharing::Private),
            "locked" => Ok(Sharing::Locked),
            lower => Err(
                Complaint::new(format!("unsupported sharing value {text:?}"))
                    .about(text)
                    .or_nearest(lower, ["shared", "private", "locked"].into_iter()),
            ),
        }
    }
}

/// As Go's strconv.ParseBool.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn invalid(key: &str, text: &str) -> Complaint {
    Complaint::new(format!("invalid value for {key}: {text}")).about(text)
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None => Ok(true),
        Some(text) => go_bool(text).ok_or_else(|| invalid(key, text)),
    }
}

fn number(key: &str, text: &str, base: u32) -> Result<u32> {
    let plain = text.chars().all(|digit| digit.is_digit(base));
    let number = u32::from_str_radix(text, base).ok().filter(|_| plain);
    number.ok_or_else(|| Complaint::new(format!("invalid value {text} for {key}")).about(text))
}
