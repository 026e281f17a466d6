//! `[stages.label]`: captions by BLIP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Params;

/// Writes a caption for each picture with BLIP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Label {
    /// Whether the likeliest caption is searched for; if not, its words are drawn (nucleus sampling).
    pub beam_search: bool,
    /// Beams of the search; 1 takes the likeliest word each time.
    #[schemars(range(min = 1, max = 64))]
    pub num_beams: u32,
    /// Words are drawn from the likeliest ones that have this probability together.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub top_p: f64,
    /// Words are drawn from so many of the likeliest ones; 0 takes all.
    pub top_k: u32,
    /// How much less likely a word gets that the caption has already, the prompt included; 1 changes
    /// nothing. 1.1 where words are drawn, else 1, if it is not set.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub repetition_penalty: Option<f64>,
    /// Names the draws, together with the picture.
    pub seed: u64,
    /// Fewest tokens of a caption, the prompt included.
    #[schemars(range(min = 1, max = 512))]
    pub min_length: u32,
    /// Most tokens of a caption, the prompt included.
    #[schemars(range(min = 1, max = 512))]
    pub max_length: u32,
    /// Words that the network goes on from; they are not part of the caption.
    pub prompt: String,
    /// Side in pixels to which pictures are brought; what the network was trained on if it is not set.
    #[schemars(range(min = 16, max = 2048), extend("multipleOf" = 16))]
    pub image_size: Option<u32>,
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
            beam_search: true,
            num_beams: 1,
            top_p: 0.9,
            top_k: 50,
            repetition_penalty: None,
            seed: 42,
            min_length: 5,
            max_length: 75,
            prompt: "a picture of ".to_owned(),
            image_size: None,
            batch_size: 1,
            caption_extension: ".caption".to_owned(),
            existing: Existing::Keep,
        }
    }
}

impl Label {
    /// Stated or not, how much less likely a word gets that the caption has already.
    #[must_use]
    pub fn repetition_penalty(&self) -> f64 {
        self.repetition_penalty.unwrap_or(if self.beam_search { 1.0 } else { 1.1 })
    }
}

/// A caption does not depend on the other pictures of its batch, nor on where it is written.
impl Params for Label {
    const NOT_IN_KEY: &'static [&'static str] = &["batch_size", "caption_extension", "existing"];
    const STANDS_FOR: &'static [(&'static str, &'static str)] =
        &[("repetition_penalty", "beam_search")];

    fn resolved(&self) -> Self {
        Self { repetition_penalty: Some(self.repetition_penalty()), ..self.clone() }
    }
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
