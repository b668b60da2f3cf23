//! Lines that stay, for logs: BuildKit's `--progress=plain`.
//!
//! ```text
//! #5 [build 2/3] RUN make
//! #5 0.123 cc -c main.c
//! #5 DONE 0.2s
//! ```
//!
//! Steps run at the same time, and their lines are not mixed one by one: one step is in front and is
//! written as it goes; what others say is kept until they end, or until the one in front does, or until
//! they have waited for [`PATIENCE`]. A step that is left with `#5 ...` is introduced again when its
//! turn comes. Numbers are given in the order in which steps are first shown.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use super::warnings::Warnings;
use super::{Clock, Event, Progress, bytes, failed_step::Tail, lines::Lines, printable};

/// How long a step's lines wait while another is in front.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Plain<'a> {
    out: &'a mut dyn Write,
    clock: Clock,
    steps: BTreeMap<usize, Step>,
    numbers: usize,
    front: Option<usize>,
    /// The step of the line that was written last.
    last: Option<usize>,
    failed: Vec<usize>,
    warnings: Warnings,
}

#[derive(Default)]
struct Step {
    name: String,
    number: usize,
    started: Option<Duration>,
    /// `DONE 0.2s`, not yet written.
    ended: Option<String>,
    /// That is written too.
    over: bool,
    /// By stream.
    lines: [Lines; 2],
    statuses: BTreeMap<String, Status>,
    /// Not yet written, without the number.
    waiting: Vec<String>,
    /// Since when.
    waits: Option<Duration>,
    tail: Tail,
}

#[derive(Clone, Copy)]
struct Status {
    began: Duration,
    /// When it was last written, and how far it was.
    shown: Option<(Duration, u64)>,
}

impl<'a> Plain<'a> {
    pub fn new(out: &'a mut dyn Write, clock: Clock) -> Self {
        Plain {
            out,
            clock,
            steps: BTreeMap::new(),
            numbers: 0,
            front: None,
            last: None,
            failed: Vec::new(),
            warnings: Warnings::default(),
        }
    }

    /// The build is over: what failed, and what the checks found.
    pub fn finish(mut self) {
        let _ = self.show_end();
    }

    fn show_end(&mut self) -> io::Result<()> {
        for id in std::mem::take(&mut self.failed) {
            if let Some(step) = self.steps.get(&id) {
                step.tail.write(&step.name, self.out)?;
            }
        }
        self.warnings.write(self.out)
    }

    fn take(&mut self, event: Event<'_>) {
        let now = self.clock.passed();
        match event {
            Event::Vertex { id, name } => self.step(id).name = printable(name),
            Event::Started { id } => {
                let step = self.step(id);
                step.started = Some(now);
                step.waits.get_or_insert(now);
            }
            Event::Output { id, stream, bytes } => self.step(id).print(stream, bytes, now),
            Event::Status {
                id,
                text,
                current,
                total,
                done,
            } => self.step(id).status(text, (current, total), done, now),
            Event::Cached { id } => self.end(id, "CACHED".to_owned()),
            Event::Cancelled { id } => self.end(id, "CANCELED".to_owned()),
            Event::Done { id } => {
                let began = self.step(id).started;
                let took = began.map_or(Duration::ZERO, |began| now.saturating_sub(began));
                self.end(id, format!("DONE {:.1}s", took.as_secs_f64()));
            }
            Event::Failed { id, text } => {
                self.end(id, format!("ERROR: {}", printable(text)));
                self.failed.push(id);
            }
            Event::Warning(warning) => self.warnings.push(&warning),
            Event::Tick => {}
        }
    }

    fn step(&mut self, id: usize) -> &mut Step {
        self.steps.entry(id).or_default()
    }

    fn end(&mut self, id: usize, word: String) {
        let now = self.clock.passed();
        let step = self.step(id);
        for stream in 0..2 {
            if let Some(line) = step.lines[stream].rest() {
                step.line(&line, now);
            }
        }
        step.ended = Some(word);
    }

