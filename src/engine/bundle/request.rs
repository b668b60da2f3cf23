//! A configuration as a request: everything that `run` has flags for goes the same way as those.

use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;

use super::{
    devices,
    read::{invalid, unsupported},
    resources,
};
use crate::model::{
    ContainerSpec, Result,
    container::NetworkMode,
    host::{HostFacts, IdRange, UserMode},
    namespace::{IpcMode, NamespaceMode, Personality, SystemdMode},
    security::{SeccompChoice, Ulimit, parse_ulimit},
};

/// What the configuration asks for, on top of what the command line said (name, streams,
/// lifetime), and what of it has no effect here.
pub struct Request {
    pub spec: ContainerSpec,
    /// One line each.
    pub notices: Vec<String>,
}

/// Translates a configuration. A command in `asked` takes the place of its own.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::model::ErrorKind::Unsupported) for what protects or limits and
/// cannot be had; the message names the field.
pub fn request(config: &oci::Spec, asked: ContainerSpec, host: &HostFacts) -> Result<Request> {
    let mut request = Request {
        spec: asked,
        notices: Vec::new(),
    };
    let (Some(root), Some(process), Some(linux)) =
        (config.root(), config.process(), config.linux())
    else {
        return Err(invalid("", "root, process or linux is missing"));
    };
    let spec = &mut request.spec;
    spec.hostname = config.hostname().clone().filter(|name| !name.is_empty());
    spec.read_only = root.readonly().unwrap_or(false);
    for (key, value) in config.annotations().iter().flatten() {
        // The command line's come last.
        let place = spec.annotations.entry(key.clone());
        place.or_insert_with(|| value.clone());
    }
    spec.namespaces.domainname = config.domainname().clone().filter(|name| !name.is_empty());
    // Whoever wrote the configuration has said all that there is to mount.
    spec.namespaces.systemd = SystemdMode::Never;
    take_process(process, spec)?;
    request.rights(process)?;
    request.kernel_file_systems(config);
    request.namespaces(linux, host)?;
    request.linux_extras(linux, host)?;
    for (field, there) in [
        ("solaris", config.solaris().is_some()),
        ("windows", config.windows().is_some()),
        ("vm", config.vm().is_some()),
        ("zos", config.zos().is_some()),
    ] {
        if there {
            request.ignore(field);
        }
    }
    Ok(request)
}

/// The root file system's folder.
pub fn root(config: &oci::Spec, bundle: &Path) -> Result<PathBuf> {
    match config.root() {
        Some(root) if !root.path().as_os_str().is_empty() => Ok(bundle.join(root.path())),
        _ => Err(invalid("root.path", "it is missing")),
    }
}

fn take_process(process: &oci::Process, spec: &mut ContainerSpec) -> Result<()> {
    let user = process.user();
    spec.user = Some(format!("{}:{}", user.uid(), user.gid()));
    if process.terminal().unwrap_or(false) {
        (spec.tty, spec.interactive) = (true, true);
    }
    let cwd = process.cwd().to_string_lossy();
    if !cwd.starts_with('/') {
        return Err(invalid("process.cwd", "it must be an absolute path"));
    }
    spec.workdir = Some(cwd.into_owned());
    spec.entrypoint = Some(Vec::new());
    if spec.command.is_empty() {
        spec.command = process.args().clone().unwrap_or_default();
    }
    if spec.command.first().is_none_or(String::is_empty) {
        return Err(invalid("process.args", "it names no program"));
    }
    spec.env = process.env().clone().unwrap_or_default();
    for (index, variable) in spec.env.iter().enumerate() {
        if variable
            .split_once('=')
            .is_none_or(|(name, _)| name.is_empty())
            || variable.contains('\0')
        {
            return Err(invalid(
                &format!("process.env[{index}]"),
                "it is not NAME=VALUE",
            ));
        }
    }
    Ok(())
}

impl Request {
    fn ignore(&mut self, field: &str) {
        self.notices
            .push(format!("{field} in config.json has no effect"));
    }

