//! How a command that did not start a container learns of its end, and acts on its processes.
//!
//! Whoever wants to know the end begins to watch *before* looking at the records: the supervisor
//! writes its record first, then drops the lock, then says the word on its sockets, so an end in
//! between is seen one way or the other. If the supervisor is killed the kernel closes the socket;
//! its pidfd becomes readable when the last process of the container is gone too (the supervisor
//! is the first process of their pid namespace; where it is not, for the container shares that
//! namespace, it takes only the first process along).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use crate::{
    engine::supervisor::{
        self,
        protocol::{Attachment, Event, MAX_PAYLOAD, Request, Wish},
    },
    model::{
        Context, Error, ErrorKind, Result,
        container::{ContainerState, ProcessIdentity},
        signal::SIGKILL,
    },
    storage::{ContainerDir, Store, containers::Status},
    sys::{packet, process},
};

/// What a shell shows for a program that SIGKILL ended: the code of a run whose supervisor was
/// killed, and its program with it.
pub(super) const KILLED: i32 = 128 + SIGKILL;

/// How long the end of killed processes may take: they may hang in the kernel, and an attached
/// terminal that takes no output holds the supervisor up.
pub(super) const END_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The supervisor's last word: the exit code. The record is written, or the container removed.
    Exited(i32),
    /// Nobody looks after the container any more. Its records say what is known.
    Gone,
    /// The time is over.
    NotYet,
}

/// A container that somebody looks after, watched.
#[derive(Debug)]
pub(super) struct Watch {
    socket: Option<OwnedFd>,
    supervisor: Option<OwnedFd>,
}

impl Watch {
    /// `None` if nobody looks after the container (any more).
    pub(super) fn begin(store: &Store, directory: &ContainerDir) -> Result<Option<Watch>> {
        let what = || format!("cannot watch container {:?}", directory.id());
        let name = supervisor::socket_name(directory.id());
        let socket = match packet::connect(store.socket_folder()?, &name) {
            Ok(socket) => match Request::Attach(Attachment::default()).send(&socket) {
                Ok(()) => Some(socket),
                Err(error) if is_closed(&error) => None,
                Err(error) => return Err(error).system(what),
            },
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                None
            }
            Err(error) => return Err(error).system(what),
        };
        let supervisor = match directory.start_record()? {
            Some(start) => open_process(&start.supervisor)?,
            None => None,
        };
        // A supervisor's pid outlives its lock for a moment; without either it is over.
        let watched = socket.is_some() || (supervisor.is_some() && directory.is_held()?);
        Ok(watched.then_some(Watch { socket, supervisor }))
    }

    pub(super) fn into_socket(self) -> Option<OwnedFd> {
        self.socket
    }

    /// Readable when [`Self::wait`] has something to say.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket
            .as_ref()
            .or(self.supervisor.as_ref())
            .map(AsFd::as_fd)
    }

    /// Waits for the end. `None` waits for ever.
    pub(super) fn wait(&mut self, limit: Option<Duration>) -> Result<Ending> {
        let what = || "cannot wait for the container's end".to_owned();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        while let Some(socket) = &self.socket {
            if !process::wait_ended(socket, left()).system(what)? {
                return Ok(Ending::NotYet);
            }
            let mut buffer = vec![0; MAX_PAYLOAD + 1];
            let length = match packet::receive(socket, &mut buffer, false) {
                Ok((length, _)) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if is_closed(&error) => 0,
                Err(error) => return Err(error).system(what),
            };
            match Event::parse(&buffer[..length]) {
                Some(Event::Exited(code)) => return Ok(Ending::Exited(code)),
                // Closed without a word.
                None if length == 0 => self.socket = None,
                _ => {}
            }
        }
        match &self.supervisor {
            Some(pidfd) if !process::wait_ended(pidfd, left()).system(what)? => Ok(Ending::NotYet),
            _ => Ok(Ending::Gone),
        }
    }

    /// Tells the supervisor what is meant by the signal that follows. One of an older program, which
    /// would not understand, starts nothing anew.
    pub(super) fn wish(&self, wish: Wish) {
        self.tell(&Request::Wish(wish));
    }

    /// One that has just gone has nothing to be told.
    pub(super) fn tell(&self, request: &Request<'_>) {
        if let Some(socket) = &self.socket {
            let _ = request.send(socket);
        }
    }

    /// Sends a signal to the container's first process: by its pidfd, or, where its number cannot
    /// be looked up (a /proc that hides others' processes), through the supervisor. Whether it
    /// was sent.
    pub(super) fn signal(&self, status: &Status, signal: i32) -> Result<bool> {
        let what = || "cannot signal the container".to_owned();
        if let Some(start) = &status.start
            && let Some(init) = open_process(&start.init)?
        {
            return match process::signal(&init, signal) {
                Ok(()) => Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
                Err(error) => Err(error).system(what),
            };
        }
        match self
            .socket
            .as_ref()
            .map(|socket| Request::Signal(signal).send(socket))
        {
            Some(Ok(())) => Ok(true),
            Some(Err(error)) if is_closed(&error) => Ok(false),
            Some(Err(error)) => Err(error).system(what),
            None => Ok(false),
        }
    }

    /// Kills the container and waits for its end; a supervisor that does not come to an end is
    /// killed too if `supervisor_too`.
    pub(super) fn kill(&mut self, status: &Status, supervisor_too: bool) -> Result<Ending> {
        self.wish(Wish::STOP);
        self.signal(status, SIGKILL)?;
        let mut ending = self.wait(Some(END_LIMIT))?;
        if ending == Ending::NotYet
            && supervisor_too
            && let Some(supervisor) = &self.supervisor
        {
            // It may have ended just now.
            let _ = process::signal(supervisor, SIGKILL);
            ending = self.wait(Some(END_LIMIT))?;
        }
        if ending == Ending::NotYet {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "the container was killed but has not ended after {} seconds",
                    END_LIMIT.as_secs()
                ),
            )
            .with_hint(
                "a process of it may hang in the kernel, or an attached terminal takes no output",
            ));
        }
        Ok(ending)
    }
}

