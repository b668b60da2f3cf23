//! The container's network process, which the supervisor starts, asks and, if it was killed, replaces.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::stdio::{stderr, stdin, stdout};

use super::{Container, event_loop::EventLoop};
use crate::{
    engine::sandbox,
    model::{Context, Error, ErrorKind, Result, container::ContainerRecord},
    net::process::{Connection, NetworkProcess},
};

impl Container<'_> {
    /// Starts the network process, if the container has networks and it does not run yet.
    pub(super) fn start_network(&mut self, watch: &mut EventLoop) -> Result<()> {
        let Some(plan) = &self.plan.network else {
            return Ok(());
        };
        if self.network.is_none() {
            let process = NetworkProcess::start(plan, &[stdin(), stdout(), stderr()])?;
            let pidfd = process
                .pidfd()
                .try_clone_to_owned()
                .system(|| "cannot watch the network process".to_owned())?;
            watch.look_after_network(Some(pidfd));
            self.network = Some(process);
        }
        Ok(())
    }

    /// The container's networks appear in its namespace.
    pub(super) fn connect(&self, namespace: BorrowedFd<'_>) -> Result<()> {
        match &self.network {
            Some(process) => process.attach(namespace),
            None => Err(Error::new(
                ErrorKind::System,
                "the container has no network process",
            )),
        }
    }

    /// The container needs it no more: ports and addresses are free when this returns.
    pub(super) fn end_network(&mut self) {
        if let Some(process) = self.network.take() {
            process.end();
        }
    }

    /// The container's networks as they are now: commands may have changed them while it ran. Ports of
    /// the host that were chosen for it stay what they are.
    pub(super) fn renew_network(&mut self, record: &ContainerRecord) -> Result<()> {
        let Some(plan) = self.plan.network.as_mut() else {
            return Ok(());
        };
        let published = self.store.ports(&record.id)?.ports;
        if !published.is_empty() {
            plan.published = published;
        }
        if plan.private {
            return Ok(());
        }
        plan.connections.clear();
        for attachment in record.spec.network.attachments() {
            let Some(network) = self.store.network(&attachment.network)? else {
                continue;
            };
            let held = std::slice::from_ref(&network.id);
            for endpoint in self.store.endpoints(&record.id, held)? {
                let network = network.clone();
                plan.connections.push(Connection { network, endpoint });
            }
        }
        Ok(())
    }

    /// The network process was killed: another one takes over. If that cannot be done the container
    /// goes on without networks, as it would with a cable pulled out.
    pub(super) fn mend_network(&mut self, watch: &mut EventLoop) {
        self.end_network();
        let record = self.directory.record();
        let renewed = record.and_then(|record| self.renew_network(&record));
        let mended = renewed
            .and_then(|()| self.start_network(watch))
            .and_then(|()| {
                let first = watch.first_process().ok_or_else(|| {
                    Error::new(ErrorKind::System, "the container's first process has ended")
                })?;
                let namespace = sandbox::network_namespace(first)?;
                match &self.network {
                    Some(process) => process.attach_again(namespace.as_fd()),
                    None => Ok(()),
                }
            });
        if mended.is_err() {
            // Not once more: it would end in the same way.
            watch.look_after_network(None);
            self.end_network();
        }
    }
}
