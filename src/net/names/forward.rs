//! Questions that others are asked, and what is waited for.
//!
//! A server is asked for [`PATIENCE`], then the next one; after the last the first again, a few times
//! in all. One that cannot be reached or says that it cannot answer is left out at once. If none can
//! be reached over TCP, which some forwarders do not speak, they are asked over UDP.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::SocketType,
};

use super::{
    clients::passes,
    message::{self, Question, Verdict},
    upstream::Server,
};
use crate::{net::router::Router, sys};

/// Questions under way at a time; each has a socket. More are dropped over UDP, whose clients ask
/// again.
const MOST_UNDER_WAY: usize = 256;
/// Clients that wait for the same answer.
const MOST_ASKERS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);
/// Servers asked for one question, one that is asked again counted again.
const FEWEST_ATTEMPTS: usize = 3;
const MOST_ATTEMPTS: usize = 6;
/// Datagrams read of a server in one turn.
const MOST_AT_ONCE: usize = 16;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Over UDP, from this address.
    Datagram(SocketAddr),
    /// The TCP client with this token.
    Stream(u64),
}

/// A question that is over.
#[derive(Debug)]
pub struct Finished {
    /// With the id that each of them used.
    pub askers: Vec<(Asker, u16)>,
    pub question: Question,
    /// As it came, with an id of ours. `None` if nobody answered.
    pub answer: Option<Vec<u8>>,
    /// The server that was asked last, if it answered.
    pub server: Option<Server>,
}

/// What happened to a server that was being asked.
enum Progress {
    Waiting,
    Answered(Vec<u8>),
    /// It will not answer; it may have said so.
    Failed(Option<Vec<u8>>),
}

/// All questions under way, by their token in the event loop.
#[derive(Debug, Default)]
pub struct Forwards {
    under_way: BTreeMap<u64, Forward>,
}

#[derive(Debug)]
struct Forward {
    /// The message with an id of ours.
    query: Vec<u8>,
    question: Question,
    askers: Vec<(Asker, u16)>,
    /// All of them ask over TCP, or all over UDP.
    is_stream: bool,
    over_tcp: bool,
    /// Those to ask over UDP if nobody has answered over TCP.
    instead: Vec<Server>,
    /// Still worth asking; the one at `current` is being asked.
    servers: Vec<Server>,
    current: usize,
    attempts_left: usize,
    transport: Option<Transport>,
    deadline: Instant,
    /// The last answer that was none.
    refusal: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Transport {
    Datagrams(UdpSocket),
    Stream {
        stream: TcpStream,
        /// What is still to be sent.
        output: Vec<u8>,
        input: Vec<u8>,
    },
}

impl Forwards {
    /// Joins those who wait for the same: all of the message but its id is alike. `false` if nobody
    /// has asked it yet.
    pub fn join(&mut self, query: &[u8], asker: Asker) -> bool {
        let is_stream = matches!(asker, Asker::Stream(_));
        let alike = |one: &&mut Forward| one.is_stream == is_stream && one.query[2..] == query[2..];
        let Some(forward) = self.under_way.values_mut().find(alike) else {
            return false;
        };
        let asker = (asker, message::id_of(query).unwrap_or_default());
        // One that asks again over UDP does so in the same words. How many ask over TCP is bounded
        // elsewhere, and each of them counts its answers.
        let is_new = || forward.askers.len() < MOST_ASKERS && !forward.askers.contains(&asker);
        if is_stream || is_new() {
            forward.askers.push(asker);
        }
        true
    }

    pub fn is_full(&self) -> bool {
        self.under_way.len() >= MOST_UNDER_WAY
    }

    /// Asks the first of the servers. What is returned is over already.
    pub fn begin(
        &mut self,
        place: &Place,
        token: u64,
        (query, question): (&[u8], Question),
        asker: Asker,
        servers: Vec<Server>,
        now: Instant,
    ) -> Option<Finished> {
        let is_stream = matches!(asker, Asker::Stream(_));
        let attempts = (2 * servers.len()).clamp(FEWEST_ATTEMPTS, MOST_ATTEMPTS);
        let forward = Forward {
            query: message::with_id(query, random()),
            question,
            askers: vec![(asker, message::id_of(query).unwrap_or_default())],
            is_stream,
            over_tcp: is_stream,
            instead: servers.clone(),
            servers,
            current: 0,
            attempts_left: attempts,
            transport: None,
            deadline: now,
            refusal: None,
        };
        self.under_way.insert(token, forward);
        self.step(token, |forward| forward.ask(place, token, now))
    }

