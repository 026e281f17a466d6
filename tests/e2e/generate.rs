//! `fluxpipe generate` on small random networks: what is drawn shows nothing, but depends on prompt, seed
//! and model as that of large ones does.

use std::{collections::BTreeSet, fs, path::Path};

use fluxpipe::stages::pictures::Parameters;

use crate::{Project, Run, project::networks};

fn generate(project: &Project, more: &[&str]) -> Run {
    let file = |name: &str| networks().join(name).display().to_string();
    let named = [
        ("--flux", file("flux1-dev.safetensors")),
        ("--ae", file("ae.safetensors")),
        ("--clip-l", file("clip_l.safetensors")),
        ("--t5xxl", file("t5xxl.safetensors")),
    ];
    let named = named.iter().flat_map(|(option, path)| [*option, path.as_str()]);
    let usual = ["generate", "--device", "cpu", "-o", "drawn", "--size", "64x48", "--steps", "2"];
    let args = usual.into_iter().chain(named).chain(more.iter().copied());
    project.call(&args.collect::<Vec<_>>()).exits(0)
}

/// The files that a run says it wrote.
fn written(run: &Run) -> Vec<String> {
    run.stdout.lines().map(str::to_owned).collect()
}

fn pixels(path: &Path) -> image::RgbImage {
    image::open(path).unwrap().into_rgb8()
}

#[test]
fn each_prompt_is_drawn_with_each_seed_and_files_say_how() {
    let project = Project::with_manifest("");
    let two = ["--prompt", "A red cup!", "--prompt", "a dog", "--count", "2", "--seed", "7"];
    let first = written(&generate(&project, &two));
    assert_eq!(
        first,
        [
            "drawn/001-7-a-red-cup.png",
            "drawn/002-8-a-red-cup.png",
            "drawn/003-7-a-dog.png",
            "drawn/004-8-a-dog.png"
        ]
    );
    let bytes = |names: &[String]| {
        names.iter().map(|name| fs::read(project.path(name)).unwrap()).collect::<Vec<_>>()
    };
    let drawn = bytes(&first);
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 4, "all differ");
    assert_eq!(pixels(&project.path(&first[0])).dimensions(), (64, 48));
    // The same again, beside the others.
    let again = written(&generate(&project, &two));
    assert_eq!(again[0], "drawn/005-7-a-red-cup.png");
    assert_eq!(bytes(&again), drawn);
    // Nothing else stays in the folder.
    assert_eq!(fs::read_dir(project.path("drawn")).unwrap().count(), 8);

    let said = Parameters::read(&drawn[1]).unwrap();
    assert_eq!((said.prompt.as_str(), said.seed, said.steps), ("A red cup!", 8, 2));
    assert_eq!((said.width, said.height, said.guidance), (64, 48, Some(3.5)));
    let model = said.model.unwrap();
    let file = fs::read(networks().join("flux1-dev.safetensors")).unwrap();
    let digest = fluxpipe::base::Digest::of(&file).hex();
    assert_eq!((model.name.as_str(), model.digest), ("flux1-dev", Some(digest)));

    let inspected = project.call(&["inspect", &first[1]]).exits(0).stdout;
    for line in ["A red cup!", "Steps: 2, Sampler: Euler", "\"seed\":8"] {
        assert!(inspected.contains(line), "{inspected}");
    }
    let inspected = project.call(&["inspect", &first[1], "--json"]).exits(0).stdout;
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["texts"][0][0], "parameters");
}

#[test]
fn together_they_look_as_they_do_alone() {
    let project = Project::with_manifest("");
    let three = ["--prompt", "a cup", "--count", "3"];
    let alone = written(&generate(&project, &three));
    let together = written(&generate(&project, &[&three[..], &["--batch", "2"]].concat()));
    for (alone, together) in alone.iter().zip(&together) {
        let [alone, together] = [alone, together].map(|name| pixels(&project.path(name)));
        // Products of other sizes sum in another order, which may turn a rounding.
        let pairs = alone.iter().zip(together.iter());
        assert!(pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1));
    }
}

#[test]
fn a_negative_prompt_counts_with_cfg_and_is_told_to_be_idle_without() {
    let project = Project::with_manifest("");
    let draw = |more: &[&str]| {
        let run = generate(&project, &[&["--prompt", "a cup"], more].concat());
        (pixels(&project.path(&written(&run)[0])), run.stderr)
    };
    let (plain, said) = draw(&[]);
    assert!(!said.contains("warning"), "{said}");
    let (idle, said) = draw(&["--negative", "rain"]);
    assert!(said.contains("--negative has no effect"), "{said}");
    assert!(plain == idle);
    let (empty, _) = draw(&["--cfg", "3"]);
    let (rain, said) = draw(&["--cfg", "3", "--negative", "rain"]);
    assert!(!said.contains("warning"), "{said}");
    assert!(plain != empty && empty != rain);
}

#[test]
fn a_project_draws_with_its_newest_checkpoint_and_shows_before_and_after() {
    let project = Project::finished();
    let draw = |more: &[&str]| {
        let usual = ["generate", "project.toml", "--prompt", "a cup", "--size", "64x48"];
        let run = project.call(&[&usual[..], &["--steps", "2"], more].concat()).exits(0);
        let path = project.path(&written(&run)[0]);
        (pixels(&path), Parameters::read(&fs::read(&path).unwrap()).unwrap(), run.stderr)
    };
    let (after, said, _) = draw(&[]);
    assert_eq!(said.model.as_ref().unwrap().name, "small");
    assert_eq!((said.stage.as_deref(), said.epoch), (Some("finetune"), None));
    let base = networks().join("flux1-dev.safetensors").display().to_string();
    let (before, said, _) = draw(&["--checkpoint", &base]);
    assert_eq!(said.model.unwrap().name, "flux1-dev");
    assert!(before != after, "the training changed what is drawn");
    let (both, said, _) = draw(&["--compare"]);
    assert_eq!(both.dimensions(), (64 + 8 + 64, 48));
    assert_eq!(said.before.unwrap().name, "flux1-dev");
    assert_eq!(said.model.unwrap().name, "small");
    let part = |x| image::imageops::crop_imm(&both, x, 0, 64, 48).to_image();
    assert!(part(0) == before && part(72) == after);
    // An earlier one, by name.
    let (_, said, _) = draw(&["--checkpoint", "out/small-000001.safetensors"]);
    assert_eq!(said.model.unwrap().name, "small-000001");
    // The manifest gives prompts 32 tokens.
    let long = "cup ".repeat(40);
    let (_, _, said) = draw(&["--prompt", &long, "-o", "long"]);
    assert!(said.contains("longer than 32 tokens"), "{said}");
    assert!(project.path("long/002-42-cup-cup-cup-cup-cup-cup-cup-cup-cup-cup.png").is_file());
}

#[test]
fn texts_without_padding_are_drawn_together() {
    let project = Project::finished();
    project.replace("[stages.cache]", "[stages.cache]\nattend_padding = false");
    let draw = |more: &[&str]| {
        let usual = ["generate", "project.toml", "--prompt", "a cup", "--size", "64x48"];
        let usual = [&usual[..], &["--steps", "2", "--cfg", "2"], more].concat();
        written(&project.call(&usual).exits(0))
    };
    let names = draw(&["--prompt", "a long text on a dog", "--batch", "2", "-o", "together"]);
    let alone = draw(&["-o", "alone"]);
    let [together, alone] = [&names[0], &alone[0]].map(|name| pixels(&project.path(name)));
    assert!(together.iter().zip(alone.iter()).all(|(a, b)| a.abs_diff(*b) <= 1));
}
