//! The runs of a project: the list, one in full, and what two of them made differently.

use serde_json::Value;

use crate::Project;

fn json(project: &Project, args: &[&str]) -> Value {
    let called = project.call(&[args, &["--json"]].concat()).exits(0);
    serde_json::from_str(&called.stdout).unwrap()
}

#[test]
fn runs_are_listed_and_told() {
    let project = Project::fresh();
    let none = project.call(&["log", "project.toml"]).exits(0);
    assert!(none.stdout.contains("nothing ran yet"), "{}", none.stdout);
    assert!(!project.path("out").exists(), "to look makes no folder");
    project.run().exits(0);
    project.run().exits(0);
    project.file("words/coffee.caption", "a cup of coffee\n");
    project.call(&["run", "project.toml", "--set", "stages.finetune.seed=7"]).exits(0);

    let list = json(&project, &["log", "project.toml"]);
    let outcomes = list["runs"].as_array().unwrap().iter().map(|run| &run["outcome"]);
    assert_eq!(outcomes.collect::<Vec<_>>(), ["done", "idle", "done"], "{list}");
    let told = project.call(&["log", "project.toml"]).exits(0).stdout;
    let lines = told.lines().collect::<Vec<_>>();
    let last = "merge 1 of 5 · cache 1 of 10 · finetune 1";
    assert!(lines[0].contains(last) && lines[0].contains("kept 1"), "{told}");
    assert!(lines[1].contains("nothing to do") && lines[1].contains("reused 31"), "{told}");
    let few = project.call(&["log", "project.toml", "-n", "1"]).exits(0).stdout;
    assert!(few.contains("and 2 older runs"), "{few}");

    let show = project.call(&["log", "show", "project.toml"]).exits(0).stdout;
    for words in ["--set", "stages.finetune.seed=7", "project.toml (digest", "ran 1 · reused 4"] {
        assert!(show.contains(words), "{words} in {show}");
    }
    // By number, by id, by the beginning of an id that is the only one.
    let id = list["runs"][2]["id"].as_str().unwrap();
    for name in ["3", id] {
        let show = json(&project, &["log", "show", "project.toml", name]);
        assert_eq!(show["run"]["id"], id);
        assert_eq!(show["run"]["stages"][0]["reasons"][0]["part"], "item");
    }
    let several = project.call(&["log", "show", "project.toml", &id[..4]]).exits(2);
    assert!(several.stderr.contains("3 runs begin so"), "{}", several.stderr);
    let unknown = project.call(&["log", "show", "project.toml", "9"]).exits(2);
    assert!(unknown.stderr.contains("there are 3 runs"), "{}", unknown.stderr);
}

#[test]
fn two_runs_are_compared_down_to_the_part_of_a_key() {
    let project = Project::finished();
    let only = project.call(&["log", "diff", "project.toml"]).exits(2);
    assert!(
        only.stderr.contains("no run `2`") && only.stderr.contains("1 run,"),
        "{}",
        only.stderr
    );
    project.run().exits(0);
    let same = json(&project, &["log", "diff", "project.toml"]);
    assert!(same["stages"].as_array().unwrap().iter().all(|stage| stage["items"].is_null()));
    let same = project.call(&["log", "diff", "project.toml"]).exits(0).stdout;
    assert!(same.contains("the manifest says the same"), "{same}");
    assert!(same.contains("after both runs every item has the same key"), "{same}");

    project.file("words/coffee.caption", "a cup of coffee\n");
    project.replace("learning_rate = 1e-4", "learning_rate = 2e-4");
    project.run().exits(0);
    // What is put back is not made again, and its keys are those of the first run all the same.
    project.remove("words/coffee.caption");
    project.replace("learning_rate = 2e-4", "learning_rate = 1e-4");
    project.run().exits(0);
    let back = json(&project, &["log", "diff", "project.toml", "4", "1"]);
    assert!(back["stages"].as_array().unwrap().iter().all(|stage| stage["items"].is_null()));

    let diff = json(&project, &["log", "diff", "project.toml", "3", "2"]);
    assert_eq!(diff["manifest"]["settings"][0]["path"], "stages.finetune.learning_rate");
    let stages = diff["stages"].as_array().unwrap();
    let changed: Vec<_> = stages.iter().filter(|stage| !stage["items"].is_null()).collect();
    let names = changed.iter().map(|stage| stage["stage"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["merge", "cache", "finetune"], "{diff}");
    let first = &changed[0]["first"];
    assert_eq!(
        (&first["item"], &first["differences"][0]["part"]),
        (&"coffee.webp".into(), &"caption".into())
    );
    let training = &changed[2]["first"];
    assert_eq!(training["differences"][0]["part"], "learning_rate");
    assert_eq!(training["differences"][0]["new"], 2e-4);
    assert_eq!(training["files"]["changed"], 1, "{training}");
    assert_eq!(training["files"]["first"][0]["item"], "coffee.webp");
    let told = project.call(&["log", "diff", "project.toml", "3", "2"]).exits(0).stdout;
    for words in [
        "~ stages.finetune.learning_rate 0.0001 → 0.0002",
        "the first item that differs: coffee.webp",
        "learning_rate 1e-4 → 2e-4 (stages.finetune.learning_rate)",
        "~ coffee.webp",
    ] {
        assert!(told.contains(words), "{words} in\n{told}");
    }
}

/// Whatever another process holds or is in the middle of, who looks does not wait and changes nothing.
#[test]
fn looking_needs_no_lock_and_writes_nothing() {
    let project = Project::finished();
    project.run().exits(0);
    let held: Vec<_> = walkdir::WalkDir::new(project.path("out/store/v1/locks"))
        .into_iter()
        .filter_map(|entry| std::fs::File::open(entry.unwrap().path()).ok())
        .filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))
        .collect();
    assert!(held.len() >= 6);
    held.iter().for_each(|file| file.lock().unwrap());
    let before = crate::why::files(&project);
    let model = "out/small.safetensors";
    for call in [
        &["log", "project.toml"][..],
        &["log", "show", "project.toml"],
        &["log", "diff", "project.toml"],
        &["why", "project.toml", "finetune"],
        &["inspect", model],
        &["plan", "project.toml"],
    ] {
        project.call(call).exits(0);
    }
    assert_eq!(crate::why::files(&project), before);
}

/// A run that broke off within a line is told as one without an end.
#[test]
fn a_record_that_breaks_off_is_read() {
    let project = Project::finished();
    let runs = project.path("out/store/v1/runs");
    let record = std::fs::read_dir(runs).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&record).unwrap();
    std::fs::write(&record, &bytes[..bytes.len() / 2]).unwrap();
    let list = json(&project, &["log", "project.toml"]);
    assert_eq!(list["runs"][0]["outcome"], "open", "{list}");
    project.call(&["log", "show", "project.toml"]).exits(0);
}
