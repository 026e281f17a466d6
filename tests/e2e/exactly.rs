//! The cache is right by construction: an edit of any one input changes exactly the records that depend
//! on it. There is a line for every key of the manifest that a dataset, `merge`, `cache` or a network
//! has; a key without one fails the test, so that no key comes without a word on what it changes.

use std::collections::{BTreeMap, BTreeSet};

use image::{Rgba, RgbaImage};
use serde_json::Value;

use crate::Project;

/// Three pictures of other proportions, the first with transparency, with captions and tags that every
/// rule finds something in.
const PICTURES: [(&str, u32, u32, u8); 3] =
    [("a.png", 96, 64, 128), ("b.png", 80, 80, 255), ("c.png", 60, 108, 255)];

const MANIFEST: &str = r#"
[project]
name = "exactly"
output = "out"
device = "cpu"
"#;

/// What the tables hold before an edit.
const TABLES: [(&str, &str); 4] = [
    (
        "models",
        r#"
        ae = "MODELS/ae.safetensors"
        clip_l = "MODELS/clip_l.safetensors"
        t5xxl = "MODELS/t5xxl.safetensors"
        "#,
    ),
    (
        "dataset",
        r#"
        image_dir = "pictures"
        resolution = 64
        min_bucket_reso = 32
        bucket_reso_steps = 16
        "#,
    ),
    ("stages.merge", ""),
    ("stages.cache", "t5xxl_max_token_length = 48"),
];

/// An edit of one key.
struct Edit {
    /// Table and key.
    key: (&'static str, &'static str),
    /// A table and what stands in it before, without which the key has no effect.
    with: (&'static str, &'static str),
    /// Its new value.
    value: &'static str,
    /// What is made again: `latent *` is the latents of all pictures. `~text *` is announced by the plan,
    /// which cannot know that what these texts are made of comes out as before; of `?latent *` some are made.
    makes: &'static [&'static str],
}

const fn edit(
    table: &'static str,
    key: &'static str,
    value: &'static str,
    makes: &'static [&'static str],
) -> Edit {
    Edit { key: (table, key), with: (table, ""), value, makes }
}

const fn edit_with(
    with: &'static str,
    table: &'static str,
    key: &'static str,
    value: &'static str,
    makes: &'static [&'static str],
) -> Edit {
    Edit { key: (table, key), with: (table, with), value, makes }
}

const NOTHING: &[&str] = &[];
const LATENTS: &[&str] = &["latent *"];
const ENCODED: &[&str] = &["text *"];
const TEXTS: &[&str] = &["merge *", "text *"];
/// Captions of which two variants are drawn.
const DRAWN: &[&str] = &["merge *", "text *", "text * (text 2)"];
/// The training captions are looked at again and come out as they were.
const AS_BEFORE: &[&str] = &["merge *", "~text *"];
/// The last variant of a warm-up has all parts, as the plain caption.
const WARMED: &[&str] = &["merge *", "text *", "~text * (text 2)"];
const SHUFFLED: &str = "shuffle_caption = true\ncaption_variants = 2";

