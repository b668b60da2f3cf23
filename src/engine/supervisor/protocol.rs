//! What is said on a supervisor's socket (`SOCK_SEQPACKET`): one message a packet, the first byte
//! its kind. Grows by new kinds; an unknown one is ignored by either side, so that a newer command
//! can talk to an older supervisor.
//!
//! Order: the client speaks first ([`Request::Attach`], unless it inherited its socket), then both
//! as they like. A container that is started again lets its clients go at the end of each run. The
//! supervisor's last message to a client is [`Event::Exited`]; a socket that closes without
//! it means that the supervisor was killed.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{Failure, health::HealthStatus},
    sys::packet,
};

/// Largest payload of one message.
pub const MAX_PAYLOAD: usize = 64 << 10;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Legal once, first. Without any stream the client only learns of the end.
    Attach(Attachment),
    /// Output and error output go straight into the two descriptors that come along, where the
    /// supervisor can write to them without waiting; else they are sent as events. Legal once, before
    /// [`Request::Attach`] or first on an inherited socket.
    Outputs,
    /// Bytes for the program's standard input; legal after an attachment with `stdin`.
    Input(&'a [u8]),
    /// The end of the standard input.
    InputEnd,
    /// Check the container's health now; the answer is [`Event::Checked`].
    CheckHealth,
    /// Another health check from now on: a [`HealthPlan`](super::health::HealthPlan) as JSON, or
    /// `null`. The answer is [`Event::HealthTaken`].
    Health(&'a [u8]),
    /// A signal for the program.
    Signal(i32),
    /// The client goes away on purpose: the program's standard input stays open for the next one.
    Detach,
    Resize {
        rows: u16,
        columns: u16,
    },
    /// What is meant by the signal that follows.
    Wish(Wish),
    /// Begin the next run at once, if one is being waited for.
    StartNow,
    /// Let the container stand still until this client's socket closes; the answer is
    /// [`Event::StandsStill`]. Sent before [`Request::Attach`], whose answer, coming first, shows an
    /// older supervisor.
    HoldStill,
    /// What stands still for clients is paused from now on, also when they have gone.
    /// [`Event::StandsStill`] says whether anything did.
    StayStill,
}

/// What was asked for during a run; each begins without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// A command sends a signal: `unless-stopped` does not start the container again.
    pub by_hand: bool,
    /// What is to come after the end, whatever the policy says.
    pub after: Option<After>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is stopped, or the machine is about to be.
    Rest,
    /// It is ended to be started again at once.
    Start,
}

impl Wish {
    /// Of a command that stops the container.
    pub const STOP: Wish = Wish {
        by_hand: true,
        after: Some(After::Rest),
    };

    /// Both: of two commands the later one says what comes after the end.
    #[must_use]
    pub fn and(self, later: Wish) -> Wish {
        Wish {
            by_hand: self.by_hand || later.by_hand,
            after: later.after.or(self.after),
        }
    }

    fn bits(self) -> u8 {
        let after = match self.after {
            None => 0,
            Some(After::Rest) => 2,
            Some(After::Start) => 4,
        };
        u8::from(self.by_hand) | after
    }

    fn from_bits(bits: u8) -> Wish {
        let after = match bits & 6 {
            2 => Some(After::Rest),
            4 => Some(After::Start),
            _ => None,
        };
        Wish {
            by_hand: bits & 1 != 0,
            after,
        }
    }
}

/// What a client wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub stdin: bool,
    pub output: bool,
}

