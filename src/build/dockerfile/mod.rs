//! The Dockerfile language: text → [`Node`]s → [`Stage`]s of typed [`Instruction`]s.
//!
//! - [`nodes`] knows lines: continuation, comments, parser directives, here-documents. It does not
//!   know what any instruction means, but for which of them may have here-documents.
//! - [`words`] knows quotes and `$variables`. Instructions keep the words as they were written: what a
//!   variable is worth is known when the stage is built.
//! - [`instruction`] and [`run_flags`] know the instructions with their flags.
//!
//! A fault is a [`Complaint`]: lines, what is wrong there, and the part that it is about.

pub mod instruction;
pub mod nodes;
pub mod run_flags;
pub mod stages;
pub mod words;

#[cfg(test)]
mod tests;

use std::{fmt::Write, ops::RangeInclusive};

pub use instruction::Instruction;
pub use nodes::Node;
pub use stages::{Dockerfile, Stage, Step};

use crate::model::{Error, nearest};

/// What is wrong in a Dockerfile, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub message: String,
    pub hint: Option<String>,
    /// From one, as editors count; none if it is about all of it.
    pub lines: Option<RangeInclusive<u32>>,
    /// What of these lines it is about.
    pub about: Option<String>,
}

pub type Result<T, E = Complaint> = std::result::Result<T, E>;

impl Complaint {
    pub fn new(message: impl Into<String>) -> Self {
        Complaint {
            message: message.into(),
            hint: None,
            lines: None,
            about: None,
        }
    }

    #[must_use]
    pub fn about(mut self, part: impl Into<String>) -> Self {
        self.about = Some(part.into());
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Asks whether the nearest of what there is was meant.
    #[must_use]
    pub fn or_nearest<'a>(self, word: &str, known: impl Iterator<Item = &'a str>) -> Self {
        match nearest(word, known) {
            Some(near) => self.with_hint(format!("did you mean {near}?")),
            None => self,
        }
    }

    /// Whoever knows the lines says so; who is nearest knows best.
    #[must_use]
    pub fn at(mut self, lines: &RangeInclusive<u32>) -> Self {
        self.lines.get_or_insert_with(|| lines.clone());
        self
    }

    /// With the lines of the file around it, what it is about marked from below.
    pub fn into_error(self, file: &str, text: &str) -> Error {
        let message = match &self.lines {
            None => format!("{file}: {}", visible(&self.message)),
            Some(lines) => {
                let excerpt = self.excerpt(text, lines);
                let message = visible(&self.message);
                format!("{file}:{}: {message}\n{excerpt}", lines.start())
            }
        };
        let error = Error::invalid(message.trim_end());
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// As BuildKit shows it, and marked from below.
    fn excerpt(&self, text: &str, lines: &RangeInclusive<u32>) -> String {
        const RULE: &str = "--------------------";
        const MOST: u32 = 12;
        let around = if lines.start() == lines.end() { 2 } else { 1 };
        let first = lines.start().saturating_sub(around).max(1);
        let last = (*lines.end()).min(lines.start().saturating_add(MOST)) + around;
        let mut excerpt = format!("{RULE}\n");
        let mut about = self.about.as_deref().filter(|about| !about.is_empty());
        for (number, line) in (1_u32..).zip(text.lines()) {
            if !(first..=last).contains(&number) {
                continue;
            }
            let is_inside = lines.contains(&number);
            let arrow = if is_inside { ">>>" } else { "   " };
            let line = visible(line);
            let _ = writeln!(
                excerpt,
                "{}",
                format!(" {number:3} | {arrow} {line}").trim_end()
            );
            let found = about.filter(|_| is_inside).and_then(|about| {
                let about = visible(about);
                Some((line.find(&about)?, about.chars().count()))
            });
            if let Some((column, width)) = found {
                about = None;
                let before: String = line[..column]
                    .chars()
                    .map(|letter| if letter == '\t' { '\t' } else { ' ' })
                    .collect();
                let _ = writeln!(excerpt, "     |     {before}{}", "^".repeat(width));
            }
        }
        excerpt + RULE
    }
}

/// Without what a terminal would obey: a Dockerfile may be anybody's.
pub fn visible(line: &str) -> String {
    let plain = |letter: char| letter == '\t' || !letter.is_control();
    let shown = |letter| if plain(letter) { letter } else { '\u{fffd}' };
    line.chars().map(shown).collect()
}
