//! A project whose captions and tags people wrote: no `label`, no `tag`, sidecars beside the pictures.

use crate::{Project, project::PICTURES};

const MANIFEST: &str = r#"
[project]
name = "small"
output = "out"
device = "cpu"

[models]
ae = "MODELS/ae.safetensors"
clip_l = "MODELS/clip_l.safetensors"
t5xxl = "MODELS/t5xxl.safetensors"
flux = "MODELS/flux1-dev.safetensors"

[[dataset]]
image_dir = "pictures"
resolution = 64
min_bucket_reso = 32
bucket_reso_steps = 16

[stages.merge]

[stages.cache]
t5xxl_max_token_length = 32

[stages.finetune]
learning_rate = 1e-4
max_train_epochs = 1
"#;

fn project() -> Project {
    let project = Project::with_manifest(MANIFEST);
    for picture in PICTURES {
        project.photograph(picture, &format!("pictures/{picture}"));
        let stem = picture.split('.').next().unwrap();
        project.file(&format!("pictures/{stem}.caption"), format!("a photograph of a {stem}\n"));
    }
    project.file("pictures/coffee.txt", "cup, table, still life\n");
    project
}

#[test]
fn texts_of_people_are_trained_on_and_an_edit_reruns_one_text() {
    let project = project();
    let run = project.does("merge 5 of 5, cache 10 of 10, finetune 1 of 1");
    let metadata: serde_json::Value =
        serde_json::from_str(&project.read("out/meta_data.json")).unwrap();
    assert_eq!(metadata["coffee"]["caption"], "a photograph of a coffee");
    assert_eq!(metadata["coffee"]["tags"], "cup, table, still life");
    assert_eq!(metadata["clock"].get("tags"), None);
    assert!(project.path("out/small.safetensors").exists(), "{}", run.stdout);

    project.file("pictures/clock.caption", "a clock in motion\n");
    let run = project.does("merge 1 of 5, cache 1 of 10, finetune 1 of 1");
    assert!(run.made().contains(&"cache/text clock.webp".to_owned()), "{:?}", run.made());
    assert_eq!(project.read("pictures/clock.caption"), "a clock in motion\n");
    assert_eq!(project.read("pictures/coffee.txt"), "cup, table, still life\n");
}

#[test]
fn equal_texts_are_encoded_once() {
    let project = project();
    for stem in ["brick", "clock", "flower"] {
        project.file(&format!("pictures/{stem}.caption"), "a photograph");
    }
    project.does("merge 3 of 5, cache 8 of 10, finetune 1 of 1");
}

#[test]
fn sidecars_lie_beside_the_pictures_unless_the_manifest_says_otherwise() {
    let project = Project::fresh();
    project.replace("sidecars = \"words\"\n", "");
    project.file("pictures/clock.caption", "a clock that was there before");
    let run = project.does(
        "label 4 of 5, tag.probabilities 5 of 5, tag 5 of 5, \
                      merge 5 of 5, cache 10 of 10, finetune 1 of 1",
    );
    let kept: Vec<_> = run.events().filter(|event| event["event"] == "kept").collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["item"], "clock.webp");
    assert_eq!(project.read("pictures/clock.caption"), "a clock that was there before");
    for picture in PICTURES {
        let stem = picture.split('.').next().unwrap();
        for extension in ["caption", "txt"] {
            assert!(!project.read(&format!("pictures/{stem}.{extension}")).is_empty());
        }
    }
    assert!(!project.path("words").exists());
}

#[test]
fn what_is_no_picture_is_not_said_to_be_trained_on_an_empty_text() {
    let project = project();
    project.photograph("horse.png", "pictures/horse.png");
    project.file("pictures/broken.png", "not a picture at all");
    let warned = |command: &str| {
        let told = project.call(&[command, "project.toml"]).exits(0);
        let told = told.stdout + &told.stderr;
        assert!(told.contains("1 picture is trained on an empty text: horse.png"), "{told}");
    };
    warned("plan");
    warned("run");
}
