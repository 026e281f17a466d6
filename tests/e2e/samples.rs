//! Pictures from prompts: the stage `sample`, and those that are drawn while a training goes on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::Command,
    thread,
    time::Duration,
};

use fluxpipe::{base::Digest, stages::pictures::Parameters};
use serde_json::Value;

use crate::Project;

const SAMPLE: &str = "
[stages.sample]
prompts = ['a red cup', 'a cup on a table --w 48 --d 7']
width = 32
height = 32
steps = 2
";

const SAMPLES: &str = "
[stages.finetune.samples]
prompts = ['a red cup', 'a cup on a table --w 48 --d 7']
every_n_epochs = 1
every_n_steps = 3
at_first = true
width = 32
height = 32
steps = 2
";

/// The small project with more lines at the end of its manifest.
fn with(lines: &str) -> Project {
    let project = Project::fresh();
    let text = project.read("project.toml");
    project.file("project.toml", text + lines);
    project
}

/// The files of a folder of pictures with their bytes.
fn drawn(project: &Project, stage: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(project.path(format!("out/samples/{stage}"))).into_iter().flatten();
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    });
    files.collect()
}

fn names(files: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

/// Digest of the trained model.
fn model(project: &Project) -> Digest {
    Digest::of(&fs::read(project.path("out/small.safetensors")).unwrap())
}

/// Runs until an event fits, and then sends a signal; whether the run was still going on.
fn signal_when(project: &Project, signal: &str, fits: impl Fn(&Value) -> bool) -> bool {
    let log = project.path("events.jsonl");
    let mut command = project.command(&["run", "project.toml", "--json"]);
    let mut run = command.stdout(File::create(&log).unwrap()).spawn().unwrap();
    while run.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&log).unwrap();
        let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if events.any(|event| fits(&event)) {
            let sent = format!("kill -{signal} {}", run.id());
            Command::new("sh").args(["-c", &sent]).status().unwrap();
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    !run.wait().unwrap().success()
}

#[test]
fn each_prompt_is_drawn_before_and_after() {
    let project = with(SAMPLE);
    project.does(
        "label 5 of 5, tag.probabilities 5 of 5, tag 5 of 5, merge 5 of 5, cache 10 of 10, \
         finetune 1 of 1, sample.prompts 2 of 2, sample.before 2 of 2, sample 2 of 2",
    );
    let files = drawn(&project, "sample");
    let expected = [
        "001-42-a-red-cup-before.png",
        "001-42-a-red-cup-compare.png",
        "001-42-a-red-cup.png",
        "002-7-a-cup-on-a-table-before.png",
        "002-7-a-cup-on-a-table-compare.png",
        "002-7-a-cup-on-a-table.png",
    ];
    assert_eq!(names(&files), expected);
    let picture = |name: &str| image::load_from_memory(&files[name]).unwrap().into_rgb8();
    let [before, both, after] = [3, 4, 5].map(|file| picture(expected[file]));
    assert_eq!((before.dimensions(), after.dimensions()), ((48, 32), (48, 32)));
    assert_ne!(before, after, "the training changed nothing that is seen");
    // Before on the left, after on the right.
    let part = |x| image::imageops::crop_imm(&both, x, 0, 48, 32).to_image();
    assert_eq!((part(0), part(both.width() - 48)), (before, after));

    let said = |name: &str| Parameters::read(&files[name]).unwrap();
    let after = said(expected[5]);
    assert_eq!((after.prompt.as_str(), after.seed), ("a cup on a table", 7));
    assert_eq!((after.width, after.height, after.steps), (48, 32, 2));
    assert_eq!((after.epoch, after.step), (Some(2), Some(10)));
    assert_eq!(after.model.unwrap().digest, Some(model(&project).hex()));
    assert_eq!(said(expected[3]).epoch, Some(0));
    assert_eq!(said(expected[4]).before, said(expected[3]).model);

    // A prompt more is one picture more of each model; another training draws its own alone.
    project.replace("--d 7']", "--d 7', 'third --l 2']\nnegative = 'rain'");
    project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 0 of 10, \
         finetune 0 of 1, sample.prompts 2 of 4, sample.before 1 of 3, sample 1 of 3",
    );
    project.replace("seed = 42\n\n[stages.sample]", "seed = 43\n\n[stages.sample]");
    project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 0 of 10, \
         finetune 1 of 1, sample.prompts 0 of 4, sample.before 0 of 3, sample 3 of 3",
    );
}

#[test]
fn each_key_of_a_picture_draws_it_anew_and_nothing_else() {
    let project = with(SAMPLE);
    project.run().exits(0);
    let plain = project.read("project.toml");
    let both = ["sample.before/picture", "sample/picture"];
    for (line, prompts, pictures) in [
        ("height = 48", 0, 2),
        // The second prompt says its own.
        ("width = 64", 0, 1),
        ("seed = 1", 0, 1),
        ("steps = 3", 0, 2),
        ("guidance = 2.0", 0, 2),
        ("cfg = 3.0", 1, 2),
        ("cfg = 3.0\nnegative = 'rain'", 1, 2),
        ("count = 2", 0, 2),
    ] {
        let key = line.split(' ').next().unwrap();
        let kept = plain.lines().filter(|of| {
            let (sample, name) = (SAMPLE.contains(of), of.split(' ').next().unwrap());
            !(sample && name == key)
        });
        let text = kept.collect::<Vec<_>>().join("\n");
        project.file("project.toml", format!("{text}\n{line}\n"));
        let made = project.run().exits(0).made();
        let of = |kind: &str| made.iter().filter(|item| item.starts_with(kind)).count();
        assert_eq!(of("sample.prompts/text"), prompts, "{line}: {made:?}");
        assert_eq!(both.map(of), [pictures; 2], "{line}: {made:?}");
        assert_eq!(made.len(), prompts + 2 * pictures, "{line}: {made:?}");
    }
    project.file("project.toml", format!("{plain}\ncompare = false\n"));
    let made = project.run().exits(0).made();
    assert!(made.iter().all(|item| item.starts_with("sample/")), "{made:?}");
}

