//! Garbage collection by reachability.
//!
//! Kept are: what an image record names (manifest, configuration, index, blobs, layers), what the
//! record of an index or artifact needs, what steps of builds have made ([`super::builds`]), the
//! configuration and layers of every container and those of the images it mounts, and what live
//! leases claim. Everything else in
//! `blobs/` and `layers/` goes; so do records that a power cut has destroyed, names of containers
//! that are not there, and downloads that nobody went on with for a day. A container whose record was
//! damaged later stays, with the files that it wrote: `system check` tells of it, and removes it if
//! it is forced to.
//!
//! It has two parts. Under the exclusive lock, things are taken out of sight: one rename each,
//! blobs before layers (so whoever finds an image's configuration finds its layers too). Then,
//! without any lock, they are deleted. Killed anywhere, the next collection or sweep goes on.
//!
//! If any record cannot be understood (a newer program's), nothing is collected: what it needs is
//! not known.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Timespec},
    io::Errno,
};
use serde::de::DeserializeOwned;

use super::{
    Store,
    builds::STEP_BLOBS,
    containers, delete, files,
    files::Stored,
    lease::exists,
    locks::{ExclusiveLock, ObjectLock, try_lock_file},
    shifted::SHIFTED,
};
use crate::{
    model::{
        ContainerId, Context, Digest, Result,
        container::ContainerRecord,
        image::ImageRecord,
        index::ManifestRecord,
        mount::{Mount, MountSource},
    },
    sys::tree_size,
};

/// How long a begun download may lie about.
const KEEP_PARTIAL: Duration = Duration::from_secs(24 * 3600);

/// In the root while a container keeps an image that has no record any more: whoever removes a
/// container then knows, by one system call, whether there could be garbage.
const ORPHANS: &str = "orphans";

/// What was taken out of sight, and is deleted by [`Garbage::delete`].
#[derive(Debug, Default)]
#[must_use = "the space is not free until it is deleted"]
pub struct Garbage {
    /// Hexadecimal digits of the digests.
    pub blobs: Vec<String>,
    pub layers: Vec<String>,
    graves: Vec<String>,
}

impl Garbage {
    /// Bytes that deleting it frees on the disk.
    pub fn disk_bytes(&self, store: &Store) -> u64 {
        let of_grave = |grave: &String| {
            let place = format!("tmp/{grave}");
            let stat = rustix::fs::statat(&store.root, &place, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => tree_size::on_disk(&store.folder(&place).ok()?).ok(),
                _ => Some(tree_size::blocks(&stat)),
            }
        };
        self.graves.iter().filter_map(of_grave).sum()
    }

    /// Deletes it. A failure does not stop the rest; the first one is returned.
    pub fn delete(self, store: &Store) -> Result<()> {
        let mut outcome = Ok(());
        for grave in &self.graves {
            let deleted = store.decompose(grave);
            outcome = outcome.and(deleted);
        }
        outcome
    }
}

struct Marked {
    digests: HashSet<String>,
    /// Name of every whole container.
    names: HashMap<ContainerId, String>,
    orphans: bool,
    ruins: Ruins,
}

/// Records that a power cut has destroyed.
#[derive(Default)]
struct Ruins {
    /// Files of `images/` and `manifests/`.
    images: Vec<String>,
    manifests: Vec<String>,
    containers: Vec<ContainerId>,
    build_steps: Vec<String>,
}

impl Store {
    /// Collects and deletes. Waits for the exclusive lock.
    pub fn collect_garbage(&self) -> Result<()> {
        let alone = self.lock_exclusive()?;
        let garbage = self.bury_garbage(&alone)?;
        drop(alone);
        garbage.delete(self)?;
        self.sweep()
    }

    /// Collects if the container that was just removed may have been the last that kept an image
    /// removed before.
    pub fn collect_orphans(&self) -> Result<()> {
        if exists(&self.root, ORPHANS)? {
            self.collect_garbage()
        } else {
            Ok(())
        }
    }

    /// The first part of a collection.
    pub fn bury_garbage(&self, _alone: &ExclusiveLock) -> Result<Garbage> {
        let mut garbage = Garbage::default();
        let Some(marked) = self.mark()? else {
            log::warn!("no space is freed: the store has records of a newer coracle");
            return Ok(garbage);
        };
        self.bury_ruins(&marked.ruins, &mut garbage)?;
        self.note_orphans(marked.orphans);
        self.unlink_dead_names(&marked.names)?;
        self.unlink_old_partials()?;
        for folder in ["blobs/sha256", "blobs/sha512", STEP_BLOBS] {
            self.bury_blobs(folder, &marked.digests, &mut garbage)?;
        }
        self.bury_layers(&marked.digests, &mut garbage)?;
        self.bury_shifted(&marked.digests, &mut garbage)?;
        garbage.graves.extend(self.bury_remains_of_volumes()?);
        Ok(garbage)
    }

