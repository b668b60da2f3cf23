//! What is written into the container's cgroup: Docker's units become the kernel's, cgroups(7)
//! and the kernel's Documentation/admin-guide/cgroup-v2.rst.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{
    Error, Result,
    resources::{CgroupsMode, DeviceValue, Resources},
};

/// The cgroup of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupPlan {
    pub place: CgroupPlace,
    /// For version 2, in this order.
    pub writes: Vec<CgroupWrite>,
    /// What version 2 has nothing for: flags.
    pub without_v2: Vec<String>,
    /// The container is to write into its own group (systemd inside).
    pub writable: bool,
    /// That was asked for by a flag: without a group it is an error.
    pub must_be_writable: bool,
    /// For version 1, likewise.
    pub legacy_writes: Vec<CgroupWrite>,
    pub limits_memory: bool,
    /// A limit that cannot hold is an error.
    pub strict: bool,
}

/// Where it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupPlace {
    /// Where those of this program are, on this kind of machine.
    #[default]
    Usual,
    /// Below the root of the tree; no `..`.
    Below(PathBuf),
    /// Below the caller's own.
    Split,
    /// Nowhere.
    None,
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupWrite {
    /// Its first part is the controller.
    pub file: String,
    pub value: String,
    /// A block device whose `MAJOR:MINOR ` comes before the value.
    pub device: Option<String>,
    /// Another file and value that say it better where that file is there.
    pub rather: Option<(String, String)>,
    /// The flag that asked for it, without its dashes.
    pub flag: String,
}

impl CgroupWrite {
    fn new(flag: &str, file: &str, value: impl ToString) -> Self {
        CgroupWrite {
            file: file.to_owned(),
            value: value.to_string(),
            device: None,
            rather: None,
            flag: flag.to_owned(),
        }
    }

    /// `memory` of `memory.max`.
    pub fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }
}

impl CgroupPlan {
    /// Whether a container without a group is not what was asked for.
    pub fn is_needed(&self) -> bool {
        self.place != CgroupPlace::Usual || self.writable || !self.writes.is_empty()
    }
}

/// The plan of a container's cgroup.
pub fn cgroup(resources: &Resources, writable: bool) -> Result<CgroupPlan> {
    let place = match (resources.cgroups, &resources.cgroup_parent) {
        (CgroupsMode::Disabled, _) => CgroupPlace::None,
        (CgroupsMode::Split, _) => CgroupPlace::Split,
        (CgroupsMode::Enabled, Some(parent)) => CgroupPlace::Below(parent_path(parent)?),
        (CgroupsMode::Enabled, None) => CgroupPlace::Usual,
    };
    Ok(CgroupPlan {
        place,
        writes: writes(resources),
        without_v2: without_v2(resources),
        writable,
        must_be_writable: false,
        legacy_writes: legacy_writes(resources),
        limits_memory: resources.memory.is_some(),
        strict: resources.strict_limits,
    })
}

/// The files of version 2 and their values.
pub fn writes(resources: &Resources) -> Vec<CgroupWrite> {
    let mut writes = memory(resources);
    writes.extend(processor(resources));
    if let Some(limit) = resources.pids_limit {
        let value = if limit > 0 {
            limit.to_string()
        } else {
            "max".to_owned()
        };
        writes.push(CgroupWrite::new("pids-limit", "pids.max", value));
    }
    writes.extend(block_devices(resources));
    let raw = |(file, value): &(String, String)| CgroupWrite::new("cgroup-conf", file, value);
    writes.extend(resources.cgroup_conf.iter().map(raw));
    writes
}

fn memory(resources: &Resources) -> Vec<CgroupWrite> {
    let mut writes = Vec::new();
    if let Some(limit) = resources.memory {
        writes.push(CgroupWrite::new("memory", "memory.max", limit));
    }
    // Version 2 counts swap alone. Docker's default is as much swap as memory.
    let swap = match (resources.memory, resources.memory_swap) {
        (_, Some(-1)) => Some("max".to_owned()),
        (Some(memory), Some(both)) => Some(both.saturating_sub_unsigned(memory).max(0).to_string()),
        (Some(memory), None) => Some(memory.to_string()),
        (None, _) => None,
    };
    if let Some(swap) = swap {
        let flag = if resources.memory_swap.is_some() {
            "memory-swap"
        } else {
            "memory"
        };
        writes.push(CgroupWrite::new(flag, "memory.swap.max", swap));
    }
    if let Some(reservation) = resources.memory_reservation {
        writes.push(CgroupWrite::new(
            "memory-reservation",
            "memory.low",
            reservation,
        ));
    }
    writes
}

