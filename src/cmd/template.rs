//! `--format`: Go templates over what Docker would show.
//!
//! Two families, as in Docker. Lists ([`List`]) have rows of texts: `json` is one compact object
//! a line, `table TEMPLATE` aligns and has a header, and fields are Docker's names or nothing.
//! Objects ([`Inspect`], [`object`]) are JSON documents. A template sees one first as the structure
//! of Docker's client that it is ([`super::go_types`]), where fields have Go's names (`.ID`) and what
//! JSON leaves out is zero; if that fails, as the document (`.Id`), where a key that is not there is
//! a failure; and at last, which Docker does not, with the names of both.
//!
//! Templates are rewritten before they run ([`super::template_tree`]), because the engine knows
//! neither Go's types nor methods.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::{Template, TemplateError, Value};
use serde_json::Value as Json;

use super::{
    columns,
    failure::Failure,
    go_values::{self, Map, string},
    template_tree::{self, EACH, FIELD, MAIN, SHOW},
};

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
    /// The whole output, newlines included. A template that does not parse is code 1 in a list.
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
        let failed = |message| Failure::Plain(format!("template parsing error: {message}"), 1);
        let template = compile(&source, Missing::Fails, Functions::Rows).map_err(failed)?;
        let mut text = String::new();
        if table.is_some() {
            let template = compile(&source, Missing::IsNothing, Functions::Headings);
            // As far as it comes: what a heading is no value for is not worth a failure.
            let template = template.map_err(failed)?;
            let _ = template.execute_template_fmt(&mut text, MAIN, &self.header());
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
    let json = json_line(row).trim_end().to_owned();
    go_values::row("*formatter.Context", map, json)
}

/// A template for `inspect`, parsed before any object is looked at: a mistake in it is code 64.
pub struct Inspect {
    template: Option<Box<Templates>>,
}

struct Templates {
    of_structures: Template,
    of_documents: Template,
}

impl Inspect {
    /// `json` or a template.
    pub fn parse(format: &str) -> Result<Self, Failure> {
        if format == "json" {
            return Ok(Inspect { template: None });
        }
        let compile = |missing| compile(format, missing, Functions::Rows);
        Ok(Inspect {
            template: Some(Box::new(Templates {
                of_structures: compile(Missing::IsNothing).map_err(Failure::Template)?,
                of_documents: compile(Missing::Fails).map_err(Failure::Template)?,
            })),
        })
    }

    /// One object as text, without a newline. `kind` is the structure that Docker's client has for it.
    pub fn show(&self, kind: Option<&str>, object: &Json) -> Result<String, Failure> {
        let Some(templates) = &self.template else {
            return Ok(object.to_string());
        };
        let as_structure = |keys| {
            let kind = kind?;
            let value = go_values::typed(kind, Some(object), keys);
            execute(&templates.of_structures, &value).ok()
        };
        if let Some(text) = as_structure(false) {
            return Ok(text);
        }
        execute(&templates.of_documents, &go_values::untyped(object))
            .or_else(|failure| as_structure(true).ok_or(failure))
    }
}

/// `version --format`, `info --format` and the like.
pub fn object(format: &str, kind: Option<&str>, object: &Json) -> Result<String, Failure> {
    Inspect::parse(format)?.show(kind, object)
}

/// What a key is that a map does not have. A structure's field that is not there always fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsNothing,
    Fails,
}

/// The functions of headings leave them alone, but for `pad`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Functions {
    Rows,
    Headings,
}

/// Docker's additions to Go's own functions.
const FUNCTIONS: &[&str] = &[
    "join", "json", "lower", "pad", "split", "title", "truncate", "upper",
];

fn compile(source: &str, missing: Missing, functions: Functions) -> Result<Template, String> {
    let template = with_functions(with_values(Template::new(""), missing));
    let template = match functions {
        Functions::Rows => template,
        Functions::Headings => FUNCTIONS
            .iter()
            .filter(|name| **name != "pad")
            .fold(template, |template, name| {
                template.func(name, |args| argument(args, 0).cloned())
            }),
    };
    template_tree::parse(source, template, FUNCTIONS)
}

fn execute(template: &Template, value: &Value) -> Result<String, Failure> {
    template
        .execute_template_to_string(MAIN, value)
        .map_err(|error| {
            let message = match error {
                TemplateError::Exec(message) => message,
                other => other.to_string(),
            };
            let place = if message.starts_with(':') { "" } else { ": " };
            let message = format!("template parsing error: template: {place}{message}");
            Failure::Plain(message.replacen(": : ", ": ", 1), 1)
        })
}

