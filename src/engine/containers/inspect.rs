//! `container inspect`: Docker's keys in Docker's order and types. What is not there yet has the
//! value that Docker shows for a container that does not use it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    ending::{exit_code, exit_reason},
    pause, update,
};
use crate::{
    engine::{Engine, plan},
    model::{
        ContainerSpec, Result,
        container::{ContainerRecord, ContainerState, LogDriver, NetworkMode},
        device::DeviceSpec,
        gpu::GpuRequest,
        image::ProcessDefaults,
        mount::{Mount, MountSource, Origin, VolumeSource, VolumesFrom},
        namespace::NamespaceMode,
        resources::{DeviceValue, Resources},
        security::Ulimit,
        signal::signal_name,
        user_namespace::lines,
        volume::LOCAL,
    },
    storage::{ContainerDir, containers::Status},
};

/// Go's zero time: what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// One object as Docker's `container inspect` shows it; `size` walks the writable layer.
    pub fn inspect_container(&self, container: &str, size: bool) -> Result<Value> {
        let (directory, mut record) = self.store.find_container(container)?;
        let status = directory.state()?;
        record.spec.resources = update::effective(&directory, &record)?;
        // An image that is damaged must not hide its container.
        let image = record
            .image_id
            .as_ref()
            .and_then(|id| self.image_config(id).ok());
        let image = image.and_then(|image| image.config).unwrap_or_default();
        let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let log = match record.spec.log {
            LogDriver::JsonFile => file("log"),
            LogDriver::None => String::new(),
        };
        let (driver, graph_driver) = self.graph_driver_of(&directory, &record)?;
        let mut object = Object::default();
        object.put("Id", json!(record.id));
        object.put("Created", json!(record.created));
        object.put("Path", json!(record.path));
        object.put("Args", json!(record.args));
        object.put("State", state(&status));
        let image_id = record.image_id.as_ref().map_or("", |id| id.as_str());
        object.put("Image", json!(image_id));
        object.put("ResolvConfPath", json!(file("resolv.conf")));
        object.put("HostnamePath", json!(file("hostname")));
        object.put("HostsPath", json!(file("hosts")));
        object.put("LogPath", json!(log));
        object.put("Name", json!(format!("/{}", record.name)));
        object.put("RestartCount", json!(0));
        object.put("Driver", json!(driver));
        object.put("Platform", json!("linux"));
        object.put_all(&["MountLabel", "ProcessLabel"], &json!(""));
        let apparmor = record.spec.security.apparmor.clone();
        object.put("AppArmorProfile", json!(apparmor.unwrap_or_default()));
        object.put("ExecIDs", Value::Null);
        object.put("HostConfig", host_config(&record));
        object.put("GraphDriver", graph_driver);
        if size {
            let size = self.container_size(&directory, &record)?;
            object.put("SizeRw", json!(size.writable));
            object.put("SizeRootFs", json!(size.image + size.writable));
        }
        let mounts = self.mount_points(&record.spec.mounts);
        object.put("Mounts", json!(mounts));
        object.put("Config", self.config(&record, &image));
        object.put("NetworkSettings", network_settings(&record, &status));
        Ok(object.done())
    }

    /// What is mounted, but for the tmpfs that Docker lists elsewhere.
    fn mount_points(&self, mounts: &[Mount]) -> Vec<Value> {
        mounts
            .iter()
            .filter(|mount| !matches!(mount.options.origin, Origin::Tmpfs | Origin::Default))
            .map(|mount| match mount.volume() {
                Some(volume) => volume_point(mount, volume, &self.mountpoint(&volume.name)),
                None => mount_point(mount),
            })
            .collect()
    }

    /// The driver's name, and where its parts are. They are mounted in the container's own mount
    /// namespace only.
    fn graph_driver_of(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
    ) -> Result<(&'static str, Value)> {
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let copied = super::size::is_copy(directory)?;
        let mut data = Object::default();
        let name = if copied {
            data.put("RootDir", json!(path("rootfs")));
            "copy"
        } else {
            let lower: Vec<String> = self
                .store
                .overlay_lowers(&record.layers)
                .iter()
                .map(|layer| layer.to_string_lossy().into_owned())
                .collect();
            data.put("ID", json!(record.id));
            data.put("LowerDir", json!(lower.join(":")));
            data.put("MergedDir", json!(directory.path().to_string_lossy()));
            data.put("UpperDir", json!(path("upper")));
            data.put("WorkDir", json!(path("work")));
            "overlay"
        };
        Ok((name, json!({"Data": data.done(), "Name": name})))
    }

    fn config(&self, record: &ContainerRecord, image: &ProcessDefaults) -> Value {
        let spec = &record.spec;
        let mut labels = image.labels.clone().unwrap_or_default();
        labels.extend(spec.labels.clone());
        let working_dir = spec.workdir.as_ref().or(image.working_dir.as_ref());
        let hostname = self
            .hostname_of(record)
            .unwrap_or_else(|_| record.id.short().to_owned());
        let user = spec.user.as_ref().or(image.user.as_ref());
        let (entrypoint, command) = entrypoint_and_command(record, image);
        let mut object = Object::default();
        object.put("Hostname", json!(hostname));
        object.put(
            "Domainname",
            json!(spec.namespaces.domainname.clone().unwrap_or_default()),
        );
        object.put("User", json!(user.cloned().unwrap_or_default()));
        object.put("AttachStdin", json!(spec.attach.stdin));
        object.put("AttachStdout", json!(spec.attach.stdout));
        object.put("AttachStderr", json!(spec.attach.stderr));
        object.put_some("ExposedPorts", image.exposed_ports.as_ref());
        object.put("Tty", json!(spec.tty));
        object.put("OpenStdin", json!(spec.interactive));
        object.put("StdinOnce", json!(spec.interactive && spec.attach.stdin));
        object.put("Env", json!(environment(&spec.env, image)));
        object.put("Cmd", json!(command));
        object.put_some("Healthcheck", image.extra.get("Healthcheck"));
        object.put("Image", json!(spec.image));
        object.put("Volumes", volumes(&spec.mounts));
        object.put(
            "WorkingDir",
            json!(working_dir.cloned().unwrap_or_default()),
        );
        object.put("Entrypoint", json!(entrypoint));
        object.put("OnBuild", Value::Null);
        object.put("Labels", json!(labels));
        let stop_signal = spec.stop_signal.map(signal_name);
        let systemd =
            plan::wants_systemd(spec, &record.path).then(|| signal_name(plan::SYSTEMD_STOP_SIGNAL));
        object.put_some(
            "StopSignal",
            stop_signal.or(systemd).or(image.stop_signal.clone()),
        );
        object.put_some("StopTimeout", spec.stop_timeout);
        object.put_some("Shell", image.extra.get("Shell"));
        object.done()
    }
}

