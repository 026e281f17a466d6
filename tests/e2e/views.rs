//! Views of pictures, dropped captions, regularisation and held-out pictures: what the cache makes of
//! them, and what the training does with it.

use std::{fs, path::PathBuf};

use fluxpipe::{base::Digest, weights::Checkpoint};
use serde_json::Value;

use crate::Project;

/// A finished project whose `[[dataset]]` also says this.
fn with(keys: &str) -> Project {
    let project = Project::fresh();
    say(&project, keys);
    project
}

fn say(project: &Project, keys: &str) {
    project.replace("bucket_reso_steps = 16\n", &format!("bucket_reso_steps = 16\n{keys}\n"));
}

/// The plan's notes of the cache stage, by name.
fn notes(project: &Project) -> Value {
    notes_of(project, "cache")
}

fn notes_of(project: &Project, name: &str) -> Value {
    let plan = project.call(&["plan", "project.toml", "--json"]).exits(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let stages = plan["stages"].as_array().unwrap();
    let stage = stages.iter().find(|stage| stage["name"] == name).unwrap();
    let notes = stage["notes"].as_array().unwrap().iter();
    notes.map(|note| (note["name"].as_str().unwrap().to_owned(), note["data"].clone())).collect()
}

/// The lines of the last training's metrics.
fn metrics(project: &Project) -> Vec<Value> {
    let mut files = fs::read_dir(project.path("out")).unwrap();
    let file = files.find_map(|file| {
        let path = file.unwrap().path();
        path.ends_with("small-metrics.jsonl").then_some(path)
    });
    let text = fs::read_to_string(file.unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn model(project: &Project) -> Digest {
    project.outputs()["out/small.safetensors"]
}

const REST: &str = "label 5 of 5, tag.probabilities 5 of 5, tag 5 of 5, merge 5 of 5";

#[test]
fn a_flipped_view_is_encoded_beside_the_plain_one() {
    let plain = Project::finished();
    let before = model(&plain);
    say(&plain, "flip_aug = true");
    // The plain views keep their keys.
    let run = plain.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 5 of 15, \
         finetune 1 of 1",
    );
    let flipped = run.made().into_iter().filter(|made| made.starts_with("cache/"));
    assert!(flipped.clone().all(|made| made.ends_with(" (flipped)")), "{:?}", run.made());
    assert_eq!(flipped.count(), 5);
    assert_ne!(model(&plain), before);
    plain.replace("flip_aug = true", "flip_aug = false");
    plain.run().exits(0);
    assert_eq!(model(&plain), before);
}

#[test]
fn drawn_views_are_as_many_as_asked_for_and_alike_ones_are_encoded_once() {
    let cropped = with("random_crop = true\nimage_variants = 3");
    // Two views were drawn to cut where another one of their picture does.
    let run = cropped.does(&format!("{REST}, cache 18 of 20, finetune 1 of 1"));
    assert!(run.made().contains(&"cache/latent coffee.webp (view 3)".to_owned()));
    // One more changes none of those before.
    cropped.replace("image_variants = 3", "image_variants = 4");
    cropped.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 5 of 25, \
         finetune 1 of 1",
    );
    // Two of three colours stay as they are: those views are the plain one.
    let coloured = with("color_aug = true\nimage_variants = 6");
    let run = coloured.run().exits(0);
    let latents = run.made().iter().filter(|made| made.starts_with("cache/latent")).count();
    assert!((5..25).contains(&latents), "{latents}");
    coloured.is_idle();
}

#[test]
fn dropped_captions_need_one_more_text_and_change_the_training() {
    let project = Project::finished();
    let before = model(&project);
    say(&project, "caption_dropout_every_n_epochs = 2");
    let run = project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 1 of 11, \
         finetune 1 of 1",
    );
    assert!(run.made().contains(&"cache/text (empty caption)".to_owned()), "{:?}", run.made());
    let dropped = model(&project);
    assert_ne!(dropped, before);
    let why = project.call(&["why", "project.toml", "cache", "(empty caption)"]).exits(0);
    assert!(why.stdout.contains("project.toml:21"), "{}", why.stdout);
    // A rate of 1 is no caption in any epoch; nothing is encoded for it.
    project.replace("caption_dropout_every_n_epochs = 2", "caption_dropout_rate = 1.0");
    project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 0 of 11, \
         finetune 1 of 1",
    );
    assert_ne!(model(&project), dropped);
}

