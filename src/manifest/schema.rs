//! The JSON Schema of a manifest: of each table for the check, and of the whole for editors.
//!
//! Both come from the same types, so an editor underlines what the program would refuse.

use std::{
    any::TypeId,
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value as Json, json};

use super::{
    Cache, Dataset, Finetune, Kind, Label, Merge, Models, Project, Sample, Samples, StoreSettings,
    Tag,
};

/// The schema of a manifest, draft-07, as in `schemas/manifest.schema.json`.
#[must_use]
pub fn schema() -> Json {
    let definitions: Map<String, Json> =
        Kind::ALL.into_iter().map(|kind| (kind.to_string(), stage(kind))).collect();
    let refer = |kind: &Kind| json!({ "$ref": format!("#/definitions/{kind}") });
    let named: Map<String, Json> =
        Kind::ALL.iter().map(|kind| (kind.to_string(), refer(kind))).collect();
    let by_kind: Vec<Json> = Kind::ALL
        .iter()
        .map(|kind| {
            let is_kind =
                json!({ "required": ["kind"], "properties": { "kind": { "const": kind } } });
            json!({ "if": is_kind, "then": refer(kind) })
        })
        .collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "fluxpipe manifest",
        "description": "Folders of pictures and the stages that turn them into a fine-tuned FLUX.1 model.",
        "type": "object",
        "required": ["project", "dataset", "stages"],
        "additionalProperties": false,
        "properties": {
            "project": table::<Project>(),
            "models": table::<Models>(),
            "store": table::<StoreSettings>(),
            "dataset": {
                "description": "Folders of pictures.",
                "type": "array",
                "minItems": 1,
                "items": table::<Dataset>(),
            },
            "stages": {
                "description": "What is done with the pictures, by the names of the stages.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": "^[a-z0-9_-]+$" },
                "properties": named,
                "additionalProperties": {
                    "type": "object",
                    "required": ["kind"],
                    "properties": { "kind": { "enum": Kind::ALL } },
                    "allOf": by_kind,
                },
            },
        },
        "definitions": definitions,
    })
}

/// The schema of one kind's table, with what every stage has.
fn stage(kind: Kind) -> Json {
    let mut schema = config(kind);
    schema["properties"]["kind"] = json!({
        "description": "What the stage does; it may be left out where the stage is named after its kind.",
        "const": kind,
    });
    schema["properties"]["needs"] = needs();
    schema
}

/// The schema of `needs`.
pub(super) fn needs() -> Json {
    json!({
        "description": "Names of the stages whose outputs this one reads; found by their kinds where it is left out.",
        "type": "array",
        "items": { "type": "string" },
    })
}

/// The schema of a kind's parameters.
pub(super) fn config(kind: Kind) -> Json {
    match kind {
        Kind::Label => table::<Label>(),
        Kind::Tag => table::<Tag>(),
        Kind::Merge => table::<Merge>(),
        Kind::Cache => table::<Cache>(),
        Kind::Finetune => table::<Finetune>(),
        Kind::Sample => table::<Sample>(),
    }
}

/// Every table of a manifest with the words for it. Made once: a file may have as many mistakes as lines.
pub(super) fn tables() -> &'static [(String, Json)] {
    static TABLES: LazyLock<Vec<(String, Json)>> = LazyLock::new(all_tables);
    &TABLES
}

fn all_tables() -> Vec<(String, Json)> {
    let fixed = [
        ("[project]".to_owned(), table::<Project>()),
        ("[models]".to_owned(), table::<Models>()),
        ("[[dataset]]".to_owned(), table::<Dataset>()),
    ];
    let stages = Kind::ALL.map(|kind| (format!("[stages.{kind}]"), config(kind)));
    let inner = [("[stages.finetune.samples]".to_owned(), table::<Samples>())];
    fixed.into_iter().chain(stages).chain(inner).collect()
}

/// The schema of one table, made once: a manifest may have as many tables of one type as lines.
pub(super) fn shared<T: JsonSchema + 'static>() -> Arc<Json> {
    static MADE: Mutex<BTreeMap<TypeId, Arc<Json>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(table::<T>())).clone()
}

/// The schema of one table, self-contained.
pub(super) fn table<T: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    for head in ["$schema", "title"] {
        schema.as_object_mut().map(|fields| fields.remove(head));
    }
    // A key that must be stated has a default in its Rust type only.
    let required: Vec<String> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    for name in required {
        schema["properties"][name].as_object_mut().map(|fields| fields.remove("default"));
    }
    tidy(&mut schema);
    schema
}

/// TOML has no null: a key that is not set is left out.
fn tidy(schema: &mut Json) {
    match schema {
        Json::Object(fields) => {
            // Docs are wrapped for the source, and an editor wraps them for itself.
            if let Some(Json::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            fields.retain(|name, value| !(name == "default" && value.is_null()));
            if let Some(Json::Array(types)) = fields.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    fields.insert("type".to_owned(), only);
                }
            }
            if let Some(Json::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
                if let [Json::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    fields.remove("anyOf");
                    fields.extend(only.into_iter().filter(|(name, _)| name != "description"));
                }
            }
            fields.values_mut().for_each(tidy);
        }
        Json::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}
