//! How much of the machine a container may use: its cgroup's settings.

use clap::Args;

use super::ui;
use crate::model::{
    ContainerSpec, Error, Result, human,
    resources::{
        CgroupsMode, Resources, parse_cgroup_conf, parse_cpus, parse_device_number,
        parse_device_rate,
    },
};

#[derive(Args)]
pub struct ResourceFlags {
    #[command(flatten)]
    limits: LimitFlags,
    /// Do not kill the container when its memory is used up (cgroup version 1 only)
    #[arg(long)]
    oom_kill_disable: bool,
    /// Cgroup in which the container's is made
    #[arg(long, value_name = "string")]
    cgroup_parent: Option<String>,
    /// Write a value into a file of the cgroup, FILE=VALUE (version 2)
    #[arg(long, value_name = "strings")]
    cgroup_conf: Vec<String>,
    /// Where the cgroup is made: enabled, disabled, no-conmon or split
    #[arg(long, value_name = "string")]
    cgroups: Option<String>,
    /// Fail if a limit cannot hold on this machine
    #[arg(long)]
    strict_limits: bool,
    /// Has no effect: the kernel has this limit no more
    #[arg(long, value_name = "bytes", hide = true)]
    kernel_memory: Option<String>,
}

/// What `update` can change too.
#[derive(Args)]
pub struct LimitFlags {
    /// Share of block device time, 10 to 1000 (default 0)
    #[arg(long, value_name = "uint16", allow_hyphen_values = true)]
    blkio_weight: Option<String>,
    /// The same for one device, PATH:WEIGHT (default [])
    #[arg(long, value_name = "list")]
    blkio_weight_device: Vec<String>,
    /// Length of a scheduling period in microseconds
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    cpu_period: Option<String>,
    /// Processor time in one period, in microseconds
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// Length of a real-time period in microseconds (cgroup version 1 only)
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    cpu_rt_period: Option<String>,
    /// Real-time processor time in one period, in microseconds (cgroup version 1 only)
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<String>,
    /// Share of processor time among containers; 1024 is usual
    #[arg(long, short = 'c', value_name = "int", allow_hyphen_values = true)]
    cpu_shares: Option<String>,
    /// Number of processors, 1.5 for example
    #[arg(long, value_name = "decimal", allow_hyphen_values = true)]
    cpus: Option<String>,
    /// Processors that may be used, 0-2,4
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that may be used
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Bytes a second read from a device, PATH:NUMBER[UNIT] (default [])
    #[arg(long, value_name = "list")]
    device_read_bps: Vec<String>,
    /// Reads a second from a device, PATH:NUMBER (default [])
    #[arg(long, value_name = "list")]
    device_read_iops: Vec<String>,
    /// Bytes a second written to a device, PATH:NUMBER[UNIT] (default [])
    #[arg(long, value_name = "list")]
    device_write_bps: Vec<String>,
    /// Writes a second to a device, PATH:NUMBER (default [])
    #[arg(long, value_name = "list")]
    device_write_iops: Vec<String>,
    /// Most memory the container may use, 512m for example
    #[arg(long, short = 'm', value_name = "bytes", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory that is left to the container when the machine is short of it
    #[arg(long, value_name = "bytes", allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Most memory and swap together; -1 is no limit of swap
    #[arg(long, value_name = "bytes", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Inclination to swap, 0 to 100 (cgroup version 1 only) (default -1)
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    memory_swappiness: Option<String>,
    /// Most processes and threads; 0 or -1 is no limit
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    pids_limit: Option<String>,
}

impl ResourceFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        if self.kernel_memory.is_some_and(|text| text != "0") {
            ui::notice("--kernel-memory has no effect: --memory counts the kernel's share");
        }
        let mut resources = self.limits.into_resources()?;
        resources.oom_kill_disable = self.oom_kill_disable;
        resources.cgroup_parent = self.cgroup_parent.filter(|path| !path.is_empty());
        resources.cgroup_conf = all(&self.cgroup_conf, parse_cgroup_conf)?;
        resources.cgroups = CgroupsMode::parse(&self.cgroups.unwrap_or_default())?;
        resources.strict_limits = self.strict_limits;
        resources.check()?;
        spec.resources = resources;
        Ok(())
    }
}

impl LimitFlags {
    /// Not yet checked against each other: `update` lays them over others first.
    pub fn into_resources(self) -> Result<Resources> {
        Ok(Resources {
            memory: bytes("memory", self.memory)?,
            memory_swap: swap(self.memory_swap)?,
            memory_reservation: bytes("memory-reservation", self.memory_reservation)?,
            memory_swappiness: number("memory-swappiness", self.memory_swappiness, "-1")?,
            nano_cpus: self
                .cpus
                .filter(|text| text != "0")
                .map(|text| parse_cpus(&text))
                .transpose()?,
            cpu_period: number("cpu-period", self.cpu_period, "0")?,
            cpu_quota: number("cpu-quota", self.cpu_quota, "0")?,
            cpu_shares: number("cpu-shares", self.cpu_shares, "0")?,
            cpu_rt_period: number("cpu-rt-period", self.cpu_rt_period, "0")?,
            cpu_rt_runtime: number("cpu-rt-runtime", self.cpu_rt_runtime, "0")?,
            cpuset_cpus: self.cpuset_cpus.filter(|list| !list.is_empty()),
            cpuset_mems: self.cpuset_mems.filter(|list| !list.is_empty()),
            pids_limit: number("pids-limit", self.pids_limit, "")?,
            blkio_weight: number("blkio-weight", self.blkio_weight, "0")?,
            blkio_weight_device: all(&self.blkio_weight_device, parse_device_number)?,
            device_read_bps: all(&self.device_read_bps, parse_device_rate)?,
            device_write_bps: all(&self.device_write_bps, parse_device_rate)?,
            device_read_iops: all(&self.device_read_iops, parse_device_number)?,
            device_write_iops: all(&self.device_write_iops, parse_device_number)?,
            ..Resources::default()
        })
    }
}

fn all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    texts.iter().map(|text| parse(text)).collect()
}

/// A size; 0 is none.
fn bytes(flag: &str, text: Option<String>) -> Result<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    let size = human::parse_bytes(&text).map_err(|error| {
        Error::invalid(format!("invalid argument {text:?} for --{flag}")).with_source(error)
    })?;
    Ok((size > 0).then_some(size))
}

fn swap(text: Option<String>) -> Result<Option<i64>> {
    if text.as_deref() == Some("-1") {
        return Ok(Some(-1));
    }
    let size = bytes("memory-swap", text)?;
    Ok(size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)))
}

/// A number; the text `none` is as if the flag were not there.
fn number<T: std::str::FromStr>(flag: &str, text: Option<String>, none: &str) -> Result<Option<T>> {
    let parse = |text: String| {
        let invalid = || Error::invalid(format!("invalid argument {text:?} for --{flag}"));
        text.parse().map_err(|_| invalid())
    };
    text.filter(|text| text != none).map(parse).transpose()
}
