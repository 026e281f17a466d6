//! Plan equals run, over random edits of a small project.

use fluxpipe::{
    base::Value,
    pipeline::{
        Graph, RunError, RunOptions,
        fake::{FakeStage, Reads},
    },
};
use proptest::prelude::*;

use crate::world::{World, graph, node, planned};

/// One thing that a user does between two runs.
#[derive(Clone, Debug)]
enum Edit {
    /// Gives the source at this place this text; equal texts of two sources are shared work.
    Write(usize, u8),
    /// Adds a source.
    Add(u8),
    Remove(usize),
    Rename(usize),
    /// A human gives the output of the source at this place, or takes it back.
    Give(usize, Option<u8>),
    /// Sets the parameter of a stage.
    Set(usize, i64),
    /// Runs all items of a stage.
    Force(usize),
    /// Loses the files of all outputs.
    Lose,
    /// Makes the source at this place bad.
    Spoil(usize),
    /// Runs only up to this stage.
    Until(usize),
}

const STAGES: [&str; 5] = ["label", "tag", "merge", "cache", "train"];

#[derive(Clone, Debug)]
struct Source {
    id: String,
    text: String,
    given: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Project {
    sources: Vec<Source>,
    named: usize,
    parameters: [i64; 5],
    lossy: bool,
}

impl Project {
    fn new(sources: usize, lossy: bool) -> Self {
        let mut project = Self { lossy, ..Self::default() };
        (0..sources).for_each(|text| project.add(text as u8));
        project
    }

    fn add(&mut self, text: u8) {
        self.named += 1;
        let (id, text) = (format!("{}.jpg", self.named), format!("text {text}"));
        self.sources.push(Source { id, text, given: None });
    }

    /// Applies an edit to the files; what is an option of the run is returned.
    fn apply(&mut self, edit: &Edit, world: &World) -> RunOptions {
        let mut options = RunOptions::default();
        let count = self.sources.len().max(1);
        match *edit {
            Edit::Write(place, text) => {
                self.edit(place, |source| source.text = format!("text {text}"));
            }
            Edit::Give(place, text) => {
                self.edit(place, |source| source.given = text.map(|text| format!("given {text}")));
            }
            Edit::Spoil(place) => self.edit(place, |source| source.text += " bad"),
            Edit::Rename(place) => {
                self.named += 1;
                let id = format!("{}.jpg", self.named);
                self.edit(place, |source| source.id = id);
            }
            Edit::Add(text) => self.add(text),
            Edit::Remove(place) => {
                if !self.sources.is_empty() {
                    self.sources.remove(place % count);
                }
            }
            Edit::Set(stage, value) => self.parameters[stage] = value,
            Edit::Force(stage) => options.force = vec![STAGES[stage].to_owned()],
            Edit::Lose => {
                let _ = fs_err::remove_dir_all(world.store.root().join("objects"));
            }
            Edit::Until(stage) => options.until = Some(STAGES[stage].to_owned()),
        }
        options
    }

    fn edit(&mut self, place: usize, change: impl FnOnce(&mut Source)) {
        let count = self.sources.len().max(1);
        if let Some(source) = self.sources.get_mut(place % count) {
            change(source);
        }
    }

    fn graph(&self) -> Graph {
        let stage = |index: usize, kind: &'static str| {
            let stage = FakeStage::new(kind).parameter("p", Value::Int(self.parameters[index]));
            if self.lossy { stage.lossy().padding(10) } else { stage }
        };
        let (mut label, mut tag) = (stage(0, "label"), stage(1, "tag"));
        for source in &self.sources {
            label = match &source.given {
                Some(given) => label.given(&source.id, &source.text, given),
                None => label.source(&source.id, &source.text),
            };
            tag = tag.source(&source.id, &source.text);
        }
        graph([
            node("label", &[], label),
            node("tag", &[], tag),
            node("merge", &["label", "tag"], stage(2, "merge").reads(Reads::EachUpstream)),
            node("cache", &["merge"], stage(3, "cache").reads(Reads::EachUpstream)),
            node("train", &["cache"], stage(4, "train").reads(Reads::AllUpstream)),
        ])
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = 0..6_usize;
    prop_oneof![
        4 => (place.clone(), 0..6_u8).prop_map(|(place, text)| Edit::Write(place, text)),
        2 => (0..6_u8).prop_map(Edit::Add),
        2 => place.clone().prop_map(Edit::Remove),
        2 => place.clone().prop_map(Edit::Rename),
        2 => (place, prop::option::of(0..3_u8)).prop_map(|(place, text)| Edit::Give(place, text)),
        2 => (0..5_usize, 0..3_i64).prop_map(|(stage, value)| Edit::Set(stage, value)),
        1 => (0..5_usize).prop_map(Edit::Until),
    ]
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => edit(),
        1 => (0..5_usize).prop_map(Edit::Force),
        1 => Just(Edit::Lose),
        1 => (0..6_usize).prop_map(Edit::Spoil),
    ]
}

