//! What a container's processes may do: capabilities, filters, masks, limits.
//!
//! Values are those of the flags, checked one by one; what they come to together with the image and
//! the host is the planner's matter (`engine::plan`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Context, Error, ErrorKind, Result, capability, seccomp::profile::Profile};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecuritySpec {
    /// `CAP_…` names or `ALL`, as `inspect` shows them.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    /// `--security-opt` as it was given, profiles as compact JSON, for `inspect`.
    pub options: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: SeccompChoice,
    /// An AppArmor profile's name; `None` leaves the caller's.
    pub apparmor: Option<String>,
    /// Absolute paths that are hidden in addition.
    pub mask: Vec<String>,
    pub unmask: Unmask,
    /// Options of the container's procfs: `hidepid`, `gid`, `subset`.
    pub proc_options: Vec<(String, String)>,
    /// The container may make cgroups below its own.
    pub writable_cgroups: Option<bool>,
    pub group_add: Vec<String>,
    /// `None` is 0022.
    pub umask: Option<u32>,
    /// -1000 to 1000; `None` leaves the caller's.
    pub oom_score_adj: Option<i32>,
    pub ulimits: Vec<Ulimit>,
    /// Names with dots, as sysctl(8) prints them.
    pub sysctls: BTreeMap<String, String>,
}

/// Which system calls are let through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SeccompChoice {
    /// The profile of this program, for the container's capabilities.
    BuiltIn {
        /// With what a container engine inside needs: namespaces, mounts, keyrings.
        nesting: bool,
        /// With calls that are refused for their record rather than their purpose: `io_uring`,
        /// `userfaultfd`, all socket families.
        wide: bool,
    },
    Unconfined,
    /// A profile's text, which has been understood once.
    Profile(String),
}

impl Default for SeccompChoice {
    fn default() -> Self {
        SeccompChoice::BuiltIn {
            nesting: false,
            wide: false,
        }
    }
}

/// Which of the default masks and read-only paths are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Unmask {
    All,
    /// Absolute paths, possibly with `*` in a component.
    Paths(Vec<String>),
}

impl Default for Unmask {
    fn default() -> Self {
        Unmask::Paths(Vec::new())
    }
}

impl Unmask {
    /// Whether an absolute path is opened.
    pub fn opens(&self, path: &str) -> bool {
        match self {
            Unmask::All => true,
            Unmask::Paths(patterns) => patterns.iter().any(|pattern| fits(pattern, path)),
        }
    }
}

/// What every container has hidden: the union of what Docker 28.5 and Podman 5.6 hide, kernel memory,
/// keys, timing side channels (GHSA-jq35-85cj-fj4p, GHSA-6fw5-f8r9-fgfm), firmware.
pub const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

pub const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A path against a pattern in which `*` stands for any text within a component.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if component_fits(pattern, part) => {}
            _ => return false,
        }
    }
}

fn component_fits(pattern: &str, part: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == part;
    };
    let Some(mut part) = part.strip_prefix(head) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let tail = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match part.find(piece) {
            Some(at) => part = &part[at + piece.len()..],
            None => return false,
        }
    }
    part.ends_with(tail)
}

/// A resource limit, getrlimit(2), in the unit of the resource; `None` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub resource: Resource,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// The resources by Docker's names, which are those of `RLIMIT_…` in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    const ALL: [(Resource, &'static str); 16] = [
        (Resource::As, "as"),
        (Resource::Core, "core"),
        (Resource::Cpu, "cpu"),
        (Resource::Data, "data"),
        (Resource::Fsize, "fsize"),
        (Resource::Locks, "locks"),
        (Resource::Memlock, "memlock"),
        (Resource::Msgqueue, "msgqueue"),
        (Resource::Nice, "nice"),
        (Resource::Nofile, "nofile"),
        (Resource::Nproc, "nproc"),
        (Resource::Rss, "rss"),
        (Resource::Rtprio, "rtprio"),
        (Resource::Rttime, "rttime"),
        (Resource::Sigpending, "sigpending"),
        (Resource::Stack, "stack"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(resource, _)| *resource == self)
            .map_or("", |(_, name)| name)
    }
}

/// `NAME=SOFT[:HARD]`; -1 is unlimited, and one number is both.
pub fn parse_ulimit(text: &str) -> Result<Ulimit> {
    let invalid = |why: String| Error::invalid(format!("invalid ulimit {text:?}: {why}"));
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| invalid("it is not NAME=SOFT[:HARD]".to_owned()))?;
    let name = name.strip_prefix("RLIMIT_").unwrap_or(name);
    let resource = Resource::ALL
        .iter()
        .find(|(_, known)| known.eq_ignore_ascii_case(name))
        .map(|(resource, _)| *resource)
        .ok_or_else(|| {
            let names: Vec<&str> = Resource::ALL.iter().map(|(_, name)| *name).collect();
            invalid(format!("the resources are {}", names.join(", ")))
        })?;
    let number = |value: &str| match value {
        "-1" | "unlimited" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
            .parse()
            .map(Some)
            .map_err(|_| invalid(format!("{value:?} is not a number"))),
        _ => Err(invalid(format!("{value:?} is not a number"))),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(invalid(format!(
            "the soft limit {} is above the hard limit {}",
            show_limit(soft),
            show_limit(hard)
        )));
    }
    Ok(Ulimit {
        resource,
        soft,
        hard,
    })
}

