//! What a container's processes may do, from its flags and what the host has to give.

use super::{FilterPlan, Listener, Sysctl};
use crate::model::{
    ContainerSpec, Context, Error, ErrorKind, Result, capability,
    host::{HostFacts, UserMode},
    namespace::{NamespaceKind, NamespaceMode},
    seccomp::{
        self, DEFAULT_PROFILE,
        compile::{Architecture, Target, compile},
        profile::Profile,
    },
    security::{MASKED, READ_ONLY, SeccompChoice, SecuritySpec},
};

/// Permitted and ambient capabilities.
pub(super) fn capabilities(spec: &SecuritySpec, available: u64) -> Result<(u64, u64)> {
    // Privileged is what Docker makes of it: drops are not looked at, adds have no effect but for
    // users other than root.
    let granted = if spec.privileged {
        available
    } else {
        capability::resolve(&spec.cap_add, &spec.cap_drop, available)?
    };
    Ok((granted, capability::explicit(&spec.cap_add, granted)?))
}

/// The paths to hide and those to make read-only, without the leading slash.
pub fn masks(spec: &SecuritySpec, thermal_folders: &[String]) -> (Vec<String>, Vec<String>) {
    let relative = |path: &str| path.trim_start_matches('/').to_owned();
    let closed = |path: &&str| !spec.privileged && !spec.unmask.opens(path);
    let thermal = thermal_folders.iter().map(|folder| format!("/{folder}"));
    let thermal: Vec<String> = thermal.collect();
    let masked = MASKED
        .into_iter()
        .chain(thermal.iter().map(String::as_str))
        .filter(closed)
        .chain(spec.mask.iter().map(String::as_str))
        .map(relative)
        .collect();
    let read_only = READ_ONLY.into_iter().filter(closed).map(relative).collect();
    (masked, read_only)
}

/// Whether the kernel's version changes what is planned: only the caller's own profiles ask for it.
pub fn asks_for_kernel(spec: &SecuritySpec) -> bool {
    matches!(spec.seccomp, SeccompChoice::Profile(_))
}

/// The filter for a set of capabilities. That of the default ones is ready; others are compiled here,
/// so that whoever loads them needs no parser.
pub(super) fn filter(
    spec: &SecuritySpec,
    granted: u64,
    kernel: Option<(u32, u32)>,
) -> Result<FilterPlan> {
    let plain = SeccompChoice::default();
    let (profile, what): (Profile, _) = match &spec.seccomp {
        SeccompChoice::Unconfined => return Ok(FilterPlan::None),
        SeccompChoice::BuiltIn { .. } if spec.privileged => return Ok(FilterPlan::None),
        choice if *choice == plain && granted == capability::DEFAULT => {
            return Ok(FilterPlan::Default);
        }
        SeccompChoice::BuiltIn { nesting, wide } => {
            let what = "the built-in seccomp profile";
            let mut profile: Profile = serde_json::from_str(DEFAULT_PROFILE)
                .context(ErrorKind::System, || what.to_owned())?;
            let extra = [(*nesting, seccomp::NESTING), (*wide, seccomp::WIDE)];
            for (_, names) in extra.into_iter().filter(|(wanted, _)| *wanted) {
                profile.allow_first(names);
            }
            (profile, what)
        }
        SeccompChoice::Profile(text) => {
            let what = "the seccomp profile";
            let invalid = || format!("cannot understand {what}");
            let profile =
                serde_json::from_str(text).context(ErrorKind::InvalidArgument, invalid)?;
            (profile, what)
        }
    };
    let target = Target {
        capabilities: capability::names(granted),
        kernel: kernel.unwrap_or(seccomp::OLDEST_KERNEL),
        architectures: Architecture::of_machine(std::env::consts::ARCH),
    };
    let instructions = compile(&profile, &target)
        .map_err(|why| Error::invalid(format!("cannot compile {what}: {why}")))?;
    let flags = profile
        .filter_flags()
        .map_err(|why| Error::invalid(format!("cannot use {what}: {why}")))?;
    Ok(FilterPlan::Program {
        instructions: instructions.into_iter().map(Into::into).collect(),
        flags,
        listener: profile.listener_path.map(|path| Listener {
            path,
            metadata: profile.listener_metadata.unwrap_or_default(),
            container: String::new(),
        }),
    })
}

