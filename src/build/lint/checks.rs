//! The checks themselves. Those of a whole file need only its text; those that know what variables are
//! worth are asked by whoever goes through the stages.

use std::collections::BTreeSet;

use super::{Lint, Rule};
use crate::{
    build::{
        dockerfile::{Dockerfile, Instruction, Node, Stage, words::Expanded},
        ignore::Ignore,
    },
    model::{Platform, Reference, nearest},
};

/// All that the text alone tells.
pub fn check_file(file: &Dockerfile, lint: &mut Lint) {
    let nodes = || {
        let globals = file.arguments.iter().map(|global| &global.node);
        let stages = file.stages.iter().flat_map(|stage| {
            let steps = stage.steps.iter().map(|step| &step.node);
            std::iter::once(&stage.node).chain(steps)
        });
        globals.chain(stages)
    };
    for node in nodes().filter(|node| node.has_empty_continuation) {
        let message = "Empty continuation line".to_owned();
        // BuildKit names the last line.
        let last = *node.lines.end();
        lint.warn_at(node, last..=last, Rule::NoEmptyContinuation, message);
    }
    casing(file, lint);
    let mut names = BTreeSet::new();
    for stage in &file.stages {
        stage_name(stage, &mut names, lint);
        used_once(stage, lint);
        if let Some(name) = &stage.from.name {
            definition(&stage.node, "FROM", std::slice::from_ref(name), lint);
        }
    }
    for global in &file.arguments {
        let names = global
            .arguments
            .iter()
            .map(|argument| argument.name.clone());
        definition(&global.node, "ARG", &names.collect::<Vec<_>>(), lint);
    }
    for step in file.stages.iter().flat_map(|stage| &stage.steps) {
        match &step.instruction {
            Instruction::Maintainer(_) => {
                let message = "Maintainer instruction is deprecated in favor of using label";
                lint.warn(&step.node, Rule::MaintainerDeprecated, message.to_owned());
            }
            Instruction::Env(_) | Instruction::Label(_) if is_legacy(&step.node) => {
                let name = &step.node.keyword;
                let message = format!(
                    "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
                );
                lint.warn(&step.node, Rule::LegacyKeyValueFormat, message);
            }
            Instruction::Arg(arguments) => {
                let names = arguments.iter().map(|argument| argument.name.clone());
                definition(&step.node, "ARG", &names.collect::<Vec<_>>(), lint);
            }
            _ => {}
        }
    }
}

fn is_legacy(node: &Node) -> bool {
    let first = node.rest.split_whitespace().next().unwrap_or_default();
    !first.contains('=') && !node.rest.starts_with(['"', '\''])
}

fn casing(file: &Dockerfile, lint: &mut Lint) {
    let nodes: Vec<&Node> = file
        .stages
        .iter()
        .flat_map(|stage| {
            let steps = stage.steps.iter().map(|step| &step.node);
            std::iter::once(&stage.node).chain(steps)
        })
        .collect();
    let of = |fits: fn(char) -> bool| {
        let keywords = nodes.iter().map(|node| &node.keyword);
        keywords.filter(|keyword| keyword.chars().all(fits)).count()
    };
    let lower = of(|letter| letter.is_ascii_lowercase());
    let upper = of(|letter| letter.is_ascii_uppercase());
    for node in nodes {
        let keyword = &node.keyword;
        let (fits, wanted) = match lower > upper {
            true => (*keyword == keyword.to_ascii_lowercase(), "lowercase"),
            false => (*keyword == keyword.to_ascii_uppercase(), "uppercase"),
        };
        if !fits {
            let message = format!(
                "Command '{keyword}' should match the case of the command majority ({wanted})"
            );
            lint.warn(node, Rule::ConsistentInstructionCasing, message);
        }
    }
}

