//! A picture of the build that is drawn again and again: BuildKit's `--progress=tty`.
//!
//! ```text
//! [+] Building 1.2s (3/5)
//!  => [internal] load build definition from Dockerfile                  0.0s
//!  => CACHED [build 1/2] FROM docker.io/library/busybox                 0.0s
//!  => [build 2/2] RUN make                                              1.1s
//!  => => # cc -c main.c
//! ```
//!
//! It never has more lines than the terminal: of the steps that are over the first give way. Each line
//! is cut to the terminal's width before it is sent, so that none of them takes two. The picture that
//! is drawn last, when the build is over, has all of them.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use super::{
    Clock, Event, Progress, bytes, failed_step::Tail, lines::Lines, printable, warnings::Warnings,
};

/// Lines of a running step's output.
const TAIL: usize = 6;
/// A picture is not drawn more often.
const PAUSE: Duration = Duration::from_millis(80);

/// Columns and rows of the terminal, asked for each time.
pub type Size = fn() -> (usize, usize);

pub struct Tty<'a> {
    out: &'a mut dyn Write,
    clock: Clock,
    size: Size,
    colour: bool,
    /// In the order in which they began, those that did not last.
    steps: BTreeMap<usize, Step>,
    began: usize,
    /// Lines of the picture that stands there.
    drawn: usize,
    drawn_at: Option<Duration>,
    warnings: Warnings,
}

#[derive(Default)]
struct Step {
    name: String,
    place: Option<usize>,
    started: Option<Duration>,
    ended: Option<(End, Duration)>,
    lines: Lines,
    tail: Tail,
    statuses: Vec<Status>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Cached,
    Cancelled,
    Failed,
}

struct Status {
    text: String,
    current: u64,
    total: u64,
    began: Duration,
    ended: Option<Duration>,
}

/// A line: what it is about, and the time at its right end.
struct Line {
    text: String,
    time: Option<Duration>,
    colour: &'static str,
}

impl<'a> Tty<'a> {
    pub fn new(out: &'a mut dyn Write, clock: Clock, size: Size, colour: bool) -> Self {
        Tty {
            out,
            clock,
            size,
            colour,
            steps: BTreeMap::new(),
            began: 0,
            drawn: 0,
            drawn_at: None,
            warnings: Warnings::default(),
        }
    }

    /// The build is over: the whole picture, which stays.
    pub fn finish(mut self) {
        let _ = self.show_end();
    }

    fn show_end(&mut self) -> io::Result<()> {
        self.draw(usize::MAX, true)?;
        let failed = |step: &&Step| matches!(step.ended, Some((End::Failed, _)));
        for step in self.steps.values().filter(failed) {
            step.tail.write(&step.name, self.out)?;
        }
        self.warnings.write(self.out)
    }

    fn take(&mut self, event: Event<'_>) {
        let now = self.clock.passed();
        match event {
            Event::Vertex { id, name } => self.step(id).name = printable(name),
            Event::Started { id } => {
                self.begin(id);
                self.step(id).started.get_or_insert(now);
            }
            Event::Output { id, bytes, .. } => {
                let step = self.step(id);
                for line in step.lines.push(bytes) {
                    step.tail.push(&line);
                }
            }
            Event::Status {
                id,
                text,
                current,
                total,
                done,
            } => self.step(id).status(text, (current, total), done, now),
            Event::Cached { id } => self.end(id, End::Cached, now),
            Event::Done { id } => self.end(id, End::Done, now),
            Event::Cancelled { id } => self.end(id, End::Cancelled, now),
            Event::Failed { id, .. } => self.end(id, End::Failed, now),
            Event::Warning(warning) => self.warnings.push(&warning),
            Event::Tick => {}
        }
    }

    fn step(&mut self, id: usize) -> &mut Step {
        self.steps.entry(id).or_default()
    }

    fn begin(&mut self, id: usize) {
        let place = self.began;
        let step = self.step(id);
        if step.place.is_none() {
            step.place = Some(place);
            self.began += 1;
        }
    }

    fn end(&mut self, id: usize, end: End, now: Duration) {
        self.begin(id);
        let step = self.step(id);
        if let Some(line) = step.lines.rest() {
            step.tail.push(&line);
        }
        step.started.get_or_insert(now);
        step.ended = Some((end, now));
    }

