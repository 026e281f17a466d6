//! The schemas of what commands print with `--json` are those of the types that are printed.
//! `UPDATE_SCHEMAS=1 cargo test --release --test house` writes them anew.

use std::{fs, path::Path};

use fluxpipe::report::{
    CACHE_DU_SCHEMA, CACHE_EXPORT_SCHEMA, CACHE_GC_SCHEMA, CACHE_IMPORT_SCHEMA,
    CACHE_VERIFY_SCHEMA, CAPTIONS_SCHEMA, EVENT_SCHEMA, LOSSES_SCHEMA, PLAN_SCHEMA,
    cache_du_schema, cache_export_schema, cache_gc_schema, cache_import_schema,
    cache_verify_schema, captions_schema, event_schema, losses_schema, plan_schema,
};

#[test]
fn schemas_of_what_is_printed_are_up_to_date() {
    for (name, schema) in [
        (PLAN_SCHEMA, plan_schema()),
        (EVENT_SCHEMA, event_schema()),
        (CAPTIONS_SCHEMA, captions_schema()),
        (LOSSES_SCHEMA, losses_schema()),
        (CACHE_DU_SCHEMA, cache_du_schema()),
        (CACHE_EXPORT_SCHEMA, cache_export_schema()),
        (CACHE_GC_SCHEMA, cache_gc_schema()),
        (CACHE_IMPORT_SCHEMA, cache_import_schema()),
        (CACHE_VERIFY_SCHEMA, cache_verify_schema()),
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
