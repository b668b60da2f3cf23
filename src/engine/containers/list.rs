//! `ps`: all containers at one glance.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use super::{
    ending::{exit_code, is_up},
    health, pause,
};
use crate::{
    engine::{ContainerSize, ContainerSummary, Engine, PublishedPort, networks},
    model::{
        Digest, Platform, Result,
        container::{ContainerRecord, ContainerState},
        health::HealthStatus,
        image::{ImageConfig, ProcessDefaults},
        publish::{Port, PortMapping},
    },
    storage::{ContainerDir, containers::Listed},
};

impl Engine {
    /// Newest first; without `all` only those that run. `size` measures the writable layers,
    /// which walks them. Waits for no lock.
    pub fn containers(&self, all: bool, size: bool) -> Result<Vec<ContainerSummary>> {
        let mut images = HashMap::new();
        let mut summaries = Vec::new();
        for mut listed in self.store.list_containers(all)? {
            if !all && !is_up(&listed.status) || self.is_over(&listed) {
                continue;
            }
            listed.status.state = pause::state(&listed.status);
            // Many containers share an image. One that is damaged costs only its labels here.
            let image = images
                .entry(listed.record.image_id.clone())
                .or_insert_with_key(|id: &Option<Digest>| self.image_config(id.as_ref()?).ok());
            let id = size.then(|| listed.record.id.clone());
            let health = self.health_of(&listed, image.as_ref())?;
            let ports = self.ports_of(&listed)?;
            let mut summary = summary(listed, image.as_ref());
            summary.ports = ports;
            summary.health = health;
            if let Some(id) = id {
                let directory = self.store.container(&id)?;
                let record = directory.record()?;
                summary.size = Some(self.container_size(&directory, &record)?);
            }
            summaries.push(summary);
        }
        Ok(summaries)
    }

    /// Read only for those that have asked for any.
    fn ports_of(&self, listed: &Listed) -> Result<Vec<PublishedPort>> {
        let spec = &listed.record.spec;
        let asked = spec.publish_all || !spec.published.is_empty();
        if !asked || !is_up(&listed.status) {
            return Ok(Vec::new());
        }
        let bound = self.store.ports(&listed.record.id)?;
        Ok(networks::shown_ports(&bound.ports))
    }

    /// One that has ended counts as unhealthy, if it has a check.
    fn health_of(
        &self,
        listed: &Listed,
        image: Option<&ImageConfig>,
    ) -> Result<Option<HealthStatus>> {
        let none = ProcessDefaults::default();
        let image = image.and_then(|image| image.config.as_ref());
        let (record, status) = (&listed.record, &listed.status);
        let check = record.spec.health.effective(image.unwrap_or(&none));
        Ok(match (check, &status.start, &status.exit) {
            (None, _, _) | (_, None, None) => None,
            (Some(_), None, Some(_)) => Some(HealthStatus::Unhealthy),
            (Some(_), Some(_), _) => {
                let directory = self.store.container(&record.id)?;
                let health = health::found(&directory, &record.spec.health, image, status)?;
                health.map(|health| health.status)
            }
        })
    }

    /// Whether its supervisor was killed before it could remove it. It is removed now, unless that
    /// had to wait for another command: then whoever comes next does it.
    fn is_over(&self, listed: &Listed) -> bool {
        let record = &listed.record;
        if !record.spec.auto_remove || listed.status.state != ContainerState::Exited {
            return false;
        }
        let is_busy = !matches!(self.store.try_lock_exclusive(), Ok(Some(_)));
        if is_busy {
            return !matches!(
                self.store.container(&record.id).map(|dir| dir.is_held()),
                Ok(Ok(true))
            );
        }
        pause::remove_left_groups(&listed.status);
        self.store.remove_if_over(&record.id).unwrap_or(true)
    }

    /// The numbers of a process's namespaces, by the kernel's names for them. Empty if it has ended.
    pub fn namespace_numbers(&self, pid: i32) -> BTreeMap<String, u64> {
        let number = |link: &Path| {
            let text = std::fs::read_link(link).ok()?;
            let (_, number) = text.to_str()?.split_once(":[")?;
            number.strip_suffix(']')?.parse().ok()
        };
        let links = std::fs::read_dir(format!("/proc/{pid}/ns"));
        let links = links.into_iter().flatten().flatten();
        links
            .filter_map(|link| Some((link.file_name().into_string().ok()?, number(&link.path())?)))
            .collect()
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

fn summary(listed: Listed, image: Option<&ImageConfig>) -> ContainerSummary {
    let Listed { record, status } = listed;
    let defaults = image.and_then(|image| image.config.as_ref());
    let mut labels = defaults
        .and_then(|config| config.labels.clone())
        .unwrap_or_default();
    labels.extend(record.spec.labels);
    let exposed = defaults.and_then(|config| config.exposed_ports.as_ref());
    let platform = record
        .spec
        .platform
        .or_else(|| image.map(ImageConfig::platform))
        .unwrap_or_else(Platform::host);
    let of_image = exposed.into_iter().flat_map(|ports| ports.keys());
    let published = record.spec.published.iter().map(PortMapping::port);
    let exposed: BTreeSet<Port> = of_image
        .filter_map(|port| port.parse().ok())
        .chain(record.spec.exposed.iter().copied())
        .chain(published)
        .collect();
    ContainerSummary {
        exposed: exposed.iter().map(Port::to_string).collect(),
        ports: Vec::new(),
        restart: record.spec.restart,
        pid: match &status.start {
            Some(start) if is_up(&status) || status.state == ContainerState::Paused => {
                start.init.pid
            }
            _ => 0,
        },
        exit_code: exit_code(&status),
        id: record.id,
        name: record.name,
        image: record.spec.image,
        image_id: record.image_id,
        layers: record.layers,
        command: [vec![record.path], record.args].concat(),
        created: record.created,
        state: status.state,
        health: None,
        started: status.started().map(str::to_owned),
        finished: status.exit.map(|exit| exit.finished),
        labels,
        mounts: record.spec.mounts,
        network: record.spec.network,
        platform,
        size: None,
    }
}
