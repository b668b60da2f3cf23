//! `logs`: reads what the supervisor wrote, in the format that its `log` module describes.
//!
//! The file only grows. The end is looked for backwards, block by block, so the last ten lines of
//! a huge log cost what ten lines cost. Following waits for the file to change (inotify(7)) or
//! for the supervisor to end; the watch on both begins before the first read, and after the end
//! the rest is read, so nothing is lost in between.
//!
//! **Torn records.** The last record may be half-written: it is not shown before its newline is
//! there. If the supervisor was killed in the middle of one, the next start appends behind the
//! torn piece: the piece is dropped and what follows it is kept.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, fd::OwnedFd, unix::fs::FileExt},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, inotify},
    io::Errno,
};
use serde::Deserialize;

use super::ending::{Ending, Watch};
use crate::{
    engine::{Engine, LogLine, LogOptions, LogStream},
    model::{Context, Error, ErrorKind, Result, container::ContainerState, log::LogDriver},
    storage::ContainerDir,
};

/// One read.
const BLOCK: usize = 64 << 10;
/// Longest record that is understood. Ours have at most 16 KiB of text, six bytes each when
/// escaped; a longer one is skipped, so that a damaged file cannot fill the memory.
const LONGEST_RECORD: usize = 1 << 20;
/// How every record begins. Within a record's text the quotes are escaped.
const BEGINNING: &[u8] = b"{\"log\":\"";

impl Engine {
    /// Hands the wanted records to `sink`, oldest first. With `follow`, until the container ends.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the container keeps no log, and those of `sink`.
    pub fn logs(
        &self,
        container: &str,
        options: &LogOptions,
        sink: &mut dyn FnMut(LogLine) -> Result<()>,
    ) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        if record.spec.logging.driver == LogDriver::None {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "configured logging driver does not support reading: the container was made with --log-driver none",
            ));
        }
        let mut watch = None;
        if options.follow {
            watch = Watch::begin(&self.store, &directory)?;
            if directory.state()?.state != ContainerState::Running {
                watch = None;
            }
        }
        let Some(file) = open_log(&directory)? else {
            return Ok(());
        };
        let mut log = LogReader::new(file, options)?;
        match watch {
            None => log.read_on(sink).map(drop),
            Some(watch) => follow(&mut log, watch, sink),
        }
    }
}

/// `None` if it was never started.
fn open_log(directory: &ContainerDir) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(directory.fd(), "log", flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno).system(cannot_read),
    }
}

fn cannot_read() -> String {
    "cannot read the container's log".to_owned()
}

fn follow(
    log: &mut LogReader,
    mut watch: Watch,
    sink: &mut dyn FnMut(LogLine) -> Result<()>,
) -> Result<()> {
    let changes =
        watch_changes(&log.file).system(|| "cannot watch the container's log".to_owned())?;
    let mut ended = false;
    loop {
        if !log.read_on(sink)? || ended {
            return Ok(());
        }
        let Some(left) = log.time_left() else {
            return Ok(());
        };
        ended = wait_for_more(&changes, &mut watch, left)?;
    }
}

/// The file has no name any more if the container removes itself: watched by its descriptor.
fn watch_changes(file: &File) -> io::Result<OwnedFd> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let changes = inotify::init(flags)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    inotify::add_watch(&changes, path, inotify::WatchFlags::MODIFY)?;
    Ok(changes)
}

/// Returns when the log has changed, the time is over or the container has ended; whether the
/// latter. `None` is no limit.
fn wait_for_more(changes: &OwnedFd, watch: &mut Watch, left: Option<Duration>) -> Result<bool> {
    let what = || "cannot wait for the container's log".to_owned();
    let Some(end) = watch.descriptor() else {
        return Ok(true);
    };
    let mut descriptors = [
        PollFd::new(changes, PollFlags::IN),
        PollFd::from_borrowed_fd(end, PollFlags::IN),
    ];
    let limit = left.map(|left| Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(&mut descriptors, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno).system(what),
    }
    let (changed, may_have_ended) = (
        !descriptors[0].revents().is_empty(),
        !descriptors[1].revents().is_empty(),
    );
    if changed {
        // What the events say is known: something was written.
        match rustix::io::read(changes, &mut [0_u8; 4096]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno).system(what),
        }
    }
    // A closed socket is not the end yet: then the supervisor's own end is waited for.
    Ok(may_have_ended && watch.wait(Some(Duration::ZERO))? != Ending::NotYet)
}

