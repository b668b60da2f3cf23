//! The network process's life: what it is asked, one after the other, until the supervisor's socket
//! closes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;

use super::{Answer, MAX_MESSAGE, NetworkPlan, Request, links::Links, socket_name};
use crate::{
    model::{Context, Error, ErrorKind, Failure, Result},
    net::confine,
    storage::Store,
    sys::{packet, poll::PollSet, process},
};

/// Returns the process's exit status.
pub(super) fn live(plan: &NetworkPlan, supervisor: BorrowedFd<'_>) -> i32 {
    // Its signals are blocked, as the supervisor's are.
    if process::die_with_parent().is_err() {
        return 1;
    }
    process::set_name(c"coracle-net");
    let mut life = Life::begin(plan);
    let ended = life.serve(supervisor);
    life.end(supervisor);
    i32::from(ended.is_err())
}

struct Life<'p> {
    plan: &'p NetworkPlan,
    store: Option<&'static Store>,
    /// Or why there are none, which is said when it is asked for.
    links: Result<Links<'p>, Failure>,
    /// The commands' socket; without it the container's networks stay as they are.
    listener: Option<(OwnedFd, OwnedFd)>,
    clients: Vec<OwnedFd>,
}

#[derive(Clone, Copy)]
enum Source {
    Supervisor,
    Listener,
    Client(usize),
}

impl<'p> Life<'p> {
    fn begin(plan: &'p NetworkPlan) -> Self {
        let opened = confine::process(plan.routed, &plan.runroot)
            .and_then(|()| Store::open_checked(&plan.root, &plan.runroot));
        // For the rest of the process's life.
        let opened: Result<&'static Store> = opened.map(|store| &*Box::leak(Box::new(store)));
        let links = match &opened {
            Ok(store) => prepare(plan, store),
            Err(error) => Err(error.into()),
        };
        let store = opened.ok();
        Life {
            plan,
            store,
            links,
            listener: store.and_then(|store| listen(plan, store).ok()),
            clients: Vec::new(),
        }
    }

    /// Until the supervisor lets go.
    fn serve(&mut self, supervisor: BorrowedFd<'_>) -> Result<()> {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let mut set = PollSet::with_capacity(2 + self.clients.len());
            set.add(Source::Supervisor, supervisor, PollFlags::IN);
            if let Some((_, listener)) = &self.listener {
                set.add(Source::Listener, listener.as_fd(), PollFlags::IN);
            }
            for (index, client) in self.clients.iter().enumerate() {
                set.add(Source::Client(index), client.as_fd(), PollFlags::IN);
            }
            let ready = set
                .wait()
                .system(|| "cannot wait for requests".to_owned())?;
            // From the last, so that the numbers of the others stay what they are.
            for (source, _) in ready.into_iter().rev() {
                match source {
                    Source::Supervisor => {
                        if !self.answer_supervisor(supervisor, &mut buffer)? {
                            return Ok(());
                        }
                    }
                    Source::Listener => self.accept(),
                    Source::Client(index) => {
                        if !self.answer_client(index, &mut buffer) {
                            self.clients.remove(index);
                        }
                    }
                }
            }
        }
    }

    /// Whether there will be more.
    fn answer_supervisor(&mut self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<bool> {
        let what = || "cannot hear from the supervisor".to_owned();
        let (length, namespace) = packet::receive(socket, buffer, true).system(what)?;
        if length == 0 {
            return Ok(false);
        }
        let request = serde_json::from_slice(&buffer[..length]).context(ErrorKind::System, what)?;
        let answer = match (request, namespace) {
            (Request::Attach, Some(namespace)) => self.attach(namespace),
            (Request::AttachAgain, Some(namespace)) => {
                if let Ok(links) = &self.links {
                    links.forget_others(namespace.as_fd());
                }
                self.attach(namespace)
            }
            (Request::Detach, _) => {
                if let Ok(links) = &mut self.links {
                    links.detach();
                }
                return Ok(true);
            }
            (request, _) => self.change(request),
        };
        say(socket, answer)?;
        Ok(true)
    }

    fn attach(&mut self, namespace: OwnedFd) -> Result<()> {
        if self.links.is_err() {
            // Perhaps a port has become free, or the bridge can be made now.
            if let Some(store) = self.store {
                self.links = prepare(self.plan, store);
            }
        }
        match &mut self.links {
            Ok(links) => links.attach(namespace),
            Err(failure) => Err(failure.clone().into_error()),
        }
    }

    /// What a command may ask for.
    fn change(&mut self, request: Request) -> Result<()> {
        let links = match &mut self.links {
            Ok(links) => links,
            Err(failure) => return Err(failure.clone().into_error()),
        };
        match request {
            Request::Connect(connection) => links.connect(*connection),
            Request::Disconnect(network) => links.disconnect(&network),
            Request::Reload => links.reload(),
            Request::Attach | Request::AttachAgain | Request::Detach => {
                Err(Error::new(ErrorKind::System, "not for a command"))
            }
        }
    }

    fn accept(&mut self) {
        let Some((_, listener)) = &self.listener else {
            return;
        };
        use rustix::net::SocketFlags;
        if let Ok(client) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            self.clients.push(client);
        }
    }

    /// Whether the client is still there. Only the user's own commands can reach the socket.
    fn answer_client(&mut self, index: usize, buffer: &mut [u8]) -> bool {
        let Ok((length, _)) = packet::receive(&self.clients[index], buffer, true) else {
            return false;
        };
        if length == 0 {
            return false;
        }
        let answer = serde_json::from_slice(&buffer[..length])
            .context(ErrorKind::InvalidArgument, || "unknown request".to_owned())
            .and_then(|request| self.change(request));
        say(self.clients[index].as_fd(), answer).is_ok()
    }

    fn end(self, supervisor: BorrowedFd<'_>) {
        if let Some((folder, _)) = &self.listener {
            let name = socket_name(&self.plan.container);
            let _ = rustix::fs::unlinkat(folder, name, rustix::fs::AtFlags::empty());
        }
        if let Ok(links) = self.links {
            links.end();
        }
        let _ = say(supervisor, Ok(()));
    }
}

fn prepare<'p>(plan: &'p NetworkPlan, store: &'static Store) -> Result<Links<'p>, Failure> {
    Links::prepare(plan, store).map_err(|error| (&error).into())
}

/// The folder of sockets, and ours in it. A file that an earlier process left is nobody's: the
/// container's lock is held.
fn listen(plan: &NetworkPlan, store: &Store) -> Result<(OwnedFd, OwnedFd)> {
    let what = || "cannot make the socket for network commands".to_owned();
    let folder = store.socket_folder()?;
    let name = socket_name(&plan.container);
    let socket = packet::listen_anew(&folder, &name).system(what)?;
    Ok((folder, socket))
}

fn say(socket: BorrowedFd<'_>, outcome: Result<()>) -> Result<()> {
    let answer = match outcome {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed((&error).into()),
    };
    super::say(socket, &answer, None)
}
