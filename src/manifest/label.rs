//! `[stages.label]`: captions by BLIP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Params;

/// Writes a caption for each picture with BLIP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Label {
    /// Beams of the search; 1 takes the likeliest word each time.
    #[schemars(range(min = 1, max = 64))]
    pub num_beams: u32,
    /// Fewest tokens of a caption, the prompt included.
    #[schemars(range(min = 1, max = 512))]
    pub min_length: u32,
    /// Most tokens of a caption, the prompt included.
    #[schemars(range(min = 1, max = 512))]
    pub max_length: u32,
    /// Words that the network goes on from; they are not part of the caption.
    pub prompt: String,
    /// Pictures that run through the network at once.
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Ending of the sidecar file.
    #[schemars(length(min = 2))]
    pub caption_extension: String,
    /// What happens to a sidecar that a human wrote: `keep` it and use it, or `overwrite` it.
    pub existing: Existing,
}

impl Default for Label {
    fn default() -> Self {
        Self {
            num_beams: 1,
            min_length: 5,
            max_length: 75,
            prompt: "a picture of ".to_owned(),
            batch_size: 1,
            caption_extension: ".caption".to_owned(),
            existing: Existing::Keep,
        }
    }
}

/// A caption does not depend on the other pictures of its batch, nor on where it is written.
impl Params for Label {
    const NOT_IN_KEY: &'static [&'static str] = &["batch_size", "caption_extension", "existing"];
}

/// What happens to a sidecar that a human wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It stays and is used.
    Keep,
    /// What fluxpipe finds is added to it. Of tags only: a caption is a sentence.
    Append,
    /// It is written over.
    Overwrite,
}
