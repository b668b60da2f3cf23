//! Limits of the container's cgroup, cgroups(7), as they are asked for: Docker's and Podman's
//! flags as values, and the rules between them. `None` and empty mean "not asked for", so that
//! `update` can lay one [`Resources`] over another.

use serde::{Deserialize, Serialize};

use super::{Error, Result, human};

/// What one container may use of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Memory and swap together, bytes; -1 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
    /// Bytes that are taken back last when memory is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u64>,
    /// 0–100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_kill_disable: bool,
    /// Billionths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in a period; negative is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// Weight among siblings, 2–262144; 1024 is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_runtime: Option<i64>,
    /// Lists as in cpuset(7): `0-2,4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Tasks; 0 and less is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// 10–1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blkio_weight_device: Vec<DeviceValue>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_read_bps: Vec<DeviceValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_write_bps: Vec<DeviceValue>,
    /// Operations a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_read_iops: Vec<DeviceValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_write_iops: Vec<DeviceValue>,
    /// Files of the version 2 cgroup and what is written into them, as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cgroup_conf: Vec<(String, String)>,
    /// The cgroup in which the container's is made; a systemd slice or a path below the mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    #[serde(skip_serializing_if = "CgroupsMode::is_enabled")]
    pub cgroups: CgroupsMode,
    /// A limit that cannot hold here is an error instead of a notice.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict_limits: bool,
}

/// A number for a block device, named by its path on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceValue {
    pub path: String,
    pub value: u64,
}

/// Podman's `--cgroups`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupsMode {
    /// A cgroup of its own. `no-conmon` asks for what always holds here: the process that looks
    /// after the container stays outside.
    #[default]
    Enabled,
    /// The container stays in the caller's.
    Disabled,
    /// Below the caller's own cgroup.
    Split,
}

impl CgroupsMode {
    fn is_enabled(&self) -> bool {
        *self == CgroupsMode::Enabled
    }

    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "enabled" | "no-conmon" => Ok(CgroupsMode::Enabled),
            "disabled" => Ok(CgroupsMode::Disabled),
            "split" => Ok(CgroupsMode::Split),
            other => Err(Error::invalid(format!(
                "invalid value {other:?} for --cgroups: enabled, disabled, no-conmon or split"
            ))),
        }
    }
}

/// Docker's: less and nothing starts.
const MINIMUM_MEMORY: u64 = 6 << 20;

impl Resources {
    /// Whether anything but the place of the cgroup is asked for.
    pub fn limits_nothing(&self) -> bool {
        let rest = Resources {
            cgroup_parent: self.cgroup_parent.clone(),
            cgroups: self.cgroups,
            strict_limits: self.strict_limits,
            ..Resources::default()
        };
        *self == rest
    }

    /// Lays what `changes` asks for over this, and checks what comes out.
    pub fn updated(&self, changes: &Resources) -> Result<Resources> {
        fn over<T: Clone>(old: &Option<T>, new: &Option<T>) -> Option<T> {
            new.clone().or_else(|| old.clone())
        }
        fn list<T: Clone>(old: &[T], new: &[T]) -> Vec<T> {
            if new.is_empty() { old } else { new }.to_vec()
        }
        let (old, new) = (self, changes);
        // One way to say how much of the processors replaces the other.
        let by_count = new.nano_cpus.is_some();
        let by_quota = new.cpu_quota.is_some() || new.cpu_period.is_some();
        let merged = Resources {
            memory: over(&old.memory, &new.memory),
            memory_swap: over(&old.memory_swap, &new.memory_swap),
            memory_reservation: over(&old.memory_reservation, &new.memory_reservation),
            memory_swappiness: over(&old.memory_swappiness, &new.memory_swappiness),
            oom_kill_disable: old.oom_kill_disable || new.oom_kill_disable,
            nano_cpus: over(&old.nano_cpus.filter(|_| !by_quota), &new.nano_cpus),
            cpu_period: over(&old.cpu_period.filter(|_| !by_count), &new.cpu_period),
            cpu_quota: over(&old.cpu_quota.filter(|_| !by_count), &new.cpu_quota),
            cpu_shares: over(&old.cpu_shares, &new.cpu_shares),
            cpu_rt_period: over(&old.cpu_rt_period, &new.cpu_rt_period),
            cpu_rt_runtime: over(&old.cpu_rt_runtime, &new.cpu_rt_runtime),
            cpuset_cpus: over(&old.cpuset_cpus, &new.cpuset_cpus),
            cpuset_mems: over(&old.cpuset_mems, &new.cpuset_mems),
            pids_limit: over(&old.pids_limit, &new.pids_limit),
            blkio_weight: over(&old.blkio_weight, &new.blkio_weight),
            blkio_weight_device: list(&old.blkio_weight_device, &new.blkio_weight_device),
            device_read_bps: list(&old.device_read_bps, &new.device_read_bps),
            device_write_bps: list(&old.device_write_bps, &new.device_write_bps),
            device_read_iops: list(&old.device_read_iops, &new.device_read_iops),
            device_write_iops: list(&old.device_write_iops, &new.device_write_iops),
            cgroup_conf: list(&old.cgroup_conf, &new.cgroup_conf),
            cgroup_parent: old.cgroup_parent.clone(),
            cgroups: old.cgroups,
            strict_limits: old.strict_limits || new.strict_limits,
        };
        merged.check()?;
        Ok(merged)
    }