/// An object whose keys stay in the order in which they were put.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// Leaves the key out if there is nothing.
    fn put_some(&mut self, key: &str, value: Option<impl serde::Serialize>) {
        if let Some(value) = value {
            self.put(key, json!(value));
        }
    }

    fn put_all(&mut self, keys: &[&str], value: &Value) {
        for key in keys {
            self.put(key, value.clone());
        }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn state(status: &Status) -> Value {
    let now = pause::state(status);
    let running = status.state == ContainerState::Running;
    let pid = match &status.start {
        Some(start) if running => start.init.pid,
        _ => 0,
    };
    let started = status.start.as_ref().map(|start| start.started.as_str());
    let exit = status.exit.as_ref();
    let finished = exit.map(|exit| exit.finished.as_str());
    json!({
        "Status": now.to_string(),
        "Running": running,
        "Paused": now == ContainerState::Paused,
        "Restarting": false,
        "OOMKilled": exit.is_some_and(|exit| exit.oom_killed),
        "Dead": status.state == ContainerState::Dead,
        "Pid": pid,
        "ExitCode": exit_code(status).unwrap_or(0),
        "Error": exit_reason(status).unwrap_or_default(),
        "StartedAt": started.unwrap_or(NEVER),
        "FinishedAt": finished.unwrap_or(NEVER),
    })
}

/// The key of `NetworkSettings.Networks`; a container that shares another's network has none.
fn network_name(record: &ContainerRecord) -> Option<&'static str> {
    match record.spec.network {
        NetworkMode::None => Some("none"),
        NetworkMode::Host => Some("host"),
        NetworkMode::Container(_) | NetworkMode::Path(_) => None,
    }
}

