//! One JSON object a line, as BuildKit's `SolveStatus` (client/graph.go): for programs.

use std::{collections::HashMap, io::Write, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Clock, Event, Progress, Warning};
use crate::model::Digest;

pub struct RawJson<'a> {
    out: &'a mut dyn Write,
    clock: Clock,
    vertices: HashMap<usize, Vertex>,
}

#[derive(Default)]
struct Vertex {
    digest: String,
    name: String,
    started: Option<Duration>,
    statuses: HashMap<String, Duration>,
}

impl<'a> RawJson<'a> {
    pub fn new(out: &'a mut dyn Write, clock: Clock) -> Self {
        RawJson {
            out,
            clock,
            vertices: HashMap::new(),
        }
    }

    fn write(&mut self, kind: &str, value: Value) {
        let _ = writeln!(self.out, "{}", json!({ kind: [value] }));
        let _ = self.out.flush();
    }

    fn time(&self, moment: Duration) -> String {
        self.clock.wall(moment).to_string()
    }

    fn vertex(&mut self, id: usize, more: Value) {
        let vertex = self.vertices.entry(id).or_default();
        let mut value = json!({ "digest": vertex.digest, "name": vertex.name });
        if let Some(started) = vertex.started {
            value["started"] = self.time(started).into();
        }
        if let Value::Object(more) = more {
            for (key, field) in more {
                value[key] = field;
            }
        }
        self.write("vertexes", value);
    }

    fn ended(&mut self, id: usize, mut more: Value) {
        let now = self.clock.passed();
        self.vertices
            .entry(id)
            .or_default()
            .started
            .get_or_insert(now);
        more["completed"] = self.time(now).into();
        self.vertex(id, more);
    }

    fn digest(&self, id: usize) -> String {
        let vertex = self.vertices.get(&id);
        vertex.map_or_else(String::new, |vertex| vertex.digest.clone())
    }

    fn status(&mut self, id: usize, text: &str, size: (u64, u64), done: bool) {
        let now = self.clock.passed();
        let vertex = self.vertices.entry(id).or_default();
        let began = *vertex.statuses.entry(text.to_owned()).or_insert(now);
        let mut value = json!({
            "id": text,
            "vertex": vertex.digest,
            "current": size.0,
            "total": size.1,
        });
        value["timestamp"] = self.time(now).into();
        value["started"] = self.time(began).into();
        if done {
            value["completed"] = self.time(now).into();
        }
        self.write("statuses", value);
    }

    fn warning(&mut self, warning: &Warning<'_>) {
        let short = format!("{}: {}", warning.rule, warning.message);
        let position = json!({ "line": warning.line });
        let value = json!({
            "level": 1,
            "short": STANDARD.encode(short),
            "detail": [STANDARD.encode(warning.description)],
            "url": warning.url,
            "sourceInfo": { "filename": warning.file },
            "range": [{ "start": position, "end": position }],
        });
        self.write("warnings", value);
    }
}

impl Progress for RawJson<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Vertex { id, name } => {
                let vertex = self.vertices.entry(id).or_default();
                let hash = Sha256::digest(format!("{id} {name}"));
                vertex.digest = Digest::sha256(hash).to_string();
                name.clone_into(&mut vertex.name);
                self.vertex(id, json!({}));
            }
            Event::Started { id } => {
                let now = self.clock.passed();
                self.vertices.entry(id).or_default().started = Some(now);
                self.vertex(id, json!({}));
            }
            Event::Cached { id } => self.ended(id, json!({ "cached": true })),
            Event::Done { id } => self.ended(id, json!({})),
            Event::Failed { id, text } => self.ended(id, json!({ "error": text })),
            Event::Cancelled { id } => self.ended(id, json!({ "error": "context canceled" })),
            Event::Output { id, stream, bytes } => {
                let value = json!({
                    "vertex": self.digest(id),
                    "stream": stream,
                    "data": STANDARD.encode(bytes),
                    "timestamp": self.time(self.clock.passed()),
                });
                self.write("logs", value);
            }
            Event::Status {
                id,
                text,
                current,
                total,
                done,
            } => self.status(id, text, (current, total), done),
            Event::Warning(warning) => self.warning(&warning),
            Event::Tick => {}
        }
    }
}
