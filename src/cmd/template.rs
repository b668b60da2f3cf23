//! `--format`: Go templates over what Docker would show.
//!
//! Two families, as in Docker. Lists ([`List`]) have rows of texts: `json` is one compact object
//! a line, `table TEMPLATE` aligns and has a header, and fields are Docker's names or nothing.
//! Objects ([`inspected`], [`object`]) are JSON documents whose fields are found by their JSON
//! keys (`.Id`) and by the names of Docker's Go structures (`.ID`).
//!
//! The template engine knows no methods, so `.Label "key"` is rewritten to `call .Label "key"`
//! and the row carries a function under that name.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use gotmpl::{MissingKey, Template, TemplateError, Value};
use serde_json::Value as Json;

use super::{columns, failure::Failure};

type Map = BTreeMap<Arc<str>, Value>;

/// One line of a list: fields in Docker's names, all of them texts.
pub struct Row {
    pub fields: Vec<(&'static str, String)>,
    pub labels: BTreeMap<String, String>,
}

/// A list's fields with their headings, and the table it is without `--format`.
pub struct List<'a> {
    pub headings: &'a [(&'a str, &'a str)],
    pub default: &'a str,
}

impl List<'_> {
    /// The whole output, newlines included.
    pub fn show(&self, format: Option<&str>, rows: &[Row]) -> Result<String, Failure> {
        let format = match format {
            None | Some("" | "table") => self.default,
            Some("json") => return Ok(rows.iter().map(json_line).collect()),
            Some(other) => other,
        };
        let table = format.strip_prefix("table").filter(|rest| {
            rest.is_empty() || rest.starts_with(char::is_whitespace) || rest.starts_with("{{")
        });
        let source = table.unwrap_or(format).trim();
        let source = source.replace("\\t", "\t").replace("\\n", "\n");
        let template = parse(&source)?;
        let mut text = String::new();
        if table.is_some() {
            text.push_str(&execute(&template, &self.header())?);
            text.push('\n');
        }
        for row in rows {
            text.push_str(&execute(&template, &row_value(row))?);
            text.push('\n');
        }
        Ok(if table.is_some() {
            columns::align(&text)
        } else {
            text
        })
    }

    fn header(&self) -> Value {
        let mut map: Map = self
            .headings
            .iter()
            .map(|(field, heading)| (Arc::from(*field), string(heading)))
            .collect();
        map.insert(
            Arc::from("Label"),
            Value::Function(Arc::new(|args| {
                let key = args.first().and_then(Value::as_str).unwrap_or_default();
                let last = key.rsplit('.').next().unwrap_or_default();
                Ok(string(&last.replace(['-', '_'], " ")))
            })),
        );
        Value::Map(Arc::new(map))
    }
}

/// Docker's JSON form of a row: keys sorted, every value a text.
fn json_line(row: &Row) -> String {
    let sorted: BTreeMap<&str, &str> = row
        .fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let object: serde_json::Map<String, Json> = sorted
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    format!("{}\n", Json::Object(object))
}

fn row_value(row: &Row) -> Value {
    let mut map: Map = row
        .fields
        .iter()
        .map(|(name, value)| (Arc::from(*name), string(value)))
        .collect();
    let labels = row.labels.clone();
    map.insert(
        Arc::from("Label"),
        Value::Function(Arc::new(move |args| {
            let key = args.first().and_then(Value::as_str).unwrap_or_default();
            Ok(string(labels.get(key).map_or("", String::as_str)))
        })),
    );
    Value::Map(Arc::new(map))
}

/// A template for `inspect`, parsed before any object is looked at: a mistake in it is code 64.
pub struct Inspect {
    template: Option<Template>,
}

impl Inspect {
    /// `json` or a template.
    pub fn parse(format: &str) -> Result<Self, Failure> {
        let template = match format {
            "json" => None,
            source => Some(parse(source)?),
        };
        Ok(Inspect { template })
    }

    /// A template for objects some of whose maps have keys that others lack: what is missing there is
    /// `<no value>`.
    pub fn parse_lenient(source: &str) -> Result<Self, Failure> {
        let template = with_functions(Template::new(""))
            .missing_key(MissingKey::Invalid)
            .parse(&call_methods(source))
            .map_err(|error| Failure::Template(error.to_string()))?;
        Ok(Inspect {
            template: Some(template),
        })
    }

