//! A store in a folder of its own, and how to plan and run on it.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use fluxpipe::pipeline::{
    Event, Graph, Node, Plan, RunError, RunOptions, Stage, Store, Summary, fake::FakeStage, plan,
    run,
};

pub struct World {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub events: Vec<Event>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Self { folder, store, events: Vec::new() }
    }

    pub fn plan(&self, graph: &Graph) -> Plan {
        self.plan_with(graph, &RunOptions::default())
    }

    pub fn plan_with(&self, graph: &Graph, options: &RunOptions) -> Plan {
        plan(graph, &self.store, options).unwrap()
    }

    pub fn run(&mut self, graph: &Graph) -> Summary {
        self.run_with(graph, &RunOptions::default()).unwrap()
    }

    pub fn run_with(&mut self, graph: &Graph, options: &RunOptions) -> Result<Summary, RunError> {
        self.events.clear();
        let events = &mut self.events;
        let mut sink = |event| events.push(event);
        run(graph, &self.store, options, &mut sink, Arc::new(AtomicBool::new(false)))
    }

    /// Ids of the items that the last run made in a stage, sorted.
    pub fn made(&self, stage: &str) -> Vec<String> {
        let made = self.events.iter().filter_map(|event| match event {
            Event::ItemFinished { stage: of, item, .. } if of == stage => Some(item.clone()),
            _ => None,
        });
        let mut made: Vec<_> = made.collect();
        made.sort();
        made
    }
}

pub fn node(name: &str, needs: &[&str], stage: impl Stage + 'static) -> Node {
    let needs = needs.iter().map(|need| (*need).to_owned()).collect();
    Node { name: name.to_owned(), needs, stage: Box::new(stage) }
}

pub fn graph(nodes: impl IntoIterator<Item = Node>) -> Graph {
    Graph::new(nodes.into_iter().collect()).unwrap()
}

/// A stage of these sources, by id and text.
pub fn sources(stage: FakeStage, sources: &[(&str, &str)]) -> FakeStage {
    sources.iter().fold(stage, |stage, (id, text)| stage.source(id, text))
}

/// Ids of the items that a plan lets run in a stage, sorted.
pub fn planned(plan: &Plan, stage: &str) -> Vec<String> {
    let stage = plan.stages.iter().find(|of| of.name == stage).unwrap();
    let runs = stage.decisions.iter().filter(|decision| decision.runs());
    let mut ids: Vec<_> = runs.map(|decision| decision.spec.id.clone()).collect();
    ids.sort();
    ids
}

/// Digests of all outputs of a world in which nothing is left to run: stage, id, digest.
pub fn outputs(plan: &Plan) -> Vec<(String, String, String)> {
    let all = plan.stages.iter().flat_map(|stage| {
        stage.decisions.iter().map(|decision| {
            let output = decision.output().expect("everything was run");
            (stage.name.clone(), decision.spec.id.clone(), output.digest().hex())
        })
    });
    all.collect()
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let to = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs_err::create_dir_all(to).unwrap();
        } else {
            fs_err::copy(entry.path(), to).unwrap();
        }
    }
}
