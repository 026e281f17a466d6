//! `[stages.sample]`: pictures drawn by the trained model.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Asked, Params};

/// Draws pictures from prompts with the trained model, and beside them those of the model before the
/// training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// What is drawn, one text per prompt; options such as ` --w 768 --d 7` may stand behind it.
    #[schemars(inner(length(min = 1)))]
    pub prompts: Vec<String>,
    /// A file of prompts instead: one per line, `#` begins a comment; or a .toml or .json of sd-scripts.
    #[schemars(length(min = 1))]
    pub prompts_file: Option<PathBuf>,
    /// Width in pixels.
    #[schemars(range(min = 16, max = 8192), extend("multipleOf" = 16))]
    pub width: u32,
    /// Height in pixels.
    #[schemars(range(min = 16, max = 8192), extend("multipleOf" = 16))]
    pub height: u32,
    /// Steps from noise to picture. Where it is not set: 20 for dev and 4 for schnell.
    #[schemars(range(min = 1, max = 1000))]
    pub steps: Option<u32>,
    /// Guidance that dev is told; schnell has none.
    #[schemars(range(min = 0.0))]
    pub guidance: f64,
    /// How far the picture is led away from the negative prompt; 1 does not use one, and takes half the time.
    #[schemars(range(min = 0.0))]
    pub cfg: f64,
    /// What the picture shall not show; needs a `cfg` other than 1.
    pub negative: Option<String>,
    /// Seed of the noise of each prompt's first picture; the next has the next.
    pub seed: u64,
    /// Pictures of each prompt.
    #[schemars(range(min = 1))]
    pub count: u32,
    /// Whether the model before the training draws the same pictures, to be looked at side by side.
    pub compare: bool,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            prompts: Vec::new(),
            prompts_file: None,
            width: 1024,
            height: 1024,
            steps: None,
            guidance: 3.5,
            cfg: 1.0,
            negative: None,
            seed: 42,
            count: 1,
            compare: true,
        }
    }
}

impl Sample {
    /// What is asked for.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            prompts: &self.prompts,
            prompts_file: self.prompts_file.as_deref(),
            width: self.width,
            height: self.height,
            steps: self.steps,
            guidance: self.guidance,
            cfg: self.cfg,
            negative: self.negative.as_deref(),
            seed: self.seed,
            count: self.count,
        }
    }
}

/// Each picture has what decides it in its own key, so that a prompt more draws one picture more.
impl Params for Sample {
    const NOT_IN_KEY: &'static [&'static str] = &[
        "prompts",
        "prompts_file",
        "width",
        "height",
        "steps",
        "guidance",
        "cfg",
        "negative",
        "seed",
        "count",
        "compare",
    ];
}