#[test]
fn a_training_that_draws_makes_the_same_model() {
    let plain = with("");
    plain.run().exits(0);
    let project = with(SAMPLES);
    project.does(
        "label 5 of 5, tag.probabilities 5 of 5, tag 5 of 5, merge 5 of 5, cache 10 of 10, \
         finetune.prompts 2 of 2, finetune 1 of 1",
    );
    assert_eq!(model(&project), model(&plain));
    let files = drawn(&project, "finetune");
    let expected = ["e000000", "e000001", "e000002", "s00000003", "s00000006", "s00000009"];
    let expected = expected.iter().flat_map(|name| [1, 2].map(|n| format!("{name}-{n:02}.png")));
    assert_eq!(names(&files), expected.collect::<Vec<_>>());
    let said = |name: &str| Parameters::read(&files[name]).unwrap();
    assert_eq!((said("e000002-02.png").epoch, said("e000002-02.png").step), (Some(2), Some(10)));
    assert_eq!((said("s00000006-01.png").epoch, said("s00000006-01.png").step), (None, Some(6)));
    assert_eq!(said("e000000-02.png").prompt, "a cup on a table");
    assert_ne!(files["e000000-01.png"], files["e000002-01.png"]);

    // Other prompts train nothing, and pictures of weights that are gone stay as they are.
    project.replace("'a red cup'", "'a blue cup'");
    project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 0 of 10, \
         finetune.prompts 1 of 2, finetune 0 of 1",
    );
    assert_eq!(drawn(&project, "finetune"), files);
    // More epochs draw what is due from there on, with the prompts of now.
    project.replace("max_train_epochs = 2", "max_train_epochs = 3");
    project.run().exits(0);
    let more = drawn(&project, "finetune");
    assert_eq!(Parameters::read(&more["e000003-01.png"]).unwrap().prompt, "a blue cup");
    assert_eq!(more["e000001-01.png"], files["e000001-01.png"]);
}

#[test]
fn a_killed_training_draws_what_is_left() {
    let whole = with(SAMPLES);
    whole.replace("seed = 42\n\n", "seed = 42\nsave_state_every_n_steps = 2\n\n");
    whole.run().exits(0);
    let project = with(SAMPLES);
    project.replace("seed = 42\n\n", "seed = 42\nsave_state_every_n_steps = 2\n\n");
    let drawing = |step: u64| {
        move |event: &Value| {
            let note = event["note"].as_str().unwrap_or_default();
            event["done"] == step && note.starts_with("picture 2 of 2")
        }
    };
    assert!(signal_when(&project, "KILL", drawing(3)), "the run was over");
    assert!(signal_when(&project, "INT", drawing(6)), "the run was over");
    let last = project.run().exits(0);
    assert_eq!(drawn(&project, "finetune"), drawn(&whole, "finetune"));
    assert_eq!(model(&project), model(&whole));
    // What was drawn is not drawn again.
    let published = last.published();
    let again = |path: &&String| path.contains("e000000") || path.contains("s00000003");
    assert_eq!(published.iter().find(again), None);
    let notes = last.events().filter(|event| {
        let note = event["note"].as_str().unwrap_or_default();
        note.starts_with("picture") && event["done"].as_u64() < Some(6)
    });
    assert_eq!(notes.count(), 0);
}

#[test]
fn pictures_of_the_last_step_belong_to_the_training() {
    let lines = SAMPLES.replace("every_n_steps = 3\nat_first = true\n", "");
    let lines = lines.replace("every_n_epochs = 1", "every_n_epochs = 2");
    let project = with(&lines.replace("steps = 2", "steps = 200"));
    let drawing = |event: &Value| {
        event["note"].as_str().is_some_and(|note| note.starts_with("picture 1 of 2, step 3 "))
    };
    assert!(signal_when(&project, "INT", drawing), "the run was over");
    assert_eq!(names(&drawn(&project, "finetune")), Vec::<&str>::new());
    assert!(
        !project.path("out/small.safetensors").exists() || !project.plan().contains("finetune 0")
    );
    project.run().exits(0);
    assert_eq!(names(&drawn(&project, "finetune")), ["e000002-01.png", "e000002-02.png"]);
    project.is_idle();
}

#[test]
fn a_file_of_prompts_is_read_and_its_mistakes_are_told() {
    let lines = "
[stages.sample]
prompts_file = 'cups.txt'
width = 32
height = 32
steps = 1
compare = false
";
    let project = with(lines);
    let missing = project.call(&["check", "project.toml"]).exits(3);
    assert!(missing.stderr.contains("cups.txt"), "{}", missing.stderr);
    project.file("cups.txt", "# cups\na red cup --w wide\n\nb --q 1\n");
    let broken = project.call(&["check", "project.toml"]).exits(2);
    insta::assert_snapshot!("broken_prompts", broken.seen());
    project.file("cups.txt", "# cups\na red cup --w 48\n\na blue cup --d 3\n");
    project.run().exits(0);
    let files = drawn(&project, "sample");
    assert_eq!(names(&files), ["001-42-a-red-cup.png", "002-3-a-blue-cup.png"]);
    project.is_idle();
}
