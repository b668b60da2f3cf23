//! Graphs of small files; a folder each for rules of the language is in `tests/data/dockerfiles`.

use super::*;
use crate::build::dockerfile::{Complaint, stages};

fn inputs() -> Inputs {
    Inputs::new("linux/amd64".parse().unwrap())
}

/// A graph of images that all have this configuration.
fn graph_of(text: &str, inputs: &Inputs, image: &str) -> Result<Graph> {
    let file = stages::parse(text)?;
    let image: ImageConfig = serde_json::from_str(image).unwrap();
    let mut known = Known::new();
    loop {
        let needed = needed(&file, inputs, &known)?;
        if needed.is_empty() {
            return super::graph(&file, inputs, &known, None);
        }
        known.extend(needed.into_iter().map(|one| (one.origin, image.clone())));
    }
}

const IMAGE: &str = r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]},
    "config":{"Env":["PATH=/bin","FROM_IMAGE=1"],"Cmd":["sh"],"WorkingDir":"/w"}}"#;

fn graph(text: &str) -> Graph {
    graph_of(text, &inputs(), IMAGE).unwrap()
}

fn complaint(text: &str) -> Complaint {
    graph_of(text, &inputs(), IMAGE).unwrap_err()
}

fn labels(graph: &Graph) -> Vec<&str> {
    let stages = graph.stages.values();
    stages
        .flat_map(|stage| {
            let steps = stage.steps.iter().map(|step| step.label.as_deref());
            std::iter::once(stage.label.as_deref()).chain(steps)
        })
        .flatten()
        .collect()
}

fn told(graph: &Graph) -> Vec<String> {
    let history = graph.target().config.history.clone().unwrap_or_default();
    history
        .into_iter()
        .filter_map(|entry| entry.created_by)
        .collect()
}

fn runs(stage: &Stage) -> Vec<&RunStep> {
    let steps = stage.steps.iter();
    steps
        .filter_map(|step| match &step.operation {
            Operation::Run(run) => Some(&**run),
            _ => None,
        })
        .collect()
}

#[test]
fn only_what_the_target_needs_is_there() {
    let text = "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM scratch AS three\n\
                COPY --from=one /x /y\nRUN --mount=from=c,target=/c 3\n";
    let file = stages::parse(text).unwrap();
    let needed = needed(&file, &inputs(), &Known::new()).unwrap();
    let names: Vec<String> = needed
        .iter()
        .map(|one| match &one.origin {
            Origin::Image { reference, .. } => format!("{} {}", reference.familiar(), one.is_base),
            Origin::Context { name, .. } => name.clone(),
        })
        .collect();
    assert_eq!(names, ["a:latest true", "c:latest false"]);
    let graph = graph(text);
    assert_eq!(graph.stages.keys().copied().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(graph.origins().len(), 2);
    assert_eq!(
        labels(&graph),
        [
            "[one 1/2] FROM docker.io/library/a:latest",
            "[one 2/2] RUN 1",
            "[three 1/2] COPY --from=one /x /y",
            "[three 2/2] RUN --mount=from=c,target=/c 3"
        ]
    );
}

#[test]
fn what_an_image_wants_is_done_first() {
    let image = r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]},
        "config":{"OnBuild":["COPY --from=tools /t /t","ENV A=b"]}}"#;
    let graph = graph_of("FROM base\nRUN make", &inputs(), image).unwrap();
    assert_eq!(graph.origins().len(), 2);
    assert!(
        labels(&graph)[1].ends_with("ONBUILD COPY --from=tools /t /t"),
        "{:?}",
        labels(&graph)
    );
    assert!(runs(graph.target())[0].env.contains(&"A=b".to_owned()));
    assert!(
        !graph
            .target()
            .config
            .config
            .as_ref()
            .unwrap()
            .extra
            .contains_key("OnBuild")
    );
    let staged = self::graph("FROM a AS b\nONBUILD ENV X=1\nFROM b AS c\nRUN x\nFROM c\nRUN y");
    let env = |index: usize| &runs(&staged.stages[&index])[0].env;
    assert!(env(1).contains(&"X=1".to_owned()));
    assert_eq!(
        told(&staged)
            .iter()
            .filter(|line| line.contains("X=1"))
            .count(),
        1
    );
}