    /// The rules between the limits, as Docker has them.
    pub fn check(&self) -> Result<()> {
        self.check_memory()?;
        self.check_processor()?;
        let weights = self.blkio_weight_device.iter().map(|device| device.value);
        let weights = weights.chain(self.blkio_weight.map(u64::from));
        refuse_if(
            weights
                .into_iter()
                .any(|weight| !(10..=1000).contains(&weight)),
            "range of blkio weight is from 10 to 1000",
        )?;
        refuse_if(
            self.cgroups == CgroupsMode::Disabled && !self.limits_nothing(),
            "conflicting options: --cgroups=disabled leaves nothing that could hold a limit",
        )
    }

    fn check_memory(&self) -> Result<()> {
        refuse_if(
            self.memory.is_some_and(|memory| memory < MINIMUM_MEMORY),
            "minimum memory limit allowed is 6MB",
        )?;
        refuse_if(
            self.memory_swap.is_some_and(|swap| swap < -1),
            "invalid memory-swap limit: a size, or -1 for none",
        )?;
        let swap = self.memory_swap.and_then(|swap| u64::try_from(swap).ok());
        match (self.memory, swap) {
            (None, Some(_)) => refuse_if(
                true,
                "you should always set the memory limit when using the memory-swap limit",
            )?,
            (Some(memory), Some(swap)) => refuse_if(
                swap < memory,
                "the memory-swap limit is memory and swap together: it should not be less than the memory limit",
            )?,
            _ => {}
        }
        if let Some(reservation) = self.memory_reservation {
            refuse_if(
                reservation < MINIMUM_MEMORY,
                "minimum memory reservation allowed is 6MB",
            )?;
            refuse_if(
                self.memory.is_some_and(|memory| memory < reservation),
                "the memory limit should not be less than the memory reservation",
            )?;
        }
        refuse_if(
            self.memory_swappiness.is_some_and(|value| value > 100),
            "invalid memory swappiness: valid is 0-100",
        )
    }

    fn check_processor(&self) -> Result<()> {
        let by_count = self.nano_cpus.is_some();
        refuse_if(
            by_count && self.cpu_period.is_some(),
            "conflicting options: --cpus and --cpu-period cannot both be set",
        )?;
        refuse_if(
            by_count && self.cpu_quota.is_some(),
            "conflicting options: --cpus and --cpu-quota cannot both be set",
        )?;
        refuse_if(
            self.cpu_period
                .is_some_and(|period| !(1_000..=1_000_000).contains(&period)),
            "CPU cfs period cannot be less than 1ms (1000) or larger than 1s (1000000)",
        )?;
        refuse_if(
            self.cpu_quota
                .is_some_and(|quota| (1..1_000).contains(&quota)),
            "CPU cfs quota cannot be less than 1ms (1000)",
        )?;
        refuse_if(
            self.nano_cpus.is_some_and(|count| count < 10_000_000),
            "range of CPUs is from 0.01 up to the number of processors",
        )?;
        let (period, runtime) = (self.cpu_rt_period, self.cpu_rt_runtime);
        refuse_if(
            period.zip(runtime).is_some_and(|(period, runtime)| {
                u64::try_from(runtime).is_ok_and(|runtime| runtime > period)
            }),
            "the real-time runtime cannot be higher than the real-time period",
        )?;
        for (name, list) in [("cpus", &self.cpuset_cpus), ("mems", &self.cpuset_mems)] {
            if let Some(list) = list {
                refuse_if(
                    !is_list(list),
                    &format!("invalid value {list:?} for cpuset {name}: numbers and ranges, 0-2,4"),
                )?;
            }
        }
        Ok(())
    }
}

fn refuse_if(condition: bool, message: &str) -> Result<()> {
    if condition {
        Err(Error::invalid(message))
    } else {
        Ok(())
    }
}

/// cpuset(7), "List format".
fn is_list(text: &str) -> bool {
    text.split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u16>().ok();
        number(first)
            .zip(number(last))
            .is_some_and(|(first, last)| first <= last)
    })
}

/// `1.5` processors in billionths.
pub fn parse_cpus(text: &str) -> Result<u64> {
    let invalid = || Error::invalid(format!("invalid number of CPUs {text:?}: a decimal, 1.5"));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err(invalid());
    }
    if fraction.len() > 9 {
        return Err(Error::invalid(format!(
            "invalid number of CPUs {text:?}: value is too precise"
        )));
    }
    let number = |text: &str| if text.is_empty() { Ok(0) } else { text.parse() };
    let whole: u64 = number(whole).map_err(|_| invalid())?;
    let fraction: u64 = number(&format!("{fraction:0<9}")).map_err(|_| invalid())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|nano| nano.checked_add(fraction))
        .ok_or_else(invalid)
}

