//! Mistakes, and how they are told.

use fluxpipe::weights::{Dtype, Entry, Writer};

use crate::Project;

const FIVE_MISTAKES: &str = r#"
[project]
name = "cats"

[[dataset]]
image_dir = "nowhere"
resolutoin = 512

[stages.label]
num_beams = 0
max_length = "long"

[stages.tag]
fp8_base = true
needs = ["labels"]
"#;

#[test]
fn five_mistakes_are_five_diagnostics_with_their_lines() {
    let project = Project::with_manifest(FIVE_MISTAKES);
    let ran = project.run(&["check", "project.toml"]).exits(2);
    insta::assert_snapshot!(ran.seen());
    for command in ["plan", "run", "graph"] {
        assert_eq!(project.run(&[command, "project.toml"]).exits(2).stderr, ran.stderr);
    }
}

#[test]
fn a_manifest_that_is_not_there() {
    let project = Project::new();
    insta::assert_snapshot!(project.run(&["plan", "projct.toml"]).exits(2).seen());
}

#[test]
fn colours_are_for_terminals_and_those_who_force_them() {
    let project = Project::with_manifest(FIVE_MISTAKES);
    let escapes = |env: &[(&str, &str)]| {
        project.run_with(&["check", "project.toml"], env).exits(2).stderr.contains('\u{1b}')
    };
    assert!(!escapes(&[]), "a pipe is no terminal");
    assert!(escapes(&[("CLICOLOR_FORCE", "1")]));
    assert!(!escapes(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), "NO_COLOR has the last word");
}

#[test]
fn weight_files_that_are_missing_or_damaged() {
    let project = Project::new();
    insta::assert_snapshot!(project.run(&["inspect", "flux.safetensors"]).exits(3).seen());
    project.file("flux.safetensors", [0xff; 64]);
    insta::assert_snapshot!(project.run(&["inspect", "flux.safetensors"]).exits(3).seen());
}

/// A label stage on one picture, with whatever the test puts at `blip.safetensors`.
const LABEL: &str = r#"
[project]
name = "cats"
device = "cpu"

[models]
blip = "blip.safetensors"

[[dataset]]
image_dir = "pictures"
resolution = 64
min_bucket_reso = 64

[stages.label]
"#;

/// A file with the tensor names of a T5 encoder.
fn other_network(path: &std::path::Path) {
    let name = "encoder.block.0.layer.0.SelfAttention.q.weight".to_owned();
    let entries = [Entry { name, dtype: Dtype::F32, shape: vec![1, 1] }];
    let file = std::fs::File::create(path).unwrap();
    let mut writer = Writer::new(file, &entries, &Default::default()).unwrap();
    writer.tensor(&[0; 4]).unwrap();
    writer.finish().unwrap();
}

#[test]
fn what_is_missing_outside_exits_with_3() {
    let project = Project::with_manifest(LABEL);
    project.picture("pictures/1.png", (64, 64), 1);
    let missing = project.run(&["run", "project.toml"]).exits(3);
    insta::assert_snapshot!("weights-missing", missing.seen());

    project.file("blip.safetensors", [7; 40]);
    let damaged = project.run(&["run", "project.toml"]).exits(3);
    insta::assert_snapshot!("weights-damaged", damaged.stderr);
    let checked = project.run(&["check", "project.toml"]).exits(3);
    insta::assert_snapshot!("weights-damaged-check", checked.seen());
    other_network(&project.path("blip.safetensors"));
    let other = project.run(&["check", "project.toml"]).exits(3);
    insta::assert_snapshot!("weights-other-network", other.seen());

    std::fs::remove_file(project.path("pictures/1.png")).unwrap();
    let empty = project.run(&["check", "project.toml"]).exits(3);
    insta::assert_snapshot!("folder-empty", empty.seen());
}

#[test]
fn a_stage_that_is_not_there_is_a_wrong_command_line() {
    let project = Project::with_manifest(LABEL);
    project.picture("pictures/1.png", (64, 64), 1);
    project.file("blip.safetensors", [7; 40]);
    for args in [
        &["run", "project.toml", "--only", "lable"] as &[&str],
        &["why", "project.toml", "lable"],
        &["plan", "project.toml", "--from", "lable"],
    ] {
        let ran = project.run(args).exits(2);
        assert!(ran.stderr.contains("label"), "{}", ran.stderr);
    }
}

#[test]
fn a_graph_is_drawn_also_while_weights_are_missing() {
    let project = Project::with_manifest(LABEL);
    project.picture("pictures/1.png", (64, 64), 1);
    let ran = project.run(&["graph", "project.toml"]).exits(0);
    assert!(ran.stdout.contains("| label |"), "{}", ran.stdout);
    assert!(ran.stderr.contains("states are not shown"), "{}", ran.stderr);
    let json = project.run(&["graph", "project.toml", "--format", "json"]).exits(0).json();
    assert_eq!(json["stages"][0]["name"], "label");
}

#[test]
fn a_device_that_cannot_be_used() {
    let project = Project::with_manifest(LABEL);
    project.picture("pictures/1.png", (64, 64), 1);
    project.file("blip.safetensors", [7; 40]);
    let ran = project.run(&["check", "project.toml", "--set", "project.device=gpu"]);
    assert!(ran.exits(2).stderr.contains("cuda"));
    let set = "project.device=cuda:4096";
    for command in ["check", "plan", "run"] {
        let ran = project.run(&[command, "project.toml", "--set", set]).exits(3);
        assert!(ran.stderr.contains("doctor"), "{command}: {}", ran.stderr);
        // Told before anything is done.
        assert_eq!(ran.stdout, "", "{command}");
    }
}

#[test]
fn all_weight_files_are_told_at_once() {
    let text =
        LABEL.replace("[[dataset]]", "tagger = \"tagger\"\n\n[[dataset]]") + "[stages.tag]\n";
    let project = Project::with_manifest(&text);
    project.picture("pictures/1.png", (64, 64), 1);
    other_network(&project.path("blip.safetensors"));
    project.file("tagger/model.onnx", "no graph");
    project.file("tagger/selected_tags.csv", "tag_id,name,category,count\n");
    insta::assert_snapshot!(project.run(&["check", "project.toml"]).exits(3).seen());
}

#[test]
fn files_pictures_and_weights_are_told_together() {
    let text = LABEL.replace("[[dataset]]", "tagger = \"tagger\"\n\n[[dataset]]")
        + "[stages.tag]\n\n[[dataset]]\nimage_dir = \"nowhere\"\nresolution = 64\nmin_bucket_reso = 64\n";
    let project = Project::with_manifest(&text);
    for name in ["1.png", "1.gif", "2.png", "2.bmp"] {
        project.picture(&format!("pictures/{name}"), (8, 8), 1);
    }
    other_network(&project.path("blip.safetensors"));
    let set = ["check", "project.toml", "--set", "project.device=cuda:4096"];
    // The pictures are the user's to put right first.
    insta::assert_snapshot!(project.run(&set).exits(2).seen());
}