/// Reads a log from some place on.
#[derive(Debug)]
struct LogReader {
    file: File,
    /// Where the next read begins.
    offset: u64,
    /// The beginning of a record whose newline has not been read yet.
    begun: Vec<u8>,
    /// That record is too long to be kept.
    skipping: bool,
    since: Option<i128>,
    until: Option<i128>,
}

impl LogReader {
    fn new(file: File, options: &LogOptions) -> Result<LogReader> {
        let offset = match options.tail {
            None => 0,
            Some(count) => {
                let length = file.metadata().system(cannot_read)?.len();
                start_of_tail(&file, length, count).system(cannot_read)?
            }
        };
        Ok(LogReader {
            file,
            offset,
            begun: Vec::new(),
            skipping: false,
            since: options.since,
            until: options.until,
        })
    }

    /// Hands over all whole records up to the file's present end. Whether later ones can be
    /// wanted.
    fn read_on(&mut self, sink: &mut dyn FnMut(LogLine) -> Result<()>) -> Result<bool> {
        let mut block = vec![0; BLOCK];
        loop {
            let count = match self.file.read_at(&mut block, self.offset) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).system(cannot_read),
            };
            self.offset += count as u64;
            for part in block[..count].split_inclusive(|&byte| byte == b'\n') {
                if !self.take(part, sink)? {
                    return Ok(false);
                }
            }
        }
    }

    /// Takes a piece of the file that contains at most one newline, at its end.
    fn take(&mut self, part: &[u8], sink: &mut dyn FnMut(LogLine) -> Result<()>) -> Result<bool> {
        if self.begun.len() + part.len() > LONGEST_RECORD {
            self.skipping = true;
            self.begun = Vec::new();
        }
        let is_end = part.ends_with(b"\n");
        if self.skipping {
            self.skipping = !is_end;
            return Ok(true);
        }
        if !is_end {
            self.begun.extend_from_slice(part);
            return Ok(true);
        }
        let line = if self.begun.is_empty() {
            parse(part)
        } else {
            self.begun.extend_from_slice(part);
            parse(&std::mem::take(&mut self.begun))
        };
        match line {
            Some(line) => self.hand_over(line, sink),
            None => Ok(true),
        }
    }

    fn hand_over(
        &self,
        line: LogLine,
        sink: &mut dyn FnMut(LogLine) -> Result<()>,
    ) -> Result<bool> {
        if self.since.is_some() || self.until.is_some() {
            let Ok(time) = line.time.parse::<jiff::Timestamp>() else {
                return Ok(true);
            };
            let time = time.as_nanosecond();
            if self.until.is_some_and(|until| time > until) {
                // Times grow along the file.
                return Ok(false);
            }
            if self.since.is_some_and(|since| time < since) {
                return Ok(true);
            }
        }
        sink(line)?;
        Ok(true)
    }

    /// How long something wanted may still be written: `None` if that time is over, `Some(None)`
    /// for ever.
    fn time_left(&self) -> Option<Option<Duration>> {
        let Some(until) = self.until else {
            return Some(None);
        };
        let left = until - jiff::Timestamp::now().as_nanosecond();
        let left = u64::try_from(left.max(0)).unwrap_or(u64::MAX);
        (left > 0).then(|| Some(Duration::from_nanos(left)))
    }
}

/// Where the last `count` whole records begin.
fn start_of_tail(file: &File, length: u64, count: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    // The newline that ends the last record is not one that precedes a wanted record.
    let mut newlines_left = count.saturating_add(1);
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK as u64);
        let part = &mut block[..(end - begin) as usize];
        file.read_exact_at(part, begin)?;
        for (at, _) in part
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            newlines_left -= 1;
            if newlines_left == 0 {
                return Ok(begin + at as u64 + 1);
            }
        }
        end = begin;
    }
    Ok(0)
}

#[derive(Deserialize)]
struct StoredLine {
    log: String,
    stream: String,
    time: String,
}

/// `None` for what is no record.
fn parse(line: &[u8]) -> Option<LogLine> {
    let stored: StoredLine = serde_json::from_slice(line).ok().or_else(|| {
        let behind_torn = line
            .windows(BEGINNING.len())
            .rposition(|window| window == BEGINNING)?;
        serde_json::from_slice(&line[behind_torn..]).ok()
    })?;
    let stream = match stored.stream.as_str() {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        _ => return None,
    };
    Some(LogLine {
        stream,
        time: stored.time,
        text: stored.log.into_bytes(),
    })
}
