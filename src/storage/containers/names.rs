//! Names of containers: `names/NAME -> ID`.
//!
//! A name counts only if the container that it points to calls itself so. Every change claims the
//! new name first and frees the old one last, so whoever is killed in between leaves a name too
//! many, which counts for nothing, and never two containers with one name. Names are claimed with
//! the store lock held shared until the container's record says the name, and dead ones are freed
//! with it held exclusively: nobody is between the two steps then.

use rustix::{fs::AtFlags, io::Errno};

use super::{ContainerDir, no_such_container};
use crate::{
    model::{ContainerId, Context, Error, ErrorKind, Result, container::ContainerRecord},
    storage::{Store, files, locks::SharedLock},
};

/// How often a dead name may be found again before giving up: a second time is only needed if
/// another process dies in between.
const TRIES: usize = 8;

impl Store {
    pub(in crate::storage) fn target_of_name(&self, name: &str) -> Result<Option<ContainerId>> {
        match rustix::fs::readlinkat(&self.root, format!("names/{name}"), Vec::new()) {
            Ok(target) => Ok(target.to_str().ok().and_then(|text| text.parse().ok())),
            Err(Errno::NOENT | Errno::INVAL | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(errno).system(|| format!("cannot read the name {name}")),
        }
    }

    /// Who rightly has the name.
    pub(super) fn owner_of_name(&self, name: &str) -> Result<Option<ContainerId>> {
        let Some(id) = self.target_of_name(name)? else {
            return Ok(None);
        };
        let loaded = self.load_container(&id)?;
        Ok(loaded.filter(|(_, record)| record.name == name).map(|_| id))
    }

    /// Whether its name leads to the container.
    pub fn has_its_name(&self, record: &ContainerRecord) -> Result<bool> {
        let _shared = self.lock_shared()?;
        let target = self.target_of_name(&record.name)?;
        // Renamed or removed meanwhile: nothing is wrong.
        let now = self.load_container(&record.id)?;
        Ok(target.as_ref() == Some(&record.id)
            || now.is_none_or(|(_, now)| now.name != record.name))
    }

    /// Lets the container's name lead to it again, if nobody has taken it; whether it does.
    pub fn give_name_back(&self, record: &ContainerRecord) -> Result<bool> {
        let _alone = self.lock_exclusive()?;
        if self
            .owner_of_name(&record.name)?
            .is_some_and(|owner| owner != record.id)
        {
            return Ok(false);
        }
        self.unlink_if_dead(&record.name)?;
        self.link_name(&record.name, &record.id)
    }

    /// Takes a free name for the container; whether there was one.
    pub(super) fn link_name(&self, name: &str, id: &ContainerId) -> Result<bool> {
        match rustix::fs::symlinkat(id.as_str(), &self.root, format!("names/{name}")) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno).system(|| format!("cannot take the name {name}")),
        }
    }

    /// Makes a name free that is there, if nobody has it rightly. No lock may be held.
    ///
    /// # Errors
    /// [`ErrorKind::NameInUse`]
    pub(super) fn vacate_name(&self, name: &str) -> Result<()> {
        match self.owner_of_name(name)? {
            Some(owner) if self.remove_if_over(&owner)? => Ok(()),
            Some(owner) => Err(name_in_use(name, &owner)),
            None => {
                let _alone = self.lock_exclusive()?;
                self.unlink_if_dead(name)
            }
        }
    }

    /// Called with the exclusive lock held.
    fn unlink_if_dead(&self, name: &str) -> Result<()> {
        if self.owner_of_name(name)?.is_none() {
            self.unlink_name(name)?;
        }
        Ok(())
    }

    pub(in crate::storage) fn unlink_name(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.root, format!("names/{name}"), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).system(|| format!("cannot free the name {name}")),
        }
    }

    /// Frees the name if it is that container's; whether it was.
    pub(super) fn unlink_name_of(&self, name: &str, id: &ContainerId) -> Result<bool> {
        if name.is_empty() || self.target_of_name(name)?.as_ref() != Some(id) {
            return Ok(false);
        }
        self.unlink_name(name)?;
        Ok(true)
    }

    /// Gives the container another name, whether it runs or not. Returns the one it had. At every
    /// moment it has the one or the other.
    ///
    /// # Errors
    /// [`ErrorKind::NameInUse`]; [`ErrorKind::InvalidArgument`] if it is called so already;
    /// [`ErrorKind::NoSuchContainer`] if it is removed meanwhile.
    pub fn rename_container(&self, dir: &ContainerDir, name: &str) -> Result<String> {
        for _ in 0..TRIES {
            let shared = self.lock_shared()?;
            let alone = self.change_container_alone(&dir.id)?;
            let record = dir.record()?;
            if record.name == name {
                return Err(Error::invalid(
                    "renaming a container with the same name as its current name",
                ));
            }
            // Its own: of a rename that was killed.
            if self.link_name(name, &dir.id)?
                || self.target_of_name(name)?.as_ref() == Some(&dir.id)
            {
                return self.go_by(dir, record, name, &shared);
            }
            drop((alone, shared));
            self.vacate_name(name)?;
        }
        Err(Errno::EXIST).system(|| format!("cannot take the name {name}"))
    }

    /// The name is claimed: writes it down and frees the old one.
    fn go_by(
        &self,
        dir: &ContainerDir,
        record: ContainerRecord,
        name: &str,
        _held: &SharedLock,
    ) -> Result<String> {
        let old = record.name.clone();
        let record = ContainerRecord {
            name: name.to_owned(),
            ..record
        };
        let flushed = if record.spec.auto_remove {
            Ok(())
        } else {
            // Before the record: it must not outlive its claim on the name.
            let names = self.folder("names")?;
            rustix::fs::fsync(names).system(|| format!("cannot take the name {name}"))
        };
        let written = flushed.and_then(|()| dir.put_record(&record));
        if let Err(error) = written {
            // Unless it was written, and only not flushed.
            let written = self
                .open_container(&dir.id)?
                .is_some_and(|dir| dir.record().is_ok_and(|record| record.name == name));
            if !written {
                self.unlink_name_of(name, &dir.id)?;
            }
            return Err(error);
        }
        self.unlink_name_of(&old, &dir.id)?;
        // Whoever removes the container looks at the name after it has taken it out of sight, and
        // this looks whether it is in sight after it has written the name: one of the two sees the
        // other, and no name is left behind.
        if self.open_container(&dir.id)?.is_none() {
            self.unlink_name_of(name, &dir.id)?;
            return Err(no_such_container(&old));
        }
        Ok(old)
    }

    /// Frees the names that killed processes have left. Two listings if there are none.
    pub(in crate::storage) fn free_dead_names(&self) -> Result<()> {
        let listed = || files::names(&self.folder("names")?).system(|| "cannot list names/".into());
        let names: Vec<String> = listed()?;
        if names.len() <= self.container_ids()?.len() {
            return Ok(());
        }
        // Others are adding to the store: the next sweep looks again.
        let Some(_alone) = self.try_lock_exclusive()? else {
            return Ok(());
        };
        names.iter().try_for_each(|name| self.unlink_if_dead(name))
    }
}

fn name_in_use(name: &str, owner: &ContainerId) -> Error {
    Error::new(
        ErrorKind::NameInUse,
        format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\""
        ),
    )
    .with_hint(format!(
        "remove it with `coracle rm {name}`, rename it, or choose another name"
    ))
}
