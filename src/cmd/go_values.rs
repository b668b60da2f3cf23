//! JSON documents as Go has them: structures, nil pointers, nil slices, nil maps, times.
//!
//! The template engine knows texts, numbers, lists and maps. What Go shows otherwise is a map here
//! that carries under keys no template can write what it prints ([`TEXT`]) and what `json` makes of
//! it ([`JSON`]): structures, times and durations. The three kinds of nil are three empty values of
//! which there is one each, known by their address: all are false and without elements, and differ in
//! what they print.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use gotmpl::Value;
use serde_json::Value as Json;

use super::go_types;

pub type Map = BTreeMap<Arc<str>, Value>;

/// Keys that no field has: a template's fields begin with a letter.
const TEXT: &str = "\0text";
const JSON: &str = "\0json";
const TYPE: &str = "\0type";

static NIL_POINTER: LazyLock<Arc<Map>> = LazyLock::new(Arc::default);
static NIL_MAP: LazyLock<Arc<Map>> = LazyLock::new(Arc::default);
static NO_TIME: LazyLock<Arc<Map>> = LazyLock::new(Arc::default);
static NIL_SLICE: LazyLock<Arc<[Value]>> = LazyLock::new(|| Arc::from([]));

pub fn string(text: &str) -> Value {
    Value::String(Arc::from(text))
}

/// As Go decodes JSON without knowing more: objects are maps, null is nothing.
pub fn untyped(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::Uint(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => string(text),
        Json::Array(items) => Value::List(items.iter().map(untyped).collect()),
        Json::Object(map) => map_of(map.iter().map(|(key, value)| (key, untyped(value)))),
    }
}

fn map_of<'a>(entries: impl Iterator<Item = (&'a String, Value)>) -> Value {
    Value::Map(Arc::new(
        entries
            .map(|(key, value)| (Arc::from(key.as_str()), value))
            .collect(),
    ))
}

/// A document as the structure `kind`, whose fields have Go's names; with `keys`, those of JSON too.
pub fn typed(kind: &str, json: Option<&Json>, keys: bool) -> Value {
    let json = json.filter(|json| !json.is_null());
    let nothing = json.is_none();
    if let Some(kind) = kind.strip_prefix('*') {
        return match nothing {
            true => Value::Map(Arc::clone(&NIL_POINTER)),
            false => typed(kind, json, keys),
        };
    }
    if let Some(kind) = kind.strip_prefix("[]") {
        return match json {
            Some(Json::Array(items)) => Value::List(
                items
                    .iter()
                    .map(|item| typed(kind, Some(item), keys))
                    .collect(),
            ),
            Some(other) => untyped(other),
            None => Value::List(Arc::clone(&NIL_SLICE)),
        };
    }
    if let Some(kind) = kind.strip_prefix("map[]") {
        return match json {
            Some(Json::Object(map)) => map_of(
                map.iter()
                    .map(|(key, value)| (key, typed(kind, Some(value), keys))),
            ),
            Some(other) => untyped(other),
            None => Value::Map(Arc::clone(&NIL_MAP)),
        };
    }
    match (kind, json) {
        ("string", None) => string(""),
        ("int", None) => Value::Int(0),
        ("bool", None) => Value::Bool(false),
        ("time", json) => time(json.and_then(Json::as_str).unwrap_or(NO_MOMENT)),
        ("duration", json) => duration(json.and_then(Json::as_i64).unwrap_or(0)),
        (_, Some(Json::Object(_)) | None) if go_types::fields(kind).is_some() => {
            structure(kind, json, keys)
        }
        (_, Some(json)) => untyped(json),
        (_, None) => Value::Nil,
    }
}

fn structure(kind: &str, json: Option<&Json>, keys: bool) -> Value {
    let empty = Json::Object(serde_json::Map::new());
    let json = json.unwrap_or(&empty);
    let mut map = Map::new();
    // What Docker's structure does not have is a field all the same.
    for (key, value) in json.as_object().into_iter().flatten() {
        map.insert(Arc::from(key.as_str()), untyped(value));
    }
    let mut own = Vec::new();
    let text = fill(&mut map, kind, json, keys, &mut own);
    if !keys {
        map.retain(|key, _| own.contains(key) || !is_key(kind, key));
    }
    opaque(map, kind, &text, json.to_string())
}

