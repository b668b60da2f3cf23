//! Letting a container stand still while a command reads its files: the container's supervisor
//! does it, for as long as the command is connected. However that dies, the container goes on.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::net::{Shutdown, shutdown};

use crate::{
    engine::{
        Engine,
        cgroup::Group,
        supervisor::{
            protocol::{Attachment, Event, MAX_PAYLOAD, Request},
            socket_name,
        },
    },
    model::{Context, Error, ErrorKind, Result},
    storage::ContainerDir,
    sys::{packet, process},
};

/// So long a supervisor may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The container stands still as long as this lives, or this process.
pub(super) struct Standstill {
    socket: OwnedFd,
}

impl Engine {
    /// Lets a running container stand still; `group` is its own. `None` if it has just ended.
    pub(super) fn hold_still(
        &self,
        directory: &ContainerDir,
        group: &Group,
    ) -> Result<Option<Standstill>> {
        let what = || "cannot let the container stand still".to_owned();
        let name = socket_name(directory.id());
        let socket = packet::connect(self.store.socket_folder()?, &name).system(what)?;
        Request::HoldStill.send(&socket).system(what)?;
        Request::Attach(Attachment::default())
            .send(&socket)
            .system(what)?;
        let held = Standstill { socket };
        match held.answer().system(what)? {
            Answer::Still(true) => {
                group.await_freezer(true).system(what)?;
                Ok(Some(held))
            }
            Answer::Still(false) => Err(Error::new(
                ErrorKind::Unsupported,
                "cannot let the container stand still: its supervisor cannot freeze its cgroup",
            )),
            Answer::Ended => Ok(None),
            Answer::Unknown => Err(Error::new(
                ErrorKind::Unsupported,
                "cannot let the container stand still: an older coracle started it",
            )
            .with_hint("stop it and start it again")),
        }
    }

    /// Has a container that stands still for other commands stay so when they have gone; whether
    /// it does stand still for any.
    pub(super) fn stay_still(&self, directory: &ContainerDir) -> Result<bool> {
        let what = || "cannot speak to the container's supervisor".to_owned();
        let name = socket_name(directory.id());
        let socket = packet::connect(self.store.socket_folder()?, &name).system(what)?;
        Request::StayStill.send(&socket).system(what)?;
        Request::Attach(Attachment::default())
            .send(&socket)
            .system(what)?;
        let asked = Standstill { socket };
        Ok(matches!(asked.answer().system(what)?, Answer::Still(true)))
    }
}

enum Answer {
    Still(bool),
    Ended,
    /// The supervisor does not know the question.
    Unknown,
}

impl Standstill {
    fn answer(&self) -> std::io::Result<Answer> {
        let deadline = Instant::now() + LIMIT;
        let mut buffer = vec![0; MAX_PAYLOAD + 1];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !process::wait_ended(&self.socket, Some(left))? {
                return Ok(Answer::Unknown);
            }
            let (length, _) = packet::receive(&self.socket, &mut buffer, true)?;
            match Event::parse(&buffer[..length]) {
                Some(Event::StandsStill(still)) => return Ok(Answer::Still(still)),
                Some(Event::Started(_)) => return Ok(Answer::Unknown),
                Some(Event::Exited(_)) => return Ok(Answer::Ended),
                _ if length == 0 => return Ok(Answer::Ended),
                _ => {}
            }
        }
    }
}

impl Drop for Standstill {
    /// When the supervisor closes its end too, the container has been let go.
    fn drop(&mut self) {
        let mut buffer = vec![0; MAX_PAYLOAD + 1];
        let deadline = Instant::now() + LIMIT;
        let mut open = shutdown(&self.socket, Shutdown::Write).is_ok();
        while open {
            let left = deadline.saturating_duration_since(Instant::now());
            open = process::wait_ended(&self.socket, Some(left)).unwrap_or_default()
                && packet::receive(&self.socket, &mut buffer, true)
                    .is_ok_and(|(length, _)| length > 0);
        }
    }
}
