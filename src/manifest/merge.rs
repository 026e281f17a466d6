//! `[stages.merge]`: captions and tags become the text that is trained on.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Params, TagList, TagReplacement};

/// Joins captions and tags into the training caption of each picture, and into one metadata file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Merge {
    /// Whether captions are cleaned as `clean_captions_and_tags` of the training scripts does: words
    /// for people become `girl`. Made for drawings.
    pub clean_captions: bool,
    /// Whether tags are cleaned as it does: spaces for underscores, nothing behind a rating, nothing
    /// said twice of several people.
    pub clean_tags: bool,
    /// Tags to be written in another way: pairs of a tag and what stands for it: a tag, several with
    /// the separator between them, or none.
    pub replace_tags: TagReplacement,
    /// Tags that are left out.
    pub remove_tags: TagList,
    /// Whether a tag that a picture has twice is written once, at its first place.
    pub deduplicate_tags: bool,
    /// Tags that come first for every picture, such as the word that shall call the trained subject.
    #[schemars(inner(length(min = 1)))]
    pub prepend_tags: Vec<String>,
    /// Tags that come last for every picture, where it does not have them.
    #[schemars(inner(length(min = 1)))]
    pub append_tags: Vec<String>,
    /// The training caption; `{caption}` and `{tags}` stand for what the picture has.
    pub template: String,
    /// Seed of what is drawn in captions.
    pub seed: u64,
    /// A metadata file with captions and tags of pictures that have no sidecar, relative to the
    /// manifest: `meta_data.json` of the training scripts, or lines of JSON in a `.jsonl`.
    #[schemars(length(min = 1))]
    pub in_json: Option<PathBuf>,
    /// Whether the metadata file names pictures by their full path rather than by their stem, or as
    /// `in_json` does.
    pub full_path: bool,
    /// The metadata file, relative to the output folder; lines of JSON where it ends in `.jsonl`.
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
            clean_captions: false,
            clean_tags: false,
            replace_tags: TagReplacement::default(),
            remove_tags: TagList::default(),
            deduplicate_tags: true,
            prepend_tags: Vec::new(),
            append_tags: Vec::new(),
            template: "{caption}, {tags}".to_owned(),
            seed: 42,
            in_json: None,
            full_path: false,
            out_json: "meta_data.json".into(),
        }
    }
}

/// The metadata file shows the training captions; nothing reads it. What `in_json` says of a picture
/// is a part of its item, and so is the seed where something is drawn.
impl Params for Merge {
    const NOT_IN_KEY: &'static [&'static str] = &["seed", "in_json", "full_path", "out_json"];
}