/// What the rewritten tree calls, and those of Go's functions that have to know its values.
fn with_values(template: Template, missing: Missing) -> Template {
    template
        .func(FIELD, move |args| {
            let [Value::String(place), value, names @ ..] = args else {
                return Err(TemplateError::Exec("field of nothing".to_owned()));
            };
            let mut value = value.clone();
            for name in names.iter().filter_map(Value::as_str) {
                value = field(&value, name, missing)
                    .map_err(|error| TemplateError::Exec(format!("{place}: {error}")))?;
            }
            Ok(value)
        })
        .func(SHOW, |args| match argument(args, 0)? {
            value @ (Value::Map(_) | Value::List(_)) => Ok(string(&go_values::text(value))),
            other => Ok(other.clone()),
        })
        .func(EACH, |args| {
            let value = argument(args, 0)?;
            if go_values::type_of(value).is_some() || go_values::is_nil_pointer(value) {
                let text = go_values::text(value);
                return Err(TemplateError::Exec(format!(
                    "range can't iterate over {text}"
                )));
            }
            Ok(value.clone())
        })
        .func("len", |args| match (argument(args, 0)?, args.len()) {
            (value, 1) if go_values::type_of(value).is_none() && value.len().is_some() => {
                let length = value.len().unwrap_or_default();
                Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
            }
            (value, _) => Err(TemplateError::Exec(format!(
                "error calling len: len of type {}",
                type_name(value)
            ))),
        })
        .func("index", move |args| {
            let mut value = argument(args, 0)?.clone();
            for key in &args[1..] {
                value = element(&value, key, missing)?;
            }
            Ok(value)
        })
}

fn type_name(value: &Value) -> &str {
    go_values::type_of(value).unwrap_or_else(|| value.type_name())
}

fn field(value: &Value, name: &str, missing: Missing) -> Result<Value, String> {
    let fails = missing == Missing::Fails;
    match (value.field(name), value) {
        (Some(found), _) => Ok(found.clone()),
        (None, _) if go_values::is_nil_pointer(value) => {
            Err(format!("nil pointer evaluating a nil pointer's {name}"))
        }
        (None, Value::Map(_)) if go_values::type_of(value).is_none() && fails => {
            Err(format!("map has no entry for key {name:?}"))
        }
        (None, Value::Nil) if fails => Err(format!("nil data; no entry for key {name:?}")),
        (None, Value::Nil) => Ok(Value::Nil),
        (None, Value::Map(_)) if go_values::type_of(value).is_none() => Ok(Value::Nil),
        (None, _) => Err(format!(
            "can't evaluate field {name} in type {}",
            type_name(value)
        )),
    }
}

fn element(value: &Value, key: &Value, missing: Missing) -> gotmpl::Result<Value> {
    let is_opaque = go_values::type_of(value).is_some() || go_values::is_nil_pointer(value);
    match (value, key) {
        _ if is_opaque => Err(TemplateError::Exec(format!(
            "error calling index: can't index item of type {}",
            type_name(value)
        ))),
        // Documents have no types: nothing is what nothing is known of.
        (Value::Map(map), Value::String(key)) if missing == Missing::IsNothing => Ok(map
            .get(key)
            .cloned()
            .unwrap_or_else(|| go_values::zero_of(map))),
        _ => value.index(key),
    }
}