    /// Trees with other owners that were made of the image with this topmost layer, deleted.
    pub(super) fn bury_shifted_of(&self, top: &Digest) -> Result<()> {
        let Ok(dir) = self.folder(SHIFTED) else {
            return Ok(());
        };
        for name in files::names(&dir).system(|| format!("cannot list {SHIFTED}/"))? {
            if name.split('-').next() == Some(top.hex())
                && let Some(grave) = self
                    .bury(SHIFTED, &name)
                    .system(|| format!("cannot remove {SHIFTED}/{name}"))?
            {
                self.decompose(&grave)?;
            }
        }
        Ok(())
    }

    /// Trees with other owners go with the topmost layer that they were made of.
    fn bury_shifted(&self, kept: &HashSet<String>, garbage: &mut Garbage) -> Result<()> {
        let flags = super::FOLDER;
        let dir = match rustix::fs::openat(&self.root, SHIFTED, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno).system(|| format!("cannot open {SHIFTED}/")),
        };
        for name in files::names(&dir).system(|| format!("cannot list {SHIFTED}/"))? {
            let top = name.split('-').next().unwrap_or_default();
            if kept.contains(top) {
                continue;
            }
            match self.bury(SHIFTED, &name) {
                Ok(grave) => garbage.graves.extend(grave),
                // No room in tmp/: as for a layer.
                Err(_) => {
                    delete::remove_tree(&dir, &format!("{name}/shifted.json"))?;
                    delete::remove_tree(&dir, &name)?;
                }
            }
        }
        Ok(())
    }

    /// Hexadecimal digits of everything that records and live leases name; `None` if a newer
    /// program's record keeps that secret. Call it with the store lock held, shared or exclusive.
    pub(super) fn needed_digests(&self) -> Result<Option<HashSet<String>>> {
        Ok(self.mark()?.map(|marked| marked.digests))
    }

    /// Changes nothing.
    fn mark(&self) -> Result<Option<Marked>> {
        let mut ruins = Ruins::default();
        let Some(images) = self.mark_images(&mut ruins)? else {
            return Ok(None);
        };
        let Some(containers) = self.mark_containers(&mut ruins)? else {
            return Ok(None);
        };
        let Some(manifests) = self.mark_manifests(&mut ruins)? else {
            return Ok(None);
        };
        let Some(steps) = self.mark_build_steps(&mut ruins.build_steps)? else {
            return Ok(None);
        };
        let configs: HashSet<&Digest> = images.iter().map(|image| &image.config).collect();
        let named: HashSet<&Digest> = images.iter().flat_map(|image| &image.layers).collect();
        let orphans = containers.iter().any(|container| {
            let mut mounted = mounted_layers(&container.spec.mounts);
            let root = container.image_id.as_ref();
            root.is_some_and(|image| !configs.contains(image))
                || mounted.any(|layer| !named.contains(layer))
        });
        let mut digests: HashSet<String> = self.leased()?.iter().map(hex).collect();
        digests.extend(steps.iter().map(hex));
        for image in &images {
            digests.extend([&image.manifest, &image.config].map(hex));
            digests.extend(image.index.iter().map(hex));
            digests.extend(image.blobs.iter().chain(&image.layers).map(hex));
            digests.extend(image.others.iter().map(hex));
        }
        for manifest in &manifests {
            digests.insert(hex(&manifest.digest));
            digests.extend(manifest.keeps.iter().map(hex));
        }
        for container in &containers {
            digests.extend(container.image_id.iter().map(hex));
            digests.extend(container.layers.iter().map(hex));
            digests.extend(mounted_layers(&container.spec.mounts).map(hex));
        }
        Ok(Some(Marked {
            digests,
            names: containers
                .into_iter()
                .map(|container| (container.id, container.name))
                .collect(),
            orphans,
            ruins,
        }))
    }

    /// All image records, hidden ones too.
    fn mark_images(&self, ruins: &mut Ruins) -> Result<Option<Vec<ImageRecord>>> {
        mark_records(&self.folder("images")?, "images/", &mut ruins.images)
    }

    fn mark_manifests(&self, ruins: &mut Ruins) -> Result<Option<Vec<ManifestRecord>>> {
        match self.manifest_folder()? {
            Some(folder) => mark_records(&folder, "manifests/", &mut ruins.manifests),
            None => Ok(Some(Vec::new())),
        }
    }

    fn mark_containers(&self, ruins: &mut Ruins) -> Result<Option<Vec<ContainerRecord>>> {
        let mut records = Vec::new();
        for id in self.container_ids()? {
            let Some(dir) = self.open_container(&id)? else {
                continue;
            };
            match containers::read_record(dir.fd())? {
                Stored::Good(record) => records.push(record),
                Stored::Foreign(_) => return Ok(None),
                Stored::Missing | Stored::Damaged => {
                    if containers::was_never_written(dir.fd())?
                        && !ObjectLock::is_held(dir.fd(), "lock")?
                    {
                        ruins.containers.push(id);
                    }
                }
            }
        }
        Ok(Some(records))
    }

    fn bury_ruins(&self, ruins: &Ruins, garbage: &mut Garbage) -> Result<()> {
        let images = self.folder("images")?;
        for name in &ruins.images {
            delete::remove_tree(&images, name)?;
        }
        if let Some(manifests) = self.manifest_folder()? {
            for name in &ruins.manifests {
                delete::remove_tree(&manifests, name)?;
            }
        }
        for id in &ruins.containers {
            let what = || format!("cannot remove the remains of container {id:?}");
            let grave = self.bury("containers", id.as_str()).system(what)?;
            garbage.graves.extend(grave);
        }
        self.unlink_dead_steps(&ruins.build_steps)
    }

    /// Only a hint, so a full disk is no failure: the next collection will note it again.
    fn note_orphans(&self, orphans: bool) {
        if orphans {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            let _ = rustix::fs::openat(&self.root, ORPHANS, flags, Mode::from(0o600));
        } else {
            let _ = rustix::fs::unlinkat(&self.root, ORPHANS, AtFlags::empty());
        }
    }

    fn unlink_dead_names(&self, names: &HashMap<ContainerId, String>) -> Result<()> {
        let folder = self.folder("names")?;
        for name in files::names(&folder).system(|| "cannot list names/".to_owned())? {
            let owner = self.target_of_name(&name)?;
            if owner.and_then(|id| names.get(&id)) != Some(&name) {
                self.unlink_name(&name)?;
            }
        }
        Ok(())
    }

    fn unlink_old_partials(&self) -> Result<()> {
        let folder = self.folder("partial")?;
        let what = || "cannot sweep partial/".to_owned();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        for name in files::names(&folder).system(what)? {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let Ok(file) = rustix::fs::openat(&folder, &name, flags, Mode::empty()) else {
                continue;
            };
            let stat = rustix::fs::fstat(&file).system(what)?;
            let useless = stat.st_size == 0 || is_older(&now, stat.st_mtime, KEEP_PARTIAL);
            if useless && try_lock_file(&file)? {
                delete::remove_tree(&folder, &name)?;
            }
        }
        Ok(())
    }

    fn bury_blobs(
        &self,
        folder: &str,
        kept: &HashSet<String>,
        garbage: &mut Garbage,
    ) -> Result<()> {
        let dir = match rustix::fs::openat(&self.root, folder, super::FOLDER, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno).system(|| format!("cannot open {folder}")),
        };
        for name in files::names(&dir).system(|| format!("cannot list {folder}"))? {
            if kept.contains(&name) {
                continue;
            }
            match self.bury(folder, &name) {
                Ok(grave) => garbage.graves.extend(grave),
                // No room for one more entry in tmp/. A file is as well deleted at once.
                Err(_) => delete::remove_tree(&dir, &name)?,
            }
            garbage.blobs.push(name);
        }
        Ok(())
    }

    fn bury_layers(&self, kept: &HashSet<String>, garbage: &mut Garbage) -> Result<()> {
        let dir = self.folder("layers")?;
        for name in files::names(&dir).system(|| "cannot list layers/".to_owned())? {
            if kept.contains(&name) {
                continue;
            }
            match self.bury("layers", &name) {
                Ok(grave) => garbage.graves.extend(grave),
                // No room in tmp/. Without its layer.json a layer does not count, so a killed
                // deletion leaves none that lacks files.
                Err(_) => {
                    delete::remove_tree(&dir, &format!("{name}/layer.json"))?;
                    delete::remove_tree(&dir, &name)?;
                }
            }
            garbage.layers.push(name);
        }
        Ok(())
    }
}

