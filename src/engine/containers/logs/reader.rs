//! Reads one container's log from some place on, across its files.
//!
//! The files of a moment are opened at once, oldest first, so a rotation meanwhile moves nothing
//! away from under the reader. At the end of the newest one it looks whether that still is the
//! newest: if it was rotated, the rest of it is read (the writer has left it for good) and then the
//! files that came after it, which are found by its inode.
//!
//! The end of a plain file is looked for backwards, block by block, so the last ten lines of a huge
//! log cost what ten lines cost; compressed ones are read through.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    time::Duration,
};

use super::records::{RecordFormat, RecordParser};
use crate::{
    engine::{LogOptions, LogSink},
    model::{
        Context, Result,
        log::{FrameHeader, LogDriver},
    },
    storage::containers::log_files::{LogFile, LogFiles},
};

/// One read.
const BLOCK: usize = 256 << 10;
/// Longest record that is understood. Ours have at most 16 KiB of text, six bytes each when
/// escaped; a longer one is skipped, so that a damaged file cannot fill the memory.
const LONGEST_RECORD: usize = 1 << 20;
/// Longest frame, before and after compression: more than a supervisor ever writes at once.
const LONGEST_FRAME: u32 = 16 << 20;

pub(super) fn cannot_read() -> String {
    "cannot read the container's log".to_owned()
}

pub(super) struct LogReader {
    pub(super) files: LogFiles,
    framed: bool,
    parser: RecordParser,
    current: Option<OpenFile>,
    /// Newer files than the current one.
    later: VecDeque<LogFile>,
    lines: Lines,
    /// Records that are before those that are wanted.
    skip: u64,
    since: Option<i128>,
    until: Option<i128>,
    /// The time that was compared last, and whether it is wanted: pieces of output share one.
    compared: (String, bool),
    block: Vec<u8>,
}

/// A file being read.
struct OpenFile {
    inode: u64,
    content: FileContent,
}

enum FileContent {
    Plain { file: File, offset: u64 },
    Framed { file: File, offset: u64 },
    Compressed(Box<dyn Read>),
}

impl LogReader {
    pub(super) fn new(
        files: LogFiles,
        driver: LogDriver,
        options: &LogOptions,
    ) -> Result<LogReader> {
        let format = match driver {
            LogDriver::K8sFile => RecordFormat::K8sFile,
            _ => RecordFormat::JsonLines,
        };
        let mut reader = LogReader {
            files,
            framed: driver == LogDriver::Local,
            parser: RecordParser::new(format, options.details),
            current: None,
            later: VecDeque::new(),
            lines: Lines::default(),
            skip: 0,
            since: options.since,
            until: options.until,
            compared: (String::new(), true),
            block: Vec::new(),
        };
        let files = reader.files.open_all().system(cannot_read)?;
        reader.later = files.into();
        if let Some(count) = options.tail {
            reader.go_to_tail(count).system(cannot_read)?;
        }
        Ok(reader)
    }

    /// Leaves out what is before the last `count` records.
    fn go_to_tail(&mut self, count: u64) -> io::Result<()> {
        let mut wanted = count;
        for index in (0..self.later.len()).rev() {
            let file = &self.later[index];
            if !file.compressed && !self.framed {
                let length = file.file.metadata()?.len();
                let (offset, found) = start_of_tail(&file.file, length, wanted)?;
                wanted -= found;
                if wanted > 0 {
                    continue;
                }
                let file = self.later.drain(..=index).next_back();
                self.current = file.map(|file| OpenFile {
                    inode: file.inode,
                    content: FileContent::Plain {
                        file: file.file,
                        offset,
                    },
                });
                return Ok(());
            }
            let records = self.count(file)?;
            if records >= wanted {
                self.skip = records - wanted;
                self.later.drain(..index);
                return Ok(());
            }
            wanted -= records;
        }
        Ok(())
    }

    fn count(&self, file: &LogFile) -> io::Result<u64> {
        let mut content = self.content(file)?;
        let mut block = Vec::new();
        let mut count = 0;
        while content.next(&mut block)? {
            count += memchr::memchr_iter(b'\n', &block).count() as u64;
        }
        Ok(count)
    }

    fn content(&self, file: &LogFile) -> io::Result<FileContent> {
        if file.compressed {
            return file.content().map(FileContent::Compressed);
        }
        let (file, offset) = (file.file.try_clone()?, 0);
        Ok(if self.framed {
            FileContent::Framed { file, offset }
        } else {
            FileContent::Plain { file, offset }
        })
    }

    /// Hands over all whole records up to the log's present end. Whether later ones can be wanted.
    pub(super) fn read_on(&mut self, number: usize, sink: &mut dyn LogSink) -> Result<bool> {
        let mut block = std::mem::take(&mut self.block);
        let mut left_for_good = false;
        loop {
            let more = match &mut self.current {
                Some(current) => current.content.next(&mut block).system(cannot_read)?,
                None => false,
            };
            if more {
                if !self.take(&block, number, sink)? {
                    return Ok(false);
                }
                continue;
            }
            if let Some(next) = self.later.pop_front() {
                let content = self.content(&next).system(cannot_read)?;
                self.current = Some(OpenFile {
                    inode: next.inode,
                    content,
                });
                self.lines.forget();
                left_for_good = false;
                continue;
            }
            let present = self.current.as_ref().map(|current| current.inode);
            if self.files.newest_inode() == present {
                break;
            }
            if left_for_good || present.is_none() {
                self.later = self.newer_than(present).system(cannot_read)?;
                if self.later.is_empty() {
                    break;
                }
            }
            // Once more: something may have been written before it was rotated.
            left_for_good = true;
        }
        // Nothing is kept while this waits.
        block.clear();
        block.shrink_to(BLOCK);
        self.block = block;
        Ok(true)
    }