    /// One object as text, without a newline.
    pub fn show(&self, object: &Json) -> Result<String, Failure> {
        let Some(template) = &self.template else {
            return Ok(object.to_string());
        };
        // The keys alone first, so that `{{json .}}` is the document; what needs Go's names has
        // both.
        match template.execute_to_string(&from_json(object)) {
            Ok(text) => Ok(text),
            Err(_) => {
                let mut renamed = object.clone();
                add_go_names(&mut renamed);
                execute(template, &from_json(&renamed))
            }
        }
    }
}

/// `version --format` and `info --format`.
pub fn object(format: &str, object: &Json) -> Result<String, Failure> {
    Inspect::parse(format)?.show(object)
}

/// JSON keys that Docker's Go structures spell otherwise.
const GO_NAMES: &[(&str, &str)] = &[
    ("Id", "ID"),
    ("ParentId", "ParentID"),
    ("HostIp", "HostIP"),
    ("ApiVersion", "APIVersion"),
    ("Dns", "DNS"),
    ("DnsOptions", "DNSOptions"),
    ("DnsSearch", "DNSSearch"),
    ("CpuShares", "CPUShares"),
    ("CpuPeriod", "CPUPeriod"),
    ("CpuQuota", "CPUQuota"),
    ("CpuRealtimePeriod", "CPURealtimePeriod"),
    ("CpuRealtimeRuntime", "CPURealtimeRuntime"),
    ("CpuCount", "CPUCount"),
    ("CpuPercent", "CPUPercent"),
    ("NanoCpus", "NanoCPUs"),
    ("CpuCfsPeriod", "CPUCfsPeriod"),
    ("CpuCfsQuota", "CPUCfsQuota"),
];

/// Fields of Go's structures that JSON leaves out when they are nil, so that
/// `{{if .State.Health}}` is false rather than a failure.
const NIL_FIELDS: &[(&str, &[&str])] = &[
    ("State", &["Health"]),
    (
        "Config",
        &[
            "ExposedPorts",
            "Healthcheck",
            "StopTimeout",
            "StopSignal",
            "Shell",
        ],
    ),
    (
        "HostConfig",
        &[
            "Annotations",
            "Init",
            "Mounts",
            "Runtime",
            "Sysctls",
            "Tmpfs",
            "StorageOpt",
        ],
    ),
];

