//! `system df`: what images, containers and volumes take on the disk, and what of it could be freed.
//!
//! Everything of the store belongs to one row, so their sum is what du(1) says of the root: blobs,
//! layers, downloads and the store's own records to the images; a container's folder to the containers; a
//! volume's to the volumes; and what only the cache of builds names to that. Of images, what no container needs can be freed (`image prune -a`); of
//! containers, those that do not run; of volumes, those that no container names.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{ContainerSummary, Engine, volumes::VolumeSummary};
use crate::{
    model::{Digest, Result, container::ContainerState, image::ImageRecord, index::ManifestKind},
    storage::{builds::StepRecord, usage::DiskUsage},
};

/// One row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageSum {
    pub total: usize,
    /// Images and volumes that a container has, containers that run.
    pub active: usize,
    pub bytes: u64,
    pub reclaimable: u64,
}

/// An image, under all its names.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// With names first, in their order.
    pub records: Vec<ImageRecord>,
    /// Bytes of what other images have, too.
    pub shared: u64,
    pub unique: u64,
    pub containers: usize,
}

/// What `system df -v` shows.
#[derive(Clone, Debug)]
pub struct UsageReport {
    pub images: UsageSum,
    pub containers: UsageSum,
    pub volumes: UsageSum,
    pub builds: UsageSum,
    /// Newest first.
    pub each_image: Vec<ImageUsage>,
    pub each_container: Vec<(ContainerSummary, u64)>,
    pub each_volume: Vec<(VolumeSummary, u64)>,
}

impl Engine {
    /// Measures the store.
    pub fn disk_usage(&self) -> Result<UsageReport> {
        self.enter_user_namespace()?;
        let usage = self.store.disk_usage()?;
        let containers = self.containers(true, false)?;
        let records = self.images()?;
        let each_image = each_image(&usage, &records, &containers);
        let of = |map: &BTreeMap<String, u64>, key: &str| map.get(key).copied().unwrap_or(0);
        let each_container: Vec<(ContainerSummary, u64)> = containers
            .into_iter()
            .map(|container| {
                let bytes = of(&usage.containers, container.id.as_str());
                (container, bytes)
            })
            .collect();
        let each_volume: Vec<(VolumeSummary, u64)> = self
            .volumes()?
            .into_iter()
            .map(|volume| {
                let bytes = of(&usage.volumes, &volume.name);
                (volume, bytes)
            })
            .collect();
        let used = self.used_images()?;
        let active: Vec<&ImageRecord> = records.iter().filter(|record| used.hold(record)).collect();
        let mut kept = kept(&active, &each_container);
        for kind in [ManifestKind::Index, ManifestKind::Artifact] {
            for list in self.store.manifests(kind)? {
                let digests = list.keeps.iter().chain([&list.digest]);
                kept.extend(digests.map(|digest| digest.hex().to_owned()));
            }
        }
        let steps: Vec<StepRecord> = self
            .store
            .build_steps()?
            .into_iter()
            .map(|step| step.record)
            .collect();
        let named: HashSet<&Digest> = records.iter().flat_map(parts).collect();
        let of_builds = only_of_builds(&steps, &named, &kept);
        let build_bytes = usage.builds
            + of_builds
                .iter()
                .map(|digest| bytes_of(&usage, digest))
                .sum::<u64>();
        kept.extend(of_builds.iter().map(|digest| digest.hex().to_owned()));
        let in_images = steps.iter().filter(|step| {
            let layer = step.layer.as_ref();
            layer.is_some_and(|layer| named.contains(&layer.chain_id))
        });
        let builds = UsageSum {
            total: steps.len(),
            active: in_images.count(),
            bytes: build_bytes,
            reclaimable: build_bytes,
        };
        let ids: HashSet<&Digest> = active.iter().map(|record| &record.config).collect();
        let images = UsageSum {
            total: each_image.len(),
            active: ids.len(),
            bytes: usage.total()
                - sum(usage.containers.values())
                - sum(usage.volumes.values())
                - build_bytes,
            reclaimable: usage.staged + free(&usage, &kept),
        };
        Ok(UsageReport {
            images,
            containers: container_sum(&usage, &each_container),
            volumes: volume_sum(&usage, &each_volume),
            builds,
            each_image,
            each_container,
            each_volume,
        })
    }
}

fn sum<'a>(bytes: impl Iterator<Item = &'a u64>) -> u64 {
    bytes.sum()
}

