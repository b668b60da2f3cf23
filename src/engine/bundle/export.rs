//! A plan as a runtime configuration, which `runc` and `crun` take as well.
//!
//! What the specification has no words for is said with its nearest: our /dev with its nodes,
//! links and terminals is a tmpfs and a devpts (every runtime adds the nodes and links itself), a
//! read-only bind mount is `rro` too, because ours are read-only all the way down.

use oci_spec::{OciSpecError, runtime as oci};
use serde_json::Value;

use super::{VERSION, devices, resources, seccomp};
use crate::{
    engine::plan::{
        BindOptions, FilterPlan, MountStep, NamespacePlan, ProcessPlan, RootSource, SandboxPlan,
        TmpfsAttributes, TmpfsParameter,
    },
    model::{
        ContainerSpec, Context, Error, ErrorKind, Result, capability,
        host::{HostFacts, IdRange, UserMode},
        namespace::{NamespaceKind, Personality, Place},
        security::Ulimit,
    },
};

/// The configuration that makes another runtime do what the plan says on this host.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a user that is a name: only the container's files know its
/// number.
pub fn export(plan: &SandboxPlan, asked: &ContainerSpec, host: &HostFacts) -> Result<oci::Spec> {
    let user = numeric_user(&plan.process.user)?;
    if let Some(join) = plan.namespaces.joins.iter().find(|join| join.is_process) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "a runtime configuration cannot share namespaces of {}",
                join.whose
            ),
        ));
    }
    if resources::unsayable(&asked.resources) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "a runtime configuration knows devices by number: --device-*-bps, --device-*-iops and --blkio-weight-device cannot be written",
        ));
    }
    if !(plan.secrets.files.is_empty() && plan.secrets.variables.is_empty()) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "a runtime configuration cannot hold secrets",
        ));
    }
    let filter = match plan.process.filter {
        FilterPlan::None => None,
        FilterPlan::Default | FilterPlan::Program { .. } => {
            let rights = plan.process.capabilities;
            seccomp::describe(&asked.security, rights, host.kernel)?
        }
    };
    let mut spec = specification(plan, asked, host, user).context(ErrorKind::System, || {
        "cannot describe the container as a runtime configuration".to_owned()
    })?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(filter);
    }
    if !asked.annotations.is_empty() {
        spec.set_annotations(Some(asked.annotations.clone().into_iter().collect()));
    }
    Ok(spec)
}

/// The text of a `config.json`: the same for the same configuration, whatever order its sets are
/// kept in.
pub fn to_json(spec: &oci::Spec) -> Result<String> {
    let what = || "cannot write a runtime configuration".to_owned();
    let mut value = serde_json::to_value(spec).context(ErrorKind::System, what)?;
    let sets = value.pointer_mut("/process/capabilities");
    for set in sets.and_then(Value::as_object_mut).into_iter().flatten() {
        if let Value::Array(names) = set.1 {
            names.sort_by(|left, right| left.as_str().cmp(&right.as_str()));
        }
    }
    for map in ["/annotations", "/linux/sysctl"] {
        if let Some(Value::Object(map)) = value.pointer_mut(map) {
            map.sort_keys();
        }
    }
    let mut text = serde_json::to_string_pretty(&value).context(ErrorKind::System, what)?;
    text.push('\n');
    Ok(text)
}

/// `UID[:GID]`; empty is root.
fn numeric_user(user: &str) -> Result<(u32, u32)> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
    let number = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse().ok()
        }
    };
    number(uid).zip(number(gid)).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("a runtime configuration cannot name user {user:?}: it needs numbers"),
        )
        .with_hint("--user UID:GID")
    })
}

type Built<T> = std::result::Result<T, OciSpecError>;