fn add_go_names(value: &mut Json) {
    match value {
        Json::Object(map) => {
            for (parent, fields) in NIL_FIELDS {
                if let Some(Json::Object(inner)) = map.get_mut(*parent) {
                    for field in *fields {
                        inner.entry(*field).or_insert(Json::Null);
                    }
                }
            }
            for (json, go) in GO_NAMES {
                if let Some(value) = map.get(*json).cloned() {
                    map.insert((*go).to_owned(), value);
                }
            }
            // The keys of labels are the user's.
            for (key, value) in map.iter_mut() {
                if key != "Labels" {
                    add_go_names(value);
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(add_go_names),
        _ => {}
    }
}

fn string(text: &str) -> Value {
    Value::String(Arc::from(text))
}

/// What null becomes: false, without elements, and a failure when a field of it is asked for, as
/// Go's nil pointers, slices and maps are. The engine's own nil would print `<no value>` there,
/// and scripts rely on `{{.State.Health.Status}}` failing for want of a health check.
static NIL: LazyLock<Arc<Map>> = LazyLock::new(Arc::default);

fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Map(Arc::clone(&NIL)),
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::Uint(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => string(text),
        Json::Array(items) => Value::List(items.iter().map(from_json).collect()),
        Json::Object(map) => Value::Map(Arc::new(
            map.iter()
                .map(|(key, value)| (Arc::from(key.as_str()), from_json(value)))
                .collect(),
        )),
    }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(bool) => (*bool).into(),
        Value::Int(int) => (*int).into(),
        Value::Uint(uint) => (*uint).into(),
        Value::Float(float) => (*float).into(),
        Value::String(text) => (&**text).into(),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(map) if Arc::ptr_eq(map, &NIL) => Json::Null,
        Value::Map(map) => Json::Object(
            map.iter()
                .filter(|(_, value)| !value.is_function())
                .map(|(key, value)| (key.to_string(), to_json(value)))
                .collect(),
        ),
        _ => Json::Null,
    }
}

fn parse(source: &str) -> Result<Template, Failure> {
    with_functions(Template::new(""))
        .missing_key(MissingKey::Error)
        .parse(&call_methods(source))
        .map_err(|error| Failure::Template(error.to_string()))
}

fn execute(template: &Template, value: &Value) -> Result<String, Failure> {
    template
        .execute_to_string(value)
        .map_err(|error| match error {
            TemplateError::UndefinedFunction(name) => {
                Failure::Template(format!("template: :1: function {name:?} not defined"))
            }
            other => Failure::Plain(format!("template: {other}"), 1),
        })
}

/// Writes `call` before `.Label` where it begins a call: `{{.Label "x"}}`, `($.Label "x")`.
fn call_methods(source: &str) -> String {
    let mut text = String::with_capacity(source.len() + 8);
    let mut rest = source;
    while let Some(at) = rest.find(".Label") {
        let (before, after) = rest.split_at(at);
        let argument = after[6..].trim_start();
        let (before, dollar) = match before.strip_suffix('$') {
            Some(before) => (before, "$"),
            None => (before, ""),
        };
        let is_call = argument.len() < after.len() - 6
            && argument.starts_with(['"', '`', '$', '.', '('])
            && before.ends_with(['{', '-', '(', ' ', '\t', '|']);
        text.push_str(before);
        text.push_str(if is_call { "call " } else { "" });
        text.push_str(dollar);
        text.push_str(".Label");
        rest = &after[6..];
    }
    text.push_str(rest);
    text
}

/// Docker's additions to Go's own functions.
fn with_functions(template: Template) -> Template {
    template
        .func("json", |args| {
            Ok(string(&to_json(argument(args, 0)?).to_string()))
        })
        .func("split", |args| {
            let (text, separator) = (text(args, 0)?, text(args, 1)?);
            Ok(Value::List(if separator.is_empty() {
                text.chars()
                    .map(|letter| string(&letter.to_string()))
                    .collect()
            } else {
                text.split(&separator).map(string).collect()
            }))
        })
        .func("join", |args| match argument(args, 0)? {
            Value::List(items) => {
                let words: Vec<String> = items.iter().map(ToString::to_string).collect();
                Ok(string(&words.join(&text(args, 1)?)))
            }
            other => Err(TemplateError::Exec(format!(
                "join: {} is not a list",
                other.type_name()
            ))),
        })
        .func("title", |args| Ok(string(&title(&text(args, 0)?))))
        .func("lower", |args| Ok(string(&text(args, 0)?.to_lowercase())))
        .func("upper", |args| Ok(string(&text(args, 0)?.to_uppercase())))
        .func("pad", |args| {
            let spaces = |at| Ok::<_, TemplateError>(" ".repeat(count(args, at)?));
            let text = text(args, 0)?;
            if text.is_empty() {
                return Ok(string(""));
            }
            Ok(string(&format!("{}{text}{}", spaces(1)?, spaces(2)?)))
        })
        .func("truncate", |args| {
            let length = count(args, 1)?;
            Ok(string(
                &text(args, 0)?.chars().take(length).collect::<String>(),
            ))
        })
}

fn argument(args: &[Value], at: usize) -> gotmpl::Result<&Value> {
    args.get(at)
        .ok_or_else(|| TemplateError::Exec(format!("argument {} is missing", at + 1)))
}

fn text(args: &[Value], at: usize) -> gotmpl::Result<String> {
    match argument(args, at)? {
        Value::String(text) => Ok(text.to_string()),
        other => Err(TemplateError::Exec(format!(
            "expected string, got {}",
            other.type_name()
        ))),
    }
}

/// A width that no terminal has is a mistake, and must not fill the memory.
fn count(args: &[Value], at: usize) -> gotmpl::Result<usize> {
    let number = argument(args, at)?.as_int().unwrap_or(-1);
    usize::try_from(number)
        .ok()
        .filter(|count| *count <= 65536)
        .ok_or_else(|| TemplateError::Exec(format!("{number} is not a length")))
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|letter| {
            let titled = if start {
                letter.to_ascii_uppercase()
            } else {
                letter
            };
            start = !(letter.is_alphanumeric() || letter == '_' || letter == '\'');
            titled
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(format: &str) -> Result<String, u8> {
        let rows = [
            Row {
                fields: vec![("ID", "abc".to_owned()), ("Names", "web".to_owned())],
                labels: BTreeMap::from([("a.b-c".to_owned(), "1".to_owned())]),
            },
            Row {
                fields: vec![
                    ("ID", "def".to_owned()),
                    ("Names", "a longer name".to_owned()),
                ],
                labels: BTreeMap::new(),
            },
        ];
        let list = List {
            headings: &[("ID", "CONTAINER ID"), ("Names", "NAMES")],
            default: "table {{.ID}}\\t{{.Names}}",
        };
        list.show(Some(format), &rows)
            .map_err(|failure| match failure {
                Failure::Template(_) => 64,
                Failure::Plain(_, code) => code,
                _ => 0,
            })
    }

    fn inspect(format: &str) -> Result<String, String> {
        let object = json!({
            "Id": "sha256:abc", "RepoTags": ["a:1", "b:2"], "Name": "/web",
            "State": {"Running": true, "Pid": 7},
            "Config": {"Labels": {"a.b": "c", "Id": "mine"}},
            "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}},
        });
        super::object(format, &object).map_err(|failure| match failure {
            Failure::Template(message) | Failure::Plain(message, _) => message,
            _ => String::new(),
        })
    }

    #[test]
    fn a_list_is_a_table_lines_or_a_template() {
        assert_eq!(
            list("table").as_deref(),
            Ok("CONTAINER ID   NAMES\nabc            web\ndef            a longer name\n")
        );
        assert_eq!(
            list("json").as_deref(),
            Ok(
                "{\"ID\":\"abc\",\"Names\":\"web\"}\n{\"ID\":\"def\",\"Names\":\"a longer name\"}\n"
            )
        );
        assert_eq!(
            list(r"{{.ID}}\t{{upper .Names}}").as_deref(),
            Ok("abc\tWEB\ndef\tA LONGER NAME\n")
        );
        assert_eq!(
            list(r#"table {{.ID}}\t{{.Label "a.b-c"}}"#).as_deref(),
            Ok("CONTAINER ID   b c\nabc            1\ndef            \n")
        );
        assert_eq!(
            list("{{json .}}").as_deref(),
            Ok(
                "{\"ID\":\"abc\",\"Names\":\"web\"}\n{\"ID\":\"def\",\"Names\":\"a longer name\"}\n"
            )
        );
    }

    #[test]
    fn mistakes_in_a_list_template_have_dockers_codes() {
        assert_eq!(list("{{"), Err(64));
        assert_eq!(list("{{.Nope}}"), Err(1));
        assert_eq!(list("{{nope .ID}}"), Err(64));
    }

    #[test]
    fn inspect_knows_keys_and_go_names() {
        for (format, expected) in [
            ("{{.Id}} {{.Name}}", "sha256:abc /web"),
            ("{{.Id}} {{.ID}}", "sha256:abc sha256:abc"),
            ("{{.ID}} {{.State.Pid}}", "sha256:abc 7"),
            ("{{json .RepoTags}}", r#"["a:1","b:2"]"#),
            ("{{join .RepoTags \",\"}}", "a:1,b:2"),
            ("{{index .Config.Labels \"a.b\"}}", "c"),
            ("{{index .Config.Labels \"Id\"}}{{.ID}}", "minesha256:abc"),
            (
                "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
                "8080",
            ),
            (
                "{{with index .NetworkSettings.Ports \"80/tcp\"}}{{(index . 0).HostIP}}{{end}}",
                "0.0.0.0",
            ),
            (
                "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
                "none",
            ),
            ("{{range .RepoTags}}{{println .}}{{end}}", "a:1\nb:2\n"),
            ("{{.State.Running}}", "true"),
            ("{{.ID}} {{json .State.Health}}", "sha256:abc null"),
            ("{{.ID}}{{range .State.Health}}x{{end}}", "sha256:abc"),
            (
                "{{title (lower \"HELLO wOrld\")}}|{{pad \"x\" 1 2}}|{{truncate \"abc\" 2}}",
                "Hello World| x  |ab",
            ),
        ] {
            assert_eq!(inspect(format).as_deref(), Ok(expected), "{format}");
        }
    }

    #[test]
    fn a_field_that_is_not_there_fails() {
        assert!(inspect("{{.State.Health.Status}}").is_err());
        assert!(inspect("{{.Nope}}").is_err());
        assert!(inspect("{{pad \"x\" 99999999 0}}").is_err());
    }

    #[test]
    fn only_calls_are_rewritten() {
        assert_eq!(call_methods("{{.Label \"x\"}}"), "{{call .Label \"x\"}}");
        assert_eq!(call_methods("{{$.Label `x`}}"), "{{call $.Label `x`}}");
        assert_eq!(
            call_methods("{{(.Label \"x\")}}"),
            "{{(call .Label \"x\")}}"
        );
        assert_eq!(call_methods("{{.Labels}} .Label"), "{{.Labels}} .Label");
    }
}
