//! JSON Schemas (draft-07) of what commands print with `--json`, made from the types that are printed.

use schemars::{JsonSchema, generate::SchemaSettings};

use super::{
    Inspected,
    log::{RunDifference, RunList, RunTold},
};
use crate::{
    migrate::Imported,
    pipeline::{Blessing, Event, Plan, Why},
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

/// File name of [`why_schema`] below `schemas/`.
pub const WHY_SCHEMA: &str = "why.schema.json";

/// The schema of the object that `why --json` prints.
#[must_use]
pub fn why_schema() -> serde_json::Value {
    schema_of::<Why>()
}

/// File name of [`log_schema`] below `schemas/`.
pub const LOG_SCHEMA: &str = "log.schema.json";
/// File name of [`log_show_schema`] below `schemas/`.
pub const LOG_SHOW_SCHEMA: &str = "log-show.schema.json";
/// File name of [`log_diff_schema`] below `schemas/`.
pub const LOG_DIFF_SCHEMA: &str = "log-diff.schema.json";

/// The schema of the object that `log --json` prints.
#[must_use]
pub fn log_schema() -> serde_json::Value {
    schema_of::<RunList>()
}

/// The schema of the object that `log show --json` prints.
#[must_use]
pub fn log_show_schema() -> serde_json::Value {
    schema_of::<RunTold>()
}

/// The schema of the object that `log diff --json` prints.
#[must_use]
pub fn log_diff_schema() -> serde_json::Value {
    schema_of::<RunDifference>()
}

/// File name of [`bless_schema`] below `schemas/`.
pub const BLESS_SCHEMA: &str = "bless.schema.json";

/// The schema of the object that `bless --json` prints.
#[must_use]
pub fn bless_schema() -> serde_json::Value {
    schema_of::<Blessing>()
}

/// File name of [`inspect_schema`] below `schemas/`.
pub const INSPECT_SCHEMA: &str = "inspect.schema.json";

/// The schema of the object that `inspect --json` prints.
#[must_use]
pub fn inspect_schema() -> serde_json::Value {
    schema_of::<Inspected>()
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