/// `/dev/sda:1mb`, bytes a second.
pub fn parse_device_rate(text: &str) -> Result<DeviceValue> {
    parse_device(text, "<device-path>:<number>[<unit>]", |value| {
        human::parse_bytes(value).ok()
    })
}

/// `/dev/sda:1000`, operations a second; also weights.
pub fn parse_device_number(text: &str) -> Result<DeviceValue> {
    parse_device(text, "<device-path>:<number>", |value| value.parse().ok())
}

fn parse_device(
    text: &str,
    format: &str,
    number: impl Fn(&str) -> Option<u64>,
) -> Result<DeviceValue> {
    let parsed = text.rsplit_once(':').and_then(|(path, value)| {
        let value = number(value).filter(|value| *value > 0)?;
        (path.starts_with("/dev/")).then(|| DeviceValue {
            path: path.to_owned(),
            value,
        })
    });
    parsed.ok_or_else(|| {
        Error::invalid(format!(
            "invalid value {text:?}: the format is {format}, with a path below /dev and a positive number"
        ))
    })
}

/// `memory.high=1073741824`: a file of the cgroup, never one that moves processes.
pub fn parse_cgroup_conf(text: &str) -> Result<(String, String)> {
    let invalid = || {
        Error::invalid(format!(
            "invalid cgroup setting {text:?}: the format is file=value, memory.high=1073741824"
        ))
    };
    let (file, value) = text.split_once('=').ok_or_else(invalid)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
    let is_file = file.contains('.') && file.bytes().all(plain) && !file.starts_with('.');
    if !is_file || file.starts_with("cgroup.") {
        return Err(invalid());
    }
    Ok((file.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_billionths() {
        assert_eq!(parse_cpus("1.5").unwrap(), 1_500_000_000);
        assert_eq!(parse_cpus(".25").unwrap(), 250_000_000);
        assert_eq!(parse_cpus("2").unwrap(), 2_000_000_000);
        for bad in ["", ".", "-1", "1.0000000001", "x", "99999999999999"] {
            parse_cpus(bad).unwrap_err();
        }
    }

    #[test]
    fn device_limits_need_a_device_and_a_number() {
        let rate = parse_device_rate("/dev/sda:1mb").unwrap();
        assert_eq!((rate.path.as_str(), rate.value), ("/dev/sda", 1 << 20));
        assert_eq!(parse_device_number("/dev/a:b:7").unwrap().path, "/dev/a:b");
        for bad in [
            "/dev/sda",
            "/dev/sda:",
            "/dev/sda:0",
            "sda:1",
            "/dev/sda:-1",
        ] {
            parse_device_number(bad).unwrap_err();
        }
    }

    #[test]
    fn settings_name_a_file_of_a_controller() {
        let (file, value) = parse_cgroup_conf("io.max=8:0 rbps=1").unwrap();
        assert_eq!((file.as_str(), value.as_str()), ("io.max", "8:0 rbps=1"));
        for bad in [
            "memory.high",
            "cgroup.procs=1",
            "../x.y=1",
            "memory=1",
            ".x=1",
        ] {
            parse_cgroup_conf(bad).unwrap_err();
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let none = Resources::default();
        none.check().unwrap();
        let memory = |memory, memory_swap| Resources {
            memory,
            memory_swap,
            ..Resources::default()
        };
        memory(Some(6 << 20), Some(6 << 20)).check().unwrap();
        memory(Some(6 << 20), Some(-1)).check().unwrap();
        memory(Some(5 << 20), None).check().unwrap_err();
        memory(None, Some(8 << 20)).check().unwrap_err();
        memory(Some(8 << 20), Some(7 << 20)).check().unwrap_err();
        let cpus = Resources {
            nano_cpus: Some(1_000_000_000),
            cpu_quota: Some(50_000),
            ..Resources::default()
        };
        cpus.check().unwrap_err();
        for (list, good) in [
            ("0", true),
            ("0-3,5", true),
            ("3-1", false),
            ("a", false),
            ("", false),
        ] {
            let set = Resources {
                cpuset_cpus: Some(list.to_owned()),
                ..Resources::default()
            };
            assert_eq!(set.check().is_ok(), good, "{list}");
        }
    }

    #[test]
    fn an_update_lays_over_what_was() {
        let old = Resources {
            memory: Some(64 << 20),
            cpu_quota: Some(50_000),
            ..Resources::default()
        };
        let changes = Resources {
            nano_cpus: Some(500_000_000),
            pids_limit: Some(10),
            ..Resources::default()
        };
        let new = old.updated(&changes).unwrap();
        assert_eq!((new.memory, new.cpu_quota), (Some(64 << 20), None));
        assert_eq!(
            (new.nano_cpus, new.pids_limit),
            (Some(500_000_000), Some(10))
        );
        assert!(!old.limits_nothing() && Resources::default().limits_nothing());
    }
}