const DATASET: &[Edit] = &[
    // A sample is its content, wherever it lies.
    edit("dataset", "image_dir", "'moved'", NOTHING),
    edit("dataset", "recursive", "true", NOTHING),
    edit("dataset", "sidecars", "'moved'", NOTHING),
    edit("dataset", "exif_orientation", "false", LATENTS),
    edit("dataset", "resolution", "80", LATENTS),
    edit(
        "dataset",
        "enable_bucket",
        "false\nmin_bucket_reso = none\nbucket_reso_steps = none",
        LATENTS,
    ),
    edit("dataset", "min_bucket_reso", "16", LATENTS),
    edit("dataset", "max_bucket_reso", "96", LATENTS),
    edit("dataset", "bucket_reso_steps", "32", LATENTS),
    edit("dataset", "bucket_no_upscale", "true\nmin_bucket_reso = none", LATENTS),
    edit("dataset", "aspect", "'linear'", LATENTS),
    edit("dataset", "resize_interpolation", "'bicubic'", LATENTS),
    edit("dataset", "flip_aug", "true", &["latent * (flipped)"]),
    edit("dataset", "random_crop", "true\nimage_variants = 2", CROPPED),
    edit("dataset", "color_aug", "true\nimage_variants = 3", COLOURED),
    edit_with(
        "random_crop = true\nimage_variants = 2",
        "dataset",
        "image_variants",
        "3",
        &["latent a.png (view 3)", "latent c.png (view 3)"],
    ),
    edit("dataset", "alpha_mask", "true", LATENTS),
    // Of the training alone.
    edit("dataset", "num_repeats", "3", NOTHING),
    edit("dataset", "is_reg", "true", NOTHING),
    edit("dataset", "validation_split", "0.4", NOTHING),
    edit_with("validation_split = 0.4", "dataset", "validation_seed", "7", NOTHING),
    edit("dataset", "class_tokens", "'a thing'", AS_BEFORE),
    edit("dataset", "caption_extension", "'.other'", TEXTS),
    edit("dataset", "caption_prefix", "'photo of'", TEXTS),
    edit("dataset", "caption_suffix", "'at night'", TEXTS),
    edit("dataset", "shuffle_caption", "true\ncaption_variants = 2", DRAWN),
    edit_with(SHUFFLED, "dataset", "caption_separator", "';'", DRAWN),
    edit("dataset", "secondary_separator", "'&&'", TEXTS),
    edit_with(SHUFFLED, "dataset", "keep_tokens", "2", DRAWN),
    edit_with(SHUFFLED, "dataset", "keep_tokens_separator", "'|||'", DRAWN),
    edit("dataset", "enable_wildcard", "true\ncaption_variants = 1", TEXTS),
    edit_with(SHUFFLED, "dataset", "caption_tag_dropout_rate", "0.5", DRAWN),
    edit("dataset", "token_warmup_step", "0.5\ncaption_variants = 2", WARMED),
    edit_with(
        "token_warmup_step = 0.5\ncaption_variants = 2",
        "dataset",
        "token_warmup_min",
        "3",
        WARMED,
    ),
    // The variants that were there are drawn as before.
    edit_with(
        SHUFFLED,
        "dataset",
        "caption_variants",
        "3",
        &["merge *", "text * (text 3)", "~text *", "~text * (text 2)"],
    ),
    edit("dataset", "caption_dropout_rate", "0.1", &["text (empty caption)"]),
    edit("dataset", "caption_dropout_every_n_epochs", "2", NOTHING),
];

/// Of b.png nothing is cut off, so its views are the plain one.
const CROPPED: &[&str] = &[
    "latent a.png (view 1)",
    "latent a.png (view 2)",
    "latent c.png (view 1)",
    "latent c.png (view 2)",
];

/// A third of the views is drawn to change; the others are the plain one, which is there.
const COLOURED: &[&str] = &["?latent * (view 1)", "?latent * (view 2)", "?latent * (view 3)"];

const STAGES: &[Edit] = &[
    edit("stages.merge", "clean_captions", "true", TEXTS),
    edit("stages.merge", "clean_tags", "true", TEXTS),
    edit("stages.merge", "replace_tags", "[['sky', 'clouds']]", TEXTS),
    edit("stages.merge", "remove_tags", "['sky']", TEXTS),
    edit("stages.merge", "deduplicate_tags", "false", TEXTS),
    edit("stages.merge", "prepend_tags", "['first']", TEXTS),
    edit("stages.merge", "append_tags", "['last']", TEXTS),
    edit("stages.merge", "template", "'{tags}'", TEXTS),
    Edit { key: ("stages.merge", "seed"), with: ("dataset", SHUFFLED), value: "7", makes: DRAWN },
    // Sidecars come first, and all pictures have them.
    edit("stages.merge", "in_json", "'words.json'", NOTHING),
    edit("stages.merge", "full_path", "true", NOTHING),
    edit("stages.merge", "out_json", "'other.json'", NOTHING),
    edit("stages.cache", "latent", "'mean'", LATENTS),
    edit("stages.cache", "latent_dtype", "'f32'", LATENTS),
    edit("stages.cache", "text_dtype", "'f32'", ENCODED),
    edit("stages.cache", "t5xxl_max_token_length", "40", ENCODED),
    edit("stages.cache", "attend_padding", "false", ENCODED),
    edit("stages.cache", "clip_activation", "'gelu'", ENCODED),
    edit("stages.cache", "seed", "7", LATENTS),
    // There are no caches of the training scripts beside the pictures.
    edit_with("clip_activation = 'gelu'", "stages.cache", "import_cache", "true", NOTHING),
    edit("stages.cache", "vae_bands", "2", NOTHING),
    edit("stages.cache", "text_batch_size", "3", NOTHING),
    edit("stages.cache", "t5_resident_layers", "24", NOTHING),
    edit("models", "ae", "'other/ae.safetensors'", LATENTS),
    edit("models", "clip_l", "'other/clip_l.safetensors'", ENCODED),
    edit("models", "t5xxl", "'other/t5xxl.safetensors'", ENCODED),
    // Networks that no stage here runs.
    edit("models", "flux", "'other/flux1-dev.safetensors'", NOTHING),
    edit("models", "blip", "'other/blip.safetensors'", NOTHING),
    edit("models", "tagger", "'other/tagger'", NOTHING),
];

