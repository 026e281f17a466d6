//! `[stages.merge]`: captions and tags become the text that is trained on.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Params;

/// Joins captions and tags into the training caption of each picture, and into one metadata file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Merge {
    /// Tags that come first for every picture, such as the word that shall call the trained subject.
    #[schemars(inner(length(min = 1)))]
    pub prepend_tags: Vec<String>,
    /// The training caption; `{caption}` and `{tags}` stand for what the picture has.
    pub template: String,
    /// Whether the metadata file names pictures by their full path rather than by their stem.
    pub full_path: bool,
    /// The metadata file, relative to the output folder.
    #[schemars(length(min = 1))]
    pub out_json: PathBuf,
}

impl Merge {
    /// What a template may name.
    pub const PLACEHOLDERS: [&'static str; 2] = ["caption", "tags"];
}

impl Default for Merge {
    fn default() -> Self {
        Self {
            prepend_tags: Vec::new(),
            template: "{caption}, {tags}".to_owned(),
            full_path: false,
            out_json: "meta_data.json".into(),
        }
    }
}

/// The metadata file shows the training captions; nothing reads it.
impl Params for Merge {
    const NOT_IN_KEY: &'static [&'static str] = &["full_path", "out_json"];
}
