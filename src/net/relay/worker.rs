//! The relay's thread: one loop over all its descriptors, none of which ever blocks.

use std::{
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use ipnet::IpNet;
use rustix::{
    event::{
        Timespec,
        epoll::{self, EventFlags},
    },
    io::Errno,
    net::{AddressFamily, SocketAddrAny, SocketFlags},
};

use super::{
    Options, Order, Way,
    bound::{self, Bound},
    datagrams::{Around, Datagrams},
    doors::Doors,
    echo::{Asked, Echoes},
    packet::{self, Packet, Tuple, Unreachable},
    pipes::Pipes,
    published::{self, Published},
    slots::{Kind, Slot, Slots},
    sockets::Sockets,
    stream::{Stream, Turn},
    trap::Trap,
};
use crate::{
    model::publish::Protocol,
    net::router::Router,
    sys::{socket, tun},
};

/// What there is of a relay in the router.
#[derive(Debug)]
pub struct Inside {
    pub tun: OwnedFd,
    pub way: Way,
    pub tcp: Vec<OwnedFd>,
    pub udp: Vec<OwnedFd>,
}

/// Packets or connections taken from one descriptor before it is another's turn.
const BURST: usize = 64;
/// How often is looked for what nobody uses any more.
const TIDY: Duration = Duration::from_secs(2);
/// The same, when connections wait for descriptors.
const TIDY_WHEN_FULL: Duration = Duration::from_millis(50);
/// Of the longest packet with its header, too.
const SCRATCH: usize = (64 << 10) + tun::HEADER;

pub struct Worker {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    orders: Receiver<Order>,
    listeners: Slots<OwnedFd>,
    /// Those of TCP: of IPv4, of IPv6.
    tcp_listeners: [Option<Slot>; 2],
    published: Slots<Published>,
    /// There were no descriptors left: nothing is accepted until there are.
    full: bool,
    trap: Option<Trap>,
    echoes: Echoes,
    datagrams: Datagrams,
    streams: Slots<Stream>,
    /// Those that have more to do.
    waiting: Vec<Slot>,
    sockets: Sockets,
    /// Sockets towards the container may have any address.
    transparent: bool,
    host_loopback: bool,
    pipes: Pipes,
    scratch: Box<[u8]>,
    tidied: Instant,
}

impl Worker {
    pub fn new(
        inside: Option<Inside>,
        router: Option<Router>,
        options: Options,
        wake: Arc<OwnedFd>,
        orders: Receiver<Order>,
    ) -> io::Result<Worker> {
        let mut worker = Worker {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            wake,
            orders,
            listeners: Slots::default(),
            tcp_listeners: [None; 2],
            published: Slots::default(),
            full: false,
            trap: None,
            echoes: Echoes::default(),
            datagrams: Datagrams::default(),
            transparent: router.is_some(),
            host_loopback: options.host_loopback,
            streams: Slots::default(),
            waiting: Vec::new(),
            sockets: Sockets::new(router.clone()),
            pipes: Pipes::default(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            tidied: Instant::now(),
        };
        let wake_event = Slot::ONLY.event(Kind::Wake);
        epoll::add(&worker.epoll, &worker.wake, wake_event, EventFlags::IN)?;
        if let Some(inside) = inside {
            let event = Slot::ONLY.event(Kind::Trap);
            epoll::add(&worker.epoll, &inside.tun, event, EventFlags::IN)?;
            let doors = match inside.way.port {
                None => router.map(|router| Doors::new(inside.way.index, router)),
                Some(_) => None,
            };
            worker.trap = Some(Trap::new(inside.tun, options.host_loopback, doors));
            let tcp = inside.tcp.into_iter().map(|one| (one, Kind::TcpListener));
            let udp = inside.udp.into_iter().map(|one| (one, Kind::UdpListener));
            for (listener, kind) in tcp.chain(udp) {
                let family = bound::family(&listener);
                let slot = worker.listeners.insert(listener);
                if kind == Kind::TcpListener {
                    let six = family == Some(AddressFamily::INET6);
                    worker.tcp_listeners[usize::from(six)] = Some(slot);
                }
                if let Some(listener) = worker.listeners.get_mut(slot) {
                    epoll::add(&worker.epoll, listener, slot.event(kind), EventFlags::IN)?;
                }
            }
        }
        Ok(worker)
    }

    /// Until it is told to stop, or its owner is gone.
    pub fn run(mut self) {
        let mut space = [MaybeUninit::uninit(); 256];
        loop {
            let wait = self
                .patience()
                .and_then(|wait| Timespec::try_from(wait).ok());
            let events = match epoll::wait(&self.epoll, &mut space, wait.as_ref()) {
                Ok((events, _)) => events,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            };
            for event in events {
                let flags = event.flags;
                let Some((kind, slot)) = Slot::of_event(event.data) else {
                    continue;
                };
                if kind == Kind::Wake && !self.obey() {
                    return;
                }
                self.happened(kind, slot, flags);
            }
            for slot in std::mem::take(&mut self.waiting) {
                if let Some(stream) = self.streams.get_mut(slot) {
                    stream.waits_its_turn = false;
                    self.turn(slot);
                }
            }
            self.tidy();
        }
    }

    /// How long nothing has to be done if nothing happens; none is for ever.
    fn patience(&self) -> Option<Duration> {
        let idle = self.streams.len() == 0
            && self.datagrams.is_empty()
            && self.echoes.is_empty()
            && !self.trap.as_ref().is_some_and(Trap::holds_any);
        match () {
            () if !self.waiting.is_empty() => Some(Duration::ZERO),
            () if self.full => Some(TIDY_WHEN_FULL),
            () => (!idle).then_some(TIDY),
        }
    }

    /// Whether it is to go on.
    fn obey(&mut self) -> bool {
        let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
        loop {
            match self.orders.try_recv() {
                Ok(Order::Publish(ports, addresses)) => self.publish(ports, &addresses),
                Ok(Order::Withdraw(addresses)) => self.withdraw(&addresses),
                Err(TryRecvError::Empty) => return true,
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn publish(&mut self, ports: Vec<Arc<Bound>>, addresses: &Arc<[IpNet]>) {
        for bound in ports {
            for index in 0..bound.sockets.len() {
                let slot = self.published.insert(Published {
                    bound: bound.clone(),
                    index,
                    addresses: addresses.clone(),
                    transparent: self.transparent,
                });
                let Some(published) = self.published.get_mut(slot) else {
                    continue;
                };
                let kind = match published.protocol() {
                    Protocol::Tcp => Kind::PublishedTcp,
                    _ => Kind::PublishedUdp,
                };
                let event = slot.event(kind);
                let _ = epoll::add(&self.epoll, published.socket(), event, EventFlags::IN);
            }
        }
    }

    /// Stops to serve what leads to one of these addresses, and ends what comes from them.
    fn withdraw(&mut self, addresses: &[IpNet]) {
        let is_gone = |ip| addresses.iter().any(|net| net.addr() == ip);
        let streams = self.streams.iter();
        let ended = streams.filter(|(_, stream)| stream.container().is_none_or(is_gone));
        let ended: Vec<Slot> = ended.map(|(slot, _)| slot).collect();
        ended.into_iter().for_each(|slot| self.end(slot, true));
        let published = self.published.iter();
        let gone =
            published.filter(|(_, one)| addresses.iter().any(|net| one.addresses.contains(net)));
        let gone: Vec<Slot> = gone.map(|(slot, _)| slot).collect();
        for slot in &gone {
            if let Some(published) = self.published.remove(*slot) {
                let _ = epoll::delete(&self.epoll, published.socket());
            }
        }
        self.datagrams.forget(|slot| gone.contains(&slot), is_gone);
    }

    fn happened(&mut self, kind: Kind, slot: Slot, flags: EventFlags) {
        match kind {
            Kind::Trap => self.trapped(),
            Kind::Dial => {
                let trap = self.trap.as_mut();
                let complete = trap.and_then(|trap| trap.dialed(&self.epoll, slot));
                if let Some(((inside, outside), tuple)) = complete {
                    self.relay(Stream::new(inside, outside, true, Some(tuple)));
                }
            }
            Kind::TcpListener | Kind::Door => self.accept(kind, slot, BURST),
            Kind::PublishedTcp => self.accept_published(slot),
            Kind::UdpListener | Kind::PublishedUdp => self.new_datagrams(kind, slot),
            Kind::FlowInside | Kind::FlowOutside => {
                self.datagrams.happened(self.trap.as_ref(), slot, kind);
            }
            Kind::Echo => {
                if let Some(trap) = &self.trap {
                    self.echoes.happened(trap, slot, &mut self.scratch);
                }
            }
            Kind::StreamInside => self.stream_happened(slot, 0, flags),
            Kind::StreamOutside => self.stream_happened(slot, 1, flags),
            Kind::Wake => {}
        }
    }

    /// Packets are in the trap.
    fn trapped(&mut self) {
        for _ in 0..BURST {
            let Some(trap) = &self.trap else { return };
            let Ok(length) = rustix::io::read(&trap.tun, &mut *self.scratch) else {
                return;
            };
            if let Some(ipv4) = self.packet(length) {
                return self.accept_now(ipv4);
            }
        }
    }

    /// The beginning of the buffer is what came out of the trap. If there is a connection to be
    /// accepted now, the family of its addresses is returned.
    fn packet(&mut self, length: usize) -> Option<bool> {
        let trap = self.trap.as_mut()?;
        let frame = self.scratch.get(..length)?;
        let bytes = frame.get(tun::HEADER..)?;
        match packet::parse(bytes)? {
            Packet::Syn(tuple) => {
                let there = trap.syn(&self.epoll, tuple, frame) && trap.doors.is_none();
                return there.then_some(tuple.source.is_ipv4());
            }
            Packet::Echo {
                source,
                destination,
                identifier,
                sequence,
                payload,
            } => {
                let asked = Asked {
                    source,
                    destination,
                    identifier,
                };
                let said = (sequence, payload);
                self.echoes.request(&self.epoll, trap, asked, said, bytes);
            }
            Packet::Datagram(tuple) if trap.doors.is_some() => {
                let mut around = Around {
                    epoll: &self.epoll,
                    sockets: &mut self.sockets,
                    trap: Some(&*trap),
                    host_loopback: self.host_loopback,
                };
                if self.datagrams.expects(&mut around, tuple) {
                    trap.put_back(frame);
                }
            }
            Packet::Other { protocol, .. } | Packet::Fragment { protocol }
                if matches!(protocol, packet::TCP | packet::UDP) =>
            {
                // With a firewall it had no socket, or was not seen to have one (crate::net::router::furnish).
                if protocol == packet::TCP || trap.doors.is_some() {
                    trap.put_back(frame);
                }
            }
            Packet::Datagram(_) | Packet::Fragment { .. } => {}
            Packet::Other { .. } => {
                if let Some(error) = packet::unreachable(bytes, Unreachable::Protocol) {
                    trap.send(&error);
                }
            }
        }
        None
    }

    /// The packet that was put back has gone to the container and come back while it was put
    /// there, as a rule: this saves a turn of the loop.
    fn accept_now(&mut self, ipv4: bool) {
        let slot = self.tcp_listeners[usize::from(!ipv4)];
        if let Some(slot) = slot {
            self.accept(Kind::TcpListener, slot, 1);
        }
    }

    /// The container's connections, as TPROXY gives them, or at a door.
    fn accept(&mut self, kind: Kind, slot: Slot, most: usize) {
        for _ in 0..most {
            let doors = self.trap.as_mut().and_then(|trap| trap.doors.as_mut());
            let listener = match kind {
                Kind::Door => doors.and_then(|doors| doors.get(slot)),
                _ => self.listeners.get_mut(slot).map(|listener| &*listener),
            };
            let Some(listener) = listener else { return };
            let (inside, source) = match accept_from(listener) {
                Ok(accepted) => accepted,
                Err(errno) => return self.not_accepted(errno),
            };
            let Some(tuple) = tuple_of(&inside, source) else {
                continue;
            };
            let doors = self.trap.as_ref().and_then(|trap| trap.doors.as_ref());
            if let Some(doors) = doors {
                doors.release(&inside);
            }
            let trap = self.trap.as_mut();
            let ends = trap.and_then(|trap| trap.accepted(&self.epoll, inside, &tuple));
            if let Some((inside, outside)) = ends {
                self.relay(Stream::new(inside, outside, true, Some(tuple)));
            }
        }
    }

    /// Connections to a published port.
    fn accept_published(&mut self, slot: Slot) {
        for _ in 0..BURST {
            let Some(published) = self.published.get_mut(slot) else {
                return;
            };
            let (outside, client) = match accept_from(published.socket()) {
                Ok(accepted) => accepted,
                Err(errno) => return self.not_accepted(errno),
            };
            let client = SocketAddr::try_from(client).ok();
            let inward = client.and_then(|client| published.inward(client));
            let connected = inward
                .ok_or(Errno::NETUNREACH)
                .and_then(|inward| published::connect(&mut self.sockets, inward));
            match connected {
                Ok(inside) => self.relay(Stream::new(inside, outside, false, None)),
                Err(_) => {
                    let _ = socket::reset_on_close(&outside);
                }
            }
        }
    }

    /// Without descriptors or memory the listeners rest, or they would be asked all the time.
    fn not_accepted(&mut self, errno: Errno) {
        if matches!(
            errno,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM
        ) {
            self.full = true;
            self.listen_for(EventFlags::empty());
        }
    }

    fn listen_for(&self, flags: EventFlags) {
        let mine = self.tcp_listeners;
        for (slot, listener) in self.listeners.iter() {
            if mine.contains(&Some(slot)) {
                let event = slot.event(Kind::TcpListener);
                let _ = epoll::modify(&self.epoll, listener, event, flags);
            }
        }
        let doors = self.trap.as_ref().and_then(|trap| trap.doors.as_ref());
        for (slot, listener) in doors.iter().flat_map(|doors| doors.iter()) {
            let _ = epoll::modify(&self.epoll, listener, slot.event(Kind::Door), flags);
        }
        for (slot, published) in self.published.iter() {
            if published.protocol() == Protocol::Tcp {
                let event = slot.event(Kind::PublishedTcp);
                let _ = epoll::modify(&self.epoll, published.socket(), event, flags);
            }
        }
    }

    /// Datagrams that no flow's socket was there for.
    fn new_datagrams(&mut self, kind: Kind, slot: Slot) {
        let mut around = Around {
            epoll: &self.epoll,
            sockets: &mut self.sockets,
            trap: self.trap.as_ref(),
            host_loopback: self.host_loopback,
        };
        if kind == Kind::UdpListener {
            if let Some(listener) = self.listeners.get_mut(slot) {
                self.datagrams.listener(&mut around, listener);
            }
        } else if let Some(published) = self.published.get_mut(slot) {
            let port = (slot, &published.bound, published.index);
            let inward = |client| published.inward(client);
            self.datagrams.published(&mut around, port, inward);
        }
    }

    /// Begins to move the bytes of a connection.
    fn relay(&mut self, stream: Stream) {
        let slot = self.streams.insert(stream);
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let [inside, outside] = stream.sockets();
        let watched = epoll::add(&self.epoll, inside, slot.event(Kind::StreamInside), flags)
            .and_then(|()| {
                epoll::add(&self.epoll, outside, slot.event(Kind::StreamOutside), flags)
            });
        if watched.is_err() {
            self.end(slot, true);
        }
    }

    fn stream_happened(&mut self, slot: Slot, side: usize, flags: EventFlags) {
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        match stream.happened(side, flags) {
            Turn::Broken => self.end(slot, true),
            _ => self.turn(slot),
        }
    }

    fn turn(&mut self, slot: Slot) {
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        if stream.waits_its_turn {
            return;
        }
        match stream.turn(&mut self.scratch, &mut self.pipes) {
            Turn::Wait => {}
            Turn::Again => {
                stream.waits_its_turn = true;
                self.waiting.push(slot);
            }
            Turn::Over => self.end(slot, false),
            Turn::Broken => self.end(slot, true),
        }
    }

    fn end(&mut self, slot: Slot, broken: bool) {
        let Some(stream) = self.streams.remove(slot) else {
            return;
        };
        if broken {
            stream.abort();
        }
        for _ in 0..stream.pipes() {
            self.pipes.lost();
        }
        if let (Some(trap), Some(tuple)) = (&mut self.trap, &stream.tuple) {
            trap.over(tuple);
        }
    }

    fn tidy(&mut self) {
        let every = if self.full { TIDY_WHEN_FULL } else { TIDY };
        if self.tidied.elapsed() < every {
            return;
        }
        self.tidied = Instant::now();
        if std::mem::take(&mut self.full) {
            self.listen_for(EventFlags::IN);
        }
        self.pipes.trim();
        self.datagrams.expire(self.tidied);
        self.echoes.expire(self.tidied);
        if let Some(trap) = &mut self.trap {
            trap.expire(self.tidied);
        }
    }
}

fn accept_from(listener: &OwnedFd) -> Result<(OwnedFd, SocketAddrAny), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    Ok((socket, peer.ok_or(Errno::CONNABORTED)?))
}

/// Who is connected with whom: a transparent socket's own address is where the peer wanted to go.
fn tuple_of(inside: &OwnedFd, source: SocketAddrAny) -> Option<Tuple> {
    let destination = rustix::net::getsockname(inside).ok()?;
    Some(Tuple {
        source: SocketAddr::try_from(source).ok()?,
        destination: SocketAddr::try_from(destination).ok()?,
    })
}
