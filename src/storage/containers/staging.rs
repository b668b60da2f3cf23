//! A container on its way: made in `tmp/`, renamed into place under a name that it has claimed.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::{
    fs::{AtFlags, Mode},
    io::Errno,
};

use super::{BUNDLE_CONFIG, ContainerDir, ContainerLock};
use crate::{
    model::{
        ContainerId, Context, Error, ErrorKind, Result, container::ContainerRecord,
        mount::MountSource,
    },
    storage::{
        Durability, FOLDER, Store, blobs, files,
        lease::exists,
        locks::{ObjectLock, SharedLock},
        make_folder,
    },
};

/// A container on its way: visible to nobody, deleted if dropped.
///
/// It holds the shared store lock until it is committed, so that its image stays: do nothing slow
/// in between.
#[derive(Debug)]
pub struct StagedContainer<'store> {
    store: &'store Store,
    shared: Option<SharedLock>,
    dir: Option<ContainerDir>,
    lock: Option<ContainerLock>,
}

impl Store {
    /// Begins a container: an empty directory whose lock is held.
    pub fn stage_container(&self, id: &ContainerId) -> Result<StagedContainer<'_>> {
        let what = || format!("cannot make container {id:?}");
        let shared = self.lock_shared()?;
        let staged = format!("tmp/{id}");
        rustix::fs::mkdirat(&self.root, &staged, Mode::RWXU).system(what)?;
        let dir = rustix::fs::openat(&self.root, &staged, FOLDER, Mode::empty()).system(what)?;
        let lock = ObjectLock::try_hold(&dir, "lock")?
            .ok_or(Errno::BUSY)
            .system(what)?;
        Ok(StagedContainer {
            store: self,
            shared: Some(shared),
            dir: Some(ContainerDir {
                id: id.clone(),
                dir: dir.into(),
                path: self.root_path.join("containers").join(id.as_str()),
            }),
            lock: Some(lock),
        })
    }
}

impl StagedContainer<'_> {
    /// Where files that belong to the container from its birth go.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // Emptied by `commit` alone, which takes `self`.
        self.dir
            .as_ref()
            .map_or(self.store.root.as_fd(), |dir| dir.fd())
    }

    /// Keeps the configuration of the bundle that the container is made from.
    pub fn put_bundle_config(&self, text: &[u8], durability: Durability) -> Result<()> {
        files::write_new(self.fd(), BUNDLE_CONFIG, text, durability)
    }

    /// Makes a directory in it.
    pub fn make_folder(&self, name: &str) -> Result<()> {
        make_folder(self.fd(), name).system(|| format!("cannot make {name}"))
    }

    /// Makes `upper/` and `work/` for an overlay. The root directory that a container sees is
    /// `upper/` itself, so it gets the mode and owner that the topmost layer has there. The owner
    /// can only be given by who may give files away. The umask must be 0.
    pub fn make_overlay_folders(&self, top_layer: Option<&crate::model::Digest>) -> Result<()> {
        make_overlay_folders(self.store, self.fd(), top_layer)
    }

    /// Makes the container appear, under its name.
    ///
    /// `durable` is for those that must outlive a power cut; `--rm` runs flush nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NameInUse`]; [`ErrorKind::NoSuchImage`] if the image was removed meanwhile.
    pub fn commit(
        mut self,
        record: &ContainerRecord,
        durability: Durability,
    ) -> Result<(ContainerDir, ContainerLock)> {
        let what = || format!("cannot make container {:?}", record.id);
        let durable = durability == Durability::Durable;
        let root = &self.store.root;
        let text = serde_json::to_vec(record).context(ErrorKind::System, what)?;
        files::write_new(self.fd(), "record.json", &text, durability)?;
        if durable {
            rustix::fs::fsync(self.fd()).system(what)?;
        }
        self.claim_name(record)?;
        if durable {
            // Before the container: a record must not outlive its claim on the name.
            rustix::fs::fsync(self.store.folder("names")?).system(what)?;
        }
        let (from, to) = (
            format!("tmp/{}", record.id),
            format!("containers/{}", record.id),
        );
        rustix::fs::renameat(root, from, root, to).system(what)?;
        if durable {
            rustix::fs::fsync(self.store.folder("containers")?).system(what)?;
        }
        self.dir
            .take()
            .zip(self.lock.take())
            .ok_or_else(|| Error::new(ErrorKind::System, what()))
    }

    fn claim_name(&mut self, record: &ContainerRecord) -> Result<()> {
        // Taking over a dead name needs the exclusive lock; the image may go while this process
        // changes from one lock to the other, so all is looked at again. Twice is only needed if
        // another process dies in between.
        for _ in 0..8 {
            if let Some(image) = &record.image_id
                && !exists(&self.store.root, &blobs::place(image))?
            {
                return Err(Error::new(
                    ErrorKind::NoSuchImage,
                    format!("image {} was removed meanwhile", record.spec.image),
                ));
            }
            self.check_mounted_images(record)?;
            if self.store.link_name(&record.name, &record.id)? {
                return Ok(());
            }
            // Taken again before this returns: the image must stay.
            self.shared = None;
            let outcome = self.store.vacate_name(&record.name);
            self.shared = Some(self.store.lock_shared()?);
            outcome?;
        }
        Err(Errno::EXIST).system(|| format!("cannot take the name {}", record.name))
    }
}

