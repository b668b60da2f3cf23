//! `top`: the processes of a container, read from the host's /proc. Nothing of the container is
//! executed (CVE-2022-1227 was a `top` that ran a program of the image), nor any file of it read.
//!
//! They are those of its cgroup; without one, all in the mount namespace of its first process,
//! which is always its own (the pid namespace may be shared), and whatever those have started.

use std::{
    collections::{HashMap, HashSet},
    os::unix::fs::MetadataExt,
};

use procfs::process::{Process, Stat};

use super::{
    moves::{self, Move},
    pause::{self, group_of},
};
use crate::{
    engine::Engine,
    model::{
        Result,
        host::user_name,
        process::{Named, ProcessFacts, ProcessIds, printable},
    },
    storage::containers::Status,
};

/// Characters of a command line that are kept.
const MAX_ARGUMENTS: usize = 4096;

impl Engine {
    /// The processes of a running container, by their numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::model::ErrorKind::Conflict) if it does not run.
    pub fn processes(&self, container: &str) -> Result<Vec<ProcessFacts>> {
        let (directory, record) = self.store.find_container(container)?;
        let status = directory.state()?;
        moves::check(Move::Top, pause::state(&status), &record, container)?;
        let Some(start) = &status.start else {
            return Ok(Vec::new());
        };
        let mut members = members(&status)?;
        members.sort_by_key(|(stat, _)| stat.pid);
        let reader = Reader::new(start.init.pid);
        self.note_container(&record, "top", &[]);
        // One that ends meanwhile is left out.
        Ok(members
            .into_iter()
            .filter_map(|(stat, process)| reader.facts(&stat, &process))
            .collect())
    }
}

/// What the living processes of a container use together, by their own counters.
pub(super) struct Sum {
    /// Bytes.
    pub resident_memory: u64,
    pub threads: u64,
    /// Nanoseconds.
    pub processor_time: u64,
}

/// The sum over a running container.
pub(super) fn sum(status: &Status) -> Sum {
    let per_second = procfs::ticks_per_second().max(1);
    let page = procfs::page_size();
    let mut sum = Sum {
        resident_memory: 0,
        threads: 0,
        processor_time: 0,
    };
    for (stat, _) in members(status).unwrap_or_default() {
        sum.resident_memory += stat.rss * page;
        sum.threads += u64::try_from(stat.num_threads).unwrap_or(0);
        sum.processor_time += (stat.utime + stat.stime).saturating_mul(1_000_000_000 / per_second);
    }
    sum
}

/// The processes of its cgroup, or else those in its namespaces.
fn members(status: &Status) -> Result<Vec<(Stat, Process)>> {
    let numbers = match (group_of(status)?, &status.start) {
        (Some(group), _) => group.processes(),
        (None, Some(start)) => return Ok(relatives(start.init.pid)),
        (None, None) => Vec::new(),
    };
    let processes = numbers
        .into_iter()
        .filter_map(|number| Process::new(number).ok());
    Ok(processes
        .filter_map(|process| Some((process.stat().ok()?, process)))
        .collect())
}

/// All processes in the mount namespace of `init`, and below them. Those that end meanwhile are left out.
fn relatives(init: i32) -> Vec<(Stat, Process)> {
    let own = namespace(init);
    let all: Vec<(Stat, Process)> = procfs::process::all_processes()
        .into_iter()
        .flatten()
        .filter_map(|process| {
            let process = process.ok()?;
            Some((process.stat().ok()?, process))
        })
        .collect();
    let parents: HashMap<i32, i32> = all.iter().map(|(stat, _)| (stat.pid, stat.ppid)).collect();
    let direct: HashSet<i32> = all
        .iter()
        .map(|(stat, _)| stat.pid)
        .filter(|&pid| pid == init || own.is_some() && namespace(pid) == own)
        .collect();
    let is_member = |pid: i32| {
        let mut at = pid;
        // A chain of parents is short; a loop cannot be, but /proc changes while it is read.
        for _ in 0..64 {
            if direct.contains(&at) {
                return true;
            }
            match parents.get(&at) {
                Some(&parent) if parent > 1 => at = parent,
                _ => return false,
            }
        }
        false
    };
    all.into_iter()
        .filter(|(stat, _)| is_member(stat.pid))
        .collect()
}