fn specification(
    plan: &SandboxPlan,
    asked: &ContainerSpec,
    host: &HostFacts,
    user: (u32, u32),
) -> Built<oci::Spec> {
    let root = match &plan.root.source {
        RootSource::Overlay { .. } => "rootfs".into(),
        RootSource::Directory(tree) => tree.clone(),
    };
    let mounts: Vec<Vec<oci::Mount>> = plan
        .mounts
        .iter()
        .map(|step| mounts(step, host))
        .collect::<Built<_>>()?;
    let mut spec = oci::SpecBuilder::default()
        .version(VERSION)
        .root(
            oci::RootBuilder::default()
                .path(root)
                .readonly(plan.root.read_only)
                .build()?,
        )
        .mounts(mounts.concat())
        .process(process(&plan.process, user)?)
        .linux(linux(plan, asked, host)?)
        .build()?;
    // The builders have defaults of their own.
    spec.set_annotations(None);
    spec.set_hostname(plan.namespaces.hostname.clone());
    spec.set_domainname(plan.namespaces.domainname.clone());
    Ok(spec)
}

fn process(plan: &ProcessPlan, (uid, gid): (u32, u32)) -> Built<oci::Process> {
    let rights = &plan.rights;
    let mut user = oci::UserBuilder::default().uid(uid).gid(gid).build()?;
    user.set_umask(rights.umask);
    let groups: Vec<u32> = rights
        .additional_groups
        .iter()
        .filter_map(|group| group.parse().ok())
        .collect();
    user.set_additional_gids((!groups.is_empty()).then_some(groups));
    let (permitted, ambient) = if uid == 0 {
        (plan.capabilities, 0)
    } else {
        (rights.ambient, rights.ambient)
    };
    let capabilities = oci::LinuxCapabilitiesBuilder::default()
        .bounding(capability_set(plan.capabilities))
        .effective(capability_set(permitted))
        .permitted(capability_set(permitted))
        .inheritable(capability_set(ambient))
        .ambient(capability_set(ambient))
        .build()?;
    let mut process = oci::ProcessBuilder::default()
        .terminal(plan.terminal)
        .user(user)
        .args(plan.arguments.clone())
        .env(plan.environment.clone())
        .cwd(plan.working_directory.clone())
        .capabilities(capabilities)
        .no_new_privileges(rights.no_new_privileges);
    if let Some((rows, columns)) = plan.terminal_size {
        let size = oci::BoxBuilder::default()
            .height(rows)
            .width(columns)
            .build()?;
        process = process.console_size(size);
    }
    let mut process = process.build()?;
    process.set_rlimits(rlimits(&rights.limits)?);
    process.set_oom_score_adj(rights.oom_score_adj);
    process.set_apparmor_profile(rights.apparmor.clone());
    Ok(process)
}

fn rlimits(limits: &[Ulimit]) -> Built<Option<Vec<oci::PosixRlimit>>> {
    let described = limits.iter().map(|limit| {
        let name = format!("RLIMIT_{}", limit.resource.name().to_ascii_uppercase());
        let kind: oci::PosixRlimitType = serde_json::from_value(name.into())?;
        oci::PosixRlimitBuilder::default()
            .typ(kind)
            .soft(limit.soft.unwrap_or(u64::MAX))
            .hard(limit.hard.unwrap_or(u64::MAX))
            .build()
    });
    let described = described.collect::<Built<Vec<_>>>()?;
    Ok((!described.is_empty()).then_some(described))
}

fn capability_set(mask: u64) -> oci::Capabilities {
    let names = capability::NAMES.iter().enumerate();
    names
        .filter(|(number, _)| mask & (1 << number) != 0)
        .filter_map(|(_, name)| name.parse().ok())
        .collect()
}

fn linux(plan: &SandboxPlan, asked: &ContainerSpec, host: &HostFacts) -> Built<oci::Linux> {
    let (uids, gids) = id_maps(&host.user);
    let mut namespaces = namespaces(&plan.namespaces)?;
    if !uids.is_empty() {
        namespaces.push(namespace(oci::LinuxNamespaceType::User, None)?);
    }
    let absolute =
        |paths: &[String]| -> Vec<String> { paths.iter().map(|path| format!("/{path}")).collect() };
    let sysctl = plan
        .sysctls
        .iter()
        .map(|sysctl| (sysctl.path.replace('/', "."), sysctl.value.clone()));
    let mut linux = oci::LinuxBuilder::default()
        .uid_mappings(mappings(&uids)?)
        .gid_mappings(mappings(&gids)?)
        .namespaces(namespaces)
        .sysctl(sysctl.collect::<std::collections::HashMap<_, _>>())
        .masked_paths(absolute(&plan.masked_paths))
        .readonly_paths(absolute(&plan.read_only_paths))
        .build()?;
    let rules = match &plan.devices.rules {
        None => None,
        Some(rules) => Some(devices::described_rules(rules)?),
    };
    linux.set_resources(resources::describe(&asked.resources, rules)?);
    let parent = asked.resources.cgroup_parent.as_deref();
    linux.set_cgroups_path(parent.map(|parent| format!("{parent}/coracle").into()));
    let nodes = devices::described_nodes(&plan.devices.nodes)?;
    linux.set_devices((!nodes.is_empty()).then_some(nodes));
    if let Some(personality) = plan.process.personality {
        let domain = match personality {
            Personality::Linux => oci::LinuxPersonalityDomain::PerLinux,
            Personality::Linux32 => oci::LinuxPersonalityDomain::PerLinux32,
        };
        let personality = oci::LinuxPersonalityBuilder::default()
            .domain(domain)
            .build()?;
        linux.set_personality(Some(personality));
    }
    Ok(linux)
}

