//! What programs read: real plans and events are as their schemas say.

use std::sync::{Arc, atomic::AtomicBool};

use fluxpipe::{
    base::Value as KeyValue,
    manifest::Source,
    pipeline::{
        self, BlessOptions, Graph, Node, Plan, RunOptions, Store,
        fake::{FakeStage, Reads},
    },
    report::{
        self, Gathered, Inspected, InspectedFile, Look, Places, PlainFile, RunDifference, RunList,
        RunTold,
    },
};
use serde_json::Value;

use crate::schema::assert_valid;

/// Label three pictures, train on all of them. `bad` is a picture that cannot be used.
fn graph(beams: i64, bad: bool) -> Graph {
    let text = if bad { "bad" } else { "c" };
    let label = FakeStage::new("label")
        .parameter("num_beams", KeyValue::Int(beams))
        .source("a.jpg", "a")
        .given("b.jpg", "b", "a hand-written caption")
        .source("c.jpg", text);
    let train =
        FakeStage::new("finetune").reads(Reads::AllUpstream).parameter("seed", KeyValue::Int(7));
    let node = |name: &str, needs: &[&str], stage| Node {
        name: name.to_owned(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        stage: Box::new(stage),
    };
    Graph::new(vec![node("label", &[], label), node("finetune", &["label"], train)]).unwrap()
}

struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
    source: Source,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let text = "[stages.label]\nnum_beams = 4\n";
        let source = Source { path: "project.toml".into(), text: text.into(), in_place_of: None };
        Self { _folder: folder, store, source }
    }

    fn places(&self) -> Places<'_> {
        Places { manifest: &self.source, set: &[] }
    }

    fn plan(&self, graph: &Graph) -> Plan {
        let mut plan = pipeline::plan(graph, &self.store, &RunOptions::default()).unwrap();
        plan.manifest = "project.toml".to_owned();
        plan
    }

    /// The events as printed, and the summary.
    fn run(&self, graph: &Graph, options: &RunOptions) -> (Vec<Value>, String) {
        let (mut lines, mut gathered) = (Vec::new(), Gathered::default());
        let mut tell = |event| {
            lines.push(serde_json::from_str(&report::json_line(&event).unwrap()).unwrap());
            gathered.note(&event);
        };
        let cancel = Arc::new(AtomicBool::new(false));
        // How it ended is in the last event.
        let _ = pipeline::run(graph, &self.store, options, &mut tell, cancel);
        (lines, plain(&gathered.text()))
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn plans_and_events_are_as_their_schemas_say() {
    let bench = Bench::new();
    let (plan_schema, event_schema) =
        (report::schema("plan").unwrap(), report::schema("event").unwrap());
    let mut kinds = std::collections::BTreeSet::new();
    for (beams, bad, fail_fast) in
        [(1, false, false), (4, true, false), (4, true, true), (4, false, false)]
    {
        let graph = graph(beams, bad);
        assert_valid(&plan_schema, &serde_json::to_value(bench.plan(&graph)).unwrap());
        let options = RunOptions { fail_fast, ..RunOptions::default() };
        let (events, _) = bench.run(&graph, &options);
        for event in &events {
            assert_valid(&event_schema, event);
            kinds.insert(event["event"].as_str().unwrap().to_owned());
        }
        assert_eq!(events.last().unwrap()["event"], "finished");
        assert_valid(&plan_schema, &serde_json::to_value(bench.plan(&graph)).unwrap());
    }
    for kind in ["started", "stage_started", "step", "item_finished", "item_failed", "stage_failed"]
    {
        assert!(kinds.contains(kind), "no event `{kind}` was checked, only {kinds:?}");
    }
}

#[test]
fn a_schema_refuses_what_is_not_printed() {
    let schema = report::schema("plan").unwrap();
    let bench = Bench::new();
    let mut plan = serde_json::to_value(bench.plan(&graph(1, false))).unwrap();
    plan["stages"][0]["state"] = "rotten".into();
    assert!(!crate::schema::faults(&schema, &plan).is_empty());
    let event = serde_json::json!({"event": "finished"});
    assert!(!crate::schema::faults(&report::schema("event").unwrap(), &event).is_empty());
}

fn json(told: &impl serde::Serialize) -> Value {
    serde_json::to_value(told).unwrap()
}

/// Of runs, of what two of them made differently, of what is accepted, and of where a file comes from.
#[test]
fn what_else_is_told_is_as_its_schema_says() {
    let bench = Bench::new();
    bench.run(&graph(1, false), &RunOptions::default());
    bench.run(&graph(4, true), &RunOptions::default());
    let store = &bench.store;
    let (runs, all) = store.past_runs(9);
    let stages = pipeline::difference(store, &runs[1], &runs[0]);
    assert!(stages.iter().any(|stage| stage.first.is_some()), "{stages:?}");
    let difference = RunDifference::new(&runs[1], &runs[0], None, stages);
    assert_valid(&report::schema("log-diff").unwrap(), &json(&difference));
    for run in &runs {
        assert_valid(&report::schema("log-show").unwrap(), &json(&RunTold::new(run.clone())));
    }
    let options = BlessOptions {
        reason: "it does not show".to_owned(),
        matching: true,
        ..BlessOptions::default()
    };
    let blessing = pipeline::bless(&graph(2, false), store, "label", &options).unwrap();
    assert_valid(&report::schema("bless").unwrap(), &json(&blessing));
    let list = RunList::new("project.toml".to_owned(), runs, all, store.blessings().unwrap().all());
    assert_eq!(list.blessed.len(), 1);
    assert_valid(&report::schema("log").unwrap(), &json(&list));

    let large = FakeStage::new("label").source("a.jpg", "a").padding(5000);
    let node = Node { name: "label".to_owned(), needs: Vec::new(), stage: Box::new(large) };
    bench.run(&Graph::new(vec![node]).unwrap(), &RunOptions::default());
    let objects = walkdir::WalkDir::new(store.root().join("objects")).into_iter().flatten();
    let object = objects.into_iter().find(|entry| entry.file_type().is_file()).unwrap();
    let provenance = pipeline::provenance(store, object.path(), &[]);
    assert_eq!(provenance.as_ref().unwrap().item.as_deref(), Some("a.jpg"));
    let file = InspectedFile::Plain(PlainFile { path: object.path().to_owned(), bytes: 5000 });
    assert_valid(&report::schema("inspect").unwrap(), &json(&Inspected { file, provenance }));
}

#[test]
fn plans_and_summaries_as_people_read_them() {
    let bench = Bench::new();
    let said = |graph: &Graph| plain(&report::plan(&bench.plan(graph), bench.places(), false));
    insta::assert_snapshot!("plan-new", said(&graph(1, false)));
    let (_, summary) = bench.run(&graph(1, false), &RunOptions::default());
    insta::with_settings!({filters => vec![(r"\d+(\.\d+)? m?s\b", "[time]")]}, {
        insta::assert_snapshot!("summary-first", summary);
        insta::assert_snapshot!("plan-fresh", said(&graph(1, false)));
        let (_, summary) = bench.run(&graph(1, false), &RunOptions::default());
        insta::assert_snapshot!("summary-nothing", summary);
        insta::assert_snapshot!("plan-parameter", said(&graph(4, true)));
        let (_, summary) = bench.run(&graph(4, true), &RunOptions::default());
        insta::assert_snapshot!("summary-left-out", summary);
        insta::assert_snapshot!("plan-left-out", said(&graph(4, true)));
    });
}

#[test]
fn explanations_end_at_what_the_user_can_change() {
    let bench = Bench::new();
    bench.run(&graph(1, false), &RunOptions::default());
    let why = |graph: &Graph, stage, item| {
        let why = pipeline::why(graph, &bench.store, &RunOptions::default(), stage, item).unwrap();
        assert_valid(&report::schema("why").unwrap(), &serde_json::to_value(&why).unwrap());
        plain(&report::why(&why, bench.places(), Look::PLAIN))
    };
    insta::assert_snapshot!("why-fresh", why(&graph(1, false), "label", Some("a.jpg")));
    insta::assert_snapshot!("why-kept", why(&graph(1, false), "label", Some("b.jpg")));
    insta::assert_snapshot!("why-parameter", why(&graph(4, false), "label", None));
    insta::assert_snapshot!("why-follower", why(&graph(4, false), "finetune", None));
}
