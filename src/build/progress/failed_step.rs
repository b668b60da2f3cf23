//! What a step that failed said last, again at the end, where it is looked for.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

const LAST: usize = 10;

#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
}

impl Tail {
    pub fn push(&mut self, line: &str) {
        if self.lines.len() == LAST {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    pub fn write(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "------\n > {name}:")?;
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "------")
    }
}
