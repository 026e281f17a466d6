//! Where a file comes from: any file that a run wrote leads back to its item, keys, run, manifest and networks.

use std::fs;

use serde_json::Value;

use crate::{Project, project::networks};

fn of(project: &Project, file: &str) -> Value {
    let told = project.call(&["inspect", file, "--json"]).exits(0);
    serde_json::from_str::<Value>(&told.stdout).unwrap()["provenance"].clone()
}

fn models(from: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for source in from.as_array().unwrap() {
        let models = source["models"].as_array().unwrap().iter();
        names.extend(models.map(|model| model["name"].as_str().unwrap().to_owned()));
    }
    names.sort();
    names.dedup();
    names
}

#[test]
fn every_file_of_a_run_leads_back_to_it() {
    let project = Project::fresh();
    project.replace(
        "seed = 42\n",
        "seed = 42\n\n[stages.sample]\nprompts = [\"a cup\"]\nwidth = 64\nheight = 64\nsteps = 1\n",
    );
    let run = project.run().exits(0);
    let id = run.finished()["run"].clone();
    let digest = fluxpipe::base::Digest::of(project.read("project.toml").as_bytes()).hex();
    let published = run.published();
    assert!(published.len() > 13, "{published:?}");
    for file in &published {
        let found = of(&project, file);
        assert!(!found.is_null(), "nothing is known of {file}");
        assert_eq!(found["run"], id, "{file}");
        assert_eq!(found["request"]["digest"], digest, "{file}");
        assert_ne!(found["known"], "changed", "{file}: {found}");
    }
    // What each is.
    let sidecar = of(&project, "words/coffee.caption");
    assert_eq!((&sidecar["stage"], &sidecar["item"]), (&"label".into(), &"coffee.webp".into()));
    assert_eq!(sidecar["current"], true);
    let tags = of(&project, "words/coffee.txt");
    assert_eq!((&tags["stage"], &tags["item"]), (&"tag".into(), &"coffee.webp".into()));
    assert_eq!(models(&tags["from"]), ["tagger"], "{tags}");
    let metadata = of(&project, "out/meta_data.json");
    assert_eq!((&metadata["stage"], &metadata["items"]), (&"merge".into(), &5.into()));
    assert_eq!(models(&metadata["from"]), ["blip", "tag_list", "tagger"], "{metadata}");

    // A checkpoint, wherever it lies: with its own network, and all that its samples were made with.
    let model = of(&project, "out/small.safetensors");
    assert_eq!((&model["kind"], &model["item"]), (&"finetune".into(), &"model".into()));
    assert_eq!(
        models(&model["from"]),
        ["ae", "blip", "clip_l", "t5xxl", "tag_list", "tagger"],
        "{model}"
    );
    let flux =
        model["parts"].as_array().unwrap().iter().find(|part| part["name"] == "flux").unwrap();
    let bytes = fs::read(networks().join("flux1-dev.safetensors")).unwrap();
    assert_eq!(flux["value"], fluxpipe::base::Digest::of(&bytes).hex());
    project.file(
        "elsewhere/copy.safetensors",
        fs::read(project.path("out/small.safetensors")).unwrap(),
    );
    assert_eq!(of(&project, "elsewhere/copy.safetensors")["key"], model["key"]);
    let text = project.call(&["inspect", "out/small.safetensors"]).exits(0).stdout;
    for words in ["made by    stage finetune, item model", "flux: ", "cache (latent): ", "network"]
    {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    // Far away from any store, where the project is named.
    let far = tempfile::tempdir().unwrap();
    let copy = far.path().join("copy.safetensors");
    fs::copy(project.path("out/small.safetensors"), &copy).unwrap();
    let copy = copy.to_str().unwrap();
    assert!(of(&project, copy).is_null());
    let told = project.call(&["inspect", copy, "--project", "project.toml"]).exits(0).stdout;
    assert!(told.contains("item model"), "{told}");

    // One that another program wrote anew is known by its header.
    let mut bytes = fs::read(project.path("out/small.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    project.file("elsewhere/other.safetensors", bytes);
    let found = of(&project, "elsewhere/other.safetensors");
    assert_eq!((&found["known"], &found["key"]), (&"header".into(), &model["key"]));

    // An object of the store itself.
    let objects = walkdir::WalkDir::new(project.path("out/store/v1/objects")).into_iter().flatten();
    for object in objects.filter(|entry| entry.file_type().is_file()) {
        let found = of(&project, object.path().to_str().unwrap());
        assert!(!found["item"].is_null(), "{}", object.path().display());
    }
}

#[test]
fn what_somebody_changed_is_not_told_as_made() {
    let project = Project::finished();
    let key = of(&project, "words/coffee.caption")["key"].clone();
    project.file("words/coffee.caption", "my words\n");
    let found = of(&project, "words/coffee.caption");
    assert_eq!(found["known"], "changed", "{found}");
    assert_eq!((&found["stage"], &found["item"]), (&"label".into(), &"coffee.webp".into()));
    let told = project.call(&["inspect", "words/coffee.caption"]).exits(0).stdout;
    assert!(told.contains("somebody changed it since"), "{told}");
    // A text of a human beside a picture, of which fluxpipe never wrote any.
    project.file("words/new.caption", "my words\n");
    project.call(&["inspect", "words/new.caption"]).exits(3);
    // Nor where a stage has read it since.
    project.remove("words/new.caption");
    project.file("words/rocket.caption", "quite other words\n");
    project.run().exits(0);
    assert_eq!(of(&project, "words/rocket.caption")["known"], "changed");
    project.remove("words/rocket.caption");
    // What is not current any more is said to be that.
    project.file("words/coffee.caption", "");
    project.remove("words/coffee.caption");
    project.replace("max_length = 12", "max_length = 11");
    let model = fs::read(project.path("out/small.safetensors")).unwrap();
    project.replace("seed = 42", "seed = 43");
    project.run().exits(0);
    project.file("old.safetensors", model);
    let old = of(&project, "old.safetensors");
    assert_eq!(old["current"], false, "{old}");
    assert_ne!(of(&project, "words/coffee.caption")["key"], key);
    assert!(of(&project, "pictures/coffee.webp").is_null(), "a picture of the user's is no output");
}