/// What the supervisor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Something the user should know; before [`Event::Started`].
    Notice(String),
    /// The program runs; the number of the container's first process. Also the answer to an
    /// attachment, as soon as it does.
    Started(i32),
    /// A health check has ended: whether it passed, and how the container is. `None` if there is
    /// nothing to check.
    Checked(Option<(bool, HealthStatus)>),
    HealthTaken,
    /// The kernel has been told to stop the container's processes; if not, it cannot be.
    StandsStill(bool),
    /// The program could not be started.
    Failed(Failure),
    Output(&'a [u8]),
    ErrorOutput(&'a [u8]),
    /// The container has ended, its record is written (or the container removed).
    Exited(i32),
}

impl Request<'_> {
    /// The packet of this request.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Request::Attach(attachment) => {
                vec![
                    b'A',
                    u8::from(attachment.stdin) | u8::from(attachment.output) << 1,
                ]
            }
            Request::Outputs => vec![b'O'],
            Request::Input(bytes) => [b"I", bytes].concat(),
            Request::InputEnd => vec![b'E'],
            Request::CheckHealth => vec![b'C'],
            Request::Health(plan) => [b"H", plan].concat(),
            Request::Signal(number) => [b"S", number.to_le_bytes().as_slice()].concat(),
            Request::Detach => vec![b'D'],
            Request::Resize { rows, columns } => {
                let ([a, b], [c, d]) = (rows.to_le_bytes(), columns.to_le_bytes());
                vec![b'W', a, b, c, d]
            }
            Request::Wish(wish) => vec![b'M', wish.bits()],
            Request::StartNow => vec![b'G'],
            Request::HoldStill => vec![b'F'],
            Request::StayStill => vec![b'K'],
        }
    }

    pub fn send(&self, socket: impl AsFd) -> io::Result<()> {
        send_packet(socket, &self.encode(), true)
    }

    /// Sends it if the socket has room.
    pub fn try_send(&self, socket: impl AsFd) -> io::Result<()> {
        send_packet(socket, &self.encode(), false)
    }

    /// `None` for a message of a kind or length that is not known.
    pub fn parse(packet: &[u8]) -> Option<Request<'_>> {
        let (kind, body) = packet.split_first()?;
        match (kind, body) {
            (b'A', &[bits]) => Some(Request::Attach(Attachment {
                stdin: bits & 1 != 0,
                output: bits & 2 != 0,
            })),
            (b'O', []) => Some(Request::Outputs),
            (b'I', bytes) => Some(Request::Input(bytes)),
            (b'E', []) => Some(Request::InputEnd),
            (b'C', []) => Some(Request::CheckHealth),
            (b'H', plan) => Some(Request::Health(plan)),
            (b'S', &[a, b, c, d]) => Some(Request::Signal(i32::from_le_bytes([a, b, c, d]))),
            (b'D', []) => Some(Request::Detach),
            (b'W', &[a, b, c, d]) => Some(Request::Resize {
                rows: u16::from_le_bytes([a, b]),
                columns: u16::from_le_bytes([c, d]),
            }),
            (b'M', &[bits]) => Some(Request::Wish(Wish::from_bits(bits))),
            (b'G', []) => Some(Request::StartNow),
            (b'F', []) => Some(Request::HoldStill),
            (b'K', []) => Some(Request::StayStill),
            _ => None,
        }
    }
}

impl Event<'_> {
    /// The packet of this event.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body): (u8, Vec<u8>) = match self {
            Event::Notice(text) => (b'N', text.clone().into_bytes()),
            Event::Started(pid) => (b'P', pid.to_le_bytes().to_vec()),
            Event::Failed(failure) => (b'F', serde_json::to_vec(failure).unwrap_or_default()),
            Event::Checked(found) => {
                let found = found.map(|(passed, status)| vec![u8::from(passed), letter(status)]);
                (b'C', found.unwrap_or_default())
            }
            Event::HealthTaken => (b'H', Vec::new()),
            Event::StandsStill(still) => (b'K', vec![u8::from(*still)]),
            Event::Output(bytes) => (b'O', bytes.to_vec()),
            Event::ErrorOutput(bytes) => (b'R', bytes.to_vec()),
            Event::Exited(code) => (b'X', code.to_le_bytes().to_vec()),
        };
        let mut packet = Vec::with_capacity(body.len() + 1);
        packet.push(kind);
        packet.extend_from_slice(&body);
        packet
    }

    /// `None` for a message of a kind or length that is not known.
    pub fn parse(packet: &[u8]) -> Option<Event<'_>> {
        let (kind, body) = packet.split_first()?;
        match (kind, body) {
            (b'N', text) => Some(Event::Notice(String::from_utf8_lossy(text).into_owned())),
            (b'P', &[a, b, c, d]) => Some(Event::Started(i32::from_le_bytes([a, b, c, d]))),
            (b'F', text) => serde_json::from_slice(text).ok().map(Event::Failed),
            (b'C', []) => Some(Event::Checked(None)),
            (b'C', &[passed, status]) => {
                Some(Event::Checked(Some((passed != 0, of_letter(status)?))))
            }
            (b'H', []) => Some(Event::HealthTaken),
            (b'K', &[still]) => Some(Event::StandsStill(still != 0)),
            (b'O', bytes) => Some(Event::Output(bytes)),
            (b'R', bytes) => Some(Event::ErrorOutput(bytes)),
            (b'X', &[a, b, c, d]) => Some(Event::Exited(i32::from_le_bytes([a, b, c, d]))),
            _ => None,
        }
    }
}

fn letter(status: HealthStatus) -> u8 {
    match status {
        HealthStatus::Starting => b's',
        HealthStatus::Healthy => b'h',
        HealthStatus::Unhealthy => b'u',
    }
}

fn of_letter(letter: u8) -> Option<HealthStatus> {
    Some(match letter {
        b's' => HealthStatus::Starting,
        b'h' => HealthStatus::Healthy,
        b'u' => HealthStatus::Unhealthy,
        _ => return None,
    })
}

