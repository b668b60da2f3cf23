//! From the mounts that were asked for to those that a container has: names for volumes without
//! one, the volumes themselves, the layers of mounted images, and where all of it lies.

use std::collections::BTreeMap;

use crate::{
    engine::{
        Engine, Silent,
        containers::absolute,
        plan::{self, ImageFiles, VolumeFiles},
        supervisor,
    },
    model::{
        ContainerSpec, Context, Error, ErrorKind, Result,
        host::HostFacts,
        image::ImageConfig,
        mount::{Mount, MountSource, VolumeSource},
        volume::{ANONYMOUS_LABEL, VolumeRecord, check_volume_driver, check_volume_name},
    },
    storage::{ContainerDir, Durability},
};

impl Engine {
    /// Puts all mounts of a container that is being made into its spec. Nothing is changed yet.
    pub(in crate::engine) fn complete_mounts(
        &self,
        spec: &mut ContainerSpec,
        image: &ImageConfig,
    ) -> Result<()> {
        let mut others = Vec::new();
        for wanted in &spec.mount_settings.volumes_from {
            let (_, record) = self.store.find_container(&wanted.container)?;
            others.push((wanted.clone(), record.spec.mounts));
        }
        if let Some(driver) = &spec.mount_settings.volume_driver {
            check_volume_driver(driver)?;
        }
        spec.mounts = plan::all_mounts(spec, image, &others)?;
        plan::check_mounts(&spec.mounts)?;
        for mount in &mut spec.mounts {
            match &mut mount.source {
                MountSource::Volume(volume) if volume.name.is_empty() => {
                    volume.name = random_name()?;
                }
                MountSource::Volume(volume) => check_volume_name(&volume.name)?,
                // A step of a build says which layers, and no image.
                MountSource::Image { image, layers, .. } if !image.is_empty() => {
                    let found = self.store.resolve_image(image)?;
                    *layers = self.adopt(found, &Silent)?.layers;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the volumes of a container that can be seen already. Killed before, its start makes them.
    /// What is left of a failed run are empty volumes with a name, as Docker leaves them.
    pub(in crate::engine) fn make_volumes(&self, spec: &ContainerSpec) -> Result<()> {
        for volume in spec.mounts.iter().filter_map(Mount::volume) {
            self.make_volume_of(volume, spec.auto_remove)?;
        }
        Ok(())
    }

    fn make_volume_of(&self, volume: &VolumeSource, auto_remove: bool) -> Result<VolumeRecord> {
        let mut labels = volume.labels.clone();
        if volume.anonymous {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        // What goes with its container may go in a power cut, too.
        let durability = if volume.anonymous && auto_remove {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        let record = VolumeRecord {
            name: volume.name.clone(),
            created: supervisor::now(),
            labels,
            options: volume.driver_options.clone(),
        };
        record.backing()?;
        let (record, made) = self.store.make_volume(&record, (None, None), durability)?;
        if made {
            self.note_volume("create", &record.name, &[]);
        }
        Ok(record)
    }

    /// Where a container's volumes are, right before it starts. One that was removed meanwhile
    /// (before the container appeared) is made anew.
    pub(in crate::engine) fn volume_files(
        &self,
        spec: &ContainerSpec,
    ) -> Result<BTreeMap<String, VolumeFiles>> {
        let mut files = BTreeMap::new();
        for volume in spec.mounts.iter().filter_map(Mount::volume) {
            let record = self.make_volume_of(volume, spec.auto_remove)?;
            let paths = self.store.volume_paths(&volume.name);
            files.insert(
                volume.name.clone(),
                VolumeFiles {
                    data: absolute(&paths.data)?,
                    folder: absolute(&paths.folder)?,
                    backing: record.backing()?,
                },
            );
        }
        Ok(files)
    }

    /// The layers of mounted images and of overlays, with folders in the container for what is
    /// changed. In the order of the spec's mounts; nothing for all others.
    pub(in crate::engine) fn image_mounts(
        &self,
        directory: &ContainerDir,
        spec: &ContainerSpec,
        host: &HostFacts,
    ) -> Result<Vec<Option<ImageFiles>>> {
        let needed = |mount: &Mount| {
            mount.options.overlay.is_some() || matches!(mount.source, MountSource::Image { .. })
        };
        if !spec.mounts.iter().any(needed) {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for (index, mount) in spec.mounts.iter().enumerate() {
            if !needed(mount) {
                files.push(None);
                continue;
            }
            let folder = directory.make_mount_folders(index)?;
            let layers = match &mount.source {
                MountSource::Image { layers, .. } => self.store.overlay_lowers(layers),
                _ => Vec::new(),
            };
            let base = absolute(self.store.root_path())?;
            let relative = |path: std::path::PathBuf| -> Result<std::path::PathBuf> {
                let path = absolute(&path)?;
                Ok(path.strip_prefix(&base).unwrap_or(&path).to_owned())
            };
            files.push(Some(ImageFiles {
                layers: layers.into_iter().map(relative).collect::<Result<_>>()?,
                upper: relative(folder.join("upper"))?,
                work: relative(folder.join("work"))?,
                empty: relative(folder.join("empty"))?,
                user_xattr: !host.initial_user_namespace,
            }));
        }
        Ok(files)
    }
}

/// 64 hexadecimal digits, as Docker names volumes without a name.
pub(super) fn random_name() -> Result<String> {
    let what = || "cannot get random bytes".to_owned();
    let mut bytes = [0_u8; 32];
    let count =
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).system(what)?;
    if count != bytes.len() {
        return Err(Error::new(ErrorKind::System, what()));
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
