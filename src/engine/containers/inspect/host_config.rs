//! `HostConfig`: what was asked of the engine, in Docker's keys and order.

use serde_json::{Value, json};

use super::{
    Object,
    mounts::{binds, requested_mounts, tmpfs, volumes_from},
    network::{links, port_bindings},
};
use crate::{
    engine::plan,
    model::{
        ContainerSpec,
        container::ContainerRecord,
        device::DeviceSpec,
        dns::DnsSpec,
        gpu::GpuRequest,
        namespace::NamespaceMode,
        resources::{DeviceValue, Resources},
        security::Ulimit,
        user_namespace::lines,
    },
};

pub(super) fn host_config(record: &ContainerRecord) -> Value {
    let spec = &record.spec;
    let log = spec.logging.driver.name();
    let mut object = Object::default();
    object.put("Binds", binds(&spec.mounts));
    object.put(
        "ContainerIDFile",
        json!(spec.cidfile.clone().unwrap_or_default()),
    );
    object.put(
        "LogConfig",
        json!({"Type": log, "Config": spec.logging.options}),
    );
    object.put("NetworkMode", json!(record.spec.network.to_string()));
    object.put("PortBindings", port_bindings(spec));
    object.put(
        "RestartPolicy",
        json!({"Name": spec.restart.name(), "MaximumRetryCount": spec.restart.most()}),
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
    put_dns(&mut object, &spec.dns);
    object.put("GroupAdd", list_or_null(&security.group_add));
    object.put("IpcMode", json!(namespaces.ipc.to_string()));
    object.put("Cgroup", json!(""));
    object.put("Links", links(record));
    object.put("OomScoreAdj", json!(security.oom_score_adj.unwrap_or(0)));
    object.put("PidMode", json!(namespaces.pid.to_string()));
    object.put("Privileged", json!(security.privileged));
    object.put("PublishAllPorts", json!(spec.publish_all));
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

fn put_dns(object: &mut Object, dns: &DnsSpec) {
    object.put("Dns", json!(dns.servers));
    object.put("DnsOptions", json!(dns.options));
    object.put("DnsSearch", json!(dns.search));
    let hosts: Vec<String> = dns.hosts.iter().map(ToString::to_string).collect();
    object.put("ExtraHosts", list_or_null(&hosts));
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