    /// Reads what a server has sent.
    pub fn ready(
        &mut self,
        place: &Place,
        token: u64,
        buffer: &mut [u8],
        now: Instant,
    ) -> Option<Finished> {
        self.step(token, |forward| match forward.read(buffer) {
            Progress::Waiting => None,
            Progress::Answered(answer) => Some(Some(answer)),
            Progress::Failed(refusal) => forward.without_current(place, token, refusal, now),
        })
    }

    /// Goes on with those whose server has been silent for too long; the silent ones are returned too.
    pub fn expire(&mut self, place: &Place, now: Instant) -> (Vec<Finished>, Vec<Server>) {
        let late = |(token, one): (&u64, &Forward)| (one.deadline <= now).then_some(*token);
        let late: Vec<u64> = self.under_way.iter().filter_map(late).collect();
        let mut silent = Vec::new();
        let finished = late.into_iter().filter_map(|token| {
            self.step(token, |forward| {
                silent.extend(forward.servers.get(forward.current));
                forward.after_silence(place, token, now)
            })
        });
        (finished.collect(), silent)
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.under_way.values().map(|one| one.deadline).min()
    }

    /// Does something with a question, and takes it out if that ends it.
    fn step(&mut self, token: u64, act: impl FnOnce(&mut Forward) -> End) -> Option<Finished> {
        let answer = act(self.under_way.get_mut(&token)?)?;
        let forward = self.under_way.remove(&token)?;
        let answered = forward.servers.get(forward.current).copied();
        let server = answered.filter(|_| answer.is_some());
        Some(Finished {
            askers: forward.askers,
            question: forward.question,
            answer,
            server,
        })
    }
}

/// What ends a question: `Some(answer)`, which is what the last server said, if anything.
type End = Option<Option<Vec<u8>>>;

impl Forward {
    /// Asks the current server, or the first after it that can be reached.
    fn ask(&mut self, place: &Place, token: u64, now: Instant) -> End {
        if self.over_tcp && self.servers.is_empty() && self.refusal.is_none() {
            self.over_tcp = false;
            self.servers = std::mem::take(&mut self.instead);
        }
        while let Some(server) = self.servers.get(self.current).copied() {
            self.deadline = now + PATIENCE;
            self.transport = None;
            if let Ok(transport) = self.open(server, place) {
                let data = EventData::new_u64(token);
                if epoll::add(&place.epoll, transport.as_fd(), data, transport.flags()).is_ok() {
                    self.attempts_left = self.attempts_left.saturating_sub(1);
                    self.transport = Some(transport);
                    return None;
                }
            }
            self.servers.remove(self.current);
            self.current = 0;
        }
        Some(self.refusal.take())
    }