fn host_config(record: &ContainerRecord) -> Value {
    let spec = &record.spec;
    let log = match spec.log {
        LogDriver::JsonFile => "json-file",
        LogDriver::None => "none",
    };
    let mut object = Object::default();
    object.put("Binds", binds(&spec.mounts));
    object.put(
        "ContainerIDFile",
        json!(spec.cidfile.clone().unwrap_or_default()),
    );
    object.put("LogConfig", json!({"Type": log, "Config": {}}));
    object.put("NetworkMode", json!(record.spec.network.to_string()));
    object.put("PortBindings", json!({}));
    object.put(
        "RestartPolicy",
        json!({"Name": "no", "MaximumRetryCount": 0}),
    );
    object.put("AutoRemove", json!(spec.auto_remove));
    let settings = &spec.mount_settings;
    object.put(
        "VolumeDriver",
        json!(settings.volume_driver.clone().unwrap_or_default()),
    );
    object.put("VolumesFrom", volumes_from(&settings.volumes_from));
    object.put("ConsoleSize", json!([0, 0]));
    object.put_some(
        "Annotations",
        (!spec.annotations.is_empty()).then_some(&spec.annotations),
    );
    let security = &spec.security;
    let namespaces = &spec.namespaces;
    object.put("CapAdd", list_or_null(&security.cap_add));
    object.put("CapDrop", list_or_null(&security.cap_drop));
    let cgroup = match &namespaces.cgroup {
        NamespaceMode::Private => "private".to_owned(),
        other => other.to_string(),
    };
    object.put("CgroupnsMode", json!(cgroup));
    object.put_all(&["Dns", "DnsOptions", "DnsSearch"], &json!([]));
    object.put("ExtraHosts", Value::Null);
    object.put("GroupAdd", list_or_null(&security.group_add));
    object.put("IpcMode", json!(namespaces.ipc.to_string()));
    object.put("Cgroup", json!(""));
    object.put("Links", Value::Null);
    object.put("OomScoreAdj", json!(security.oom_score_adj.unwrap_or(0)));
    object.put("PidMode", json!(namespaces.pid.to_string()));
    object.put("Privileged", json!(security.privileged));
    object.put("PublishAllPorts", json!(false));
    object.put("ReadonlyRootfs", json!(spec.read_only));
    object.put("SecurityOpt", list_or_null(&security.options));
    object.put_some("Tmpfs", tmpfs(&spec.mounts));
    object.put("UTSMode", json!(namespaces.uts.to_string()));
    object.put("UsernsMode", json!(spec.user_namespace.typed));
    // Podman's.
    object.put_some(
        "IDMappings",
        record
            .ids
            .as_ref()
            .map(|ids| json!({"UidMap": lines(&ids.uids, ':'), "GidMap": lines(&ids.gids, ':')})),
    );
    object.put(
        "ShmSize",
        json!(settings.shm_size.unwrap_or(plan::SHM_BYTES)),
    );
    let sysctls = (!security.sysctls.is_empty()).then_some(&security.sysctls);
    object.put_some("Sysctls", sysctls);
    object.put("Runtime", json!("coracle"));
    object.put("Isolation", json!(""));
    put_resources(&mut object, spec);
    object.put_some("Mounts", requested_mounts(&spec.mounts));
    let (masked, read_only) = plan::masks(security, &[]);
    object.put("MaskedPaths", json!(absolute(masked)));
    object.put("ReadonlyPaths", json!(absolute(read_only)));
    object.put_some("Init", spec.init.then_some(true));
    object.done()
}

fn list_or_null(list: &[String]) -> Value {
    if list.is_empty() {
        Value::Null
    } else {
        json!(list)
    }
}

fn absolute(paths: Vec<String>) -> Vec<String> {
    paths.iter().map(|path| format!("/{path}")).collect()
}

/// -1 is unlimited.
fn ulimits(limits: &[Ulimit]) -> Value {
    let number = |limit: Option<u64>| limit.map_or(json!(-1), |limit| json!(limit));
    let one = |limit: &Ulimit| json!({"Name": limit.resource.name(), "Hard": number(limit.hard), "Soft": number(limit.soft)});
    limits.iter().map(one).collect()
}

