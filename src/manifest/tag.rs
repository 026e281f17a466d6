//! `[stages.tag]`: tags by a WD tagger.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Existing, Params};

/// Writes tags for each picture with a WD tagger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tag {
    /// Probability from which a tag is taken.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub thresh: f64,
    /// The same for general tags only; `thresh` where it is not set.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub general_threshold: Option<f64>,
    /// The same for names of characters only; `thresh` where it is not set.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub character_threshold: Option<f64>,
    /// Whether `_` becomes a space in tags of more than three letters.
    pub remove_underscore: bool,
    /// What stands between two tags.
    #[schemars(length(min = 1))]
    pub caption_separator: String,
    /// Pictures that run through the network at once; a graph of fixed batch size uses its own.
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Ending of the sidecar file.
    #[schemars(length(min = 2))]
    pub caption_extension: String,
    /// What happens to a sidecar that a human wrote: `keep` it and use it, or `overwrite` it.
    pub existing: Existing,
}

impl Default for Tag {
    fn default() -> Self {
        Self {
            thresh: 0.35,
            general_threshold: None,
            character_threshold: None,
            remove_underscore: false,
            caption_separator: ", ".to_owned(),
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
}

/// `thresh` counts through the two thresholds that it stands for.
impl Params for Tag {
    const NOT_IN_KEY: &'static [&'static str] =
        &["thresh", "batch_size", "caption_extension", "existing"];
    const STANDS_FOR: &'static [(&'static str, &'static str)] =
        &[("general_threshold", "thresh"), ("character_threshold", "thresh")];

    fn resolved(&self) -> Self {
        Self {
            general_threshold: Some(self.general_threshold()),
            character_threshold: Some(self.character_threshold()),
            ..self.clone()
        }
    }
}
