//! The seccomp profile that a plan's filter was made of, in the specification's words: without
//! conditions, which have been looked at.

use std::collections::HashSet;

use oci_spec::runtime as oci;
use serde_json::{Value, json};

use crate::model::{
    Context, ErrorKind, Result, capability,
    seccomp::{DEFAULT_PROFILE, NESTING, OLDEST_KERNEL, WIDE},
    security::{SeccompChoice, SecuritySpec},
};

/// `None` lets everything through.
pub(super) fn describe(
    spec: &SecuritySpec,
    granted: u64,
    kernel: Option<(u32, u32)>,
) -> Result<Option<oci::LinuxSeccomp>> {
    let what = || "cannot describe the seccomp profile".to_owned();
    let (text, extra) = match &spec.seccomp {
        SeccompChoice::Unconfined => return Ok(None),
        SeccompChoice::BuiltIn { .. } if spec.privileged => return Ok(None),
        SeccompChoice::BuiltIn { nesting, wide } => {
            let nesting = nesting.then_some(NESTING);
            (DEFAULT_PROFILE, [nesting, wide.then_some(WIDE)])
        }
        SeccompChoice::Profile(text) => (text.as_str(), [None, None]),
    };
    let mut profile: Value = serde_json::from_str(text).context(ErrorKind::System, what)?;
    let capabilities = capability::names(granted);
    let kernel = kernel.unwrap_or(OLDEST_KERNEL);
    let extra = extra.into_iter().flatten();
    let mut rules: Vec<Value> = extra
        .map(|names| json!({"names": names, "action": "SCMP_ACT_ALLOW"}))
        .collect();
    for mut rule in take(&mut profile, "syscalls") {
        if holds(&rule, &capabilities, kernel) {
            rules.push(plain(&mut rule));
        }
    }
    let rules = without_overlaps(rules);
    let mut plain = json!({
        "defaultAction": profile["defaultAction"],
        "architectures": architectures(),
        "syscalls": rules,
    });
    for key in [
        "defaultErrnoRet",
        "flags",
        "listenerPath",
        "listenerMetadata",
    ] {
        if let Some(value) = profile.get(key).filter(|value| !value.is_null()) {
            plain[key] = value.clone();
        }
    }
    serde_json::from_value(plain)
        .map(Some)
        .context(ErrorKind::System, what)
}

/// In our filters the first rule that fits counts. libseccomp, which other runtimes use, refuses a
/// plain rule for a call that has rules with arguments: such a call gets the default action there
/// instead. Rules behind a plain one mean nothing and are left out.
fn without_overlaps(rules: Vec<Value>) -> Vec<Value> {
    let (mut plain, mut compared) = (HashSet::new(), HashSet::new());
    let mut kept = Vec::new();
    for mut rule in rules {
        let has_arguments = rule.get("args").is_some();
        let mut names = take(&mut rule, "names");
        names.retain(|name| !plain.contains(name) && (has_arguments || !compared.contains(name)));
        let seen = if has_arguments {
            &mut compared
        } else {
            &mut plain
        };
        seen.extend(names.iter().cloned());
        if !names.is_empty() {
            rule["names"] = names.into();
            kept.push(rule);
        }
    }
    kept
}

fn take(value: &mut Value, key: &str) -> Vec<Value> {
    match value.get_mut(key).map(Value::take) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// A rule without its conditions and comments.
fn plain(rule: &mut Value) -> Value {
    let mut names = take(rule, "names");
    names.extend(
        rule.get_mut("name")
            .map(Value::take)
            .filter(Value::is_string),
    );
    let mut plain = json!({"names": names, "action": rule["action"]});
    if rule["errnoRet"].is_number() {
        plain["errnoRet"] = rule["errnoRet"].take();
    }
    let arguments = take(rule, "args");
    if !arguments.is_empty() {
        plain["args"] = arguments.into();
    }
    plain
}

fn holds(rule: &Value, capabilities: &[String], kernel: (u32, u32)) -> bool {
    let words = |part: &str, key: &str| -> Vec<String> {
        let list = rule.get(part).and_then(|part| part.get(key));
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let held = |name: &String| capabilities.contains(name);
    let this = |name: &String| machine().contains(&name.as_str());
    let wanted = words("includes", "arches");
    let least = |part: &str| {
        let text = rule.get(part)?.get("minKernel")?.as_str()?;
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    words("includes", "caps").iter().all(held)
        && !words("excludes", "caps").iter().any(held)
        && (wanted.is_empty() || wanted.iter().any(this))
        && !words("excludes", "arches").iter().any(this)
        && least("includes").is_none_or(|least| kernel >= least)
        && least("excludes").is_none_or(|least| kernel < least)
}

/// Go's names of this machine's architectures.
fn machine() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["amd64", "x86"],
        "aarch64" => &["arm64", "arm"],
        _ => &[],
    }
}

fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &[],
    }
}
