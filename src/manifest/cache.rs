//! `[stages.cache]`: latents and text encodings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Params;

/// Encodes each picture into a latent, and each training caption with CLIP-L and T5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// What is kept of the distribution that the autoencoder gives for a picture.
    pub latent: Latent,
    /// Number format of stored latents.
    pub latent_dtype: Dtype,
    /// Number format of stored text encodings.
    pub text_dtype: Dtype,
    /// Most T5 tokens of a caption, what is longer is cut off. Where it is not set: 512 for dev and
    /// 256 for schnell.
    #[schemars(range(min = 1, max = 512))]
    pub t5xxl_max_token_length: Option<u32>,
    /// Whether T5 and the transformer attend to the padding of a caption, as FLUX.1 was trained. With
    /// `false` T5 sees the real tokens alone, only their rows are stored, which is a fraction of the
    /// space and time, and the transformer masks the rest.
    pub attend_padding: bool,
    /// Activation of CLIP-L: `quick_gelu` is what it was trained with; `gelu` gives the numbers of
    /// trainers that load it with the exact one.
    pub clip_activation: ClipActivation,
    /// Seed of the draw from the autoencoder's posterior.
    pub seed: u64,
    /// Whether caches of sd-scripts (`.npz`) beside the pictures are taken instead of encoding anew, where
    /// they can belong to the picture and its caption. Needs `clip_activation = "gelu"`, which is what
    /// sd-scripts computes.
    pub import_cache: bool,
    /// Levels of the autoencoder that are computed in bands of rows, which takes less memory and more
    /// time and changes nothing but the last digits: 0, 1 or 2. Where it is not set: as few as half of
    /// the free memory asks for on the CPU, none on other devices.
    #[schemars(range(max = 2))]
    pub vae_bands: Option<u32>,
    /// Captions that run through CLIP-L at once. T5 takes as many as there is room for.
    #[schemars(range(min = 1))]
    pub text_batch_size: u32,
    /// Layers of T5 (of 24) that stay on the device while captions are encoded, 0.8 GB each; the others
    /// are read anew for every set of captions, which changes nothing but the time.
    pub t5_resident_layers: u32,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            latent: Latent::Sample,
            latent_dtype: Dtype::Bf16,
            text_dtype: Dtype::Bf16,
            t5xxl_max_token_length: None,
            attend_padding: true,
            clip_activation: ClipActivation::QuickGelu,
            seed: 42,
            import_cache: false,
            vae_bands: None,
            text_batch_size: 8,
            t5_resident_layers: 0,
        }
    }
}

impl Cache {
    /// Parameters that change latents.
    pub const LATENT: &'static [&'static str] = &["latent", "latent_dtype", "seed"];
    /// Parameters that change text encodings.
    pub const TEXT: &'static [&'static str] =
        &["text_dtype", "t5xxl_max_token_length", "clip_activation", "attend_padding"];
}

/// An encoding does not depend on the other items of its batch, on which layers stay, nor, but for
/// rounding, on bands. A cache that may be taken is a key part itself, by its bytes.
impl Params for Cache {
    const NOT_IN_KEY: &'static [&'static str] =
        &["import_cache", "t5_resident_layers", "text_batch_size", "vae_bands"];
}

/// What is kept of the distribution of a picture's latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Latent {
    /// One draw, the same in every epoch.
    Sample,
    /// The mean: what is most likely, and a little smoother than any draw.
    Mean,
    /// Mean and deviation, from which each appearance in the training draws anew. Twice the size.
    Moments,
}

/// A number format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 16 bits: the range of f32 and 8 bits of precision.
    Bf16,
    /// 32 bits.
    F32,
}

/// Activation of CLIP-L.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClipActivation {
    /// `x · sigmoid(1.702 x)`, which the network was trained with.
    QuickGelu,
    /// The exact one, by the error function.
    Gelu,
}
