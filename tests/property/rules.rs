//! The rules of the engine, one by one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fluxpipe::{
    base::Value,
    pipeline::{
        Cause, Event, Graph, Origin, RunError, RunOptions, StageState, Stopped,
        fake::{FakeStage, Reads},
        run, why,
    },
};

use crate::world::{World, graph, node, outputs, planned, sources};

const PICTURES: [(&str, &str); 3] = [("a.jpg", "cat"), ("b.jpg", "dog"), ("c.jpg", "owl")];

fn label() -> FakeStage {
    sources(FakeStage::new("label"), &PICTURES)
}

/// label → merge (each) → train (all).
fn chain(label: FakeStage, rate: f64) -> Graph {
    let merge = FakeStage::new("merge").reads(Reads::EachUpstream);
    let train = FakeStage::new("train").reads(Reads::AllUpstream);
    graph([
        node("label", &[], label),
        node("merge", &["label"], merge),
        node("train", &["merge"], train.parameter("learning_rate", Value::Float(rate))),
    ])
}

fn options(change: impl FnOnce(&mut RunOptions)) -> RunOptions {
    let mut options = RunOptions::default();
    change(&mut options);
    options
}

fn states(world: &World, graph: &Graph) -> Vec<StageState> {
    world.plan(graph).stages.iter().map(|stage| stage.state).collect()
}

#[test]
fn two_items_of_one_name_are_refused_before_one_is_lost() {
    let mut world = World::new();
    let twice = sources(FakeStage::new("label"), &[("a.jpg", "cat"), ("a.jpg", "dog")]);
    let error = world.run_with(&chain(twice, 1e-4), &RunOptions::default()).unwrap_err();
    let RunError::ItemTwice { stage, item, recipe } = &error else { panic!("{error:?}") };
    assert_eq!([stage.as_str(), item, recipe], ["label", "a.jpg", "text"]);
}

#[test]
fn states_go_from_new_to_fresh_and_say_what_changed() {
    use StageState::{Fresh, New, Partial, Stale};
    let mut world = World::new();
    let first = chain(label(), 5e-5);
    assert_eq!(states(&world, &first), [New, New, New]);
    world.run(&first);
    assert_eq!(states(&world, &first), [Fresh, Fresh, Fresh]);

    let faster = chain(label(), 1e-4);
    assert_eq!(states(&world, &faster), [Fresh, Fresh, Stale]);
    let plan = world.plan(&faster);
    let reason = &plan.stages[2].reasons[0];
    assert_eq!(
        (reason.part.as_str(), reason.origin, reason.items),
        ("learning_rate", Cause::Manifest, 1)
    );
    assert_eq!(reason.old, Some(Value::Float(5e-5)));
    assert_eq!(reason.new, Some(Value::Float(1e-4)));

    let more = chain(label().source("d.jpg", "elk"), 5e-5);
    assert_eq!(states(&world, &more), [Partial, Partial, Stale]);
    let reasons = |stage: usize| {
        let plan = world.plan(&more);
        let reasons = plan.stages[stage].reasons.iter();
        reasons.map(|reason| (reason.origin, reason.part.clone(), reason.items)).collect::<Vec<_>>()
    };
    assert_eq!(reasons(0), [(Cause::New, "item".into(), 1)]);
    assert_eq!(reasons(1), [(Cause::New, "item".into(), 1)]);
    assert_eq!(reasons(2), [(Cause::Follows, "merge".into(), 1)]);
}

#[test]
fn the_plan_is_the_agreed_json() {
    let mut world = World::new();
    world.run(&chain(label().given("d.jpg", "elk", "my elk"), 5e-5));
    let plan = world.plan(&chain(label().given("d.jpg", "elk", "my big elk"), 1e-4));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["version"], 1);
    let stage = |index: usize| &json["stages"][index];
    assert_eq!(
        stage(0)["items"],
        serde_json::json!({"total":4,"reuse":3,"run":0,"kept":1,"failed":0})
    );
    assert_eq!(stage(1)["state"], "partial");
    assert_eq!(stage(1)["needs"], serde_json::json!(["label"]));
    assert_eq!(stage(1)["items"]["run"], 1);
    // The hand-written file is named, and not only the stage that passes it on.
    assert_eq!(stage(1)["reasons"][0]["origin"], "file");
    assert_eq!(stage(1)["reasons"][0]["at"], serde_json::json!({"file": "d.given"}));
    assert_eq!(stage(2)["reasons"][0]["old"], 5e-5);
    assert_eq!(stage(2)["reasons"][0]["new"], 1e-4);
    assert_eq!(stage(2)["reasons"][1]["origin"], "follows");
}