const MODEL: &[&str] = &["model"];
/// Lines that a key of `finetune` needs beside it, the key, its new value, and whether a model is made anew.
type Training = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// Edits of `[stages.finetune]`, looked at by the plan alone.
const TRAINING: &[Training] = &[
    ("", "learning_rate", "2e-4", MODEL),
    ("", "max_train_epochs", "2", MODEL),
    ("", "train_batch_size", "2", MODEL),
    ("", "gradient_accumulation_steps", "2", MODEL),
    ("", "max_grad_norm", "1.0", MODEL),
    ("", "optimizer_type", "'adamw'", MODEL),
    ("", "optimizer_args", "{ weight_decay = 0.01 }", MODEL),
    // A default that is said.
    ("", "optimizer_args", "{ weight_decay = 0.0, relative_step = false }", NOTHING),
    ("", "lr_scheduler", "'cosine'", MODEL),
    ("lr_scheduler = 'linear'", "lr_warmup_steps", "0.5", MODEL),
    (WSD, "lr_decay_steps", "3", MODEL),
    ("lr_scheduler = 'cosine_with_restarts'", "lr_scheduler_num_cycles", "2", MODEL),
    ("lr_scheduler = 'polynomial'", "lr_scheduler_power", "2.0", MODEL),
    (WSD, "lr_scheduler_min_lr_ratio", "0.1", MODEL),
    ("", "timestep_sampling", "'uniform'", MODEL),
    ("", "discrete_flow_shift", "2.0", MODEL),
    ("", "sigmoid_scale", "2.0", MODEL),
    ("timestep_sampling = 'sigma'", "weighting_scheme", "'mode'", MODEL),
    (LOGIT, "logit_mean", "0.5", MODEL),
    (LOGIT, "logit_std", "0.5", MODEL),
    ("timestep_sampling = 'sigma'\nweighting_scheme = 'mode'", "mode_scale", "0.5", MODEL),
    ("", "min_timestep", "100", MODEL),
    ("", "max_timestep", "900", MODEL),
    ("", "guidance_scale", "3.5", MODEL),
    ("", "model_prediction_type", "'additive'", MODEL),
    ("", "loss_type", "'l1'", MODEL),
    ("loss_type = 'huber'", "huber_schedule", "'exponential'", MODEL),
    ("loss_type = 'huber'", "huber_c", "0.2", MODEL),
    ("loss_type = 'huber'", "huber_scale", "2.0", MODEL),
    ("", "ip_noise_gamma", "0.1", MODEL),
    ("", "weights", "'f32'", MODEL),
    ("", "save_precision", "'f32'", MODEL),
    ("", "save_every_n_epochs", "1", MODEL),
    ("", "save_every_n_steps", "2", MODEL),
    ("save_every_n_epochs = 1", "save_last_n_epochs", "1", MODEL),
    ("save_every_n_steps = 1", "save_last_n_steps", "2", MODEL),
    ("", "save_state_every_n_steps", "1", NOTHING),
    ("", "save_state_every_n_minutes", "1", NOTHING),
    ("", "keep_state", "false", NOTHING),
    ("", "output_name", "'other'", NOTHING),
    ("", "samples", "{ prompts = ['a cup'], at_first = true }", NOTHING),
    // Headers are part of files.
    ("", "metadata_title", "'A title'", MODEL),
    ("", "metadata_author", "'An author'", MODEL),
    ("", "metadata_description", "'A text'", MODEL),
    ("", "metadata_license", "'CC0-1.0'", MODEL),
    ("", "metadata_tags", "'one, two'", MODEL),
    ("", "seed", "7", MODEL),
    ("", "memory", "8", NOTHING),
    ("", "blocks_to_swap", "1", NOTHING),
    ("", "gradient_checkpointing", "true", NOTHING),
    ("", "ema_decay", "0.9", MODEL),
    ("", "train_blocks", "['single_blocks.*']", MODEL),
];
const WSD: &str = "lr_scheduler = 'warmup_stable_decay'\nlr_decay_steps = 2";
const LOGIT: &str = "timestep_sampling = 'sigma'\nweighting_scheme = 'logit_normal'";

