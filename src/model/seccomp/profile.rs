//! The format of seccomp profiles: Docker's, which is that of the OCI runtime specification
//! ("Seccomp") with conditions on capabilities, architectures and the kernel.
//!
//! Fields that are unknown are refused rather than skipped: a condition that nobody looks at
//! would open the filter.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub comment: String,
    pub default_action: Action,
    /// The errno of a default action that is `SCMP_ACT_ERRNO`; EPERM if absent.
    #[serde(default)]
    pub default_errno_ret: Option<u16>,
    /// Podman's name for the same number.
    #[serde(default)]
    pub default_errno: Option<String>,
    /// The architectures whose programs may call anything at all, the machine's own always among
    /// them; either field, not both.
    #[serde(default)]
    pub arch_map: Option<Vec<ArchitectureEntry>>,
    #[serde(default)]
    pub architectures: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub flags: Vec<String>,
    /// A socket on which somebody takes the descriptor that `SCMP_ACT_NOTIFY` needs.
    #[serde(default)]
    pub listener_path: Option<String>,
    /// Text for whoever listens there.
    #[serde(default)]
    pub listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub syscalls: Vec<Rule>,
}

/// An architecture with those whose programs its kernels run too.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArchitectureEntry {
    pub architecture: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub sub_architectures: Vec<String>,
}

/// Go writes and reads `null` for what is empty.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What some calls get, if all conditions hold. Within a profile the first rule that fits counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub comment: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub names: Vec<String>,
    /// Docker's older spelling of one name.
    #[serde(default)]
    pub name: Option<String>,
    pub action: Action,
    #[serde(default)]
    pub errno_ret: Option<u16>,
    #[serde(default)]
    pub errno: Option<String>,
    #[serde(default)]
    pub args: Option<Vec<Argument>>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub includes: Conditions,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub excludes: Conditions,
}

/// Looked at when a profile is compiled, not when a call is made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conditions {
    /// `CAP_SYS_ADMIN`, …: all of them included, or any of them excluded.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub caps: Vec<String>,
    /// Go's names, `amd64`, `x86`, `arm64`, `arm`: of the calling program, not of the machine.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub arches: Vec<String>,
    /// `4.8`: at least this one.
    #[serde(default)]
    pub min_kernel: Option<String>,
}

/// A comparison of one argument; all of a rule's must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Argument {
    /// 0 to 5.
    pub index: u8,
    /// What it is compared with; the mask for `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// What the masked argument is compared with.
    #[serde(default)]
    pub value_two: u64,
    pub op: Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Action {
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// A tracer decides, which sees `errnoRet`; without one the call is absent.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// Whoever holds the listener's descriptor decides, seccomp_unotify(2).
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
}

impl Action {
    /// The filter's return value, seccomp(2), `SECCOMP_RET_…`.
    pub fn verdict(self, errno: Option<u16>) -> u32 {
        const EPERM: u16 = 1;
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno => 0x0005_0000 | u32::from(errno.unwrap_or(EPERM)),
            Action::Trace => 0x7ff0_0000 | u32::from(errno.unwrap_or(EPERM)),
            Action::Notify => 0x7fc0_0000,
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }
}

impl Rule {
    /// The errno of its action, as a number.
    pub fn errno(&self) -> Result<Option<u16>, String> {
        errno_of(self.errno_ret, self.errno.as_deref())
    }
}

impl Profile {
    /// The errno of the default action, as a number.
    pub fn default_errno(&self) -> Result<Option<u16>, String> {
        errno_of(self.default_errno_ret, self.default_errno.as_deref())
    }

    /// A rule before all others: these calls are allowed.
    pub fn allow_first(&mut self, names: &[&str]) {
        let rule = Rule {
            comment: String::new(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            name: None,
            action: Action::Allow,
            errno_ret: None,
            errno: None,
            args: None,
            includes: Conditions::default(),
            excludes: Conditions::default(),
        };
        self.syscalls.insert(0, rule);
    }

    /// `SECCOMP_FILTER_FLAG_…` of seccomp(2). The filter is loaded by the one thread of a process, so
    /// synchronizing it with others is done already.
    pub fn filter_flags(&self) -> Result<u32, String> {
        self.flags
            .iter()
            .try_fold(0, |flags, name| match name.as_str() {
                "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags),
                "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | 2),
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | 4),
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Ok(flags | 32),
                _ => Err(format!("there is no flag {name:?}")),
            })
    }

    /// Whether some call waits for a listener.
    pub fn notifies(&self) -> bool {
        self.syscalls
            .iter()
            .any(|rule| rule.action == Action::Notify)
    }

    /// What no machine changes: fields that exclude each other, numbers out of range.
    pub fn check(&self) -> Result<(), String> {
        if self.arch_map.as_ref().is_some_and(|list| !list.is_empty())
            && self
                .architectures
                .as_ref()
                .is_some_and(|list| !list.is_empty())
        {
            return Err("'architectures' and 'archMap' are both there".to_owned());
        }
        self.filter_flags()?;
        self.default_errno()?;
        if self.default_action == Action::Notify {
            return Err("SCMP_ACT_NOTIFY cannot be the default action".to_owned());
        }
        match (self.notifies(), &self.listener_path) {
            (true, None) => return Err("SCMP_ACT_NOTIFY needs a listenerPath".to_owned()),
            (false, Some(_)) => {
                return Err("there is a listenerPath, but no SCMP_ACT_NOTIFY".to_owned());
            }
            (_, Some(path)) if !path.starts_with('/') => {
                return Err(format!("listenerPath {path:?} is not an absolute path"));
            }
            _ => {}
        }
        self.syscalls.iter().try_for_each(Rule::check)
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        self.errno()?;
        let names = || self.names.iter().chain(&self.name);
        if self.name.is_some() && !self.names.is_empty() {
            return Err(format!(
                "a rule has both 'name' and 'names': {:?}",
                self.names
            ));
        }
        // The listener's descriptor is handed on with it, before the program is executed.
        if self.action == Action::Notify && names().any(|name| name == "sendmsg") {
            return Err("SCMP_ACT_NOTIFY cannot be used for sendmsg".to_owned());
        }
        match self.args.iter().flatten().find(|test| test.index > 5) {
            Some(test) => Err(format!("system calls have no argument {}", test.index)),
            None => Ok(()),
        }
    }
}

/// errno(3) by number or by name, of which the usual ones are known.
fn errno_of(number: Option<u16>, name: Option<&str>) -> Result<Option<u16>, String> {
    const NAMES: [(&str, u16); 12] = [
        ("", 1),
        ("EPERM", 1),
        ("ENOENT", 2),
        ("ENXIO", 6),
        ("EAGAIN", 11),
        ("ENOMEM", 12),
        ("EACCES", 13),
        ("ENODEV", 19),
        ("EINVAL", 22),
        ("ENOSYS", 38),
        ("EOPNOTSUPP", 95),
        ("EAFNOSUPPORT", 97),
    ];
    /// `MAX_ERRNO` of linux/err.h: the kernel would make any larger number this one.
    const LARGEST: u16 = 4095;
    match (number, name) {
        (Some(number), _) if number > LARGEST => {
            Err(format!("errno {number} is above the largest, {LARGEST}"))
        }
        (Some(number), _) => Ok(Some(number)),
        (None, None) => Ok(None),
        (None, Some(name)) => NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| Some(*number))
            .ok_or_else(|| format!("unknown errno {name:?}; give errnoRet, a number")),
    }
}
