//! `rename`: another name, in whatever state the container is.

use super::moves::{self, Move};
use crate::{
    engine::Engine,
    model::{
        Error, Result,
        container::{ContainerRecord, check_name},
    },
};

impl Engine {
    /// Gives the container another name; returns the one it had. What belongs to a container is
    /// kept by its ID: only its neighbours notice, who find it by the new name.
    ///
    /// # Errors
    /// [`NameInUse`](crate::model::ErrorKind::NameInUse); an invalid argument if the name is none,
    /// or the container's already.
    pub fn rename(&self, container: &str, name: &str) -> Result<String> {
        if container.is_empty() || name.is_empty() {
            return Err(Error::invalid("neither old nor new names may be empty"));
        }
        // As Docker shows names.
        let name = name.strip_prefix('/').unwrap_or(name);
        check_name(name)?;
        let (directory, record) = self.store.find_container(container)?;
        let state = super::state_of(&directory)?;
        moves::check(Move::Rename, state, &record, container)?;
        let old = self.store.rename_container(&directory, name)?;
        let record = ContainerRecord {
            name: name.to_owned(),
            ..record
        };
        self.rename_in_networks(&record, &old)?;
        self.note_container(&record, "rename", &[("oldName", &format!("/{old}"))]);
        Ok(old)
    }
}
