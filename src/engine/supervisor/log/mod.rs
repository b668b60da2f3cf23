//! Writes what a container says: pieces of output become records, records go to the driver.
//!
//! | driver | record | written to |
//! |---|---|---|
//! | `json-file` | Docker's JSON line ([`json_file`]) | a file ([`file`]) |
//! | `k8s-file` | `TIME STREAM F\|P TEXT` ([`k8s_file`]) | a file |
//! | `local` | Docker's JSON line | a file, each write one zstd frame |
//! | `journald` | a datagram ([`journald`]) | systemd-journald |
//!
//! A line of output is one record; one longer than 16 KiB becomes several, of which only the last
//! has the newline, as Docker writes them. A line whose end has not come yet waits here, and is
//! written without a newline when its stream ends. All records of one piece of output have one
//! time, and few write(2)s of whole records: a reader sees whole records but for the last.
//!
//! Nothing here ever fails: what cannot be written (a full disk) is counted, and said in the log
//! itself as soon as there is room again.

mod escape;
mod file;
mod journald;
mod json_file;
mod k8s_file;

use self::{file::FileLog, journald::Journal, json_file::JsonLines};
use crate::{
    model::{
        Context, Result,
        log::{LogDriver, LogPlan},
    },
    storage::containers::log_files::LogFiles,
};

/// Longest part of a line in one record.
const MAX_PART: usize = 16 << 10;
/// Lines are made into records so many bytes at a time: the records of empty ones are forty times
/// as long.
const STEP: usize = 2 * MAX_PART;
/// From so many bytes of records on they are written.
const ENOUGH: usize = 512 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

#[derive(Debug)]
pub(in super::super) struct LogWriter {
    driver: Driver,
    /// The beginning of a line whose end has not come yet, for each stream.
    unfinished: [Vec<u8>; 2],
    /// Records on their way to a file.
    records: Vec<u8>,
}

#[derive(Debug)]
enum Driver {
    JsonLines(JsonLines, FileLog),
    K8sFile(FileLog),
    Journal(Journal),
}

impl LogWriter {
    /// `None` if nothing is to be kept.
    pub(in super::super) fn open(
        plan: &LogPlan,
        files: impl FnOnce() -> Result<LogFiles>,
    ) -> Result<Option<LogWriter>> {
        let file = |framed| -> Result<FileLog> {
            let files = files()?;
            FileLog::open(files, plan.limits, framed)
                .system(|| "cannot open the container's log".to_owned())
        };
        let driver = match plan.driver {
            LogDriver::JsonFile => {
                Driver::JsonLines(JsonLines::new(&plan.attributes), file(false)?)
            }
            LogDriver::Local => Driver::JsonLines(JsonLines::new(&plan.attributes), file(true)?),
            LogDriver::K8sFile => Driver::K8sFile(file(false)?),
            LogDriver::Journald => Driver::Journal(Journal::open(plan)?),
            LogDriver::None | LogDriver::Passthrough | LogDriver::PassthroughTty => {
                return Ok(None);
            }
        };
        Ok(Some(LogWriter::to(driver)))
    }

    fn to(driver: Driver) -> LogWriter {
        LogWriter {
            driver,
            unfinished: [Vec::new(), Vec::new()],
            records: Vec::new(),
        }
    }

    /// Appends a piece of output.
    pub(in super::super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let time = now();
        let mut rest = bytes;
        let begun = std::mem::take(&mut self.unfinished[stream as usize]);
        if !begun.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = [begun.as_slice(), &rest[..end]].concat();
            rest = &rest[end..];
            self.add(stream, &line, &time);
        }
        let ends = memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1);
        let (lines, begun) = rest.split_at(ends);
        self.add(stream, lines, &time);
        if !begun.is_empty() {
            self.add(stream, begun, &time);
        }
        self.flush(&time);
    }

    /// Appends what is left of a stream that has ended.
    pub(in super::super) fn end(&mut self, stream: Stream) {
        let time = now();
        let rest = std::mem::take(&mut self.unfinished[stream as usize]);
        if !rest.is_empty() {
            self.add_part(stream, &rest, &time);
        }
        self.flush(&time);
    }

    /// Gives back the room of a busy time.
    pub(super) fn rest(&mut self) {
        self.records = Vec::new();
        self.unfinished.iter_mut().for_each(Vec::shrink_to_fit);
    }

    /// Adds whole lines, or the beginning of one.
    fn add(&mut self, stream: Stream, text: &[u8], time: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            // Most lines are short, and then many of them go in one call.
            let short = short_lines(&rest[..rest.len().min(STEP)]);
            if short > 0 {
                let (lines, others) = rest.split_at(short);
                self.add_lines(stream, lines, time);
                rest = others;
                if self.records.len() >= ENOUGH {
                    self.flush(time);
                }
                continue;
            }
            if rest.len() <= MAX_PART {
                self.unfinished[stream as usize].extend_from_slice(rest);
                return;
            }
            let (part, others) = rest.split_at(utf8_border(rest, MAX_PART));
            self.add_part(stream, part, time);
            rest = others;
        }
    }

    fn add_lines(&mut self, stream: Stream, lines: &[u8], time: &str) {
        match &mut self.driver {
            Driver::JsonLines(format, _) => format.add(&mut self.records, stream, lines, time),
            Driver::K8sFile(_) => k8s_file::add(&mut self.records, stream, lines, time),
            Driver::Journal(journal) => {
                for line in lines.split_inclusive(|&byte| byte == b'\n') {
                    journal.send(stream, line);
                }
            }
        }
    }

    /// Adds a part of a line, without its newline.
    fn add_part(&mut self, stream: Stream, part: &[u8], time: &str) {
        self.add_lines(stream, part, time);
    }

    fn flush(&mut self, time: &str) {
        let (file, notice) = match &mut self.driver {
            Driver::JsonLines(format, file) => {
                let notice = file.loss().map(|text| {
                    let mut record = Vec::new();
                    format.add(&mut record, Stream::Stderr, text.as_bytes(), time);
                    record
                });
                (file, notice)
            }
            Driver::K8sFile(file) => {
                let notice = file.loss().map(|text| {
                    let mut record = Vec::new();
                    k8s_file::add(&mut record, Stream::Stderr, text.as_bytes(), time);
                    record
                });
                (file, notice)
            }
            Driver::Journal(journal) => {
                journal.flush();
                return;
            }
        };
        if let Some(notice) = notice {
            file.append_notice(&notice);
        }
        if !self.records.is_empty() {
            file.append(&self.records);
            self.records.clear();
        }
    }
}

/// How many bytes of whole lines there are at the beginning, none of them longer than a record.
fn short_lines(text: &[u8]) -> usize {
    let mut end = 0;
    while text.len() - end > MAX_PART {
        // The last line that ends within a record's length: every line before it is shorter.
        match memchr::memrchr(b'\n', &text[end..end + MAX_PART]) {
            Some(at) => end += at + 1,
            None => return end,
        }
    }
    end + memchr::memrchr(b'\n', &text[end..]).map_or(0, |at| at + 1)
}

/// The largest border of a UTF-8 sequence at or before `limit`, or the end.
fn utf8_border(bytes: &[u8], limit: usize) -> usize {
    if bytes.len() <= limit {
        return bytes.len();
    }
    let is_continuation = |byte: u8| byte & 0xc0 == 0x80;
    (limit.saturating_sub(3)..=limit)
        .rev()
        .find(|&at| !is_continuation(bytes[at]))
        .unwrap_or(limit)
}

/// RFC 3339 in UTC with nanoseconds.
fn now() -> String {
    super::now()
}