/// Adds the fields of a structure and of those that it embeds, and returns what it prints.
fn fill(map: &mut Map, kind: &str, json: &Json, keys: bool, own: &mut Vec<Arc<str>>) -> String {
    let mut shown = Vec::new();
    for field in go_types::fields(kind).into_iter().flatten() {
        if field.name.is_empty() {
            shown.push(fill(map, field.kind, json, keys, own));
            continue;
        }
        let value = typed(field.kind, json.get(field.key), keys);
        shown.push(text(&value));
        let name: Arc<str> = Arc::from(field.name);
        if keys {
            map.insert(Arc::from(field.key), value.clone());
        }
        own.push(Arc::clone(&name));
        map.insert(name, value);
    }
    format!("{{{}}}", shown.join(" "))
}

/// Whether that is how JSON spells a field with another name.
fn is_key(kind: &str, key: &str) -> bool {
    go_types::fields(kind).into_iter().flatten().any(|field| {
        if field.name.is_empty() {
            is_key(field.kind, key)
        } else {
            field.key == key
        }
    })
}

/// A value that prints as `text`, and is `json` in JSON.
fn opaque(mut map: Map, kind: &str, text: &str, json: String) -> Value {
    map.insert(Arc::from(TEXT), string(text));
    map.insert(Arc::from(JSON), string(&json));
    map.insert(Arc::from(TYPE), string(kind));
    Value::Map(Arc::new(map))
}

/// A line of a list: methods without a structure to print.
pub fn row(kind: &str, fields: Map, json: String) -> Value {
    let text = format!("{{{json}}}");
    opaque(fields, kind, &text, json)
}

const NO_MOMENT: &str = "0001-01-01T00:00:00Z";

/// `2026-11-21T03:57:22.120Z` prints as `2026-11-21 03:57:22.12 +0000 UTC`.
fn time(moment: &str) -> Value {
    let json = Json::from(moment).to_string();
    let (clock, zone) = match moment.strip_suffix('Z') {
        Some(clock) => (clock, "+0000 UTC".to_owned()),
        None => {
            let at = moment.len().saturating_sub(6);
            let (clock, offset) = moment.split_at_checked(at).unwrap_or((moment, ""));
            let offset = offset.replace(':', "");
            (clock, format!("{offset} {offset}"))
        }
    };
    let clock = match clock.contains('.') {
        true => clock.trim_end_matches('0').trim_end_matches('.'),
        false => clock,
    };
    let text = format!("{} {zone}", clock.replace('T', " "));
    opaque(Map::new(), "time.Time", &text, json)
}

/// As Go prints a time.Duration: `1h0m0s`, `1.5s`, `200ms`.
fn duration(nanoseconds: i64) -> Value {
    if nanoseconds == 0 {
        return Value::Map(Arc::clone(&NO_TIME));
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let length = nanoseconds.unsigned_abs();
    let text = if length < 1_000_000_000 {
        let (unit, name) = match length {
            1_000_000.. => (1_000_000, "ms"),
            1000.. => (1000, "µs"),
            _ => (1, "ns"),
        };
        format!("{sign}{}{name}", decimal(length, unit))
    } else {
        let minutes = length / 60_000_000_000;
        let rest = format!("{}s", decimal(length % 60_000_000_000, 1_000_000_000));
        match (minutes / 60, minutes % 60) {
            (0, 0) => format!("{sign}{rest}"),
            (0, minutes) => format!("{sign}{minutes}m{rest}"),
            (hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}"),
        }
    };
    opaque(Map::new(), "time.Duration", &text, nanoseconds.to_string())
}

/// A number in units, with as many digits behind the point as it needs.
fn decimal(number: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn same_map(map: &Arc<Map>, other: &LazyLock<Arc<Map>>) -> bool {
    Arc::ptr_eq(map, other)
}

pub fn is_nil_pointer(value: &Value) -> bool {
    matches!(value, Value::Map(map) if same_map(map, &NIL_POINTER))
}

/// The name of a structure's type, nothing for what is none.
pub fn type_of(value: &Value) -> Option<&str> {
    value.field(TYPE).and_then(Value::as_str)
}

/// What Go prints for a value.
pub fn text(value: &Value) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Map(map) if same_map(map, &NIL_POINTER) => "<nil>".to_owned(),
        Value::Map(map) if same_map(map, &NO_TIME) => "0s".to_owned(),
        Value::Map(map) => match map.get(TEXT).and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => {
                let entries: Vec<String> = map
                    .iter()
                    .map(|(key, value)| format!("{key}:{}", text(value)))
                    .collect();
                format!("map[{}]", entries.join(" "))
            }
        },
        other => other.to_string(),
    }
}

