//! Definitions of networks: one file each, `networks/NAME`, a [`Network`] as JSON.
//!
//! The folder is made with the first network. Who makes, changes or removes one holds its `flock`;
//! readers take no lock, as a file is whole or not there. A definition is durable when its maker
//! returns. The default network has no file.
//!
//! Who holds addresses in a network is in the run root: head of [`super::network_leases`]. A network
//! is removed with that lock held too, so that nobody joins one that goes.

use rustix::{fs::AtFlags, io::Errno};

use super::{
    Durability, Store,
    files::{self, Stored},
    locks::FolderLock,
    make_folder,
};
use crate::model::{
    Context, Error, ErrorKind, Result,
    network::{Network, is_default_name},
};

const FOLDER: &str = "networks";

/// While it lives, nobody else makes, changes or removes a network.
#[derive(Debug)]
pub struct ChangingNetworks<'a> {
    folder: FolderLock,
    store: &'a Store,
}

impl Store {
    /// The default network first, then all others by name.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let mut networks = vec![Network::default_bridge()];
        let folder = match self.folder(FOLDER) {
            Ok(folder) => folder,
            Err(_) if !super::lease::exists(&self.root, FOLDER)? => return Ok(networks),
            Err(error) => return Err(error),
        };
        let mut names = files::names(&folder).system(|| "cannot list networks/".to_owned())?;
        names.sort();
        for name in names {
            // `None`: removed meanwhile, or damaged.
            if let Some(network) = files::read_json::<Network>(&folder, &name)?.good()
                && network.name == name
            {
                networks.push(network);
            }
        }
        Ok(networks)
    }

    /// The network of exactly this name.
    pub fn network(&self, name: &str) -> Result<Option<Network>> {
        if is_default_name(name) {
            return Ok(Some(Network::default_bridge()));
        }
        if crate::model::network::check_network_name(name).is_err() {
            return Ok(None);
        }
        match files::read_json::<Network>(&self.root, &format!("{FOLDER}/{name}"))? {
            Stored::Good(network) => Ok(Some(network).filter(|network| network.name == name)),
            Stored::Foreign(error) => Err(Error::new(
                ErrorKind::Store,
                format!("cannot understand the definition of network {name}"),
            )
            .with_source(error)),
            Stored::Missing | Stored::Damaged => Ok(None),
        }
    }

    /// What the user means: a name, an ID or an unambiguous beginning of one.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchNetwork`]; [`ErrorKind::InvalidArgument`] if several fit.
    pub fn resolve_network(&self, typed: &str) -> Result<Network> {
        if let Some(network) = self.network(typed)? {
            return Ok(network);
        }
        let is_hex = !typed.is_empty() && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
        let networks = if is_hex { self.networks()? } else { Vec::new() };
        let fits = |network: &Network| network.id.as_str().starts_with(typed);
        let mut fitting = networks.into_iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(network), None) => Ok(network),
            (None, _) => Err(no_such_network(typed)),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "network {typed} is ambiguous: it is the beginning of several IDs"
            ))),
        }
    }

    /// Held from looking at the networks that there are until the change is made.
    pub fn change_networks_alone(&self) -> Result<ChangingNetworks<'_>> {
        make_folder(&self.root, FOLDER).system(|| "cannot make networks/".to_owned())?;
        let folder = FolderLock::hold(self, FOLDER)?;
        super::secrets::unlink_staged(&folder)?;
        Ok(ChangingNetworks {
            folder,
            store: self,
        })
    }
}

pub(super) fn no_such_network(typed: &str) -> Error {
    Error::new(
        ErrorKind::NoSuchNetwork,
        format!("network {typed} not found"),
    )
    .with_hint("`coracle network ls` lists those that are here")
}

impl ChangingNetworks<'_> {
    /// Makes the definition appear, or replaces it.
    pub fn put(&self, network: &Network) -> Result<()> {
        crate::model::network::check_network_name(&network.name)?;
        let text = serde_json::to_vec(network)
            .context(ErrorKind::System, || "cannot describe a network".to_owned())?;
        let dir = self.folder.dir();
        files::put(dir, &network.name, &text, Durability::Durable)
    }

    /// Removes a network that no container is in, after what `before` does while nobody can join it:
    /// it may be called again for a network that is still there.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] with the names of those that are; [`ErrorKind::NoSuchNetwork`] if
    /// somebody else was faster.
    pub fn remove(&self, network: &Network, before: impl FnOnce()) -> Result<()> {
        let leases = self.store.lock_leases(&network.id)?;
        let members = leases.members()?;
        if !members.is_empty() {
            let names: Vec<String> = members
                .iter()
                .map(|member| format!("name:{:?} id:{:?}", member.name, member.container.short()))
                .collect();
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "error while removing network: network {} has active endpoints ({})",
                    network.name,
                    names.join(", ")
                ),
            )
            .with_hint("stop those containers, or take them out: coracle network disconnect"));
        }
        before();
        match rustix::fs::unlinkat(self.folder.dir(), &network.name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(no_such_network(&network.name)),
            Err(errno) => {
                return Err(errno).system(|| format!("cannot remove network {}", network.name));
            }
        }
        // What cannot be flushed (full, or failing) is gone all the same.
        let _ = rustix::fs::fsync(self.folder.dir());
        leases.remove_folder();
        Ok(())
    }
}
