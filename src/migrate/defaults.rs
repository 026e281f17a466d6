//! Defaults of the original beside ours: what is not said in a script is written out where they differ.

use serde_json::Value as Json;

use super::{
    flags::{Flag, Takes},
    literal,
};
use crate::manifest;

/// Our defaults, from the schema of manifests.
pub(super) struct Defaults(Json);

impl Defaults {
    pub(super) fn new() -> Self {
        Self(manifest::schema())
    }

    /// The schema of a key: `stages.label.num_beams`, `dataset.resolution`.
    fn key(&self, path: &str) -> &Json {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        let schema = match table {
            "dataset" => &self.0["properties"]["dataset"]["items"],
            "stages.finetune.samples" => {
                &self.0["definitions"]["finetune"]["properties"]["samples"]
            }
            _ => match table.strip_prefix("stages.") {
                Some(kind) => &self.0["definitions"][kind],
                None => &self.0["properties"][table],
            },
        };
        &schema["properties"][key]
    }

    /// Whether there is such a key.
    #[cfg(test)]
    pub(super) fn has(&self, path: &str) -> bool {
        !self.key(path).is_null()
    }

    /// The original's default as a manifest writes it, where ours is another one.
    pub(super) fn other(&self, flag: &Flag, path: &str) -> Option<String> {
        let ours = &self.key(path)["default"];
        let value = match (flag.takes, flag.default) {
            (Takes::Switch, _) => "false".to_owned(),
            (_, "") => return None,
            (takes, text) => literal::of_text(takes, text).ok()?,
        };
        let read: toml::Table = format!("x = {value}").parse().ok()?;
        let theirs = serde_json::to_value(read.get("x")?).ok()?;
        let equal = match (theirs.as_f64(), ours.as_f64()) {
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => theirs == *ours,
        };
        (!equal).then_some(value)
    }
}
