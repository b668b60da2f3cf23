//! Limits: `linux.resources` and `linux.cgroupsPath`, both ways. Devices among them are
//! [`super::devices`]'s.

use std::path::Path;

use oci_spec::{OciSpecError, runtime as oci};

use super::read::{invalid, unsupported};
use crate::model::{
    Result,
    resources::{DeviceValue, Resources},
};

/// What `run`'s flags would say.
pub(super) fn read(resources: &oci::LinuxResources) -> Result<Resources> {
    let mut limits = Resources::default();
    for (field, there) in [
        (
            "hugepageLimits",
            resources
                .hugepage_limits()
                .as_ref()
                .is_some_and(|limits| !limits.is_empty()),
        ),
        ("network", resources.network().is_some()),
        (
            "rdma",
            resources
                .rdma()
                .as_ref()
                .is_some_and(|limits| !limits.is_empty()),
        ),
    ] {
        if there {
            let field = format!("linux.resources.{field}");
            return Err(unsupported(&field, "such limits are not there"));
        }
    }
    if let Some(memory) = resources.memory() {
        read_memory(memory, &mut limits)?;
    }
    if let Some(cpu) = resources.cpu() {
        read_cpu(cpu, &mut limits)?;
    }
    limits.pids_limit = resources.pids().as_ref().map(oci::LinuxPids::limit);
    if let Some(io) = resources.block_io() {
        read_block_io(io, &mut limits)?;
    }
    let mut unified: Vec<(String, String)> =
        resources.unified().clone().into_iter().flatten().collect();
    unified.sort();
    if unified.iter().any(|(name, _)| name.contains('/')) {
        return Err(invalid(
            "linux.resources.unified",
            "a key is not a file's name",
        ));
    }
    limits.cgroup_conf = unified;
    limits
        .check()
        .map_err(|error| invalid("linux.resources", error.message()))?;
    Ok(limits)
}

fn read_memory(memory: &oci::LinuxMemory, limits: &mut Resources) -> Result<()> {
    for (field, there) in [
        ("kernel", memory.kernel().is_some_and(|limit| limit > 0)),
        (
            "kernelTCP",
            memory.kernel_tcp().is_some_and(|limit| limit > 0),
        ),
    ] {
        if there {
            let field = format!("linux.resources.memory.{field}");
            return Err(unsupported(&field, "the kernel has this limit no more"));
        }
    }
    // 0 and less is no limit.
    let bytes = |limit: Option<i64>| limit.and_then(|limit| u64::try_from(limit).ok());
    limits.memory = bytes(memory.limit()).filter(|&limit| limit > 0);
    limits.memory_reservation = bytes(memory.reservation()).filter(|&limit| limit > 0);
    limits.memory_swap = memory.swap().filter(|&limit| limit != 0);
    limits.memory_swappiness = match memory.swappiness() {
        None => None,
        Some(number) => Some(
            u8::try_from(number)
                .map_err(|_| invalid("linux.resources.memory.swappiness", "it is not up to 100"))?,
        ),
    };
    limits.oom_kill_disable = memory.disable_oom_killer() == Some(true);
    Ok(())
}

fn read_cpu(cpu: &oci::LinuxCpu, limits: &mut Resources) -> Result<()> {
    let is_set = |number: Option<u64>| number.is_some_and(|number| number > 0);
    if cpu.idle().is_some_and(|idle| idle != 0) || is_set(cpu.burst()) {
        return Err(unsupported(
            "linux.resources.cpu",
            "idle and burst are not there",
        ));
    }
    limits.cpu_shares = cpu.shares().filter(|&number| number > 0);
    limits.cpu_quota = cpu.quota().filter(|&number| number != 0);
    limits.cpu_period = cpu.period().filter(|&number| number > 0);
    limits.cpu_rt_runtime = cpu.realtime_runtime().filter(|&number| number != 0);
    limits.cpu_rt_period = cpu.realtime_period().filter(|&number| number > 0);
    limits.cpuset_cpus = cpu.cpus().clone().filter(|list| !list.is_empty());
    limits.cpuset_mems = cpu.mems().clone().filter(|list| !list.is_empty());
    Ok(())
}

