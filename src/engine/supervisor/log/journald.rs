//! systemd-journald's native protocol (systemd.journal-fields(7), "Native Journal Protocol"): one
//! datagram an entry, `NAME=VALUE` lines; a value with a newline, or any bytes, has its length
//! before it. What is too long for a datagram is sent as a sealed memory file.

use std::{
    collections::VecDeque,
    io::{self, Write},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::net::sockopt;

use super::Stream;
use crate::{
    model::{Error, ErrorKind, Result, log::LogPlan},
    sys::{packet, process},
};

const SOCKET: &str = "/run/systemd/journal/socket";
/// So long journald is waited for: while it is, nobody looks after the container.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Journal {
    socket: OwnedFd,
    /// What every entry says of the container.
    fields: Vec<u8>,
    /// Entries that journald has had no room for, if it is not waited for.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: u64,
    buffer: Option<u64>,
    /// It was waited for in vain, and is not any more until it takes an entry.
    hangs: bool,
    lost: u64,
}

impl Journal {
    pub(super) fn open(plan: &LogPlan) -> Result<Journal> {
        let socket = connect().map_err(|cause| {
            Error::new(
                ErrorKind::Unsupported,
                "failed to initialize logging driver: journald is not enabled on this host",
            )
            .with_source(cause)
            .with_hint("another --log-driver: json-file, k8s-file or local")
        })?;
        let mut fields = Vec::new();
        for (name, value) in &plan.fields {
            add_field(&mut fields, name, value.as_bytes());
        }
        for (name, value) in &plan.attributes {
            let name = field_name(name);
            if !name.is_empty() {
                add_field(&mut fields, &name, value.as_bytes());
            }
        }
        Ok(Journal {
            socket,
            fields,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            buffer: plan.buffer,
            hangs: false,
            lost: 0,
        })
    }

    /// One entry; a line without its newline is a part of one.
    pub(super) fn send(&mut self, stream: Stream, line: &[u8]) {
        self.flush();
        let (text, partial) = match line.strip_suffix(b"\n") {
            Some(text) => (text, false),
            None => (line, true),
        };
        if self.lost > 0 && self.waiting.is_empty() && !self.hangs {
            let lost = std::mem::take(&mut self.lost);
            let notice =
                format!("coracle: {lost} lines of output are missing here: journald was slow");
            let entry = self.entry(Stream::Stderr, notice.as_bytes(), false);
            self.queue(entry);
        }
        let entry = self.entry(stream, text, partial);
        self.queue(entry);
        self.flush();
    }

    fn entry(&self, stream: Stream, text: &[u8], partial: bool) -> Vec<u8> {
        let mut entry = self.fields.clone();
        let priority: &[u8] = match stream {
            Stream::Stdout => b"6",
            Stream::Stderr => b"3",
        };
        add_field(&mut entry, "PRIORITY", priority);
        if partial {
            add_field(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        add_field(&mut entry, "MESSAGE", text);
        entry
    }

    fn queue(&mut self, entry: Vec<u8>) {
        let length = entry.len() as u64;
        if self
            .buffer
            .is_some_and(|most| self.waiting_bytes + length > most)
        {
            self.lost += 1;
            return;
        }
        self.waiting_bytes += length;
        self.waiting.push_back(entry);
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        while let Some(entry) = self.waiting.front() {
            let wait = self.buffer.is_none() && !self.hangs;
            match send_entry(&self.socket, entry, wait) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.buffer.is_some() {
                        return;
                    }
                    self.hangs = true;
                    self.lost += 1;
                }
                Ok(()) => self.hangs = false,
                Err(error) => {
                    self.lost += 1;
                    // It was restarted: its socket is another one now.
                    let refused = matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected
                    );
                    if refused && let Ok(socket) = connect() {
                        self.socket = socket;
                        self.lost -= 1;
                        continue;
                    }
                }
            }
            self.waiting_bytes -= entry.len() as u64;
            self.waiting.pop_front();
        }
    }
}

fn connect() -> io::Result<OwnedFd> {
    let socket = packet::connect_datagram(SOCKET)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(LONGEST_WAIT))?;
    Ok(socket)
}

fn send_entry(socket: &OwnedFd, entry: &[u8], wait: bool) -> io::Result<()> {
    match packet::send(socket, entry, &[], None::<&OwnedFd>, wait) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS)) => {
            let file = process::sealed_memory_file(c"journal-entry", entry)?;
            packet::send(socket, &[], &[], Some(&file), wait)
        }
        other => other,
    }
}

fn add_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    // A plain value may hold no newline; what is not plain text has its length.
    if value.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        out.push(b'=');
    } else {
        out.push(b'\n');
        let _ = out.write_all(&(value.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A field's name as journald takes it: capitals, digits and underscores, no leading underscore
/// (those are journald's own) or digit, at most 64.
fn field_name(name: &str) -> String {
    let allowed = |c: char| match c.to_ascii_uppercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    let name: String = name.chars().map(allowed).collect();
    let name = name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit());
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_framed() {
        let mut out = Vec::new();
        add_field(&mut out, "A", b"plain");
        add_field(&mut out, "B", b"a\nb");
        assert_eq!(out, b"A=plain\nB\n\x03\0\0\0\0\0\0\0a\nb\n");
    }

    #[test]
    fn names_are_journald_s() {
        assert_eq!(field_name("com.example-x"), "COM_EXAMPLE_X");
        assert_eq!(field_name("_9a"), "A");
        assert_eq!(field_name("__"), "");
    }
}
