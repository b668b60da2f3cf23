//! Nothing, unless a step fails: then what it said last.

use std::{collections::HashMap, io::Write};

use super::{Event, Progress, failed_step::Tail, lines::Lines, printable};

pub struct Quiet<'a> {
    out: &'a mut dyn Write,
    steps: HashMap<usize, Step>,
}

#[derive(Default)]
struct Step {
    name: String,
    lines: Lines,
    tail: Tail,
}

impl<'a> Quiet<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Quiet {
            out,
            steps: HashMap::new(),
        }
    }
}

impl Progress for Quiet<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Vertex { id, name } => {
                self.steps.entry(id).or_default().name = printable(name);
            }
            Event::Output { id, bytes, .. } => {
                let step = self.steps.entry(id).or_default();
                for line in step.lines.push(bytes) {
                    step.tail.push(&line);
                }
            }
            Event::Failed { id, .. } => {
                let mut step = self.steps.remove(&id).unwrap_or_default();
                if let Some(line) = step.lines.rest() {
                    step.tail.push(&line);
                }
                let _ = step.tail.write(&step.name, self.out);
            }
            Event::Done { id } | Event::Cached { id } | Event::Cancelled { id } => {
                self.steps.remove(&id);
            }
            Event::Started { .. } | Event::Status { .. } | Event::Warning(_) | Event::Tick => {}
        }
    }
}