#[test]
fn every_text_of_a_picture_is_encoded_and_all_are_planned() {
    let project = with("shuffle_caption = true\ncaption_variants = 3");
    // Nobody knows the texts yet, and each is announced.
    assert_eq!(project.plan(), format!("{REST}, cache 20 of 20, finetune 1 of 1"));
    let told = project.call(&["plan", "project.toml"]).exits(0).stdout;
    assert!(told.contains("run at most 20") && told.contains("at most 15 texts"), "{told}");
    let run = project.run().exits(0);
    let texts = run.made().into_iter().filter(|made| made.starts_with("cache/text"));
    let texts = texts.collect::<Vec<_>>();
    // Those that came out alike are encoded once.
    assert!((6..=15).contains(&texts.len()), "{texts:?}");
    assert!(texts.contains(&"cache/text coffee.webp".to_owned()), "{texts:?}");
    assert!(texts.iter().any(|text| text.ends_with(" (text 2)")), "{texts:?}");
    project.is_idle();
    // How many there are is no matter of the first ones.
    project.replace("caption_variants = 3", "caption_variants = 4");
    let run = project.run().exits(0);
    let more = run.made().into_iter().filter(|made| made.starts_with("cache/"));
    assert!(more.clone().all(|made| made.ends_with(" (text 4)")), "{:?}", run.made());
    project.is_idle();
}

#[test]
fn held_out_pictures_are_measured_and_do_not_depend_on_names() {
    let project = with("validation_split = 0.4");
    let planned = notes_of(&project, "finetune");
    assert_eq!(planned["held_out"].as_array().unwrap().len(), 2, "{planned}");
    assert_eq!(planned["steps"]["steps"], 6);
    let memory = planned["memory"].as_str().unwrap();
    assert!(memory.starts_with("memory: ") && memory.contains(" 0 swapped"), "{memory}");
    project.run().exits(0);
    let lines = metrics(&project);
    let losses = lines.iter().filter_map(|line| line["validation_loss"].as_f64());
    assert_eq!(losses.clone().count(), 2, "{lines:?}");
    assert!(losses.clone().all(|loss| loss > 0.0));
    // Three of five pictures in each of two epochs.
    assert_eq!(lines.iter().filter(|line| line["learning_rate"].is_number()).count(), 6);
    let before = model(&project);
    project.rename("pictures/coffee.webp", "pictures/a.webp");
    for ending in ["caption", "txt"] {
        project.rename(&format!("words/coffee.{ending}"), &format!("words/a.{ending}"));
    }
    let run = project.run().exits(0);
    assert!(run.counts().ends_with("cache 0 of 10, finetune 0 of 1"), "{}", run.counts());
    assert_eq!(model(&project), before);
    project.replace("validation_split = 0.4", "validation_split = 0.4\nvalidation_seed = 7");
    project.run().exits(0);
    assert_ne!(model(&project), before);
}

#[test]
fn regularisation_pictures_are_weighed() {
    let project = Project::fresh();
    let more = "[[dataset]]\nimage_dir = \"more\"\nresolution = 64\nmin_bucket_reso = 32\n\
                bucket_reso_steps = 16\nis_reg = true\n\n[stages.label]";
    project.replace("[stages.label]", more);
    project.photograph("horse.png", "more/horse.png");
    project.photograph("chelsea.png", "more/cup.png");
    let planned = notes_of(&project, "finetune");
    let counts = |notes: &Value| {
        ["appearances", "regularisation_appearances", "steps", "first_epoch_steps"]
            .map(|name| notes["steps"][name].as_u64().unwrap())
    };
    assert_eq!(counts(&planned), [5, 5, 20, 10], "{planned}");
    assert_eq!(planned["steps"]["exact"], false);
    let told = project.call(&["plan", "project.toml", "-v"]).exits(0).stdout;
    assert!(told.contains("about 20 steps in 2 epochs"), "{told}");
    project.run().exits(0);
    // Five pictures, and two regularisation pictures five times in all.
    assert_eq!(metrics(&project).len(), 20);
    let done = notes_of(&project, "finetune");
    assert_eq!(counts(&done), [5, 5, 20, 10], "{done}");
    assert_eq!(done["steps"]["exact"], true);
    let before = model(&project);
    project.replace("seed = 42", "seed = 42\nprior_loss_weight = 0.1");
    project.does(
        "label 0 of 7, tag.probabilities 0 of 7, tag 0 of 7, merge 0 of 7, cache 0 of 14, \
         finetune 1 of 1",
    );
    assert_ne!(model(&project), before);
}