/// Runs, and says whether all stages were reached: where every item of a stage is bad, those that need
/// it have nothing to work on, which is an error of the run and no other may be.
fn runs_through(world: &mut World, graph: &Graph, options: &RunOptions) -> bool {
    match world.run_with(graph, options) {
        Ok(_) => true,
        Err(RunError::NothingLeft { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    /// Where equal outputs have equal inputs, a run does item for item what the plan said.
    #[test]
    fn a_run_does_what_the_plan_says(sources in 0..5_usize, edits in prop::collection::vec(edit(), 1..6)) {
        let (mut project, mut world) = (Project::new(sources, false), World::new());
        world.run(&project.graph());
        for edit in &edits {
            let options = project.apply(edit, &world);
            let graph = project.graph();
            let plan = world.plan_with(&graph, &options);
            let summary = world.run_with(&graph, &options).unwrap();
            let mut reached = summary.stages.iter();
            for stage in plan.stages.iter().filter(|stage| stage.selected) {
                let did = reached.next().unwrap();
                prop_assert_eq!(&stage.name, &did.name);
                prop_assert_eq!(planned(&plan, &stage.name), world.made(&stage.name), "{} after {:?}", stage.name, edit);
                let (counts, items) = (stage.counts, did.items);
                prop_assert_eq!(counts.total, counts.reuse + counts.run + counts.kept + counts.failed);
                prop_assert_eq!(items.total, items.reused + items.run + items.kept + items.failed);
                prop_assert_eq!(
                    (counts.total, counts.reuse, counts.run, counts.kept, counts.failed),
                    (items.total, items.reused, items.run, items.kept, items.failed),
                );
            }
        }
        world.run(&project.graph());
        prop_assert!(!world.plan(&project.graph()).has_work());
    }

    /// Whatever happens, a run does nothing that the plan did not say, and after it nothing is left.
    #[test]
    fn a_run_does_nothing_else(sources in 0..5_usize, edits in prop::collection::vec(any_edit(), 1..6)) {
        let (mut project, mut world) = (Project::new(sources, true), World::new());
        world.run(&project.graph());
        for edit in &edits {
            let options = project.apply(edit, &world);
            let graph = project.graph();
            let plan = world.plan_with(&graph, &options);
            runs_through(&mut world, &graph, &options);
            for stage in STAGES {
                let planned = planned(&plan, stage);
                for made in world.made(stage) {
                    prop_assert!(planned.contains(&made), "{stage} made {made} after {edit:?}");
                }
            }
        }
        if runs_through(&mut world, &project.graph(), &RunOptions::default()) {
            prop_assert!(!world.plan(&project.graph()).has_work());
            let summary = world.run(&project.graph());
            prop_assert!(summary.stages.iter().all(|stage| stage.items.run == 0 && stage.items.left == 0));
        }
    }

    /// The order in which parts are named, and in which sources stand, does not matter.
    #[test]
    fn order_does_not_matter(parameters in prop::collection::btree_map("[a-z]{1,3}", any::<i64>(), 0..6), turn in 0..6_usize) {
        let mut named: Vec<_> = parameters.into_iter().collect();
        let build = |named: &[(String, i64)], ids: &[&str]| {
            let stage = named.iter().fold(FakeStage::new("label"), |stage, (name, value)| stage.parameter(name, Value::Int(*value)));
            let stage = ids.iter().fold(stage, |stage, id| stage.source(id, id));
            graph([node("label", &[], stage), node("train", &["label"], FakeStage::new("train").reads(Reads::AllUpstream))])
        };
        let mut world = World::new();
        world.run(&build(&named, &["a", "b", "c"]));
        let count = named.len().max(1);
        named.rotate_left(turn % count);
        prop_assert!(!world.plan(&build(&named, &["c", "a", "b"])).has_work());
    }
}