/// Device and inode of a process's mount namespace.
fn namespace(pid: i32) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

struct Reader {
    ticks: u64,
    page: u64,
    boot: u64,
    now: u64,
    passwd: Vec<u8>,
    group: Vec<u8>,
    /// Inside, outside, count.
    uids: Vec<[u32; 3]>,
    gids: Vec<[u32; 3]>,
}

impl Reader {
    fn new(init: i32) -> Self {
        let read = |path: &str| std::fs::read(path).unwrap_or_default();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let map = |kind: &str| id_map(&read(&format!("/proc/{init}/{kind}_map")));
        Reader {
            ticks: procfs::ticks_per_second().max(1),
            page: procfs::page_size(),
            boot: procfs::boot_time_secs().unwrap_or(0),
            now,
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
            uids: map("uid"),
            gids: map("gid"),
        }
    }

    fn facts(&self, stat: &Stat, process: &Process) -> Option<ProcessFacts> {
        let status = process.status().ok()?;
        let started = self.boot + stat.starttime / self.ticks;
        let name = printable(&stat.comm);
        Some(ProcessFacts {
            pid: stat.pid,
            ppid: stat.ppid,
            group: stat.pgrp,
            session: stat.session,
            own_pid: status
                .nspid
                .as_ref()
                .and_then(|pids| pids.last().copied())
                .unwrap_or(stat.pid),
            ids: self.ids(&status),
            state: stat.state,
            terminal: stat.tty_nr,
            foreground_group: stat.tpgid,
            nice: stat.nice,
            priority: stat.priority,
            threads: stat.num_threads,
            virtual_size: stat.vsize,
            resident_size: stat.rss * self.page,
            processor_time: (stat.utime + stat.stime) * 1000 / self.ticks,
            started,
            elapsed: self.now.saturating_sub(started),
            arguments: arguments(process).unwrap_or_else(|| format!("[{name}]")),
            name,
            capabilities: [
                status.capinh,
                status.capprm,
                status.capeff,
                status.capbnd.unwrap_or(0),
                status.capamb.unwrap_or(0),
            ],
            seccomp: status.seccomp,
        })
    }

    fn ids(&self, status: &procfs::process::Status) -> ProcessIds {
        // passwd(5) and group(5) have name and number in the same places.
        let named = |file: &[u8], number: u32| Named {
            number,
            name: user_name(file, number),
        };
        let inside = |map: &[[u32; 3]], id: u32| {
            let mut map = map.iter();
            map.find_map(|&[inside, outside, count]| {
                let offset = id.checked_sub(outside)?;
                (offset < count).then(|| inside.wrapping_add(offset))
            })
            .unwrap_or(id)
        };
        ProcessIds {
            effective: named(&self.passwd, status.euid),
            real: named(&self.passwd, status.ruid),
            effective_group: named(&self.group, status.egid),
            real_group: named(&self.group, status.rgid),
            groups: status.groups.clone(),
            own_effective: inside(&self.uids, status.euid),
            own_real: inside(&self.uids, status.ruid),
            own_effective_group: inside(&self.gids, status.egid),
            own_real_group: inside(&self.gids, status.rgid),
            own_groups: status
                .groups
                .iter()
                .map(|&id| inside(&self.gids, id))
                .collect(),
        }
    }
}

/// `None` for a kernel thread or a process that has ended.
fn arguments(process: &Process) -> Option<String> {
    let words = process.cmdline().ok()?;
    let text: String = words.join(" ").chars().take(MAX_ARGUMENTS).collect();
    (!text.is_empty()).then(|| printable(&text))
}

fn id_map(text: &[u8]) -> Vec<[u32; 3]> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            Some([
                numbers.next()?.ok()?,
                numbers.next()?.ok()?,
                numbers.next()?.ok()?,
            ])
        })
        .collect()
}
