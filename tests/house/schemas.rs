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
