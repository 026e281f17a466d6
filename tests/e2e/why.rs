//! Why something runs: against the nearest key that is stored, at the line of the manifest, with the samples
//! that came, went or changed.

use serde_json::Value;

use crate::Project;

fn why(project: &Project, args: &[&str]) -> String {
    project.call(&[&["why", "project.toml"], args].concat()).exits(0).stdout
}

fn why_json(project: &Project, args: &[&str]) -> Value {
    serde_json::from_str(&why(project, &[args, &["--json"]].concat())).unwrap()
}

/// Three trainings are stored; the nearest to what the manifest says now is not the last one.
#[test]
fn the_nearest_training_is_compared_with_and_not_the_last_one() {
    let project = Project::finished();
    project.replace("max_train_epochs = 2", "max_train_epochs = 1");
    project.replace("learning_rate = 1e-4", "learning_rate = 2e-4");
    project.replace("seed = 42", "seed = 7");
    project.run().exits(0);
    // Of the first one only the rate differs; of the last one three values do.
    project.replace("max_train_epochs = 1", "max_train_epochs = 2");
    project.replace("learning_rate = 2e-4", "learning_rate = 3e-4");
    project.replace("seed = 7", "seed = 42");
    let told = why(&project, &["finetune"]);
    assert!(
        told.contains("learning_rate = 3e-4") && told.contains("was 1e-4 in that run"),
        "{told}"
    );
    assert!(told.contains("1 part differs; 3 do since the last run"), "{told}");
    let json = why_json(&project, &["finetune"]);
    let (account, against) = (&json["items"][0], &json["items"][0]["against"]);
    assert_eq!((&against["own"], &against["parts"]), (&false.into(), &1.into()), "{json}");
    assert_eq!(against["since_last"], 3);
    assert_eq!(account["differences"].as_array().unwrap().len(), 1);
    assert_eq!(account["differences"][0]["part"], "learning_rate");
    assert_eq!(account["differences"][0]["old"], 1e-4);
    // As near as another, the last one is compared with.
    project.replace("learning_rate = 3e-4", "learning_rate = 2e-4");
    project.replace("seed = 42", "seed = 7");
    let json = why_json(&project, &["finetune"]);
    assert_eq!(json["items"][0]["against"]["own"], true, "{json}");
    assert_eq!(json["items"][0]["differences"][0]["part"], "max_train_epochs");
}

#[test]
fn samples_that_came_went_and_changed_are_listed() {
    let project = Project::finished();
    project.photograph("horse.png", "pictures/horse.png");
    project.remove("pictures/clock.webp");
    project.file("words/coffee.caption", "a cup of coffee\n");
    // Before the stages between have run, what is known already.
    let told = why(&project, &["finetune"]);
    for line in [
        "samples of cache: 1 new, 1 gone, 1 changed since the last run",
        "+ horse.png, not made yet",
        "- clock.webp",
        "~ coffee.webp (text), not made yet",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    project.call(&["run", "project.toml", "--until", "cache"]).exits(0);
    let json = why_json(&project, &["finetune"]);
    let list = &json["items"][0]["files"];
    assert_eq!([&list["added"], &list["removed"], &list["changed"]], [1, 1, 1], "{list}");
    let first = list["first"].as_array().unwrap();
    let told = first.iter().map(|one| format!("{} {}", one["sign"], one["item"]));
    let told: Vec<_> = told.map(|text| text.replace('"', "")).collect();
    assert_eq!(told, ["added horse.png", "removed clock.webp", "changed coffee.webp"]);
    assert_eq!(first[2]["parts"], serde_json::json!(["text"]));
    // And of a stage its items.
    let json = why_json(&project, &["finetune"]);
    assert!(json["files"].is_null(), "{json}");
    project.photograph("horse.png", "pictures/rocket2.png");
    project.photograph("camera.jpg", "pictures/brick.webp");
    project.photograph("china.jpg", "pictures/flower.webp");
    let json = why_json(&project, &["label"]);
    assert_eq!(json["files"]["changed"], 2, "{json}");
    let told = why(&project, &["label"]);
    assert!(told.contains("pictures/brick.webp, pictures/flower.webp (picture) is not"), "{told}");
}

/// Readers leave the disk as it is.
#[test]
fn why_writes_nothing() {
    let project = Project::finished();
    project.file("words/coffee.caption", "a cup of coffee\n");
    let before = files(&project);
    why(&project, &["finetune"]);
    why(&project, &["cache", "coffee"]);
    assert_eq!(files(&project), before);
}

pub fn files(project: &Project) -> Vec<(String, u64)> {
    let all = walkdir::WalkDir::new(project.path("")).sort_by_file_name();
    let size = |entry: walkdir::DirEntry| {
        let size = if entry.file_type().is_file() { entry.metadata().unwrap().len() } else { 0 };
        (entry.path().display().to_string(), size)
    };
    all.into_iter().map(|entry| size(entry.unwrap())).collect()
}
