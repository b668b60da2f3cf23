//! Asks an ordinary user's systemd to take this process into its tree, in a scope of its own:
//! from a login's cgroup nobody but systemd may move a process there (systemd.scope(5),
//! org.freedesktop.systemd1(5), `StartTransientUnit`).
//!
//! One message and its answer, over the user's bus: the D-Bus crates at hand read the
//! environment, start a helper, or say the user id of the user namespace they are in. Here the
//! daemon takes the id from the socket (an empty `EXTERNAL`), and everything is sent at once, as
//! sd-bus does it (D-Bus specification, "Authentication Protocol", "Message Protocol").

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// How long systemd may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Answers are short; the scope's signals too.
const LARGEST_MESSAGE: usize = 1 << 20;

/// Moves the process `pid` (its number where systemd is) into the new scope `unit`; returns when
/// `arrived` says so.
pub(super) fn enter(
    bus: &Path,
    unit: &str,
    pid: u32,
    arrived: impl Fn() -> bool,
) -> io::Result<()> {
    let mut stream = UnixStream::connect(bus)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut bytes = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec();
    bytes.extend(call(1, BUS, "Hello", "", Body::default()));
    // The end of the job is told by a signal.
    let mut rule = Body::default();
    rule.string("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
    bytes.extend(call(2, BUS, "AddMatch", "s", rule));
    let start = transient_unit(unit, pid);
    bytes.extend(call(
        3,
        MANAGER,
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        start,
    ));
    stream.write_all(&bytes)?;

    let mut incoming = Incoming {
        stream,
        bytes: Vec::new(),
    };
    for _ in 0..2 {
        let line = incoming.line()?;
        if !line.starts_with("DATA") && !line.starts_with("OK ") {
            return Err(io::Error::other(format!(
                "the bus refuses this user: {line}"
            )));
        }
    }
    while !arrived() {
        let message = incoming.message()?;
        if message.kind == ERROR {
            return Err(io::Error::other(message.text));
        }
    }
    Ok(())
}

/// Destination, path and interface.
struct Target(&'static str, &'static str, &'static str);

const BUS: &Target = &Target(
    "org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus",
);
const MANAGER: &Target = &Target(
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
);

const CALL: u8 = 1;
const ERROR: u8 = 3;

fn transient_unit(unit: &str, pid: u32) -> Body {
    let mut body = Body::default();
    body.string(unit);
    body.string("fail");
    body.array(8, |properties| {
        properties.property("Description", "s", |body| {
            body.string("A container's supervisor");
        });
        // Nothing of it stays when it is over.
        properties.property("CollectMode", "s", |body| body.string("inactive-or-failed"));
        properties.property("PIDs", "au", |body| body.array(4, |pids| pids.number(pid)));
    });
    // No units beside.
    body.array(8, |_| {});
    body
}

fn call(serial: u32, target: &Target, member: &str, signature: &str, body: Body) -> Vec<u8> {
    let Target(destination, path, interface) = target;
    let mut message = Body(vec![b'l', CALL, 0, 1]);
    message.number(body.0.len() as u32);
    message.number(serial);
    message.array(8, |fields| {
        fields.field(1, "o", path);
        fields.field(2, "s", interface);
        fields.field(3, "s", member);
        fields.field(6, "s", destination);
        if !signature.is_empty() {
            fields.align(8);
            fields.0.push(8);
            fields.signature("g");
            fields.signature(signature);
        }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// Values in D-Bus's marshalled form, little endian, aligned from its beginning.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, size: usize) {
        self.0.resize(self.0.len().next_multiple_of(size), 0);
    }

    fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// Its length is that of the elements, without the space before the first.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Body)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// A structure of a name and a variant.
    fn property(&mut self, name: &str, signature: &str, value: impl FnOnce(&mut Body)) {
        self.align(8);
        self.string(name);
        self.signature(signature);
        value(self);
    }

    /// A header field: its number and a variant of a string.
    fn field(&mut self, number: u8, signature: &str, value: &str) {
        self.align(8);
        self.0.push(number);
        self.signature(signature);
        self.string(value);
    }
}

struct Incoming {
    stream: UnixStream,
    bytes: Vec<u8>,
}

struct Message {
    kind: u8,
    /// Of an error: its first argument.
    text: String,
}

impl Incoming {
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.bytes.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            self.more()?;
        }
    }

    fn message(&mut self) -> io::Result<Message> {
        self.at_least(16)?;
        let number = |bytes: &[u8], at: usize| {
            let mut value = [0; 4];
            value.copy_from_slice(&bytes[at..at + 4]);
            let value = if bytes[0] == b'B' {
                u32::from_be_bytes(value)
            } else {
                u32::from_le_bytes(value)
            };
            value as usize
        };
        let (body_length, fields_length) = (number(&self.bytes, 4), number(&self.bytes, 12));
        let body_at = 16_usize.saturating_add(fields_length).next_multiple_of(8);
        let length = body_at.saturating_add(body_length);
        if length > LARGEST_MESSAGE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.at_least(length)?;
        let message: Vec<u8> = self.bytes.drain(..length).collect();
        // A string is its length, its bytes and a NUL.
        let text = message[body_at..].get(4..body_length.saturating_sub(1));
        Ok(Message {
            kind: message[1],
            text: String::from_utf8_lossy(text.unwrap_or_default()).into_owned(),
        })
    }

    fn at_least(&mut self, length: usize) -> io::Result<()> {
        while self.bytes.len() < length {
            self.more()?;
        }
        Ok(())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) if self.bytes.len() + count <= LARGEST_MESSAGE => {
                self.bytes.extend(&buffer[..count]);
                Ok(())
            }
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_marshalled_as_the_specification_says() {
        let mut body = Body::default();
        body.string("a");
        let message = call(7, BUS, "M", "s", body);
        // Header: endianness, type, flags, version, body length, serial.
        assert_eq!(message[..12], [b'l', 1, 0, 1, 6, 0, 0, 0, 7, 0, 0, 0]);
        let fields = u32::from_le_bytes([message[12], message[13], message[14], message[15]]);
        let body_at = (16 + fields as usize).next_multiple_of(8);
        assert_eq!(message[body_at..], [1, 0, 0, 0, b'a', 0]);
        assert_eq!(message[16..20], [1, 1, b'o', 0]);
    }

    #[test]
    fn arrays_count_their_elements_alone() {
        let mut body = Body::default();
        body.number(9);
        body.array(8, |body| body.number(1));
        body.array(8, |_| {});
        let words: Vec<u32> = body
            .0
            .chunks(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        assert_eq!(words, [9, 4, 1, 0]);
    }

    #[test]
    fn an_error_ends_the_wait_with_its_text() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut body = Body::default();
        body.string("no such thing");
        let mut message = call(1, BUS, "M", "s", body);
        message[1] = ERROR;
        (&theirs).write_all(b"OK 1234\r\n").unwrap();
        (&theirs).write_all(&message).unwrap();
        let mut incoming = Incoming {
            stream: ours,
            bytes: Vec::new(),
        };
        assert_eq!(incoming.line().unwrap(), "OK 1234");
        let message = incoming.message().unwrap();
        assert_eq!(
            (message.kind, message.text.as_str()),
            (ERROR, "no such thing")
        );
    }
}
