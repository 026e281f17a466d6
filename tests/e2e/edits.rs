//! One edit, and exactly what has to follow from it.

use crate::Project;

#[test]
fn an_edited_caption_reruns_its_text_and_what_learns_from_it() {
    let project = Project::finished();
    project.file("words/coffee.caption", "a cup of coffee on a table\n");

    let why = project.call(&["why", "project.toml", "merge", "coffee.webp"]).exits(0);
    assert!(why.stdout.contains("words/coffee.caption"), "{}", why.stdout);
    let why = project.call(&["why", "project.toml", "finetune"]).exits(0);
    assert!(why.stdout.contains("words/coffee.caption"), "{}", why.stdout);

    let run = project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, \
                      merge 1 of 5, cache 1 of 10, finetune 1 of 1",
    );
    assert_eq!(
        run.made(),
        ["cache/text coffee.webp", "finetune/model model", "merge/training caption coffee.webp"]
    );
    assert_eq!(project.read("words/coffee.caption"), "a cup of coffee on a table\n");
    assert!(project.read("out/meta_data.json").contains("a cup of coffee on a table"));

    // The edit also outlives a run that makes all captions anew.
    let forced = project.call(&["run", "project.toml", "--json", "--force", "label"]).exits(0);
    assert!(
        forced
            .counts()
            .starts_with("label 4 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5")
    );
    assert_eq!(project.read("words/coffee.caption"), "a cup of coffee on a table\n");
}

#[test]
fn tags_edited_by_hand_count_like_captions() {
    let project = Project::finished();
    project.file("words/rocket.txt", "rocket, launch pad");
    let run = project.does(
        "label 0 of 5, tag.probabilities 0 of 4, tag 0 of 5, \
                      merge 1 of 5, cache 1 of 10, finetune 1 of 1",
    );
    assert!(run.made().contains(&"cache/text rocket.jpg".to_owned()));
    assert_eq!(project.read("words/rocket.txt"), "rocket, launch pad");
}

#[test]
fn an_edit_taken_back_is_no_edit() {
    let project = Project::finished();
    let written = project.read("words/coffee.caption");
    project.file("words/coffee.caption", "a cup of coffee\n");
    project.file("words/coffee.caption", written);
    project.is_idle();
}

#[test]
fn a_removed_sidecar_is_written_again_and_nothing_runs() {
    let project = Project::finished();
    let before = project.outputs();
    project.remove("words/coffee.caption");
    let run = project.run().exits(0);
    assert_eq!(run.made(), Vec::<String>::new());
    assert_eq!(run.published(), ["words/coffee.caption"]);
    assert_eq!(project.outputs(), before);
}

#[test]
fn a_replaced_picture_is_described_and_encoded_anew_and_no_other_is() {
    let project = Project::finished();
    let old = project.read("words/coffee.caption");
    project.photograph("horse.png", "horse.png");
    let other = image::open(project.path("horse.png")).unwrap();
    other.save(project.path("pictures/coffee.webp")).unwrap();

    // Its caption and its text are announced too, since nobody knows yet what the networks will say.
    let run = project.does(
        "label 1 of 5, tag.probabilities 1 of 5, tag 1 of 5, \
                      merge 1 of 5, cache 2 of 10, finetune 1 of 1",
    );
    assert_eq!(
        run.made(),
        [
            "cache/latent coffee.webp",
            "cache/text coffee.webp",
            "finetune/model model",
            "label/caption coffee.webp",
            "merge/training caption coffee.webp",
            "tag.probabilities/probabilities coffee.webp",
            "tag/tags coffee.webp",
        ]
    );
    assert_ne!(project.read("words/coffee.caption"), old);
}

#[test]
fn a_replaced_picture_with_words_of_its_human_keeps_them() {
    let project = Project::finished();
    project.file("words/coffee.caption", "a cup of coffee");
    project.file("words/coffee.txt", "cup, table");
    project.run().exits(0);
    project.photograph("horse.png", "horse.png");
    let other = image::open(project.path("horse.png")).unwrap();
    other.save(project.path("pictures/coffee.webp")).unwrap();
    project.does(
        "label 0 of 5, tag.probabilities 0 of 4, tag 0 of 5, \
                  merge 0 of 5, cache 1 of 10, finetune 1 of 1",
    );
}

#[test]
fn a_deleted_picture_drops_out_and_nothing_is_encoded() {
    let project = Project::finished();
    for file in ["pictures/clock.webp", "words/clock.caption", "words/clock.txt"] {
        project.remove(file);
    }
    project.does(
        "label 0 of 4, tag.probabilities 0 of 4, tag 0 of 4, \
                  merge 0 of 4, cache 0 of 8, finetune 1 of 1",
    );
    assert!(!project.read("out/meta_data.json").contains("clock"));
}

