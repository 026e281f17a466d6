//! JSON Schemas (draft-07) of what commands print with `--json`, made from the types that are printed.

use schemars::{JsonSchema, generate::SchemaSettings};

use crate::{
    pipeline::{
        Event, Plan,
        housekeeping::{Bundle, Collected, Imported, Usage, Verified},
    },
    stages::{captions::Captions, losses::Losses},
};

/// File name of [`plan_schema`] below `schemas/`.
pub const PLAN_SCHEMA: &str = "plan.schema.json";
/// File name of [`event_schema`] below `schemas/`.
pub const EVENT_SCHEMA: &str = "event.schema.json";

/// File name of [`captions_schema`] below `schemas/`.
pub const CAPTIONS_SCHEMA: &str = "captions.schema.json";

/// The schema of the object that `captions --json` prints.
#[must_use]
pub fn captions_schema() -> serde_json::Value {
    schema_of::<Captions>()
}

/// File name of [`losses_schema`] below `schemas/`.
pub const LOSSES_SCHEMA: &str = "losses.schema.json";

/// The schema of the object that `losses --json` prints.
#[must_use]
pub fn losses_schema() -> serde_json::Value {
    schema_of::<Losses>()
}

/// File name of [`cache_du_schema`] below `schemas/`.
pub const CACHE_DU_SCHEMA: &str = "cache-du.schema.json";

/// The schema of the object that `cache du --json` prints.
#[must_use]
pub fn cache_du_schema() -> serde_json::Value {
    schema_of::<Usage>()
}

/// File name of [`cache_export_schema`] below `schemas/`.
pub const CACHE_EXPORT_SCHEMA: &str = "cache-export.schema.json";

/// The schema of the object that `cache export --json` prints.
#[must_use]
pub fn cache_export_schema() -> serde_json::Value {
    schema_of::<Bundle>()
}

/// File name of [`cache_import_schema`] below `schemas/`.
pub const CACHE_IMPORT_SCHEMA: &str = "cache-import.schema.json";

/// The schema of the object that `cache import --json` prints.
#[must_use]
pub fn cache_import_schema() -> serde_json::Value {
    schema_of::<Imported>()
}

/// File name of [`cache_verify_schema`] below `schemas/`.
pub const CACHE_VERIFY_SCHEMA: &str = "cache-verify.schema.json";

/// The schema of the object that `cache verify --json` prints.
#[must_use]
pub fn cache_verify_schema() -> serde_json::Value {
    schema_of::<Verified>()
}

/// File name of [`cache_gc_schema`] below `schemas/`.
pub const CACHE_GC_SCHEMA: &str = "cache-gc.schema.json";

/// The schema of the object that `cache gc --json` prints.
#[must_use]
pub fn cache_gc_schema() -> serde_json::Value {
    schema_of::<Collected>()
}

/// The schema of the object that `plan --json` prints.
#[must_use]
pub fn plan_schema() -> serde_json::Value {
    schema_of::<Plan>()
}

/// The schema of each line that `run --json` prints.
#[must_use]
pub fn event_schema() -> serde_json::Value {
    schema_of::<Event>()
}

fn schema_of<T: JsonSchema>() -> serde_json::Value {
    let settings = SchemaSettings::draft07().for_serialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}
