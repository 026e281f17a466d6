//! A second run has nothing to do, whatever was touched without being changed.

use std::time::{Duration, Instant};

use crate::Project;

const NEW: &str = "label 5 of 5, tag.probabilities 5 of 5, tag 5 of 5, \
     merge 5 of 5, cache 10 of 10, finetune 1 of 1";
const IDLE: &str = "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, \
     merge 0 of 5, cache 0 of 10, finetune 0 of 1";

/// As the issue of the first release promises for the demo.
const SOON: Duration = Duration::from_secs(2);

/// The manifest of [`crate::project::MANIFEST`] as somebody else would write it.
const REWRITTEN: &str = r#"
# The trainer comes first here.
stages.finetune = { seed = 42, save_every_n_epochs = 1, max_train_epochs = 2, learning_rate = 0.0001 }
stages.cache = { t5xxl_max_token_length = 0x20 }
stages.merge.prepend_tags = [
    'small demo', # the word that calls the subject
]
stages.tag = { thresh = 5e-1 }

dataset = [
    { resolution = [64, 64], bucket_reso_steps = 16, min_bucket_reso = 32, sidecars = "./words", image_dir = "./pictures" },
]

[project]
device = "cpu"
output = "./out"
"name" = "small"

[models]
flux = "MODELS/flux1-dev.safetensors"
t5xxl = "MODELS/t5xxl.safetensors"
clip_l = "MODELS/clip_l.safetensors"
ae = "MODELS/ae.safetensors"
tagger = "MODELS/tagger/model.onnx"
blip = "MODELS/blip.safetensors"

[stages.label]
max_length = 12
num_beams = 2
prompt = "a picture of " # as it is by default
"#;

#[track_caller]
fn is_idle_soon(project: &Project) {
    let started = Instant::now();
    let run = project.run().exits(0);
    let took = started.elapsed();
    // Stages that do not need each other run in the order in which they are written.
    let mut counts: Vec<_> = IDLE.split(", ").collect();
    let found = run.counts();
    let mut found: Vec<_> = found.split(", ").collect();
    counts.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, counts);
    assert_eq!(run.published(), Vec::<String>::new());
    assert!(took < SOON, "a run without work took {took:?}");
    project.is_idle();
}

#[test]
fn the_second_run_has_nothing_to_do_and_says_so() {
    let project = Project::fresh();
    project.does(NEW);
    is_idle_soon(&project);
    let words = project.call(&["run", "project.toml"]).exits(0);
    assert!(words.seen().contains("Everything is up to date"), "{}", words.seen());
}

#[test]
fn a_touched_file_is_no_changed_file() {
    let project = Project::finished();
    let before = project.outputs();
    let now = std::time::SystemTime::now();
    for file in walkdir::WalkDir::new(project.path("")).into_iter().map(Result::unwrap) {
        // What is linked from the store is read-only, also to those who would touch it.
        if file.file_type().is_file()
            && let Ok(file) = std::fs::File::options().append(true).open(file.path())
        {
            file.set_modified(now).unwrap();
        }
    }
    is_idle_soon(&project);
    assert_eq!(project.outputs(), before);
}

#[test]
fn a_manifest_written_differently_is_the_same_manifest() {
    let project = Project::finished();
    project.manifest(REWRITTEN);
    is_idle_soon(&project);
}
