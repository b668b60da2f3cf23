//! What the program needs before it can run: streams, control groups, and a socket for commands.

use std::os::fd::OwnedFd;

use super::{
    super::{
        cgroup,
        sandbox::{Stream, Streams, device_filter},
    },
    Container, event_loop,
    protocol::{self, Event},
    socket_name,
};
use crate::{
    model::{Context, Error, ErrorKind, Result, device::version_1_lines, namespace::Place},
    sys::{packet, process},
};

impl Container<'_> {
    /// The program's ends and ours; a terminal is opened by the program's side.
    pub(super) fn streams(&self) -> Result<(Option<Streams>, event_loop::StreamEnds)> {
        if self.plan.sandbox.process.terminal {
            return Ok((None, event_loop::StreamEnds::default()));
        }
        if let [input, output, error_output] = self.passed.as_slice() {
            let what = || "cannot pass on the streams".to_owned();
            let borrowed = |stream: &OwnedFd| stream.try_clone().map(Stream::Borrowed).system(what);
            let stdin = self.plan.interactive.then(|| borrowed(input));
            let streams = Streams {
                stdin: stdin.transpose()?,
                stdout: Some(borrowed(output)?),
                stderr: Some(borrowed(error_output)?),
            };
            return Ok((Some(streams), event_loop::StreamEnds::default()));
        }
        let (streams, ends) = pipes(self.plan.interactive)?;
        Ok((Some(streams), ends))
    }

    /// Whether this process has to end the container's processes one by one. In the host's pid
    /// namespace it can be seen by the container, and in one that is joined its child can, from the
    /// moment it is forked: nothing of either may be read there (CVE-2016-9962).
    pub(super) fn leave_pid_namespace(&self) -> Result<bool> {
        let place = self.plan.sandbox.namespaces.placement.pid;
        if place == Place::Own {
            return Ok(false);
        }
        process::hide().system(|| "cannot hide this process".to_owned())?;
        process::adopt_orphans().system(|| "cannot adopt orphans".to_owned())?;
        Ok(true)
    }

    /// The container's control group with its limits, and whether its rules for devices are in force.
    pub(super) fn make_cgroups(&self, client: Option<&OwnedFd>) -> Result<(cgroup::Made, bool)> {
        let unit = format!("coracle-{}", self.plan.id.short());
        let caller = match self.plan.shares_user_namespace {
            false => cgroup::Caller::Root,
            true => cgroup::Caller::User {
                bus: self.plan.user_bus.as_deref(),
                unit: &unit,
            },
        };
        let mut made = cgroup::make(&self.plan.sandbox.cgroup, &self.plan.id, &caller)?;
        tell_unheld(client, &made.unheld);
        let guarded = self.guard_devices(&mut made);
        let guarded = guarded.inspect_err(|_| made.remove())?;
        Ok((made, guarded))
    }

    /// Puts the device rules into force; says whether they are, or need not be. Without a group of
    /// version 2 the container has only the nodes that it was given.
    fn guard_devices(&self, groups: &mut cgroup::Made) -> Result<bool> {
        let devices = &self.plan.sandbox.devices;
        let Some(rules) = devices.rules.as_ref().filter(|_| !devices.spares_rules) else {
            return Ok(true);
        };
        let without = || {
            let message = "there is no control group of version 2 for the container";
            Err(Error::new(ErrorKind::Unsupported, message))
        };
        let group = groups.group.as_ref();
        match group.map_or_else(without, |group| device_filter::attach(group.fd(), rules)) {
            Err(error) if devices.rules_must_hold => {
                // Version 1 has a controller for them, root's alone.
                let lines = version_1_lines(rules);
                let limited =
                    cgroup::v1::confine_devices(&mut groups.legacy, &self.plan.id, &lines);
                if limited.is_ok() {
                    return Ok(true);
                }
                let message = "cannot limit what the container does with a device";
                Err(Error::new(ErrorKind::Unsupported, message)
                    .with_source(error)
                    .with_hint("leave the permissions of --device out, or `coracle doctor` says what is missing"))
            }
            // Nobody asked for them: an outer container, most likely, which limits us both.
            Err(_) => Ok(false),
            Ok(()) => Ok(true),
        }
    }

    /// The attach socket. A file left by an earlier supervisor is nobody's: we hold the lock.
    pub(super) fn listen(&self) -> Result<OwnedFd> {
        packet::listen_anew(&self.sockets, &socket_name(&self.plan.id))
            .system(|| "cannot make the container's socket".to_owned())
    }

    pub(super) fn remove_socket(&self) {
        let name = socket_name(&self.plan.id);
        let _ = rustix::fs::unlinkat(&self.sockets, &name, rustix::fs::AtFlags::empty());
    }
}

/// Says once which limits do not hold, before the word that the program runs.
fn tell_unheld(client: Option<&OwnedFd>, unheld: &[cgroup::Unheld]) {
    let Some(client) = client else { return };
    for limit in unheld {
        let text = format!("--{} has no effect: {}", limit.flag, limit.why);
        let _ = protocol::send_packet(client, &Event::Notice(text).encode(), true);
    }
}

/// The program's ends of its streams, and ours.
fn pipes(interactive: bool) -> Result<(Streams, event_loop::StreamEnds)> {
    let what = || "cannot make a pipe".to_owned();
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).system(what);
    let (stdin, input) = if interactive {
        let (read, write) = pipe()?;
        rustix::io::ioctl_fionbio(&write, true).system(what)?;
        (Some(Stream::Made(read)), Some(write))
    } else {
        (None, None)
    };
    let (output, stdout) = pipe()?;
    let (error_output, stderr) = pipe()?;
    let ends = event_loop::StreamEnds::of_pipes(input, output, error_output);
    Ok((
        Streams {
            stdin,
            stdout: Some(Stream::Made(stdout)),
            stderr: Some(Stream::Made(stderr)),
        },
        ends,
    ))
}
