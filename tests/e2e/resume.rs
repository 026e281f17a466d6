//! A training that was killed, stopped or made longer goes on where it was, and what comes out is what an
//! uninterrupted run makes, bit for bit.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::Command,
    thread,
    time::Duration,
};

use fluxpipe::base::Digest;
use serde_json::Value;

use crate::{Project, Run};

/// A project whose pictures are encoded, with more lines for the training; a state after each step.
fn encoded(lines: &str) -> Project {
    let project = Project::fresh();
    project.replace("seed = 42", &format!("seed = 42\nsave_state_every_n_steps = 1\n{lines}"));
    project.call(&["run", "project.toml", "--until", "cache"]).exits(0);
    project
}

/// Runs until the training has taken so many steps, and then sends a signal; `None` where the run was
/// over before.
fn signal_after(project: &Project, steps: u64, signal: &str) -> Option<Run> {
    let log = project.path("events.jsonl");
    let mut command = project.command(&["run", "project.toml", "--json"]);
    let mut run = command.stdout(File::create(&log).unwrap()).spawn().unwrap();
    let taken = |text: &str| {
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["event"] == "step")
            .filter_map(|event| event["done"].as_u64())
            .max()
    };
    while run.try_wait().unwrap().is_none() {
        if taken(&fs::read_to_string(&log).unwrap()) >= Some(steps) {
            let sent = format!("kill -{signal} {}", run.id());
            Command::new("sh").args(["-c", &sent]).status().unwrap();
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let status = run.wait().unwrap();
    let stdout = fs::read_to_string(&log).unwrap();
    (!status.success()).then(|| Run { code: status.code(), stdout, stderr: String::new() })
}

/// From which step a run went on.
fn resumed(run: &Run) -> Option<u64> {
    run.events().find(|event| event["event"] == "resumed")?["done"].as_u64()
}

/// The same of what a killed run printed, whose last line may be torn.
fn resumed_in(events: &str) -> Option<u64> {
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == "resumed").find_map(|event| event["done"].as_u64())
}

/// The models and metrics in the output folder.
fn models(project: &Project) -> BTreeMap<String, Digest> {
    let mut outputs = project.outputs();
    outputs.retain(|path, _| path.starts_with("out/small"));
    outputs
}

