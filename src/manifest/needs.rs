//! Which stage reads which: `needs` as stated or by default, and what can be wrong with it.

use std::collections::{BTreeSet, VecDeque};

use super::{
    Kind,
    error::{ManifestError, Mistake},
    source::Place,
};
use crate::base::did_you_mean;

/// A stage as far as `needs` goes.
pub(super) struct Declared {
    pub(super) name: String,
    /// `None` where the kind is unknown, which is reported elsewhere.
    pub(super) kind: Option<Kind>,
    /// Where its table stands.
    pub(super) place: Place,
    /// What `needs` says, or `None` where it says nothing.
    pub(super) needs: Option<Stated>,
}

/// A stated `needs`: its place, and each name with its place.
pub(super) struct Stated {
    pub(super) place: Place,
    pub(super) names: Vec<(String, Place)>,
}

/// The stage at the other end of a need, and where that need stands.
struct Edge {
    to: usize,
    place: Place,
    stated: bool,
}

/// Names of the stages that each stage reads, in the order of `stages`.
pub(super) fn resolve(stages: &[Declared], errors: &mut Vec<ManifestError>) -> Vec<Vec<String>> {
    let edges: Vec<Vec<Edge>> = stages.iter().map(|stage| edges(stage, stages, errors)).collect();
    let in_circles = circles(stages, &edges, errors);
    for (from, stage) in stages.iter().enumerate() {
        for edge in edges[from].iter().filter(|edge| edge.stated) {
            if !in_circles.contains(&(from, edge.to)) {
                readable(stage, &stages[edge.to], &edge.place, errors);
            }
        }
    }
    let names = |edges: &Vec<Edge>| edges.iter().map(|edge| stages[edge.to].name.clone()).collect();
    edges.iter().map(names).collect()
}

fn edges(stage: &Declared, stages: &[Declared], errors: &mut Vec<ManifestError>) -> Vec<Edge> {
    match &stage.needs {
        Some(stated) => stated_edges(stage, stated, stages, errors),
        None => default_edges(stage, stages, errors),
    }
}

fn stated_edges(
    stage: &Declared,
    stated: &Stated,
    stages: &[Declared],
    errors: &mut Vec<ManifestError>,
) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    for (need, place) in &stated.names {
        match stages.iter().position(|other| other.name == *need) {
            Some(to) if edges.iter().any(|edge| edge.to == to) => {}
            Some(to) => edges.push(Edge { to, place: place.clone(), stated: true }),
            None => errors.push(unknown(stage, need, place, stages)),
        }
    }
    if let Some(kind) = stage.kind.filter(|kind| reads_one(*kind)) {
        let sources: Vec<&Edge> =
            edges.iter().filter(|edge| reads(kind, &stages[edge.to])).collect();
        if sources.len() > 1 {
            let among = sources.iter().map(|edge| stages[edge.to].name.clone()).collect();
            errors.push(ambiguous(stage, kind, among, &stated.place));
        }
    }
    one_of_each(stage, &edges, stages, &stated.place, errors);
    if let Some(kind) = stage.kind
        && stated.names.is_empty()
        && reads_one(kind)
    {
        let label = "must name what it reads";
        errors.push(ManifestError::at(&stated.place, label, missing(stage, kind)));
    }
    edges
}

fn default_edges(
    stage: &Declared,
    stages: &[Declared],
    errors: &mut Vec<ManifestError>,
) -> Vec<Edge> {
    let Some(kind) = stage.kind else { return Vec::new() };
    let edge = |to| Edge { to, place: stage.place.clone(), stated: false };
    let sources: Vec<Edge> =
        (0..stages.len()).filter(|to| reads(kind, &stages[*to])).map(edge).collect();
    // A stage of unknown kind may be the one that is missing.
    let all_known = stages.iter().all(|other| other.kind.is_some());
    if sources.is_empty() && reads_one(kind) && all_known {
        errors.push(ManifestError::at(&stage.place, "reads nothing", missing(stage, kind)));
    }
    if sources.len() > 1 && reads_one(kind) {
        let among = sources.iter().map(|edge| stages[edge.to].name.clone()).collect();
        errors.push(ambiguous(stage, kind, among, &stage.place));
        return Vec::new();
    }
    one_of_each(stage, &sources, stages, &stage.place, errors);
    sources
}

/// `merge` reads one text of each sort: of two stages that make captions, or tags, it could use only
/// one.
fn one_of_each(
    stage: &Declared,
    edges: &[Edge],
    stages: &[Declared],
    place: &Place,
    errors: &mut Vec<ManifestError>,
) {
    if stage.kind != Some(Kind::Merge) {
        return;
    }
    for &kind in Kind::Merge.reads() {
        let of_kind = edges.iter().filter(|edge| stages[edge.to].kind == Some(kind));
        let among: Vec<_> = of_kind.map(|edge| stages[edge.to].name.clone()).collect();
        if among.len() > 1 {
            // What it names of the other kind stays.
            let others = edges.iter().filter(|edge| stages[edge.to].kind != Some(kind));
            let others = others.map(|edge| stages[edge.to].name.clone());
            let needs: Vec<_> = among
                .iter()
                .take(1)
                .cloned()
                .chain(others)
                .map(|name| format!("\"{name}\""))
                .collect();
            let help = format!("say which one, such as `needs = [{}]`", needs.join(", "));
            let (stage, kind) = (stage.name.clone(), kind.as_str().to_owned());
            let mistake = Mistake::AmbiguousNeeds { stage, kind, among, help };
            errors.push(ManifestError::at(place, "which one?", mistake));
        }
    }
}

