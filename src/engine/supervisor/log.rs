//! The container's log in Docker's `json-file` format: one object a line,
//! `{"log":"text\n","stream":"stdout","time":"2026-11-21T10:00:00.123456789Z"}`.
//!
//! A line of output becomes one record; one longer than 16 KiB becomes several, of which only the
//! last ends in `\n`, as Docker writes them. Records are appended with one write(2) a piece of
//! output, so a reader sees whole records but for the last.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{Mode, OFlags};

/// Longest part of a line in one record.
const MAX_PART: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Appends to a log file.
#[derive(Debug)]
pub(super) struct LogWriter {
    file: OwnedFd,
    /// The beginning of a line whose end has not come yet, for each stream.
    unfinished: [Vec<u8>; 2],
    /// Records on their way to the file; kept for its room.
    records: Vec<u8>,
}

impl LogWriter {
    /// Opens or makes the file `log` in the container's folder.
    pub(super) fn open(directory: impl AsFd) -> io::Result<LogWriter> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(directory, "log", flags, Mode::from_raw_mode(0o600))?;
        Ok(LogWriter {
            file,
            unfinished: [Vec::new(), Vec::new()],
            records: Vec::new(),
        })
    }

    /// Appends a piece of output.
    pub(super) fn write(&mut self, stream: Stream, mut bytes: &[u8]) -> io::Result<()> {
        let time = jiff::Timestamp::now();
        while let Some(newline) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = bytes.split_at(newline + 1);
            self.add_line(stream, line, time);
            bytes = rest;
        }
        let unfinished = &mut self.unfinished[stream as usize];
        unfinished.extend_from_slice(bytes);
        if unfinished.len() >= MAX_PART {
            let part = std::mem::take(unfinished);
            self.add_line(stream, &part, time);
        }
        self.flush()
    }

    /// Appends what is left of a stream that has ended.
    pub(super) fn end(&mut self, stream: Stream) -> io::Result<()> {
        let rest = std::mem::take(&mut self.unfinished[stream as usize]);
        if !rest.is_empty() {
            self.add_line(stream, &rest, jiff::Timestamp::now());
        }
        self.flush()
    }

    fn add_line(&mut self, stream: Stream, line: &[u8], time: jiff::Timestamp) {
        let begun = std::mem::take(&mut self.unfinished[stream as usize]);
        let joined;
        let line = if begun.is_empty() {
            line
        } else {
            joined = [begun.as_slice(), line].concat();
            &joined
        };
        let mut rest = line;
        while rest.len() > MAX_PART {
            let end = utf8_border(rest, MAX_PART);
            self.add_record(stream, &rest[..end], time);
            rest = &rest[end..];
        }
        self.add_record(stream, rest, time);
    }

    fn add_record(&mut self, stream: Stream, text: &[u8], time: jiff::Timestamp) {
        let name: &[u8] = match stream {
            Stream::Stdout => b"stdout",
            Stream::Stderr => b"stderr",
        };
        self.records.extend_from_slice(b"{\"log\":\"");
        escape(&mut self.records, text);
        self.records.extend_from_slice(b"\",\"stream\":\"");
        self.records.extend_from_slice(name);
        self.records.extend_from_slice(b"\",\"time\":\"");
        let _ = io::Write::write_fmt(&mut self.records, format_args!("{time:.9}"));
        self.records.extend_from_slice(b"\"}\n");
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.records.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(&self.file, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    self.records.clear();
                    return Err(errno.into());
                }
            }
        }
        self.records.clear();
        // An idle supervisor should not sit on the room of its busiest moment.
        self.records.shrink_to(MAX_PART);
        Ok(())
    }
}

/// The largest border of a UTF-8 sequence at or before `limit`.
fn utf8_border(bytes: &[u8], limit: usize) -> usize {
    let is_continuation = |byte: u8| byte & 0xc0 == 0x80;
    (limit.saturating_sub(3)..=limit)
        .rev()
        .find(|&at| !is_continuation(bytes[at]))
        .unwrap_or(limit)
}

/// JSON string escapes as Go's encoder writes them (Docker's files are byte for byte like this):
/// HTML characters and line separators too, bytes that are not UTF-8 as U+FFFD.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        let mut copied = 0;
        for (at, character) in valid.char_indices() {
            let mut unicode = [0; 6];
            let escaped: &[u8] = match character {
                '"' => b"\\\"",
                '\\' => b"\\\\",
                '\n' => b"\\n",
                '\r' => b"\\r",
                '\t' => b"\\t",
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    unicode_escape(character, &mut unicode);
                    &unicode
                }
                _ => continue,
            };
            out.extend_from_slice(&valid.as_bytes()[copied..at]);
            out.extend_from_slice(escaped);
            copied = at + character.len_utf8();
        }
        out.extend_from_slice(&valid.as_bytes()[copied..]);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn unicode_escape(character: char, out: &mut [u8; 6]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let code = character as usize;
    let digit = |shift: usize| DIGITS[code >> shift & 0xf];
    *out = [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_as_gos_encoder_does() {
        assert_eq!(escaped(b"a\"b\\c\n\t\r"), r#"a\"b\\c\n\t\r"#);
        assert_eq!(
            escaped(b"<a href='x'>&\x01\x7f"),
            "\\u003ca href='x'\\u003e\\u0026\\u0001\x7f"
        );
        assert_eq!(escaped("ä\u{2028}€".as_bytes()), "ä\\u2028€");
        assert_eq!(escaped(b"\xff\xc3"), "\\ufffd\\ufffd");
    }

    #[test]
    fn splits_long_lines_and_keeps_short_ones_whole() {
        let folder = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(folder.path()).unwrap();
        let mut log = LogWriter::open(&directory).unwrap();
        log.write(Stream::Stdout, b"one\ntw").unwrap();
        log.write(Stream::Stderr, b"err\n").unwrap();
        log.write(Stream::Stdout, b"o\n").unwrap();
        log.write(Stream::Stdout, &[b'x'; 40_000]).unwrap();
        log.write(Stream::Stdout, b"\nrest").unwrap();
        log.end(Stream::Stdout).unwrap();
        let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let records: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let logs: Vec<&str> = records
            .iter()
            .map(|record| record["log"].as_str().unwrap())
            .collect();
        assert_eq!(logs[..3], ["one\n", "err\n", "two\n"]);
        assert_eq!(records[1]["stream"], "stderr");
        assert!(
            logs[3..logs.len() - 1]
                .iter()
                .all(|part| part.len() <= MAX_PART)
        );
        assert_eq!(
            logs[3..logs.len() - 1].concat(),
            format!("{}\n", "x".repeat(40_000))
        );
        assert_eq!(logs.last(), Some(&"rest"));
        let time = records[0]["time"].as_str().unwrap();
        assert_eq!((time.len(), &time[29..]), (30, "Z"));
    }
}
