//! A container's links to its networks, and what goes with them: the firewall's elements or the relay,
//! published ports, names.
//!
//! Root's bridges are in the host's namespace. An ordinary user's are each in the router namespace of
//! its network, which is found through a living member of it, or made; the lock of the network's
//! leases is held from the look to the note.

use std::{
    mem::ManuallyDrop,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use rustix::fs::{Mode, OFlags};

use super::{
    Connection, NetworkPlan, host_addresses,
    ways::{Connected, Way, ensure_inside},
};
use crate::{
    model::{
        ContainerId, Context, Error, ErrorKind, Result, network::Network, publish::PortMapping,
    },
    net::{
        bridge, firewall,
        names::{self, Directory, LeaseDirectory, OwnNames, Responder, Upstream},
        netlink::Socket,
        relay::{
            self,
            bound::{self, Bound},
        },
        router::Router,
    },
    storage::{Store, network_leases::RouterHolder, published_ports::Published},
    sys::process,
};

/// How many of the others' published ports are looked at by who publishes.
const LOOKED_AT: usize = 8;

pub(super) struct Links<'p> {
    plan: &'p NetworkPlan,
    store: &'static Store,
    /// Every network that the container is connected to.
    connected: Vec<Connected>,
    /// The host's sockets of the published ports.
    bound: Vec<Arc<Bound>>,
    /// The container's, during a run.
    namespace: Option<OwnedFd>,
    responder: Option<Responder>,
}

impl<'p> Links<'p> {
    /// Everything that needs no container: ports, bridges, routers.
    pub(super) fn prepare(plan: &'p NetworkPlan, store: &'static Store) -> Result<Self> {
        let bound = bind(store, &plan.published)?;
        let mut links = Links {
            plan,
            store,
            connected: Vec::new(),
            bound,
            namespace: None,
            responder: None,
        };
        for connection in &plan.connections {
            let connected = links.open(connection.clone())?;
            links.connected.push(connected);
        }
        Ok(links)
    }

    fn open(&self, connection: Connection) -> Result<Connected> {
        let way = match self.plan.routed {
            true => {
                let options = relay::Options {
                    host_loopback: self.plan.host_loopback,
                };
                Way::relayed(self.router(&connection)?, &connection.network, options)?
            }
            false => Way::forwarded(&connection)?,
        };
        Ok(Connected {
            connection,
            way,
            published: false,
        })
    }

    fn router(&self, connection: &Connection) -> Result<Router> {
        let Connection { network, endpoint } = connection;
        if self.plan.private {
            let router = Router::open(None, self.plan.backend)?;
            ensure_inside(&router, network)?;
            return Ok(router);
        }
        let leases = self.store.lock_leases(&network.id)?;
        let existing = leases.routers()?.into_iter().find_map(held_router);
        let router = Router::open(existing, self.plan.backend)?;
        // The bridge is there before anybody else can find the namespace.
        ensure_inside(&router, network)?;
        let (fd, inode) = router.descriptor()?;
        let pid = process::own_host_pid().system(|| "cannot identify this process".to_owned())?;
        let holder = RouterHolder { pid, fd, inode };
        leases.note_router(endpoint, &self.plan.container, holder)?;
        Ok(router)
    }

    /// A run begins in this namespace.
    pub(super) fn attach(&mut self, namespace: OwnedFd) -> Result<()> {
        for connected in &mut self.connected {
            connected.attach(namespace.as_fd())?;
        }
        let sockets = names::sockets(namespace.as_fd())?;
        let (directory, upstream, options) = self.names()?;
        self.responder = Some(Responder::start(sockets, directory, upstream, options)?);
        self.namespace = Some(namespace);
        self.publish()
    }

    /// Removes the links that a killed network process has left in the container.
    pub(super) fn forget_others(&self, namespace: BorrowedFd<'_>) {
        for connected in &self.connected {
            // Those of a router namespace have gone with the last process that held it.
            let _ = bridge::detach_live(&connected.connection.endpoint, namespace);
        }
    }

    /// What names are answered from.
    fn names(&self) -> Result<(Box<dyn Directory>, Upstream, names::Options)> {
        let mut connections: Vec<&Connection> = self
            .connected
            .iter()
            .map(|other| &other.connection)
            .collect();
        // Those with the default route are asked first.
        connections.sort_by_key(|connection| !connection.endpoint.default_route);
        let host = host_addresses(connections.iter().copied(), self.plan.routed);
        let own = OwnNames::of(&self.plan.dns, &host);
        let networks: Vec<Network> = connections
            .into_iter()
            .map(|connection| connection.network.clone())
            .collect();
        let (upstream, options) = Upstream::of(&self.plan.dns, &networks);
        let directory = LeaseDirectory::open(self.store, networks, own)?;
        Ok((Box::new(directory), upstream, options))
    }

    /// The container's networks have changed.
    fn rename(&self) -> Result<()> {
        if let Some(responder) = &self.responder {
            let (directory, upstream, options) = self.names()?;
            responder.replace(directory, upstream, options)?;
        }
        Ok(())
    }

    /// The run is over: what is inside goes with the namespace.
    pub(super) fn detach(&mut self) {
        self.responder = None;
        self.namespace = None;
    }