/// Which namespaces are the container's own, and with them their kernel parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnNamespaces {
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
}

impl OwnNamespaces {
    pub(super) fn of(spec: &ContainerSpec) -> Self {
        let own = |kind| spec.namespaces.mode(kind, &spec.network) == NamespaceMode::Private;
        OwnNamespaces {
            network: own(NamespaceKind::Network),
            ipc: own(NamespaceKind::Ipc),
            uts: own(NamespaceKind::Uts),
        }
    }
}

/// The parameters of System V message queues, semaphores and shared memory that each ipc namespace
/// has of its own, ipc_namespaces(7).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The kernel parameters to set: ours first, then the user's in place of them. What is not of a
/// namespace of the container's own is the machine's, and refused.
pub(super) fn sysctls(
    spec: &SecuritySpec,
    own: OwnNamespaces,
    initial_user_namespace: bool,
) -> Result<Vec<Sysctl>> {
    let mut all = Vec::new();
    let mut ours = |name: &str, value: &str| {
        if own.network && !spec.sysctls.contains_key(name) {
            all.push(Sysctl {
                path: sysctl_path(name),
                value: value.to_owned(),
                optional: true,
            });
        }
    };
    ours("net.ipv4.ip_unprivileged_port_start", "0");
    if initial_user_namespace {
        ours("net.ipv4.ping_group_range", "0 2147483647");
    }
    for (name, value) in &spec.sysctls {
        check_sysctl(name, own)?;
        all.push(Sysctl {
            path: sysctl_path(name),
            value: value.clone(),
            optional: false,
        });
    }
    Ok(all)
}

fn check_sysctl(name: &str, own: OwnNamespaces) -> Result<()> {
    let (namespace, is_own) = if name.starts_with("net.") {
        ("network", own.network)
    } else if name.starts_with("fs.mqueue.") || IPC.contains(&name) {
        ("ipc", own.ipc)
    } else if name == "kernel.domainname" {
        ("uts", own.uts)
    } else if name == "kernel.hostname" {
        return Err(Error::invalid("sysctl 'kernel.hostname' is not allowed")
            .with_hint("--hostname sets it"));
    } else {
        return Err(Error::invalid(format!("sysctl '{name}' is not allowed"))
            .with_hint("only parameters that a container has of its own can be set: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*, kernel.domainname"));
    };
    if is_own {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "sysctl '{name}' is not allowed in the host's {namespace} namespace"
        )))
    }
}

/// Below /proc/sys: dots become slashes, slashes (of sysctl(8), for dots in a name) dots.
fn sysctl_path(name: &str) -> String {
    name.chars()
        .map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

/// Podman's word for keeping the caller's supplementary groups.
const KEEP_GROUPS: &str = "keep-groups";

/// The groups to add, and whether the caller's are kept instead.
pub(super) fn groups(spec: &SecuritySpec, host: &HostFacts) -> Result<(Vec<String>, bool)> {
    match spec.group_add.as_slice() {
        [] => Ok((Vec::new(), false)),
        [one] if one == KEEP_GROUPS => Ok((Vec::new(), true)),
        list if list.iter().any(|group| group == KEEP_GROUPS) => Err(Error::invalid(
            "--group-add keep-groups cannot stand beside other groups",
        )),
        list if matches!(host.user, UserMode::SingleId { .. }) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "cannot add group {}: only group 0 exists without a range of subordinate ids",
                list.join(", ")
            ),
        )
        .with_hint("`coracle doctor` says how to get one; keep-groups keeps your own")),
        list => Ok((list.to_vec(), false)),
    }
}

/// What can be refused before anything is made.
pub fn check(spec: &ContainerSpec, host: &HostFacts) -> Result<()> {
    let security = &spec.security;
    let (granted, _) = capabilities(security, host.capabilities)?;
    groups(security, host)?;
    sysctls(security, OwnNamespaces::of(spec), true)?;
    filter(security, granted, None).map(drop)
}