    /// Writes what may be written now.
    fn show(&mut self) -> io::Result<()> {
        let ended = |step: &Step| step.ended.is_some();
        if let Some(front) = self.front
            && self.steps.get(&front).is_some_and(ended)
        {
            self.write(front)?;
        }
        let others: Vec<usize> = self.unwritten(ended);
        for id in others {
            self.write(id)?;
        }
        if let Some(front) = self.front {
            self.write(front)?;
            let now = self.clock.passed();
            let long = |step: &Step| {
                let since = step.waits.filter(|_| !step.waiting.is_empty());
                since.is_some_and(|since| now.saturating_sub(since) > PATIENCE)
            };
            if let Some(&id) = self.unwritten(long).first() {
                self.front = Some(id);
                self.write(id)?;
            }
            return Ok(());
        }
        let open = |step: &Step| step.started.is_some();
        if let Some(&id) = self.unwritten(open).first() {
            self.front = Some(id);
            self.write(id)?;
        }
        Ok(())
    }

    fn unwritten(&self, which: impl Fn(&Step) -> bool) -> Vec<usize> {
        let fits = self.steps.iter().filter(|(_, step)| which(step));
        fits.filter(|(_, step)| !step.over)
            .map(|(&id, _)| id)
            .collect()
    }

    fn write(&mut self, id: usize) -> io::Result<()> {
        let Some(step) = self.steps.get_mut(&id) else {
            return Ok(());
        };
        let lines = std::mem::take(&mut step.waiting);
        step.waits = Some(self.clock.passed());
        let ended = step.ended.take();
        if lines.is_empty() && ended.is_none() && step.number > 0 {
            return Ok(());
        }
        if step.number == 0 {
            self.numbers += 1;
            step.number = self.numbers;
        }
        let (number, name) = (step.number, step.name.clone());
        if self.last != Some(id) {
            self.introduce(id, number, &name)?;
        }
        for line in lines {
            writeln!(self.out, "#{number} {line}")?;
        }
        if let Some(word) = ended {
            writeln!(self.out, "#{number} {word}")?;
            if let Some(step) = self.steps.get_mut(&id) {
                step.over = true;
            }
            self.front = self.front.filter(|&front| front != id);
        }
        self.out.flush()
    }

    fn introduce(&mut self, id: usize, number: usize, name: &str) -> io::Result<()> {
        if let Some(last) = self.last {
            match self.steps.get(&last) {
                Some(left) if !left.over => writeln!(self.out, "#{} ...", left.number)?,
                _ => {}
            }
            writeln!(self.out)?;
        }
        self.last = Some(id);
        writeln!(self.out, "#{number} {name}")
    }
}

impl Step {
    fn print(&mut self, stream: u8, bytes: &[u8], now: Duration) {
        for line in self.lines[usize::from(stream == 2)].push(bytes) {
            self.line(&line, now);
        }
    }

    fn line(&mut self, line: &str, now: Duration) {
        let began = self.started.unwrap_or(now);
        let after = now.saturating_sub(began).as_secs_f64();
        let line = format!("{after:.3} {line}");
        self.tail.push(&line);
        self.waiting.push(line);
    }

    /// At once, at the end, and in between each time that it has got on.
    fn status(&mut self, text: &str, (current, total): (u64, u64), done: bool, now: Duration) {
        let name = printable(text);
        let status = self.statuses.entry(name.clone()).or_insert(Status {
            began: now,
            shown: None,
        });
        let news = match status.shown {
            None => true,
            Some((when, before)) => {
                let far = total > 0 && current.saturating_sub(before) >= total / 20;
                done || far && now.saturating_sub(when) >= Duration::from_secs(5)
            }
        };
        if !news {
            return;
        }
        status.shown = Some((now, current));
        let took = now.saturating_sub(status.began).as_secs_f64();
        let size = match (current, total) {
            (0, 0) => String::new(),
            (current, 0) => format!(" {}", bytes(current)),
            (current, total) => format!(" {} / {}", bytes(current), bytes(total)),
        };
        let time = if took > 0.01 {
            format!(" {took:.1}s")
        } else {
            String::new()
        };
        let end = if done { " done" } else { "" };
        self.waiting.push(format!("{name}{size}{time}{end}"));
    }
}

impl Progress for Plain<'_> {
    fn event(&mut self, event: Event<'_>) {
        self.take(event);
        // Progress that cannot be written is not worth failing for.
        let _ = self.show();
    }

    fn tick_every(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }
}
