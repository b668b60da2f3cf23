//! `network connect` and `network disconnect`: another network for a container, at once if it runs and
//! for all its later starts.
//!
//! Who changes a container's networks holds its folder's lock ([`Store::change_container_alone`]), so
//! that two commands cannot undo each other's change of the record.
//!
//! The record is changed last. A command that is killed before leaves a container that is in a network
//! which its record does not name, or the other way round: the next command about the two ends what
//! was begun.
//!
//! [`Store::change_container_alone`]: crate::storage::Store::change_container_alone

use super::leases::{free_interface, names_in};
use crate::{
    engine::{
        Engine,
        supervisor::network_files::{self, Connections},
    },
    model::{
        Error, ErrorKind, Result,
        attachment::Attachment,
        container::{ContainerRecord, NetworkMode},
        network::{Endpoint, Network},
    },
    storage::{ContainerDir, network_leases::LeaseRequest},
};

impl Engine {
    /// Attaches a container to one more network.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchNetwork`], [`ErrorKind::NoSuchContainer`]; [`ErrorKind::Conflict`] if it is in
    /// that network, or its mode allows none.
    pub fn connect_network(&self, container: &str, mut attachment: Attachment) -> Result<()> {
        let network = self.store.resolve_network(&attachment.network)?;
        attachment.network.clone_from(&network.name);
        let (directory, record) = self.store.find_container(container)?;
        let _alone = self.store.change_container_alone(&record.id)?;
        let mut record = directory.record()?;
        let mut attachments = attachments_to_change(&record)?;
        let running = directory.is_held()?;
        let before = attachments.len();
        attachments.retain(|other| other.network != network.name);
        let held = std::slice::from_ref(&network.id);
        // A running container that has no address there was about to leave.
        let half = running && self.store.endpoints(&record.id, held)?.is_empty();
        if attachments.len() < before && !half {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "endpoint with name {} already exists in network {}",
                    record.name, network.name
                ),
            ));
        }
        if running {
            self.connect_running(&directory, &record, &network, &attachment)?;
        }
        attachments.push(attachment);
        record.spec.network = NetworkMode::Networks(attachments);
        directory.put_record(&record)?;
        self.note_network("connect", &network, &[("container", record.id.as_str())]);
        Ok(())
    }

    fn connect_running(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        network: &Network,
        attachment: &Attachment,
    ) -> Result<()> {
        let there = self.endpoints_of(record)?;
        let taken = |name: &str| {
            let mut interfaces = there.iter().map(|endpoint| &endpoint.interface);
            interfaces.any(|interface| interface == name)
        };
        let interface = free_interface(network, taken)?;
        if let Some(name) = &attachment.interface
            && taken(name)
        {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {} has an interface {name} already", record.name),
            ));
        }
        self.leave_running(record, network)?;
        let names = names_in(record, attachment);
        let leads_out = !network.internal && !network.no_default_route;
        let request = LeaseRequest {
            container: &record.id,
            name: &record.name,
            attachment,
            interface: &interface,
            names: &names,
            // The first way out that it gets; another one only at the next start.
            default_route: leads_out && !there.iter().any(|endpoint| endpoint.default_route),
            live: true,
        };
        let endpoint = self.store.lease_addresses(network, &request)?;
        if let Err(error) = self.attach_running(record, network, &endpoint) {
            self.store.release_endpoint(&endpoint, &record.id)?;
            return Err(error);
        }
        let now = [there.as_slice(), &[endpoint]].concat();
        self.rewrite_hosts(directory, record, &there, &now)
    }

    /// In a running container's /etc/hosts, whose lines about the host stay.
    fn rewrite_hosts(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        before: &[Endpoint],
        after: &[Endpoint],
    ) -> Result<()> {
        let hostname = self.shared_hostname(&record.spec)?;
        if record.ids.is_some() {
            // The file is the container's root's, who is somebody else outside of this namespace.
            self.enter_user_namespace()?;
        }
        let [before, after] = [before, after].map(|endpoints| Connections {
            endpoints,
            host: &[],
        });
        let folder = directory.fd();
        network_files::update(folder, record, hostname.as_deref(), before, after)
    }

    /// Takes a container out of a network. With `force` one that has been removed meanwhile is no
    /// failure.
    ///
    /// # Errors
    /// As [`Self::connect_network`].
    pub fn disconnect_network(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let network = self.store.resolve_network(network)?;
        let (directory, record) = match self.store.find_container(container) {
            Err(error) if force && error.kind() == ErrorKind::NoSuchContainer => return Ok(()),
            other => other?,
        };
        let _alone = self.store.change_container_alone(&record.id)?;
        let mut record = directory.record()?;
        let mut attachments = attachments_to_change(&record)?;
        let before = attachments.len();
        attachments.retain(|attachment| attachment.network != network.name);
        let running = directory.is_held()?;
        let held = std::slice::from_ref(&network.id);
        // A running container that has an address there was about to join.
        let half = running && !self.store.endpoints(&record.id, held)?.is_empty();
        if attachments.len() == before && !half {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "container {} is not connected to network {}",
                    record.id, network.name
                ),
            ));
        }
        if running {
            let mut stay = self.endpoints_of(&record)?;
            stay.retain(|one| one.network != network.id);
            let left = self.leave_running(&record, &network)?;
            let there = [stay.as_slice(), &left].concat();
            self.rewrite_hosts(&directory, &record, &there, &stay)?;
        }
        record.spec.network = NetworkMode::Networks(attachments);
        directory.put_record(&record)?;
        self.note_network("disconnect", &network, &[("container", record.id.as_str())]);
        Ok(())
    }

    /// Takes a running container's interface and addresses away, as far as it has them; those.
    fn leave_running(&self, record: &ContainerRecord, network: &Network) -> Result<Vec<Endpoint>> {
        let held = self
            .store
            .endpoints(&record.id, std::slice::from_ref(&network.id))?;
        for endpoint in &held {
            match self.detach_running(record, network) {
                // It has been taken away already.
                Err(error) if error.kind() == ErrorKind::NoSuchNetwork => {}
                done => done?,
            }
            self.store.release_endpoint(endpoint, &record.id)?;
        }
        Ok(held)
    }

    /// What a container holds in its networks, in their order; of one that does not run it is void.
    pub(in crate::engine) fn endpoints_of(
        &self,
        record: &ContainerRecord,
    ) -> Result<Vec<Endpoint>> {
        let mut networks = Vec::new();
        for attachment in record.spec.network.attachments() {
            // One that was removed has no leases.
            networks.extend(self.store.network(&attachment.network)?.map(|one| one.id));
        }
        self.store.endpoints(&record.id, &networks)
    }
}

fn attachments_to_change(record: &ContainerRecord) -> Result<Vec<Attachment>> {
    let refuse = |text: &str| Err(Error::new(ErrorKind::Conflict, text));
    match &record.spec.network {
        mode @ (NetworkMode::Bridge | NetworkMode::Networks(_)) => Ok(mode.attachments()),
        NetworkMode::Host => refuse(
            "container cannot be disconnected from host network or connected to host network",
        ),
        NetworkMode::Container(_) | NetworkMode::Path(_) => refuse(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        ),
        NetworkMode::None | NetworkMode::Private(_) => refuse(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
    }
}
