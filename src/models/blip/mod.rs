//! BLIP, the captioner: a vision transformer looks at a picture, a BERT writes what it sees.
//!
//! Modules carry the names of the published checkpoint. Knows pixels, ids and tensors; knows no
//! picture files and no captions on disk.

mod beam;
mod config;
mod error;
mod generate;
mod layers;
mod names;
mod positions;
mod sample;
mod scores;
mod text;
mod vision;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};

pub use config::{BlipConfig, TextConfig, VisionConfig};
pub use error::BlipError;
pub use generate::{GenerateSettings, PROMPT, caption_text, prompt_ids};
pub use sample::Sampling;
pub use text::{Attention, Layer, TextDecoder, TextState};
pub use vision::{Block, VisionEncoder};

use crate::{
    models::tokenizer::BertTokenizer,
    weights::{Loader, WeightsError},
};

/// What one colour channel was normalised with in training: red, green, blue.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Parts of published files that only training needs.
const TRAINING_PARTS: [&str; 12] = [
    "text_encoder",
    "text_encoder_m",
    "visual_encoder_m",
    "text_decoder_m",
    "vision_proj",
    "vision_proj_m",
    "text_proj",
    "text_proj_m",
    "combine_text_proj",
    "combine_text_proj_m",
    "itm_head",
    "prd_head",
];
/// The same, single tensors.
const TRAINING_TENSORS: [&str; 8] = [
    "temp",
    "queue",
    "image_queue",
    "text_queue",
    "idx_queue",
    "queue_ptr",
    "ptr_queue",
    "new_ptr_queue",
];

/// A BLIP captioner.
#[derive(Module, Debug)]
pub struct Blip {
    /// Looks.
    pub visual_encoder: VisionEncoder,
    /// Writes.
    pub text_decoder: TextDecoder,
    image_size: usize,
    patch: usize,
}

impl Blip {
    /// Loads a captioner of these sizes: `loader` stands at the root of a file as it was published (a
    /// `.pth` file's `model`) or as transformers saves a `BlipForConditionalGeneration`.
    ///
    /// # Errors
    /// Tensors are missing, misshapen or unknown, or no network can have these sizes.
    pub fn load(loader: &Loader<'_>, config: &BlipConfig) -> Result<Self, WeightsError> {
        // Published captioners say this many ids; the last ones are marks, one of which starts a text.
        let impossible = config.contradiction(BertTokenizer::DECODE + 1);
        TRAINING_PARTS.iter().for_each(|part| loader.ignore_below(part));
        TRAINING_TENSORS.iter().for_each(|tensor| loader.ignore(tensor));
        let blip = Self {
            visual_encoder: VisionEncoder::load(loader, &config.vision),
            text_decoder: TextDecoder::load(&loader.at("text_decoder"), &config.text),
            image_size: config.vision.grid * config.vision.patch,
            patch: config.vision.patch,
        };
        loader.finish("BLIP captioner")?;
        match impossible {
            Some(reason) => {
                let path = loader.path().to_owned();
                Err(WeightsError::Format { path, format: "BLIP", reason })
            }
            None => Ok(blip),
        }
    }

    /// The same for square pictures of `side` pixels: the positions are resampled to them.
    ///
    /// # Errors
    /// `side` is not a whole number of patches.
    pub fn with_image_size(self, side: usize) -> Result<Self, BlipError> {
        let (grid, patch) = (side / self.patch, self.patch);
        if grid == 0 || grid * patch != side {
            return Err(BlipError::ImageSize { side, patch });
        }
        let visual_encoder = self.visual_encoder.with_grid(grid);
        Ok(Self { visual_encoder, image_size: side, ..self })
    }

    /// Whether a text that begins with `prompt` has room for one token more.
    ///
    /// # Errors
    /// It has not.
    pub fn takes(&self, prompt: &[u32]) -> Result<(), BlipError> {
        let (tokens, positions) = (prompt.len(), self.text_decoder.positions());
        if tokens < positions { Ok(()) } else { Err(BlipError::Prompt { tokens, positions }) }
    }

    /// Side of the square pictures that it takes, in pixels: the size it was trained at, unless
    /// [`Blip::with_image_size`] says another.
    #[must_use]
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// Normalised pictures `[B, 3, S, S]`, with `S` the [`Blip::image_size`], to tokens `[B, N + 1, C]`.
    #[must_use]
    pub fn vision(&self, pictures: Tensor<4>) -> Tensor<3> {
        self.visual_encoder.forward(pictures)
    }
}

/// Makes the tensor `[3, height, width]` of a picture, given row by row as red, green, blue bytes.
///
/// # Panics
/// `rgb` is not `3 · height · width` bytes long.
#[must_use]
pub fn normalise(rgb: &[u8], height: usize, width: usize, device: &Device) -> Tensor<3> {
    let pixels = height * width;
    assert_eq!(rgb.len(), 3 * pixels, "bytes of a {width}×{height} picture");
    let mut values = Vec::with_capacity(rgb.len());
    for channel in 0..3 {
        let bytes = rgb.iter().skip(channel).step_by(3);
        let normal = |&byte: &u8| (f32::from(byte) / 255.0 - MEAN[channel]) / DEVIATION[channel];
        values.extend(bytes.map(normal));
    }
    Tensor::from_data(TensorData::new(values, [3, height, width]), device)
}