    fn rights(&mut self, process: &oci::Process) -> Result<()> {
        let user = process.user();
        let groups = user.additional_gids().iter().flatten();
        let security = &mut self.spec.security;
        security.group_add = groups.map(u32::to_string).collect();
        security.umask = user.umask().map(|mask| mask & 0o777);
        security.no_new_privileges = process.no_new_privileges() == Some(true);
        security.apparmor = process
            .apparmor_profile()
            .clone()
            .filter(|name| !name.is_empty());
        security.oom_score_adj = process.oom_score_adj();
        security.ulimits = ulimits(process)?;
        if is_said(process.selinux_label()) {
            return Err(unsupported(
                "process.selinuxLabel",
                "SELinux is not used here",
            ));
        }
        for (field, there) in [
            ("process.ioPriority", process.io_priority().is_some()),
            ("process.scheduler", process.scheduler().is_some()),
            (
                "process.execCPUAffinity",
                process.exec_cpu_affinity().is_some(),
            ),
        ] {
            if there {
                self.ignore(field);
            }
        }
        Ok(())
    }

    /// What `/proc` and `/sys/fs/cgroup` are mounted with.
    fn kernel_file_systems(&mut self, config: &oci::Spec) {
        for mount in config.mounts().iter().flatten() {
            let options = mount.options().as_deref().unwrap_or_default();
            if mount.destination() == Path::new("/sys/fs/cgroup") {
                let read_only = options.iter().any(|option| option == "ro");
                self.spec.security.writable_cgroups = Some(!read_only);
            }
            if mount.destination() == Path::new("/proc") {
                let pairs = options.iter().filter_map(|option| option.split_once('='));
                let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
                self.spec.security.proc_options = pairs.collect();
            }
        }
    }

    fn namespaces(&mut self, linux: &oci::Linux, host: &HostFacts) -> Result<()> {
        use oci::LinuxNamespaceType as Kind;
        let listed = linux.namespaces().as_deref().unwrap_or_default();
        for (index, namespace) in listed.iter().enumerate() {
            let field = format!("linux.namespaces[{index}]");
            if listed[..index]
                .iter()
                .any(|other| other.typ() == namespace.typ())
            {
                return Err(invalid(&field, "its type is listed twice"));
            }
            let of_path = namespace.path().is_some();
            if of_path && matches!(namespace.typ(), Kind::Mount | Kind::User | Kind::Time) {
                return Err(unsupported(
                    &field,
                    "a namespace of this type cannot be joined",
                ));
            }
        }
        let has = |kind| listed.iter().any(|namespace| namespace.typ() == kind);
        if !has(Kind::Mount) {
            return Err(unsupported(
                "linux.namespaces",
                "a container needs a mount namespace of its own",
            ));
        }
        if has(Kind::Time) {
            return Err(unsupported(
                "linux.namespaces",
                "time namespaces are not there",
            ));
        }
        let mode = |kind| match listed.iter().find(|namespace| namespace.typ() == kind) {
            None => NamespaceMode::Host,
            Some(namespace) => match namespace.path() {
                None => NamespaceMode::Private,
                Some(path) => NamespaceMode::Path(path.to_string_lossy().into_owned()),
            },
        };
        let namespaces = &mut self.spec.namespaces;
        namespaces.pid = mode(Kind::Pid);
        namespaces.uts = mode(Kind::Uts);
        namespaces.cgroup = mode(Kind::Cgroup);
        namespaces.ipc = match mode(Kind::Ipc) {
            NamespaceMode::Host => IpcMode::Host,
            NamespaceMode::Path(path) => IpcMode::Path(path),
            NamespaceMode::Private | NamespaceMode::Container(_) => IpcMode::Shareable,
        };
        self.spec.network = match mode(Kind::Network) {
            NamespaceMode::Host => NetworkMode::Host,
            NamespaceMode::Path(path) => NetworkMode::Path(path),
            NamespaceMode::Private | NamespaceMode::Container(_) => NetworkMode::None,
        };
        check_id_maps(linux, has(Kind::User), host)
    }