fn note(project: &Project) -> Option<String> {
    let plan = project.call(&["plan", "project.toml", "--json"]).exits(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let stages = plan["stages"].as_array().unwrap();
    let notes = stages.last().unwrap()["notes"].as_array().unwrap();
    let state = notes.iter().find(|note| note["name"] == "state")?;
    Some(state["text"].as_str().unwrap().to_owned())
}

#[test]
fn a_killed_training_goes_on_to_the_same_bits() {
    for lines in [
        "gradient_accumulation_steps = 2",
        "weights = \"f32\"\nsave_precision = \"f32\"\noptimizer_type = \"adamw\"\nema_decay = 0.9",
        "save_every_n_steps = 3\nblocks_to_swap = 1",
    ] {
        let whole = encoded(lines);
        if lines.contains("accumulation") {
            whole.replace("resolution = 64", "resolution = 64\nvalidation_split = 0.3");
        }
        whole.run().exits(0);
        let expected = models(&whole);
        assert!(expected.len() >= 3, "{expected:?}");
        let project = encoded(lines);
        if lines.contains("accumulation") {
            project.replace("resolution = 64", "resolution = 64\nvalidation_split = 0.3");
        }
        let (mut kills, mut went_on) = (0, false);
        for step in [1, 2, 3, 4, 5, 7] {
            let Some(killed) = signal_after(&project, step, "KILL") else { continue };
            kills += 1;
            went_on |= resumed_in(&killed.stdout) >= Some(1);
            assert_eq!(killed.code, None);
            // A step is told before its state is written.
            if step > 1 {
                let begun = note(&project).unwrap_or_default();
                assert!(begun.starts_with("goes on from step "), "{begun}");
            }
        }
        assert!(kills >= 2, "only {kills} kills");
        let last = project.run().exits(0);
        // One of the runs that were to be killed may have been the one that ended it.
        assert!(went_on || resumed(&last) >= Some(1));
        assert_eq!(models(&project), expected, "{lines}");
        project.is_idle();
    }
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let project = encoded("");
    let stopped = signal_after(&project, 3, "INT").expect("the run is not over after 3 steps");
    assert_eq!(stopped.code, Some(130));
    let saved = stopped.events().filter(|event| event["event"] == "state_saved").last().unwrap();
    let done = saved["done"].as_u64().unwrap();
    assert!((3..10).contains(&done));
    let goes_on = format!("goes on from step {done} of 10");
    assert_eq!(note(&project), Some(goes_on.clone()));
    let why = project.call(&["why", "project.toml", "finetune"]).exits(0);
    assert!(why.stdout.contains(&goes_on), "{}", why.stdout);
    let rest = project.call(&["run", "project.toml"]).exits(0);
    assert!(rest.stderr.contains(&goes_on), "{}", rest.stderr);
    let whole = encoded("");
    whole.run().exits(0);
    assert_eq!(models(&project), models(&whole));
}

#[test]
fn a_checkpoint_is_seen_as_soon_as_it_is_saved_and_replaced_ones_go() {
    let project = encoded("save_every_n_steps = 2\nsave_last_n_steps = 2");
    let run = project.run().exits(0);
    let events = run.events().collect::<Vec<_>>();
    let place = |test: &dyn Fn(&Value) -> bool| events.iter().position(test).unwrap();
    let first = place(&|event| {
        event["path"].as_str().is_some_and(|path| path.ends_with("small-step00000002.safetensors"))
    });
    let last_step = place(&|event| event["event"] == "step" && event["done"] == 10);
    assert!(first < last_step, "it is there before the training is over");
    let names = models(&project).into_keys().collect::<Vec<_>>();
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(
        names,
        [
            "out/small-000001.safetensors",
            "out/small-losses.jsonl",
            "out/small-metrics.jsonl",
            "out/small-step00000008.safetensors",
            "out/small-step00000010.safetensors",
            "out/small.safetensors",
        ]
    );
    project.is_idle();
}

#[test]
fn a_longer_training_goes_on_and_is_what_a_long_one_makes() {
    let project = encoded("ema_decay = 0.5");
    project.run().exits(0);
    project.replace("max_train_epochs = 2", "max_train_epochs = 3");
    assert_eq!(note(&project), Some("goes on from step 10 of 15".to_owned()));
    let longer = project.run().exits(0);
    assert_eq!(resumed(&longer), Some(10));
    let steps = longer.events().filter(|event| event["event"] == "step");
    let first = steps.filter_map(|event| event["done"].as_u64()).find(|done| *done > 10);
    assert_eq!(first, Some(11), "nothing is trained again");
    let long = encoded("ema_decay = 0.5");
    long.replace("max_train_epochs = 2", "max_train_epochs = 3");
    long.run().exits(0);
    assert_eq!(models(&project), models(&long));
    project.is_idle();
    // Another name in the header costs no step.
    project.replace("seed = 42", "seed = 42\nmetadata_title = \"Cats\"");
    project.replace("save_every_n_epochs = 1\n", "");
    let renamed = project.run().exits(0);
    assert_eq!(resumed(&renamed), Some(15));
    let bytes = fs::read(project.path("out/small.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&bytes[..4096]).contains("Cats"));
    // Forced, it starts over.
    let forced = project.call(&["run", "project.toml", "--json", "--force", "finetune"]).exits(0);
    assert_eq!(resumed(&forced), None);
}

#[test]
fn where_the_length_decides_over_the_first_step_a_longer_training_starts_over() {
    let project = encoded("lr_scheduler = \"cosine\"");
    project.run().exits(0);
    project.replace("max_train_epochs = 2", "max_train_epochs = 3");
    let because = "with cosine, 3 epochs have other learning rates from the first step on; the state \
                   after step 10 will be thrown away";
    assert_eq!(note(&project), Some(format!("starts over: {because}")));
    let longer = project.run().exits(0);
    assert_eq!(resumed(&longer), None);
    let warning = longer.events().find(|event| event["event"] == "warning").unwrap();
    assert_eq!(warning["message"], format!("the training starts over: {because}"));
    let long = encoded("lr_scheduler = \"cosine\"");
    long.replace("max_train_epochs = 2", "max_train_epochs = 3");
    long.run().exits(0);
    assert_eq!(models(&project), models(&long));
}

#[test]
fn a_shorter_training_says_that_the_state_is_thrown_away() {
    let project = encoded("");
    project.run().exits(0);
    project.replace("max_train_epochs = 2", "max_train_epochs = 1");
    let because = "starts over: it has 5 steps now, and the state is a later one; the state after step \
                   10 will be thrown away";
    assert_eq!(note(&project).as_deref(), Some(because));
    let run = project.call(&["run", "project.toml"]).exits(0);
    assert!(run.stdout.contains(&format!("the training {because}\n")), "{}", run.stdout);
}

#[test]
fn a_checkpoint_that_somebody_removed_does_not_block_a_training() {
    let project = encoded("");
    project.run().exits(0);
    let states = project.path("out/store/v1/states");
    let folder = fs::read_dir(states).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(folder.join("checkpoints")).unwrap().map(|file| file.unwrap().path());
    let of_step_5 = |path: &std::path::PathBuf| path.to_string_lossy().contains("/00000005-");
    let removed = files.filter(of_step_5).map(fs::remove_file).collect::<Vec<_>>();
    assert_eq!(removed.len(), 1);
    project.replace("max_train_epochs = 2", "max_train_epochs = 3");
    let because = "the checkpoint of step 5 is gone, or was not kept";
    let told = note(&project).unwrap();
    assert!(told.starts_with(&format!("starts over: {because}")), "{told}");
    // Where the output does not need it, the training goes on.
    project.replace("save_every_n_epochs = 1\n", "");
    assert_eq!(note(&project), Some("goes on from step 10 of 15".to_owned()));
    project.replace("seed = 42", "seed = 42\nsave_every_n_epochs = 1");
    let run = project.run().exits(0);
    assert_eq!(resumed(&run), None);
    let long = encoded("");
    long.replace("max_train_epochs = 2", "max_train_epochs = 3");
    long.run().exits(0);
    assert_eq!(models(&project), models(&long));
}

#[test]
fn a_damaged_state_is_told_and_not_used() {
    let project = encoded("");
    signal_after(&project, 3, "KILL").expect("the run is not over after 3 steps");
    let states = project.path("out/store/v1/states");
    let folder = fs::read_dir(states).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let weights =
        |path: &std::path::PathBuf| path.to_string_lossy().ends_with("weights.safetensors");
    for path in files.filter(weights).collect::<Vec<_>>() {
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let run = project.run().exits(0);
    assert_eq!(resumed(&run), None);
    let warning = run.events().find(|event| event["event"] == "warning").unwrap();
    assert!(warning["message"].as_str().unwrap().ends_with("is damaged"), "{warning}");
    let whole = encoded("");
    whole.run().exits(0);
    assert_eq!(models(&project), models(&whole));
}

#[test]
fn without_keep_state_nothing_stays_but_the_models() {
    let project = encoded("keep_state = false");
    project.run().exits(0);
    let states = project.path("out/store/v1/states");
    assert_eq!(fs::read_dir(states).unwrap().count(), 0);
    project.is_idle();
}