/// Those of the container's own, and those that a path names.
fn namespaces(plan: &NamespacePlan) -> Built<Vec<oci::LinuxNamespace>> {
    use oci::LinuxNamespaceType as Kind;
    let mut all = vec![namespace(Kind::Mount, None)?];
    for kind in NamespaceKind::ALL {
        let typ = match kind {
            NamespaceKind::Pid => Kind::Pid,
            NamespaceKind::Ipc => Kind::Ipc,
            NamespaceKind::Uts => Kind::Uts,
            NamespaceKind::Cgroup => Kind::Cgroup,
            NamespaceKind::Network => Kind::Network,
        };
        match plan.placement.of(kind) {
            Place::Own => all.push(namespace(typ, None)?),
            Place::Host => {}
            Place::Joined => {
                let mut joins = plan.joins.iter();
                let join = joins.find(|join| join.kinds.contains(&kind));
                all.push(namespace(typ, join.map(|join| join.whose.as_str()))?);
            }
        }
    }
    Ok(all)
}

fn namespace(kind: oci::LinuxNamespaceType, path: Option<&str>) -> Built<oci::LinuxNamespace> {
    let namespace = oci::LinuxNamespaceBuilder::default().typ(kind);
    match path {
        Some(path) => namespace.path(path).build(),
        None => namespace.build(),
    }
}

/// Root needs no namespace of users; everybody else maps what the host gave them.
fn id_maps(user: &UserMode) -> (Vec<IdRange>, Vec<IdRange>) {
    let single = |outside: u32| {
        vec![IdRange {
            inside: 0,
            outside,
            count: 1,
        }]
    };
    match user {
        UserMode::Root => (Vec::new(), Vec::new()),
        UserMode::Rootless { uids, gids } => (uids.clone(), gids.clone()),
        UserMode::SingleId { uid, gid, .. } => (single(*uid), single(*gid)),
    }
}

fn mappings(ranges: &[IdRange]) -> Built<Vec<oci::LinuxIdMapping>> {
    ranges
        .iter()
        .map(|range| {
            oci::LinuxIdMappingBuilder::default()
                .container_id(range.inside)
                .host_id(range.outside)
                .size(range.count)
                .build()
        })
        .collect()
}

