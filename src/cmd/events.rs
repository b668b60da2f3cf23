//! `events`: what has happened, and what happens.

use clap::Args;
use serde_json::{Value, json};

use super::{
    Session,
    failure::Failure,
    filter::Filters,
    go_types, parse,
    template::Inspect,
    times, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::EventOptions,
    model::{
        Error, ErrorKind,
        event::{Event, EventType},
    },
};

#[derive(Args)]
struct Flags {
    /// Show those that fit: type, event, container, image, volume, network, label, id, name, scope
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// For Podman's sake: nothing is shortened
    #[arg(long, hide = true, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_trunc: Option<bool>,
    /// Begin with those after a moment (2026-01-31T12:00:00Z) or a time ago (10m)
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Wait for what happens; with =false, show what is known and end
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    stream: Option<bool>,
    /// End at a moment or a time ago
    #[arg(long, value_name = "string")]
    until: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["system events", "events"],
    about: "Show what happens to containers, images and volumes",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

/// Docker's keys, and Podman's `id` and `name`. Of some of the things nothing ever happens here.
const FILTERS: &[&str] = &[
    "builder",
    "config",
    "container",
    "daemon",
    "event",
    "id",
    "image",
    "label",
    "name",
    "network",
    "node",
    "plugin",
    "pod",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Keys that are the type of what is wanted, too.
const KINDS: &[&str] = &[
    "builder",
    "config",
    "container",
    "daemon",
    "network",
    "node",
    "plugin",
    "pod",
    "secret",
    "service",
    "volume",
];

fn run(session: &Session, flags: &Flags) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let format = flags.format.as_deref().filter(|format| !format.is_empty());
    let shape = match format {
        None => Shape::Lines,
        Some(template) => Shape::parse(template)?,
    };
    let moment = |text: &Option<String>| text.as_deref().map(times::parse_moment).transpose();
    let options = EventOptions {
        since: moment(&flags.since)?,
        until: moment(&flags.until)?,
        follow: flags.stream.unwrap_or(true),
        output: Some(ui::output_descriptor()),
    };
    if let (Some(since), Some(until)) = (options.since, options.until)
        && since > until
    {
        return Err(Error::invalid("invalid time range: --since is after --until").into());
    }
    let mut stopped = None;
    let mut sink = |event: Event| {
        if !accepts(&filters, &event) {
            return Ok(());
        }
        let shown = shape.show(&event).and_then(|text| ui::line(&text));
        shown.map_err(|failure| {
            stopped = Some(failure);
            Error::new(ErrorKind::System, "cannot write the events")
        })
    };
    let result = session.engine()?.events(&options, &mut sink);
    match stopped {
        Some(failure) => Err(failure),
        None => {
            result?;
            Ok(0)
        }
    }
}

enum Shape {
    Lines,
    Json,
    Template(Inspect),
}

impl Shape {
    fn parse(format: &str) -> Result<Shape, Failure> {
        Ok(match format.replace(' ', "").as_str() {
            // The whole is without the shorthands.
            "json" | "{{json.}}" => Shape::Json,
            _ => Shape::Template(Inspect::parse(format)?),
        })
    }

    fn show(&self, event: &Event) -> Result<String, Failure> {
        match self {
            Shape::Lines => Ok(event.line(&times::nine_digits(event.time_nano))),
            Shape::Json => Ok(object(event).to_string()),
            Shape::Template(template) => {
                template.show(Some(go_types::EVENT), &with_shorthands(object(event)))
            }
        }
    }
}

/// Docker's object: before the event's own keys, those of its first years.
fn object(event: &Event) -> Value {
    let mut object = serde_json::Map::new();
    if matches!(event.kind, EventType::Container | EventType::Image) {
        object.insert("status".to_owned(), json!(event.action));
        object.insert("id".to_owned(), json!(event.actor.id));
        if let Some(image) = event.image() {
            object.insert("from".to_owned(), json!(image));
        }
    }
    if let Ok(Value::Object(own)) = serde_json::to_value(event) {
        object.extend(own);
    }
    Value::Object(object)
}

/// The same with Podman's shorthands.
fn with_shorthands(mut object: Value) -> Value {
    let attributes = object["Actor"]["Attributes"].clone();
    for (name, key) in [("Name", "name"), ("Image", "image")] {
        object[name] = attributes[key].as_str().unwrap_or_default().into();
    }
    object["Attributes"] = attributes;
    object
}

fn accepts(filters: &Filters, event: &Event) -> bool {
    let kind = event.kind.as_str();
    let name = event.actor.attributes.get("name").map(String::as_str);
    let begins = |wanted: &str| {
        event.actor.id.starts_with(wanted) || name.is_some_and(|name| name.starts_with(wanted))
    };
    let of_kind = |key: &&str| filters.accepts(key, |wanted| kind == *key && begins(wanted));
    filters.accepts("type", |wanted| wanted == kind)
        && filters.accepts("event", |wanted| is_action(filters, event, wanted))
        && filters.accepts("scope", |wanted| wanted == event.scope)
        && filters.accepts("image", |wanted| is_image(event, wanted))
        && filters.accepts("id", |wanted| event.actor.id.starts_with(wanted))
        && filters.accepts("name", |wanted| {
            name.is_some_and(|name| name.starts_with(wanted))
        })
        && KINDS.iter().all(of_kind)
        && filters.accepts_labels(&event.actor.attributes)
}

/// Docker's rule: if one of the actions that say more behind a colon is asked for, the beginning of
/// every asked-for action is enough.
fn is_action(filters: &Filters, event: &Event, wanted: &str) -> bool {
    let says_more = |action: &str| matches!(action, "health_status" | "exec_create" | "exec_start");
    if filters.values("event").any(says_more) {
        event.action.starts_with(wanted)
    } else {
        event.action == wanted
    }
}

/// An image by its ID or name, with or without a tag; a container by its image's.
fn is_image(event: &Event, wanted: &str) -> bool {
    let key = match event.kind {
        EventType::Image => "name",
        _ => "image",
    };
    let name = event.actor.attributes.get(key).map_or("", String::as_str);
    [event.actor.id.as_str(), name]
        .into_iter()
        .any(|known| !known.is_empty() && (known == wanted || without_tag(known) == wanted))
}

fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        // The colon of a registry's port is no tag's.
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Attributes;