/// What `json` makes of a value: structures in their order, maps sorted.
pub fn json_text(value: &Value) -> String {
    let of_items = |items: Vec<String>| items.join(",");
    match value {
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) => value.to_string(),
        Value::Float(float) => Json::from(*float).to_string(),
        Value::String(text) => Json::from(&**text).to_string(),
        Value::List(items) if Arc::ptr_eq(items, &NIL_SLICE) => "null".to_owned(),
        Value::List(items) => format!("[{}]", of_items(items.iter().map(json_text).collect())),
        Value::Map(map) if same_map(map, &NIL_POINTER) || same_map(map, &NIL_MAP) => {
            "null".to_owned()
        }
        Value::Map(map) if same_map(map, &NO_TIME) => "0".to_owned(),
        Value::Map(map) => match map.get(JSON).and_then(Value::as_str) {
            Some(json) => json.to_owned(),
            None => {
                let entry = |(key, value): (&Arc<str>, &Value)| {
                    format!("{}:{}", Json::from(&**key), json_text(value))
                };
                format!("{{{}}}", of_items(map.iter().map(entry).collect()))
            }
        },
        _ => "null".to_owned(),
    }
}

/// What `index` finds under a key that a map lacks: a zero value of what the others are.
pub fn zero_of(map: &Map) -> Value {
    match map.values().next() {
        None | Some(Value::String(_)) => string(""),
        Some(Value::List(_)) => Value::List(Arc::clone(&NIL_SLICE)),
        Some(_) => Value::Map(Arc::clone(&NIL_POINTER)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(kind: &str, json: Json) -> String {
        text(&typed(kind, Some(&json), false))
    }

    #[test]
    fn values_print_as_in_go() {
        for (kind, json, expected) in [
            ("*bool", json!(null), "<nil>"),
            ("*bool", json!(true), "true"),
            ("[]string", json!(null), "[]"),
            ("map[]string", json!(null), "map[]"),
            ("map[]struct", json!({"80/tcp": {}}), "map[80/tcp:{}]"),
            ("duration", json!(5_400_000_000_000_i64), "1h30m0s"),
            ("duration", json!(1_500_000_000), "1.5s"),
            ("duration", json!(200_000_000), "200ms"),
            ("duration", json!(null), "0s"),
            (
                "time",
                json!("2026-11-21T03:57:22.120Z"),
                "2026-11-21 03:57:22.12 +0000 UTC",
            ),
            (
                "time",
                json!("2026-11-21T03:57:22+02:00"),
                "2026-11-21 03:57:22 +0200 +0200",
            ),
            ("time", json!(null), "0001-01-01 00:00:00 +0000 UTC"),
            (
                "container.RestartPolicy",
                json!({"Name": "no", "MaximumRetryCount": 0}),
                "{no 0}",
            ),
            (
                "container.LogConfig",
                json!({"Type": "json-file", "Config": {}}),
                "{json-file map[]}",
            ),
            (
                "[]container.MountPoint",
                json!([{"Type": "volume", "Name": "v", "Source": "/s", "Destination": "/d",
                        "Driver": "local", "Mode": "z", "RW": true, "Propagation": ""}]),
                "[{volume v /s /d local z true }]",
            ),
            ("string", json!(7), "7"),
        ] {
            assert_eq!(shown(kind, json.clone()), expected, "{kind} {json}");
        }
    }

    #[test]
    fn json_keeps_the_order_of_structures_and_tells_the_nils_apart() {
        let policy = json!({"Name": "no", "MaximumRetryCount": 0});
        let value = typed("container.RestartPolicy", Some(&policy), false);
        assert_eq!(json_text(&value), r#"{"Name":"no","MaximumRetryCount":0}"#);
        for kind in ["*int", "[]string", "map[]string"] {
            assert_eq!(json_text(&typed(kind, None, false)), "null", "{kind}");
        }
        assert_eq!(json_text(&typed("[]string", Some(&json!([])), false)), "[]");
        assert_eq!(json_text(&typed("duration", None, false)), "0");
    }

    #[test]
    fn fields_have_gos_names_and_zero_values() {
        let json = json!({"Id": "a", "Extra": 1, "HostConfig": {"Dns": ["::1"]}});
        let value = typed(go_types::CONTAINER, Some(&json), false);
        assert_eq!(value.field("ID"), Some(&string("a")));
        assert_eq!(value.field("Id"), None);
        assert_eq!(value.field("Extra"), Some(&Value::Int(1)));
        assert_eq!(value.field("RestartCount"), Some(&Value::Int(0)));
        let host = value
            .field("HostConfig")
            .expect("a pointer that is not nil");
        assert_eq!(host.field("DNS").map(text).as_deref(), Some("[::1]"));
        assert_eq!(host.field("Init").map(text).as_deref(), Some("<nil>"));
        let with_keys = typed(go_types::CONTAINER, Some(&json), true);
        assert_eq!(with_keys.field("Id"), with_keys.field("ID"));
    }
}
