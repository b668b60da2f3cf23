//! Any text as a Dockerfile, with a base image whose triggers are the text's last line. Oracle: no panic
//! and no endless work; a fault has lines within the file, and is shown without anything that a terminal
//! obeys; a graph's stages stand behind those that they ask.

#![no_main]

use coracle::build::{
    dockerfile::stages,
    graph::{Base, Inputs, Known, Source, graph, needed},
    lint,
};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let mut inputs = Inputs::new("linux/amd64".parse().expect("a platform"));
    inputs.all_stages = true;
    inputs.contexts.insert("ctx".to_owned());
    inputs
        .build_args
        .insert("given".to_owned(), "${x}'\"".to_owned());
    let trigger = text.lines().last().unwrap_or_default();
    let image = json!({
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Env": ["A=b", "=", "C"], "OnBuild": [trigger], "Shell": [], "WorkingDir": "../w"},
    });
    let image: coracle::model::image::ImageConfig =
        serde_json::from_value(image).expect("an image");
    let made = stages::parse(text).and_then(|file| {
        let mut known = Known::new();
        loop {
            let needed = needed(&file, &inputs, &known)?;
            if needed.is_empty() {
                break;
            }
            known.extend(needed.into_iter().map(|one| (one.origin, image.clone())));
        }
        let graph = graph(&file, &inputs, &known, None)?;
        let _ = (lint::outline(&file, &graph), lint::targets(&file));
        Ok(graph)
    });
    let graph = match made {
        Ok(graph) => graph,
        Err(fault) => {
            if let Some(lines) = &fault.lines {
                assert!(lines.start() >= &1 && *lines.end() as usize <= text.lines().count());
            }
            let shown = fault.into_error("Dockerfile", text);
            let obeyed = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
            assert!(!shown.message().contains(obeyed));
            return;
        }
    };
    for (index, stage) in &graph.stages {
        let base = match &stage.base {
            Base::Stage(base) => Some(*base),
            _ => None,
        };
        let sources = stage.steps.iter().flat_map(|step| step.operation.sources());
        let sources = sources.filter_map(|source| match source {
            Source::Stage(stage) => Some(*stage),
            _ => None,
        });
        for asked in sources.chain(base) {
            assert!(asked < *index && graph.stages.contains_key(&asked));
        }
        for label in stage.steps.iter().filter_map(|step| step.label.as_ref()) {
            assert!(!label.contains(|letter: char| letter.is_control() && letter != '\t'));
        }
    }
});