fn processor(resources: &Resources) -> Vec<CgroupWrite> {
    let mut writes = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        writes.push(CgroupWrite::new(
            "cpu-shares",
            "cpu.weight",
            cpu_weight(shares),
        ));
    }
    let flag = bandwidth_flag(resources);
    if let Some((quota, period)) = cpu_bandwidth(resources) {
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        writes.push(CgroupWrite::new(
            flag,
            "cpu.max",
            format!("{quota} {period}"),
        ));
    }
    if let Some(list) = &resources.cpuset_cpus {
        writes.push(CgroupWrite::new("cpuset-cpus", "cpuset.cpus", list));
    }
    if let Some(list) = &resources.cpuset_mems {
        writes.push(CgroupWrite::new("cpuset-mems", "cpuset.mems", list));
    }
    writes
}

/// Quota (`None` is no limit) and period, both in microseconds, if either was asked for.
pub fn cpu_bandwidth(resources: &Resources) -> Option<(Option<u64>, u64)> {
    const PERIOD: u64 = 100_000;
    if let Some(nano) = resources.nano_cpus {
        let quota = u128::from(nano) * u128::from(PERIOD) / 1_000_000_000;
        return Some((Some(u64::try_from(quota).unwrap_or(u64::MAX)), PERIOD));
    }
    if resources.cpu_quota.is_none() && resources.cpu_period.is_none() {
        return None;
    }
    let quota = resources
        .cpu_quota
        .and_then(|quota| u64::try_from(quota).ok());
    Some((quota, resources.cpu_period.unwrap_or(PERIOD)))
}

/// Shares (2–262144, usually 1024) as a weight (1–10000, usually 100). Not a line: both ends and
/// the usual value shall meet, so the exponent of ten is a parabola over the shares' logarithm
/// (runc since 1.3.2 and crun since 1.23 do the same).
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

/// A blkio weight (10–1000) on the scale of `io.weight` (1–10000).
fn io_weight(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}

fn block_devices(resources: &Resources) -> Vec<CgroupWrite> {
    let mut writes = Vec::new();
    // The BFQ scheduler has a file of its own, on Docker's scale.
    let weight = |flag, prefix: &str, weight: u64| CgroupWrite {
        rather: Some(("io.bfq.weight".to_owned(), format!("{prefix}{weight}"))),
        ..CgroupWrite::new(flag, "io.weight", format!("{prefix}{}", io_weight(weight)))
    };
    if let Some(value) = resources.blkio_weight {
        writes.push(weight("blkio-weight", "default ", value.into()));
    }
    for device in &resources.blkio_weight_device {
        writes.push(CgroupWrite {
            device: Some(device.path.clone()),
            ..weight("blkio-weight-device", "", device.value)
        });
    }
    let rates: [(&str, &str, &[DeviceValue]); 4] = [
        ("device-read-bps", "rbps", &resources.device_read_bps),
        ("device-write-bps", "wbps", &resources.device_write_bps),
        ("device-read-iops", "riops", &resources.device_read_iops),
        ("device-write-iops", "wiops", &resources.device_write_iops),
    ];
    for (flag, key, devices) in rates {
        writes.extend(devices.iter().map(|device| CgroupWrite {
            device: Some(device.path.clone()),
            ..CgroupWrite::new(flag, "io.max", format!("{key}={}", device.value))
        }));
    }
    writes
}

/// The same for version 1; what it has no file for (`cgroup-conf`) is not here.
pub fn legacy_writes(resources: &Resources) -> Vec<CgroupWrite> {
    let mut writes = legacy_memory(resources);
    let mut add = |flag, file, value: Option<String>| {
        writes.extend(value.map(|value| CgroupWrite::new(flag, file, value)));
    };
    let text = |value: Option<i64>| value.map(|value| value.to_string());
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    add("cpu-shares", "cpu.shares", number(resources.cpu_shares));
    if let Some((quota, period)) = cpu_bandwidth(resources) {
        let flag = bandwidth_flag(resources);
        let quota = quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
        add(flag, "cpu.cfs_period_us", Some(period.to_string()));
        add(flag, "cpu.cfs_quota_us", Some(quota));
    }
    add(
        "cpu-rt-period",
        "cpu.rt_period_us",
        number(resources.cpu_rt_period),
    );
    add(
        "cpu-rt-runtime",
        "cpu.rt_runtime_us",
        text(resources.cpu_rt_runtime),
    );
    add("cpuset-cpus", "cpuset.cpus", resources.cpuset_cpus.clone());
    add("cpuset-mems", "cpuset.mems", resources.cpuset_mems.clone());
    let tasks = |limit: i64| {
        if limit > 0 {
            limit.to_string()
        } else {
            "max".to_owned()
        }
    };
    add("pids-limit", "pids.max", resources.pids_limit.map(tasks));
    writes.extend(legacy_block_devices(resources));
    writes
}