fn reads(kind: Kind, source: &Declared) -> bool {
    source.kind.is_some_and(|source| kind.reads().contains(&source))
}

/// `cache`, `finetune` and `sample` read exactly one stage. `merge` reads all captions and tags that stages make,
/// and where none does, those that people wrote.
fn reads_one(kind: Kind) -> bool {
    matches!(kind, Kind::Cache | Kind::Finetune | Kind::Sample)
}

fn kinds_read(kind: Kind) -> String {
    kind.reads().iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ")
}

fn unknown(stage: &Declared, need: &str, place: &Place, stages: &[Declared]) -> ManifestError {
    let names: Vec<&str> =
        stages.iter().map(|other| other.name.as_str()).filter(|name| *name != stage.name).collect();
    let help = match did_you_mean(need, names.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("the other stages are {}", names.join(", ")),
    };
    let mistake = Mistake::UnknownStage { stage: stage.name.clone(), need: need.to_owned(), help };
    ManifestError::at(place, "no stage of this name", mistake)
}

fn missing(stage: &Declared, kind: Kind) -> Mistake {
    let help = format!("add `[stages.{}]`, or take `[stages.{}]` out", kind.reads()[0], stage.name);
    Mistake::MissingStage { stage: stage.name.clone(), kind: kinds_read(kind), help }
}

fn ambiguous(stage: &Declared, kind: Kind, among: Vec<String>, place: &Place) -> ManifestError {
    let help = format!("say which one, such as `needs = [\"{}\"]`", among[0]);
    let (stage, kind) = (stage.name.clone(), kinds_read(kind));
    let mistake = Mistake::AmbiguousNeeds { stage, kind, among, help };
    ManifestError::at(place, "which one?", mistake)
}

/// Reports a need that the kind cannot make use of.
fn readable(stage: &Declared, need: &Declared, place: &Place, errors: &mut Vec<ManifestError>) {
    let (Some(kind), Some(need_kind)) = (stage.kind, need.kind) else { return };
    if kind.reads().contains(&need_kind) {
        return;
    }
    let help = if kind.reads().is_empty() {
        format!("{kind} reads only pictures: leave `needs` out")
    } else {
        format!("{kind} reads a stage of kind {}", kinds_read(kind))
    };
    let mistake = Mistake::WrongNeed {
        stage: stage.name.clone(),
        kind: kind.as_str(),
        need: need.name.clone(),
        need_kind: need_kind.as_str(),
        help,
    };
    errors.push(ManifestError::at(place, format!("is of kind {need_kind}"), mistake));
}

/// Reports each circle once; returns the needs that are part of one.
fn circles(
    stages: &[Declared],
    edges: &[Vec<Edge>],
    errors: &mut Vec<ManifestError>,
) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for start in 0..stages.len() {
        if seen.contains(&start) {
            continue;
        }
        let Some(circle) = way_back(start, edges) else { continue };
        seen.extend(circle.iter().copied());
        errors.push(cycle(&circle, stages, edges));
        found.extend(circle.windows(2).map(|step| (step[0], step[1])));
    }
    found
}

/// The shortest way from a stage back to itself, with the stage at both ends.
fn way_back(start: usize, edges: &[Vec<Edge>]) -> Option<Vec<usize>> {
    let mut came_from = vec![None; edges.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for edge in &edges[at] {
            if edge.to == start {
                let mut way = vec![start, at];
                while let Some(before) = came_from[way[way.len() - 1]] {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if came_from[edge.to].is_none() {
                came_from[edge.to] = Some(at);
                queue.push_back(edge.to);
            }
        }
    }
    None
}

fn cycle(circle: &[usize], stages: &[Declared], edges: &[Vec<Edge>]) -> ManifestError {
    let path = circle.iter().map(|stage| stages[*stage].name.clone()).collect();
    let steps: Vec<(&Place, String)> = circle
        .windows(2)
        .flat_map(|step| {
            let waits = format!("`{}` waits for `{}`", stages[step[0]].name, stages[step[1]].name);
            edges[step[0]]
                .iter()
                .filter(|edge| edge.to == step[1])
                .map(move |edge| (&edge.place, waits.clone()))
        })
        .collect();
    let (first, label) = &steps[0];
    let error = ManifestError::at(first, label.clone(), Mistake::Cycle { path });
    steps[1..].iter().fold(error, |error, (place, label)| error.and_at(place, label.clone()))
}
