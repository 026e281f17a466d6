//! Stage `label`, option by option, on real pictures and the small captioner of the demo. Its words
//! mean nothing, but they depend on the picture and on every option as those of a large one do.

use std::{collections::BTreeMap, path::Path};

use fluxpipe::weights::{Checkpoint, Entry, Writer};

use crate::{
    Project,
    project::{PICTURES, networks},
};

const MANIFEST: &str = r#"
[project]
name = "words"
output = "out"
device = "cpu"

[models]
blip = "MODELS/blip.safetensors"

[[dataset]]
image_dir = "pictures"
sidecars = "words"
resolution = 1024

[stages.label]
max_length = 16
"#;

/// Eight pictures of several formats and proportions.
fn project(options: &str) -> Project {
    let project = Project::with_manifest(&format!("{MANIFEST}{options}\n"));
    for picture in PICTURES.into_iter().chain(["camera.jpg", "chelsea.png", "horse.png"]) {
        project.photograph(picture, &format!("pictures/{picture}"));
    }
    project
}

/// What the pictures are called, by their names without ending.
fn words(project: &Project) -> BTreeMap<String, String> {
    project.run().exits(0);
    let files = std::fs::read_dir(project.path("words")).expect("sidecars");
    let paths = files.map(|file| file.expect("a file").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|ending| ending == "caption"));
    paths
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a caption");
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (stem, text.strip_suffix('\n').expect("one line").to_owned())
        })
        .collect()
}

fn captions(options: &str) -> BTreeMap<String, String> {
    words(&project(options))
}

/// Greedy, three beams, sampling.
const SEARCHES: [&str; 3] = ["", "num_beams = 3", "beam_search = false"];

#[test]
fn captions_do_not_depend_on_the_batch() {
    for search in SEARCHES {
        let alone = captions(search);
        assert_eq!(alone.len(), 8);
        for batch in [3, 8] {
            assert_eq!(captions(&format!("{search}\nbatch_size = {batch}")), alone, "{search:?}");
        }
    }
}

#[test]
fn the_searches_differ_and_the_default_is_greedy() {
    let [greedy, beams, drawn] = SEARCHES.map(captions);
    assert!(greedy != beams && beams != drawn && drawn != greedy);
    assert_eq!(captions("beam_search = true\nnum_beams = 1"), greedy);
    // The originals' values, which are the defaults here.
    let stated =
        "beam_search = false\ntop_p = 0.9\ntop_k = 50\nrepetition_penalty = 1.1\nseed = 42";
    assert_eq!(captions(stated), drawn);
    // Where the likeliest word is all that is left, nothing is up to chance.
    let certain = "beam_search = false\nrepetition_penalty = 1.0";
    assert_eq!(captions(&format!("{certain}\ntop_k = 1")), greedy);
    assert_eq!(captions(&format!("{certain}\ntop_p = 0.000001\ntop_k = 0\nseed = 7")), greedy);
}

#[test]
fn drawn_captions_follow_seed_and_picture_and_nothing_else() {
    let drawn = captions("beam_search = false");
    assert_ne!(captions("beam_search = false\nseed = 43"), drawn);
    assert_ne!(captions("beam_search = false\ntop_p = 0.5"), drawn);
    assert_ne!(captions("beam_search = false\ntop_k = 2"), drawn);
    // Alone, and under another name.
    let project = Project::with_manifest(&format!("{MANIFEST}beam_search = false\n"));
    project.photograph("rocket.jpg", "pictures/a.jpg");
    assert_eq!(words(&project)["a"], drawn["rocket"]);
}

#[test]
fn a_repeated_word_can_be_made_unlikely() {
    let repeats = |captions: &BTreeMap<String, String>| {
        let doubled = |text: &String| {
            let words = text.split_whitespace().collect::<Vec<_>>();
            words.iter().enumerate().filter(|(at, word)| words[..*at].contains(word)).count()
        };
        captions.values().map(doubled).sum::<usize>()
    };
    for search in SEARCHES {
        let without = captions(&format!("{search}\nrepetition_penalty = 1.0"));
        let with = captions(&format!("{search}\nrepetition_penalty = 50.0"));
        assert_ne!(without, with, "{search:?}");
        assert!(repeats(&with) <= repeats(&without), "{search:?}: {without:?} {with:?}");
        // With beams the penalty is on logarithms of probabilities: what is nearly certain stays so.
        if !search.contains("beams") {
            assert_eq!(repeats(&with), 0, "{search:?}: {with:?}");
        }
    }
    assert!(repeats(&captions("")) > 0, "there is nothing to avoid");
}

#[test]
fn lengths_count_the_prompt() {
    // The prompt is 4 tokens with its mark, and a token gives one word at most.
    let words = |text: &String| text.split_whitespace().count();
    let project = project("min_length = 7");
    project.replace("max_length = 16", "max_length = 7");
    let three = self::words(&project);
    assert!(three.values().all(|text| words(text) <= 3), "{three:?}");
    let project = self::project("min_length = 40");
    project.replace("max_length = 16", "max_length = 40");
    let long = self::words(&project);
    assert!(long.values().all(|text| words(text) > 8), "{long:?}");
}

#[test]
fn the_prompt_leads_and_is_not_written() {
    let usual = captions("");
    assert!(usual.values().all(|text| !text.starts_with("a picture of")), "{usual:?}");
    for prompt in ["", "it's a close-up, of", "Ünïcödé  ČAPS", "[SEP] what", "日本"] {
        let led = captions(&format!("prompt = \"{prompt}\""));
        assert_eq!(led.len(), 8, "{prompt:?}");
        assert_ne!(led, usual, "{prompt:?}");
        let start = prompt.to_lowercase();
        let written = |text: &String| !start.is_empty() && text.starts_with(&start);
        assert!(!led.values().any(written), "{led:?}");
    }
}