fn legacy_memory(resources: &Resources) -> Vec<CgroupWrite> {
    let mut writes = Vec::new();
    if let Some(limit) = resources.memory {
        writes.push(CgroupWrite::new("memory", "memory.limit_in_bytes", limit));
        let flag = if resources.memory_swap.is_some() {
            "memory-swap"
        } else {
            "memory"
        };
        let twice = limit.saturating_mul(2);
        let both = resources
            .memory_swap
            .map_or(twice.to_string(), |swap| swap.to_string());
        writes.push(CgroupWrite::new(flag, "memory.memsw.limit_in_bytes", both));
    }
    if let Some(reservation) = resources.memory_reservation {
        let file = "memory.soft_limit_in_bytes";
        writes.push(CgroupWrite::new("memory-reservation", file, reservation));
    }
    if let Some(swappiness) = resources.memory_swappiness {
        writes.push(CgroupWrite::new(
            "memory-swappiness",
            "memory.swappiness",
            swappiness,
        ));
    }
    if resources.oom_kill_disable {
        writes.push(CgroupWrite::new(
            "oom-kill-disable",
            "memory.oom_control",
            1,
        ));
    }
    writes
}

fn legacy_block_devices(resources: &Resources) -> Vec<CgroupWrite> {
    let mut writes = Vec::new();
    let weight = |flag, suffix: &str, value: u64| CgroupWrite {
        rather: Some((format!("blkio.bfq.weight{suffix}"), value.to_string())),
        ..CgroupWrite::new(flag, &format!("blkio.weight{suffix}"), value)
    };
    if let Some(value) = resources.blkio_weight {
        writes.push(weight("blkio-weight", "", value.into()));
    }
    let of_device = |device: &DeviceValue, write: CgroupWrite| CgroupWrite {
        device: Some(device.path.clone()),
        ..write
    };
    for device in &resources.blkio_weight_device {
        writes.push(of_device(
            device,
            weight("blkio-weight-device", "_device", device.value),
        ));
    }
    let rates: [(&str, &str, &[DeviceValue]); 4] = [
        ("device-read-bps", "read_bps", &resources.device_read_bps),
        ("device-write-bps", "write_bps", &resources.device_write_bps),
        ("device-read-iops", "read_iops", &resources.device_read_iops),
        (
            "device-write-iops",
            "write_iops",
            &resources.device_write_iops,
        ),
    ];
    for (flag, key, devices) in rates {
        let file = format!("blkio.throttle.{key}_device");
        let write = |device| of_device(device, CgroupWrite::new(flag, &file, device.value));
        writes.extend(devices.iter().map(write));
    }
    writes
}

fn bandwidth_flag(resources: &Resources) -> &'static str {
    match (resources.nano_cpus, resources.cpu_quota) {
        (Some(_), _) => "cpus",
        (None, Some(_)) => "cpu-quota",
        (None, None) => "cpu-period",
    }
}

fn without_v2(resources: &Resources) -> Vec<String> {
    let asked = [
        ("memory-swappiness", resources.memory_swappiness.is_some()),
        ("oom-kill-disable", resources.oom_kill_disable),
        ("cpu-rt-period", resources.cpu_rt_period.is_some()),
        ("cpu-rt-runtime", resources.cpu_rt_runtime.is_some()),
    ];
    let asked = asked.into_iter().filter(|(_, asked)| *asked);
    asked.map(|(flag, _)| flag.to_owned()).collect()
}