#[test]
fn variables_have_scopes() {
    let text = "ARG tag=1\nARG other\nFROM a:$tag AS base\nARG x=1\nENV y=$x\nRUN 1\n\
                FROM base\nARG tag\nENV x=2\nRUN 2\nARG x=3\nRUN 3";
    let graph = graph(text);
    assert_eq!(labels(&graph)[0], "[base 1/2] FROM docker.io/library/a:1");
    let env = |index: usize, run: usize| {
        let run = runs(&graph.stages[&index])[run];
        run.env[2..].join(" ")
    };
    assert_eq!(env(0, 0), "x=1 y=1");
    assert_eq!(env(1, 0), "x=2 y=1 tag=1");
    assert_eq!(env(1, 1), "x=3 y=1 tag=1");
    assert_eq!(
        told(&graph),
        [
            "ARG x=1",
            "ENV y=1",
            "RUN |1 x=1 /bin/sh -c 1 # buildkit",
            "ARG tag=1",
            "ENV x=2",
            "RUN |2 x=2 tag=1 /bin/sh -c 2 # buildkit",
            "ARG x=3",
            "RUN |2 x=3 tag=1 /bin/sh -c 3 # buildkit"
        ]
    );
    let env = graph.target().config.config.clone().unwrap().env.unwrap();
    assert_eq!(env, ["PATH=/bin", "FROM_IMAGE=1", "y=1", "x=2"]);
    let mut inputs = inputs();
    inputs.build_args.insert("x".to_owned(), "given".to_owned());
    inputs
        .build_args
        .insert("http_proxy".to_owned(), "p".to_owned());
    inputs.build_args.insert("nobody".to_owned(), String::new());
    let graph = graph_of(text, &inputs, IMAGE).unwrap();
    let run = runs(&graph.stages[&0])[0];
    assert_eq!(run.env[2..].join(" "), "x=given y=given");
    assert_eq!(run.proxies, ["HTTP_PROXY=p", "http_proxy=p"]);
    assert_eq!(graph.unused_args, ["nobody"]);
    assert!(!serde_json::to_string(run).unwrap().contains("proxy"));
}

#[test]
fn wrong_stages_are_refused() {
    for (text, message, line) in [
        (
            "FROM a AS b\nCOPY --from=b x y",
            "circular dependency detected on stage: b",
            2,
        ),
        (
            "FROM a AS b\nCOPY --from=c x y\nFROM a AS c\nFROM b",
            "cannot copy from stage \"c\", it needs to be defined before current stage \"b\"",
            2,
        ),
        ("FROM a\nCOPY --from=3 x y", "invalid stage index 3", 2),
        ("FROM $x", "base name ($x) should not be blank", 1),
        (
            "FROM --platform=a/b/c/d a",
            "failed to parse platform a/b/c/d: invalid platform \"a/b/c/d\": expected os/arch[/variant], for example linux/arm64",
            1,
        ),
        ("FROM a\nSTOPSIGNAL what", "invalid signal: what", 2),
        ("FROM a\nEXPOSE 99999", "invalid containerPort: 99999", 2),
        (
            "FROM a\nCOPY http://x/y /z",
            "source can't be a URL for COPY",
            2,
        ),
        (
            "FROM a\nRUN --mount=type=tmpfs,target=/ x",
            "invalid mount target \"/\"",
            2,
        ),
    ] {
        let fault = complaint(text);
        assert_eq!(
            (fault.message.as_str(), fault.lines),
            (message, Some(line..=line)),
            "{text}"
        );
    }
    let mut inputs = inputs();
    inputs.target = Some("bild".to_owned());
    let fault = graph_of("FROM a AS build", &inputs, IMAGE).unwrap_err();
    assert_eq!(fault.hint.as_deref(), Some("did you mean build?"));
}

