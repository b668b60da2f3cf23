//! What a group has used: the files of cgroup-v2.rst, "Controllers". A file that is not there
//! (its controller is not passed on) counts nothing.

use std::{collections::BTreeMap, fs, path::Path};

use super::{Group, value_of};
use crate::engine::{CpuUsage, IoUsage, MemoryUsage, Usage};

impl Group {
    pub fn usage(&self) -> Usage {
        let text = |file| self.read(file).unwrap_or_default();
        Usage {
            cpu: cpu(&text("cpu.stat")),
            memory: memory(
                number(&text("memory.current")),
                number(&text("memory.max")),
                number(&text("memory.swap.current")),
                &text("memory.stat"),
            ),
            io: io(&text("io.stat")),
            pids: number(&text("pids.current")).unwrap_or(0),
            pids_limit: number(&text("pids.max")),
        }
    }

    /// Numbers of the processes in it and below it.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        collect(self.path(), &mut found);
        found
    }
}

fn collect(path: &Path, found: &mut Vec<i32>) {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
}

/// `None` for `max` and for nothing.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn cpu(stat: &str) -> CpuUsage {
    let nanoseconds = |key| value_of(stat, key).unwrap_or(0).saturating_mul(1000);
    CpuUsage {
        total: nanoseconds("usage_usec"),
        user: nanoseconds("user_usec"),
        system: nanoseconds("system_usec"),
        periods: value_of(stat, "nr_periods").unwrap_or(0),
        throttled_periods: value_of(stat, "nr_throttled").unwrap_or(0),
        throttled: nanoseconds("throttled_usec"),
        ..CpuUsage::default()
    }
}

fn memory(current: Option<u64>, max: Option<u64>, swap: Option<u64>, stat: &str) -> MemoryUsage {
    let details: BTreeMap<String, u64> = stat
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.parse().ok()?))
        })
        .collect();
    let charged = current.unwrap_or(0);
    let idle = details.get("inactive_file").copied().unwrap_or(0);
    MemoryUsage {
        charged,
        used: charged.checked_sub(idle).unwrap_or(charged),
        limit: max.unwrap_or(0),
        swap: swap.unwrap_or(0),
        details,
    }
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`, one a device.
fn io(stat: &str) -> IoUsage {
    let sum = |key: &str| {
        let values = stat.split_ascii_whitespace().filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            (name == key).then(|| value.parse::<u64>().ok())?
        });
        values.sum()
    };
    IoUsage {
        read_bytes: sum("rbytes"),
        written_bytes: sum("wbytes"),
        reads: sum("rios"),
        writes: sum("wios"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_figures() {
        let usage = cpu(
            "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 1\nthrottled_usec 9\n",
        );
        assert_eq!(
            (usage.total, usage.user, usage.throttled),
            (5000, 3000, 9000)
        );
        let usage = memory(Some(100), None, Some(1), "anon 5\ninactive_file 30\n");
        assert_eq!((usage.charged, usage.used, usage.limit), (100, 70, 0));
        let usage = io(
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n8:16 rbytes=10 wbytes=0 rios=1 wios=0\n",
        );
        assert_eq!((usage.read_bytes, usage.writes), (11, 4));
        assert_eq!(io(""), IoUsage::default());
    }
}