fn read_block_io(io: &oci::LinuxBlockIo, limits: &mut Resources) -> Result<()> {
    if io.leaf_weight().is_some_and(|weight| weight > 0) {
        return Err(unsupported(
            "linux.resources.blockIO.leafWeight",
            "the kernel has this weight no more",
        ));
    }
    limits.blkio_weight = io.weight().filter(|&weight| weight > 0);
    let weights = io.weight_device().iter().flatten();
    limits.blkio_weight_device = weights
        .map(|device| {
            let weight = u64::from(device.weight().unwrap_or(0));
            block_device(device.major(), device.minor(), weight)
        })
        .collect();
    let throttled = |devices: &Option<Vec<oci::LinuxThrottleDevice>>| -> Vec<DeviceValue> {
        let devices = devices.iter().flatten();
        devices
            .map(|device| block_device(device.major(), device.minor(), device.rate()))
            .collect()
    };
    limits.device_read_bps = throttled(io.throttle_read_bps_device());
    limits.device_write_bps = throttled(io.throttle_write_bps_device());
    limits.device_read_iops = throttled(io.throttle_read_iops_device());
    limits.device_write_iops = throttled(io.throttle_write_iops_device());
    Ok(())
}

/// By the name that every block device has for its number.
fn block_device(major: i64, minor: i64, value: u64) -> DeviceValue {
    DeviceValue {
        path: format!("/dev/block/{major}:{minor}"),
        value,
    }
}

/// The cgroup above the one that `linux.cgroupsPath` names: the container's own is called by its
/// ID. `None` if the place is ours to choose.
pub(super) fn parent(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    // systemd's: SLICE:PREFIX:NAME
    if let [slice, _, _] = text.split(':').collect::<Vec<_>>()[..] {
        return (!slice.is_empty()).then(|| slice.to_owned());
    }
    let parent = path.parent()?.to_str()?;
    (path.is_absolute() && parent != "/").then(|| parent.to_owned())
}

/// Limits as the specification has them; those of block devices, which it knows by number, are
/// left to `unsayable`.
pub(super) fn describe(
    limits: &Resources,
    devices: Option<Vec<oci::LinuxDeviceCgroup>>,
) -> std::result::Result<Option<oci::LinuxResources>, OciSpecError> {
    let mut resources = oci::LinuxResources::default();
    resources.set_devices(devices);
    let mut memory = oci::LinuxMemory::default();
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    memory.set_limit(limits.memory.map(signed));
    memory.set_swap(limits.memory_swap);
    memory.set_reservation(limits.memory_reservation.map(signed));
    memory.set_swappiness(limits.memory_swappiness.map(u64::from));
    memory.set_disable_oom_killer(limits.oom_kill_disable.then_some(true));
    resources.set_memory((memory != oci::LinuxMemory::default()).then_some(memory));
    let mut cpu = oci::LinuxCpu::default();
    // `--cpus` in its usual period.
    let count = limits.nano_cpus.map(|count| signed(count / 10_000));
    cpu.set_shares(limits.cpu_shares);
    cpu.set_quota(count.or(limits.cpu_quota));
    cpu.set_period(count.map(|_| 100_000).or(limits.cpu_period));
    cpu.set_realtime_runtime(limits.cpu_rt_runtime);
    cpu.set_realtime_period(limits.cpu_rt_period);
    cpu.set_cpus(limits.cpuset_cpus.clone());
    cpu.set_mems(limits.cpuset_mems.clone());
    resources.set_cpu((cpu != oci::LinuxCpu::default()).then_some(cpu));
    if let Some(limit) = limits.pids_limit {
        resources.set_pids(Some(oci::LinuxPidsBuilder::default().limit(limit).build()?));
    }
    let mut io = oci::LinuxBlockIo::default();
    io.set_weight(limits.blkio_weight);
    resources.set_block_io((io != oci::LinuxBlockIo::default()).then_some(io));
    let unified = limits.cgroup_conf.iter().cloned().collect();
    resources.set_unified((!limits.cgroup_conf.is_empty()).then_some(unified));
    Ok(Some(resources))
}

/// Whether there are limits that a configuration has no words for.
pub(super) fn unsayable(limits: &Resources) -> bool {
    [
        &limits.blkio_weight_device,
        &limits.device_read_bps,
        &limits.device_write_bps,
        &limits.device_read_iops,
        &limits.device_write_iops,
    ]
    .into_iter()
    .any(|devices| !devices.is_empty())
}
