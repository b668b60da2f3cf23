//! The router namespace: a network namespace of this user's, in which the bridge of a rootless
//! network is, and through which its containers reach the world by way of [`super::relay`].
//!
//! A namespace lives as long as somebody holds a descriptor of it: every network process of the
//! network does, so the last one that goes takes it along, however it goes. One that comes later
//! opens the descriptor of one that is there (`/proc/PID/fd/N`, see [`Router::descriptor`]) and checks
//! its inode.
//!
//! Sockets and netlink requests belong to the namespace of the thread that makes them, so each
//! process has one thread in there: [`Router::inside`] runs a function on it. All else of this
//! process stays in the host's namespace.

pub mod furnish;
pub mod means;

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread,
};

use crate::{
    model::{Context, Error, ErrorKind, Result, backend::Backend},
    sys::{netns, signals},
};

type Job = Box<dyn FnOnce() + Send>;

/// A router namespace, and this process's thread in it. Copies are the same one.
#[derive(Clone)]
pub struct Router {
    namespace: Arc<OwnedFd>,
    jobs: Sender<Job>,
    backend: Backend,
}

impl Router {
    /// Joins the namespace that `existing` is, or makes a new one and furnishes it ([`furnish`]) for
    /// this backend, or else for the best one that there is. Nobody may join it before this has
    /// returned.
    ///
    /// # Errors
    /// `Permission` if this process has no rights over the namespace, `Unsupported` if the wanted
    /// backend cannot be had.
    pub fn open(existing: Option<OwnedFd>, wanted: Option<Backend>) -> Result<Router> {
        let new = existing.is_none();
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel::<io::Result<OwnedFd>>();
        let body = move || {
            // Signals are the main thread's.
            let _ = signals::block_only(&signals::SignalSet::all());
            let entered = match existing {
                Some(namespace) => netns::enter(&namespace).map(|()| namespace),
                None => netns::unshare().and_then(|()| netns::of_this_thread()),
            };
            let failed = entered.is_err();
            if tell.send(entered).is_err() || failed {
                return;
            }
            // Until the last `Router` is gone.
            for job in todo {
                job();
            }
        };
        thread::Builder::new()
            .name("router".to_owned())
            .stack_size(256 << 10)
            .spawn(body)
            .system(|| "cannot start the router's thread".to_owned())?;
        let namespace = told
            .recv()
            .map_err(|_| gone())?
            .system(|| "cannot enter the router's network namespace".to_owned())?;
        let mut router = Router {
            namespace: Arc::new(namespace),
            jobs,
            backend: Backend::Tproxy,
        };
        router.backend = match new {
            true => router.inside(move || furnish::furnish(wanted))?,
            false => router.inside(furnish::backend)?,
        };
        Ok(router)
    }

    /// What it was furnished for.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Runs a function on the thread in the namespace, and waits for what it returns.
    pub fn inside<T, F>(&self, act: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let (tell, told) = mpsc::sync_channel(1);
        self.later(move || {
            let _ = tell.send(act());
        })?;
        told.recv().map_err(|_| gone())?
    }

    /// Has the thread in the namespace run a function, and does not wait.
    pub fn later(&self, act: impl FnOnce() + Send + 'static) -> Result<()> {
        self.jobs.send(Box::new(act)).map_err(|_| gone())
    }

    /// The namespace.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// The number of the namespace's descriptor in this process, and its inode: what others of this
    /// user need to join it.
    pub fn descriptor(&self) -> Result<(RawFd, u64)> {
        let stat = rustix::fs::fstat(&*self.namespace)
            .system(|| "cannot look at the router's network namespace".to_owned())?;
        Ok((self.namespace.as_raw_fd(), stat.st_ino))
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Router({})", self.namespace.as_raw_fd())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::System, "the router's thread is gone")
}