/// In Docker's order; 0, "" and null are "not asked for".
fn put_resources(object: &mut Object, spec: &ContainerSpec) {
    let resources = &spec.resources;
    let devices = |key: &str, devices: &[DeviceValue]| -> Value {
        let entry = |device: &DeviceValue| json!({"Path": device.path, key: device.value});
        devices.iter().map(entry).collect()
    };
    let text = |text: &Option<String>| json!(text.as_deref().unwrap_or(""));
    object.put("CpuShares", json!(resources.cpu_shares.unwrap_or(0)));
    object.put("Memory", json!(resources.memory.unwrap_or(0)));
    object.put("NanoCpus", json!(resources.nano_cpus.unwrap_or(0)));
    object.put("CgroupParent", text(&resources.cgroup_parent));
    object.put("BlkioWeight", json!(resources.blkio_weight.unwrap_or(0)));
    for (name, key, values) in [
        (
            "BlkioWeightDevice",
            "Weight",
            &resources.blkio_weight_device,
        ),
        ("BlkioDeviceReadBps", "Rate", &resources.device_read_bps),
        ("BlkioDeviceWriteBps", "Rate", &resources.device_write_bps),
        ("BlkioDeviceReadIOps", "Rate", &resources.device_read_iops),
        ("BlkioDeviceWriteIOps", "Rate", &resources.device_write_iops),
    ] {
        object.put(name, devices(key, values));
    }
    object.put("CpuPeriod", json!(resources.cpu_period.unwrap_or(0)));
    object.put("CpuQuota", json!(resources.cpu_quota.unwrap_or(0)));
    object.put(
        "CpuRealtimePeriod",
        json!(resources.cpu_rt_period.unwrap_or(0)),
    );
    object.put(
        "CpuRealtimeRuntime",
        json!(resources.cpu_rt_runtime.unwrap_or(0)),
    );
    object.put("CpusetCpus", text(&resources.cpuset_cpus));
    object.put("CpusetMems", text(&resources.cpuset_mems));
    put_devices(object, &spec.devices);
    object.put(
        "MemoryReservation",
        json!(resources.memory_reservation.unwrap_or(0)),
    );
    object.put("MemorySwap", json!(swap(resources)));
    object.put("MemorySwappiness", json!(resources.memory_swappiness));
    let disabled = resources.oom_kill_disable.then_some(true);
    object.put("OomKillDisable", json!(disabled));
    object.put("PidsLimit", json!(resources.pids_limit));
    object.put("Ulimits", ulimits(&spec.security.ulimits));
    object.put_all(
        &[
            "CpuCount",
            "CpuPercent",
            "IOMaximumIOps",
            "IOMaximumBandwidth",
        ],
        &json!(0),
    );
}

fn put_devices(object: &mut Object, devices: &DeviceSpec) {
    let mappings: Vec<Value> = devices
        .mappings
        .iter()
        .map(|mapping| {
            json!({
                "PathOnHost": mapping.host,
                "PathInContainer": mapping.container,
                "CgroupPermissions": mapping.access,
            })
        })
        .collect();
    let or_null = |list: Vec<Value>| {
        if list.is_empty() {
            Value::Null
        } else {
            json!(list)
        }
    };
    let rules = devices.rules.iter().map(|rule| json!(rule.to_string()));
    let mut requests: Vec<Value> = devices.gpus.iter().map(gpu_request).collect();
    if !devices.qualified.is_empty() {
        requests.push(json!({
            "Driver": "cdi",
            "Count": 0,
            "DeviceIDs": devices.qualified,
            "Capabilities": null,
            "Options": null,
        }));
    }
    object.put("Devices", json!(mappings));
    object.put("DeviceCgroupRules", or_null(rules.collect()));
    object.put("DeviceRequests", or_null(requests));
}

fn gpu_request(request: &GpuRequest) -> Value {
    let devices = (!request.devices.is_empty()).then_some(&request.devices);
    json!({
        "Driver": request.driver,
        "Count": request.count,
        "DeviceIDs": devices,
        "Capabilities": [request.capabilities],
        "Options": request.options,
    })
}

/// Memory and swap together; Docker fills in its default.
fn swap(resources: &Resources) -> i64 {
    let twice = |memory: u64| i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX);
    resources
        .memory_swap
        .or(resources.memory.map(twice))
        .unwrap_or(0)
}

/// What `-v` asked for, as it was written. Docker keeps `--mount` in another key.
fn binds(mounts: &[Mount]) -> Value {
    let binds: Vec<String> = mounts.iter().filter_map(bind).collect();
    if binds.is_empty() {
        Value::Null
    } else {
        json!(binds)
    }
}

