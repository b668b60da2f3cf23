//! `stats`: what containers use, as plain figures.

use std::time::Duration;

use super::{pause::group_of, top};
use crate::{
    engine::{ContainerStats, CpuUsage, Engine, Usage, machine, supervisor},
    model::{
        Result,
        container::{ContainerRecord, ContainerState},
    },
    storage::ContainerDir,
};

impl Engine {
    /// One reading of each of these containers; of all that run if none is named.
    pub fn stats(&self, containers: &[String]) -> Result<Vec<ContainerStats>> {
        let named: Result<Vec<_>> = containers
            .iter()
            .map(|name| self.store.find_container(name))
            .collect();
        let mut wanted = named?;
        if containers.is_empty() {
            wanted = self.store.containers()?;
            wanted.retain(|(directory, _)| directory.is_held().unwrap_or(false));
        }
        wanted
            .iter()
            .map(|(directory, record)| reading(directory, record))
            .collect()
    }
}

fn reading(directory: &ContainerDir, record: &ContainerRecord) -> Result<ContainerStats> {
    let status = directory.state()?;
    let mut usage = None;
    if status.state == ContainerState::Running {
        let mut figures = match group_of(&status)? {
            Some(group) => group.usage(),
            None => Usage::default(),
        };
        // Where no controller counts, the living processes' own counters say nearly the same.
        if figures.memory.charged == 0 || figures.pids == 0 || figures.cpu.total == 0 {
            let sum = top::sum(&status);
            if figures.memory.charged == 0 {
                figures.memory.charged = sum.resident_memory;
                figures.memory.used = sum.resident_memory;
            }
            if figures.pids == 0 {
                figures.pids = sum.threads;
            }
            if figures.cpu.total == 0 {
                figures.cpu.total = sum.processor_time;
            }
        }
        of_machine(&mut figures);
        usage = Some(figures);
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Ok(ContainerStats {
        id: directory.id().clone(),
        name: record.name.clone(),
        read: supervisor::now(),
        at: Duration::new(
            now.tv_sec.try_into().unwrap_or(0),
            now.tv_nsec.try_into().unwrap_or(0),
        ),
        usage,
    })
}

fn of_machine(usage: &mut Usage) {
    let memory = machine::memory_total().unwrap_or(0);
    let limit = usage.memory.limit;
    usage.memory.limit = if limit == 0 {
        memory
    } else {
        limit.min(memory)
    };
    usage.cpu = CpuUsage {
        machine: machine::cpu_nanoseconds().unwrap_or(0),
        online_processors: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        ..std::mem::take(&mut usage.cpu)
    };
}