    fn open(&self, server: Server, place: &Place) -> io::Result<Transport> {
        if self.over_tcp {
            let length = u16::try_from(self.query.len()).unwrap_or(u16::MAX);
            return Ok(Transport::Stream {
                stream: begin_connecting(server, place)?,
                output: [&length.to_be_bytes()[..], &self.query].concat(),
                input: Vec::new(),
            });
        }
        let socket = UdpSocket::from(place.socket(server, SocketType::DGRAM)?);
        // The kernel takes a random port for it, and lets nobody else's packets in.
        rustix::net::connect(&socket, &server.address)?;
        socket.send(&self.query)?;
        Ok(Transport::Datagrams(socket))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Progress {
        match &mut self.transport {
            None => Progress::Failed(None),
            Some(Transport::Datagrams(socket)) => read_datagrams(socket, &self.query, buffer),
            Some(Transport::Stream {
                stream,
                output,
                input,
            }) => exchange(stream, output, input, &self.query, buffer),
        }
    }

    fn without_current(
        &mut self,
        place: &Place,
        token: u64,
        refusal: Option<Vec<u8>>,
        now: Instant,
    ) -> End {
        self.refusal = refusal.or(self.refusal.take());
        if self.current < self.servers.len() {
            self.servers.remove(self.current);
        }
        if self.current >= self.servers.len() {
            self.current = 0;
        }
        self.ask(place, token, now)
    }

    fn after_silence(&mut self, place: &Place, token: u64, now: Instant) -> End {
        if self.attempts_left == 0 {
            return Some(self.refusal.take());
        }
        if let ([_], Some(transport)) = (self.servers.as_slice(), &self.transport) {
            // An answer to what was sent before is still welcome.
            self.attempts_left -= 1;
            self.deadline = now + PATIENCE;
            if let Transport::Datagrams(socket) = transport {
                let _ = socket.send(&self.query);
            }
            return None;
        }
        self.current = (self.current + 1) % self.servers.len().max(1);
        self.ask(place, token, now)
    }
}

impl Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Datagrams(socket) => socket.as_fd(),
            Transport::Stream { stream, .. } => stream.as_fd(),
        }
    }

    /// A stream is written once, before anything is read.
    fn flags(&self) -> EventFlags {
        match self {
            Transport::Datagrams(_) => EventFlags::IN,
            Transport::Stream { .. } => EventFlags::IN | EventFlags::OUT | EventFlags::ET,
        }
    }
}

fn read_datagrams(socket: &UdpSocket, query: &[u8], buffer: &mut [u8]) -> Progress {
    for _ in 0..MOST_AT_ONCE {
        let answer = match socket.recv(buffer) {
            Ok(length) => &buffer[..length],
            Err(error) if passes(&error) => break,
            // Nobody listens there, and the server's host says so.
            Err(_) => return Progress::Failed(None),
        };
        match message::judge(query, answer) {
            Verdict::Answer => return Progress::Answered(answer.to_vec()),
            Verdict::Failure => return Progress::Failed(Some(answer.to_vec())),
            Verdict::Foreign => {}
        }
    }
    Progress::Waiting
}

fn exchange(
    stream: &mut TcpStream,
    output: &mut Vec<u8>,
    input: &mut Vec<u8>,
    query: &[u8],
    buffer: &mut [u8],
) -> Progress {
    while !output.is_empty() {
        match stream.write(output) {
            Ok(count) => drop(output.drain(..count)),
            Err(error) if passes(&error) => return Progress::Waiting,
            Err(_) => return Progress::Failed(None),
        }
    }
    loop {
        match stream.read(buffer) {
            Ok(0) => return Progress::Failed(None),
            Ok(count) => input.extend(&buffer[..count]),
            Err(error) if passes(&error) => return Progress::Waiting,
            Err(_) => return Progress::Failed(None),
        }
        let Some(length) = input.first_chunk() else {
            continue;
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if let Some(answer) = input.get(2..2 + length) {
            return match message::judge(query, answer) {
                Verdict::Answer => Progress::Answered(answer.to_vec()),
                Verdict::Failure => Progress::Failed(Some(answer.to_vec())),
                Verdict::Foreign => Progress::Failed(None),
            };
        }
    }
}

fn begin_connecting(server: Server, place: &Place) -> io::Result<TcpStream> {
    let stream = TcpStream::from(place.socket(server, SocketType::STREAM)?);
    match rustix::net::connect(&stream, &server.address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(stream),
        Err(errno) => Err(errno.into()),
    }
}

/// Where questions go out, and where is waited for answers.
#[derive(Debug)]
pub struct Place {
    pub epoll: OwnedFd,
    /// A thread in the container's network namespace, if servers are to be asked from there.
    pub inside: Option<Router>,
}

impl Place {
    fn socket(&self, server: Server, kind: SocketType) -> io::Result<OwnedFd> {
        let make = move || sys::socket::make(sys::socket::family_of(&server.address), kind);
        match &self.inside {
            Some(inside) if server.inside => {
                let made = inside.inside(move || Ok(make()));
                made.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
            }
            _ => make(),
        }
    }
}

fn random() -> u16 {
    let mut octets = [0; 2];
    // Of this size it is never interrupted.
    let _ = rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty());
    u16::from_ne_bytes(octets)
}
