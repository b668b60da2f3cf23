//! Instructions → stages.

use super::{
    Complaint, Instruction, Result,
    instruction::{self, Argument, From},
    nodes::{self, Directives, Node},
};

/// A whole Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    pub directives: Directives,
    /// ARG before the first FROM.
    pub arguments: Vec<Global>,
    pub stages: Vec<Stage>,
}

/// One ARG before the first FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    pub arguments: Vec<Argument>,
    pub node: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub from: From,
    /// That of FROM.
    pub node: Node,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub instruction: Instruction,
    pub node: Node,
}

/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str) -> Result<Dockerfile> {
    let text = nodes::parse(text)?;
    let escape = text.directives.escape;
    let mut dockerfile = Dockerfile {
        directives: text.directives,
        arguments: Vec::new(),
        stages: Vec::new(),
    };
    if let Some(syntax) = &dockerfile.directives.syntax {
        known_frontend(syntax)?;
    }
    for node in text.nodes {
        if node.is("FROM") {
            let from = instruction::from(&node)?;
            let steps = Vec::new();
            dockerfile.stages.push(Stage { from, node, steps });
            continue;
        }
        let instruction = instruction::instruction(&node, escape)?;
        match (dockerfile.stages.last_mut(), instruction) {
            (Some(stage), instruction) => stage.steps.push(Step { instruction, node }),
            (None, Instruction::Arg(arguments)) => {
                dockerfile.arguments.push(Global { arguments, node });
            }
            (None, _) => {
                let what = "no build stage in current context: FROM comes first";
                return Err(Complaint::new(what).about(&node.keyword).at(&node.lines));
            }
        }
    }
    match dockerfile.stages.is_empty() {
        true => Err(Complaint::new("no build stage: there is no FROM")),
        false => Ok(dockerfile),
    }
}

/// Whether a file is written in this language: other frontends are programs that would have to be
/// fetched and run. Mirrors of this one have names of their own.
///
/// # Errors
/// The image of another frontend.
pub fn known_frontend(syntax: &str) -> Result<()> {
    let image = syntax.split_whitespace().next().unwrap_or_default();
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    match name {
        "dockerfile" | "dockerfile-upstream" => Ok(()),
        _ => Err(Complaint::new(format!("unknown frontend {image}"))
            .about(image)
            .with_hint("only docker/dockerfile is there, and it is built in")),
    }
}

/// The instruction that a trigger of an image (`ONBUILD …`, [`Instruction::Onbuild`]) stands for, at
/// the lines of the FROM that it comes with.
///
/// # Errors
/// What is wrong with it.
pub fn trigger(text: &str, from: &Node) -> Result<Step> {
    let read = || {
        let [node] = &mut nodes::parse(text)?.nodes[..] else {
            let what = format!("onbuild trigger should be a single expression: {text:?}");
            return Err(Complaint::new(what));
        };
        node.lines = from.lines.clone();
        let instruction = instruction::instruction(node, '\\')?;
        let node = node.clone();
        match instruction {
            Instruction::Onbuild(_) => Err(Complaint::new(
                "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            )),
            instruction => Ok(Step { instruction, node }),
        }
    };
    read().map_err(|mut complaint: Complaint| {
        // Lines of the trigger are none of this file.
        complaint.lines = Some(from.lines.clone());
        complaint
    })
}