#[test]
fn a_picture_that_comes_back_costs_nothing() {
    let project = Project::finished();
    let before = project.outputs();
    project.rename("pictures/clock.webp", "clock.webp");
    project.does(
        "label 0 of 4, tag.probabilities 0 of 4, tag 0 of 4, \
                  merge 0 of 4, cache 0 of 8, finetune 1 of 1",
    );
    project.rename("clock.webp", "pictures/clock.webp");
    project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, \
                  merge 0 of 5, cache 0 of 10, finetune 0 of 1",
    );
    assert_eq!(project.outputs(), before, "also the published model is the old one again");
}

#[test]
fn another_learning_rate_trains_again_and_does_no_more() {
    let project = Project::finished();
    project.replace("learning_rate = 1e-4", "learning_rate = 2e-4");
    let why = project.call(&["why", "project.toml", "finetune"]).exits(0);
    assert!(why.stdout.contains("learning_rate"), "{}", why.stdout);
    project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, \
                  merge 0 of 5, cache 0 of 10, finetune 1 of 1",
    );
}

#[test]
fn a_renamed_picture_is_the_same_sample() {
    let project = Project::finished();
    let before = project.outputs();
    for (folder, extension) in [("pictures", "jpg"), ("words", "caption"), ("words", "txt")] {
        let [old, new] = ["rocket", "apollo"].map(|name| format!("{folder}/{name}.{extension}"));
        project.rename(&old, &new);
    }
    let run = project.run().exits(0);
    assert_eq!(
        run.counts(),
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, \
         merge 0 of 5, cache 0 of 10, finetune 0 of 1"
    );
    assert_eq!(run.published(), ["out/meta_data.json"], "only the name in the metadata is new");
    project.is_idle();
    let metadata = project.read("out/meta_data.json");
    assert!(metadata.contains("apollo") && !metadata.contains("rocket"), "{metadata}");

    let after = project.outputs();
    let model = |outputs: &std::collections::BTreeMap<_, _>| outputs["out/small.safetensors"];
    assert_eq!(model(&after), model(&before));
    assert_eq!(after["words/apollo.caption"], before["words/rocket.caption"]);
}

#[test]
fn why_tells_the_keys_of_what_it_is_asked_about_by_any_name_that_it_prints() {
    let project = Project::finished();
    let why = |item| project.call(&["why", "project.toml", "cache", item]);
    let both = why("coffee").exits(0).stdout;
    for part in ["coffee.webp (latent)", "coffee.webp (text)", "picture", "caption", "t5xxl"] {
        assert!(both.contains(part), "{part} in {both}");
    }
    assert_eq!(both.matches("made of:").count(), 2, "{both}");
    let one = why("coffee.webp (text)").exits(0).stdout;
    assert_eq!(one.matches("made of:").count(), 1, "{one}");
    assert!(one.contains("caption") && !one.contains("(latent)"), "{one}");
    // A part of several names shows all of them.
    let all = why(".webp").exits(0).stdout;
    assert!(all.contains("coffee.webp") && all.contains("clock.webp"), "{all}");
    let none = why("cofee.webp").exits(2).stderr;
    assert!(none.contains("did you mean: coffee.webp"), "{none}");
}

#[test]
fn a_plan_names_the_file_that_would_be_written_over() {
    let project = Project::finished();
    project.file("out/meta_data.json", "{}");
    let told = project.call(&["plan", "project.toml"]).exits(0).stdout;
    assert!(told.contains("over out/meta_data.json"), "{told}");
}

#[test]
fn why_a_training_runs_names_the_line_and_the_sample() {
    let project = Project::finished();
    project.replace("bucket_reso_steps = 16\n", "bucket_reso_steps = 16\nnum_repeats = 3\n");
    let why = project.call(&["why", "project.toml", "finetune"]).exits(0).stdout;
    assert!(why.contains("num_repeats = 3") && why.contains("was 1 in the last run"), "{why}");
    project.replace("num_repeats = 3\n", "caption_dropout_rate = 0.5\n");
    project.run().exits(0);
    project.replace("caption_dropout_rate = 0.5", "caption_dropout_rate = 0.25");
    let why = project.call(&["why", "project.toml", "finetune"]).exits(0).stdout;
    assert!(why.contains("was 0.5 in the last run"), "{why}");
    // Once the cache has run, the sample is known by its name.
    project.replace("caption_dropout_rate = 0.25", "caption_dropout_rate = 0.5");
    project.file("words/coffee.caption", "a cup of coffee\n");
    project.call(&["run", "project.toml", "--until", "cache"]).exits(0);
    let why = project.call(&["why", "project.toml", "finetune"]).exits(0).stdout;
    assert!(why.contains("cache coffee.webp (text)") && !why.contains("clock"), "{why}");
    assert!(why.contains("words/coffee.caption"), "{why}");
}