    fn event(
        kind: EventType,
        action: &'static str,
        id: &str,
        attributes: &[(&str, &str)],
    ) -> Event {
        let attributes: Attributes = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Event::new(kind, action, id, attributes).at(1_700_000_000_123_456_789)
    }

    fn container(action: &'static str) -> Event {
        let attributes = [("image", "alpine:3"), ("name", "web"), ("tier", "front")];
        event(EventType::Container, action, "4f00", &attributes)
    }

    fn fits(filters: &[&str], event: &Event) -> bool {
        let filters: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
        let filters = Filters::parse(&filters, FILTERS);
        filters.is_ok_and(|filters| accepts(&filters, event))
    }

    #[test]
    fn the_same_key_is_or_and_others_are_and() {
        let die = container("die");
        for (filters, expected) in [
            (&["type=container"][..], true),
            (&["type=image"], false),
            (&["event=start", "event=die"], true),
            (&["event=start", "type=container"], false),
            (&["container=web"], true),
            (&["container=4f"], true),
            (&["container=we"], true),
            (&["container=other"], false),
            (&["container=other", "container=4f00"], true),
            (&["volume=web"], false),
            (&["image=alpine"], true),
            (&["image=alpine:3"], true),
            (&["image=alpine:4"], false),
            (&["label=tier"], true),
            (&["label=tier=front", "label=missing"], false),
            (&["scope=local"], true),
            (&["id=4f", "name=web"], true),
        ] {
            assert_eq!(fits(filters, &die), expected, "{filters:?}");
        }
    }

    #[test]
    fn what_stands_behind_the_colon_of_an_action_need_not_be_known() {
        let healthy = container("health_status: healthy");
        assert!(fits(&["event=health_status"], &healthy));
        assert!(fits(&["event=health_status: healthy"], &healthy));
        assert!(!fits(&["event=health"], &healthy));
        assert!(fits(&["event=exec_create"], &container("exec_create: sh")));
    }

    #[test]
    fn images_are_found_by_name_with_or_without_a_tag() {
        let pulled = event(
            EventType::Image,
            "pull",
            "localhost:5000/app:1",
            &[("name", "localhost:5000/app")],
        );
        assert!(fits(&["image=localhost:5000/app"], &pulled));
        assert!(fits(&["image=localhost:5000/app:1"], &pulled));
        assert!(!fits(&["image=localhost"], &pulled));
    }

    #[test]
    fn json_has_dockers_old_keys_first() {
        let text = object(&container("start")).to_string();
        assert!(
            text.starts_with(r#"{"status":"start","id":"4f00","from":"alpine:3","Type":"container","Action":"start","#),
            "{text}"
        );
        let volume = event(EventType::Volume, "create", "v", &[]);
        assert!(
            object(&volume)
                .to_string()
                .starts_with(r#"{"Type":"volume""#)
        );
    }

    #[test]
    fn templates_know_keys_and_go_names() {
        for (template, expected) in [
            (
                "{{.Type}} {{.Action}} {{.Actor.ID}}",
                "container start 4f00",
            ),
            ("{{.ID}} {{.Status}} {{.From}}", "4f00 start alpine:3"),
            ("{{.Actor.Attributes.name}}", "web"),
            ("{{index .Actor.Attributes \"tier\"}}", "front"),
            ("{{.Time}} {{.TimeNano}}", "1700000000 1700000000123456789"),
            ("{{.Actor.Attributes.none}}", "<no value>"),
            ("{{.Name}} {{.Image}} {{.Scope}}", "web alpine:3 local"),
        ] {
            let shape = Shape::parse(template);
            let shown = shape.and_then(|shape| shape.show(&container("start")));
            assert_eq!(shown.ok().as_deref(), Some(expected), "{template}");
        }
        let shape = Shape::parse("{{json .}}");
        let shown = shape.and_then(|shape| shape.show(&container("start")));
        assert_eq!(shown.ok(), Some(object(&container("start")).to_string()));
    }
}