#[test]
fn a_key_of_a_training_decides_whether_the_model_is_made_anew() {
    let finetune = |lines: &str| {
        let mut keys = BTreeMap::from([("learning_rate", "1e-4"), ("max_train_epochs", "1")]);
        keys.extend(lines.lines().filter_map(|line| line.split_once(" = ")));
        let lines = keys.into_iter().map(|(key, value)| format!("{key} = {value}\n"));
        let table = lines.collect::<String>();
        let flux = ("models", "flux = 'MODELS/flux1-dev.safetensors'".to_owned());
        manifest(&[flux]) + "[stages.finetune]\n" + &table
    };
    let project = project();
    let planned = |lines: &str| {
        project.manifest(&finetune(lines));
        let plan = project.call(&["plan", "project.toml", "--json"]).exits(0);
        let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
        plan["stages"].as_array().unwrap().last().unwrap()["items"]["run"].as_u64().unwrap()
    };
    project.manifest(&finetune(""));
    project.run().exits(0);
    assert_eq!(planned(""), 0);
    for (with, key, value, makes) in TRAINING {
        let lines = format!("{with}\n{key} = {value}");
        assert_eq!(planned(&lines), makes.len() as u64, "{key} = {value}");
    }
    let schema = fluxpipe::manifest::schema();
    let keys = schema["definitions"]["finetune"]["properties"].as_object().unwrap().keys();
    // It is in the key with each regularisation picture, which are not here.
    let without = ["kind", "needs", "prior_loss_weight"];
    let keys = keys.map(String::as_str).filter(|key| !without.contains(key));
    let told = TRAINING.iter().map(|(_, key, ..)| *key).collect::<BTreeSet<_>>();
    assert_eq!(told, keys.collect::<BTreeSet<_>>());
}

/// The manifest with lines for tables; a later line for a key stands instead of an earlier one.
fn manifest(lines: &[(&str, String)]) -> String {
    let mut text = MANIFEST.to_owned();
    for (table, plain) in TABLES {
        text +=
            &if table == "dataset" { "[[dataset]]\n".to_owned() } else { format!("[{table}]\n") };
        let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
        let more = lines.iter().filter(|(of, _)| *of == table).flat_map(|(_, lines)| lines.lines());
        for line in plain.lines().chain(more).map(str::trim).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(" = ").unwrap();
            keys.insert(key, value);
        }
        let stated = keys.iter().filter(|(_, value)| **value != "none");
        stated.for_each(|(key, value)| text += &format!("{key} = {value}\n"));
        if keys.contains_key("is_reg") {
            // Regularisation pictures stand beside others.
            text += &format!("[[dataset]]\n{plain}\n");
        }
    }
    text
}

/// A project of three pictures with captions and tags by hand, and other networks in `other`.
fn project() -> Project {
    let project = Project::with_manifest(&manifest(&[]));
    for (number, (name, width, height, alpha)) in PICTURES.into_iter().enumerate() {
        let picture = picture(number as u8, width, height, alpha);
        let stem = name.strip_suffix(".png").unwrap();
        for folder in ["pictures", "moved"] {
            project.file(&format!("{folder}/{name}"), &picture);
            let caption =
                format!("a woman {stem}, {{red|blue}} hat, by the sea ||| {stem} one; two&&three");
            project.file(&format!("{folder}/{stem}.caption"), caption);
            let tags = format!(
                "sky, blue_eyes, sky, long_hair, {stem} tree, house, 1girl, rating:safe, x"
            );
            project.file(&format!("{folder}/{stem}.txt"), tags);
        }
    }
    project.file("words.json", "{}");
    project.call(&["demo", "networks", "other", "--seed", "2"]).exits(0);
    project.run().exits(0);
    project
}

