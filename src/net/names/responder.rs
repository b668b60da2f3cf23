//! The thread that answers: one loop over its sockets, the clients' and the servers'.

use std::{
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Instant,
};

use rustix::event::{
    EventfdFlags, Timespec,
    epoll::{self, CreateFlags, EventData, EventFlags},
    eventfd,
};

use super::{
    answer::{Reaction, react},
    clients::Clients,
    directory::Directory,
    forward::{Asker, Finished, Forwards, Place},
    message::{self, Question},
    sockets::Sockets,
    upstream::{Servers, Upstream},
};
use crate::{
    model::{Context, Result},
    net::{confine, router::Router},
    sys::signals,
};

/// Messages read in one turn, before others have theirs.
const MOST_AT_ONCE: usize = 64;
/// Octets of the longest message.
const LONGEST: usize = 64 << 10;
/// Octets: the loop keeps nothing large on it.
const STACK: usize = 256 << 10;

const DATAGRAMS: u64 = 0;
const LISTENER: u64 = 1;
const WAKE: u64 = 2;
const FIRST_FREE: u64 = 3;

/// How a container's questions are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Names that are not ours are asked of others. If not, they do not exist.
    pub forward: bool,
}

/// A responder at work. It ends when this is dropped.
#[derive(Debug)]
pub struct Responder {
    /// `None` while it is being dropped.
    changes: Option<mpsc::Sender<View>>,
    /// The container's network namespace.
    netns: Option<OwnedFd>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// What is answered from.
struct View {
    directory: Box<dyn Directory>,
    servers: Servers,
    options: Options,
    inside: Option<Router>,
}

impl View {
    /// The thread that answers may not enter namespaces, so one that may is made here, for those few who
    /// name servers inside.
    fn new(
        directory: Box<dyn Directory>,
        upstream: Upstream,
        options: Options,
        netns: Option<&OwnedFd>,
    ) -> Result<View> {
        let what = || "cannot hold the container's network namespace".to_owned();
        let inside = match netns.filter(|_| upstream.asks_inside()) {
            Some(netns) => Some(Router::open(Some(netns.try_clone().system(what)?), None)?),
            None => None,
        };
        Ok(View {
            directory,
            servers: Servers::new(upstream),
            options,
            inside,
        })
    }
}

impl Responder {
    /// Begins to answer, on a thread in the calling thread's network namespace: from there others
    /// are asked.
    pub fn start(
        sockets: Sockets,
        directory: Box<dyn Directory>,
        upstream: Upstream,
        options: Options,
    ) -> Result<Responder> {
        let what = || "cannot start the responder for names".to_owned();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).system(what)?;
        let wake = Arc::new(wake);
        let (changes, received) = mpsc::channel();
        let Sockets {
            datagrams,
            listener,
            netns,
        } = sockets;
        let view = View::new(directory, upstream, options, netns.as_ref())?;
        let sockets = (datagrams, listener);
        let service = Service::new(sockets, view, received, Arc::clone(&wake)).system(what)?;
        let builder = std::thread::Builder::new().name("names".to_owned());
        let thread = builder.stack_size(STACK).spawn(move || service.run());
        Ok(Responder {
            changes: Some(changes),
            netns,
            wake,
            thread: Some(thread.system(what)?),
        })
    }

    /// Answers from something else from now on. Questions under way go on.
    pub fn replace(
        &self,
        directory: Box<dyn Directory>,
        upstream: Upstream,
        options: Options,
    ) -> Result<()> {
        let view = View::new(directory, upstream, options, self.netns.as_ref())?;
        if let Some(changes) = &self.changes
            && changes.send(view).is_ok()
        {
            self.wake();
        }
        Ok(())
    }