    fn draw(&mut self, rows: usize, last: bool) -> io::Result<()> {
        let now = self.clock.passed();
        self.drawn_at = Some(now);
        let width = (self.size)().0.max(1);
        let lines = self.picture(now, rows, last);
        let mut text = String::new();
        // Up to the first line of the last picture, and all below it is cleared: ECMA-48 8.3.22, 8.3.39.
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\x1b[0J", self.drawn));
        }
        for line in &lines {
            text.push_str(&line.shown(width, self.colour));
            text.push('\n');
        }
        self.drawn = lines.len();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn picture(&self, now: Duration, rows: usize, last: bool) -> Vec<Line> {
        let mut steps: Vec<&Step> = self
            .steps
            .values()
            .filter(|step| step.place.is_some())
            .collect();
        steps.sort_by_key(|step| step.place);
        let over = steps.iter().filter(|step| step.ended.is_some()).count();
        let state = if last { " FINISHED" } else { "" };
        let head = format!(
            "[+] Building {:.1}s ({over}/{}){state}",
            now.as_secs_f64(),
            self.steps.len()
        );
        let mut lines = vec![Line::plain(head)];
        let mut shown: Vec<Vec<Line>> = steps.iter().map(|step| step.shown(now, last)).collect();
        let mut count: usize = 1 + shown.iter().map(Vec::len).sum::<usize>();
        // Old news first, then details, until it fits.
        for (step, part) in steps.iter().zip(&mut shown) {
            if count > rows && step.ended.is_some() {
                count -= part.len();
                part.clear();
            }
        }
        for part in &mut shown {
            if count > rows && part.len() > 1 {
                count -= part.len() - 1;
                part.truncate(1);
            }
        }
        lines.extend(shown.into_iter().flatten());
        lines.truncate(rows);
        lines
    }
}

impl Step {
    fn status(&mut self, text: &str, (current, total): (u64, u64), done: bool, now: Duration) {
        let text = printable(text);
        let known = self.statuses.iter_mut().find(|status| status.text == text);
        let ended = done.then_some(now);
        match known {
            Some(status) => (status.current, status.total, status.ended) = (current, total, ended),
            None => self.statuses.push(Status {
                text,
                current,
                total,
                began: now,
                ended,
            }),
        }
    }

    fn shown(&self, now: Duration, last: bool) -> Vec<Line> {
        let end = self.ended.map(|(end, _)| end);
        let until = self.ended.map_or(now, |(_, when)| when);
        let (word, colour) = match end {
            None => ("", ""),
            Some(End::Done) => ("", "34"),
            Some(End::Cached) => ("CACHED ", "34"),
            Some(End::Cancelled) => ("CANCELED ", "33"),
            Some(End::Failed) => ("ERROR ", "31"),
        };
        let took = until.saturating_sub(self.started.unwrap_or(until));
        let mut lines = vec![Line {
            text: format!(" => {word}{}", self.name),
            time: Some(took),
            colour,
        }];
        lines.extend(self.statuses.iter().map(|status| status.shown(now, colour)));
        if end.is_none() && !last {
            let tail: Vec<&str> = self.tail.iter().rev().take(TAIL).collect();
            let tail = tail.into_iter().rev();
            lines.extend(tail.map(|line| Line::plain(format!(" => => # {line}"))));
        }
        lines
    }
}

impl Status {
    fn shown(&self, now: Duration, colour: &'static str) -> Line {
        let size = match (self.current, self.total) {
            (0, 0) => String::new(),
            (current, 0) => format!(" {}", bytes(current)),
            (current, total) => format!(" {} / {}", bytes(current), bytes(total)),
        };
        let until = self.ended.unwrap_or(now);
        Line {
            text: format!(" => => {}{size}", self.text),
            time: Some(until.saturating_sub(self.began)),
            colour,
        }
    }
}

impl Line {
    fn plain(text: String) -> Self {
        Line {
            text,
            time: None,
            colour: "",
        }
    }

    /// At most so wide. A letter counts as one column: those of two, in a name, may end a line early.
    fn shown(&self, width: usize, colour: bool) -> String {
        let time = self
            .time
            .map_or_else(String::new, |time| format!(" {:.1}s", time.as_secs_f64()));
        // Where there is no room for both, the text is worth more.
        let time = if width < 2 * time.len() {
            String::new()
        } else {
            time
        };
        let room = width.saturating_sub(1 + time.len());
        let columns = |c: char| if c.is_ascii() { 1 } else { 2 };
        let mut used = 0;
        let text: String = self
            .text
            .chars()
            .take_while(|&c| {
                used += columns(c);
                used <= room
            })
            .collect();
        let taken: usize = text.chars().map(columns).sum();
        let gap = if time.is_empty() { 0 } else { room - taken };
        let line = format!("{text}{}{time}", " ".repeat(gap));
        match colour && !self.colour.is_empty() {
            true => format!("\x1b[{}m{line}\x1b[0m", self.colour),
            false => line,
        }
    }
}

impl Progress for Tty<'_> {
    fn event(&mut self, event: Event<'_>) {
        self.take(event);
        let now = self.clock.passed();
        let early = self
            .drawn_at
            .is_some_and(|then| now.saturating_sub(then) < PAUSE);
        if !early {
            let rows = (self.size)().1.max(4) - 1;
            let _ = self.draw(rows, false);
        }
    }

    fn tick_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}
