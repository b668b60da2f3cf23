//! Sockets in the router's namespace, which only its thread can make: some are kept ready, so that a
//! connection does not wait for a turn of that thread.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::net::{AddressFamily, SocketType};

use crate::{net::router::Router, sys::socket};

/// Made at once, when fewer than half of them are left.
const BATCH: usize = 16;

type Sort = (u16, u32);

#[derive(Debug, Default)]
struct Ready {
    sockets: Mutex<Vec<OwnedFd>>,
    ordered: AtomicBool,
}

/// Where sockets towards the container come from.
#[derive(Debug)]
pub struct Sockets {
    /// Without one they are this process's own: the container's network is the host's neighbour.
    router: Option<Router>,
    ready: HashMap<Sort, Arc<Ready>>,
}

impl Sockets {
    pub fn new(router: Option<Router>) -> Self {
        Sockets {
            router,
            ready: HashMap::new(),
        }
    }

    /// A socket that may be bound to any address ([`socket::set_transparent`]), if there is a
    /// router.
    pub fn take(&mut self, family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
        let Some(router) = &self.router else {
            return make(family, kind, false);
        };
        let ready = self
            .ready
            .entry((family.as_raw(), kind.as_raw()))
            .or_default();
        let (taken, left) = match ready.sockets.lock() {
            Ok(mut sockets) => (sockets.pop(), sockets.len()),
            Err(_) => (None, 0),
        };
        // Before the order: it is in the way of nobody.
        let taken = taken.map_or_else(
            || {
                let made = router.inside(move || Ok(make(family, kind, true)));
                made.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
            },
            Ok,
        );
        if left < BATCH / 2 && !ready.ordered.swap(true, Ordering::Relaxed) {
            let ready = ready.clone();
            let order = move || {
                let made: Vec<OwnedFd> = (0..BATCH)
                    .map_while(|_| make(family, kind, true).ok())
                    .collect();
                if let Ok(mut sockets) = ready.sockets.lock() {
                    sockets.extend(made);
                }
                ready.ordered.store(false, Ordering::Relaxed);
            };
            let _ = router.later(order);
        }
        taken
    }
}

/// In the calling thread's namespace.
pub fn make(family: AddressFamily, kind: SocketType, transparent: bool) -> io::Result<OwnedFd> {
    let made = socket::make(family, kind)?;
    if transparent {
        socket::set_transparent(&made, family)?;
    }
    if kind == SocketType::STREAM {
        rustix::net::sockopt::set_tcp_nodelay(&made, true)?;
    }
    rustix::net::sockopt::set_socket_reuseaddr(&made, true)?;
    Ok(made)
}