/// The records of a folder; destroyed ones and staged leftovers are ruins. `None` if one cannot be
/// understood.
fn mark_records<T: DeserializeOwned>(
    folder: &OwnedFd,
    called: &str,
    ruins: &mut Vec<String>,
) -> Result<Option<Vec<T>>> {
    let names = files::all_names(folder).system(|| format!("cannot list {called}"))?;
    let mut records = Vec::new();
    for name in names {
        let stored = match name.starts_with('.') {
            true => Stored::Damaged,
            false => files::read_json(folder, &name)?,
        };
        match stored {
            Stored::Good(record) => records.push(record),
            Stored::Missing => {}
            Stored::Foreign(_) => return Ok(None),
            Stored::Damaged => ruins.push(name),
        }
    }
    Ok(Some(records))
}

/// Of the images that a container mounts.
fn mounted_layers(mounts: &[Mount]) -> impl Iterator<Item = &Digest> {
    mounts.iter().flat_map(|mount| match &mount.source {
        MountSource::Image { layers, .. } => layers.as_slice(),
        _ => &[],
    })
}

/// Both algorithms' digests can be told by their length.
fn hex(digest: &Digest) -> String {
    digest.hex().to_owned()
}

fn is_older(now: &Timespec, modified: i64, limit: Duration) -> bool {
    now.tv_sec.saturating_sub(modified) > limit.as_secs().cast_signed()
}
