//! What the cache stage keeps of captions, option by option, and out of which files it makes it.

use std::{collections::BTreeMap, fs, path::Path};

use fluxpipe::weights::{Checkpoint, Entry, Writer};

use crate::{Project, project::MANIFEST};

/// The pipeline up to the cache.
fn project() -> Project {
    let project = Project::fresh();
    let (text, _) = MANIFEST.split_once("[stages.finetune]").unwrap();
    // Longer than any caption of the demo.
    project.manifest(&text.replace("max_token_length = 32", "max_token_length = 512"));
    project
}

/// All text records in the store: their tensors and headers, by their bytes, so in a fixed order.
fn records(project: &Project) -> Vec<Checkpoint> {
    let mut found = BTreeMap::new();
    for entry in walk(&project.path("out/store")) {
        let bytes = fs::read(entry).unwrap();
        if let Ok(file) = Checkpoint::from_bytes(Path::new("record"), bytes.clone())
            && file.info("clip_pooled").is_some()
        {
            found.insert(bytes, file);
        }
    }
    found.into_values().collect()
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: std::path::PathBuf| if path.is_dir() { walk(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

fn tokens(record: &Checkpoint) -> usize {
    record.metadata()["t5_tokens"].parse().unwrap()
}

#[test]
fn padding_is_stored_or_masked_as_the_manifest_says() {
    let project = project();
    project.run().exits(0);
    let padded = records(&project);
    assert_eq!(padded.len(), 5);
    for record in &padded {
        assert_eq!(record.info("t5").unwrap().shape, [512, 32]);
        assert_eq!(record.metadata().get("t5_padding"), None);
        assert!((2..512).contains(&tokens(record)), "{}", tokens(record));
    }

    project.replace("[stages.cache]", "[stages.cache]\nattend_padding = false");
    let done = "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 5 of 10";
    let run = project.does(done);
    assert!(run.made().iter().all(|made| made.starts_with("cache/text ")), "{:?}", run.made());
    let all = records(&project);
    let masked = all.iter().filter(|record| record.metadata().contains_key("t5_padding"));
    let masked = masked.collect::<Vec<_>>();
    assert_eq!((all.len(), masked.len()), (10, 5));
    for record in masked {
        assert_eq!(record.metadata()["t5_padding"], "masked");
        assert_eq!(record.info("t5").unwrap().shape, [tokens(record), 32]);
        // CLIP-L knows nothing of it; T5's real tokens no longer saw any padding.
        let pooled = record.f32("clip_pooled").unwrap();
        let other = padded.iter().find(|other| other.f32("clip_pooled").unwrap() == pooled);
        let other = other.expect("the same caption with padding").f32("t5").unwrap();
        assert_ne!(record.f32("t5").unwrap()[..32], other[..32]);
    }
}

#[test]
fn masked_texts_are_trained_on() {
    let project = Project::fresh();
    project
        .replace("[stages.cache]", "[stages.cache]\nattend_padding = false\ntext_batch_size = 2");
    project.replace("seed = 42", "seed = 42\ntrain_batch_size = 2");
    let run = project.run().exits(0);
    assert!(run.counts().ends_with("cache 10 of 10, finetune 1 of 1"), "{}", run.counts());
    project.is_idle();
}

#[test]
fn records_do_not_depend_on_the_batch_and_have_the_number_format_that_was_asked_for() {
    let made = |options: &str| {
        let project = project();
        project.replace("[stages.cache]", &format!("[stages.cache]\n{options}"));
        project.run().exits(0);
        records(&project)
    };
    let tensors = |record: &Checkpoint| {
        record.names().map(|name| record.bytes(name).unwrap().into_owned()).collect::<Vec<_>>()
    };
    let all = |records: &[Checkpoint]| records.iter().map(tensors).collect::<Vec<_>>();
    let one = made("text_batch_size = 1");
    assert_eq!(all(&one), all(&made("text_batch_size = 4")));
    let wide = made("text_dtype = \"f32\"");
    let mut seen = 0;
    for record in &one {
        let near = |other: &&Checkpoint| {
            let pairs = [record, *other].map(|record| record.f32("t5").unwrap());
            pairs[0].iter().zip(&pairs[1]).all(|(a, b)| (a - b).abs() <= b.abs() / 256.0)
        };
        seen += wide.iter().filter(near).count();
    }
    assert_eq!(seen, 5);
    assert_eq!(wide[0].info("t5").unwrap().dtype.name(), "F32");
    assert_eq!(one[0].info("t5").unwrap().dtype.name(), "BF16");
}

/// The networks of the demo in one file, below the prefixes that programs write.
fn all_in_one() -> Vec<u8> {
    let files = [
        ("vae.", "ae"),
        ("text_encoders.clip_l.transformer.", "clip_l"),
        ("text_encoders.t5xxl.transformer.", "t5xxl"),
    ]
    .map(|(prefix, name)| {
        let bytes = Project::network(&format!("{name}.safetensors"));
        (prefix, Checkpoint::from_bytes(Path::new(name), bytes).unwrap())
    });
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (prefix, file) in &files {
        for name in file.names() {
            let info = file.info(name).unwrap().clone();
            let name_there = format!("{prefix}{name}");
            entries.push(Entry { name: name_there, dtype: info.dtype, shape: info.shape });
            data.push(file.bytes(name).unwrap());
        }
    }
    let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
    data.iter().for_each(|bytes| writer.tensor(bytes).unwrap());
    writer.finish().unwrap()
}

#[test]
fn one_file_serves_for_all_networks_it_holds() {
    let project = project();
    project.run().exits(0);
    let before = records(&project);
    project.file("all.safetensors", all_in_one());
    let text = project.read("project.toml");
    let lines = text.lines().map(|line| {
        let name = line.split(" = ").next().unwrap();
        let served = ["ae", "clip_l", "t5xxl"].contains(&name);
        if served { format!("{name} = \"all.safetensors\"") } else { line.to_owned() }
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    project.file("project.toml", lines);
    project.call(&["check", "project.toml"]).exits(0);
    project
        .does("label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 10 of 10");
    // Another file, so all is made anew; what is made is the same, so nothing new is stored.
    assert_eq!(records(&project).len(), before.len());

    let text = project.call(&["inspect", "all.safetensors"]).exits(0).stdout;
    assert!(text.contains("network     FLUX.1 autoencoder"), "{text}");
    assert!(text.contains("also        CLIP text encoder: 2 layers"), "{text}");
    assert!(text.contains("also        T5 encoder: 2 layers"), "{text}");
}

#[test]
fn a_file_of_another_network_is_named_before_any_work() {
    let project = project();
    let text = project.read("project.toml");
    let swapped = text.replace("clip_l.safetensors", "t5xxl.safetensors");
    project.file("project.toml", swapped);
    let run = project.call(&["run", "project.toml"]).exits(3);
    assert!(run.stderr.contains("which holds a T5 encoder"), "{}", run.stderr);
}