fn bind(mount: &Mount) -> Option<String> {
    if mount.options.origin != Origin::Volume {
        return None;
    }
    let source = match &mount.source {
        MountSource::Bind { source, .. } => source,
        MountSource::Volume(volume) if !volume.anonymous => &volume.name,
        _ => return None,
    };
    let mode = &mount.options.typed;
    let separator = if mode.is_empty() { "" } else { ":" };
    Some(format!("{source}:{}{separator}{mode}", mount.target))
}

/// Where volumes without a name are, those of the image among them.
fn volumes(mounts: &[Mount]) -> Value {
    let nameless = mounts.iter().filter(|mount| {
        mount.volume().is_some_and(|volume| volume.anonymous)
            && matches!(mount.options.origin, Origin::Volume | Origin::Image)
    });
    let places: BTreeMap<&str, Value> = nameless
        .map(|mount| (mount.target.as_str(), json!({})))
        .collect();
    if places.is_empty() {
        Value::Null
    } else {
        json!(places)
    }
}

fn volumes_from(containers: &[VolumesFrom]) -> Value {
    let texts: Vec<String> = containers
        .iter()
        .map(|from| match from.read_only {
            Some(true) => format!("{}:ro", from.container),
            Some(false) => format!("{}:rw", from.container),
            None => from.container.clone(),
        })
        .collect();
    if texts.is_empty() {
        Value::Null
    } else {
        json!(texts)
    }
}

/// What `--mount` asked for.
fn requested_mounts(mounts: &[Mount]) -> Option<Vec<Value>> {
    let requested: Vec<Value> = mounts
        .iter()
        .filter(|mount| mount.options.origin == Origin::Mount)
        .map(requested_mount)
        .collect();
    (!requested.is_empty()).then_some(requested)
}

fn requested_mount(mount: &Mount) -> Value {
    let mut object = Object::default();
    let (kind, source) = kind_and_source(&mount.source);
    object.put("Type", json!(kind));
    if !source.is_empty() && !mount.volume().is_some_and(|volume| volume.anonymous) {
        object.put("Source", json!(source));
    }
    object.put("Target", json!(mount.target));
    if mount.read_only {
        object.put("ReadOnly", json!(true));
    }
    let subpath = mount.options.subpath.as_ref();
    match &mount.source {
        MountSource::Bind {
            propagation,
            recursive,
            create_source,
            ..
        } => {
            let mut options = Object::default();
            options.put("Propagation", json!(propagation.as_str()));
            options.put_some("NonRecursive", (!recursive).then_some(true));
            options.put_some("CreateMountpoint", create_source.then_some(true));
            let writable_below = mount.options.writable_below;
            options.put_some("ReadOnlyNonRecursive", writable_below.then_some(true));
            object.put("BindOptions", options.done());
        }
        MountSource::Volume(volume) => {
            let mut options = Object::default();
            options.put_some("NoCopy", volume.no_copy.then_some(true));
            options.put_some(
                "Labels",
                Some(&volume.labels).filter(|labels| !labels.is_empty()),
            );
            options.put_some("Subpath", subpath);
            if volume.driver.is_some() || !volume.driver_options.is_empty() {
                options.put(
                    "DriverConfig",
                    json!({
                        "Name": volume.driver.clone().unwrap_or_default(),
                        "Options": volume.driver_options,
                    }),
                );
            }
            if !options.0.is_empty() {
                object.put("VolumeOptions", options.done());
            }
        }
        MountSource::Tmpfs { size, mode, .. } if size.is_some() || mode.is_some() => {
            let mut options = Object::default();
            options.put_some("SizeBytes", *size);
            options.put_some("Mode", *mode);
            object.put("TmpfsOptions", options.done());
        }
        MountSource::Image { .. } => {
            object.put_some("ImageOptions", subpath.map(|path| json!({"Subpath": path})));
        }
        _ => {}
    }
    object.done()
}