fn picture(number: u8, width: u32, height: u32, alpha: u8) -> Vec<u8> {
    let pixel = |x: u32, y: u32| {
        let seen = if x < width / 2 { 255 } else { alpha };
        Rgba([
            (3 * x) as u8 ^ number,
            (5 * y) as u8,
            ((x * y) as u8).wrapping_add(40 * number),
            seen,
        ])
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = RgbaImage::from_fn(width, height, pixel);
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// `latent *` as an item for each picture, in the words of [`Run::made`](crate::Run::made).
fn items(pattern: &str) -> Vec<String> {
    let (record, id) = pattern.split_once(' ').unwrap();
    let record = match record {
        "merge" => "merge/training caption",
        "latent" => "cache/latent",
        "text" => "cache/text",
        other => panic!("no record is called {other}"),
    };
    match id.contains('*') {
        true => PICTURES.map(|(name, ..)| format!("{record} {}", id.replace('*', name))).into(),
        false => vec![format!("{record} {id}")],
    }
}

/// Plans and runs: the plan must count, and the run must make, exactly this.
#[track_caller]
fn makes(project: &Project, edit: &str, expected: &[&str]) {
    let of = |mark: char| expected.iter().filter_map(move |pattern| pattern.strip_prefix(mark));
    let all =
        |patterns: &mut dyn Iterator<Item = &str>| patterns.flat_map(items).collect::<Vec<_>>();
    let mut certain =
        all(&mut expected.iter().copied().filter(|item| !item.starts_with(['~', '?'])));
    let some = all(&mut of('?'));
    let plan = project.call(&["plan", "project.toml", "--json"]).exits(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let made = project.run().exits(0).made();
    let drawn: Vec<_> = made.iter().filter(|item| some.contains(item)).cloned().collect();
    assert_eq!(drawn.is_empty(), some.is_empty(), "{edit}: the run");
    certain.extend(drawn);
    certain.sort();
    assert_eq!(made, certain, "{edit}: the run");
    certain.extend(all(&mut of('~')));
    for stage in plan["stages"].as_array().unwrap() {
        let name = stage["name"].as_str().unwrap();
        let of_stage = certain.iter().filter(|item| item.starts_with(&format!("{name}/")));
        assert_eq!(stage["items"]["run"], of_stage.count(), "{edit}: the plan of {name}");
    }
}

fn check(project: &Project, edits: &[Edit]) {
    for Edit { key: (table, key), with, value, makes: expected } in edits {
        let with = (with.0, with.1.to_owned());
        project.manifest(&manifest(std::slice::from_ref(&with)));
        if !with.1.is_empty() {
            project.run().exits(0);
        }
        project.manifest(&manifest(&[with, (*table, format!("{key} = {value}"))]));
        makes(project, &format!("{table}.{key} = {value}"), expected);
        // An edit that is taken back is none.
        project.manifest(&manifest(&[]));
        makes(project, &format!("{table}.{key} taken back"), NOTHING);
    }
}

#[test]
fn a_key_of_a_dataset_changes_exactly_what_depends_on_it() {
    check(&project(), DATASET);
}

#[test]
fn a_key_of_a_stage_and_a_network_change_exactly_what_depends_on_them() {
    check(&project(), STAGES);
}

#[test]
fn a_file_changes_exactly_what_is_made_of_it() {
    let project = project();
    let edit = |path: &str, bytes: Vec<u8>, expected: &[&str]| {
        let before = std::fs::read(project.path(path)).unwrap();
        project.file(path, bytes);
        makes(&project, path, expected);
        project.file(path, before);
        makes(&project, &format!("{path} taken back"), NOTHING);
    };
    edit("pictures/b.png", picture(9, 80, 80, 255), &["latent b.png"]);
    edit("pictures/b.caption", b"another caption".to_vec(), &["merge b.png", "text b.png"]);
    edit("pictures/c.txt", b"other tags".to_vec(), &["merge c.png", "text c.png"]);
    // One caption for two pictures is encoded once, and here it was before.
    let same = std::fs::read(project.path("pictures/a.caption")).unwrap();
    edit("pictures/a.caption", [same, b"\r\n".to_vec()].concat(), &["merge a.png", "~text a.png"]);
    for ending in ["png", "caption", "txt"] {
        project.rename(&format!("pictures/a.{ending}"), &format!("pictures/renamed.{ending}"));
    }
    makes(&project, "a renamed picture", NOTHING);
}

#[test]
fn every_key_has_a_line_here() {
    let schema = fluxpipe::manifest::schema();
    let keys = |table: &str, schema: &Value| {
        let keys = schema["properties"].as_object().unwrap().keys();
        // What a stage is and reads is not a parameter; the graph is tested elsewhere.
        let keys = keys.filter(|key| !["kind", "needs"].contains(&key.as_str()));
        keys.map(|key| format!("{table}.{key}")).collect::<Vec<_>>()
    };
    let defined = [
        keys("dataset", &schema["properties"]["dataset"]["items"]),
        keys("models", &schema["properties"]["models"]),
        keys("stages.merge", &schema["definitions"]["merge"]),
        keys("stages.cache", &schema["definitions"]["cache"]),
    ];
    let tested = DATASET.iter().chain(STAGES).map(|edit| format!("{}.{}", edit.key.0, edit.key.1));
    let defined: BTreeSet<_> = defined.concat().into_iter().collect();
    assert_eq!(tested.collect::<BTreeSet<_>>(), defined);
}