    pub(super) fn connect(&mut self, connection: Connection) -> Result<()> {
        let id = &connection.network.id;
        let known = |other: &Connected| other.connection.network.id == *id;
        if self.connected.iter().any(known) {
            let name = &connection.network.name;
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the container is connected to network {name} already"),
            ));
        }
        let mut connected = self.open(connection)?;
        if let Some(namespace) = &self.namespace {
            connected.attach(namespace.as_fd())?;
        }
        self.connected.push(connected);
        self.rename()?;
        self.publish()
    }

    /// The network's whole ID.
    pub(super) fn disconnect(&mut self, network: &str) -> Result<()> {
        let is_meant = |other: &Connected| other.connection.network.id.as_str() == network;
        let Some(index) = self.connected.iter().position(is_meant) else {
            let what = "the container is not connected to that network";
            return Err(Error::new(ErrorKind::NoSuchNetwork, what));
        };
        let mut connected = self.connected.remove(index);
        let endpoint = connected.connection.endpoint.clone();
        connected.let_go(&self.bound)?;
        if let Some(namespace) = &self.namespace {
            bridge::detach_live(&endpoint, namespace.as_fd())?;
        }
        self.rename()?;
        self.publish()
    }

    /// What somebody else may have removed from the kernel is there again.
    pub(super) fn reload(&mut self) -> Result<()> {
        for connected in &mut self.connected {
            connected.restore()?;
        }
        self.publish()
    }

    /// The ports lead to the container's address in the network of its default route; without one, in
    /// the first that is not internal.
    fn publish(&mut self) -> Result<()> {
        if self.bound.is_empty() || self.namespace.is_none() {
            return Ok(());
        }
        let leads_out = |other: &Connected| other.connection.endpoint.default_route;
        let open = |other: &Connected| !other.connection.network.internal;
        let mut all = self.connected.iter();
        let index = all.clone().position(leads_out).or(all.position(open));
        let leads_to = index.map(|index| &self.connected[index].connection.endpoint);
        let addresses = leads_to.map(|endpoint| endpoint.addresses.iter().map(IpNet::addr));
        let published = Published {
            ports: self.bound.iter().map(|one| one.mapping.clone()).collect(),
            addresses: addresses.into_iter().flatten().collect(),
        };
        self.forget_dead(&published);
        self.store.put_ports(&self.plan.container, &published)?;
        match index {
            Some(index) => self.connected[index].publish(&self.bound),
            None => Ok(()),
        }
    }

    /// Takes back what killed processes have published: for this container, unless it is to be
    /// published again, and for a few others that do not run any more. What cannot be taken back now
    /// is found by the next one.
    fn forget_dead(&self, published: &Published) {
        let own = &self.plan.container;
        let before = self.store.ports(own).unwrap_or_default();
        let mut dead = self
            .store
            .void_ports(Some(own), LOOKED_AT)
            .unwrap_or_default();
        if before != *published && before != Published::default() {
            dead.push(own.clone());
        }
        for container in dead {
            let _ = forget_ports(self.store, &container, self.plan.routed);
        }
    }

    /// What the kernel would keep goes; ports and addresses are given back. All else goes with the
    /// process, as fast as the kernel likes: elements and rules of a router harm nobody
    /// ([`crate::net::relay`]).
    pub(super) fn end(mut self) {
        let mut connected = std::mem::take(&mut self.connected);
        let has_ports = !self.bound.is_empty();
        for one in &mut connected {
            if has_ports && matches!(one.way, Way::Forwarded { .. }) {
                let _ = one.let_go(&self.bound);
            }
            let endpoint = &one.connection.endpoint;
            let _ = self.store.release_endpoint(endpoint, &self.plan.container);
        }
        if has_ports {
            // The relays hold the sockets.
            drop(connected);
            self.bound.clear();
            let _ = self.store.release_ports(&self.plan.container);
        } else {
            let _ = ManuallyDrop::new(connected);
        }
        let _ = ManuallyDrop::new(self.responder.take());
    }
}

/// Takes back the ports that a killed network process has published for a container.
pub fn forget_ports(store: &Store, container: &ContainerId, routed: bool) -> Result<()> {
    let mut dead = store.ports(container)?;
    let mut held = Vec::new();
    if !routed && !dead.ports.is_empty() {
        // Who has a port now has put it into the firewall anew, perhaps for the same address. What
        // nobody has is held meanwhile.
        dead.ports.retain(|port| {
            let bound = bound::bind_published(std::slice::from_ref(port));
            let free = bound.map(|bound| held.extend(bound)).is_ok();
            free || matches!(store.port_holder(port, Some(container)), Ok(None))
        });
        firewall::sweep(&mut Socket::netfilter()?, &dead.addresses, &dead.ports)?;
    }
    store.release_ports(container)
}

/// How long a port may be taken by nobody that we know: the kernel gives back what a killed process had
/// when it has taken its links down.
const PATIENCE: Duration = Duration::from_millis(500);

/// The host's sockets of all published ports, or why there are none.
fn bind(store: &Store, published: &[PortMapping]) -> Result<Vec<Arc<Bound>>> {
    let mut all = Vec::with_capacity(published.len());
    let end = Instant::now() + PATIENCE;
    for mapping in published {
        let bound = loop {
            match bound::bind_published(std::slice::from_ref(mapping)) {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let known = store.port_holder(mapping, None)?.is_some();
                    if known || Instant::now() > end {
                        return Err(store.port_in_use(mapping));
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                bound => break bound?,
            }
        };
        all.extend(bound.into_iter().map(Arc::new));
    }
    Ok(all)
}

/// The router namespace that a process holds, if it still does.
fn held_router(holder: RouterHolder) -> Option<OwnedFd> {
    let path = format!("/proc/{}/fd/{}", holder.pid, holder.fd);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let found = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let same = rustix::fs::fstat(&found).ok()?.st_ino == holder.inode;
    same.then_some(found)
}
