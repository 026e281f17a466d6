//! Several `[[dataset]]` whose pictures or sidecars meet.

use crate::{Project, project::PICTURES};

/// What a second dataset says besides its folder.
const SIZES: &str = "min_bucket_reso = 32\nbucket_reso_steps = 16\n";

/// A project with one more dataset.
fn with(dataset: &str) -> Project {
    let project = Project::fresh();
    let more = format!("[[dataset]]\n{dataset}\n{SIZES}\n[stages.label]");
    project.replace("[stages.label]", &more);
    project
}

#[test]
fn different_pictures_of_two_datasets_do_not_share_a_sidecar() {
    // The folder is the same one, however it is written.
    for sidecars in ["words", "./words", "more/../words"] {
        let project =
            with(&format!("image_dir = \"more\"\nsidecars = \"{sidecars}\"\nresolution = 64"));
        project.photograph("horse.png", "more/coffee.png");
        project.replace("[stages.merge]\n", "[stages.merge]\nfull_path = true\n");
        for command in ["check", "plan", "run"] {
            let told = project.call(&[command, "project.toml"]).exits(2);
            assert!(told.stderr.contains("fluxpipe::dataset::shared_stem"), "{}", told.stderr);
            if command == "check" && sidecars == "words" {
                insta::assert_snapshot!("two_datasets_one_sidecar", told.stderr);
            }
        }
        assert!(!project.path("words").exists());
        let dataset = format!("\"more\"\nsidecars = \"{sidecars}\"");
        project.replace(&dataset, "\"more\"\nsidecars = \"other\"");
        project.call(&["check", "project.toml"]).exits(0);
    }
}

#[test]
fn one_folder_at_two_resolutions_has_one_sidecar_for_each_picture() {
    let project = with("image_dir = \"./pictures\"\nsidecars = \"words\"\nresolution = 48");
    let run = project.run().exits(0);
    let published = run.events().filter(|event| {
        event["event"] == "published"
            && event["path"].as_str().is_some_and(|path| path.ends_with(".caption"))
    });
    assert_eq!(published.count(), PICTURES.len(), "{}", run.stdout);
    project.is_idle();
    let metadata: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&project.read("out/meta_data.json")).unwrap();
    assert_eq!(metadata.len(), PICTURES.len());
    // An edit by hand counts for both.
    project.file("words/clock.caption", "a clock in motion\n");
    let run = project.run().exits(0);
    let kept = run.events().filter(|event| event["event"] == "kept").count();
    assert_eq!(kept, 2, "{}", run.stdout);
    assert_eq!(project.read("words/clock.caption"), "a clock in motion\n");
    project.is_idle();
}

#[test]
fn a_folder_called_like_the_names_of_another_dataset_loses_no_picture() {
    let project = with("image_dir = \"more\"\nsidecars = \"others\"\nresolution = 64");
    project.replace("sidecars = \"words\"\n", "sidecars = \"words\"\nrecursive = true\n");
    project.replace("[stages.merge]\n", "[stages.merge]\nfull_path = true\n");
    project.photograph("horse.png", "pictures/1/horse.png");
    project.photograph("chelsea.png", "more/horse.png");
    let made = project.run().exits(0).made();
    for name in ["1/horse.png", "1//horse.png"] {
        for stage in ["merge", "cache/latent", "cache/text"] {
            let item = format!("{stage} {name}");
            let item =
                if stage == "merge" { format!("merge/training caption {name}") } else { item };
            assert!(made.contains(&item), "{item} of {made:?}");
        }
    }
    project.is_idle();
    // What is edited is trained.
    project.file("words/1/horse.caption", "a horse in a folder called one\n");
    let made = project.run().exits(0).made();
    assert!(made.iter().any(|item| item.starts_with("cache/text 1/horse.png")), "{made:?}");
    assert!(made.iter().any(|item| item.starts_with("finetune")), "{made:?}");
}

#[test]
fn a_folder_and_one_within_it_may_both_be_datasets() {
    let project = with("image_dir = \"pictures/sub\"\nresolution = 64");
    project.replace("sidecars = \"words\"\n", "recursive = true\n");
    project.photograph("horse.png", "pictures/sub/horse.png");
    project.call(&["check", "project.toml"]).exits(0);
    project.run().exits(0);
    project.is_idle();
    assert!(!project.read("pictures/sub/horse.caption").is_empty());
}

#[test]
fn where_two_datasets_lead_to_different_words_those_of_the_first_are_shown() {
    let turned = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pictures/turned.jpg");
    let shown = |project: &Project| {
        project.file("pictures/turned.jpg", std::fs::read(turned).unwrap());
        project.run().exits(0);
        project.is_idle();
        let metadata: serde_json::Value =
            serde_json::from_str(&project.read("out/meta_data.json")).unwrap();
        let words =
            ["caption", "txt"].map(|ending| project.read(&format!("words/turned.{ending}")));
        (words, metadata["turned"].clone())
    };
    let upright = shown(&Project::fresh());
    let stored = Project::fresh();
    stored.replace("resolution = 64", "resolution = 64\nexif_orientation = false");
    assert_ne!(upright, shown(&stored));
    let both = with(
        "image_dir = \"pictures\"\nsidecars = \"words\"\nresolution = 48\nexif_orientation = false",
    );
    assert_eq!(shown(&both), upright);
}

#[test]
fn a_sidecar_that_is_not_utf_8_is_named_by_whatever_stage_reads_it_and_leaves_its_picture_out() {
    let latin = b"a caf\xe9".as_slice();
    let label = Project::fresh();
    label.file("words/coffee.caption", latin);
    let tag = Project::fresh();
    tag.file("words/coffee.txt", latin);
    let append = Project::fresh();
    append.file("words/coffee.txt", latin);
    append.replace("thresh = 0.5", "thresh = 0.5\nexisting = \"append\"");
    let merge = Project::fresh();
    merge.file("words/coffee.caption", latin);
    merge.replace("[stages.label]\nnum_beams = 2\nmax_length = 12\n", "");
    for (project, name) in [
        (label, "coffee.caption"),
        (tag, "coffee.txt"),
        (append, "coffee.txt"),
        (merge, "coffee.caption"),
    ] {
        let run = project.call(&["run", "project.toml"]).exits(0);
        for part in [&format!("words/{name} is not UTF-8 text"), "save it as UTF-8"] {
            assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
        }
    }
}