#[test]
fn transparency_becomes_a_mask_of_the_loss() {
    let project = Project::fresh();
    let mut picture = image::RgbaImage::from_pixel(96, 96, image::Rgba([200, 30, 30, 255]));
    picture.pixels_mut().take(96 * 48).for_each(|pixel| pixel[3] = 0);
    picture.save(project.path("pictures/half.png")).unwrap();
    project.run().exits(0);
    let before = model(&project);
    say(&project, "alpha_mask = true");
    project.run().exits(0);
    assert_ne!(model(&project), before);
    project.is_idle();
    let mut masks = Vec::new();
    for path in objects(&project) {
        let Ok(file) = Checkpoint::open_safetensors(&path) else { continue };
        if file.info("mask").is_some() {
            let (mask, latent) = (file.info("mask").unwrap(), file.info("latent").unwrap());
            assert_eq!(mask.shape, latent.shape[1..]);
            masks.push(file.f32("mask").unwrap());
        }
    }
    // The other pictures have no transparency.
    assert_eq!(masks.len(), 1);
    let (clear, opaque) = masks[0].split_at(masks[0].len() / 2);
    assert!(clear.iter().all(|&cell| cell == 0.0) && opaque.iter().all(|&cell| cell == 1.0));
}

fn objects(project: &Project) -> Vec<PathBuf> {
    let folders = fs::read_dir(project.path("out/store/v1/objects")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn how_pictures_find_their_size_is_part_of_latents_alone() {
    let project = Project::finished();
    for keys in ["aspect = \"linear\"", "resize_interpolation = \"cubic\""] {
        say(&project, keys);
        project.does(
            "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 5 of 10, \
             finetune 1 of 1",
        );
    }
    // Another name of the same.
    project.replace("\"cubic\"", "\"bicubic\"");
    project.is_idle();
}

#[test]
fn a_plan_tells_buckets_cuts_and_sizes() {
    let project = Project::fresh();
    let found = notes(&project);
    let buckets = found["buckets"].as_array().unwrap();
    let pictures: u64 = buckets.iter().map(|bucket| bucket["pictures"].as_u64().unwrap()).sum();
    assert_eq!(pictures, 5, "{found}");
    assert!(found["crops"]["cut_off"]["largest"].as_f64().unwrap() < 0.5);
    assert_eq!((&found["records"]["latents"], &found["records"]["texts"]), (&5.into(), &5.into()));
    let told = project.call(&["plan", "project.toml", "--verbose"]).exits(0).stdout;
    assert!(told.contains("5 pictures in") && told.contains("cut off"), "{told}");

    // What was expected is what it becomes.
    let expected = ["latent_bytes", "text_bytes"].map(|name| found["records"][name].as_u64());
    project.run().exits(0);
    let stored = notes(&project);
    for (name, expected) in ["latent_bytes", "text_bytes"].into_iter().zip(expected) {
        let (expected, found) =
            (expected.unwrap() as f64, stored["records"][name].as_u64().unwrap() as f64);
        assert!((found - expected).abs() < 0.2 * found, "{name}: {expected}, {found}");
    }
    // Where nothing is to be done it is told on demand.
    let idle = project.call(&["plan", "project.toml"]).exits(0).stdout;
    assert!(!idle.contains("pictures in"), "{idle}");

    // A small picture that has to grow is named.
    let small = image::RgbImage::from_pixel(20, 20, image::Rgb([9, 9, 9]));
    small.save(project.path("pictures/tiny.png")).unwrap();
    let found = notes(&project);
    assert_eq!(found["enlarged"][0]["picture"], "tiny.png", "{found}");
}
