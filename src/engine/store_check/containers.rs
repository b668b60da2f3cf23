//! What containers refer to: image configuration, volumes, their names.

use super::{Checking, StoreCheck};
use crate::{
    engine::Engine,
    model::{ContainerId, Digest, Error, ErrorKind, Result, mount::Mount},
};

impl Checking<'_> {
    pub(super) fn containers(&mut self) {
        let mut check = StoreCheck::new("containers");
        let outcome = self.look_at_containers(&mut check);
        self.end(check, outcome);
    }

    fn look_at_containers(&mut self, check: &mut StoreCheck) -> Result<()> {
        for (_, record) in self.engine.store.containers()? {
            check.looked += 1;
            let what = format!("container {} ({})", record.id, record.name);
            if !self.engine.store.has_its_name(&record)? {
                let finding = check.find(&what, format!("names/{} is not its", record.name));
                if self.options.repair {
                    finding.settle(self.engine.store.give_name_back(&record));
                }
            }
            for volume in record.spec.mounts.iter().filter_map(Mount::volume) {
                let there = self.engine.store.volume(&volume.name)?.is_some();
                if !there && self.engine.store.container(&record.id).is_ok() {
                    let why = format!("its volume {} is not there", volume.name);
                    let finding = check.find(&what, why);
                    finding.left = Some(format!(
                        "make it again: coracle volume create {}",
                        volume.name
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn volumes(&mut self) {
        let mut check = StoreCheck::new("volumes");
        let outcome = self.look_at_volumes(&mut check);
        self.end(check, outcome);
    }

    fn look_at_volumes(&self, check: &mut StoreCheck) -> Result<()> {
        for volume in self.engine.store.volumes()? {
            check.looked += 1;
            if let Err(error) = self.engine.store.volume_data(&volume.name)
                && self.engine.store.volume(&volume.name)?.is_some()
            {
                let what = format!("volume {}", volume.name);
                if self.engine.store.has_volume_data(&volume.name)? {
                    check.unknown.push(format!("{what}: {}", error.one_line()));
                } else {
                    check.find(what, error.one_line());
                }
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Its files cannot be seen any more, so nothing is lost but what it wrote itself.
    pub(super) fn remove_broken_container(&self, id: &ContainerId) -> Result<()> {
        let dir = match self.store.container(id) {
            Ok(dir) => dir,
            Err(error) if error.kind() == ErrorKind::NoSuchContainer => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(lock) = dir.try_hold()? else {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {} is running: stop it first", id.short()),
            ));
        };
        self.store.remove_container(&dir, lock)
    }

    pub(super) fn remove_broken_image(&self, config: &Digest) -> Result<()> {
        let alone = self.store.lock_exclusive()?;
        for record in self.store.images()? {
            if record.config == *config {
                self.store.remove_image_record(&alone, &record)?;
            }
        }
        let garbage = self.store.bury_garbage(&alone)?;
        drop(alone);
        self.note_image("delete", config.as_str(), config.as_str(), Some(config));
        garbage.delete(&self.store)
    }
}