fn mounts(step: &MountStep, host: &HostFacts) -> Built<Vec<oci::Mount>> {
    let one = |target: &str, kind: &str, source: &str, options: &[&str]| {
        mount(target, kind, source, options).map(|mount| vec![mount])
    };
    match step {
        MountStep::Proc { fresh: true } => {
            one("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])
        }
        MountStep::Proc { fresh: false } => one(
            "/proc",
            "none",
            "/proc",
            &["rbind", "nosuid", "noexec", "nodev"],
        ),
        MountStep::Sys { fresh: true } => one(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"],
        ),
        MountStep::Sys { fresh: false } => one(
            "/sys",
            "none",
            "/sys",
            &["rbind", "nosuid", "noexec", "nodev", "ro"],
        ),
        MountStep::HostShm => one("/dev/shm", "bind", "/dev/shm", &["bind", "nosuid", "nodev"]),
        MountStep::HostMessageQueue => one(
            "/dev/mqueue",
            "bind",
            "/dev/mqueue",
            &["bind", "nosuid", "noexec", "nodev"],
        ),
        MountStep::Cgroup { writable: true, .. } => one(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "rw"],
        ),
        MountStep::Cgroup { .. } => one(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
        MountStep::Dev { .. } => dev(host),
        MountStep::Shm { bytes } => {
            let size = format!("size={bytes}");
            let options = ["nosuid", "noexec", "nodev", "mode=1777", &size];
            one("/dev/shm", "tmpfs", "shm", &options)
        }
        MountStep::MessageQueue => one(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        MountStep::Tmpfs {
            target,
            options,
            attributes,
            ..
        } => tmpfs(target, options, *attributes),
        MountStep::OwnFile { source, target } => one(
            target,
            "bind",
            &source.to_string_lossy(),
            &["bind", "rprivate"],
        ),
        MountStep::Bind {
            source,
            target,
            options,
        } => one(
            target,
            "bind",
            &source.to_string_lossy(),
            &bind_words(options),
        ),
        MountStep::FileSystem {
            kind,
            device,
            parameters,
            target,
            options,
        } => {
            let parameters: Vec<String> = parameters.iter().map(parameter_word).collect();
            let mut words: Vec<&str> = parameters.iter().map(String::as_str).collect();
            words.extend(bind_words(options).into_iter().skip(1));
            one(target, kind, device, &words)
        }
        // Of the store, and refused.
        MountStep::Overlay { .. } => Ok(Vec::new()),
        MountStep::DeviceMount {
            source,
            target,
            recursive,
            attributes,
        } => {
            let mut options = vec![if *recursive { "rbind" } else { "bind" }];
            options.extend(attribute_words(*attributes));
            one(target, "bind", &source.to_string_lossy(), &options)
        }
        // Said elsewhere: linux.devices. Secrets were refused.
        MountStep::DeviceNodes | MountStep::Secrets => Ok(Vec::new()),
        // It is found in the container that it is shared with, which was refused.
        MountStep::JoinedShm => Ok(Vec::new()),
        // Only plans that were made of a configuration have these: that is their public form.
        MountStep::Attached { .. } => Ok(Vec::new()),
    }
}

fn tmpfs(
    target: &str,
    options: &[TmpfsParameter],
    attributes: TmpfsAttributes,
) -> Built<Vec<oci::Mount>> {
    let parameters: Vec<String> = options.iter().map(parameter_word).collect();
    let mut words: Vec<&str> = parameters.iter().map(String::as_str).collect();
    for word in attribute_words(attributes) {
        words.push(word);
    }
    Ok(vec![mount(target, "tmpfs", "tmpfs", &words)?])
}

fn parameter_word((key, value): &TmpfsParameter) -> String {
    match value {
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    }
}

fn bind_words(options: &BindOptions) -> Vec<&'static str> {
    let mut words = vec![if options.recursive { "rbind" } else { "bind" }];
    if options.read_only {
        words.push("ro");
    }
    if options.read_only && !options.writable_below {
        words.push("rro");
    }
    for (said, no, yes) in [
        (options.no_exec, "noexec", "exec"),
        (options.no_suid, "nosuid", "suid"),
        (options.no_dev, "nodev", "dev"),
    ] {
        words.extend(said.map(|said| if said { no } else { yes }));
    }
    words.push(options.propagation.as_str());
    words
}

fn attribute_words(attributes: TmpfsAttributes) -> impl Iterator<Item = &'static str> {
    [
        (attributes.read_only, "ro"),
        (attributes.no_exec, "noexec"),
        (attributes.no_suid, "nosuid"),
        (attributes.no_dev, "nodev"),
    ]
    .into_iter()
    .filter_map(|(on, word)| on.then_some(word))
}

/// Where only one id is mapped there is no group for terminals.
fn dev(host: &HostFacts) -> Built<Vec<oci::Mount>> {
    let mut terminals = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    if !matches!(host.user, UserMode::SingleId { .. }) {
        terminals.push("gid=5");
    }
    let folder = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    Ok(vec![
        mount("/dev", "tmpfs", "tmpfs", &folder)?,
        mount("/dev/pts", "devpts", "devpts", &terminals)?,
    ])
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Built<oci::Mount> {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    oci::MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
}
