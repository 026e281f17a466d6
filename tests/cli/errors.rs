//! Mistakes, and how they are told.

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
