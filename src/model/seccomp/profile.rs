//! The format of seccomp profiles: Docker's, which is that of the OCI runtime specification
//! ("Seccomp") with conditions on capabilities, architectures and the kernel.
//!
//! Fields that are unknown are refused rather than skipped: a condition that nobody looks at
//! would open the filter.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    #[serde(default)]
    pub comment: String,
    pub default_action: Action,
    /// The errno of a default action that is `SCMP_ACT_ERRNO`; EPERM if absent.
    #[serde(default)]
    pub default_errno_ret: Option<u16>,
    /// Read and ignored: a machine's 32-bit architecture is always filtered by the same rules.
    #[serde(default)]
    pub arch_map: Option<serde_json::Value>,
    #[serde(default)]
    pub architectures: Option<serde_json::Value>,
    #[serde(default)]
    pub flags: Vec<String>,
    #[serde(default)]
    pub syscalls: Vec<Rule>,
}

/// What some calls get, if all conditions hold. Within a profile the first rule that fits counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    #[serde(default)]
    pub comment: String,
    #[serde(default)]
    pub names: Vec<String>,
    /// Docker's older spelling of one name.
    #[serde(default)]
    pub name: Option<String>,
    pub action: Action,
    #[serde(default)]
    pub errno_ret: Option<u16>,
    #[serde(default)]
    pub args: Option<Vec<Argument>>,
    #[serde(default)]
    pub includes: Conditions,
    #[serde(default)]
    pub excludes: Conditions,
}

/// Looked at when a profile is compiled, not when a call is made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conditions {
    /// `CAP_SYS_ADMIN`, …: all of them included, or any of them excluded.
    #[serde(default)]
    pub caps: Vec<String>,
    /// Go's names, `amd64`, `x86`, `arm64`, `arm`: of the calling program, not of the machine.
    #[serde(default)]
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
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }
}