/// A systemd slice is where systemd puts it (systemd.slice(5)): `a-b.slice` lies in `a.slice`.
fn parent_path(text: &str) -> Result<PathBuf> {
    let invalid = || {
        Error::invalid(format!(
            "invalid cgroup parent {text:?}: a path below the cgroup mount, or the name of a slice"
        ))
    };
    if let Some(name) = text.strip_suffix(".slice").filter(|_| !text.contains('/')) {
        if name == "-" {
            return Ok(PathBuf::new());
        }
        let mut path = PathBuf::new();
        let mut unit = String::new();
        for part in name.split('-') {
            if part.is_empty() {
                return Err(invalid());
            }
            unit = if unit.is_empty() {
                part.to_owned()
            } else {
                format!("{unit}-{part}")
            };
            path.push(format!("{unit}.slice"));
        }
        return Ok(path);
    }
    let path = Path::new(text.trim_start_matches('/'));
    let plain = |part| matches!(part, Component::Normal(_));
    if path.as_os_str().is_empty() || !path.components().all(plain) {
        return Err(invalid());
    }
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_counts_swap_with_memory() {
        let resources = Resources {
            memory: Some(64 << 20),
            cpu_quota: Some(-1),
            pids_limit: Some(0),
            device_read_bps: vec![DeviceValue {
                path: "/dev/sda".to_owned(),
                value: 9,
            }],
            ..Resources::default()
        };
        let written: Vec<(String, String)> = legacy_writes(&resources)
            .into_iter()
            .map(|write| (write.file, write.value))
            .collect();
        let expected = pairs(&[
            ("memory.limit_in_bytes", "67108864"),
            ("memory.memsw.limit_in_bytes", "134217728"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "-1"),
            ("pids.max", "max"),
            ("blkio.throttle.read_bps_device", "9"),
        ]);
        assert_eq!(written, expected);
    }

    fn table(resources: Resources) -> Vec<(String, String)> {
        let write = |write: CgroupWrite| match write.device {
            Some(device) => (write.file, format!("<{device}> {}", write.value)),
            None => (write.file, write.value),
        };
        writes(&resources).into_iter().map(write).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(file, value): &(&str, &str)| ((*file).to_owned(), (*value).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn weights_meet_at_the_ends_and_at_the_usual_value() {
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert!(cpu_weight(512) < 100 && cpu_weight(2048) > 100);
        assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
    }

    #[test]
    fn swap_is_counted_without_memory() {
        let mib = |count: u64| count << 20;
        for (memory, swap, expected) in [
            (Some(mib(64)), None, Some("67108864")),
            (Some(mib(64)), Some(96 << 20), Some("33554432")),
            (Some(mib(64)), Some(64 << 20), Some("0")),
            (Some(mib(64)), Some(-1), Some("max")),
            (None, Some(-1), Some("max")),
            (None, None, None),
        ] {
            let resources = Resources {
                memory,
                memory_swap: swap,
                ..Resources::default()
            };
            let written = table(resources);
            let swap = written.iter().find(|(file, _)| file == "memory.swap.max");
            assert_eq!(swap.map(|(_, value)| value.as_str()), expected);
        }
    }

    #[test]
    fn processor_time_is_a_quota_of_a_period() {
        let cpu = |nano_cpus, cpu_quota, cpu_period| {
            table(Resources {
                nano_cpus,
                cpu_quota,
                cpu_period,
                ..Resources::default()
            })
        };
        assert_eq!(
            cpu(Some(1_500_000_000), None, None),
            pairs(&[("cpu.max", "150000 100000")])
        );
        assert_eq!(
            cpu(None, Some(20_000), None),
            pairs(&[("cpu.max", "20000 100000")])
        );
        assert_eq!(
            cpu(None, Some(-1), Some(50_000)),
            pairs(&[("cpu.max", "max 50000")])
        );
        assert_eq!(cpu(None, None, None), []);
    }

    #[test]
    fn everything_at_once() {
        let device = |value| {
            vec![DeviceValue {
                path: "/dev/sda".to_owned(),
                value,
            }]
        };
        let resources = Resources {
            memory_reservation: Some(8 << 20),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0-1".to_owned()),
            pids_limit: Some(-1),
            blkio_weight: Some(500),
            blkio_weight_device: device(1000),
            device_read_bps: device(1 << 20),
            device_write_iops: device(7),
            cgroup_conf: vec![("memory.high".to_owned(), "1".to_owned())],
            memory_swappiness: Some(3),
            ..Resources::default()
        };
        assert_eq!(without_v2(&resources), ["memory-swappiness"]);
        let expected = pairs(&[
            ("memory.low", "8388608"),
            ("cpu.weight", "100"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "max"),
            ("io.weight", "default 4950"),
            ("io.weight", "</dev/sda> 10000"),
            ("io.max", "</dev/sda> rbps=1048576"),
            ("io.max", "</dev/sda> wiops=7"),
            ("memory.high", "1"),
        ]);
        assert_eq!(table(resources), expected);
    }

    #[test]
    fn slices_lie_where_systemd_puts_them() {
        for (text, path) in [
            ("a-b.slice", Some("a.slice/a-b.slice")),
            ("/docker/x", Some("docker/x")),
            ("x", Some("x")),
            ("-.slice", Some("")),
            ("a--b.slice", None),
            ("/../x", None),
            ("/", None),
        ] {
            assert_eq!(parent_path(text).ok(), path.map(PathBuf::from), "{text}");
        }
    }
}
