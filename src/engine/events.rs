//! What has happened: how every verb notes it, and how it is read again.
//!
//! Whoever does a thing notes it, right after it is done: the command, or, for what happens to a
//! running program (start, die, oom, health, restart, the end of a `--rm` container), its supervisor.
//! Noting never fails and never changes what the verb returns.

use std::borrow::Cow;

use super::Engine;
use crate::model::{
    Digest,
    container::ContainerRecord,
    event::{Attributes, Event, EventType, container_attributes},
    image::ImageConfig,
};

/// An event of a container whose image is at hand.
pub(in crate::engine) fn container_event(
    record: &ContainerRecord,
    image: &ImageConfig,
    action: impl Into<Cow<'static, str>>,
) -> Event {
    let labels = image
        .config
        .as_ref()
        .and_then(|config| config.labels.as_ref());
    let attributes = container_attributes(record, labels);
    Event::new(EventType::Container, action, record.id.as_str(), attributes)
}

impl Engine {
    /// Notes what was done to a container, with more attributes than every event has (`signal` of
    /// `kill`, `exitCode` of `die`).
    pub(in crate::engine) fn note_container(
        &self,
        record: &ContainerRecord,
        action: impl Into<Cow<'static, str>>,
        more: &[(&str, &str)],
    ) {
        self.store
            .note_event(self.container_event(record, action, more));
    }

    /// The same, not yet written down: for several events at once, and before a container goes.
    pub(in crate::engine) fn container_event(
        &self,
        record: &ContainerRecord,
        action: impl Into<Cow<'static, str>>,
        more: &[(&str, &str)],
    ) -> Event {
        let image = record
            .image_id
            .as_ref()
            .and_then(|id| self.image_config(id).ok());
        let mut event = container_event(record, &image.unwrap_or_default(), action);
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        event.actor.attributes.extend(more);
        event
    }

    /// Notes that a signal was sent to a container's program.
    pub(in crate::engine) fn note_kill(&self, record: &ContainerRecord, signal: i32) {
        self.note_container(record, "kill", &[("signal", &signal.to_string())]);
    }

    /// Notes the volumes that a container is started with.
    pub(in crate::engine) fn note_mounts(&self, record: &ContainerRecord) {
        for mount in &record.spec.mounts {
            let Some(volume) = mount.volume() else {
                continue;
            };
            let more = [
                ("container", record.id.as_str()),
                ("destination", mount.target.as_str()),
                ("propagation", ""),
                ("read/write", if mount.read_only { "false" } else { "true" }),
            ];
            self.note_volume("mount", &volume.name, &more);
        }
    }

    /// Notes what was done to an image: `id` is its ID, or its name for `pull` and `push`; `name` as
    /// it was called. `labels_of` is the image whose labels are attributes, if it is still there.
    pub(in crate::engine) fn note_image(
        &self,
        action: &'static str,
        id: &str,
        name: &str,
        labels_of: Option<&Digest>,
    ) {
        let config = labels_of.and_then(|id| self.image_config(id).ok());
        let labels = config.and_then(|config| config.config?.labels);
        let mut attributes = labels.unwrap_or_default();
        attributes.insert("name".to_owned(), name.to_owned());
        self.store
            .note_event(Event::new(EventType::Image, action, id, attributes));
    }

    /// Notes what was done to a volume.
    pub(in crate::engine) fn note_volume(
        &self,
        action: &'static str,
        name: &str,
        more: &[(&str, &str)],
    ) {
        let mut attributes = Attributes::from([("driver".to_owned(), "local".to_owned())]);
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        attributes.extend(more);
        self.store
            .note_event(Event::new(EventType::Volume, action, name, attributes));
    }

    /// Notes that all that was not used of a kind is gone, and how many bytes that freed.
    pub(in crate::engine) fn note_prune(&self, kind: EventType, reclaimed: u64) {
        let attributes = Attributes::from([("reclaimed".to_owned(), reclaimed.to_string())]);
        self.store
            .note_event(Event::new(kind, "prune", "", attributes));
    }
}