    /// What of the Linux part `run` has no flags for yet.
    fn linux_extras(&mut self, linux: &oci::Linux, host: &HostFacts) -> Result<()> {
        if let Some(resources) = linux.resources() {
            self.spec.resources = resources::read(resources)?;
            let rules = devices::rules(resources)?;
            if host.initial_user_namespace {
                self.spec.devices.rules = rules;
            } else if !rules.is_empty() {
                // Its devices are the user's own anyway.
                self.ignore("linux.resources.devices");
            }
        }
        let sysctls = linux.sysctl().iter().flatten();
        self.spec.security.sysctls = sysctls
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.spec.security.seccomp = match linux.seccomp() {
            None => SeccompChoice::Unconfined,
            Some(profile) => SeccompChoice::Profile(
                serde_json::to_string(profile)
                    .map_err(|error| invalid("linux.seccomp", &error.to_string()))?,
            ),
        };
        let listed = |there: bool, field: &'static str| there.then_some(field);
        let refused = [
            listed(is_said(linux.mount_label()), "linux.mountLabel"),
            listed(linux.intel_rdt().is_some(), "linux.intelRdt"),
            listed(linux.net_devices().is_some(), "linux.netDevices"),
            listed(linux.memory_policy().is_some(), "linux.memoryPolicy"),
            listed(linux.time_offsets().is_some(), "linux.timeOffsets"),
        ];
        if let Some(field) = refused.into_iter().flatten().next() {
            return Err(unsupported(field, "it cannot be had yet"));
        }
        if let Some(path) = linux.cgroups_path() {
            match resources::parent(path) {
                Some(parent) => self.spec.resources.cgroup_parent = Some(parent),
                None => self.ignore("linux.cgroupsPath"),
            }
        }
        if let Some(propagation) = linux.rootfs_propagation() {
            match propagation.trim_start_matches('r') {
                "" | "private" => {}
                "slave" | "shared" | "unbindable" => self.ignore("linux.rootfsPropagation"),
                _ => return Err(invalid("linux.rootfsPropagation", "it is no propagation")),
            }
        }
        if let Some(personality) = linux.personality() {
            self.spec.namespaces.personality = Some(match personality.domain() {
                oci::LinuxPersonalityDomain::PerLinux => Personality::Linux,
                oci::LinuxPersonalityDomain::PerLinux32 => Personality::Linux32,
            });
        }
        Ok(())
    }
}

fn ulimits(process: &oci::Process) -> Result<Vec<Ulimit>> {
    let number = |limit: u64| match limit {
        u64::MAX => "-1".to_owned(),
        limit => limit.to_string(),
    };
    let listed = process.rlimits().iter().flatten().enumerate();
    let read = listed.map(|(index, limit)| {
        let (soft, hard) = (number(limit.soft()), number(limit.hard()));
        let text = format!("{}={soft}:{hard}", limit.typ());
        parse_ulimit(&text)
            .map_err(|error| invalid(&format!("process.rlimits[{index}]"), error.message()))
    });
    read.collect()
}

fn is_said(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

/// The ids of the host that a configuration maps must be those that the container gets here.
fn check_id_maps(linux: &oci::Linux, own_users: bool, host: &HostFacts) -> Result<()> {
    let (uids, gids) = match &host.user {
        UserMode::Root if own_users => {
            return Err(unsupported(
                "linux.namespaces",
                "user namespaces are not there yet for root",
            ));
        }
        UserMode::Root => return Ok(()),
        UserMode::Rootless { uids, gids } => (uids.clone(), gids.clone()),
        UserMode::SingleId { uid, gid, .. } => (single(*uid), single(*gid)),
    };
    if !own_users {
        return Err(unsupported(
            "linux.namespaces",
            "an ordinary user's container needs a user namespace (coracle spec --rootless)",
        ));
    }
    for (field, wanted, ours) in [
        ("linux.uidMappings", linux.uid_mappings(), uids),
        ("linux.gidMappings", linux.gid_mappings(), gids),
    ] {
        for mapping in wanted.iter().flatten() {
            if !ours.iter().any(|range| contains(range, mapping)) {
                return Err(unsupported(
                    field,
                    &format!(
                        "ids {}:{}:{} are not those that this user's containers have",
                        mapping.container_id(),
                        mapping.host_id(),
                        mapping.size()
                    ),
                ));
            }
        }
    }
    Ok(())
}

fn single(outside: u32) -> Vec<IdRange> {
    vec![IdRange {
        inside: 0,
        outside,
        count: 1,
    }]
}

fn contains(range: &IdRange, wanted: &oci::LinuxIdMapping) -> bool {
    let end = |start: u32, count: u32| u64::from(start) + u64::from(count);
    wanted.container_id() >= range.inside
        && end(wanted.container_id(), wanted.size()) <= end(range.inside, range.count)
        && i64::from(wanted.container_id()) - i64::from(range.inside)
            == i64::from(wanted.host_id()) - i64::from(range.outside)
}
