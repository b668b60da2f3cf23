//! Rules of the Dockerfile language, one folder each below `tests/data/dockerfiles`:
//!
//! ```text
//! NAME/Dockerfile
//! NAME/expect       the rule, what the build is told, and what has to become of it
//! NAME/context      files of the context, for who builds it
//! NAME/tree         what the image has then that its base has not, or `error: TEXT`
//! ```
//!
//! Both are lists: `MODE [UID:GID] PATH` and `/` of a directory, `-> TARGET` of a link, `=> PATH` of
//! another name of a file, `= "CONTENT"` of a file, `{`, such lines and `}` of an archive in the context;
//! `- PATH` in a tree is gone from the base.
//!
//! `expect` has a line each, in any order; lines that begin with `#` say what it is about.
//!
//! ```text
//! build-arg: A=b    target: NAME    platform: P    build-platform: P    context: NAME    label: A=b
//! no-cache-filter: NAME    ignore: PATTERN    image: NAME CONFIG (as JSON)
//!
//! error: LINE MESSAGE     the build is refused; LINE is - if it is about none
//! hint: TEXT              and this is what is to be done
//! stages: [0, 2]          those that the target needs
//! needed: ["…"]           what is fetched, in its order
//! step: LABEL             labels of all steps of all stages, one a line
//! history: TEXT           of the image, one a line
//! config.Env: JSON        of the image's configuration; null is that it is not there
//! image.author: JSON      the same, above `config`
//! run: JSON               RUNs of the target, one a line: what is named has to be so
//! copy: JSON              and its COPYs and ADDs
//! workdir: JSON           and its WORKDIRs
//! warning: RULE LINE TEXT all of them, one a line, or `warning: none`
//! unused: ["…"]           arguments that were given for nothing
//! epoch: "…"              SOURCE_DATE_EPOCH
//! no-cache: true          the target's steps are done whatever the cache knows
//! outline: JSON           targets: JSON
//! ```
//!
//! Images are for linux/amd64 and have a PATH and the command `sh`, if nothing else is said.

use std::{fs, path::Path};

use coracle::{
    build::{
        dockerfile::{Complaint, stages},
        graph::{self, Graph, Inputs, Known, Operation, Origin, Stage, needed},
        ignore::Ignore,
        lint,
    },
    model::image::ImageConfig,
};
use serde_json::{Value, json};

const IMAGE: &str = r#"{"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]}"#;