/// A limit as it is typed and printed.
pub fn show_limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |number| number.to_string())
}

/// Up to four octal digits.
pub fn parse_umask(text: &str) -> Result<u32> {
    let octal = (1..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(umask) if octal && umask <= 0o777 => Ok(umask),
        _ => Err(Error::invalid(format!(
            "invalid umask {text:?}: it is not an octal number up to 0777"
        ))),
    }
}

/// The kernel's range of `/proc/PID/oom_score_adj`.
pub fn check_oom_score_adj(score: i32) -> Result<i32> {
    if (-1000..=1000).contains(&score) {
        Ok(score)
    } else {
        Err(Error::invalid(format!(
            "invalid value {score}, range for oom score adj is [-1000, 1000]"
        )))
    }
}

/// One `KEY=VALUE` of `--sysctl`, the key with dots.
pub fn parse_sysctl(text: &str) -> Result<(String, String)> {
    let invalid = |why: &str| Error::invalid(format!("invalid sysctl {text:?}: {why}"));
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| invalid("it is not NAME=VALUE"))?;
    let name = name.trim();
    let name = match name.find(['.', '/']) {
        // sysctl(8): with slashes first, dots are part of a name (an interface's).
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|letter| match letter {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let plain = |part: &str| {
        !part.is_empty()
            && part != "/"
            && part.bytes().all(|byte| byte.is_ascii_graphic())
            && part != "//"
    };
    if !name.contains('.') || !name.split('.').all(plain) {
        return Err(invalid("the name is not one such as net.ipv4.ip_forward"));
    }
    if value.contains(['\0', '\n']) {
        return Err(invalid("the value is not one line"));
    }
    Ok((name, value.trim().to_owned()))
}

/// A `--security-opt`, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum SecurityOption {
    NoNewPrivileges(bool),
    SeccompUnconfined,
    SeccompBuiltIn,
    SeccompNesting,
    SeccompWide,
    /// A file to be read by whoever parses the flags.
    SeccompFile(String),
    AppArmor(Option<String>),
    LabelDisable,
    Mask(Vec<String>),
    Unmask(Unmask),
    ProcOptions(Vec<(String, String)>),
    WritableCgroups(bool),
}

/// Both `KEY=VALUE` and Docker's older `KEY:VALUE`.
pub fn parse_security_option(text: &str) -> Result<SecurityOption> {
    let invalid = |why: &str| Error::invalid(format!("invalid --security-opt {text:?}: {why}"));
    let (key, value) = match text.find(['=', ':']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let boolean = |value: Option<&str>| match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(_) => Err(invalid("the value is true or false")),
    };
    let given = || {
        value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| invalid("a value is missing"))
    };
    Ok(match key {
        "no-new-privileges" => SecurityOption::NoNewPrivileges(boolean(value)?),
        "writable-cgroups" => SecurityOption::WritableCgroups(boolean(value)?),
        "seccomp" => match given()? {
            "unconfined" => SecurityOption::SeccompUnconfined,
            "builtin" => SecurityOption::SeccompBuiltIn,
            "nesting" => SecurityOption::SeccompNesting,
            "wide" => SecurityOption::SeccompWide,
            file => SecurityOption::SeccompFile(file.to_owned()),
        },
        "nesting" if value.is_none() => SecurityOption::SeccompNesting,
        "apparmor" => match given()? {
            "unconfined" => SecurityOption::AppArmor(None),
            name if name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                SecurityOption::AppArmor(Some(name.to_owned()))
            }
            _ => return Err(invalid("that is not a profile's name")),
        },
        "label" => {
            match given()? {
                "disable" => SecurityOption::LabelDisable,
                _ => {
                    return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("cannot honour --security-opt {text:?}: SELinux labels are not supported"),
                )
                .with_hint("containers run with the caller's label; label=disable says the same"));
                }
            }
        }
        "mask" => SecurityOption::Mask(paths(given()?).map_err(|why| invalid(&why))?),
        "unmask" => SecurityOption::Unmask(match given()? {
            all if all.eq_ignore_ascii_case("all") => Unmask::All,
            list => Unmask::Paths(paths(list).map_err(|why| invalid(&why))?),
        }),
        "systempaths" => match given()? {
            "unconfined" => SecurityOption::Unmask(Unmask::All),
            _ => return Err(invalid("the one value is unconfined")),
        },
        "proc-opts" => SecurityOption::ProcOptions(
            given()?
                .split(',')
                .map(proc_option)
                .collect::<Result<_, _>>()
                .map_err(|why| invalid(&why))?,
        ),
        _ => return Err(invalid("there is no such option")),
    })
}