fn send(socket: impl AsFd, kind: u8, body: &[u8], wait: bool) -> io::Result<()> {
    packet::send(socket, &[kind], body, None::<&OwnedFd>, wait)
}

/// [`Request::Outputs`] with this process's own standard output and error.
pub fn hand_over_outputs(socket: impl AsFd) -> io::Result<()> {
    let outputs = [rustix::stdio::stdout(), rustix::stdio::stderr()];
    packet::send_with(socket, &Request::Outputs.encode(), &[], &outputs, true)
}

/// Sends a piece of output without copying it; `WouldBlock` if the client is slow.
pub(super) fn send_output(socket: impl AsFd, error_stream: bool, bytes: &[u8]) -> io::Result<()> {
    send(socket, if error_stream { b'R' } else { b'O' }, bytes, false)
}

/// Sends an already encoded packet; `WouldBlock` if the client is slow and `wait` is not set.
pub fn send_packet(socket: impl AsFd, packet: &[u8], wait: bool) -> io::Result<()> {
    packet::send(socket, packet, &[], None::<&OwnedFd>, wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorKind;

    /// Supervisors outlive upgrades: what was once said is said the same way for ever.
    #[test]
    fn requests_stay_as_they_are() {
        let attachment = Attachment {
            stdin: true,
            output: false,
        };
        let size = Request::Resize {
            rows: 24,
            columns: 0x0150,
        };
        let signalled = Wish {
            by_hand: true,
            after: None,
        };
        let again = Wish {
            by_hand: true,
            after: Some(After::Start),
        };
        let cases: &[(Request<'_>, &[u8])] = &[
            (Request::Attach(attachment), b"A\x01"),
            (Request::Input(b"text"), b"Itext"),
            (Request::InputEnd, b"E"),
            (Request::Signal(15), b"S\x0f\0\0\0"),
            (Request::CheckHealth, b"C"),
            (Request::Health(b"null"), b"Hnull"),
            (Request::Detach, b"D"),
            (size, b"W\x18\0\x50\x01"),
            (Request::Wish(signalled), b"M\x01"),
            (Request::Wish(Wish::STOP), b"M\x03"),
            (Request::Wish(again), b"M\x05"),
            (Request::StartNow, b"G"),
            (Request::HoldStill, b"F"),
            (Request::StayStill, b"K"),
        ];
        for (request, packet) in cases {
            assert_eq!(request.encode(), *packet, "{request:?}");
            assert_eq!(Request::parse(packet).as_ref(), Some(request));
        }
    }

    #[test]
    fn events_stay_as_they_are() {
        let failure = Event::Failed(Failure {
            kind: ErrorKind::CommandNotFound,
            message: "no".to_owned(),
            hint: None,
        });
        let text = br#"F{"kind":"CommandNotFound","message":"no","hint":null}"#;
        let cases: &[(Event<'_>, &[u8])] = &[
            (Event::Notice("text".to_owned()), b"Ntext"),
            (Event::Started(258), b"P\x02\x01\0\0"),
            (failure, text),
            (Event::Checked(None), b"C"),
            (
                Event::Checked(Some((true, HealthStatus::Starting))),
                b"C\x01s",
            ),
            (
                Event::Checked(Some((false, HealthStatus::Unhealthy))),
                b"C\0u",
            ),
            (Event::HealthTaken, b"H"),
            (Event::StandsStill(true), b"K\x01"),
            (Event::Output(b"out"), b"Oout"),
            (Event::ErrorOutput(b"err"), b"Rerr"),
            (Event::Exited(137), b"X\x89\0\0\0"),
        ];
        for (event, packet) in cases {
            assert_eq!(event.encode(), *packet, "{event:?}");
            assert_eq!(Event::parse(packet).as_ref(), Some(event));
        }
    }

    #[test]
    fn what_an_older_one_does_not_know_is_nothing_to_it() {
        for packet in [&b""[..], b"?", b"?body", b"A", b"A\x01\x01", b"Gbody", b"M"] {
            assert_eq!(Request::parse(packet), None, "{packet:?}");
        }
        for packet in [&b""[..], b"?", b"?body", b"X\0", b"F{"] {
            assert_eq!(Event::parse(packet), None, "{packet:?}");
        }
        // A bit that is not known says nothing, and takes nothing away.
        assert_eq!(Request::parse(b"M\xf3"), Some(Request::Wish(Wish::STOP)));
    }

    #[test]
    fn of_two_wishes_the_later_decides() {
        let mere_signal = Wish {
            by_hand: true,
            after: None,
        };
        assert_eq!(Wish::STOP.and(mere_signal), Wish::STOP);
        assert_eq!(Wish::default().and(mere_signal), mere_signal);
    }
}
