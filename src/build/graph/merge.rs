//! The graphs of one file for several platforms as one graph, which is carried out at once.
//!
//! Stages are numbered anew. One that is the same for several platforms, such as a compiler's that runs
//! on the builder's own, is there once.

use std::collections::{BTreeMap, HashMap};

use super::{Base, CopySource, Graph, Mount, Operation, Source, Stage};

/// The graph, and the targets of those that it was made of; the first one's is its own.
pub fn merge(graphs: Vec<Graph>) -> Option<(Graph, Vec<usize>)> {
    let mut stages: BTreeMap<usize, Stage> = BTreeMap::new();
    let mut targets = Vec::new();
    let mut first: Option<Graph> = None;
    for mut graph in graphs {
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        for (number, mut stage) in std::mem::take(&mut graph.stages) {
            renumber(&mut stage, &numbers);
            let known = stages.iter().find(|(_, other)| **other == stage);
            let place = known.map_or(stages.len(), |(place, _)| *place);
            numbers.insert(number, place);
            stages.entry(place).or_insert(stage);
        }
        targets.push(numbers.get(&graph.target).copied().unwrap_or_default());
        first.get_or_insert(graph);
    }
    let mut merged = first?;
    merged.target = *targets.first()?;
    merged.stages = stages;
    Some((merged, targets))
}

/// Stages that it asks come before it: their new numbers are known.
fn renumber(stage: &mut Stage, numbers: &HashMap<usize, usize>) {
    let new = |number: &mut usize| {
        if let Some(place) = numbers.get(number) {
            *number = *place;
        }
    };
    if let Base::Stage(below) = &mut stage.base {
        new(below);
    }
    for source in stage
        .steps
        .iter_mut()
        .flat_map(|step| sources(&mut step.operation))
    {
        if let Source::Stage(number) = source {
            new(number);
        }
    }
}

fn sources(operation: &mut Operation) -> Vec<&mut Source> {
    match operation {
        Operation::None | Operation::Workdir { .. } => Vec::new(),
        Operation::Run(run) => {
            let of_mount = |mount| match mount {
                &mut (Mount::Bind { ref mut source, .. } | Mount::Cache { ref mut source, .. }) => {
                    Some(source)
                }
                _ => None,
            };
            run.mounts.iter_mut().filter_map(of_mount).collect()
        }
        Operation::Copy(copy) => {
            let of_copy = |from| match from {
                &mut (CopySource::Path { ref mut source, .. }
                | CopySource::Parents { ref mut source, .. }) => Some(source),
                _ => None,
            };
            copy.sources.iter_mut().filter_map(of_copy).collect()
        }
    }
}