fn container_sum(usage: &DiskUsage, each: &[(ContainerSummary, u64)]) -> UsageSum {
    let is_active = |container: &ContainerSummary| {
        use ContainerState::{Paused, Restarting, Running};
        matches!(container.state, Running | Paused | Restarting)
    };
    let idle = each.iter().filter(|(container, _)| !is_active(container));
    let idle: Vec<u64> = idle.map(|(_, bytes)| *bytes).collect();
    UsageSum {
        total: each.len(),
        active: each.len() - idle.len(),
        bytes: sum(usage.containers.values()),
        reclaimable: sum(idle.iter()),
    }
}

fn volume_sum(usage: &DiskUsage, each: &[(VolumeSummary, u64)]) -> UsageSum {
    let idle = each.iter().filter(|(volume, _)| volume.used_by.is_empty());
    let idle: Vec<u64> = idle.map(|(_, bytes)| *bytes).collect();
    UsageSum {
        total: each.len(),
        active: each.len() - idle.len(),
        bytes: sum(usage.volumes.values()),
        reclaimable: sum(idle.iter()),
    }
}

/// What goes with the cache of builds: no image has it.
fn only_of_builds<'s>(
    steps: &'s [StepRecord],
    named: &HashSet<&Digest>,
    kept: &HashSet<String>,
) -> HashSet<&'s Digest> {
    let layers = steps.iter().filter_map(|step| step.layer.as_ref());
    let digests = layers.flat_map(|layer| {
        let blob = layer.blob.as_ref().map(|(blob, _)| blob);
        [&layer.chain_id].into_iter().chain(blob)
    });
    digests
        .filter(|digest| !named.contains(digest) && !kept.contains(digest.hex()))
        .collect()
}

/// What the image is made of in the store, each once.
fn parts(record: &ImageRecord) -> HashSet<&Digest> {
    let documents = [&record.manifest, &record.config];
    documents
        .into_iter()
        .chain(&record.index)
        .chain(&record.blobs)
        .chain(&record.others)
        .chain(&record.layers)
        .collect()
}

/// Blobs and layers have digests of their own, of different things: a name never stands for both,
/// but for the lowest layer and its uncompressed blob.
fn bytes_of(usage: &DiskUsage, digest: &Digest) -> u64 {
    let maps = [&usage.blobs, &usage.layers, &usage.shifted];
    maps.iter().filter_map(|map| map.get(digest.hex())).sum()
}

fn each_image(
    usage: &DiskUsage,
    records: &[ImageRecord],
    containers: &[ContainerSummary],
) -> Vec<ImageUsage> {
    let mut order: Vec<&Digest> = Vec::new();
    let mut by_id: HashMap<&Digest, Vec<&ImageRecord>> = HashMap::new();
    for record in records {
        let names = by_id.entry(&record.config).or_default();
        if names.is_empty() {
            order.push(&record.config);
        }
        names.push(record);
    }
    let of_image = |id: &Digest| -> HashSet<&Digest> {
        by_id[id].iter().flat_map(|record| parts(record)).collect()
    };
    let mut owners: HashMap<&Digest, usize> = HashMap::new();
    for id in &order {
        for part in of_image(id) {
            *owners.entry(part).or_default() += 1;
        }
    }
    let image = |id: &&Digest| {
        let (mut shared, mut unique) = (0, 0);
        for part in of_image(id) {
            let sum = match owners.get(part) {
                Some(1) => &mut unique,
                _ => &mut shared,
            };
            *sum += bytes_of(usage, part);
        }
        let uses = |container: &&ContainerSummary| container.image_id.as_ref() == Some(*id);
        ImageUsage {
            records: by_id[*id].iter().copied().cloned().collect(),
            shared,
            unique,
            containers: containers.iter().filter(uses).count(),
        }
    };
    order.iter().map(image).collect()
}

/// Digits of everything that must stay although all unused images go.
fn kept(active: &[&ImageRecord], containers: &[(ContainerSummary, u64)]) -> HashSet<String> {
    let of_images = active.iter().flat_map(|record| parts(record));
    // An image that was removed under a container.
    let of_containers = containers
        .iter()
        .flat_map(|(container, _)| container.layers.iter().chain(&container.image_id));
    let digests = of_images.chain(of_containers);
    digests.map(|digest| digest.hex().to_owned()).collect()
}

fn free(usage: &DiskUsage, kept: &HashSet<String>) -> u64 {
    let maps = [&usage.blobs, &usage.layers, &usage.shifted];
    let all = maps.into_iter().flatten();
    all.filter(|(hex, _)| !kept.contains(*hex))
        .map(|(_, bytes)| bytes)
        .sum()
}
