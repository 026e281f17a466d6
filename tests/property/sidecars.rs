//! Sidecars belong to their human from the moment they were touched.

use std::path::PathBuf;

use fluxpipe::{
    base::Value,
    pipeline::{Graph, fake::FakeStage},
};

use crate::world::{World, graph, node, sources};

const PICTURES: [(&str, &str); 3] = [("a", "cat"), ("b", "dog"), ("c", "owl")];

fn project(world: &World, version: i64) -> Graph {
    let label =
        FakeStage::new("label").parameter("version", Value::Int(version)).publish_to(folder(world));
    graph([node("label", &[], sources(label, &PICTURES))])
}

fn folder(world: &World) -> PathBuf {
    world.folder.path().join("pictures")
}

fn read(world: &World, id: &str) -> String {
    fs_err::read_to_string(folder(world).join(format!("{id}.txt"))).unwrap()
}

fn write(world: &World, id: &str, text: &str) {
    fs_err::create_dir_all(folder(world)).unwrap();
    fs_err::write(folder(world).join(format!("{id}.txt")), text).unwrap();
}

#[test]
fn ours_are_written_anew_and_a_humans_never() {
    let mut world = World::new();
    write(&world, "c", "mine before the first run");
    assert_eq!(world.run(&project(&world, 1)).published.len(), 2);
    let first = [read(&world, "a"), read(&world, "b")];
    assert!(world.run(&project(&world, 1)).published.is_empty(), "nothing is written twice");

    write(&world, "b", "edited by hand");
    assert_eq!(world.run(&project(&world, 2)).published.len(), 1);
    assert_ne!(read(&world, "a"), first[0]);
    assert_eq!(read(&world, "b"), "edited by hand");
    assert_eq!(read(&world, "c"), "mine before the first run");

    // Put back to what fluxpipe wrote last there, it is fluxpipe's again.
    write(&world, "b", &first[1]);
    assert_eq!(world.run(&project(&world, 3)).published.len(), 2);
    assert_ne!(read(&world, "b"), first[1]);

    // Put back to what fluxpipe wrote before that, it is a human's choice.
    write(&world, "a", &first[0]);
    assert!(world.run(&project(&world, 3)).published.is_empty());
    assert_eq!(read(&world, "a"), first[0]);
}

#[test]
fn a_removed_sidecar_comes_back_and_the_plan_says_so() {
    let mut world = World::new();
    world.run(&project(&world, 1));
    let text = read(&world, "a");
    fs_err::remove_file(folder(&world).join("a.txt")).unwrap();
    let plan = world.plan(&project(&world, 1));
    assert_eq!((plan.stages[0].counts.run, plan.stages[0].publishes), (0, 1));
    assert!(plan.has_work());
    let summary = world.run(&project(&world, 1));
    assert_eq!((summary.stages[0].items.run, summary.published.len()), (0, 1));
    assert_eq!(read(&world, "a"), text);
}
