//! From a request to a solver that has all it needs: the graph, and what stages begin with.

use std::collections::{BTreeMap, HashMap};

use super::{Built, Solved, Solver, Target, bases::Search};
use crate::{
    build::{
        check,
        dockerfile::{self, Complaint},
        graph::{self, Graph, Inputs, Known},
        progress::Progress,
        request::{BuildContext, BuildRequest},
    },
    engine::Engine,
    model::{Context, Error, ErrorKind, Platform, Result},
};

/// Builds for one platform, or for several at once.
///
/// # Errors
/// What is wrong in the Dockerfile, with the place; what a step has failed of.
pub fn build(
    engine: &Engine,
    request: &BuildRequest,
    progress: &mut dyn Progress,
) -> Result<Built> {
    engine.enter_user_namespace()?;
    let text = &request.dockerfile;
    let complain = |complaint: Complaint| complaint.into_error(&text.name, &text.text);
    let file = dockerfile::stages::parse(&text.text).map_err(complain)?;
    let lease = engine.store().lease()?;
    let mut search = Search {
        engine,
        request,
        lease: &lease,
        progress,
        vertex: 1,
    };
    let ignore = match &request.context {
        BuildContext::Folder(folder) => folder.ignore.as_ref(),
        _ => None,
    };
    let ignore = ignore.map(|ignore| &*ignore.patterns);
    let platforms = platforms(request);
    let (mut foundations, mut known) = (HashMap::new(), Known::new());
    let mut graphs = Vec::new();
    for platform in &platforms {
        let inputs = inputs(request, platform);
        search.all(&file, &inputs, &mut foundations, &mut known)?;
        graphs.push(graph::graph(&file, &inputs, &known, ignore).map_err(complain)?);
    }
    let imported = search.caches(&platforms)?;
    let vertex = search.vertex;
    let (graph, targets) = one_graph(graphs, &platforms)?;
    check::tell(&graph, request, search.progress)?;
    if !graph.unused_args.is_empty() {
        let names = graph.unused_args.join(" ");
        log::warn!("[Warning] One or more build-args [{names}] were not consumed");
    }
    let epoch = epoch(request, &graph)?;
    let solver = Solver {
        engine,
        request,
        graph: &graph,
        targets: &targets,
        foundations: &foundations,
        imported: &imported,
        anew: &graph.done_anew(),
        now: time(epoch)?,
        epoch,
        done: BTreeMap::new(),
    };
    let spared = search.spared(&solver)?;
    let Solved {
        solver,
        outcomes,
        unneeded,
    } = solver.solve(&lease, progress, vertex, spared)?;
    let stages = graph.stages.values();
    let last = vertex + stages.map(|stage| stage.steps.len()).sum::<usize>();
    let built = solver.finish(&lease, progress, last, &outcomes)?;
    let done = (&outcomes, &unneeded[..]);
    solver.export_caches(&lease, progress, last + 1, done)?;
    Ok(built)
}

/// That of the host, if none is asked for.
fn platforms(request: &BuildRequest) -> Vec<Platform> {
    match request.platforms.is_empty() {
        true => vec![Platform::host()],
        false => request.platforms.clone(),
    }
}

fn one_graph(mut graphs: Vec<Graph>, platforms: &[Platform]) -> Result<(Graph, Vec<Target>)> {
    let none = || Error::new(ErrorKind::System, "there is nothing to build");
    let (graph, stages) = match graphs.len() {
        1 => {
            let graph = graphs.pop().ok_or_else(none)?;
            let target = graph.target;
            (graph, vec![target])
        }
        _ => graph::merge(graphs).ok_or_else(none)?,
    };
    let targets = stages.into_iter().zip(platforms);
    let targets = targets.map(|(stage, platform)| Target {
        stage,
        platform: platform.clone(),
    });
    Ok((graph, targets.collect()))
}

/// What a graph for this platform is made with.
pub(in crate::build) fn inputs(request: &BuildRequest, platform: &Platform) -> Inputs {
    Inputs {
        build_args: request.build_args.clone(),
        target: request.target.clone(),
        platform_is_asked: !request.platforms.is_empty(),
        many_platforms: request.platforms.len() > 1,
        contexts: request.named_contexts.keys().cloned().collect(),
        labels: request.labels.clone(),
        no_cache: request.no_cache,
        no_cache_filter: request.no_cache_stages.iter().cloned().collect(),
        build_platform: Platform::host(),
        ..Inputs::new(platform.clone())
    }
}

/// That of the command line, or of the Dockerfile itself.
fn epoch(request: &BuildRequest, graph: &Graph) -> Result<Option<i64>> {
    let Some(text) = &graph.source_date_epoch else {
        return Ok(request.source_date_epoch);
    };
    if request.source_date_epoch.is_some() || text.is_empty() {
        return Ok(request.source_date_epoch);
    }
    let seconds = text.parse().context(ErrorKind::InvalidArgument, || {
        format!("SOURCE_DATE_EPOCH: {text:?} is no number of seconds")
    })?;
    Ok(Some(seconds))
}

/// RFC 3339.
fn time(epoch: Option<i64>) -> Result<String> {
    let Some(seconds) = epoch else {
        return Ok(jiff::Timestamp::now().to_string());
    };
    let time = jiff::Timestamp::from_second(seconds).context(ErrorKind::InvalidArgument, || {
        format!("SOURCE_DATE_EPOCH: {seconds} is no time")
    })?;
    Ok(time.to_string())
}