#[test]
fn a_prompt_that_leaves_no_room_is_shown_at_its_line() {
    let project = project(
        "prompt = \"one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen\"",
    );
    for command in ["check", "plan", "run"] {
        let run = project.call(&[command, "project.toml"]).exits(2);
        assert!(run.stderr.contains("fluxpipe::manifest::conflict"), "{}", run.stderr);
    }
    insta::assert_snapshot!(project.call(&["run", "project.toml"]).seen());
    // One word less fits.
    project.replace(" fifteen", "");
    project.run().exits(0);
}

#[test]
fn a_prompt_that_fills_the_network_s_positions_is_an_error() {
    // The demo's decoder has 96 positions.
    let project = project(&format!("prompt = \"{}\"", "word ".repeat(96)));
    project.replace("max_length = 16", "max_length = 200");
    let run = project.call(&["run", "project.toml"]).exits(2);
    assert!(run.stderr.contains("fluxpipe::blip::prompt"), "{}", run.stderr);
    assert!(run.stderr.contains("up to 96"), "{}", run.stderr);
}

#[test]
fn pictures_of_another_size_are_seen_otherwise() {
    let own = captions("");
    assert_eq!(captions("image_size = 64"), own, "as it was trained");
    assert_ne!(captions("image_size = 32"), own);
    assert_ne!(captions("image_size = 96"), own);
    let project = project("image_size = 100");
    let run = project.call(&["check", "project.toml"]).exits(2);
    assert!(run.stderr.contains("a multiple of 16"), "{}", run.stderr);
}

#[test]
fn what_changes_no_caption_makes_none_anew() {
    let project = project("beam_search = false");
    project.does("label 8 of 8");
    project.replace("beam_search = false", "beam_search = false\nbatch_size = 4");
    project.does("label 0 of 8");
    project.replace("batch_size = 4", "repetition_penalty = 1.1");
    project.does("label 0 of 8");
    project.replace("repetition_penalty = 1.1", "caption_extension = \".words\"");
    let run = project.does("label 0 of 8");
    assert_eq!(run.published().len(), 8, "the same captions in other files");
    project.replace("caption_extension = \".words\"", "seed = 43");
    project.does("label 8 of 8");
}

#[test]
fn a_file_of_transformers_is_a_captioner_too() {
    let project = project("");
    let expected = words(&project);
    project.file("transformers.safetensors", in_transformers());
    project
        .replace(networks().join("blip.safetensors").to_str().unwrap(), "transformers.safetensors");
    project.call(&["check", "project.toml"]).exits(0);
    let seen = project.call(&["inspect", "transformers.safetensors"]).exits(0).stdout;
    assert!(seen.contains("BLIP captioner") && seen.contains("transformers"), "{seen}");
    project.does("label 8 of 8");
    assert_eq!(words(&project), expected);
}

/// The demo's captioner under the names of transformers.
fn in_transformers() -> Vec<u8> {
    const NAMES: [(&str, &str); 9] = [
        ("visual_encoder.cls_token", "vision_model.embeddings.class_embedding"),
        ("visual_encoder.pos_embed", "vision_model.embeddings.position_embedding"),
        ("visual_encoder.patch_embed.proj", "vision_model.embeddings.patch_embedding"),
        ("visual_encoder.blocks", "vision_model.encoder.layers"),
        ("visual_encoder.norm", "vision_model.post_layernorm"),
        (".attn.qkv", ".self_attn.qkv"),
        (".attn.proj", ".self_attn.projection"),
        (".norm1", ".layer_norm1"),
        (".norm2", ".layer_norm2"),
    ];
    let renamed =
        |name: &str| NAMES.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new));
    let bytes = Project::network("blip.safetensors");
    let file = Checkpoint::from_bytes(Path::new("blip.safetensors"), bytes).unwrap();
    let entries = file.names().map(|name| {
        let info = file.info(name).unwrap().clone();
        Entry { name: renamed(name), dtype: info.dtype, shape: info.shape }
    });
    let entries = entries.collect::<Vec<_>>();
    let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
    file.names().for_each(|name| writer.tensor(&file.bytes(name).unwrap()).unwrap());
    writer.finish().unwrap()
}

#[test]
fn weights_may_be_a_folder_of_shards() {
    let bytes = Project::network("blip.safetensors");
    let file = Checkpoint::from_bytes(Path::new("blip.safetensors"), bytes).unwrap();
    let project = project("");
    let names: Vec<_> = file.names().collect();
    for (index, names) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let entry = |name: &&str| {
            let info = file.info(name).unwrap().clone();
            Entry { name: (*name).to_owned(), dtype: info.dtype, shape: info.shape }
        };
        let entries: Vec<_> = names.iter().map(entry).collect();
        let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
        names.iter().for_each(|name| writer.tensor(&file.bytes(name).unwrap()).unwrap());
        project.file(&format!("shards/{index}.safetensors"), writer.finish().unwrap());
    }
    let text = project.read("project.toml");
    let line = text.lines().find(|line| line.starts_with("blip = ")).unwrap().to_owned();
    project.replace(&line, "blip = \"shards\"");
    project.call(&["check", "project.toml"]).exits(0);
    assert_eq!(words(&project), captions(""));
    // Another file among them is another network.
    let plan = project.plan();
    assert!(plan.starts_with("label 0 of 8"), "{plan}");
    project
        .file("shards/0.safetensors", std::fs::read(project.path("shards/1.safetensors")).unwrap());
    assert!(project.plan().starts_with("label 8 of 8"), "{}", project.plan());
}
