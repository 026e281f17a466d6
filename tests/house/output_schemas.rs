//! The schemas of what `plan --json`, `run --json`, `captions --json`, `losses --json` and `import --json` print are those of the types that are printed.
//! `UPDATE_SCHEMAS=1 cargo test --release --test house` writes them anew.

use std::{fs, path::Path};

use fluxpipe::report::{
    CAPTIONS_SCHEMA, EVENT_SCHEMA, IMPORT_SCHEMA, LOSSES_SCHEMA, PLAN_SCHEMA, captions_schema,
    event_schema, import_schema, losses_schema, plan_schema,
};

#[test]
fn schemas_of_what_is_printed_are_up_to_date() {
    for (name, schema) in [
        (PLAN_SCHEMA, plan_schema()),
        (EVENT_SCHEMA, event_schema()),
        (CAPTIONS_SCHEMA, captions_schema()),
        (LOSSES_SCHEMA, losses_schema()),
        (IMPORT_SCHEMA, import_schema()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == text, "schemas/{name} is out of date: run with UPDATE_SCHEMAS=1");
    }
}
