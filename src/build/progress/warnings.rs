//! The warnings of a build, after all else.

use std::io::{self, Write};

use super::{Warning, printable};

#[derive(Debug, Default)]
pub struct Warnings {
    texts: Vec<String>,
}

impl Warnings {
    pub fn push(&mut self, warning: &Warning<'_>) {
        let place = match warning.line {
            0 => String::new(),
            line => format!(" (line {line})"),
        };
        let text = format!("{}: {}{place}", warning.rule, warning.message);
        self.texts.push(printable(&text));
    }

    /// As `docker build` does it.
    pub fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let texts = std::mem::take(&mut self.texts);
        match texts.len() {
            0 => return Ok(()),
            1 => writeln!(out, "\n 1 warning found (use --check to expand):")?,
            count => writeln!(out, "\n {count} warnings found (use --check to expand):")?,
        }
        for text in texts {
            writeln!(out, " - {text}")?;
        }
        Ok(())
    }
}