fn with_functions(template: Template) -> Template {
    template
        .func("json", |args| {
            Ok(string(&go_values::json_text(argument(args, 0)?)))
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
                let words: Vec<String> = items.iter().map(go_values::text).collect();
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

    use super::{super::go_types, *};

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
            "Id": "sha256:abc", "Args": ["a:1", "b:2"], "Name": "/web", "Coracle": "ours",
            "State": {"Running": true, "Pid": 7},
            "HostConfig": {
                "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
                "CapAdd": null, "PidsLimit": null, "CpuShares": 3,
            },
            "Config": {"Labels": {"a.b": "c", "Id": "mine"}, "Entrypoint": null, "ExposedPorts": null},
            "NetworkSettings": {
                "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null},
            },
        });
        super::object(format, Some(go_types::CONTAINER), &object).map_err(|failure| match failure {
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
    fn headings_stay_what_they_are() {
        for (format, headings) in [
            (
                r"table {{truncate .ID 2}}\t{{.Names | lower}}",
                "CONTAINER ID   NAMES",
            ),
            (
                r"table {{json .ID}}\t{{title .Names}}",
                "CONTAINER ID   NAMES",
            ),
            (r"table {{if .ID}}{{.ID}}{{else}}N/A{{end}}", "CONTAINER ID"),
            (r#"table {{join (split .Names ",") "+"}}"#, "NAMES"),
            (r"table {{pad .ID 1 0}}x", " CONTAINER IDx"),
        ] {
            let shown = list(format).unwrap_or_default();
            assert_eq!(shown.lines().next(), Some(headings), "{format}");
        }
    }

    #[test]
    fn mistakes_in_a_list_template_are_1_and_in_others_64() {
        for mistake in ["{{", "{{.Nope}}", "{{nope .ID}}", "table {{"] {
            assert_eq!(list(mistake), Err(1), "{mistake}");
        }
        for mistake in [
            "{{",
            "{{nope .ID}}",
            "{{define \"x\"}}a{{end}}{{define \"x\"}}b{{end}}",
        ] {
            let failure = Inspect::parse(mistake).err();
            assert!(matches!(failure, Some(Failure::Template(_))), "{mistake}");
        }
    }

    #[test]
    fn a_mistake_says_where_it_is() {
        assert_eq!(
            inspect("{{.Name}} {{.Nope}}").unwrap_err(),
            "template parsing error: template: :1:12: executing \"\" at <.Nope>: map has no entry for key \"Nope\""
        );
        assert_eq!(inspect("{{").unwrap_err(), "template: :1: unclosed action");
        assert_eq!(
            inspect("{{nope .Name}}").unwrap_err(),
            "template: :1: function \"nope\" not defined"
        );
    }

    /// What Docker 28 prints for the same container.
    #[test]
    fn values_are_those_of_gos_structures() {
        for (format, expected) in [
            ("{{.HostConfig.RestartPolicy}}", "{no 0}"),
            ("{{.ID}} {{.HostConfig.CPUShares}}", "sha256:abc 3"),
            (
                "{{json .HostConfig.RestartPolicy}}",
                r#"{"Name":"no","MaximumRetryCount":0}"#,
            ),
            (
                "{{.HostConfig.CapAdd}} {{json .HostConfig.CapAdd}}",
                "[] null",
            ),
            (
                "{{.HostConfig.PidsLimit}} {{.HostConfig.Init}}",
                "<nil> <nil>",
            ),
            (
                "{{.Config.ExposedPorts}} {{.Config.Entrypoint}}",
                "map[] []",
            ),
            ("{{.Config.Healthcheck}}{{.Config.StopSignal}}", "<nil>"),
            (
                "{{.NetworkSettings.Ports}}",
                "map[80/tcp:[{0.0.0.0 8080}] 81/tcp:[]]",
            ),
            ("{{printf \"%v|%s\" .Args .Name}}", "[a:1 b:2]|/web"),
            ("{{.HostConfig.RestartPolicy | printf \"%v\"}}", "{no 0}"),
            ("{{.SizeRw}} {{.RestartCount}} {{.Coracle}}", "<nil> 0 ours"),
            (
                "{{.Config.Labels.none}}|{{index .Config.Labels \"none\"}}|",
                "<no value>||",
            ),
            ("{{len .Args}}{{len .HostConfig.CapAdd}}", "20"),
            ("{{range .HostConfig.CapAdd}}x{{else}}none{{end}}", "none"),
            // The document, where the structure has no such name.
            (
                "{{.Id}} {{.HostConfig.RestartPolicy}}",
                "sha256:abc map[MaximumRetryCount:0 Name:no]",
            ),
            ("{{.Id}} {{.Config.Entrypoint}}", "sha256:abc <no value>"),
            (
                "{{range $key, $value := .HostConfig.RestartPolicy}}{{$key}} {{end}}",
                "MaximumRetryCount Name ",
            ),
        ] {
            assert_eq!(inspect(format).as_deref(), Ok(expected), "{format}");
        }
    }

    #[test]
    fn inspect_knows_keys_and_go_names() {
        for (format, expected) in [
            ("{{.Id}} {{.Name}}", "sha256:abc /web"),
            ("{{.Id}} {{.ID}}", "sha256:abc sha256:abc"),
            ("{{.ID}} {{.State.Pid}}", "sha256:abc 7"),
            ("{{json .Args}}", r#"["a:1","b:2"]"#),
            ("{{join .Args \",\"}}", "a:1,b:2"),
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
            ("{{range .Args}}{{println .}}{{end}}", "a:1\nb:2\n"),
            ("{{.State.Running}}", "true"),
            ("{{.ID}} {{json .State.Health}}", "sha256:abc null"),
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
        assert!(inspect("{{range .State.Health}}x{{end}}").is_err());
        assert!(
            inspect("{{len .State}}").is_ok(),
            "a document's objects have a length"
        );
        assert!(inspect("{{pad \"x\" 99999999 0}}").is_err());
    }

    #[test]
    fn methods_are_called_wherever_they_stand() {
        for format in [
            r#"{{.Label "a.b-c"}}"#,
            "{{$.Label `a.b-c`}}",
            r#"{{(.Label "a.b-c")}}"#,
            r#"{{"a.b-c" | .Label}}"#,
            r#"{{with .}}{{$x := .}}{{$x.Label "a.b-c"}}{{end}}"#,
            r#"{{if eq (.Label "a.b-c") "1"}}1{{end}}"#,
            r#"{{define "x"}}{{.Label "a.b-c"}}{{end}}{{template "x" .}}"#,
        ] {
            let shown = list(format);
            assert_eq!(
                shown.as_deref().map(|text| text.lines().next()),
                Ok(Some("1")),
                "{format}"
            );
        }
    }
}
