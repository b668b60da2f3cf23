//! `ps`: all containers at one glance.

use std::collections::HashMap;

use super::{
    ending::{exit_code, is_up},
    health, pause,
};
use crate::{
    engine::{ContainerSize, ContainerSummary, Engine},
    model::{
        Digest, Platform, Result,
        container::{ContainerRecord, ContainerState},
        image::ImageConfig,
    },
    storage::{ContainerDir, containers::Status},
};

impl Engine {
    /// Newest first; without `all` only those that run. `size` measures the writable layers,
    /// which walks them.
    pub fn containers(&self, all: bool, size: bool) -> Result<Vec<ContainerSummary>> {
        let mut images = HashMap::new();
        let mut summaries = Vec::new();
        for (directory, record) in self.store.containers()?.into_iter().rev() {
            let mut status = directory.state()?;
            if !all && !is_up(&status) {
                continue;
            }
            // Its supervisor was killed before it could remove it.
            if record.spec.auto_remove && status.state == ContainerState::Exited {
                pause::remove_left_groups(&status);
                if self.store.remove_if_over(&record.id).unwrap_or(true) {
                    continue;
                }
            }
            status.state = pause::state(&status);
            let size = if size {
                Some(self.container_size(&directory, &record)?)
            } else {
                None
            };
            // Many containers share an image. One that is damaged costs only its labels here.
            let image = images
                .entry(record.image_id.clone())
                .or_insert_with_key(|id: &Option<Digest>| self.image_config(id.as_ref()?).ok());
            let defaults = image.as_ref().and_then(|image| image.config.as_ref());
            let health = health::found(&directory, &record, defaults, &status)?;
            let mut summary = summary(&directory, record, status, image.as_ref(), size);
            summary.health = health.map(|health| health.status);
            summaries.push(summary);
        }
        Ok(summaries)
    }

    /// Bytes of the writable layer and of the image.
    pub(super) fn container_size(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
    ) -> Result<ContainerSize> {
        // Files of other ids may lie in folders that only they can read.
        self.enter_user_namespace()?;
        let image = record
            .layers
            .iter()
            .filter_map(|layer| self.store.layer_facts(layer).ok())
            .map(|facts| facts.size)
            .sum();
        let writable = if super::size::is_copy(directory)? {
            // Only the sum is kept.
            super::size::of_tree(directory, "rootfs")?.saturating_sub(image)
        } else {
            super::size::of_tree(directory, "upper")?
        };
        Ok(ContainerSize { writable, image })
    }
}

fn summary(
    directory: &ContainerDir,
    record: ContainerRecord,
    status: Status,
    image: Option<&ImageConfig>,
    size: Option<ContainerSize>,
) -> ContainerSummary {
    let exit_code = exit_code(&status);
    let mut labels = image
        .and_then(|image| image.config.as_ref()?.labels.clone())
        .unwrap_or_default();
    labels.extend(record.spec.labels);
    let platform = record
        .spec
        .platform
        .or_else(|| image.map(ImageConfig::platform))
        .unwrap_or_else(Platform::host);
    let started = status.started().map(str::to_owned);
    let finished = status.exit.map(|exit| exit.finished);
    ContainerSummary {
        id: directory.id().clone(),
        name: record.name,
        image: record.spec.image,
        image_id: record.image_id,
        layers: record.layers,
        command: [vec![record.path], record.args].concat(),
        created: record.created,
        state: status.state,
        health: None,
        exit_code,
        started,
        finished,
        labels,
        mounts: record.spec.mounts,
        network: record.spec.network,
        platform,
        size,
    }
}
