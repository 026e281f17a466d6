//! One picture that is none, among good ones.

use std::fs;

use crate::{Project, project::TIME};

fn project() -> Project {
    let project = Project::fresh();
    project.file("pictures/broken.png", "not a picture at all");
    project
}

#[test]
fn it_is_reported_and_left_out_and_the_others_go_on() {
    let project = project();
    let run = project.run().exits(0);
    assert_eq!(
        run.counts(),
        "label 5 of 6 (1 failed), tag.probabilities 5 of 6 (1 failed), tag 5 of 5, \
         merge 5 of 5, cache 10 of 10, \
         finetune 1 of 1"
    );
    let failed: Vec<_> = run.events().filter(|event| event["event"] == "item_failed").collect();
    for (event, stage) in failed.iter().zip(["label", "tag.probabilities"]) {
        assert_eq!(event["stage"], stage);
        assert_eq!(event["item"], "broken.png");
        assert_eq!(event["code"], "fluxpipe::dataset::not_a_picture");
        assert_eq!(event["remembered"], false);
        assert!(event["help"].as_str().is_some_and(|help| !help.is_empty()), "{event}");
    }
    assert_eq!(failed.len(), 2);
    assert!(!project.read("out/meta_data.json").contains("broken"));
    assert!(!project.path("words/broken.caption").exists());

    // It is not tried again, and still reported.
    let expected = "label 0 of 6 (1 failed), tag.probabilities 0 of 6 (1 failed), tag 0 of 5, \
                    merge 0 of 5, cache 0 of 10, \
                    finetune 0 of 1";
    assert_eq!(project.plan(), expected);
    let again = project.run().exits(0);
    assert_eq!(again.counts(), expected);
    let failed: Vec<_> = again.events().filter(|event| event["event"] == "item_failed").collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|event| event["remembered"] == true), "{failed:?}");
    let told = project.call(&["run", "project.toml"]).exits(0);
    insta::with_settings!({ filters => vec![TIME] }, {
        insta::assert_snapshot!("left_out", told.seen());
    });

    // A stage that it never came to tells where it failed.
    for (stage, before) in [("tag", "tag.probabilities"), ("cache", "label")] {
        for name in ["broken.png", "broken"] {
            let why = project.call(&["why", "project.toml", stage, name]).exits(0).stdout;
            let told = [format!("{before} broken.png"), "it failed in an earlier run".to_owned()];
            assert!(told.iter().all(|words| why.contains(words)), "{stage} {name}: {why}");
        }
    }
    project.call(&["why", "project.toml", "tag", "nothing.png"]).exits(2);

    // Once it is mended it is a sample like any other.
    project.photograph("horse.png", "pictures/broken.png");
    project.does(
        "label 1 of 6, tag.probabilities 1 of 6, tag 1 of 6, \
                  merge 1 of 6, cache 2 of 12, finetune 1 of 1",
    );
}

#[test]
fn it_ends_the_run_where_the_manifest_says_so() {
    let project = project();
    project.replace("device = \"cpu\"", "device = \"cpu\"\non_bad_image = \"fail\"");
    let run = project.call(&["run", "project.toml"]).exits(1);
    insta::assert_snapshot!("fail", run.stderr);
    assert!(!project.path("out/meta_data.json").exists());
    insta::assert_snapshot!("fail_again", project.call(&["run", "project.toml"]).exits(1).stderr);

    project.remove("pictures/broken.png");
    project.run().exits(0);
    project.is_idle();
}

#[test]
fn a_picture_cut_short_is_no_picture() {
    let project = Project::fresh();
    let bytes = std::fs::read(project.path("pictures/rocket.jpg")).unwrap();
    project.file("pictures/rocket.jpg", &bytes[..bytes.len() / 3]);
    let run = project.run().exits(0);
    assert!(run.counts().starts_with(
        "label 4 of 5 (1 failed), tag.probabilities 4 of 5 (1 failed), tag 4 of 4, merge 4 of 4"
    ));
}

/// A caption in another encoding is one bad sample, and named with its file.
#[test]
fn a_sidecar_that_is_no_text_leaves_its_picture_out() {
    let project = Project::fresh();
    project.file("words/coffee.caption", b"caf\xe9 au lait");
    let listed = project.call(&["captions", "project.toml"]).exits(0);
    let told = "left out: words/coffee.caption is not UTF-8 text";
    assert!(listed.stdout.contains(told), "{}", listed.stdout);
    assert!(listed.stdout.contains("rocket.jpg"), "{}", listed.stdout);
    let checked = project.call(&["check", "project.toml"]).exits(1);
    assert!(checked.stderr.contains("coffee.caption is not UTF-8"), "{}", checked.stderr);

    let counts = "label 4 of 5 (1 failed), tag.probabilities 5 of 5, tag 5 of 5, merge 4 of 4, \
                  cache 8 of 8, finetune 1 of 1";
    let run = project.run().exits(0);
    assert_eq!(run.counts(), counts);
    let failed: Vec<_> = run.events().filter(|event| event["event"] == "item_failed").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["code"], "fluxpipe::dataset::not_text");
    let why = project.call(&["why", "project.toml", "label", "coffee.webp"]).exits(0).stdout;
    assert!(why.contains("not UTF-8") && !why.contains("earlier run"), "{why}");
    assert_eq!(fs::read(project.path("words/coffee.caption")).unwrap(), b"caf\xe9 au lait");

    let set = ["run", "project.toml", "--set", "project.on_bad_image=\"fail\""];
    assert!(project.call(&set).exits(1).stderr.contains("coffee.caption is not UTF-8"));

    // Where no stage labels, the merge reads it.
    let text = project.read("project.toml");
    let (start, end) = (text.find("[stages.label]").unwrap(), text.find("[stages.tag]").unwrap());
    project.file("project.toml", format!("{}{}", &text[..start], &text[end..]));
    let listed = project.call(&["captions", "project.toml"]).exits(0);
    assert!(listed.stdout.contains(told), "{}", listed.stdout);
    assert!(project.plan().contains("merge 4 of 5 (1 failed)"), "{}", project.plan());

    project.file("words/coffee.caption", "café au lait");
    assert!(project.plan().contains("merge 5 of 5,"), "{}", project.plan());
    project.run().exits(0);
    project.is_idle();
}
