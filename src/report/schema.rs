//! JSON Schemas (draft-07) of what `plan --json`, `run --json`, `captions --json`, `losses --json` and `import --json` print, made from the types that are
//! printed.

use schemars::{JsonSchema, generate::SchemaSettings};

use crate::{
    migrate::Imported,
    pipeline::{Event, Plan},
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

/// File name of [`import_schema`] below `schemas/`.
pub const IMPORT_SCHEMA: &str = "import.schema.json";

/// The schema of the object that `import --json` prints.
#[must_use]
pub fn import_schema() -> serde_json::Value {
    schema_of::<Imported>()
}

/// File name of [`losses_schema`] below `schemas/`.
pub const LOSSES_SCHEMA: &str = "losses.schema.json";

/// The schema of the object that `losses --json` prints.
#[must_use]
pub fn losses_schema() -> serde_json::Value {
    schema_of::<Losses>()
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
