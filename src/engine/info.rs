//! `info`: the engine, its store and its machine under Docker's keys, in Docker's order. What we
//! are that Docker is not stands under `Coracle`.

use serde_json::{Map, Value, json};

use super::{Engine, cgroup, machine};
use crate::{
    model::{
        DOCKER_VERSION, Digest, Result, cdi,
        container::ContainerState,
        host::{IdRange, UserMode},
    },
    storage::Driver,
};

impl Engine {
    /// One object with the keys of Docker's `info`.
    pub fn info(&self) -> Result<Value> {
        let mut info = Map::new();
        info.insert("ID".to_owned(), json!(self.id()));
        for part in [
            self.objects()?,
            self.store_facts()?,
            abilities(&self.cgroup_abilities()),
            machine_facts(),
            self.surroundings(),
            self.programs(),
            json!({"Warnings": self.warnings(), "Coracle": self.own_facts()?}),
        ] {
            if let Value::Object(part) = part {
                info.extend(part);
            }
        }
        Ok(Value::Object(info))
    }

    /// Docker's is random and kept; ours follows from the machine and the store.
    fn id(&self) -> String {
        use sha2::Digest as _;
        let machine = machine::text("/etc/machine-id").unwrap_or_default();
        let root = self.store.root_path().to_string_lossy();
        let digest = Digest::sha256(sha2::Sha256::digest(format!("coracle {machine} {root}")));
        let hex = digest.hex();
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..32],
        ];
        parts.join("-")
    }

    fn objects(&self) -> Result<Value> {
        let (mut running, mut paused) = (0, 0);
        let containers = self.containers(true, false)?;
        for container in &containers {
            match container.state {
                ContainerState::Running => running += 1,
                ContainerState::Paused => paused += 1,
                _ => {}
            }
        }
        let mut images: Vec<Digest> = self
            .store
            .visible_images()?
            .into_iter()
            .map(|record| record.config)
            .collect();
        images.sort_by_key(Digest::to_string);
        images.dedup();
        Ok(json!({
            "Containers": containers.len(),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": containers.len() - running - paused,
            "Images": images.len(),
        }))
    }

    fn store_facts(&self) -> Result<Value> {
        let driver = self.driver();
        let mut status = vec![json!(["Backing Filesystem", self.backing_file_system()])];
        if driver == Driver::Overlay {
            let user_xattr = self.user.has_namespace();
            status.push(json!(["userxattr", user_xattr.to_string()]));
        }
        let networks = match self.user.mode() {
            UserMode::Root => vec!["bridge", "host", "ipvlan", "macvlan", "null"],
            _ => vec!["bridge", "host", "null"],
        };
        Ok(json!({
            "Driver": driver.name(),
            "DriverStatus": status,
            "Plugins": {
                "Volume": ["local"],
                "Network": networks,
                "Authorization": null,
                "Log": ["json-file", "none"],
            },
        }))
    }

    /// The type of the file system that the store lies on, as /proc/self/mountinfo calls it.
    fn backing_file_system(&self) -> String {
        let root = self.store.root_path();
        let path = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let table = machine::text("/proc/self/mountinfo").unwrap_or_default();
        file_system_of(&table, &path).unwrap_or_else(|| "unknown".to_owned())
    }

    fn surroundings(&self) -> Value {
        json!({
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": {
                "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
                "IndexConfigs": {
                    "docker.io": {
                        "Name": "docker.io",
                        "Mirrors": [],
                        "Secure": true,
                        "Official": true,
                    },
                },
                "Mirrors": [],
            },
            "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
            "MemTotal": machine::memory_total().unwrap_or(0),
            "GenericResources": null,
            "DockerRootDir": self.store.root_path(),
            // Taken from the environment of each command, not kept.
            "HttpProxy": "",
            "HttpsProxy": "",
            "NoProxy": "",
            "Name": machine::kernel().hostname,
            "Labels": [],
            "ExperimentalBuild": false,
            "ServerVersion": DOCKER_VERSION,
        })
    }

    /// There are no helper programs: their versions are empty, the runtime is this program.
    fn programs(&self) -> Value {
        let mut security = vec!["name=seccomp,profile=builtin"];
        if self.user.has_namespace() {
            security.extend(["name=rootless", "name=userns"]);
        }
        security.push("name=cgroupns");
        json!({
            "Runtimes": {"coracle": {"path": "coracle"}},
            "DefaultRuntime": "coracle",
            "Swarm": {
                "NodeID": "",
                "NodeAddr": "",
                "LocalNodeState": "inactive",
                "ControlAvailable": false,
                "Error": "",
                "RemoteManagers": null,
            },
            // Nothing has to be restored: containers do not depend on a daemon.
            "LiveRestoreEnabled": true,
            "Isolation": "",
            "InitBinary": "coracle",
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": ""},
            "InitCommit": {"ID": ""},
            "SecurityOptions": security,
            "CDISpecDirs": cdi::FOLDERS,
        })
    }

    /// What limits this machine gives to this user.
    pub(super) fn cgroup_abilities(&self) -> cgroup::Abilities {
        cgroup::abilities(&self.cgroup_caller())
    }

    fn warnings(&self) -> Value {
        match self.user.mode() {
            UserMode::SingleId { why, .. } => {
                json!([format!("WARNING: containers have only user 0: {why}")])
            }
            _ => Value::Null,
        }
    }

    fn own_facts(&self) -> Result<Value> {
        let cgroups = self.cgroup_abilities();
        let network = self.network_backend();
        let missing = network.as_ref().map(|network| &network.missing);
        let missing = missing
            .filter(|missing| !missing.is_empty())
            .map(|missing| {
                let missing = missing.iter();
                missing.map(|one| one.why.clone()).collect::<Vec<_>>()
            });
        let (mode, why, uids, gids) = match self.user.mode() {
            UserMode::Root => ("root", "started by root".to_owned(), None, None),
            UserMode::Rootless { uids, gids } => {
                let count: u64 = uids.iter().map(|range| u64::from(range.count)).sum();
                let why = format!("{count} user ids by /etc/subuid");
                ("rootless", why, Some(ranges(uids)), Some(ranges(gids)))
            }
            UserMode::SingleId { why, .. } => ("single-id", why.clone(), None, None),
        };
        Ok(json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "Mode": mode,
            "Why": why,
            "UidMap": uids,
            "GidMap": gids,
            "StorageDriver": self.driver().name(),
            "StorageDriverForced": self.forced_driver.is_some(),
            "Backend": self.backing_file_system(),
            "Root": self.store.root_path(),
            "RunRoot": self.store.runroot_path(),
            "Cgroups": {
                "Controllers": cgroups.controllers,
                "LegacyControllers": cgroups.legacy_controllers,
                "WhyNone": cgroups.why_none,
            },
            "NetworkBackend": network.and_then(|network| network.name),
            "NetworkMissing": missing,
            "AppArmor": machine::has_apparmor(),
        }))
    }
}