impl StagedContainer<'_> {
    /// They were looked for before the lock was taken.
    fn check_mounted_images(&self, record: &ContainerRecord) -> Result<()> {
        for mount in &record.spec.mounts {
            if let MountSource::Image { image, layers, .. } = &mount.source {
                for layer in layers {
                    if !self.store.has_layer(layer)? {
                        return Err(Error::new(
                            ErrorKind::NoSuchImage,
                            format!("image {image} was removed meanwhile"),
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for StagedContainer<'_> {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take() {
            // What cannot be deleted now is swept later; the name, if it was claimed, is dead.
            let _ =
                crate::storage::delete::remove_tree(&self.store.root, &format!("tmp/{}", dir.id));
        }
    }
}

/// See [`StagedContainer::make_overlay_folders`].
pub(in crate::storage) fn make_overlay_folders(
    store: &Store,
    folder: BorrowedFd<'_>,
    top_layer: Option<&crate::model::Digest>,
) -> Result<()> {
    make_folder(folder, "work").system(|| "cannot make work".to_owned())?;
    let what = || "cannot make upper".to_owned();
    let of_layer = top_layer.and_then(|layer| rustix::fs::stat(store.layer_tree(layer)).ok());
    let mode = of_layer.map_or(0o755, |stat| stat.st_mode & 0o7777);
    rustix::fs::mkdirat(folder, "upper", Mode::from_raw_mode(mode)).system(what)?;
    if mode & 0o6000 != 0 {
        // mkdir(2) leaves these out.
        rustix::fs::chmodat(folder, "upper", Mode::from_raw_mode(mode), AtFlags::empty())
            .system(what)?;
    }
    match of_layer.map(|stat| (stat.st_uid, stat.st_gid)) {
        None | Some((0, 0)) => {}
        Some(_) => give_owner_of(store, top_layer, folder),
    }
    Ok(())
}

/// Gives `upper` the owner that the topmost layer has, if that is another. While an ordinary user's ids
/// are being mapped everybody looks like nobody, 65534: so what was made just now is asked first, and
/// the layer again behind it. Else `/` of a container could belong to nobody.
fn give_owner_of(store: &Store, layer: Option<&crate::model::Digest>, folder: BorrowedFd<'_>) {
    let owner = |stat: &rustix::fs::Stat| (stat.st_uid, stat.st_gid);
    let own = rustix::fs::statat(folder, "upper", AtFlags::SYMLINK_NOFOLLOW);
    let Some(wanted) = layer.and_then(|layer| rustix::fs::stat(store.layer_tree(layer)).ok())
    else {
        return;
    };
    if owner(&wanted) == (0, 0) || own.is_ok_and(|own| owner(&own) == owner(&wanted)) {
        return;
    }
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(wanted.st_uid),
        rustix::fs::Gid::from_raw(wanted.st_gid),
    );
    let _ = rustix::fs::chownat(folder, "upper", Some(uid), Some(gid), AtFlags::empty());
}