/// A process of this boot that still lives.
fn open_process(identity: &ProcessIdentity) -> Result<Option<OwnedFd>> {
    let what = || format!("cannot look at process {}", identity.pid);
    if process::boot_id().system(what)? != identity.boot_id {
        return Ok(None);
    }
    process::open(identity.pid, identity.start_time).system(what)
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

/// Whether it runs, or will again by itself.
pub(super) fn is_up(status: &Status) -> bool {
    matches!(
        status.state,
        ContainerState::Running | ContainerState::Restarting
    )
}

/// Whether the supervisor has gone on to another run after the end of the one that `before` tells
/// of: it ended by itself before what the command wished was heard.
pub(super) fn goes_on(before: &Status, directory: &ContainerDir) -> Result<bool> {
    let now = directory.state()?;
    let supervisor = |status: &Status| status.start.as_ref().map(|start| start.supervisor.clone());
    Ok(match now.state {
        ContainerState::Restarting => true,
        ContainerState::Running => supervisor(before) == supervisor(&now),
        _ => false,
    })
}

/// The exit code of a container's last run; `None` while it runs and if it never did.
pub(super) fn exit_code(status: &Status) -> Option<i32> {
    match (&status.state, &status.exit) {
        (_, Some(exit)) => Some(exit.code),
        (ContainerState::Exited | ContainerState::Dead, None) => Some(KILLED),
        _ => None,
    }
}

/// Why the last run ended as it did, if there is more to say than its code.
pub(super) fn exit_reason(status: &Status) -> Option<String> {
    if let Some(exit) = &status.exit {
        return exit.error.clone();
    }
    let start = status.start.as_ref()?;
    if status.state != ContainerState::Exited {
        return None;
    }
    let same_boot = process::boot_id().is_ok_and(|boot| boot == start.supervisor.boot_id);
    Some(if same_boot {
        "the container's supervisor was killed, and the container with it".to_owned()
    } else {
        "the machine stopped while the container ran".to_owned()
    })
}
