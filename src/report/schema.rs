//! JSON Schemas (draft-07) of what commands print with `--json`, made from the types that are printed.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use super::{
    Inspected,
    log::{RunDifference, RunList, RunTold},
};
use crate::{
    migrate,
    pipeline::{Blessing, Event, Plan, Why, housekeeping},
    stages::{captions::Captions, losses::Losses},
};

/// The schemas, by their file names below `schemas/`.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("plan.schema.json", schema_of::<Plan>()),
        ("event.schema.json", schema_of::<Event>()),
        ("captions.schema.json", schema_of::<Captions>()),
        ("losses.schema.json", schema_of::<Losses>()),
        ("import.schema.json", schema_of::<migrate::Imported>()),
        ("why.schema.json", schema_of::<Why>()),
        ("log.schema.json", schema_of::<RunList>()),
        ("log-show.schema.json", schema_of::<RunTold>()),
        ("log-diff.schema.json", schema_of::<RunDifference>()),
        ("bless.schema.json", schema_of::<Blessing>()),
        ("inspect.schema.json", schema_of::<Inspected>()),
        ("cache-du.schema.json", schema_of::<housekeeping::Usage>()),
        ("cache-verify.schema.json", schema_of::<housekeeping::Verified>()),
        ("cache-gc.schema.json", schema_of::<housekeeping::Collected>()),
        ("cache-export.schema.json", schema_of::<housekeeping::Bundle>()),
        ("cache-import.schema.json", schema_of::<housekeeping::Imported>()),
    ]
}

/// The schema in the file `NAME.schema.json`.
#[must_use]
pub fn schema(name: &str) -> Option<Value> {
    let file = format!("{name}.schema.json");
    schemas().into_iter().find(|(known, _)| *known == file).map(|(_, schema)| schema)
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().for_serialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}
