//! A log in files: records are appended, and the files rotated before one grows beyond its limit.
//!
//! **Nothing torn stays.** A write that fails half-way is taken back (ftruncate(2)), so the file
//! always ends with a whole record, and what could not be written is counted. A kill in the middle
//! of a write leaves a torn record at the end: the next start ends its line (or takes its frame
//! away), and readers skip it.
//!
//! In a framed file (`local`) each write is one zstd frame behind its [`FrameHeader`]; limits count
//! what is in the frames.

use std::{io, os::fd::OwnedFd};

use crate::{
    model::log::{FrameHeader, LogLimits},
    storage::containers::log_files::LogFiles,
};

/// Fast, and several times smaller for text.
const LEVEL: i32 = 1;

#[derive(Debug)]
pub(super) struct FileLog {
    files: LogFiles,
    limits: LogLimits,
    framed: bool,
    /// `None` after a rotation whose new file could not be made yet.
    newest: Option<OwnedFd>,
    /// Bytes in it.
    length: u64,
    /// Bytes of records in it: the same, if they are not framed.
    size: u64,
    lost: u64,
    why: String,
}

impl FileLog {
    pub(super) fn open(files: LogFiles, limits: LogLimits, framed: bool) -> io::Result<FileLog> {
        let (newest, length) = files.open_newest()?;
        let mut log = FileLog {
            files,
            limits,
            framed,
            newest: Some(newest),
            length,
            size: length,
            lost: 0,
            why: String::new(),
        };
        if length > 0 && framed {
            log.walk_frames()?;
        } else if length > 0 {
            log.end_line();
        }
        Ok(log)
    }

    /// Counts what is in the frames that an earlier supervisor wrote, and takes a torn one away.
    fn walk_frames(&mut self) -> io::Result<()> {
        let Some(file) = &self.newest else {
            return Ok(());
        };
        let (mut end, mut size) = (0, 0);
        let mut header = [0; FrameHeader::LENGTH];
        while rustix::io::pread(file, &mut header, end)? == header.len() {
            let Some(frame) = FrameHeader::parse(&header) else {
                break;
            };
            let next = end + header.len() as u64 + u64::from(frame.compressed);
            if next > self.length {
                break;
            }
            (end, size) = (next, size + u64::from(frame.records));
        }
        if end < self.length {
            rustix::fs::ftruncate(file, end)?;
        }
        (self.length, self.size) = (end, size);
        Ok(())
    }

    /// Ends a record that an earlier supervisor did not come to write to its end.
    fn end_line(&mut self) {
        let mut last = [b'\n'];
        if let Some(file) = &self.newest
            && rustix::io::pread(file, &mut last, self.length - 1).is_ok()
            && last != *b"\n"
        {
            let _ = self.write(b"\n");
        }
    }

    /// What was lost so far, as a line for the log.
    pub(super) fn loss(&self) -> Option<String> {
        let (lost, why) = (self.lost, &self.why);
        (lost > 0).then(|| format!("coracle: {lost} lines of output are missing here: {why}\n"))
    }

    /// Appends the record that tells of it.
    pub(super) fn append_notice(&mut self, record: &[u8]) {
        let before = std::mem::take(&mut self.lost);
        self.append(record);
        if self.lost > 0 {
            self.lost = before;
        }
    }

    /// Appends whole records, each with its newline at the end.
    pub(super) fn append(&mut self, records: &[u8]) {
        let mut rest = records;
        while !rest.is_empty() {
            let end = match self.fitting(rest) {
                0 => {
                    if let Err(error) = self.rotate() {
                        return self.lose(rest, &error);
                    }
                    continue;
                }
                end => end,
            };
            let (part, others) = rest.split_at(end);
            if let Err((kept, error)) = self.write(part) {
                return self.lose(&rest[kept..], &error);
            }
            rest = others;
        }
    }

    /// How many bytes of whole records may go into the file. An empty file takes any record.
    fn fitting(&self, records: &[u8]) -> usize {
        let Some(limit) = self.limits.size else {
            return records.len();
        };
        let room = usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if records.len() <= room {
            return records.len();
        }
        match memchr::memrchr(b'\n', &records[..room]) {
            Some(at) => at + 1,
            None if self.size == 0 => {
                memchr::memchr(b'\n', records).map_or(records.len(), |at| at + 1)
            }
            None => 0,
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.newest = None;
        self.files.rotate(self.limits.files)?;
        // Even if it cannot be made now: there is nothing to rotate until it is.
        (self.length, self.size) = (0, 0);
        self.open_newest()?;
        if self.limits.compress && self.limits.files > 1 {
            // On a full disk it stays as it is.
            let _ = self.files.compress_rotated();
        }
        Ok(())
    }

    fn open_newest(&mut self) -> io::Result<()> {
        let (newest, length) = self.files.open_newest()?;
        self.newest = Some(newest);
        self.length = length;
        self.size = length;
        Ok(())
    }

    /// Writes all; or else as many whole records as there is room for, which are so many bytes.
    fn write(&mut self, records: &[u8]) -> Result<(), (usize, io::Error)> {
        let nothing = |error| (0, error);
        if self.newest.is_none() {
            self.open_newest().map_err(nothing)?;
        }
        let Some(file) = &self.newest else {
            return Ok(());
        };
        let frame;
        let bytes = if self.framed {
            frame = framed(records).map_err(nothing)?;
            &frame
        } else {
            records
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(file, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    let written = &bytes[..bytes.len() - rest.len()];
                    let kept = match memchr::memrchr(b'\n', written) {
                        Some(at) if !self.framed => at + 1,
                        _ => 0,
                    };
                    if kept < written.len() {
                        let whole = self.length + kept as u64;
                        rustix::fs::ftruncate(file, whole).map_err(|errno| (0, errno.into()))?;
                    }
                    self.length += kept as u64;
                    self.size += kept as u64;
                    return Err((kept, errno.into()));
                }
            }
        }
        self.length += bytes.len() as u64;
        self.size = self.size.saturating_add(records.len() as u64);
        Ok(())
    }

    fn lose(&mut self, records: &[u8], error: &io::Error) {
        let lines = memchr::memchr_iter(b'\n', records).count();
        self.lost = self.lost.saturating_add(lines as u64);
        self.why = match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => "no space was left on the device".to_owned(),
            _ => error.to_string(),
        };
    }
}

/// One frame with its header.
fn framed(records: &[u8]) -> io::Result<Vec<u8>> {
    let compressed = zstd::bulk::compress(records, LEVEL)?;
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let header = FrameHeader {
        compressed: u32::try_from(compressed.len()).map_err(too_long)?,
        records: u32::try_from(records.len()).map_err(too_long)?,
    };
    Ok([header.encode().as_slice(), &compressed].concat())
}
