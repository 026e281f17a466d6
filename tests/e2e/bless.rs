//! Accepting outputs under new keys: what is matched, what is refused, and that it is told for ever.

use serde_json::Value;

use crate::{Project, Run};

const REASON: &str = "it does not show";

fn bless(project: &Project, args: &[&str]) -> Run {
    project.call(&[&["bless", "project.toml"], args, &["--reason", REASON]].concat())
}

fn plan(project: &Project) -> Value {
    let plan = project.call(&["plan", "project.toml", "--json"]).exits(0);
    serde_json::from_str(&plan.stdout).unwrap()
}

fn stage<'p>(plan: &'p Value, name: &str) -> &'p Value {
    plan["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == name).unwrap()
}

#[test]
fn a_setting_that_does_not_matter_is_accepted_and_told_for_ever() {
    let project = Project::finished();
    let before = project.outputs();
    project.replace("learning_rate = 1e-4", "learning_rate = 2e-4");
    // First what would be accepted.
    let files = crate::why::files(&project);
    let told = bless(&project, &["finetune", "--dry-run"]).exits(0).stdout;
    for words in ["finetune: 1 item would be accepted: model", "learning_rate 1e-4 → 2e-4"] {
        assert!(told.contains(words), "{words} in\n{told}");
    }
    assert_eq!(crate::why::files(&project), files, "a dry run writes nothing");
    assert!(project.plan().contains("finetune 1 of 1"));

    bless(&project, &["finetune"]).exits(0);
    let planned = plan(&project);
    assert_eq!(stage(&planned, "finetune")["items"]["run"], 0);
    assert_eq!(stage(&planned, "finetune")["blessed"][0]["reason"], REASON);
    // Told by everything that tells of it, after further runs too.
    for _ in 0..2 {
        project.is_idle();
        for call in [
            &["plan", "project.toml"][..],
            &["why", "project.toml", "finetune"],
            &["log", "project.toml"],
            &["inspect", "out/small.safetensors"],
        ] {
            let told = project.call(call).exits(0).stdout;
            assert!(told.contains(REASON), "{call:?} does not tell it:\n{told}");
        }
    }
    let why = project.call(&["why", "project.toml", "finetune"]).exits(0).stdout;
    assert!(why.contains("accepted although") && why.contains("was 1e-4"), "{why}");
    assert_eq!(project.outputs(), before);
    // A second time there is nothing to accept.
    let none = bless(&project, &["finetune"]).exits(2).stderr;
    assert!(none.contains("fluxpipe::pipeline::nothing_to_bless"), "{none}");
    // Made after all, it is no longer accepted but made.
    project.call(&["run", "project.toml", "--force", "finetune"]).exits(0);
    assert_ne!(project.outputs(), before);
    assert_eq!(stage(&plan(&project), "finetune")["blessed"], serde_json::json!([]));
}

/// A picture that changed is refused by name; it is accepted only where that is asked for, and then told.
#[test]
fn a_changed_picture_never_counts_silently() {
    let project = Project::finished();
    project.photograph("camera.jpg", "pictures/clock.webp");
    project.replace("num_beams = 2", "num_beams = 1");
    let refused = bless(&project, &["label"]).exits(2).stderr;
    for words in
        ["fluxpipe::pipeline::not_blessed", "an input changed (picture): clock.webp", "--matching"]
    {
        assert!(refused.contains(words), "{words} in\n{refused}");
    }
    assert!(project.plan().contains("label 5 of 5"), "nothing was accepted");
    assert!(!project.path("out/store/v1/blessed.log").exists());
    let told = bless(&project, &["label", "--matching"]).exits(0).stdout;
    assert!(told.contains("label: 4 items accepted"), "{told}");
    assert!(told.contains("clock.webp is left to run: an input changed (picture)"), "{told}");
    let run = project.run().exits(0);
    let made = run.made().into_iter().filter(|item| item.starts_with("label"));
    assert_eq!(made.collect::<Vec<_>>(), ["label/caption clock.webp"]);

    project.photograph("china.jpg", "pictures/clock.webp");
    let told = bless(&project, &["label", "--changed-inputs"]).exits(0).stdout;
    assert!(told.contains("pictures/clock.webp"), "what changed is told: {told}");
    let why = project.call(&["why", "project.toml", "label", "clock"]).exits(0).stdout;
    assert!(why.contains(REASON) && why.contains("pictures/clock.webp (picture) is not"), "{why}");
}