/// Absolute paths with colons between them, `.` and empty parts taken out.
fn paths(list: &str) -> Result<Vec<String>, String> {
    list.split(':')
        .map(|path| {
            let parts: Vec<&str> = path
                .split('/')
                .filter(|part| !matches!(*part, "" | "."))
                .collect();
            if !path.starts_with('/') || parts.is_empty() || parts.contains(&"..") {
                return Err(format!("{path:?} is not an absolute path below /"));
            }
            Ok(format!("/{}", parts.join("/")))
        })
        .collect()
}

/// Options that each mount of procfs has of its own, proc(5).
fn proc_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key @ "hidepid", value @ ("0" | "1" | "2" | "4"))) => Ok((key, value)),
        Some((key @ "hidepid", value @ ("off" | "noaccess" | "invisible" | "ptraceable"))) => {
            Ok((key, value))
        }
        Some((key @ "gid", value)) if value.parse::<u32>().is_ok() => Ok((key, value)),
        Some((key @ "subset", value @ "pid")) => Ok((key, value)),
        _ => Err(format!(
            "{text:?} is not hidepid=0|1|2|4, gid=NUMBER or subset=pid"
        )),
    }
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

impl SecuritySpec {
    /// In place of an earlier limit of the same resource.
    pub fn set_ulimit(&mut self, limit: Ulimit) {
        self.ulimits
            .retain(|other| other.resource != limit.resource);
        self.ulimits.push(limit);
    }

    /// Adds what one `--security-opt` says; a file's text has been read by the caller.
    pub fn add_option(&mut self, option: SecurityOption, profile: Option<String>) -> Result<()> {
        match option {
            SecurityOption::NoNewPrivileges(on) => self.no_new_privileges = on,
            SecurityOption::SeccompBuiltIn => {}
            SecurityOption::SeccompUnconfined => self.choose(SeccompChoice::Unconfined)?,
            SecurityOption::SeccompNesting => self.widen(true, false)?,
            SecurityOption::SeccompWide => self.widen(false, true)?,
            SecurityOption::SeccompFile(_) => {
                self.choose(SeccompChoice::Profile(profile.unwrap_or_default()))?;
            }
            SecurityOption::AppArmor(name) => self.apparmor = name,
            SecurityOption::LabelDisable => {}
            SecurityOption::Mask(paths) => self.mask.extend(paths),
            SecurityOption::Unmask(Unmask::All) => self.unmask = Unmask::All,
            SecurityOption::Unmask(Unmask::Paths(more)) => {
                if let Unmask::Paths(paths) = &mut self.unmask {
                    paths.extend(more);
                }
            }
            SecurityOption::ProcOptions(options) => self.proc_options.extend(options),
            SecurityOption::WritableCgroups(on) => self.writable_cgroups = Some(on),
        }
        Ok(())
    }

    fn choose(&mut self, choice: SeccompChoice) -> Result<()> {
        if self.seccomp != SeccompChoice::default() && self.seccomp != choice {
            return Err(two_filters());
        }
        self.seccomp = choice;
        Ok(())
    }

    fn widen(&mut self, more_nesting: bool, wider: bool) -> Result<()> {
        let SeccompChoice::BuiltIn { nesting, wide } = &mut self.seccomp else {
            return Err(two_filters());
        };
        *nesting |= more_nesting;
        *wide |= wider;
        Ok(())
    }

    /// Names of capabilities, with commas between them; each becomes `CAP_…` or `ALL`.
    pub fn add_capabilities(list: &mut Vec<String>, text: &str) -> Result<()> {
        for word in text.split(',') {
            let word = word.trim();
            let name = if word.eq_ignore_ascii_case("all") {
                "ALL".to_owned()
            } else {
                capability::name(capability::parse(word)?).unwrap_or_default()
            };
            if !list.contains(&name) {
                list.push(name);
            }
        }
        Ok(())
    }
}

fn two_filters() -> Error {
    Error::invalid("--security-opt names two different seccomp filters")
}

/// A profile's JSON, checked and without blanks.
pub fn compact_profile(text: &str, file: &str) -> Result<String> {
    let invalid = || format!("invalid seccomp profile {file:?}");
    let profile: Profile =
        serde_json::from_str(text).context(ErrorKind::InvalidArgument, invalid)?;
    profile
        .check()
        .map_err(|why| Error::invalid(format!("{}: {why}", invalid())))?;
    let value: serde_json::Value =
        serde_json::from_str(text).context(ErrorKind::InvalidArgument, invalid)?;
    Ok(value.to_string())
}
