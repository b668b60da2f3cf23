//! What a Dockerfile offers to those who build it: `--call targets` and `--call outline`.

use std::{collections::BTreeSet, ops::RangeInclusive};

use serde::Serialize;

use crate::build::{
    dockerfile::{Dockerfile, Node},
    graph::{Graph, Mount, Operation},
};

/// One stage that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    pub name: Option<String>,
    pub description: Option<String>,
    pub base: String,
    pub platform: Option<String>,
    /// It is made if nobody asks for another one.
    pub is_default: bool,
    pub lines: RangeInclusive<u32>,
}

/// What a target can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outline {
    pub name: Option<String>,
    pub description: Option<String>,
    pub arguments: Vec<OutlineArgument>,
    pub secrets: Vec<OutlineSecret>,
    pub sockets: Vec<OutlineSecret>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlineArgument {
    pub name: String,
    pub value: String,
    pub description: Option<String>,
    pub line: u32,
}

/// A secret, or the socket of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlineSecret {
    pub id: String,
    pub required: bool,
    pub line: u32,
}

pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, &crate::build::dockerfile::Stage)| Target {
        name: stage.from.name.clone(),
        description: stage
            .from
            .name
            .as_ref()
            .and_then(|name| description(&stage.node, name)),
        base: stage.from.base.clone(),
        platform: stage.from.platform.clone(),
        is_default: index == last,
        lines: stage.node.lines.clone(),
    };
    file.stages.iter().enumerate().map(target).collect()
}

/// The first line of the comment right above that begins with the name, without it.
fn description(node: &Node, name: &str) -> Option<String> {
    let behind = |line: &String| {
        line.strip_prefix(name)?
            .strip_prefix(' ')
            .map(str::to_owned)
    };
    node.comments.iter().find_map(behind)
}

/// Of the target of a graph, with all stages that it needs.
pub fn outline(file: &Dockerfile, graph: &Graph) -> Outline {
    let target = &file.stages[graph.target.min(file.stages.len() - 1)];
    let name = target.from.name.clone();
    let mut outline = Outline {
        description: name
            .as_ref()
            .and_then(|name| description(&target.node, name)),
        name,
        arguments: graph
            .arguments
            .iter()
            .map(|argument| OutlineArgument {
                description: argument_node(file, argument.line)
                    .and_then(|node| description(node, &argument.name)),
                ..argument.clone()
            })
            .collect(),
        ..Outline::default()
    };
    let mut seen = BTreeSet::new();
    let steps = graph.stages.values().flat_map(|stage| &stage.steps);
    for step in steps {
        let Operation::Run(run) = &step.operation else {
            continue;
        };
        for mount in &run.mounts {
            let line = *step.lines.start();
            let (id, required, list) = match mount {
                Mount::Secret { id, required, .. } => (id, *required, &mut outline.secrets),
                Mount::Ssh { id, required, .. } => (id, *required, &mut outline.sockets),
                _ => continue,
            };
            let is_secret = matches!(mount, Mount::Secret { .. });
            if seen.insert((is_secret, id.clone())) {
                let id = id.clone();
                list.push(OutlineSecret { id, required, line });
            }
        }
    }
    outline
}

fn argument_node(file: &Dockerfile, line: u32) -> Option<&Node> {
    let globals = file.arguments.iter().map(|global| &global.node);
    let steps = file.stages.iter().flat_map(|stage| &stage.steps);
    let mut nodes = globals.chain(steps.map(|step| &step.node));
    nodes.find(|node| *node.lines.start() == line)
}