#[test]
fn an_equal_output_stops_the_cascade() {
    let mut world = World::new();
    let graph = chain(label(), 5e-5);
    world.run(&graph);
    let force = options(|options| options.force = vec!["label".into()]);
    let plan = world.plan_with(&graph, &force);
    assert_eq!(planned(&plan, "merge").len(), 3, "unknown before it ran");
    world.run_with(&graph, &force).unwrap();
    assert_eq!(world.made("label").len(), 3);
    assert_eq!((world.made("merge").len(), world.made("train").len()), (0, 0));
}

#[test]
fn equal_items_run_once() {
    let mut world = World::new();
    let twice = sources(FakeStage::new("label"), &[("a", "x"), ("b", "x"), ("c", "y")]);
    let graph = chain(twice, 1.0);
    let plan = world.plan(&graph);
    assert_eq!((plan.stages[0].counts.run, plan.stages[0].counts.reuse), (2, 1));
    assert_eq!(plan.stages[1].counts.run, 2, "also where keys are not known yet");
    let summary = world.run(&graph);
    assert_eq!((summary.stages[0].items.run, summary.stages[1].items.run), (2, 2));
    assert_eq!(summary.stages[1].items.reused, 1);
    assert_eq!(outputs(&world.plan(&graph)).len(), 7, "every item has an output");
}

#[test]
fn a_lost_file_makes_its_item_run_and_no_other() {
    let mut world = World::new();
    let graph = chain(label().padding(9000), 1.0);
    world.run(&graph);
    let before = outputs(&world.plan(&graph));
    let plan = world.plan(&graph);
    let blob = plan.stages[0].decisions[1].output().unwrap().blob("padding").unwrap();
    // All ids have one length, so all paddings are one object: every item has lost its output.
    fs_err::remove_file(world.store.path(blob).unwrap()).unwrap();
    let plan = world.plan(&graph);
    assert_eq!(plan.stages[0].reasons[0].origin, Cause::Lost);
    assert_eq!(plan.stages[0].counts.run, 3);
    let summary = world.run(&graph);
    assert_eq!(summary.stages.iter().map(|stage| stage.items.run).collect::<Vec<_>>(), [3, 0, 0]);
    assert_eq!(outputs(&world.plan(&graph)), before);
}

