//! The relay: how the packets of a container without privileges reach the world, and the world the
//! container's published ports. The kernel speaks TCP on both sides; this process only moves bytes.
//!
//! ```text
//!  container eth0 ── veth ── bridge ┐ router namespace (crate::net::router)
//!                                   ├─ first packets, ICMP ─▶ TUN ──▶ [`trap`], [`echo`]
//!                                   └─ everything else ─ TPROXY ─▶ listeners ─▶ [`worker`]
//!                          a socket there  ◀═ [`stream`]: splice ═▶  a socket in the host's namespace
//! ```
//!
//! - **Without a firewall** ([`Backend::Tun`]) everything that the container sends comes through the device,
//!   is put back at once, and finds its socket by routes: [`doors`] are the listeners then, and a flow's
//!   sockets are made when its first datagram comes by. What the world sends goes by the kernel alone.
//! - **TCP to the world**: the SYN is held in the [`trap`] until our own connection is there; then
//!   TPROXY gives the container's connection to our listener. Refused, unreachable and timed-out look
//!   as they are.
//! - **UDP to the world**: the first datagram of a flow comes to our listener; then each flow has a
//!   pair of connected sockets ([`datagrams`]).
//! - **Published ports**: sockets of the host's namespace, bound before the container starts
//!   ([`bound`]). Each connection gets a socket in the router that has the *client's* address; the
//!   container's answers find it there.
//! - **As root** the kernel forwards; only clients on the host's own loopback come this way
//!   (`Relay::start(None, …)`: plain sockets to the container's address).
//! - **Where a container may go** is decided in [`places`].
//!
//! # How it is used
//!
//! One [`Relay`] per container and network, each with one thread, in the network process of the
//! container, which stays in the host's network namespace:
//!
//! ```text
//! let router = Router::open(existing)?;              // once per network; the lease tells descriptor()
//! let ports = bound::bind_published(&mappings)?;     // before the program starts; says "in use"
//! let ports: Vec<_> = ports.into_iter().map(Arc::new).collect();
//!   … net::bridge::ensure(router, …), net::bridge::attach(…)
//! let relay = Relay::start(Some(&router), Options::default())?;
//! relay.add_endpoint(&endpoint)?;                    // elements, rule and route for its addresses
//! relay.publish(&ports, &endpoint)?;                 // begins to accept
//!   … relay.remove_endpoint(&endpoint)?;             // live disconnect
//! drop(relay);                                       // ends all connections with a reset
//! ```
//!
//! # What several containers share
//!
//! All containers of a network share its router. What is one container's there: its TUN device; the
//! elements `address → port of its listener` of the maps `relay4` and `relay6`; a rule `from ADDRESS
//! lookup TABLE`, the table's number being made from the address; a default route in that table, which
//! goes with the device. Without a firewall there are rules about the device's name instead of elements.
//!
//! A process that is killed leaves its elements and rules behind, not the device. They are harmless:
//! nobody sends from an address that is not leased, a table without a route is passed over, an element
//! without a listener matches nothing. The next container with the address replaces them
//! ([`Relay::add_endpoint`]), so there are never more than addresses.

pub mod bound;
mod datagrams;
mod doors;
mod echo;
pub mod packet;
mod pipes;
mod places;
mod published;
mod routing;
mod slots;
mod sockets;
mod stream;
mod trap;
mod worker;

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
};

use ipnet::IpNet;
use rustix::{
    event::{EventfdFlags, eventfd},
    net::SocketType,
};

pub use places::HOST;

use self::{
    bound::Bound,
    worker::{Inside, Worker},
};
use super::{
    confine,
    router::{Router, means},
};
use crate::{
    model::{Context, Error, ErrorKind, Result, backend::Backend, network::Endpoint},
    sys::{signals, socket, tun},
};

/// What a relay lets through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// [`HOST`] is the host's 127.0.0.1, not its address in the network.
    pub host_loopback: bool,
}

/// A running relay. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    orders: Mutex<Sender<Order>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    inside: Option<(Router, Way)>,
}

/// Where in the router a container's packets go.
#[derive(Clone, Debug)]
struct Way {
    device: String,
    /// The number of the device's link.
    index: u32,
    /// Of the listeners, if a firewall leads to them.
    port: Option<u16>,
}

/// What the relay's thread is told.
enum Order {
    Publish(Vec<Arc<Bound>>, Arc<[IpNet]>),
    Withdraw(Vec<IpNet>),
    Stop,
}

