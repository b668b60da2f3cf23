//! What is said of a Dockerfile without carrying it out: the checks, and what it offers.

use super::{
    dockerfile::{Complaint, Dockerfile, stages},
    graph::{self, Graph, Inputs},
    progress::{Event, Progress, Warning},
    request::{BuildContext, BuildRequest},
    solve::{Search, inputs},
};
use crate::{
    engine::Engine,
    model::{Error, ErrorKind, Platform, Result},
};

/// A Dockerfile that was understood, and what would be done.
pub struct Examined {
    pub file: Dockerfile,
    pub graph: Graph,
}

/// As a build begins. With `all_stages` those that the target does not need are looked at, too. Base
/// images are fetched if they are missing: what they are decides what variables are worth.
pub fn examine(
    engine: &Engine,
    request: &BuildRequest,
    all_stages: bool,
    progress: &mut dyn Progress,
) -> Result<Examined> {
    engine.enter_user_namespace()?;
    let text = &request.dockerfile;
    let complain = |complaint: Complaint| complaint.into_error(&text.name, &text.text);
    let file = stages::parse(&text.text).map_err(complain)?;
    let platform = request.platforms.first().cloned();
    let platform = platform.unwrap_or_else(Platform::host);
    let inputs = Inputs {
        all_stages,
        ..inputs(request, &platform)
    };
    let lease = engine.store().lease()?;
    let mut search = Search {
        engine,
        request,
        lease: &lease,
        progress,
        vertex: 1,
    };
    let known = search.configurations(&file, &inputs)?;
    let ignore = match &request.context {
        BuildContext::Folder(folder) => folder.ignore.as_ref(),
        _ => None,
    };
    let ignore = ignore.map(|ignore| &*ignore.patterns);
    let graph = graph::graph(&file, &inputs, &known, ignore).map_err(complain)?;
    Ok(Examined { file, graph })
}

/// Tells of what the checks have found.
///
/// # Errors
/// The directive `check=error=true`, if there is anything.
pub fn tell(graph: &Graph, request: &BuildRequest, progress: &mut dyn Progress) -> Result<()> {
    let text = &request.dockerfile;
    for warning in &graph.warnings {
        let shown = Complaint::new("").at(&warning.lines);
        let excerpt = shown.into_error(&text.name, &text.text);
        let excerpt = excerpt
            .message()
            .split_once('\n')
            .map_or("", |(_, rest)| rest);
        progress.event(Event::Warning(Warning {
            rule: warning.rule.name(),
            message: &warning.message,
            description: warning.rule.description(),
            url: &warning.rule.url(),
            file: &text.name,
            line: *warning.lines.start(),
            excerpt,
        }));
    }
    if graph.warnings_are_errors && !graph.warnings.is_empty() {
        let mut rules: Vec<&str> = graph
            .warnings
            .iter()
            .map(|warning| warning.rule.name())
            .collect();
        rules.sort_unstable();
        rules.dedup();
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("lint violation found for rules: {}", rules.join(", ")),
        ));
    }
    Ok(())
}