/// Targets with their options as one string, as `--tmpfs` has them.
fn tmpfs(mounts: &[Mount]) -> Option<BTreeMap<&str, String>> {
    let found: BTreeMap<&str, String> = mounts
        .iter()
        .filter_map(|mount| {
            let asked = mount.options.origin == Origin::Tmpfs;
            asked.then(|| (mount.target.as_str(), mount.options.typed.clone()))
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

fn kind_and_source(source: &MountSource) -> (&'static str, &str) {
    match source {
        MountSource::Bind { source, .. } => ("bind", source),
        MountSource::Volume(volume) => ("volume", &volume.name),
        MountSource::Tmpfs { .. } => ("tmpfs", ""),
        MountSource::Ramfs { .. } => ("ramfs", ""),
        MountSource::Devpts { .. } => ("devpts", ""),
        MountSource::Image { image, .. } => ("image", image),
    }
}

fn mount_point(mount: &Mount) -> Value {
    let (kind, source) = kind_and_source(&mount.source);
    let (propagation, read_only) = match &mount.source {
        MountSource::Bind { propagation, .. } => (propagation.as_str(), mount.read_only),
        MountSource::Image { writable, .. } => ("", !writable),
        _ => ("", mount.read_only),
    };
    json!({
        "Type": kind,
        "Source": source,
        "Destination": mount.target,
        "Mode": mount.options.typed,
        "RW": !read_only,
        "Propagation": propagation,
    })
}

fn volume_point(mount: &Mount, volume: &VolumeSource, mountpoint: &str) -> Value {
    // Docker's word for a mount that `-v` or `--mount` gave no mode.
    let mode = match mount.options.typed.as_str() {
        "" if mount.options.origin == Origin::Volume && !volume.anonymous => "z",
        typed => typed,
    };
    json!({
        "Type": "volume",
        "Name": volume.name,
        "Source": mountpoint,
        "Destination": mount.target,
        "Driver": LOCAL,
        "Mode": mode,
        "RW": !mount.read_only,
        "Propagation": "",
    })
}

/// Docker's order: what the user gave, then those of the image's variables that she did not.
fn environment(given: &[String], image: &ProcessDefaults) -> Vec<String> {
    let mut variables: Vec<String> = Vec::new();
    for variable in given {
        plan::set_variable(&mut variables, variable);
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in image.env.iter().flatten() {
        if !variables.iter().any(|other| name(other) == name(variable)) {
            variables.push(variable.clone());
        }
    }
    variables
}

/// The two lists that the command line was made of. A given entrypoint drops the image's command.
fn entrypoint_and_command(
    record: &ContainerRecord,
    image: &ProcessDefaults,
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let spec = &record.spec;
    let filled = |list: Option<Vec<String>>| list.filter(|list| !list.is_empty());
    let (entrypoint, image_command) = match &spec.entrypoint {
        Some(entrypoint) => (Some(entrypoint.clone()), None),
        None => (image.entrypoint.clone(), image.cmd.clone()),
    };
    let command = filled(Some(spec.command.clone())).or(image_command);
    (filled(entrypoint), filled(command))
}

/// Without networks: the keys are there, as in Docker's `none` and `host`.
fn network_settings(record: &ContainerRecord, status: &Status) -> Value {
    let networks = match network_name(record) {
        Some(name) => json!({name: endpoint()}),
        None => json!({}),
    };
    let mut object = Object::default();
    object.put("Bridge", json!(""));
    object.put("SandboxID", json!(""));
    let key = match &status.start {
        Some(start) if status.state == ContainerState::Running => {
            format!("/proc/{}/ns/net", start.init.pid)
        }
        _ => String::new(),
    };
    object.put("SandboxKey", json!(key));
    object.put("Ports", json!({}));
    object.put("HairpinMode", json!(false));
    object.put("LinkLocalIPv6Address", json!(""));
    object.put("LinkLocalIPv6PrefixLen", json!(0));
    object.put_all(
        &["SecondaryIPAddresses", "SecondaryIPv6Addresses"],
        &Value::Null,
    );
    object.put_all(&["EndpointID", "Gateway", "GlobalIPv6Address"], &json!(""));
    object.put("GlobalIPv6PrefixLen", json!(0));
    object.put("IPAddress", json!(""));
    object.put("IPPrefixLen", json!(0));
    object.put_all(&["IPv6Gateway", "MacAddress"], &json!(""));
    object.put("Networks", networks);
    object.done()
}

fn endpoint() -> Value {
    let mut object = Object::default();
    object.put_all(&["IPAMConfig", "Links", "Aliases"], &Value::Null);
    object.put("MacAddress", json!(""));
    object.put("DriverOpts", Value::Null);
    object.put("GwPriority", json!(0));
    object.put_all(
        &["NetworkID", "EndpointID", "Gateway", "IPAddress"],
        &json!(""),
    );
    object.put("IPPrefixLen", json!(0));
    object.put_all(&["IPv6Gateway", "GlobalIPv6Address"], &json!(""));
    object.put("GlobalIPv6PrefixLen", json!(0));
    object.put("DNSNames", Value::Null);
    object.done()
}
