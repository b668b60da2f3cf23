//! Looking whether the store is what its head says, and mending it.
//!
//! | file | what |
//! |---|---|
//! | `places` | folders, owners, modes, records that can be read, files that nobody knows |
//! | `blobs` | each blob's digest |
//! | `trees` | each layer's tree against what its blob unpacks to |
//! | `leftovers` | staging of the dead, downloads that nobody goes on with, dead names |
//!
//! What refers to what is the engine's to look at (`engine::store_check`): it reads manifests.
//!
//! **Others go on meanwhile.** Nothing is locked while anything is read. What seems wrong is looked
//! at once more, with the store lock held for that moment: what has vanished, or is another file by
//! then, is no finding.
//!
//! **What could not be read is not damaged.** Only a disk that cannot read a thing twice in a row says
//! something about it; any other error is told as what could not be looked at, and mends nothing.
//!
//! **Mending** stages, then renames, like everything else; what replaces a thing takes the exclusive
//! lock for the rename. Killed anywhere, the flaw is still there or mended, and the next check says
//! which.

mod blobs;
mod leftovers;
mod places;
mod trees;

pub use blobs::{BlobFlaw, BlobFlaws};
pub use leftovers::Leftovers;
pub use places::{Cure, Flaw, Places};
pub use trees::{LayerSource, Rebuilt};

use rustix::{fs::RenameFlags, io::Errno};

use super::{
    Lease, StagedBlob, StagedLayer, Store, containers, files::Stored, layers, locks::ExclusiveLock,
};
use crate::model::{Context, Digest, Result, container::ContainerRecord, mount::MountSource};

/// Whether an error says that the thing itself is damaged, when it comes twice: the disk cannot read
/// it, or the file system has found itself in disorder. Everything else (no descriptors, no memory,
/// no right to) says nothing about the thing.
fn is_damage(errno: Errno) -> bool {
    matches!(errno, Errno::IO | Errno::UCLEAN | Errno::BADMSG)
}

/// A second time if the first one says that the thing is damaged: that may pass.
fn twice<T>(mut look: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    match look() {
        Err(errno) if is_damage(errno) => look(),
        other => other,
    }
}

/// How the replacement of a layer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    Done,
    /// A running container has it mounted; nothing was changed.
    InUse,
    /// Nothing refers to it any more.
    Gone,
}

impl Store {
    /// Whether an image or a container needs the layer.
    pub fn layer_is_named(&self, chain_id: &Digest) -> Result<bool> {
        if self
            .images()?
            .iter()
            .any(|image| image.layers.contains(chain_id))
        {
            return Ok(true);
        }
        let containers = self.containers()?;
        Ok(containers.iter().any(|(_, record)| uses(record, chain_id)))
    }

    /// Whether a record or a live lease needs the blob. The store lock is held.
    pub fn blob_is_named(&self, digest: &Digest) -> Result<bool> {
        let needed = self.needed_digests()?;
        Ok(needed.is_none_or(|needed| needed.contains(digest.hex())))
    }

    /// Whether a running container (or one about to run) has the layer below it.
    fn layer_is_mounted(&self, _alone: &ExclusiveLock, chain_id: &Digest) -> Result<bool> {
        for id in self.container_ids()? {
            if let Some(dir) = self.open_container(&id)?
                && let Stored::Good(record) = containers::read_record(dir.fd())?
                && uses(&record, chain_id)
                && dir.is_held()?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Also through an image that it mounts.
fn uses(record: &ContainerRecord, chain_id: &Digest) -> bool {
    let mounted = record.spec.mounts.iter().any(|mount| match &mount.source {
        MountSource::Image { layers, .. } => layers.contains(chain_id),
        _ => false,
    });
    mounted || record.layers.contains(chain_id)
}

impl Lease<'_> {
    /// Puts a layer in the place of the one that is there, durably; what was made of that (trees with
    /// other owners) goes too. `even_mounted` takes it from running containers, which lose sight of
    /// files that they have not opened.
    pub fn replace_layer(
        &self,
        layer: &StagedLayer,
        chain_id: &Digest,
        even_mounted: bool,
    ) -> Result<Replaced> {
        let what = || format!("cannot replace layer {chain_id}");
        let store = self.store();
        rustix::fs::syncfs(&store.root).system(what)?;
        let alone = store.lock_exclusive()?;
        if !store.layer_is_named(chain_id)? {
            return Ok(Replaced::Gone);
        }
        if !even_mounted && store.layer_is_mounted(&alone, chain_id)? {
            return Ok(Replaced::InUse);
        }
        let (name, place) = (layer.name(), layers::place(chain_id));
        match rustix::fs::renameat(self.dir(), name, &store.root, &place) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => rustix::fs::renameat_with(
                self.dir(),
                name,
                &store.root,
                &place,
                RenameFlags::EXCHANGE,
            ),
            other => other,
        }
        .system(what)?;
        rustix::fs::fsync(store.folder("layers")?).system(what)?;
        for image in store.images()? {
            if image.layers.contains(chain_id)
                && let Some(top) = image.layers.last()
            {
                store.bury_shifted_of(top)?;
            }
        }
        Ok(Replaced::Done)
    }

    /// Puts verified blobs in the place of missing or damaged ones, durably.
    pub fn replace_blobs(&self, blobs: Vec<StagedBlob>) -> Result<()> {
        self.commit(blobs, Vec::new(), &[])
    }
}