#[test]
fn a_torn_record_costs_its_item_only() {
    let mut world = World::new();
    let graph = chain(label(), 1.0);
    world.run(&graph);
    let records = fs_err::read_dir(world.store.root().join("records")).unwrap();
    for log in records.map(|entry| entry.unwrap().path()) {
        let bytes = fs_err::read(&log).unwrap();
        fs_err::write(&log, &bytes[..bytes.len() - 9]).unwrap();
    }
    let plan = world.plan(&graph);
    let runs: Vec<_> = plan.stages.iter().map(|stage| stage.counts.run).collect();
    assert_eq!(runs, [1, 1, 1]);
    let summary = world.run(&graph);
    // The equal output of the first stage is found again, and the record after the torn line too.
    assert_eq!(summary.stages.iter().map(|stage| stage.items.run).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(!world.plan(&graph).has_work());
}

#[test]
fn a_bad_item_is_left_out_and_not_tried_again() {
    let mut world = World::new();
    let bad = chain(label().source("d.jpg", "bad"), 1.0);
    let summary = world.run(&bad);
    assert_eq!((summary.stages[0].items.run, summary.stages[0].items.failed), (3, 1));
    assert_eq!(summary.stages[1].items.total, 3, "not seen downstream");
    assert_eq!(summary.failures[0].1, "d.jpg");
    assert_eq!(summary.failures[0].2.code, "fluxpipe::fake::bad");
    assert_eq!(summary.failures[0].2.help.as_deref(), Some("make it good"));

    assert!(!world.plan(&bad).has_work());
    let summary = world.run(&bad);
    assert_eq!((summary.stages[0].items.run, summary.stages[0].items.failed), (0, 1));
    assert!(
        world
            .events
            .iter()
            .any(|event| matches!(event, Event::ItemFailed { remembered: true, .. }))
    );

    let fail_fast = options(|options| options.fail_fast = true);
    assert!(matches!(world.run_with(&bad, &fail_fast), Err(RunError::BadItem { .. })));
    let force = options(|options| options.force = vec!["label".into()]);
    assert_eq!(world.run_with(&bad, &force).unwrap().stages[0].items.failed, 1);
    assert_eq!(world.made("label").len(), 3);

    let good = chain(label().source("d.jpg", "good"), 1.0);
    assert_eq!(world.run(&good).stages[0].items.run, 1);
}

#[test]
fn a_failed_stage_stops_the_run_or_only_what_needs_it() {
    let mut world = World::new();
    let broken = label().source("d.jpg", "panic");
    let nodes = || {
        let merge = FakeStage::new("merge").reads(Reads::EachUpstream);
        let tag = sources(FakeStage::new("tag"), &PICTURES);
        [
            node("label", &[], broken.clone()),
            node("merge", &["label"], merge),
            node("tag", &[], tag),
        ]
    };
    let error = world.run(&chain(label(), 1.0)).stages.len();
    assert_eq!(error, 3);
    let error = world.run_with(&graph(nodes()), &RunOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "stage `label` panicked at `d.jpg`: panic at d.jpg");
    assert!(world.made("tag").is_empty());
    let Some(Event::Finished { stopped, .. }) = world.events.last() else {
        panic!("no last event")
    };
    assert_eq!(*stopped, Some(Stopped::Failed));

    let keep_going = options(|options| options.keep_going = true);
    assert!(world.run_with(&graph(nodes()), &keep_going).is_err());
    assert_eq!(world.made("tag").len(), 3);
    let skipped =
        |event: &Event| matches!(event, Event::StageSkipped { stage, .. } if stage == "merge");
    assert!(world.events.iter().any(skipped));
}

#[test]
fn what_was_committed_before_a_failure_is_kept() {
    let mut world = World::new();
    let broken = chain(label().source("d.jpg", "panic"), 1.0);
    assert!(matches!(world.run_with(&broken, &RunOptions::default()), Err(RunError::Panic { .. })));
    assert_eq!(planned(&world.plan(&chain(label(), 1.0)), "label"), Vec::<String>::new());
}

#[test]
fn a_cancelled_run_keeps_what_is_done() {
    let world = World::new();
    let graph = chain(label(), 1.0);
    let cancel = Arc::new(AtomicBool::new(false));
    let mut last = None;
    let mut sink = |event: Event| {
        if matches!(event, Event::ItemFinished { .. }) {
            cancel.store(true, Ordering::Relaxed);
        }
        last = Some(event);
    };
    let result = run(&graph, &world.store, &RunOptions::default(), &mut sink, Arc::clone(&cancel));
    assert!(matches!(result, Err(RunError::Cancelled)));
    assert!(matches!(last, Some(Event::Finished { stopped: Some(Stopped::Cancelled), .. })));
    assert_eq!(world.plan(&graph).stages[0].counts.run, 2);
}

#[test]
fn a_selection_reads_what_is_there_and_says_what_is_missing() {
    let mut world = World::new();
    let graph = chain(label(), 1.0);
    let only = options(|options| options.only = vec!["merge".into()]);
    let error = world.run_with(&graph, &only).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stage `merge` reads 3 items of `label` that are not up to date, and `label` is not selected"
    );
    let until = options(|options| options.until = Some("label".into()));
    assert_eq!(world.run_with(&graph, &until).unwrap().stages.len(), 1);
    assert_eq!(world.run_with(&graph, &only).unwrap().stages[0].items.run, 3);
    let force = options(|options| {
        options.only = vec!["merge".into()];
        options.force = vec!["label".into()];
    });
    assert!(world.run_with(&graph, &force).unwrap_err().to_string().contains("not selected"));
}

