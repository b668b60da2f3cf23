//! `image prune`: images without a name, or all that no container uses.

use std::collections::HashSet;

use super::remove::untagged;
use crate::{
    engine::{Engine, Removed},
    model::{
        Digest, Result,
        event::EventType,
        image::ImageRecord,
        mount::{Mount, MountSource},
    },
};

impl Engine {
    /// Removes the images without a name, or with `all` those with one too, that no container uses
    /// and that are `chosen`; what was done, and how many bytes of the disk that frees. Blobs and
    /// layers that others share stay, and are not counted.
    ///
    /// Nobody adds or takes anything meanwhile, so a container that is being made either has its
    /// image or learns that it is gone.
    pub fn prune_images(
        &self,
        all: bool,
        chosen: &dyn Fn(&ImageRecord) -> Result<bool>,
    ) -> Result<(Vec<Removed>, u64)> {
        self.enter_user_namespace()?;
        let alone = self.store.lock_exclusive()?;
        let used = self.used_images()?;
        let records = self.store.images()?;
        let mut going: Vec<&ImageRecord> = Vec::new();
        for record in &records {
            let unwanted = all || record.name.is_none();
            if unwanted && !used.hold(record) && chosen(record)? {
                going.push(record);
            }
        }
        let mut removals = Vec::new();
        for record in &going {
            self.store.remove_image_record(&alone, record)?;
        }
        let garbage = self.store.bury_garbage(&alone)?;
        drop(alone);
        let mut told: HashSet<&Digest> = HashSet::new();
        for record in &going {
            let of_image: Vec<ImageRecord> = records
                .iter()
                .filter(|other| other.config == record.config)
                .cloned()
                .collect();
            let mut lines = untagged(record, &of_image, &going);
            let config = garbage.blobs.iter().any(|hex| hex == record.config.hex());
            if config && told.insert(&record.config) {
                lines.push(Removed::Deleted(record.config.clone()));
            }
            self.note_removals(&record.config, &lines);
            removals.append(&mut lines);
            for layer in record.layers.iter().rev() {
                let gone = garbage.layers.iter().any(|hex| hex == layer.hex());
                if gone && told.insert(layer) {
                    removals.push(Removed::Deleted(layer.clone()));
                }
            }
        }
        let bytes = garbage.disk_bytes(&self.store);
        self.delete(garbage)?;
        self.note_prune(EventType::Image, bytes);
        Ok((removals, bytes))
    }

    pub(in crate::engine) fn used_images(&self) -> Result<Used> {
        let mut used = Used::default();
        for (_, record) in self.store.containers()? {
            used.configs.extend(record.image_id);
            let mounted = record.spec.mounts.iter().filter_map(mounted_image);
            used.mounted.extend(mounted.map(<[Digest]>::to_vec));
        }
        Ok(used)
    }
}

/// What containers are made of and mount.
#[derive(Default)]
pub(in crate::engine) struct Used {
    configs: HashSet<Digest>,
    /// Their layers.
    mounted: HashSet<Vec<Digest>>,
}

impl Used {
    pub(in crate::engine) fn hold(&self, image: &ImageRecord) -> bool {
        self.configs.contains(&image.config) || self.mounted.contains(&image.layers)
    }
}

fn mounted_image(mount: &Mount) -> Option<&[Digest]> {
    match &mount.source {
        MountSource::Image { layers, .. } => Some(layers),
        _ => None,
    }
}