    fn wake(&self) {
        // It fails only when the thread has been woken more often than a number can count.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.changes = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The state of the thread.
struct Service {
    place: Place,
    datagrams: UdpSocket,
    listener: TcpListener,
    wake: Arc<OwnedFd>,
    changes: mpsc::Receiver<View>,
    view: View,
    clients: Clients,
    forwards: Forwards,
    next_token: u64,
    turn: usize,
    /// TCP clients that have got an answer: more of what they sent may be taken now.
    answered: Vec<u64>,
    buffer: Vec<u8>,
}

impl Service {
    fn new(
        (datagrams, listener): (UdpSocket, TcpListener),
        mut view: View,
        changes: mpsc::Receiver<View>,
        wake: Arc<OwnedFd>,
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64;
        epoll::add(&epoll, &datagrams, data(DATAGRAMS), EventFlags::IN)?;
        // Told once: without a free descriptor a connection waits for the next.
        let once = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &listener, data(LISTENER), once)?;
        epoll::add(&epoll, &*wake, data(WAKE), EventFlags::IN)?;
        Ok(Service {
            place: Place {
                epoll,
                inside: view.inside.take(),
            },
            datagrams,
            listener,
            wake,
            changes,
            view,
            clients: Clients::default(),
            forwards: Forwards::default(),
            next_token: FIRST_FREE,
            turn: 0,
            answered: Vec::new(),
            buffer: vec![0; LONGEST],
        })
    }

    fn run(mut self) {
        // They are the main thread's.
        let _ = signals::block_only(&signals::SignalSet::all());
        if confine::thread(confine::Who::Names, false).is_err() {
            return;
        }
        let mut events = Vec::with_capacity(MOST_AT_ONCE);
        loop {
            let limit = self.time_left();
            events.clear();
            let waited = epoll::wait(
                &self.place.epoll,
                rustix::buffer::spare_capacity(&mut events),
                limit.as_ref(),
            );
            match waited {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // It cannot fail otherwise; the container then is without names.
                Err(_) => return,
            }
            for event in &events {
                let flags = event.flags;
                match event.data.u64() {
                    DATAGRAMS => self.take_datagrams(),
                    LISTENER => self.accept(),
                    WAKE if !self.take_changes() => return,
                    WAKE => {}
                    token if self.clients.has(token) => self.serve_client(token, flags),
                    token => self.hear_server(token),
                }
            }
            self.expire();
            while let Some(token) = self.answered.pop() {
                self.take_messages(token);
            }
        }
    }

    /// How long may be waited; `None` for ever.
    fn time_left(&self) -> Option<Timespec> {
        let deadlines = [self.forwards.deadline(), self.clients.deadline()];
        let next = deadlines.into_iter().flatten().min()?;
        Timespec::try_from(next.saturating_duration_since(Instant::now())).ok()
    }

    /// `false` when the responder is to end.
    fn take_changes(&mut self) -> bool {
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        loop {
            match self.changes.try_recv() {
                Ok(mut view) => {
                    self.place.inside = view.inside.take();
                    self.view = view;
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn take_datagrams(&mut self) {
        for _ in 0..MOST_AT_ONCE {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = self.datagrams.recv_from(&mut buffer);
            if let Ok((length, client)) = received {
                self.consider(&buffer[..length], Asker::Datagram(client));
            }
            self.buffer = buffer;
            if received.is_err() {
                return;
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let token = self.token();
                    self.clients
                        .add(&self.place.epoll, token, stream, Instant::now());
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    fn serve_client(&mut self, token: u64, flags: EventFlags) {
        self.clients
            .ready(token, flags, &mut self.buffer, Instant::now());
        self.take_messages(token);
    }

    fn take_messages(&mut self, token: u64) {
        while let Some(message) = self.clients.next_message(token) {
            self.consider(&message, Asker::Stream(token));
        }
        self.clients.settle(&self.place.epoll, token);
    }

    /// Answers a message, or asks others.
    fn consider(&mut self, message: &[u8], asker: Asker) {
        self.turn = self.turn.wrapping_add(1);
        let View {
            directory, options, ..
        } = &mut self.view;
        match react(message, &mut **directory, *options, self.turn) {
            Reaction::Silence => self.reply(asker, None),
            Reaction::Refusal(answer) => self.reply(asker, Some(&answer)),
            Reaction::Answer(question, answer) => self.reply_within(asker, &question, &answer),
            Reaction::Forward(question) => self.forward(message, question, asker),
        }
    }

    fn forward(&mut self, message: &[u8], question: Question, asker: Asker) {
        if self.forwards.join(message, asker) {
            return;
        }
        if self.forwards.is_full() {
            return match asker {
                Asker::Datagram(_) => {}
                Asker::Stream(_) => self.reply(asker, Some(&question.failure())),
            };
        }
        let now = Instant::now();
        let servers = self.view.servers.in_order(now);
        let token = self.token();
        let asked = (message, question);
        let over = self
            .forwards
            .begin(&self.place, token, asked, asker, servers, now);
        if let Some(finished) = over {
            self.finish(finished);
        }
    }

    fn hear_server(&mut self, token: u64) {
        let now = Instant::now();
        let finished = self
            .forwards
            .ready(&self.place, token, &mut self.buffer, now);
        if let Some(finished) = finished {
            self.finish(finished);
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        self.clients.expire(now);
        let (finished, silent) = self.forwards.expire(&self.place, now);
        for server in silent {
            self.view.servers.was_silent(server, now);
        }
        for finished in finished {
            self.finish(finished);
        }
    }

    /// Gives everybody who waits for it the answer, under the id that each of them knows.
    fn finish(&mut self, finished: Finished) {
        if let Some(server) = finished.server {
            self.view.servers.answered(server);
        }
        let answer = finished
            .answer
            .unwrap_or_else(|| finished.question.failure());
        for (asker, id) in finished.askers {
            let answer = message::with_id(&answer, id);
            self.reply_within(asker, &finished.question, &answer);
            if let Asker::Stream(token) = asker {
                self.answered.push(token);
            }
        }
    }

    /// An answer that UDP may be too small for.
    fn reply_within(&mut self, asker: Asker, question: &Question, answer: &[u8]) {
        let fits = answer.len() <= usize::from(question.limit);
        match asker {
            Asker::Datagram(_) if !fits => {
                let id = message::id_of(answer).unwrap_or_default();
                let short = message::with_id(&question.too_long(), id);
                self.reply(asker, Some(&short));
            }
            _ => self.reply(asker, Some(answer)),
        }
    }

    fn reply(&mut self, asker: Asker, answer: Option<&[u8]>) {
        match (asker, answer) {
            // If it cannot be sent, the client asks again.
            (Asker::Datagram(client), Some(answer)) => {
                let _ = self.datagrams.send_to(answer, client);
            }
            (Asker::Datagram(_), None) => {}
            (Asker::Stream(token), answer) => self.clients.answer(token, answer, Instant::now()),
        }
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}