#[test]
fn why_ends_at_the_file_or_the_line_that_changed() {
    let mut world = World::new();
    let before = chain(label(), 5e-5);
    world.run(&before);
    let edited = chain(
        sources(FakeStage::new("label"), &[("a.jpg", "cat"), ("b.jpg", "fox"), ("c.jpg", "owl")]),
        5e-5,
    );
    let none = RunOptions::default();
    let account = |world: &World, graph: &Graph, stage: &str, item| {
        why(graph, &world.store, &none, stage, item).unwrap().items.swap_remove(0)
    };
    // Before the run, the follower leads to the item that must run first, and on to its file.
    let train = account(&world, &edited, "train", None);
    assert_eq!(train.cause, Some(Cause::Follows));
    let merge = &train.because[0];
    assert_eq!((merge.stage.as_str(), merge.item.as_str()), ("merge", "b.jpg"));
    let source = &merge.because[0].differences[0];
    assert_eq!(source.origin, Origin::File("b.jpg".into()));

    // When upstream has run already, what it made before is found by what it made.
    let until = options(|options| options.until = Some("label".into()));
    world.run_with(&edited, &until).unwrap();
    let merge = account(&world, &edited, "merge", Some("b"));
    assert_eq!(merge.cause, Some(Cause::Upstream));
    assert_eq!(merge.because[0].differences[0].origin, Origin::File("b.jpg".into()));

    // A renamed item that changed has no last run, and is compared with the most similar stored one.
    let renamed = chain(label().source("z.jpg", "cow"), 5e-5);
    let account = account(&world, &renamed, "label", Some("z.jpg"));
    assert_eq!(account.cause, Some(Cause::New));
    assert!(!account.against.unwrap().own);
    assert_eq!(account.differences.len(), 1);
    assert!(matches!(
        why(&renamed, &world.store, &none, "label", Some("nothing")),
        Err(RunError::UnknownItem { .. })
    ));
}

#[test]
fn the_record_of_a_run_ends_with_what_it_did() {
    let mut world = World::new();
    let summary = world.run(&chain(label(), 1.0));
    let log = world.store.root().join("runs").join(format!("{}.jsonl", summary.run));
    let text = fs_err::read_to_string(log).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "finished");
    let items = &last["stages"][0]["items"];
    assert_eq!(
        (&items["total"], &items["reused"], &items["run"], &items["failed"]),
        (&3.into(), &0.into(), &3.into(), &0.into())
    );
}

/// Prints how long planning and running take with 100 000 items in each of one or three stages.
#[test]
#[ignore = "a measurement of half a minute, on a machine that does nothing else"]
fn a_hundred_thousand_items() {
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        work();
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("{what}: {seconds:.2} s");
        seconds
    };
    for stages in [1, 3] {
        let names =
            (0..100_000).map(|index| (format!("folder/{index:06}.jpg"), format!("text {index}")));
        let label =
            names.fold(FakeStage::new("label"), |stage, (id, text)| stage.source(&id, &text));
        let mut nodes = vec![node("0", &[], label)];
        for index in 1..stages {
            let stage = FakeStage::new("merge").reads(Reads::EachUpstream);
            nodes.push(node(&index.to_string(), &[&(index - 1).to_string()], stage));
        }
        let graph = graph(nodes);
        let mut world = World::new();
        timed("plan, cold", &mut || drop(world.plan(&graph)));
        timed("run", &mut || drop(world.run(&graph)));
        let mut plan = None;
        let warm = timed("plan, warm", &mut || plan = Some(world.plan(&graph)));
        timed("run, nothing to do", &mut || drop(world.run(&graph)));
        assert!(plan.is_some_and(|plan| !plan.has_work()));
        assert!(warm < 2.0 * stages as f64, "{warm} s for {stages} stages");
    }
}
