//! What the supervisor notes in the journal of events: start, oom, die, and what goes with the
//! container's end.

use serde::{Deserialize, Serialize};

use super::{Container, LaunchPlan};
use crate::model::{
    container::ContainerRecord,
    event::{Attributes, Event, EventType, container_attributes},
    health::HealthStatus,
    image::ImageConfig,
    mount::Mount,
};

/// What events say of a container, for the process that does not know its record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    attributes: Attributes,
    /// The volumes that it mounts.
    volumes: Vec<String>,
}

impl About {
    pub fn new(record: &ContainerRecord, image: &ImageConfig) -> About {
        let labels = image
            .config
            .as_ref()
            .and_then(|config| config.labels.as_ref());
        let volumes = record.spec.mounts.iter().filter_map(Mount::volume);
        About {
            attributes: container_attributes(record, labels),
            volumes: volumes.map(|volume| volume.name.clone()).collect(),
        }
    }
}

impl Container<'_> {
    pub(super) fn note_started(&self) {
        self.store.note_event(event(&self.plan, "start", []));
    }

    pub(super) fn note_health(&self, status: HealthStatus) {
        let action = match status {
            HealthStatus::Starting => "health_status: starting",
            HealthStatus::Healthy => "health_status: healthy",
            HealthStatus::Unhealthy => "health_status: unhealthy",
        };
        self.store.note_event(event(&self.plan, action, []));
    }

    /// The end of a run that took so many seconds, in Docker's order.
    pub(super) fn events_of_end(&self, code: i32, oom_killed: bool, seconds: u64) -> Vec<Event> {
        let plan = &self.plan;
        let more = [
            ("exitCode".to_owned(), code.to_string()),
            ("execDuration".to_owned(), seconds.to_string()),
        ];
        let oom = oom_killed.then(|| event(plan, "oom", []));
        let unmounted = plan.about.volumes.iter().map(|volume| {
            let container = ("container".to_owned(), plan.id.to_string());
            volume_event("unmount", volume, Some(container))
        });
        oom.into_iter()
            .chain([event(plan, "die", more)])
            .chain(unmounted)
            .collect()
    }
}

/// A container that removes itself at its end is gone, and its nameless volumes with it.
pub(super) fn destroyed(plan: &LaunchPlan) -> impl Iterator<Item = Event> {
    let volumes = plan.nameless_volumes.iter();
    volumes
        .map(|volume| volume_event("destroy", volume, None))
        .chain([event(plan, "destroy", [])])
}

fn event<const MORE: usize>(
    plan: &LaunchPlan,
    action: &'static str,
    more: [(String, String); MORE],
) -> Event {
    let mut attributes = plan.about.attributes.clone();
    attributes.extend(more);
    Event::new(EventType::Container, action, plan.id.as_str(), attributes)
}

fn volume_event(action: &'static str, volume: &str, more: Option<(String, String)>) -> Event {
    let mut attributes = Attributes::from([("driver".to_owned(), "local".to_owned())]);
    attributes.extend(more);
    Event::new(EventType::Volume, action, volume, attributes)
}
