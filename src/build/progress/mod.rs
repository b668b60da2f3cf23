//! What is said of a build while it goes on.
//!
//! The solver tells events to a [`Progress`]; printers write them as BuildKit's do: [`plain`] lines for
//! logs, [`tty`] a picture that is drawn again and again, [`rawjson`] one JSON object a line, [`quiet`]
//! nothing but what failed. Printers have a writer, a clock and a width, and touch nothing else.
//!
//! What a step prints is hostile: where lines are composed with it (the picture, names, messages),
//! nothing in it may steer a terminal. Plain lines go where a container's output goes anyway, yet to
//! somebody's terminal in the end: there too.

mod failed_step;
mod lines;
pub mod plain;
pub mod quiet;
pub mod rawjson;
pub mod tty;
mod warnings;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Who hears of a build.
pub trait Progress {
    fn event(&mut self, event: Event<'_>);

    /// How often it wants an [`Event::Tick`] when nothing happens; `None` is never.
    fn tick_every(&self) -> Option<Duration> {
        None
    }
}

/// A thing that happens. Vertices are numbered by the solver, in any order and with any gaps; each is
/// made known before anything else is said of it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// There is one of this name: `[stage 2/3] RUN make`.
    Vertex {
        id: usize,
        name: &'a str,
    },
    Started {
        id: usize,
    },
    /// It need not be done; it has ended, whether or not it was started.
    Cached {
        id: usize,
    },
    /// Of a RUN's program: 1 is its standard output, 2 its standard error. Any bytes.
    Output {
        id: usize,
        stream: u8,
        bytes: &'a [u8],
    },
    /// A part of a vertex: `exporting layers`, a blob that is being fetched. The same text again is news
    /// of the same part; it is done when `done` says so.
    Status {
        id: usize,
        text: &'a str,
        /// Bytes; both zero if that is not what it is about.
        current: u64,
        total: u64,
        done: bool,
    },
    Done {
        id: usize,
    },
    /// The cause. Nothing more is said of it.
    Failed {
        id: usize,
        text: &'a str,
    },
    /// Another step has failed, and this one was not waited for.
    Cancelled {
        id: usize,
    },
    /// Of the checks of Dockerfiles.
    Warning(Warning<'a>),
    /// Time goes by.
    Tick,
}

#[derive(Clone, Copy, Debug)]
pub struct Warning<'a> {
    /// `JSONArgsRecommended`
    pub rule: &'a str,
    pub message: &'a str,
    pub description: &'a str,
    pub url: &'a str,
    pub file: &'a str,
    /// From one; 0 if it is about the file.
    pub line: u32,
    /// The lines around it, marked.
    pub excerpt: &'a str,
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _: Event<'_>) {}
}

/// When things happen: since the beginning, and by the wall clock for documents.
pub struct Clock {
    began: Timestamp,
    passed: Box<dyn Fn() -> Duration>,
}

impl Clock {
    pub fn start() -> Self {
        let start = Instant::now();
        Clock {
            began: Timestamp::now(),
            passed: Box::new(move || start.elapsed()),
        }
    }

    /// One that somebody else sets.
    pub fn set_by(began: Timestamp, passed: impl Fn() -> Duration + 'static) -> Self {
        Clock {
            began,
            passed: Box::new(passed),
        }
    }

    pub fn passed(&self) -> Duration {
        (self.passed)()
    }

    /// That moment by the wall clock.
    pub fn wall(&self, moment: Duration) -> Timestamp {
        self.began.checked_add(moment).unwrap_or(self.began)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::start()
    }
}

/// Text that may be a container's or a file's, for a terminal: what would steer it is left out, and a
/// tabulator is a blank.
fn printable(text: &str) -> String {
    let turns = |c: &char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control() && !turns(c))
        .collect()
}

/// As BuildKit writes sizes: `1.05MB`.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count}B"),
        _ => format!("{value:.2}{}", UNITS[unit]),
    }
}
