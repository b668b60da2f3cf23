//! `container inspect`: Docker's keys in Docker's order and types. What is not there yet has the
//! value that Docker shows for a container that does not use it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ending::{exit_code, exit_reason};
use crate::{
    engine::{Engine, plan},
    model::{
        Result,
        container::{ContainerRecord, ContainerState, LogDriver, NetworkMode},
        image::ProcessDefaults,
        mount::{Mount, MountSource},
        signal::signal_name,
        user_namespace::lines,
    },
    storage::{ContainerDir, containers::Status},
};

/// Go's zero time: what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// One object as Docker's `container inspect` shows it; `size` walks the writable layer.
    pub fn inspect_container(&self, container: &str, size: bool) -> Result<Value> {
        let (directory, record) = self.store.find_container(container)?;
        let status = directory.state()?;
        // An image that is damaged must not hide its container.
        let image = self.image_config(&record.image_id).ok();
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
        object.put("Image", json!(record.image_id));
        object.put("ResolvConfPath", json!(file("resolv.conf")));
        object.put("HostnamePath", json!(file("hostname")));
        object.put("HostsPath", json!(file("hosts")));
        object.put("LogPath", json!(log));
        object.put("Name", json!(format!("/{}", record.name)));
        object.put("RestartCount", json!(0));
        object.put("Driver", json!(driver));
        object.put("Platform", json!("linux"));
        for label in ["MountLabel", "ProcessLabel", "AppArmorProfile"] {
            object.put(label, json!(""));
        }
        object.put("ExecIDs", Value::Null);
        object.put("HostConfig", host_config(&record));
        object.put("GraphDriver", graph_driver);
        if size {
            let size = self.container_size(&directory, &record)?;
            object.put("SizeRw", json!(size.writable));
            object.put("SizeRootFs", json!(size.image + size.writable));
        }
        let mounts: Vec<Value> = record.spec.mounts.iter().map(mount_point).collect();
        object.put("Mounts", json!(mounts));
        object.put("Config", self.config(&record, &image));
        object.put("NetworkSettings", network_settings(&record, &status));
        Ok(object.done())
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
        let hostname = spec.hostname.as_deref().unwrap_or(record.id.short());
        let user = spec.user.as_ref().or(image.user.as_ref());
        let (entrypoint, command) = entrypoint_and_command(record, image);
        let mut object = Object::default();
        object.put("Hostname", json!(hostname));
        object.put("Domainname", json!(""));
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
        object.put("Volumes", json!(image.volumes));
        object.put(
            "WorkingDir",
            json!(working_dir.cloned().unwrap_or_default()),
        );
        object.put("Entrypoint", json!(entrypoint));
        object.put("OnBuild", Value::Null);
        object.put("Labels", json!(labels));
        let stop_signal = spec.stop_signal.map(signal_name);
        object.put_some("StopSignal", stop_signal.or(image.stop_signal.clone()));
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
    let running = status.state == ContainerState::Running;
    let pid = match &status.start {
        Some(start) if running => start.init.pid,
        _ => 0,
    };
    let started = status.start.as_ref().map(|start| start.started.as_str());
    let exit = status.exit.as_ref();
    let finished = exit.map(|exit| exit.finished.as_str());
    json!({
        "Status": status.state.to_string(),
        "Running": running,
        "Paused": false,
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

fn network_name(record: &ContainerRecord) -> &'static str {
    match record.spec.network {
        NetworkMode::None => "none",
        NetworkMode::Host => "host",
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
    object.put("NetworkMode", json!(network_name(record)));
    object.put("PortBindings", json!({}));
    object.put(
        "RestartPolicy",
        json!({"Name": "no", "MaximumRetryCount": 0}),
    );
    object.put("AutoRemove", json!(spec.auto_remove));
    object.put("VolumeDriver", json!(""));
    object.put("VolumesFrom", Value::Null);
    object.put("ConsoleSize", json!([0, 0]));
    object.put_all(&["CapAdd", "CapDrop"], &Value::Null);
    object.put("CgroupnsMode", json!("private"));
    object.put_all(&["Dns", "DnsOptions", "DnsSearch"], &json!([]));
    object.put_all(&["ExtraHosts", "GroupAdd"], &Value::Null);
    object.put("IpcMode", json!("private"));
    object.put("Cgroup", json!(""));
    object.put("Links", Value::Null);
    object.put("OomScoreAdj", json!(0));
    object.put("PidMode", json!(""));
    object.put_all(&["Privileged", "PublishAllPorts"], &json!(false));
    object.put("ReadonlyRootfs", json!(spec.read_only));
    object.put("SecurityOpt", Value::Null);
    object.put_some("Tmpfs", tmpfs(&spec.mounts));
    object.put("UTSMode", json!(""));
    object.put("UsernsMode", json!(spec.user_namespace.typed));
    // Podman's.
    object.put_some(
        "IDMappings",
        record
            .ids
            .as_ref()
            .map(|ids| json!({"UidMap": lines(&ids.uids, ':'), "GidMap": lines(&ids.gids, ':')})),
    );
    object.put("ShmSize", json!(plan::SHM_BYTES));
    object.put("Runtime", json!("coracle"));
    object.put("Isolation", json!(""));
    put_resources(&mut object);
    object.put_some("Mounts", requested_mounts(&spec.mounts));
    let absolute =
        |paths: &[&str]| -> Vec<String> { paths.iter().map(|path| format!("/{path}")).collect() };
    object.put("MaskedPaths", json!(absolute(&plan::MASKED)));
    object.put("ReadonlyPaths", json!(absolute(&plan::READ_ONLY)));
    object.put_some("Init", spec.init.then_some(true));
    object.done()
}

/// Limits are not there yet: what Docker shows for a container without any.
fn put_resources(object: &mut Object) {
    object.put_all(&["CpuShares", "Memory", "NanoCpus"], &json!(0));
    object.put("CgroupParent", json!(""));
    object.put("BlkioWeight", json!(0));
    object.put_all(
        &[
            "BlkioWeightDevice",
            "BlkioDeviceReadBps",
            "BlkioDeviceWriteBps",
            "BlkioDeviceReadIOps",
            "BlkioDeviceWriteIOps",
        ],
        &json!([]),
    );
    object.put_all(
        &[
            "CpuPeriod",
            "CpuQuota",
            "CpuRealtimePeriod",
            "CpuRealtimeRuntime",
        ],
        &json!(0),
    );
    object.put_all(&["CpusetCpus", "CpusetMems"], &json!(""));
    object.put("Devices", json!([]));
    object.put_all(&["DeviceCgroupRules", "DeviceRequests"], &Value::Null);
    object.put_all(&["MemoryReservation", "MemorySwap"], &json!(0));
    object.put_all(
        &["MemorySwappiness", "OomKillDisable", "PidsLimit"],
        &Value::Null,
    );
    object.put("Ulimits", json!([]));
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
    let MountSource::Bind {
        source,
        create_source: true,
        ..
    } = &mount.source
    else {
        return None;
    };
    let mode = mode(mount);
    let separator = if mode.is_empty() { "" } else { ":" };
    Some(format!("{source}:{}{separator}{mode}", mount.target))
}

/// The third field of `-v`, empty if it would only say the defaults.
fn mode(mount: &Mount) -> String {
    let mut options = Vec::new();
    if mount.read_only {
        options.push("ro");
    }
    if let MountSource::Bind { propagation, .. } = &mount.source
        && *propagation != crate::model::mount::Propagation::default()
    {
        options.push(propagation.as_str());
    }
    options.join(",")
}

fn requested_mounts(mounts: &[Mount]) -> Option<Vec<Value>> {
    let requested: Vec<Value> = mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Bind {
                source,
                propagation,
                create_source: false,
                ..
            } => Some(json!({
                "Type": "bind",
                "Source": source,
                "Target": mount.target,
                "ReadOnly": mount.read_only,
                "BindOptions": {"Propagation": propagation.as_str()},
            })),
            _ => None,
        })
        .collect();
    (!requested.is_empty()).then_some(requested)
}

/// Targets with their options as one string, as `--tmpfs` has them.
fn tmpfs(mounts: &[Mount]) -> Option<BTreeMap<&str, String>> {
    let found: BTreeMap<&str, String> = mounts
        .iter()
        .filter_map(|mount| {
            let MountSource::Tmpfs {
                size,
                mode,
                options,
            } = &mount.source
            else {
                return None;
            };
            let mut words: Vec<String> = Vec::new();
            words.extend(mount.read_only.then(|| "ro".to_owned()));
            words.extend(options.iter().cloned());
            words.extend(size.map(|size| format!("size={size}")));
            words.extend(mode.map(|mode| format!("mode={mode:o}")));
            Some((mount.target.as_str(), words.join(",")))
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

fn mount_point(mount: &Mount) -> Value {
    let (kind, source, propagation) = match &mount.source {
        MountSource::Bind {
            source,
            propagation,
            ..
        } => ("bind", source.as_str(), propagation.as_str()),
        MountSource::Tmpfs { .. } => ("tmpfs", "", ""),
    };
    json!({
        "Type": kind,
        "Source": source,
        "Destination": mount.target,
        "Mode": mode(mount),
        "RW": !mount.read_only,
        "Propagation": propagation,
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
    let name = network_name(record);
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
    object.put("Networks", json!({name: endpoint()}));
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
