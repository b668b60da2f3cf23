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
    /// Those of another container are not: it has not asked for other parameters.
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
/// namespace of the container's own is the machine's, and refused. `pinging`: the groups, as the
/// container counts them, that may send ICMP echo requests without CAP_NET_RAW, icmp(7).
pub(super) fn sysctls(
    spec: &SecuritySpec,
    own: OwnNamespaces,
    pinging: Option<(u32, u32)>,
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
    if let Some((first, last)) = pinging {
        ours("net.ipv4.ping_group_range", &format!("{first} {last}"));
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
            "sysctl '{name}' is not allowed: the {namespace} namespace is not the container's own"
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

/// The options of procfs, which only a fresh one can have.
pub(super) fn proc_options(spec: &SecuritySpec, fresh: bool) -> Result<Vec<(String, String)>> {
    if fresh || spec.proc_options.is_empty() {
        Ok(spec.proc_options.clone())
    } else {
        Err(Error::new(
            ErrorKind::Unsupported,
            "cannot honour --security-opt proc-opts: with the host's processes /proc is the host's",
        ))
    }
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
    sysctls(security, OwnNamespaces::of(spec), None)?;
    if asks_for_kernel(security) {
        filter(security, granted, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::security::{SecurityOption, Unmask, parse_security_option};

    const OWN: OwnNamespaces = OwnNamespaces {
        network: true,
        ipc: true,
        uts: true,
    };

    fn spec(options: &[&str]) -> SecuritySpec {
        let mut spec = SecuritySpec::default();
        for text in options {
            let option = parse_security_option(text).unwrap();
            let file = match &option {
                SecurityOption::SeccompFile(text) => Some(text.clone()),
                _ => None,
            };
            spec.add_option(option, file).unwrap();
        }
        spec
    }

    fn host(user: UserMode) -> HostFacts {
        HostFacts {
            user,
            initial_user_namespace: true,
            capabilities: capability::ALL,
            thermal_folders: Vec::new(),
            kernel: None,
        }
    }

    #[test]
    fn privileged_is_all_there_is() {
        let some = capability::ALL & !1;
        let mut spec = SecuritySpec {
            privileged: true,
            cap_drop: vec!["ALL".to_owned()],
            ..SecuritySpec::default()
        };
        assert_eq!(capabilities(&spec, some).unwrap(), (some, 0));
        spec.cap_add = vec!["CAP_KILL".to_owned()];
        assert_eq!(capabilities(&spec, some).unwrap(), (some, 1 << 5));
        assert_eq!(filter(&spec, some, None).unwrap(), FilterPlan::None);
        let thermal = ["sys/x/thermal_throttle".to_owned()];
        assert_eq!(masks(&spec, &thermal), (Vec::new(), Vec::new()));
        spec.mask = vec!["/proc/version".to_owned()];
        assert_eq!(masks(&spec, &thermal).0, ["proc/version"]);
    }

    #[test]
    fn masks_are_added_and_taken_off_by_path() {
        let count = |options: &[&str]| {
            let (masked, read_only) = masks(&spec(options), &["sys/cpu/cpu0/t".to_owned()]);
            (masked.len(), read_only.len())
        };
        let (all, read_only) = (MASKED.len() + 1, READ_ONLY.len());
        for (options, expected) in [
            (vec![], (all, read_only)),
            (vec!["mask=/etc:/proc/version"], (all + 2, read_only)),
            (vec!["unmask=/proc/kcore"], (all - 1, read_only)),
            (
                vec!["unmask=/proc/kcore:/proc/sys"],
                (all - 1, read_only - 1),
            ),
            (vec!["unmask=/proc/*"], (4, 0)),
            (vec!["unmask=/sys/cpu/*/t"], (all - 1, read_only)),
            (vec!["unmask=/nosuch"], (all, read_only)),
            (vec!["unmask=all"], (0, 0)),
            (vec!["systempaths=unconfined", "mask=/etc"], (1, 0)),
            (vec!["unmask=ALL", "unmask=/proc/kcore"], (0, 0)),
        ] {
            assert_eq!(count(&options), expected, "{options:?}");
        }
        assert!(spec(&["unmask=ALL"]).unmask == Unmask::All);
    }

    #[test]
    fn the_ready_filter_is_used_where_it_fits() {
        let default = capability::DEFAULT;
        let length = |options: &[&str], granted| match filter(&spec(options), granted, None) {
            Ok(FilterPlan::Program { instructions, .. }) => instructions.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            filter(&spec(&[]), default, None).unwrap(),
            FilterPlan::Default
        );
        assert_eq!(
            filter(&spec(&["seccomp=builtin"]), default, None).unwrap(),
            FilterPlan::Default
        );
        assert_eq!(
            filter(&spec(&["seccomp=unconfined"]), default, None).unwrap(),
            FilterPlan::None
        );
        assert!(length(&[], default | 1 << 21) < 700);
        assert!(length(&["seccomp=nesting", "seccomp=wide"], default) < 700);
        let profile =
            r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}"#;
        match filter(&spec(&[profile]), default, Some((6, 1))).unwrap() {
            FilterPlan::Program {
                flags, listener, ..
            } => assert_eq!((flags, listener), (2, None)),
            other => panic!("{other:?}"),
        }
        assert!(filter(&spec(&["seccomp={}"]), default, None).is_err());
    }

    #[test]
    fn instructions_survive_packing() {
        for instruction in seccomp::default_filter() {
            let seccomp::SockFilter { code, jt, jf, k } = *instruction;
            let packed = super::super::PackedInstruction::from((code, jt, jf, k));
            assert_eq!(seccomp::SockFilter::from(packed), *instruction);
        }
    }

    #[test]
    fn sysctls_of_own_namespaces_are_allowed() {
        let (host_network, host_ipc, host_uts) = (
            OwnNamespaces {
                network: false,
                ..OWN
            },
            OwnNamespaces { ipc: false, ..OWN },
            OwnNamespaces { uts: false, ..OWN },
        );
        for (name, refused_in) in [
            ("net.ipv4.ip_forward", host_network),
            ("net.core.somaxconn", host_network),
            ("kernel.msgmax", host_ipc),
            ("kernel.sem", host_ipc),
            ("kernel.shm_rmid_forced", host_ipc),
            ("fs.mqueue.msg_max", host_ipc),
            ("kernel.domainname", host_uts),
        ] {
            assert!(check_sysctl(name, OWN).is_ok(), "{name}");
            assert!(check_sysctl(name, refused_in).is_err(), "{name}");
        }
        for name in [
            "kernel.hostname",
            "kernel.panic",
            "kernel.core_pattern",
            "kernel.shm",
            "kernel.semx",
            "vm.swappiness",
            "fs.file-max",
            "fs.mqueue",
            "network.x",
            "user.max_user_namespaces",
        ] {
            assert!(check_sysctl(name, OWN).is_err(), "{name}");
        }
    }

    #[test]
    fn sysctls_of_the_user_replace_ours() {
        let mut spec = SecuritySpec::default();
        let shown = |spec: &SecuritySpec, own, pinging| {
            let all = sysctls(spec, own, pinging).unwrap();
            let one = |one: Sysctl| format!("{}={} {}", one.path, one.value, one.optional);
            all.into_iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(&spec, OWN, Some((0, 65535))),
            [
                "net/ipv4/ip_unprivileged_port_start=0 true",
                "net/ipv4/ping_group_range=0 65535 true"
            ]
        );
        let host = OwnNamespaces {
            network: false,
            ..OWN
        };
        assert_eq!(shown(&spec, host, Some((0, 0))), [""; 0]);
        for (name, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "1024"),
            ("net.ipv4.conf.eth0/1.forwarding", "1"),
            ("net.ipv4.ping_group_range", "1 0"),
        ] {
            spec.sysctls.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(
            shown(&spec, OWN, Some((0, 65535))),
            [
                "net/ipv4/conf/eth0.1/forwarding=1 false",
                "net/ipv4/ip_unprivileged_port_start=1024 false",
                "net/ipv4/ping_group_range=1 0 false"
            ]
        );
    }

    #[test]
    fn options_of_procfs_need_a_fresh_one() {
        let spec = spec(&["proc-opts=hidepid=2"]);
        assert_eq!(proc_options(&spec, true).unwrap().len(), 1);
        assert!(proc_options(&spec, false).is_err());
        assert!(proc_options(&SecuritySpec::default(), false).is_ok());
    }

    #[test]
    fn groups_are_added_or_kept() {
        let groups = |list: &[&str], user| {
            let spec = SecuritySpec {
                group_add: list.iter().map(|&group| group.to_owned()).collect(),
                ..SecuritySpec::default()
            };
            groups(&spec, &host(user)).map_err(|error| error.kind())
        };
        let single = || UserMode::SingleId {
            uid: 1,
            gid: 1,
            why: String::new(),
        };
        assert_eq!(groups(&[], single()), Ok((Vec::new(), false)));
        assert_eq!(groups(&["keep-groups"], single()), Ok((Vec::new(), true)));
        assert_eq!(groups(&["9"], single()), Err(ErrorKind::Unsupported));
        assert_eq!(
            groups(&["9", "audio"], UserMode::Root),
            Ok((vec!["9".to_owned(), "audio".to_owned()], false))
        );
        assert_eq!(
            groups(&["9", "keep-groups"], UserMode::Root),
            Err(ErrorKind::InvalidArgument)
        );
    }
}
