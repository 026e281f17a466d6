//! What files and the machine are said to be.

use crate::Project;

#[test]
fn networks_are_recognised_by_their_tensors() {
    let project = Project::new();
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/demo/models");
    let expected = [
        ("flux1-dev.safetensors", "FLUX.1 dev transformer"),
        ("ae.safetensors", "FLUX.1 autoencoder"),
        ("clip_l.safetensors", "CLIP text encoder"),
        ("t5xxl.safetensors", "T5 encoder"),
        ("blip.safetensors", "BLIP captioner"),
        ("tagger", "WD tagger, by the selected_tags.csv beside it"),
    ];
    for (file, network) in expected {
        let path = format!("{models}/{file}");
        let found = project.run(&["inspect", &path, "--json"]).exits(0).json();
        assert_eq!(found["network"], network, "{file}");
        let text = project.run(&["inspect", &path]).exits(0).stdout;
        assert!(text.contains(network), "{text}");
        let counted = match file {
            "tagger" => found["operators"].as_object().unwrap().len() as u64,
            _ => found["parameters"].as_u64().unwrap(),
        };
        assert!(counted > 0, "{file}");
    }
}

#[test]
fn the_machine_is_described_on_any_machine() {
    let project = Project::new();
    let machine = project.run(&["doctor", "--json"]).exits(0).json();
    assert!(machine["threads"].as_u64().unwrap() > 0);
    assert!(machine["disk_free"].as_u64().unwrap() > 0);
    let auto = machine["auto"].as_str().unwrap();
    assert!(auto == "cpu" || auto == "cuda:0", "{auto}");
    assert!(project.run(&["doctor"]).exits(0).stdout.contains(auto));
}

#[test]
fn a_picture_is_described() {
    let project = Project::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pictures");
    let text = |name: &str| {
        let text = project.run(&["inspect", &format!("{folder}/{name}")]).exits(0).stdout;
        text.replace(folder, "[folder]")
    };
    insta::assert_snapshot!(
        "picture",
        text("turned.jpg") + &text("deep_grey.png") + &text("cmyk.tif")
    );
    let json = project.run(&["inspect", &format!("{folder}/turned.jpg"), "--json"]).exits(0).json();
    assert_eq!((&json["format"], &json["orientation"]), (&"JPEG".into(), &6.into()));
    project.file("text.png", "none");
    let refused = project.run(&["inspect", "text.png"]).exits(1);
    assert!(refused.stderr.contains("not_a_picture"), "{}", refused.stderr);
}
