//! Records of a log, taken apart: the formats that the supervisor's `log` module writes, and what
//! others (Docker, conmon) write in the same ones.
//!
//! A log says what its container said: nothing here trusts it. What is no record is skipped.

use std::borrow::Cow;

use serde::Deserialize;

use crate::engine::{LogRecord, LogStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    JsonLines,
    K8sFile,
}

/// How every JSON record begins. Within a record's text the quotes are escaped.
const BEGINNING: &[u8] = b"{\"log\":\"";

/// Takes records apart; keeps the room for their texts.
#[derive(Debug)]
pub struct RecordParser {
    format: RecordFormat,
    wants_details: bool,
    text: Vec<u8>,
    details: String,
}

impl RecordParser {
    pub fn new(format: RecordFormat, wants_details: bool) -> RecordParser {
        RecordParser {
            format,
            wants_details,
            text: Vec::new(),
            details: String::new(),
        }
    }

    /// `None` for what is no record. `line` has its newline.
    pub fn parse<'a>(&'a mut self, line: &'a [u8]) -> Option<LogRecord<'a>> {
        match self.format {
            RecordFormat::JsonLines => self.json(line),
            RecordFormat::K8sFile => self.k8s(line),
        }
    }

    fn json<'a>(&'a mut self, line: &'a [u8]) -> Option<LogRecord<'a>> {
        self.text.clear();
        if let Some((stream, time)) = plain_json(line, &mut self.text) {
            return Some(LogRecord {
                stream,
                time,
                details: "",
                text: &self.text,
            });
        }
        let stored: StoredRecord<'a> = serde_json::from_slice(line).ok().or_else(|| {
            // Written behind a torn one.
            let behind = memchr::memmem::rfind(line, BEGINNING)?;
            serde_json::from_slice(&line[behind..]).ok()
        })?;
        self.text.clear();
        self.text.extend_from_slice(stored.log.as_bytes());
        self.details.clear();
        if self.wants_details {
            self.details = details(&stored.attrs);
        }
        let stream = stream(stored.stream.as_bytes())?;
        let Cow::Borrowed(time) = stored.time else {
            return None;
        };
        if !is_time(time) {
            return None;
        }
        Some(LogRecord {
            stream,
            time,
            details: &self.details,
            text: &self.text,
        })
    }

    /// `TIME STREAM F|P TEXT`. Tags behind the first one (`F:…`) mean nothing yet.
    fn k8s<'a>(&'a mut self, line: &'a [u8]) -> Option<LogRecord<'a>> {
        let mut fields = line.splitn(4, |&byte| byte == b' ');
        let (time, name, tags, text) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        let text = match tags.split(|&byte| byte == b':').next()? {
            b"F" => text,
            b"P" => text.strip_suffix(b"\n").unwrap_or(text),
            _ => return None,
        };
        let time = std::str::from_utf8(time).ok()?;
        Some(LogRecord {
            stream: stream(name)?,
            time: is_time(time).then_some(time)?,
            details: "",
            text,
        })
    }
}

/// A record just as our own supervisor writes one without attributes: no general parser is needed.
fn plain_json<'a>(line: &'a [u8], text: &mut Vec<u8>) -> Option<(LogStream, &'a str)> {
    let mut rest = line.strip_prefix(BEGINNING)?;
    loop {
        let at = memchr::memchr2(b'\\', b'"', rest)?;
        text.extend_from_slice(&rest[..at]);
        if rest[at] == b'"' {
            rest = &rest[at + 1..];
            break;
        }
        let escaped = *rest.get(at + 1)?;
        text.push(match escaped {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'"' | b'\\' => escaped,
            // The angles and the ampersand, and whatever else has four digits and is ASCII.
            b'u' => {
                let digits = std::str::from_utf8(rest.get(at + 2..at + 6)?).ok()?;
                let code = u8::from_str_radix(digits.strip_prefix("00")?, 16).ok()?;
                rest = &rest[4..];
                code.is_ascii().then_some(code)?
            }
            _ => return None,
        });
        rest = &rest[at + 2..];
    }
    let rest = rest.strip_prefix(b",\"stream\":\"std")?;
    let (stream, rest) = match rest.first_chunk::<4>()? {
        b"out\"" => (LogStream::Stdout, &rest[4..]),
        b"err\"" => (LogStream::Stderr, &rest[4..]),
        _ => return None,
    };
    let time = rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}\n")?;
    let time = std::str::from_utf8(time).ok()?;
    is_time(time).then_some((stream, time))
}

/// It is shown: no more than a time may be in it.
fn is_time(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'T' | b'Z' | b'+');
    (20..=35).contains(&text.len()) && text.bytes().all(allowed)
}

fn stream(name: &[u8]) -> Option<LogStream> {
    match name {
        b"stdout" => Some(LogStream::Stdout),
        b"stderr" => Some(LogStream::Stderr),
        _ => None,
    }
}

#[derive(Deserialize)]
struct StoredRecord<'a> {
    log: Cow<'a, str>,
    stream: Cow<'a, str>,
    #[serde(default)]
    attrs: std::collections::BTreeMap<String, String>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// As Docker shows them: sorted, each part with what would split it escaped.
fn details(attributes: &std::collections::BTreeMap<String, String>) -> String {
    let escape = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                out.push(char::from(byte));
            } else if byte == b' ' {
                out.push('+');
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    };
    let parts = attributes
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-21T10:00:00.123456789Z";

    fn json(line: &str) -> Option<(LogStream, Vec<u8>, String, String)> {
        let mut parser = RecordParser::new(RecordFormat::JsonLines, true);
        let record = parser.parse(line.as_bytes())?;
        let (time, details) = (record.time.to_owned(), record.details.to_owned());
        Some((record.stream, record.text.to_vec(), time, details))
    }

    #[test]
    fn json_records() {
        let line =
            format!("{{\"log\":\"a\\u003cb\\\"\\n\",\"stream\":\"stdout\",\"time\":\"{TIME}\"}}\n");
        let (stream, text, time, _) = json(&line).unwrap();
        assert_eq!(
            (stream, text.as_slice(), time.as_str()),
            (LogStream::Stdout, b"a<b\"\n".as_slice(), TIME)
        );
        // In another order, with attributes, behind a torn one.
        let line = format!(
            "{{\"log\":\"tor{{\"log\":\"ä\\u20ac\\n\",\"attrs\":{{\"b\":\"x y\",\"a\":\"1\"}},\"stream\":\"stderr\",\"time\":\"{TIME}\"}}\n"
        );
        let (stream, text, _, details) = json(&line).unwrap();
        assert_eq!(
            (stream, text),
            (LogStream::Stderr, "ä€\n".as_bytes().to_vec())
        );
        assert_eq!(details, "a=1,b=x+y");
        assert!(json("{\"log\":\"torn").is_none());
        assert!(json("{\"log\":\"a\",\"stream\":\"stdout\",\"time\":\"\\u001b[31m\"}\n").is_none());
    }

    #[test]
    fn k8s_records() {
        let mut parser = RecordParser::new(RecordFormat::K8sFile, false);
        let line = format!("{TIME} stdout F a line\n");
        assert_eq!(parser.parse(line.as_bytes()).unwrap().text, b"a line\n");
        let line = format!("{TIME} stderr P part of \n");
        let record = parser.parse(line.as_bytes()).unwrap();
        assert_eq!(
            (record.stream, record.text),
            (LogStream::Stderr, b"part of ".as_slice())
        );
        assert!(parser.parse(b"nothing of the kind\n").is_none());
    }
}