#[test]
fn rules_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dockerfiles");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    names.sort();
    assert!(names.len() > 150, "{} rules", names.len());
    let mut faults = Vec::new();
    for case in &names {
        let read = |file: &str| fs::read_to_string(case.join(file)).unwrap();
        let expect = Expect(read("expect"));
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        for fault in expect.check(&read("Dockerfile")) {
            faults.push(format!("{name}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

struct Expect(String);

impl Expect {
    fn all(&self, key: &str) -> Vec<&str> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let found =
            lines.filter_map(|line| line.split_once(':').filter(|(found, _)| *found == key));
        found.map(|(_, value)| value.trim()).collect()
    }

    fn one(&self, key: &str) -> Option<&str> {
        self.all(key).first().copied()
    }

    fn inputs(&self) -> Inputs {
        let platform = self.one("platform");
        let mut inputs = Inputs::new(platform.unwrap_or("linux/amd64").parse().unwrap());
        inputs.platform_is_asked = platform.is_some();
        let build = self.one("build-platform").unwrap_or("linux/amd64");
        inputs.build_platform = build.parse().unwrap();
        inputs.target = self.one("target").map(str::to_owned);
        let pairs = |key: &str| {
            let pairs = self.all(key).into_iter();
            let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        inputs.build_args = pairs("build-arg").collect();
        inputs.labels = pairs("label").collect();
        inputs.contexts = self.all("context").into_iter().map(str::to_owned).collect();
        let filter = self.all("no-cache-filter").into_iter();
        inputs.no_cache_filter = filter.map(str::to_owned).collect();
        inputs
    }

    /// The configuration of what a build asks for.
    fn image(&self, origin: &Origin) -> ImageConfig {
        let (name, platform) = match origin {
            Origin::Image {
                reference,
                platform,
            } => (reference.familiar(), platform),
            Origin::Context { .. } => return ImageConfig::default(),
        };
        let bare = name.trim_end_matches(":latest");
        let images = self.all("image").into_iter();
        let config = images
            .filter_map(|line| line.split_once(' '))
            .find(|(known, _)| *known == bare)
            .map_or(IMAGE, |(_, config)| config);
        let config: Value = serde_json::from_str(config).unwrap();
        let image = json!({
            "os": platform.os, "architecture": platform.architecture,
            "rootfs": {"type": "layers", "diff_ids": []}, "config": config,
        });
        serde_json::from_value(image).unwrap()
    }

    fn graph(&self, text: &str, fetched: &mut Vec<String>) -> Result<(Graph, Value), Complaint> {
        let file = stages::parse(text)?;
        let inputs = self.inputs();
        let mut ignore = Ignore::default();
        for pattern in self.all("ignore") {
            ignore.add(pattern)?;
        }
        let mut known = Known::new();
        loop {
            let needed = needed(&file, &inputs, &known)?;
            if needed.is_empty() {
                break;
            }
            for one in needed {
                fetched.push(match &one.origin {
                    Origin::Image { reference, .. } => reference.to_string(),
                    Origin::Context { name, .. } => format!("context {name}"),
                });
                known.insert(one.origin.clone(), self.image(&one.origin));
            }
        }
        let ignore = Some(&ignore).filter(|ignore| !ignore.is_empty());
        let graph = graph::graph(&file, &inputs, &known, ignore)?;
        let described = json!({
            "outline": lint::outline(&file, &graph),
            "targets": lint::targets(&file),
        });
        Ok((graph, described))
    }

    fn check(&self, text: &str) -> Vec<String> {
        let mut fetched = Vec::new();
        let (graph, described) = match (self.graph(text, &mut fetched), self.one("error")) {
            (Ok(made), None) => made,
            (Ok(_), Some(error)) => return vec![format!("no error, but {error}")],
            (Err(fault), wanted) => {
                let line = fault
                    .lines
                    .map_or("-".to_owned(), |lines| lines.start().to_string());
                let got = format!("{line} {}", fault.message);
                let hint = self.one("hint").map(str::to_owned);
                let mut faults = different("error", &wanted.unwrap_or("none"), &got.as_str());
                if hint.is_some() {
                    faults.extend(different("hint", &hint, &fault.hint));
                }
                return faults;
            }
        };
        let mut faults = self.lines(&graph);
        faults.extend(self.values(&graph, &fetched, &described));
        faults.extend(self.operations(graph.target()));
        faults
    }

    /// What has a line each.
    fn lines(&self, graph: &Graph) -> Vec<String> {
        let stages = graph.stages.values();
        let steps = stages.flat_map(|stage| {
            let steps = stage.steps.iter().map(|step| step.label.clone());
            std::iter::once(stage.label.clone()).chain(steps)
        });
        let history = graph.target().config.history.clone().unwrap_or_default();
        let history = history.into_iter().filter_map(|entry| entry.created_by);
        let warnings = graph.warnings.iter().map(|warning| {
            let (rule, line) = (warning.rule.name(), warning.lines.start());
            format!("{rule} {line} {}", warning.message)
        });
        let mut faults = Vec::new();
        for (key, got) in [
            ("step", steps.flatten().collect::<Vec<_>>()),
            ("history", history.collect()),
            ("warning", warnings.collect()),
        ] {
            let wanted = self.all(key);
            match wanted[..] {
                [] => {}
                ["none"] => faults.extend(different(key, &Vec::<String>::new(), &got)),
                _ => faults.extend(different(
                    key,
                    &wanted,
                    &got.iter().map(String::as_str).collect(),
                )),
            }
        }
        faults
    }

    fn values(&self, graph: &Graph, fetched: &[String], described: &Value) -> Vec<String> {
        let numbers: Vec<usize> = graph.stages.keys().copied().collect();
        let image = serde_json::to_value(&graph.target().config).unwrap();
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let mut faults = Vec::new();
        for (key, wanted) in lines.filter_map(|line| line.split_once(':')) {
            let got = match key {
                "stages" => json!(numbers),
                "needed" => json!(fetched),
                "unused" => json!(graph.unused_args),
                "epoch" => json!(graph.source_date_epoch),
                "outline" | "targets" => described[key].clone(),
                "no-cache" => json!(graph.target().no_cache),
                _ => match key.split_once('.') {
                    Some(("config", field)) => image["config"][field].clone(),
                    Some(("image", field)) => image[field].clone(),
                    _ => continue,
                },
            };
            let wanted: Value = serde_json::from_str(wanted)
                .unwrap_or_else(|error| panic!("{key}:{wanted}: {error}"));
            if !holds(&wanted, &got) {
                faults.extend(different(key, &wanted, &got));
            }
        }
        faults
    }

    fn operations(&self, stage: &Stage) -> Vec<String> {
        let mut faults = Vec::new();
        for key in ["run", "copy", "workdir"] {
            let wanted = self.all(key);
            if wanted.is_empty() {
                continue;
            }
            let steps = stage
                .steps
                .iter()
                .filter_map(|step| match (&step.operation, key) {
                    (Operation::Run(run), "run") => Some(json!(run)),
                    (Operation::Copy(copy), "copy") => Some(json!(copy)),
                    (Operation::Workdir { path, user }, "workdir") => {
                        Some(json!({"path": path, "user": user}))
                    }
                    _ => None,
                });
            let steps: Vec<Value> = steps.collect();
            faults.extend(different(
                &format!("number of {key}"),
                &wanted.len(),
                &steps.len(),
            ));
            for (wanted, got) in wanted.iter().zip(&steps) {
                let wanted: Value = serde_json::from_str(wanted)
                    .unwrap_or_else(|error| panic!("{key}: {wanted}: {error}"));
                if !holds(&wanted, got) {
                    faults.extend(different(key, &wanted, got));
                }
            }
        }
        faults
    }
}

/// Of objects, what is named has to be so, at any depth.
fn holds(wanted: &Value, got: &Value) -> bool {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => wanted
            .iter()
            .all(|(key, wanted)| holds(wanted, got.get(key).unwrap_or(&Value::Null))),
        (Value::Array(wanted), Value::Array(got)) => {
            wanted.len() == got.len()
                && wanted
                    .iter()
                    .zip(got)
                    .all(|(wanted, got)| holds(wanted, got))
        }
        _ => wanted == got,
    }
}

fn different<T: std::fmt::Debug + PartialEq>(what: &str, wanted: &T, got: &T) -> Vec<String> {
    match wanted == got {
        true => Vec::new(),
        false => vec![format!("{what}:\n  wanted {wanted:?}\n  got    {got:?}")],
    }
}
