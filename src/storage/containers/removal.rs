//! Containers going: out of sight by one rename, then deleted; those that were to go at their end and
//! whose supervisor was killed, later.

use std::os::fd::OwnedFd;

use rustix::{fs::AtFlags, io::Errno};

use super::{ContainerDir, ContainerLock, VOLATILE, leftovers::groups_are_gone, read_record};
use crate::{
    model::{ContainerId, Context, Result, container::ContainerRecord, mount::anonymous_volumes},
    storage::{Durability, Store, files::Stored, lease::exists, network_leases::unlink},
};

impl Store {
    /// Removes the containers whose supervisors should have removed them at their end (`--rm`) but
    /// were killed, or lost power. They could not be started again: their files were never flushed.
    ///
    /// One that was made and never started is left alone: `create --rm` makes such. Everything else
    /// holds its lock from before it can be seen until it is gone. (So does a step of a build, which
    /// nobody can start later.)
    pub(in crate::storage) fn remove_ended(&self) -> Result<()> {
        for id in self.container_ids()? {
            self.remove_if_over(&id)?;
        }
        Ok(())
    }

    /// Whether it was such a one, and is gone: see [`Store::sweep`].
    pub fn remove_if_over(&self, id: &ContainerId) -> Result<bool> {
        let Some((dir, record)) = self.load_container(id)? else {
            return Ok(false);
        };
        if !record.spec.auto_remove || dir.is_held()? {
            return Ok(false);
        }
        // Whoever holds the lock looks at what it keeps from changing.
        let lock = match dir.try_hold() {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(false),
            // Its supervisor or another sweep has just removed it, and the folder takes no file.
            Err(_) if self.load_container(id)?.is_none() => return Ok(false),
            Err(error) => return Err(error),
        };
        let start = dir.start_record()?;
        let ended = record.spec.root.is_step()
            || start.is_some()
            || exists(&dir.dir, "state.json")?
            || exists(&dir.dir, "exit.json")?;
        if let Some(start) = &start
            && !groups_are_gone(start)
        {
            // Nobody else knows of them: the next sweep tries again.
            return Ok(false);
        }
        if ended {
            self.take_away(&dir, lock, true)?;
        }
        Ok(ended)
    }

    /// Removes a container that does not run, as its lock proves. Works on a full disk; files of
    /// other ids need the user namespace. If the deletion is interrupted, the container is gone
    /// nevertheless, and the next sweep goes on. An image that only this container kept goes too.
    ///
    /// The removal of one that was made durably is durable. Its volumes stay, but for the nameless
    /// ones of a container that is removed when it ends.
    pub fn remove_container(&self, dir: &ContainerDir, lock: ContainerLock) -> Result<()> {
        self.take_away(dir, lock, false)?;
        self.collect_orphans()
    }

    /// As [`Self::remove_container`]; its nameless volumes go too, if no other container uses them.
    pub fn remove_container_and_volumes(
        &self,
        dir: &ContainerDir,
        lock: ContainerLock,
    ) -> Result<()> {
        self.take_away(dir, lock, true)?;
        self.collect_orphans()
    }

    /// As [`Self::remove_container`], by the supervisor of a `--rm` container, which knows its name
    /// and nameless volumes: nothing is flushed.
    pub fn remove_ended_container(
        &self,
        dir: &ContainerDir,
        name: &str,
        nameless: &[String],
        lock: ContainerLock,
    ) -> Result<()> {
        self.bury_container(dir, name, nameless, Durability::Volatile, lock)?;
        self.collect_orphans()
    }

    fn take_away(&self, dir: &ContainerDir, lock: ContainerLock, volumes: bool) -> Result<()> {
        let record = read_record(&dir.dir)?.good();
        let volatile = record
            .as_ref()
            .is_some_and(|record| record.spec.auto_remove);
        let durability = if volatile {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        let nameless = match &record {
            Some(record) if volumes || volatile => anonymous_volumes(&record.spec.mounts),
            _ => Vec::new(),
        };
        if let Some(record) = &record {
            self.forget_runtime_files(record)?;
        }
        let name = record.map(|record| record.name).unwrap_or_default();
        self.bury_container(dir, &name, &nameless, durability, lock)
    }

    /// What processes that were killed have left in the run root for a container that does not run:
    /// sockets and leases. Its published ports may be in the firewall, and stay until somebody has
    /// taken them back there.
    fn forget_runtime_files(&self, record: &ContainerRecord) -> Result<()> {
        for ending in ["sock", "net"] {
            let socket = format!("containers/{}.{ending}", record.id);
            unlink(&self.runroot, &socket)?;
        }
        for attachment in record.spec.network.attachments() {
            if let Some(network) = self.network(&attachment.network)? {
                self.release_lease(&network.id, &record.id)?;
            }
        }
        Ok(())
    }

    fn bury_container(
        &self,
        dir: &ContainerDir,
        name: &str,
        nameless: &[String],
        durability: Durability,
        lock: ContainerLock,
    ) -> Result<()> {
        let what = || format!("cannot remove container {:?}", dir.id);
        let shared = self.lock_shared()?;
        let buried = match nameless {
            [] => self.bury("containers", dir.id.as_str()),
            _ => self.bury_with_volumes(dir.id.as_str()),
        };
        let remains = match buried {
            Ok(grave) => grave.map(|grave| format!("tmp/{grave}")),
            // `tmp/` may have to grow for one more entry. Without its record the container is
            // gone too.
            Err(_) => {
                match rustix::fs::unlinkat(&dir.dir, "record.json", AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno).system(what),
                }
                Some(format!("containers/{}", dir.id))
            }
        };
        if !self.unlink_name_of(name, &dir.id)?
            && let Stored::Good(record) = read_record(&dir.dir)?
        {
            // It was renamed since the caller learned of its name.
            self.unlink_name_of(&record.name, &dir.id)?;
        }
        if durability == Durability::Durable {
            // Before its files go. What cannot be flushed (full, or failing) is gone all the same.
            let _ = self.folder("containers").map(rustix::fs::fsync);
        }
        drop(shared);
        drop(lock);
        // Before the record that names them.
        let volumes = self.remove_unused_volumes(nameless).map(drop);
        let Some(place) = remains else { return volumes };
        if remove_known(&self.root, &dir.dir, &place) {
            return volumes;
        }
        crate::storage::delete::remove_tree(&self.root, &place).and(volumes)
    }
}

/// Deletes the folder of a container that has written nothing, by the names of what is in it: a
/// third of the calls that listing every directory takes. Whether that was all; if not, what is
/// left is deleted the long way.
fn remove_known(root: &OwnedFd, dir: &OwnedFd, place: &str) -> bool {
    use rustix::fs::unlinkat;
    let _ = unlinkat(
        dir,
        format!("{}/dirty", VOLATILE.join("/")),
        AtFlags::empty(),
    );
    for depth in (1..=VOLATILE.len()).rev() {
        let _ = unlinkat(dir, VOLATILE[..depth].join("/"), AtFlags::REMOVEDIR);
    }
    let _ = unlinkat(dir, "upper", AtFlags::REMOVEDIR);
    for file in [
        "record.json",
        "lock",
        "state.json",
        "log",
        "hosts",
        "hostname",
        "resolv.conf",
    ] {
        let _ = unlinkat(dir, file, AtFlags::empty());
    }
    unlinkat(root, place, AtFlags::REMOVEDIR).is_ok()
}
