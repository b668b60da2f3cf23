//! The network process: it holds everything of a container's networks that has to live as long as
//! the container does, and nobody needs longer.
//!
//! ```text
//! supervisor ── fork, before the container's first process exists
//!    │             │ binds the published ports, finds or makes the networks' bridges
//!    │  Attach ──▶ │ links into the namespace of the first process, firewall or relay, names
//!    │ ◀─── Done   │    (that one builds its file system meanwhile, and then waits for this)
//!    │  Detach ──▶ │ the run is over; addresses and ports are kept for the next one
//!    │  closes ──▶ │ what the kernel would not remove by itself goes
//!    │ ◀─── Done   │ ports and addresses are free; the process ends
//! command ── ID.net in the folder of sockets: Connect, Disconnect, Reload of a running container
//! ```
//!
//! It is a process of its own because the supervisor must have one thread and no open end towards
//! anything hostile. It stays in the host's network namespace, where sockets to the world are made;
//! what must be made elsewhere is made by threads that go there.
//!
//! **If it is killed** the supervisor starts another one, which finds the links, replaces them and
//! goes on; connections that were being relayed are lost. If the supervisor is killed this process
//! ends with it: it is in its pid namespace, or follows it by its parent-death signal.
//!
//! Both ends are the same program, forked: messages are JSON, one a packet, and need no version. The
//! commands' socket is for others, so that [`Request`] only ever grows.

mod life;
mod links;
mod ways;

pub use links::forget_ports;

use std::{
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        ContainerId, Context, Error, ErrorKind, Failure, Result,
        backend::Backend,
        dns::DnsSpec,
        network::{Endpoint, Network},
        publish::PortMapping,
    },
    sys::{
        exec,
        fork::{self, Child, Namespaces},
        packet,
        poll::PollSet,
        process,
    },
};

/// Largest message: a few dozen networks with all their options.
const MAX_MESSAGE: usize = 256 << 10;

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A network, and what the container holds in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub network: Network,
    pub endpoint: Endpoint,
}

/// What a network process has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NetworkPlan {
    pub container: ContainerId,
    /// The store's.
    pub root: PathBuf,
    pub runroot: PathBuf,
    pub connections: Vec<Connection>,
    pub published: Vec<PortMapping>,
    pub dns: DnsSpec,
    /// The bridges are in a namespace of the user's, and we relay between it and the host's.
    pub routed: bool,
    /// By which means, if somebody has asked for one.
    #[serde(default)]
    pub backend: Option<Backend>,
    /// No other container is in its network.
    pub private: bool,
    /// The host's 127.0.0.1 is reached at the address that stands for the host.
    #[serde(default)]
    pub host_loopback: bool,
}

impl NetworkPlan {
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let endpoints = self.connections.iter();
        endpoints
            .map(|connection| connection.endpoint.clone())
            .collect()
    }

    /// Where the container reaches the host; at most one address of each family.
    pub fn host(&self) -> Vec<IpAddr> {
        host_addresses(self.connections.iter(), self.routed)
    }
}

/// At an address of the relay's, or at the bridge of the container's default route.
fn host_addresses<'a>(
    mut connections: impl Iterator<Item = &'a Connection>,
    routed: bool,
) -> Vec<IpAddr> {
    let leads_out = |connection: &&Connection| {
        connection.endpoint.default_route && !connection.network.internal
    };
    match connections.find(leads_out) {
        None => Vec::new(),
        Some(_) if routed => vec![super::relay::HOST.into()],
        Some(connection) => connection.endpoint.gateways.clone(),
    }
}

/// What is asked of a network process.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The network namespace comes along. The supervisor's alone.
    Attach,
    /// The same where an earlier network process, which was killed, has left its links.
    AttachAgain,
    /// The container's run is over. The supervisor's alone; there is no answer.
    Detach,
    Connect(Box<Connection>),
    /// The network's whole ID.
    Disconnect(String),
    /// Puts everything of it right that somebody else may have removed from the kernel.
    Reload,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Failed(Failure),
}

/// A network process, as its supervisor holds it. Dropping it lets it end.
#[derive(Debug)]
pub struct NetworkProcess {
    child: Child,
    socket: OwnedFd,
}

/// The name of the commands' socket in the folder of sockets.
pub fn socket_name(container: &ContainerId) -> String {
    format!("{container}.net")
}

impl NetworkProcess {
    /// Starts it, with these of the caller's descriptors alone: the supervisor's lock would outlive it
    /// otherwise, its pipes would stay open. What it cannot do is said when it is asked to attach.
    pub fn start(plan: &NetworkPlan, kept: &[BorrowedFd<'_>]) -> Result<NetworkProcess> {
        let what = || "cannot start the container's network process".to_owned();
        let (ours, theirs) = packet::pair().system(what)?;
        let child = fork::fork(Namespaces::NONE, || {
            exec::close_all_but(&[kept, &[theirs.as_fd()]].concat());
            life::live(plan, theirs.as_fd())
        })
        .system(what)?;
        Ok(NetworkProcess {
            child,
            socket: ours,
        })
    }

    /// Puts the interfaces of the container's networks into this namespace.
    pub fn attach(&self, namespace: BorrowedFd<'_>) -> Result<()> {
        ask(&self.socket, &Request::Attach, Some(namespace))
    }

    /// The same in the place of a process that was killed.
    pub fn attach_again(&self, namespace: BorrowedFd<'_>) -> Result<()> {
        ask(&self.socket, &Request::AttachAgain, Some(namespace))
    }

    /// The namespace is about to go.
    pub fn detach(&self) {
        let _ = say(&self.socket, &Request::Detach, None);
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Waits until ports and addresses are free. What takes the kernel longer (a TUN device: 30 ms)
    /// goes meanwhile. One that hangs must not keep the container from ending.
    pub fn end(self) {
        let NetworkProcess { child, socket } = self;
        let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Write);
        let mut last_word = PollSet::with_capacity(1);
        last_word.add((), socket.as_fd(), rustix::event::PollFlags::IN);
        let said = last_word.wait_at_most(PATIENCE);
        if said.is_ok_and(|said| said.is_empty()) {
            let _ = process::signal(&child.pidfd, libc::SIGKILL);
        }
        if matches!(
            process::wait_ended(&child.pidfd, Some(Duration::ZERO)),
            Ok(true)
        ) {
            let _ = process::reap(&child.pidfd);
        }
    }
}

/// Asks the network process at the other end of a socket.
pub fn ask(socket: impl AsFd, request: &Request, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
    let what = || "cannot speak with the container's network process".to_owned();
    say(&socket, request, descriptor)?;
    let mut buffer = vec![0; MAX_MESSAGE];
    let (length, _) = packet::receive(&socket, &mut buffer, true).system(what)?;
    if length == 0 {
        return Err(ended());
    }
    match serde_json::from_slice(&buffer[..length]).context(ErrorKind::System, what)? {
        Answer::Failed(failure) => Err(failure.into_error()),
        Answer::Done => Ok(()),
    }
}

fn say(socket: impl AsFd, message: &impl Serialize, with: Option<BorrowedFd<'_>>) -> Result<()> {
    let what = || "cannot speak with the container's network process".to_owned();
    let text = serde_json::to_vec(message).context(ErrorKind::System, what)?;
    packet::send(socket, &text, &[], with, true).system(what)
}

fn ended() -> Error {
    Error::new(
        ErrorKind::System,
        "the container's network process has ended",
    )
}
