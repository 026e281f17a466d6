//! The schemas of what commands print with `--json` are those of the types that are printed.
//! `UPDATE_SCHEMAS=1 cargo test --release --test house` writes them anew.

use std::{fs, path::Path};

use fluxpipe::report::{
    BLESS_SCHEMA, CAPTIONS_SCHEMA, EVENT_SCHEMA, IMPORT_SCHEMA, INSPECT_SCHEMA, LOG_DIFF_SCHEMA,
    LOG_SCHEMA, LOG_SHOW_SCHEMA, LOSSES_SCHEMA, PLAN_SCHEMA, WHY_SCHEMA, bless_schema,
    captions_schema, event_schema, import_schema, inspect_schema, log_diff_schema, log_schema,
    log_show_schema, losses_schema, plan_schema, why_schema,
};

#[test]
fn schemas_of_what_is_printed_are_up_to_date() {
    for (name, schema) in [
        (PLAN_SCHEMA, plan_schema()),
        (EVENT_SCHEMA, event_schema()),
        (CAPTIONS_SCHEMA, captions_schema()),
        (LOSSES_SCHEMA, losses_schema()),
        (IMPORT_SCHEMA, import_schema()),
        (WHY_SCHEMA, why_schema()),
        (BLESS_SCHEMA, bless_schema()),
        (INSPECT_SCHEMA, inspect_schema()),
        (LOG_SCHEMA, log_schema()),
        (LOG_SHOW_SCHEMA, log_show_schema()),
        (LOG_DIFF_SCHEMA, log_diff_schema()),
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
