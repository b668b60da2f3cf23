//! A log in files: records are appended, and the files rotated before one grows beyond its limit.
//!
//! **Nothing torn stays.** A write that fails half-way is taken back (ftruncate(2)), so the file
//! always ends with a whole record, and what could not be written is counted. A kill in the middle
//! of a write leaves a torn record at the end; readers skip it.
//!
//! In a framed file (`local`) each write is one zstd frame; limits count what is in the frames.

use std::{io, os::fd::OwnedFd};

use crate::{model::log::LogLimits, storage::containers::log_files::LogFiles};

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
        if framed && length > 0 {
            // What is in its frames is not known: the next record begins a file.
            log.size = u64::MAX;
        }
        Ok(log)
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
            if let Err(error) = self.write(part) {
                return self.lose(rest, &error);
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

    /// Writes all, or nothing.
    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        if self.newest.is_none() {
            self.open_newest()?;
        }
        let Some(file) = &self.newest else {
            return Ok(());
        };
        let frame;
        let bytes = if self.framed {
            frame = zstd::bulk::compress(records, LEVEL)?;
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
                    if rest.len() < bytes.len() {
                        rustix::fs::ftruncate(file, self.length)?;
                    }
                    return Err(errno.into());
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
