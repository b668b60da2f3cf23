//! Which ports of the host stand for those of running containers: `RUNROOT/ports/CONTAINER`, a
//! [`Published`] as JSON, by who has bound them.
//!
//! As a lease it is void if the container's lock is free (head of [`super::network_leases`]). It is
//! replaced as a whole, by the one process that binds for the container, before the firewall is told:
//! a void one names what a killed process has left there, and goes with that.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::{fs::Mode, io::Errno};
use serde::{Deserialize, Serialize};

use super::{Durability, FOLDER, Store, files, make_folder, network_leases::unlink};
use crate::model::{ContainerId, Context, Error, ErrorKind, Result, publish::PortMapping};

/// What stands for a container's ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub ports: Vec<PortMapping>,
    /// Where they lead: the container's, at most one of each family.
    pub addresses: Vec<IpAddr>,
}

impl Store {
    /// Says which ports of the host stand for the container's: by who has bound them.
    pub fn put_ports(&self, container: &ContainerId, published: &Published) -> Result<()> {
        let text = serde_json::to_vec(published)
            .context(ErrorKind::System, || "cannot describe ports".to_owned())?;
        make_folder(&self.runroot, "ports").system(|| "cannot make ports/".to_owned())?;
        let what = || format!("cannot open {}", self.runroot_path.join("ports").display());
        let folder =
            rustix::fs::openat(&self.runroot, "ports", FOLDER, Mode::empty()).system(what)?;
        files::put(&folder, container.as_str(), &text, Durability::Volatile)
    }

    /// The ports of the host that stand for the container's; they count only if it runs.
    pub fn ports(&self, container: &ContainerId) -> Result<Published> {
        let place = format!("ports/{container}");
        Ok(files::read_json(&self.runroot, &place)?
            .good()
            .unwrap_or_default())
    }

    pub fn release_ports(&self, container: &ContainerId) -> Result<()> {
        unlink(&self.runroot, &format!("ports/{container}"))
    }

    /// The running container, `besides` one, for which somebody has bound this port of the host.
    pub fn port_holder(
        &self,
        wanted: &PortMapping,
        besides: Option<&ContainerId>,
    ) -> Result<Option<ContainerId>> {
        let mut holders = self.port_holders()?;
        holders.retain(|id| Some(id) != besides);
        for id in holders {
            let same = |port: &PortMapping| {
                port.protocol == wanted.protocol
                    && port.host_port == wanted.host_port
                    && (port.host_ip == wanted.host_ip
                        || is_any(port.host_ip)
                        || is_any(wanted.host_ip))
            };
            if self.ports(&id)?.ports.iter().any(same) && !self.is_void(&id)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The error for a port of the host that cannot be bound since somebody else has it: who that is,
    /// if it is a container.
    pub fn port_in_use(&self, wanted: &PortMapping) -> Error {
        let address = wanted.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let place = SocketAddr::new(address, wanted.host_port.unwrap_or_default());
        let protocol = wanted.protocol;
        let text = format!("Bind for {place}/{protocol} failed: port is already allocated");
        let holder = self.port_holder(wanted, None).ok().flatten();
        let record = holder.and_then(|id| self.container(&id).ok()?.record().ok());
        match record {
            Some(record) => Error::new(
                ErrorKind::Conflict,
                format!("{text} to container {}", record.name),
            )
            .with_hint("stop that one, or publish another port of the host"),
            None => Error::new(ErrorKind::Conflict, text)
                .with_hint("another program has it: `ss -lnp` tells which"),
        }
    }

    fn port_holders(&self) -> Result<Vec<ContainerId>> {
        let what = || "cannot list ports/".to_owned();
        let folder = match rustix::fs::openat(&self.runroot, "ports", FOLDER, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(errno).system(what),
        };
        let names = files::names(&folder).system(what)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Containers that do not run any more and whose ports nobody has taken back, since who should
    /// have was killed. At most `most` are looked at: those that follow on `asking`, so that others
    /// look at other ones.
    pub fn void_ports(
        &self,
        asking: Option<&ContainerId>,
        most: usize,
    ) -> Result<Vec<ContainerId>> {
        let mut holders = self.port_holders()?;
        holders.sort();
        holders.retain(|id| Some(id) != asking);
        // IDs are random.
        let first = holders.partition_point(|id| Some(id) < asking);
        holders.rotate_left(first);
        let mut void = Vec::new();
        for id in holders.into_iter().take(most) {
            if self.is_void(&id)? {
                void.push(id);
            }
        }
        Ok(void)
    }
}

fn is_any(address: Option<IpAddr>) -> bool {
    address.is_none_or(|address| address.is_unspecified())
}
