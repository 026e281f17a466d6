//! The schemas that editors read are those of the types. `UPDATE_SCHEMAS=1` writes them anew.

use std::{env, fs, path::Path};

use serde_json::Value as Json;

/// Compares `schemas/<name>` with what the types say, or writes it.
pub(crate) fn is_up_to_date(name: &str, schema: &Json) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
    let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "schemas/{name} is stale: run the tests once with UPDATE_SCHEMAS=1");
}

#[test]
fn the_manifest_schema_is_up_to_date() {
    is_up_to_date("manifest.schema.json", &fluxpipe::manifest::schema());
}

/// Whoever adds a key to a training says what it does and what it is called elsewhere.
#[test]
fn every_key_of_a_training_is_in_its_docs() {
    let docs = fs::read_to_string("docs/stages/finetune.md").unwrap();
    let schema = fluxpipe::manifest::schema();
    let finetune = schema["definitions"]["finetune"]["properties"].as_object().unwrap();
    let args = finetune["optimizer_args"]["properties"].as_object().unwrap();
    let rows = docs.lines().filter(|line| line.starts_with("| `"));
    let named: Vec<&str> = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`')).collect();
    let samples = finetune["samples"]["properties"].as_object().unwrap();
    let own = finetune.keys().filter(|key| !["kind", "needs"].contains(&key.as_str()));
    for key in own.chain(args.keys()).chain(samples.keys()) {
        assert!(named.contains(&key.as_str()), "{key} has no row");
    }
    for pitfall in 35..=53 {
        assert!(docs.contains(&format!("P{pitfall}")), "P{pitfall} is not told");
    }
}

/// The same for pictures.
#[test]
fn every_key_of_pictures_is_in_its_docs() {
    let docs = fs::read_to_string("docs/stages/sample.md").unwrap();
    let schema = fluxpipe::manifest::schema();
    let rows = docs.lines().filter(|line| line.starts_with("| `"));
    let named: Vec<&str> = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`')).collect();
    let keys = schema["definitions"]["sample"]["properties"].as_object().unwrap().keys();
    for key in keys.filter(|key| !["kind", "needs"].contains(&key.as_str())) {
        assert!(named.contains(&key.as_str()), "{key} has no row");
    }
}