impl Relay {
    /// Starts a relay for one container in the network of this router; without one, for published
    /// ports alone.
    pub fn start(router: Option<&Router>, options: Options) -> Result<Relay> {
        let inside = match router {
            Some(router) => {
                let backend = router.backend();
                Some(router.inside(move || open_inside(backend))?)
            }
            None => None,
        };
        let way = inside.as_ref().map(|inside| inside.way.clone());
        raise_descriptor_limit();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .system(|| "cannot make an eventfd".to_owned())?;
        let wake = Arc::new(wake);
        let (orders, todo) = mpsc::channel();
        let worker = Worker::new(inside, router.cloned(), options, wake.clone(), todo)
            .system(|| "cannot start the relay".to_owned())?;
        let rebinds = router.is_some_and(|router| router.backend() == Backend::Tun);
        let thread = thread::Builder::new()
            .name("relay".to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                // Signals are the main thread's; SIGPIPE too, which splice(2) cannot be told to spare.
                let _ = signals::block_only(&signals::SignalSet::all());
                if confine::thread(confine::Who::Relay, rebinds).is_ok() {
                    worker.run();
                }
            })
            .system(|| "cannot start the relay's thread".to_owned())?;
        Ok(Relay {
            orders: Mutex::new(orders),
            wake,
            thread: Some(thread),
            inside: router.cloned().zip(way),
        })
    }

    /// Takes what this container sends into the world, from now on, and what the world sends it. It
    /// replaces what an earlier container with one of its addresses has left.
    pub fn add_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        let Some((router, way)) = &self.inside else {
            return Ok(());
        };
        let (addresses, way) = (endpoint.addresses.clone(), way.clone());
        router.inside(move || routing::add(&addresses, &way))
    }

    /// The reverse of [`Self::add_endpoint`] and of [`Self::publish`]. Connections that are there end
    /// with a reset.
    pub fn remove_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        self.order(Order::Withdraw(endpoint.addresses.clone()))?;
        let Some((router, way)) = &self.inside else {
            return Ok(());
        };
        let (addresses, way) = (endpoint.addresses.clone(), way.clone());
        router.inside(move || routing::remove(&addresses, &way))
    }

    /// Serves published ports: who connects there reaches this endpoint. The caller may keep the
    /// ports, to serve them at another endpoint later.
    pub fn publish(&self, ports: &[Arc<Bound>], endpoint: &Endpoint) -> Result<()> {
        let ports = ports.to_vec();
        self.order(Order::Publish(ports, endpoint.addresses.clone().into()))
    }

    fn order(&self, order: Order) -> Result<()> {
        let gone = || Error::new(ErrorKind::System, "the relay's thread is gone");
        let orders = self.orders.lock().map_err(|_| gone())?;
        orders.send(order).map_err(|_| gone())?;
        rustix::io::write(self.wake.as_fd(), &1_u64.to_ne_bytes())
            .system(|| "cannot wake the relay".to_owned())?;
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Each connection has two descriptors: as many as an administrator lets this user have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
}

/// The device and the listeners, made on the router's thread.
fn open_inside(backend: Backend) -> Result<Inside> {
    let (tun, device) = tun::open().map_err(means::no_tun)?;
    if backend == Backend::Tun {
        tun::receive_joined(&tun).system(|| "cannot set up the relay's device".to_owned())?;
        let index = routing::raise(&device, backend)?;
        let way = Way {
            device,
            index,
            port: None,
        };
        let (tcp, udp) = (Vec::new(), Vec::new());
        return Ok(Inside { tun, way, tcp, udp });
    }
    // The two protocols of a family share a port, and so do the families: it is the element of a map.
    for _ in 0..64 {
        if let Some((port, tcp, udp)) = listen().system(|| "cannot listen".to_owned())? {
            let index = routing::raise(&device, backend)?;
            let way = Way {
                device,
                index,
                port: Some(port),
            };
            return Ok(Inside { tun, way, tcp, udp });
        }
    }
    Err(Error::new(
        ErrorKind::System,
        "cannot find a free port in the router",
    ))
}

type Listeners = (u16, Vec<OwnedFd>, Vec<OwnedFd>);

/// Listeners for everything that TPROXY gives to one port: none if that is taken for some.
fn listen() -> std::io::Result<Option<Listeners>> {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    let (mut port, mut tcp, mut udp) = (0, Vec::new(), Vec::new());
    for address in [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()] {
        for kind in [SocketType::STREAM, SocketType::DGRAM] {
            let wanted = SocketAddr::new(address, port);
            let family = socket::family_of(&wanted);
            let listener = match socket::make(family, kind) {
                // A kernel without IPv6.
                Err(_) if address.is_ipv6() => continue,
                made => made?,
            };
            socket::set_transparent(&listener, family)?;
            match rustix::net::bind(&listener, &wanted) {
                Err(rustix::io::Errno::ADDRINUSE) => return Ok(None),
                bound => bound?,
            }
            let bound = rustix::net::getsockname(&listener)?;
            port = SocketAddr::try_from(bound)?.port();
            if kind == SocketType::STREAM {
                rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
                rustix::net::sockopt::set_socket_keepalive(&listener, true)?;
                rustix::net::listen(&listener, 4096)?;
                tcp.push(listener);
            } else {
                datagrams::prepare(&listener, family)?;
                udp.push(listener);
            }
        }
    }
    Ok(Some((port, tcp, udp)))
}
