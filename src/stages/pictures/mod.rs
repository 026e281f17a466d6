//! Pictures from prompts: texts are encoded as the cache stage does, the transformer draws latents
//! ([`sampling`](crate::train::sampling)), the autoencoder makes pictures of them, and a PNG says how.
//!
//! Text encoders are gone before the transformer is loaded. Does not know the store, nor where files lie.

mod decode;
mod draw;
mod error;
mod model;
mod parameters;
mod texts;

pub use decode::{Decoder, picture, side_by_side, takes};
pub use draw::{Drawn, Painter};
pub use error::PictureError;
pub use model::Model;
pub use parameters::{Parameters, png};
pub use texts::{Encoded, encode, tokens_cut};

pub use crate::train::sampling::Drawing;

/// A picture that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What is to be seen.
    pub prompt: String,
    /// What is not; of effect where `cfg` is not 1.
    pub negative: Option<String>,
    /// How it is drawn.
    pub drawing: Drawing,
}

impl Prompt {
    /// The negative prompt that is drawn with: none where `cfg` is 1, the empty text where it is not and
    /// none is given.
    #[must_use]
    pub fn negative(&self) -> Option<&str> {
        (self.drawing.cfg != 1.0).then(|| self.negative.as_deref().unwrap_or_default())
    }
}
