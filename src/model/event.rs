//! What has happened to a container, an image, a volume or a network: one event, in Docker's JSON shape and as
//! Docker's line of text.
//!
//! | type | actions |
//! |---|---|
//! | container | create attach start die stop kill restart pause unpause rename update destroy oom detach resize top copy archive-path extract-to-dir export commit prune `exec_create: …` `exec_start: …` exec_die exec_detach `health_status: …` |
//! | image | pull push tag untag delete load import save prune |
//! | volume | create mount unmount destroy prune |
//! | network | create connect disconnect update destroy prune |
//!
//! An attribute is a text. A container's labels are attributes, so a label named `image` hides
//! nothing: `image` and `name` are set after them.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::container::ContainerRecord;

/// What more is known of an event: sorted, as Docker prints it.
pub type Attributes = BTreeMap<String, String>;

/// Bytes that the attributes of one event may have. Labels are an image's and may be of any size;
/// an event that were larger goes without them.
const MAX_ATTRIBUTES: usize = 32 << 10;

/// What it happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    Container,
    Image,
    Volume,
    Network,
    Builder,
    Daemon,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Container => "container",
            EventType::Image => "image",
            EventType::Volume => "volume",
            EventType::Network => "network",
            EventType::Builder => "builder",
            EventType::Daemon => "daemon",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The fields stand in the order in which the journal and Docker write them; `Type` is the first,
/// by which a reader finds the beginning of an event behind a torn one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "Type")]
    pub kind: EventType,
    #[serde(rename = "Action")]
    pub action: Cow<'static, str>,
    #[serde(rename = "Actor")]
    pub actor: Actor,
    pub scope: Cow<'static, str>,
    /// Seconds after the Unix epoch.
    pub time: i64,
    /// Nanoseconds after the Unix epoch.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// Whom it happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// A container's ID, an image's ID or name, a volume's name.
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes")]
    pub attributes: Attributes,
}

impl Event {
    /// One without a time: whoever writes it down says when it was.
    pub fn new(
        kind: EventType,
        action: impl Into<Cow<'static, str>>,
        id: impl Into<String>,
        attributes: Attributes,
    ) -> Event {
        Event {
            kind,
            action: action.into(),
            actor: Actor {
                id: id.into(),
                attributes,
            },
            scope: "local".into(),
            time: 0,
            time_nano: 0,
        }
    }

    /// The event at a moment: nanoseconds after the Unix epoch.
    pub fn at(self, time_nano: i64) -> Event {
        Event {
            time: time_nano.div_euclid(1_000_000_000),
            time_nano,
            ..self
        }
    }

    /// The image of a container's event.
    pub fn image(&self) -> Option<&str> {
        match self.kind {
            EventType::Container => self.actor.attributes.get("image").map(String::as_str),
            _ => None,
        }
    }

    /// Docker's line, which begins with the time as the reader wants it. What labels say is data:
    /// control characters are shown as escapes.
    pub fn line(&self, time: &str) -> String {
        let attributes: Vec<String> = self
            .actor
            .attributes
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut line = format!("{time} {} {} {}", self.kind, self.action, self.actor.id);
        if !attributes.is_empty() {
            line.push_str(&format!(" ({})", attributes.join(", ")));
        }
        if line.chars().any(char::is_control) {
            line = line.chars().map(shown).collect();
        }
        line
    }
}

fn shown(letter: char) -> String {
    if letter.is_control() {
        letter.escape_default().to_string()
    } else {
        letter.to_string()
    }
}

/// What every event of a container says of it: its labels and its image's, the image's name and its
/// own.
pub fn container_attributes(
    record: &ContainerRecord,
    image_labels: Option<&BTreeMap<String, String>>,
) -> Attributes {
    let mut attributes = image_labels.cloned().unwrap_or_default();
    attributes.extend(record.spec.labels.clone());
    let size: usize = attributes
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > MAX_ATTRIBUTES {
        attributes.clear();
    }
    attributes.insert("image".to_owned(), record.spec.image.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let attributes = Attributes::from([
            ("name".to_owned(), "web".to_owned()),
            ("image".to_owned(), "alpine".to_owned()),
        ]);
        Event::new(EventType::Container, "create", "4f", attributes).at(1_700_000_000_000_000_007)
    }

    #[test]
    fn an_event_is_dockers_object() {
        let text = serde_json::to_string(&event()).unwrap();
        assert_eq!(
            text,
            r#"{"Type":"container","Action":"create","Actor":{"ID":"4f","Attributes":{"image":"alpine","name":"web"}},"scope":"local","time":1700000000,"timeNano":1700000000000000007}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event());
    }

    #[test]
    fn an_event_is_dockers_line() {
        assert_eq!(
            event().line("2026-11-21T12:00:00.123456789+01:00"),
            "2026-11-21T12:00:00.123456789+01:00 container create 4f (image=alpine, name=web)"
        );
        let bare = Event::new(EventType::Volume, "prune", "", Attributes::new());
        assert_eq!(bare.line("T"), "T volume prune ");
    }

    #[test]
    fn a_label_moves_no_cursor() {
        let attributes = Attributes::from([("x".to_owned(), "\x1b[2J\n".to_owned())]);
        let event = Event::new(EventType::Container, "die", "4f", attributes);
        assert_eq!(event.line("T"), "T container die 4f (x=\\u{1b}[2J\\n)");
    }

    #[test]
    fn a_moment_before_the_epoch_has_its_second_too() {
        assert_eq!(event().at(-1).time, -1);
    }
}