    fn newer_than(&self, inode: Option<u64>) -> io::Result<VecDeque<LogFile>> {
        let mut files = self.files.open_all()?;
        let known = files.iter().rposition(|file| Some(file.inode) == inode);
        // If it is not there any more, all that are left are newer.
        files.drain(..known.map_or(0, |known| known + 1));
        Ok(files.into())
    }

    fn take(&mut self, block: &[u8], number: usize, sink: &mut dyn LogSink) -> Result<bool> {
        let mut lines = std::mem::take(&mut self.lines);
        let result = lines.split(block, &mut |line| self.hand_over(line, number, sink));
        self.lines = lines;
        result
    }

    fn hand_over(&mut self, line: &[u8], number: usize, sink: &mut dyn LogSink) -> Result<bool> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(true);
        }
        let Some(record) = self.parser.parse(line) else {
            return Ok(true);
        };
        if self.since.is_some() || self.until.is_some() {
            if self.compared.0 != record.time {
                let Ok(time) = record.time.parse::<jiff::Timestamp>() else {
                    return Ok(true);
                };
                let time = time.as_nanosecond();
                if self.until.is_some_and(|until| time > until) {
                    // Times grow along the log.
                    return Ok(false);
                }
                let wanted = self.since.is_none_or(|since| time >= since);
                self.compared = (record.time.to_owned(), wanted);
            }
            if !self.compared.1 {
                return Ok(true);
            }
        }
        sink.record(number, &record)?;
        Ok(true)
    }

    /// How long something wanted may still be written: `None` if that time is over, `Some(None)`
    /// for ever.
    pub(super) fn time_left(&self) -> Option<Option<Duration>> {
        let Some(until) = self.until else {
            return Some(None);
        };
        let left = until - jiff::Timestamp::now().as_nanosecond();
        let left = u64::try_from(left.max(0)).unwrap_or(u64::MAX);
        (left > 0).then(|| Some(Duration::from_nanos(left)))
    }
}

impl FileContent {
    /// The next piece of what was written, in place of what is in `block`. Whether there is one (for
    /// now).
    fn next(&mut self, block: &mut Vec<u8>) -> io::Result<bool> {
        let read = match self {
            FileContent::Framed { file, offset } => return next_frame(file, offset, block),
            FileContent::Plain { file, offset } => {
                block.resize(BLOCK, 0);
                let count = retried(|| file.read_at(block, *offset))?;
                *offset += count as u64;
                count
            }
            FileContent::Compressed(reader) => {
                block.resize(BLOCK, 0);
                match retried(|| reader.read(block)) {
                    Ok(count) => count,
                    // Damaged: what could be read was.
                    Err(error) if error.kind() != io::ErrorKind::Other => 0,
                    Err(error) => return Err(error),
                }
            }
        };
        block.truncate(read);
        Ok(read > 0)
    }
}

fn retried(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The next whole frame. A torn one is at the end, and is taken away by who writes on.
fn next_frame(file: &File, offset: &mut u64, block: &mut Vec<u8>) -> io::Result<bool> {
    let mut header = [0; FrameHeader::LENGTH];
    if file.read_exact_at(&mut header, *offset).is_err() {
        return Ok(false);
    }
    let Some(frame) = FrameHeader::parse(&header) else {
        return Ok(false);
    };
    if frame.compressed > LONGEST_FRAME || frame.records > LONGEST_FRAME {
        return Ok(false);
    }
    let mut compressed = vec![0; frame.compressed as usize];
    let begin = *offset + header.len() as u64;
    if file.read_exact_at(&mut compressed, begin).is_err() {
        return Ok(false);
    }
    *block = zstd::bulk::decompress(&compressed, frame.records as usize)?;
    *offset = begin + u64::from(frame.compressed);
    Ok(true)
}

/// Splits what is read into lines.
#[derive(Default)]
struct Lines {
    /// The beginning of one whose newline has not been read yet.
    begun: Vec<u8>,
    /// That one is too long to be kept.
    skipping: bool,
}

impl Lines {
    /// Hands over each line that ends in `block`, until that says that it is enough.
    fn split(&mut self, block: &[u8], line: &mut dyn FnMut(&[u8]) -> Result<bool>) -> Result<bool> {
        let mut begin = 0;
        for newline in memchr::memchr_iter(b'\n', block) {
            let part = &block[begin..=newline];
            begin = newline + 1;
            if self.skipping {
                self.skipping = false;
                continue;
            }
            let goes_on = if self.begun.is_empty() {
                line(part)?
            } else {
                self.begun.extend_from_slice(part);
                line(&std::mem::take(&mut self.begun))?
            };
            if !goes_on {
                return Ok(false);
            }
        }
        let rest = &block[begin..];
        if self.begun.len() + rest.len() > LONGEST_RECORD {
            self.skipping = true;
            self.begun = Vec::new();
        } else if !self.skipping {
            self.begun.extend_from_slice(rest);
        }
        Ok(true)
    }

    /// Another file begins.
    fn forget(&mut self) {
        *self = Lines::default();
    }
}

/// Where the last `count` whole records begin, and how many there are from there on.
fn start_of_tail(file: &File, length: u64, count: u64) -> io::Result<(u64, u64)> {
    const STEP: u64 = 64 << 10;
    let mut block = vec![0; STEP as usize];
    // The newline that ends the last record is not one that precedes a wanted record.
    let mut newlines = 0;
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(STEP);
        let part = &mut block[..(end - begin) as usize];
        file.read_exact_at(part, begin)?;
        for at in memchr::memrchr_iter(b'\n', part) {
            if newlines == count {
                return Ok((begin + at as u64 + 1, count));
            }
            newlines += 1;
        }
        end = begin;
    }
    Ok((0, newlines))
}
