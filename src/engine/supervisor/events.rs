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
    network::Network,
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
    /// The start, and before it the networks that the container has joined, at once.
    pub(super) fn note_started(&self) {
        let networks = self.networks().into_iter();
        let joined = networks.map(|network| self.network_event("connect", network));
        let started = [event(&self.plan, "start", [])];
        self.store.note_events(joined.chain(started));
    }

    /// What the container was started with. A network of its own alone has no name and no events.
    fn networks(&self) -> Vec<&Network> {
        let plan = self.plan.network.iter().filter(|plan| !plan.private);
        plan.flat_map(|plan| &plan.connections)
            .map(|connection| &connection.network)
            .collect()
    }

    /// That it leaves its networks at its end: not those of its start, if some were connected and
    /// disconnected since.
    fn events_of_leaving(&self) -> Vec<Event> {
        let started_with = self.networks();
        let leave = |network: &Network| self.network_event("disconnect", network);
        let record = match started_with.is_empty() {
            true => return Vec::new(),
            false => self.directory.record(),
        };
        let Ok(record) = record else {
            return started_with.into_iter().map(leave).collect();
        };
        let attachments = record.spec.network.attachments().into_iter();
        attachments
            .filter_map(|attachment| {
                let mut known = started_with.iter();
                match known.find(|network| network.name == attachment.network) {
                    Some(network) => Some(leave(network)),
                    None => Some(leave(&self.store.network(&attachment.network).ok()??)),
                }
            })
            .collect()
    }

    fn network_event(&self, action: &'static str, network: &Network) -> Event {
        let attributes = Attributes::from([
            ("container".to_owned(), self.plan.id.to_string()),
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.driver.to_string()),
        ]);
        Event::new(EventType::Network, action, network.id.as_str(), attributes)
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
            .chain(self.events_of_leaving())
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
