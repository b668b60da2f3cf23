//! `stats`: what containers use, once or every second.

use std::{collections::HashMap, thread, time::Duration};

use clap::Args;

use super::{
    Session,
    chosen::ChosenFlags,
    failure::Failure,
    parse,
    template::{List, Row},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{ContainerStats, CpuUsage, Engine, Usage},
    model::{ContainerId, human},
};

#[derive(Args)]
struct Flags {
    /// Show containers that do not run, too
    #[arg(long, short = 'a')]
    all: bool,
    #[command(flatten)]
    chosen: ChosenFlags,
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Seconds between two readings
    #[arg(long, short = 'i', value_name = "int", default_value_t = 1)]
    interval: u64,
    /// Do not clear the terminal between two readings
    #[arg(long)]
    no_reset: bool,
    /// Show one reading and end
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten values
    #[arg(long)]
    no_trunc: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container stats", "stats"],
    about: "Show how much of the machine containers use",
    usage: "[OPTIONS] [CONTAINER...]",
    arity: Arity::AtLeast(0),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

const LIST: List<'_> = List {
    headings: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    default: r"table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
};

/// Home and below: what Docker writes before each picture, and what clears the rest of it.
const HOME: &str = "\x1b[H";
const CLEAR: &str = "\x1b[2J";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";

fn run(session: &Session, flags: &Flags, mut names: Vec<String>) -> Outcome {
    if flags.interval == 0 {
        let text = "invalid interval 0: it must be at least a second";
        return Err(Failure::Plain(text.to_owned(), 125));
    }
    let format = flags.format.as_deref().filter(|format| !format.is_empty());
    let format = format.or(session.settings.stats_format.as_deref());
    // A template that is wrong is told at once.
    LIST.show(format, &[])?;
    if flags.chosen.any() {
        names = flags.chosen.names(session, "stats", names)?;
    }
    let names = names.as_slice();
    let engine = session.engine()?;
    let live = !flags.no_stream && !flags.no_reset && ui::stdout_is_terminal();
    let mut before = by_id(read(engine, flags, names)?);
    if live {
        ui::raw(CLEAR.as_bytes())?;
    }
    loop {
        thread::sleep(Duration::from_secs(flags.interval));
        let now = read(engine, flags, names)?;
        let rows: Vec<Row> = now
            .iter()
            .map(|reading| row(reading, before.get(&reading.id), names, flags.no_trunc))
            .collect();
        let text = LIST.show(format, &rows)?;
        if live {
            let lines = text.replace('\n', CLEAR_LINE);
            ui::raw(format!("{HOME}{lines}{CLEAR_BELOW}").as_bytes())?;
        } else {
            ui::raw(text.as_bytes())?;
        }
        if flags.no_stream {
            return Ok(0);
        }
        before = by_id(now);
    }
}

fn read(engine: &Engine, flags: &Flags, names: &[String]) -> Result<Vec<ContainerStats>, Failure> {
    if flags.all && names.is_empty() {
        let all = engine.containers(true, false)?;
        let all: Vec<String> = all.iter().map(|one| one.id.to_string()).collect();
        return Ok(if all.is_empty() {
            Vec::new()
        } else {
            engine.stats(&all)?
        });
    }
    Ok(engine.stats(names)?)
}

fn by_id(readings: Vec<ContainerStats>) -> HashMap<ContainerId, ContainerStats> {
    readings
        .into_iter()
        .map(|reading| (reading.id.clone(), reading))
        .collect()
}

fn row(
    reading: &ContainerStats,
    before: Option<&ContainerStats>,
    names: &[String],
    whole: bool,
) -> Row {
    let nothing = Usage::default();
    let usage = reading.usage.as_ref().unwrap_or(&nothing);
    let earlier = before.and_then(|before| before.usage.as_ref());
    let memory = &usage.memory;
    let id = if whole {
        reading.id.as_str()
    } else {
        reading.id.short()
    };
    // As it was typed, if it was.
    let typed = names
        .iter()
        .find(|name| **name == reading.name || reading.id.as_str().starts_with(name.as_str()));
    let pair = |left: String, right: String| format!("{left} / {right}");
    let cpu = earlier.map_or(0.0, |earlier| cpu_share(&earlier.cpu, &usage.cpu));
    Row {
        fields: vec![
            (
                "BlockIO",
                pair(
                    human::short_size(usage.io.read_bytes),
                    human::short_size(usage.io.written_bytes),
                ),
            ),
            ("CPUPerc", percent(cpu)),
            ("Container", typed.map_or(id, String::as_str).to_owned()),
            ("ID", id.to_owned()),
            ("MemPerc", percent(share(memory.used, memory.limit))),
            (
                "MemUsage",
                pair(
                    human::binary_size(memory.used),
                    human::binary_size(memory.limit),
                ),
            ),
            ("Name", reading.name.clone()),
            // There are no networks but the loopback yet.
            ("NetIO", pair(human::short_size(0), human::short_size(0))),
            ("PIDs", usage.pids.to_string()),
        ],
        labels: Default::default(),
    }
}

/// Docker's: the container's part of the machine's time, of one processor's 100 %.
fn cpu_share(before: &CpuUsage, now: &CpuUsage) -> f64 {
    let used = now.total.saturating_sub(before.total);
    let passed = now.machine.saturating_sub(before.machine);
    share(used, passed) * f64::from(now.online_processors)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64 * 100.0
    }
}

fn percent(share: f64) -> String {
    format!("{share:.2}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_processor_of_two_is_a_hundred_percent() {
        let at = |total, machine| CpuUsage {
            total,
            machine,
            online_processors: 2,
            ..CpuUsage::default()
        };
        let share = cpu_share(&at(100, 1000), &at(1100, 3000));
        assert_eq!(percent(share), "100.00%");
        // A container that was started anew counts from 0.
        assert_eq!(percent(cpu_share(&at(100, 1000), &at(50, 3000))), "0.00%");
        assert_eq!(percent(cpu_share(&at(1, 1), &at(1, 1))), "0.00%");
    }

    #[test]
    fn a_container_that_does_not_run_uses_nothing() {
        let reading = ContainerStats {
            id: ContainerId::from_random([1; 32]),
            name: "c".to_owned(),
            read: String::new(),
            at: Duration::ZERO,
            usage: None,
        };
        let row = row(&reading, None, &["c".to_owned()], false);
        let text = LIST.show(
            Some("{{.Container}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"),
            &[row],
        );
        assert_eq!(text.ok().unwrap_or_default(), "c 0.00% 0B / 0B 0\n");
    }
}
