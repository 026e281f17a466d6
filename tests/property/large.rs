//! How long it takes to ask a store of 100 000 items: `cargo test --release --test property -- --ignored
//! --nocapture asking`. The figures stand in docs/reliability.md.

use std::time::Instant;

use fluxpipe::{
    base::Value,
    pipeline::{
        self, BlessOptions, Graph, RunOptions,
        fake::{FakeStage, Reads},
        provenance,
    },
};

use crate::world::{World, node};

const ITEMS: usize = 100_000;

fn graph(beams: i64, edited: usize) -> Graph {
    let mut label = FakeStage::new("label").parameter("num_beams", Value::Int(beams));
    for item in 0..ITEMS {
        let text = if item < edited { "edited" } else { "as it was" };
        label = label.source(&format!("folder/{item:06}.jpg"), &format!("{item} {text}"));
    }
    let merge = FakeStage::new("merge").reads(Reads::EachUpstream);
    let nodes = vec![node("label", &[], label), node("merge", &["label"], merge)];
    Graph::new(nodes).unwrap()
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = work();
    println!("{what:<60} {:6.2} s", start.elapsed().as_secs_f64());
    made
}

#[test]
#[ignore = "takes a minute; a measurement"]
fn asking_a_store_of_100_000_items() {
    let mut world = World::new();
    let options = RunOptions::default();
    for beams in [1, 2] {
        timed("a run of all", || world.run_with(&graph(beams, 0), &options).unwrap());
    }
    let store = &world.store;
    let ask = |what: &str, graph: &Graph, stage, item| {
        timed(what, || pipeline::why(graph, store, &options, stage, item).unwrap())
    };
    timed("plan, another setting", || pipeline::plan(&graph(3, 0), store, &options).unwrap());
    let all = ask("why of a stage, another setting", &graph(3, 0), "label", None);
    assert_eq!(all.items[0].differences[0].part, "num_beams");
    let files = ask("why of a stage, 1 200 files changed", &graph(2, 1200), "label", None);
    assert_eq!(files.files.unwrap().more, 1188);
    ask("why of an item", &graph(3, 0), "label", Some("folder/070000.jpg"));
    ask("why of an item that follows", &graph(2, 1200), "merge", Some("folder/000007.jpg"));
    let (runs, _) = timed("log", || store.past_runs(20));
    let found = timed("log diff", || pipeline::difference(store, &runs[1], &runs[0]));
    assert_eq!(found[0].items.as_ref().unwrap().changed, ITEMS);
    // A file that is no output: everything is looked through, and nothing found.
    let file = world.folder.path().join("file");
    std::fs::write(&file, "no output").unwrap();
    assert!(timed("inspect of a file", || provenance(store, &file, &[])).is_none());
    let bless = BlessOptions { reason: "it is the same".to_owned(), ..BlessOptions::default() };
    timed("bless of all", || pipeline::bless(&graph(3, 0), store, "label", &bless).unwrap());
    timed("plan after it", || pipeline::plan(&graph(3, 0), store, &options).unwrap());
}
