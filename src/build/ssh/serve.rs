//! The process that answers a step: a fork, with a thread for each connection.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::mpsc,
    thread,
};

use rustix::fs::{AtFlags, Gid, Mode, Uid};

use super::{
    Agent,
    agent::{self, MAX_MESSAGE},
};
use crate::{
    model::{Context, Result},
    sys::{fork, packet, process},
};

/// Connections at a time; others wait.
const MAX_CONNECTIONS: usize = 32;
/// Bytes of a thread's stack: signing takes some.
const STACK: usize = 512 << 10;

/// Whose the socket is.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// An agent that answers until this is dropped.
pub struct Serving(fork::Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = process::signal(&self.0.pidfd, libc::SIGKILL);
        let _ = process::reap(&self.0.pidfd);
    }
}

impl Serving {
    /// Makes the socket and begins to answer. This process must have one thread.
    pub fn start(
        folder: BorrowedFd<'_>,
        name: &str,
        owner: Owner,
        agent: &Agent,
    ) -> Result<Serving> {
        let what = || "cannot serve an SSH agent".to_owned();
        let socket = packet::listen_stream(folder, name).system(what)?;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(folder, name, Some(uid), Some(gid), flags).system(|| {
            format!(
                "an SSH agent's socket cannot belong to {}:{}",
                owner.uid, owner.gid
            )
        })?;
        let mode = Mode::from_raw_mode(owner.mode);
        rustix::fs::chmodat(folder, name, mode, AtFlags::empty()).system(what)?;
        let parent = rustix::process::getpid();
        let child = fork::fork(fork::Namespaces::NONE, || {
            if process::die_with_parent().is_err() || rustix::process::getppid() != Some(parent) {
                return 1;
            }
            serve(socket, agent);
            1
        });
        child.map(Serving).system(what)
    }
}

fn serve(socket: OwnedFd, agent: &Agent) {
    let listener = UnixListener::from(socket);
    let (free, places) = mpsc::channel();
    for _ in 0..MAX_CONNECTIONS {
        let _ = free.send(());
    }
    thread::scope(|scope| {
        while places.recv().is_ok() {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            let done = free.clone();
            let talk = move || {
                // Whatever went wrong is between the two of them.
                let _ = talk(stream, agent);
                let _ = done.send(());
            };
            let builder = thread::Builder::new().stack_size(STACK);
            if builder.spawn_scoped(scope, talk).is_err() {
                let _ = free.send(());
            }
        }
    });
}

fn talk(mut stream: UnixStream, agent: &Agent) -> io::Result<()> {
    let mut behind = None;
    loop {
        let message = receive(&mut stream)?;
        let answer = match agent {
            Agent::Keys(keys) => agent::answer(&message, keys),
            Agent::Socket(path) if agent::is_allowed(&message) => {
                let behind = match &mut behind {
                    Some(behind) => behind,
                    none => none.insert(connect(path)?),
                };
                send(behind, &message)?;
                receive(behind)?
            }
            Agent::Socket(_) => agent::failure(),
        };
        send(&mut stream, &answer)?;
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    // At once: clients read as much as there is.
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}
