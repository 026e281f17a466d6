//! `fluxpipe generate` before any picture is drawn: what it asks for.

use crate::Project;

/// Small networks in `networks/`, and the options that name them.
fn networks() -> (Project, Vec<String>) {
    let project = Project::new();
    fluxpipe::models::random::write_all(&project.path("networks"), 1).unwrap();
    let named = [("flux", "flux1-dev"), ("ae", "ae"), ("clip-l", "clip_l"), ("t5xxl", "t5xxl")];
    let options = named
        .into_iter()
        .flat_map(|(option, file)| [format!("--{option}"), format!("networks/{file}.safetensors")]);
    let options =
        ["generate", "-o", "out", "--device", "cpu"].into_iter().map(str::to_owned).chain(options);
    let options = options.collect();
    (project, options)
}

fn with<'a>(options: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    options.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

#[test]
fn what_is_to_be_drawn_and_with_what_is_asked_for() {
    let (project, _) = networks();
    let ran = project.run(&["generate", "-o", "out"]).exits(2);
    assert!(ran.stderr.contains("--prompt"), "{}", ran.stderr);
    let ran = project.run(&["generate", "--prompt", "a cup"]).exits(2);
    assert!(ran.stderr.contains("--out"), "{}", ran.stderr);
    let ran = project.run(&["generate", "--prompt", "a cup", "-o", "out"]).exits(2);
    insta::assert_snapshot!("generate-no-model", ran.seen());
    assert!(!project.path("out").exists(), "nothing is made before all is right");
}

#[test]
fn what_cannot_be_drawn_is_told_before_any_work() {
    let (project, options) = networks();
    let ran = project.run(&with(&options, &["--prompt", "a cup", "--size", "100x64"])).exits(2);
    insta::assert_snapshot!("generate-size", ran.seen());
    for (option, value) in
        [("--size", "100"), ("--cfg", "-1"), ("--steps", "0"), ("--guidance", "x")]
    {
        project.run(&with(&options, &["--prompt", "a cup", option, value])).exits(2);
    }
    let twice = with(&options, &["--prompt", "a cup", "--compare"]);
    let ran = project.run(&twice).exits(2);
    assert!(ran.stderr.contains("fluxpipe::cli::no_comparison"), "{}", ran.stderr);
    let mut other = options.clone();
    let place = other.iter().position(|option| option.ends_with("ae.safetensors")).unwrap();
    other[place] = "networks/t5xxl.safetensors".to_owned();
    let ran = project.run(&with(&other, &["--prompt", "a cup"])).exits(3);
    insta::assert_snapshot!("generate-other-network", ran.seen());
    other[place] = "networks/nothing.safetensors".to_owned();
    project.run(&with(&other, &["--prompt", "a cup"])).exits(3);
    assert!(!project.path("out").exists());
}

#[test]
fn a_project_without_a_checkpoint_says_so() {
    let (project, _) = networks();
    project.file(
        "project.toml",
        "[project]\nname = \"cups\"\n\n[models]\nae = \"networks/ae.safetensors\"\n\
         clip_l = \"networks/clip_l.safetensors\"\nt5xxl = \"networks/t5xxl.safetensors\"\n\
         flux = \"networks/flux1-dev.safetensors\"\n\n[[dataset]]\nimage_dir = \"pictures\"\n\
         resolution = 512\n\n[stages.merge]\n\n[stages.cache]\n\n[stages.finetune]\nlearning_rate = 1e-4\n\
         max_train_epochs = 1\n",
    );
    let ran = project.run(&["generate", "project.toml", "--prompt", "a cup"]).exits(3);
    insta::assert_snapshot!("generate-no-checkpoint", ran.seen());
}