fn stage_name(stage: &Stage, names: &mut BTreeSet<String>, lint: &mut Lint) {
    let node = &stage.node;
    let words: Vec<&str> = node.rest.split_whitespace().collect();
    let (Some(name), [_, r#as, written]) = (&stage.from.name, &words[..]) else {
        return;
    };
    if *written != name {
        let message = format!("Stage name '{written}' should be lowercase");
        lint.warn(node, Rule::StageNameCasing, message);
    }
    let lower = |word: &str| word.chars().all(|letter| letter.is_ascii_lowercase());
    let upper = |word: &str| word.chars().all(|letter| letter.is_ascii_uppercase());
    let from = &node.keyword;
    let same = (lower(r#as) && lower(from)) || (upper(r#as) && upper(from));
    // A keyword of both cases is what another rule is about.
    if !same && (lower(from) || upper(from)) {
        let message = format!("'{as}' and '{from}' keywords' casing do not match");
        lint.warn(node, Rule::FromAsCasing, message);
    }
    if matches!(name.as_str(), "scratch" | "context") {
        let message = format!("Stage name should not use the same name as reserved stage {name:?}");
        lint.warn(node, Rule::ReservedStageName, message);
    }
    if !names.insert(name.clone()) {
        let message = format!("Duplicate stage name {name:?}, stage names should be unique");
        lint.warn(node, Rule::DuplicateStageName, message);
    }
}

/// Of two CMDs, the first one does nothing.
fn used_once(stage: &Stage, lint: &mut Lint) {
    for keyword in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let nodes = stage.steps.iter().map(|step| &step.node);
        let nodes: Vec<&Node> = nodes.filter(|node| node.is(keyword)).collect();
        for pair in nodes.windows(2) {
            let message = format!(
                "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                pair[1].keyword
            );
            lint.warn(pair[0], Rule::MultipleInstructionsDisallowed, message);
        }
    }
}

/// A comment right above is a description if it begins with the name.
fn definition(node: &Node, keyword: &str, names: &[String], lint: &mut Lint) {
    let Some(comment) = node.comments.last() else {
        return;
    };
    let first = comment.split_whitespace().next().unwrap_or_default();
    let is_check = comment
        .split_once('=')
        .is_some_and(|(name, _)| name.trim() == "check");
    if is_check || names.iter().any(|name| name == first) {
        return;
    }
    let name = match names {
        [name] => name.as_str(),
        _ => "<arg_key>",
    };
    let message =
        format!("Comment for {keyword} should follow the format: `# {name} <description>`");
    lint.warn(node, Rule::InvalidDefinitionDescription, message);
}

/// What a FROM begins with when nothing is given on the command line.
pub fn check_default_base(stage: &Stage, expanded: &str, lint: &mut Lint) {
    if expanded.parse::<Reference>().is_err() {
        let base = &stage.from.base;
        let message =
            format!("Default value for ARG {base} results in empty or invalid base image name");
        lint.warn(&stage.node, Rule::InvalidDefaultArgInFrom, message);
    }
}

/// Variables of FROM that nothing declares.
pub fn check_from(stage: &Stage, expanded: &Expanded, known: &BTreeSet<&str>, lint: &mut Lint) {
    for name in &expanded.unset {
        if known.contains(name.as_str()) {
            continue;
        }
        let mut message = format!("FROM argument '{name}' is not declared");
        if let Some(near) = nearest(name, known.iter().copied()) {
            message += &format!(" (did you mean {near}?)");
        }
        lint.warn(&stage.node, Rule::UndefinedArgInFrom, message);
    }
}

/// `--platform` of FROM.
pub fn check_platform(
    stage: &Stage,
    written: &str,
    expanded: &Expanded,
    target: Option<&str>,
    lint: &mut Lint,
) {
    let only = expanded.used.len() == 1 && expanded.unset.is_empty();
    if only && expanded.used.contains("TARGETPLATFORM") && Some(&*expanded.text) == target {
        let message = format!(
            "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
        );
        lint.warn(&stage.node, Rule::RedundantTargetPlatform, message);
    }
    let is_constant = expanded.used.is_empty() && expanded.unset.is_empty();
    let Ok(platform) = expanded.text.parse::<Platform>() else {
        return;
    };
    let name = stage.from.name.as_deref().unwrap_or_default();
    let said = name.contains(&platform.os) || name.contains(&platform.architecture);
    if is_constant && !said {
        let message = format!(
            "FROM --platform flag should not use constant value {:?}",
            expanded.text
        );
        lint.warn(&stage.node, Rule::FromPlatformFlagConstDisallowed, message);
    }
}

/// Variables that an instruction uses; `declared` are ARGs without a value.
pub fn check_variables<'a>(
    node: &Node,
    expanded: &Expanded,
    declared: &BTreeSet<&str>,
    known: impl Iterator<Item = &'a str> + Clone,
    lint: &mut Lint,
) {
    for name in &expanded.unset {
        if declared.contains(name.as_str()) {
            continue;
        }
        let mut message = format!("Usage of undefined variable '${name}'");
        if let Some(near) = nearest(name, known.clone()) {
            message += &format!(" (did you mean ${near}?)");
        }
        lint.warn(node, Rule::UndefinedVar, message);
    }
}

/// CMD and ENTRYPOINT by a shell that nobody chose: it is the one that gets the signals.
pub fn check_shell_form(node: &Node, lint: &mut Lint) {
    let message = format!(
        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
        node.keyword
    );
    lint.warn(node, Rule::JSONArgsRecommended, message);
}

/// A relative WORKDIR below one that the image chose.
pub fn check_workdir(node: &Node, path: &str, lint: &mut Lint) {
    let message =
        format!("Relative workdir {path:?} can have unexpected results if the base image changes");
    lint.warn(node, Rule::WorkdirRelativePath, message);
}

/// Names that sound as if their values were nobody's business.
pub fn check_secret(node: &Node, instruction: &str, name: &str, lint: &mut Lint) {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    if has(&SECRET) && !has(&["public", "file", "version"]) {
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})"
        );
        lint.warn(node, Rule::SecretsUsedInArgOrEnv, message);
    }
}

/// What EXPOSE names besides a port.
pub fn check_expose(node: &Node, port: &str, lint: &mut Lint) {
    if port.contains(':') {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        lint.warn(node, Rule::ExposeInvalidFormat, message);
    }
    if let Some((_, protocol)) = port.rsplit_once('/')
        && protocol != protocol.to_lowercase()
    {
        let message =
            format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        lint.warn(node, Rule::ExposeProtoCasing, message);
    }
}

/// A source of COPY or ADD that the context leaves out.
pub fn check_ignored(node: &Node, is_add: bool, path: &str, ignore: &Ignore, lint: &mut Lint) {
    let path = path.trim_matches('/');
    if ignore.surely_excludes(path) {
        let verb = if is_add { "Add" } else { "Copy" };
        let message =
            format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
        lint.warn(node, Rule::CopyIgnoredFile, message);
    }
}

/// An image for another platform than the stage is.
pub fn check_base_platform(
    node: &Node,
    name: &str,
    wanted: &Platform,
    got: &Platform,
    lint: &mut Lint,
) {
    if (&wanted.os, &wanted.architecture) != (&got.os, &got.architecture) {
        let message = format!(
            "Base image {name} was pulled with platform \"{got}\", expected \"{wanted}\" for current build"
        );
        lint.warn(node, Rule::InvalidBaseImagePlatform, message);
    }
}