#[test]
fn what_does_not_correspond_is_refused() {
    let project = Project::fresh();
    let first = bless(&project, &["label"]).exits(2).stderr;
    assert!(first.contains("no output of these names"), "{first}");
    project.run().exits(0);
    let idle = bless(&project, &["label"]).exits(2).stderr;
    assert!(idle.contains("nothing to accept"), "{idle}");
    bless(&project, &["nothing"]).exits(2);
    let silent = project.call(&["bless", "project.toml", "label", "--reason", "  "]).exits(2);
    assert!(silent.stderr.contains("say why"), "{}", silent.stderr);
    project.call(&["bless", "project.toml", "label"]).exits(2);

    // A new picture has no output to accept.
    project.photograph("horse.png", "pictures/horse.png");
    project.replace("num_beams = 2", "num_beams = 1");
    let new = bless(&project, &["label"]).exits(2).stderr;
    assert!(new.contains("horse.png"), "{new}");
    // What waits for others is not known yet.
    let waits = bless(&project, &["merge"]).exits(2).stderr;
    assert!(waits.contains("has still to be made"), "{waits}");
    // What is gone cannot be accepted.
    project.remove("pictures/horse.png");
    project.replace("learning_rate = 1e-4", "learning_rate = 2e-4");
    project.replace("num_beams = 1", "num_beams = 2");
    std::fs::remove_dir_all(project.path("out/store/v1/objects")).unwrap();
    let gone = bless(&project, &["finetune"]).exits(2).stderr;
    assert!(gone.contains("gone") || gone.contains("has still to be made"), "{gone}");
}

/// A stage with steps is accepted with them, and one that another process runs is not.
#[test]
fn steps_are_meant_and_a_running_stage_is_left_alone() {
    let project = Project::finished();
    let lock = project.path("out/store/v1/locks/cache.lock");
    let held = std::fs::File::open(lock).unwrap();
    project.replace("t5xxl_max_token_length = 32", "t5xxl_max_token_length = 24");
    held.lock().unwrap();
    let busy = bless(&project, &["cache"]).exits(1).stderr;
    assert!(busy.contains("fluxpipe::pipeline::busy"), "{busy}");
    bless(&project, &["cache", "--dry-run"]).exits(0);
    held.unlock().unwrap();
    let told = bless(&project, &["cache"]).exits(0).stdout;
    assert!(told.contains("cache: 5 items accepted"), "{told}");
    project.is_idle();

    let tagger =
        std::fs::read(crate::project::networks().join("tagger/selected_tags.csv")).unwrap();
    project.file("tagger/selected_tags.csv", tagger);
    let graph = crate::project::networks().join("tagger/model.onnx");
    let mut bytes = std::fs::read(graph).unwrap();
    // An unknown field at its end: another file that computes the same.
    bytes.extend([0xfa, 0x3e, 0x01, 0x00]);
    project.file("tagger/model.onnx", bytes);
    let manifest = project.read("project.toml");
    let line = manifest.lines().find(|line| line.starts_with("tagger = ")).unwrap();
    project.file("project.toml", manifest.replace(line, "tagger = \"tagger\""));
    assert!(project.plan().contains("tag.probabilities 5 of 5, tag 5 of 5"), "{}", project.plan());
    let told = bless(&project, &["tag"]).exits(0).stdout;
    assert!(told.contains("tag.probabilities: 5 items accepted"), "{told}");
    project.is_idle();
}
