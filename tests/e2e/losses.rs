//! What a training tells: which pictures are hard, and how it goes.

use fluxpipe::report;
use serde_json::Value;

use crate::{Project, project::PICTURES};

#[test]
fn the_hardest_pictures_have_names_and_captions() {
    let project = Project::fresh();
    let nothing = project.call(&["losses", "project.toml"]).exits(1);
    assert!(nothing.stderr.contains("no training has come to its end"), "{}", nothing.stderr);
    project.run().exits(0);
    let listed = |more: &[&str]| {
        let args = [&["losses", "project.toml", "--json"], more].concat();
        serde_json::from_str::<Value>(&project.call(&args).exits(0).stdout).unwrap()
    };
    let all = listed(&[]);
    let schema = report::schema("losses").unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&all), keys(&schema["properties"]));
    assert_eq!(all["epochs"], serde_json::json!([1, 2]));
    let pictures = all["pictures"].as_array().unwrap();
    let mut names = pictures.iter().map(|it| it["item"].as_str().unwrap()).collect::<Vec<_>>();
    names.sort_unstable();
    assert_eq!(names, PICTURES);
    let number = |picture: &Value, name: &str| picture[name].as_f64().unwrap();
    assert!(pictures.is_sorted_by(|a, b| number(a, "relative") >= number(b, "relative")));
    for picture in pictures {
        assert!(picture["caption"].as_str().unwrap().contains("small demo"), "{picture}");
        assert_eq!(picture["appearances"], 2);
        assert!(number(picture, "loss") > 0.0 && (0.0..=1.0).contains(&number(picture, "sigma")));
    }
    let last = listed(&["--epoch", "2", "--top", "1"]);
    assert_eq!(last["epochs"], serde_json::json!([2]));
    assert_eq!(last["pictures"].as_array().unwrap().len(), 1);
    assert_eq!(last["total"], 5);
    let seen = project.call(&["losses", "project.toml", "--top", "2"]).exits(0).stdout;
    assert!(seen.contains("5 pictures in 2 epochs"), "{seen}");
    assert_eq!(seen.lines().filter(|line| line.contains("small demo")).count(), 2, "{seen}");
}

#[test]
fn a_training_can_be_followed() {
    let project = Project::finished();
    let lines = project.read("out/logs/small/training.jsonl");
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.collect::<Vec<_>>();
    // Five pictures of five sizes, twice.
    let steps = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(steps, (1..=10).collect::<Vec<_>>());
    for line in &lines {
        assert!(line["seconds"].as_f64().unwrap() > 0.0 && line["tflops"].as_f64().unwrap() > 0.0);
        assert!(
            ["compute", "reading", "swapping"].contains(&line["limited_by"].as_str().unwrap()),
            "{line}"
        );
    }
    let logs = std::fs::read_dir(project.path("out/logs/small")).unwrap();
    let files = logs.map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_none_or(|ending| ending != "jsonl"));
    let files = files.collect::<Vec<_>>();
    assert_eq!(files.len(), 1);
    let bytes = std::fs::read(&files[0]).unwrap();
    // Frame by frame: a length, its sum, the event, its sum.
    let (mut rest, mut events) = (&bytes[..], 0);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        rest = &rest[8 + 4 + length + 4..];
        events += 1;
    }
    // The version, ten steps, and the means of two epochs.
    assert_eq!(events, 13);
    // Metrics with times are no part of the output.
    assert!(!project.read("out/small-metrics.jsonl").contains("seconds"));
}
