//! `[stages.tag]`: tags by a WD tagger.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Existing, Params, TagList, TagReplacement};

/// Writes tags for each picture with a WD tagger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tag {
    /// Probability from which a tag is taken.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub thresh: f64,
    /// The same for general tags only; `thresh` where it is not set. Above 1, none is taken.
    #[schemars(range(min = 0.0, max = 1.1))]
    pub general_threshold: Option<f64>,
    /// The same for names of characters only; `thresh` where it is not set. Above 1, none is taken.
    #[schemars(range(min = 0.0, max = 1.1))]
    pub character_threshold: Option<f64>,
    /// The same for names of works only; `thresh` where it is not set.
    #[schemars(range(min = 0.0, max = 1.1))]
    pub copyright_threshold: Option<f64>,
    /// The same for tags about the picture as a file only; `thresh` where it is not set.
    #[schemars(range(min = 0.0, max = 1.1))]
    pub meta_threshold: Option<f64>,
    /// The same for names of picture generators only; `thresh` where it is not set.
    #[schemars(range(min = 0.0, max = 1.1))]
    pub model_threshold: Option<f64>,
    /// The same for names of artists only; `thresh` where it is not set.
    #[schemars(range(min = 0.0, max = 1.1))]
    pub artist_threshold: Option<f64>,
    /// Order of the tags: that of the tagger's list (`csv`), or the most probable first
    /// (`confidence`). Where it is not set, `csv` for a `selected_tags.csv` and `confidence` for a
    /// `tag_mapping.json`.
    pub order: Option<Order>,
    /// Whether `_` becomes a space in tags of more than three letters.
    pub remove_underscore: bool,
    /// Whether a character `name_(series)` is written as `name` and `series`.
    pub character_tag_expand: bool,
    /// Tags to be written in another way: pairs of a tag, as it would be written, and what stands for
    /// it: a tag, several with the separator between them, or none.
    pub tag_replacement: TagReplacement,
    /// Tags that are never written, as they would be written.
    pub undesired_tags: TagList,
    /// Whether characters come before the other tags.
    pub character_tags_first: bool,
    /// Tags that come first wherever they are present, in this order.
    pub always_first_tags: TagList,
    /// Whether the likeliest rating is written, before all other tags.
    pub use_rating_tags: bool,
    /// Whether the likeliest rating is written, after all other tags.
    pub use_rating_tags_as_last_tag: bool,
    /// Whether the likeliest quality is written, before the other tags; only a `tag_mapping.json` has
    /// any.
    pub use_quality_tags: bool,
    /// Whether the likeliest quality is written, after the other tags.
    pub use_quality_tags_as_last_tag: bool,
    /// What stands between two tags.
    #[schemars(length(min = 1))]
    pub caption_separator: String,
    /// Whether each run ends with a table of how many pictures have each tag.
    pub frequency_tags: bool,
    /// Pictures that run through the network at once; a graph of fixed batch size uses its own.
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Ending of the sidecar file.
    #[schemars(length(min = 2))]
    pub caption_extension: String,
    /// What happens to a sidecar that a human wrote: `keep` it and use it, `append` the tags that it
    /// does not have, or `overwrite` it.
    pub existing: Existing,
}

/// In which order tags are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// That of the tagger's list.
    Csv,
    /// The most probable first.
    Confidence,
}

impl Default for Tag {
    fn default() -> Self {
        Self {
            thresh: 0.35,
            general_threshold: None,
            character_threshold: None,
            copyright_threshold: None,
            meta_threshold: None,
            model_threshold: None,
            artist_threshold: None,
            order: None,
            remove_underscore: false,
            character_tag_expand: false,
            tag_replacement: TagReplacement::default(),
            undesired_tags: TagList::default(),
            character_tags_first: false,
            always_first_tags: TagList::default(),
            use_rating_tags: false,
            use_rating_tags_as_last_tag: false,
            use_quality_tags: false,
            use_quality_tags_as_last_tag: false,
            caption_separator: ", ".to_owned(),
            frequency_tags: false,
            batch_size: 1,
            caption_extension: ".txt".to_owned(),
            existing: Existing::Keep,
        }
    }
}

impl Tag {
    /// Probability from which a general tag is taken.
    #[must_use]
    pub fn general_threshold(&self) -> f64 {
        self.general_threshold.unwrap_or(self.thresh)
    }

    /// Probability from which the name of a character is taken.
    #[must_use]
    pub fn character_threshold(&self) -> f64 {
        self.character_threshold.unwrap_or(self.thresh)
    }

    /// Probability from which the name of a work is taken.
    #[must_use]
    pub fn copyright_threshold(&self) -> f64 {
        self.copyright_threshold.unwrap_or(self.thresh)
    }

    /// Probability from which a tag about the picture as a file is taken.
    #[must_use]
    pub fn meta_threshold(&self) -> f64 {
        self.meta_threshold.unwrap_or(self.thresh)
    }

    /// Probability from which the name of a picture generator is taken.
    #[must_use]
    pub fn model_threshold(&self) -> f64 {
        self.model_threshold.unwrap_or(self.thresh)
    }

    /// Probability from which the name of an artist is taken.
    #[must_use]
    pub fn artist_threshold(&self) -> f64 {
        self.artist_threshold.unwrap_or(self.thresh)
    }
}

/// `thresh` counts through the thresholds that it stands for. The batch a picture is in changes no
/// probability, the table of frequencies no text, and what a human wrote is a key part of its own.
impl Params for Tag {
    const NOT_IN_KEY: &'static [&'static str] =
        &["thresh", "frequency_tags", "batch_size", "caption_extension", "existing"];
    const STANDS_FOR: &'static [(&'static str, &'static str)] = &[
        ("general_threshold", "thresh"),
        ("character_threshold", "thresh"),
        ("copyright_threshold", "thresh"),
        ("meta_threshold", "thresh"),
        ("model_threshold", "thresh"),
        ("artist_threshold", "thresh"),
    ];

    fn resolved(&self) -> Self {
        let separator = &self.caption_separator;
        let list = |list: &TagList| TagList::Tags(list.tags(separator));
        let pairs = self.tag_replacement.pairs();
        Self {
            general_threshold: Some(self.general_threshold()),
            character_threshold: Some(self.character_threshold()),
            copyright_threshold: Some(self.copyright_threshold()),
            meta_threshold: Some(self.meta_threshold()),
            model_threshold: Some(self.model_threshold()),
            artist_threshold: Some(self.artist_threshold()),
            // What cannot be read is a mistake of the manifest and never comes to a key.
            tag_replacement: pairs
                .map_or_else(|_| self.tag_replacement.clone(), TagReplacement::Pairs),
            undesired_tags: list(&self.undesired_tags),
            always_first_tags: list(&self.always_first_tags),
            ..self.clone()
        }
    }
}
