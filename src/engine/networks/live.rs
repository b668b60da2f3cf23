//! What a running container's network process is told.

use crate::{
    engine::Engine,
    model::{
        Error, ErrorKind, Result,
        container::ContainerRecord,
        network::{Endpoint, Network},
    },
    net::process::{self, Connection, Request},
    sys::packet,
};

impl Engine {
    /// Gives a running container an interface in a network in which it holds addresses.
    pub(super) fn attach_running(
        &self,
        record: &ContainerRecord,
        network: &Network,
        endpoint: &Endpoint,
    ) -> Result<()> {
        let connection = Connection {
            network: network.clone(),
            endpoint: endpoint.clone(),
        };
        self.tell_network_process(record, &Request::Connect(Box::new(connection)))
    }

    /// Takes the interface away.
    pub(super) fn detach_running(&self, record: &ContainerRecord, network: &Network) -> Result<()> {
        let request = Request::Disconnect(network.id.to_string());
        self.tell_network_process(record, &request)
    }

    fn tell_network_process(&self, record: &ContainerRecord, request: &Request) -> Result<()> {
        let folder = self.store.socket_folder()?;
        let socket =
            packet::connect(folder, &process::socket_name(&record.id)).map_err(|cause| {
                Error::new(
                    ErrorKind::Conflict,
                    format!("container {} has no networks to be changed", record.name),
                )
                .with_source(cause)
                .with_hint("it was started without one: stop it first")
            })?;
        process::ask(&socket, request, None)
    }

    /// Has the firewall rules and links of running containers made again, after somebody else has
    /// removed them. Those that do not run, or have no network, are left alone. The whole IDs of
    /// those whose were.
    pub fn reload_networks(&self, containers: &[String]) -> Result<Vec<String>> {
        let mut reloaded = Vec::new();
        for container in containers {
            let (directory, record) = self.store.find_container(container)?;
            if record.spec.network.is_connected() && directory.is_held()? {
                self.tell_network_process(&record, &Request::Reload)?;
                reloaded.push(record.id.to_string());
            }
        }
        Ok(reloaded)
    }
}