fn ranges(map: &[IdRange]) -> Vec<Value> {
    map.iter()
        .map(|range| {
            json!({
                "ContainerID": range.inside,
                "HostID": range.outside,
                "Size": range.count,
            })
        })
        .collect()
}

/// What containers can be asked for.
fn abilities(cgroups: &cgroup::Abilities) -> Value {
    json!({
        "MemoryLimit": cgroups.has("memory"),
        "SwapLimit": cgroups.has("memory"),
        "CpuCfsPeriod": cgroups.has("cpu"),
        "CpuCfsQuota": cgroups.has("cpu"),
        "CPUShares": cgroups.has("cpu"),
        "CPUSet": cgroups.has("cpuset"),
        "PidsLimit": cgroups.has("pids"),
        "IPv4Forwarding": machine::sysctl("net.ipv4.ip_forward") == Some(1),
        "Debug": log::max_level() >= log::LevelFilter::Debug,
        "NFd": std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        "OomKillDisable": cgroups.legacy_controllers.iter().any(|name| name == "memory"),
        "NGoroutines": 0,
        "SystemTime": format!("{:.9}", jiff::Timestamp::now()),
        "LoggingDriver": "json-file",
        "CgroupDriver": cgroups.driver,
        "CgroupVersion": machine::cgroup_version().map(|version| version.to_string()),
        "NEventsListener": 0,
    })
}

fn machine_facts() -> Value {
    let kernel = machine::kernel();
    json!({
        "KernelVersion": kernel.release,
        "OperatingSystem": machine::os_release("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
        "OSVersion": machine::os_release("VERSION_ID").unwrap_or_default(),
        "OSType": "linux",
        "Architecture": kernel.machine,
    })
}

/// The type of the mount that a path lies on, from the text of proc_pid_mountinfo(5): the longest
/// mount point that the path begins with; of several the last, which covers the others.
fn file_system_of(table: &str, path: &std::path::Path) -> Option<String> {
    let mounts = table.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        let kind = kind.split(' ').next()?;
        path.starts_with(&point)
            .then(|| (point.len(), kind.to_owned()))
    });
    mounts
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_last_mount_is_the_one() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                     2 1 0:5 / /home rw shared:1 - nfs a:/b rw\n\
                     3 1 0:6 / /home rw - btrfs /dev/b rw\n\
                     4 1 0:7 / /home/my\\040dir rw - xfs /dev/c rw\n";
        let kind = |path: &str| file_system_of(table, std::path::Path::new(path));
        assert_eq!(kind("/var/lib").as_deref(), Some("ext4"));
        assert_eq!(kind("/home/x").as_deref(), Some("btrfs"));
        assert_eq!(kind("/homes").as_deref(), Some("ext4"));
        assert_eq!(kind("/home/my dir/x").as_deref(), Some("xfs"));
    }
}