#[test]
fn variables_with_secrets_are_shown_as_stars() {
    let text = "FROM a\nARG TOKEN=old\nENV OTHER=x\n\
        RUN --mount=type=secret,id=t,env=TOKEN fetch $TOKEN ${OTHER}\nRUN fetch $TOKEN";
    let graph = graph_of(text, &inputs(), IMAGE).unwrap();
    let steps = &graph.stages[&graph.target].steps;
    let labels: Vec<&str> = steps
        .iter()
        .filter_map(|step| step.label.as_deref())
        .collect();
    let shown = labels.join("\n");
    assert!(shown.contains("fetch **** x"), "{shown}");
    assert!(shown.ends_with("fetch old"), "{shown}");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const PIECES: [&str; 34] = [
        "FROM a\n",
        "FROM a AS b\n",
        "FROM b AS c\n",
        "FROM scratch AS d\n",
        "FROM $x\n",
        "FROM --platform=$BUILDPLATFORM b\n",
        "ARG x=1\n",
        "ARG x\n",
        "ENV x=$x$y z=${x:-1}\n",
        "RUN make\n",
        "RUN --mount=from=b,target=/b make\n",
        "RUN --mount=type=cache,target=$x make\n",
        "RUN --mount=type=secret,id=s make\n",
        "RUN <<E cat\nx\nE\n",
        "RUN <<E\n#!x\nE\n",
        "COPY a b\n",
        "COPY --from=b a b c\n",
        "COPY --from=0 a /\n",
        "COPY --from=c $x .\n",
        "COPY <<E /x\n$x\nE\n",
        "ADD http://h/a b\n",
        "ADD h@h:a b\n",
        "WORKDIR x\n",
        "WORKDIR /$x\n",
        "USER $x\n",
        "EXPOSE 1-3 $x\n",
        "VOLUME $x /v\n",
        "CMD x\n",
        "ENTRYPOINT [\"x\"]\n",
        "ONBUILD COPY --from=b a b\n",
        "ONBUILD RUN x\n",
        "SHELL [\"/s\"]\n",
        "HEALTHCHECK CMD x\n",
        "LABEL a=$x\n",
    ];

    proptest! {
        /// Whatever the file: a graph in which each stage comes behind those that it asks, or a fault
        /// with its lines.
        #[test]
        fn a_graph_has_an_order(
            pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 1..25),
            all_stages: bool,
        ) {
            let mut inputs = inputs();
            inputs.all_stages = all_stages;
            let text = format!("FROM a\n{}", pieces.concat());
            let graph = match graph_of(&text, &inputs, IMAGE) {
                Ok(graph) => graph,
                Err(fault) => {
                    prop_assert!(fault.lines.is_some(), "{text}{fault:?}");
                    return Ok(());
                }
            };
            prop_assert!(graph.stages.contains_key(&graph.target));
            for (index, stage) in &graph.stages {
                let mut asked: Vec<usize> = stage
                    .steps
                    .iter()
                    .flat_map(|step| step.operation.sources())
                    .filter_map(|source| match source {
                        Source::Stage(stage) => Some(*stage),
                        _ => None,
                    })
                    .collect();
                if let Base::Stage(base) = stage.base {
                    asked.push(base);
                }
                for other in asked {
                    prop_assert!(other < *index && graph.stages.contains_key(&other), "{text}");
                }
                let history = stage.config.history.as_ref().map_or(0, Vec::len);
                for step in &stage.steps {
                    prop_assert!(step.history.is_none_or(|entry| entry < history));
                    let does = step.operation != Operation::None;
                    prop_assert_eq!(step.label.is_some(), does);
                }
            }
            // What is printed is read back as the same.
            let printed = serde_json::to_string(&graph.stages).unwrap();
            let read: BTreeMap<usize, Stage> = serde_json::from_str(&printed).unwrap();
            prop_assert_eq!(read.len(), graph.stages.len());
        }

        /// Words without anything special in them are what they are; shown ones always.
        #[test]
        fn plain_words_stay(word in "[a-z/:. -]{0,20}", text in "(?s).{0,40}") {
            let scope = scope::Scope::default();
            prop_assert_eq!(scope.expand(&word, '\\').unwrap().text, word);
            let _ = scope.expand(&text, '\\');
            let quoted = text.replace('\'', "");
            prop_assert_eq!(scope.expand(&format!("'{quoted}'"), '\\').unwrap().text, quoted);
        }
    }
}

#[test]
fn platforms_share_what_is_the_same() {
    let text = "FROM --platform=$BUILDPLATFORM tools AS tools\nRUN a\n\
        FROM tools AS make\nARG TARGETARCH\nRUN b\n\
        FROM scratch\nCOPY --from=make /x /\n";
    let for_platform = |platform: &str| {
        let inputs = Inputs {
            platform: platform.parse().unwrap(),
            platform_is_asked: true,
            many_platforms: true,
            ..inputs()
        };
        graph_of(text, &inputs, IMAGE).unwrap()
    };
    let one = for_platform("linux/amd64");
    assert_eq!(one.stages.len(), 3);
    let (merged, targets) = merge(vec![one.clone(), for_platform("linux/arm64"), one]).unwrap();
    // The tools once, and the other two for each; what is asked for twice is there once.
    assert_eq!(merged.stages.len(), 5);
    assert_eq!(targets, [2, 4, 2]);
    assert_eq!(merged.down_from(4), [4]);
    let from = |target: usize| match &merged.stages[&target].steps[0].operation {
        Operation::Copy(copy) => copy.sources[0].source().cloned(),
        _ => None,
    };
    assert_eq!(from(2), Some(Source::Stage(1)));
    assert_eq!(from(4), Some(Source::Stage(3)));
    assert_eq!(merged.stages[&3].base, Base::Stage(0));
    assert_eq!(merge(Vec::new()).map(|(_, targets)| targets), None);
}

#[test]
fn what_is_done_anew_is_handed_on() {
    let text = "FROM a AS one\nRUN a\nFROM one AS two\nRUN b\nFROM a AS three\nRUN c\n\
        FROM a AS four\nRUN --mount=type=bind,from=two,target=/x d\nFROM a\n\
        COPY --from=three /x /\nCOPY --from=four /x /y\n";
    let inputs = Inputs {
        no_cache_filter: BTreeSet::from(["one".to_owned()]),
        ..inputs()
    };
    let graph = graph_of(text, &inputs, IMAGE).unwrap();
    assert_eq!(graph.done_anew(), BTreeSet::from([0, 1, 3, 4]));
}
