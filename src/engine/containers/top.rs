//! `top`: the processes of a container, from the host's /proc.

use std::{fs, path::Path, time::Duration};

use super::{ending::not_running, pause::group_of};
use crate::{
    engine::{ContainerProcess, Engine},
    model::{Result, container::ContainerState},
    storage::containers::Status,
    sys::process,
};

impl Engine {
    /// All processes of a running container, in the order of their numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::model::ErrorKind::Conflict) if it does not run.
    pub fn top(&self, container: &str) -> Result<Vec<ContainerProcess>> {
        let (directory, _) = self.store.find_container(container)?;
        let status = directory.state()?;
        if status.state != ContainerState::Running {
            return Err(not_running("cannot list processes", container, &directory));
        }
        let mut numbers = numbers(&status)?;
        numbers.sort_unstable();
        // One that ends meanwhile is left out.
        Ok(numbers.into_iter().filter_map(describe).collect())
    }
}

/// Numbers of the container's processes on the host: those of its cgroup, or else of its pid
/// namespace.
pub(super) fn numbers(status: &Status) -> Result<Vec<i32>> {
    if let Some(group) = group_of(status)? {
        return Ok(group.processes());
    }
    let Some(start) = &status.start else {
        return Ok(Vec::new());
    };
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(start.init.pid);
    let Ok(entries) = fs::read_dir("/proc") else {
        return Ok(Vec::new());
    };
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| own.is_some() && namespace(*pid) == own)
        .collect())
}

fn describe(pid: i32) -> Option<ContainerProcess> {
    let stat = Stat::of(pid)?;
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.strip_prefix(':')?.trim())
    };
    // Real, effective, saved, of the file system.
    let effective = |name| field(name)?.split('\t').nth(1)?.parse().ok();
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments: Vec<String> = command_line
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    arguments.pop();
    let uptime = process_clock().saturating_sub(stat.ticks(19));
    Some(ContainerProcess {
        pid,
        parent: stat.number(1)?,
        inner_pid: field("NSpid")
            .and_then(|numbers| numbers.rsplit('\t').next()?.parse().ok())
            .unwrap_or(pid),
        group: stat.number(2)?,
        session: stat.number(3)?,
        uid: effective("Uid")?,
        gid: effective("Gid")?,
        name: stat.name.clone(),
        arguments,
        state: stat.fields.first()?.chars().next()?,
        terminal: stat.number(4)?,
        threads: stat.number(17)?,
        nice: stat.number(16)?,
        cpu_time: stat.ticks(11) + stat.ticks(12),
        age: uptime,
        virtual_memory: stat.number(20)?,
        resident_memory: stat.number::<u64>(21)? * rustix::param::page_size() as u64,
    })
}

/// Time since boot, on the clock of the start times.
fn process_clock() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        now.tv_sec.try_into().unwrap_or(0),
        now.tv_nsec.try_into().unwrap_or(0),
    )
}

/// proc_pid_stat(5), its fields from the third on.
struct Stat {
    name: String,
    fields: Vec<String>,
}

impl Stat {
    fn of(pid: i32) -> Option<Stat> {
        let path = format!("/proc/{pid}/stat");
        Path::new(&path).exists().then_some(())?;
        Stat::parse(&String::from_utf8_lossy(&process::read_small(&path).ok()?))
    }

    /// The name stands in parentheses and may hold anything, also parentheses and newlines.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.split_once('(')?;
        let (name, rest) = rest.rsplit_once(')')?;
        Some(Stat {
            name: name.to_owned(),
            fields: rest.split_ascii_whitespace().map(str::to_owned).collect(),
        })
    }

    fn number<T: std::str::FromStr>(&self, index: usize) -> Option<T> {
        self.fields.get(index)?.parse().ok()
    }

    fn ticks(&self, index: usize) -> Duration {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        let ticks: u64 = self.number(index).unwrap_or(0);
        Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second))
    }
}

pub(super) fn resident_memory(pid: i32) -> u64 {
    let pages: u64 = Stat::of(pid).and_then(|stat| stat.number(21)).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

pub(super) fn thread_count(pid: i32) -> u64 {
    Stat::of(pid).and_then(|stat| stat.number(17)).unwrap_or(0)
}

pub(super) fn cpu_nanoseconds(pid: i32) -> u64 {
    let time = Stat::of(pid).map_or(Duration::ZERO, |stat| stat.ticks(11) + stat.ticks(12));
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_moves_no_field() {
        let stat = Stat::parse("7 (a) S 1 (b)\n) R 1 7 7 0 -1").unwrap();
        assert_eq!(stat.name, "a) S 1 (b)\n");
        assert_eq!(stat.fields[0], "R");
        assert_eq!(stat.number::<i32>(1), Some(1));
        assert!(Stat::parse("7 x").is_none());
    }

    #[test]
    fn this_process_is_described() {
        let own = describe(std::process::id() as i32).unwrap();
        assert!(own.resident_memory > 0 && own.threads > 0 && !own.arguments.is_empty());
    }
}
