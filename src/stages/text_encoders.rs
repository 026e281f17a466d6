//! Texts through CLIP-L and T5, for captions and prompts alike. Does not know where results are kept.

use burn::tensor::{Device, FloatDType};

use super::cache::record;
use crate::{
    manifest::{self, ClipActivation},
    models::{
        clip::{Activation, ClipConfig, ClipText},
        identity,
        t5::{T5Stream, T5Text},
        tokenizer::{ClipTokenizer, T5Tokenizer},
    },
    pipeline::StageError,
    weights::{Checkpoint, Loader},
};

/// How texts are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextSettings {
    /// Activation of CLIP-L.
    pub clip_activation: ClipActivation,
    /// T5 tokens that a text is given: what is longer is cut off.
    pub length: usize,
    /// Whether padding up to that length takes part, as FLUX.1 was trained.
    pub attend_padding: bool,
    /// Layers of T5 that stay on the device.
    pub t5_resident_layers: usize,
    /// Texts that run through CLIP-L at once.
    pub text_batch_size: usize,
}

impl TextSettings {
    /// Those of the stage that makes the cache.
    #[must_use]
    pub fn of(cache: &manifest::Cache, length: usize) -> Self {
        Self {
            clip_activation: cache.clip_activation,
            length,
            attend_padding: cache.attend_padding,
            t5_resident_layers: cache.t5_resident_layers as usize,
            text_batch_size: cache.text_batch_size as usize,
        }
    }
}

/// A text as ids.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For CLIP-L.
    pub clip: Vec<u32>,
    /// For T5.
    pub t5: T5Text,
    /// How many of T5's are no padding.
    pub real: usize,
    /// How many of T5's did not fit.
    pub cut: usize,
}

impl Tokens {
    /// The ids of a text.
    #[must_use]
    pub fn of(text: &str, settings: &TextSettings) -> Self {
        let mut tokens = T5Tokenizer::encode(text, settings.length);
        if !settings.attend_padding {
            // What is hidden from all others need not be computed.
            tokens.ids.truncate(tokens.real.max(1));
        }
        let t5 = T5Text { ids: tokens.ids, attend: None };
        let clip = ClipTokenizer::encode(text).ids;
        Self { clip, t5, real: tokens.real, cut: tokens.cut }
    }
}

/// An encoded text.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedText {
    /// CLIP's pooled vector.
    pub clip: Vec<f32>,
    /// T5's hidden states `[rows, width]`.
    pub t5: Vec<f32>,
    /// How many rows there are.
    pub rows: usize,
}

/// Both networks. T5 is read from its file layer by layer.
pub struct TextEncoders<'a> {
    clip: ClipText,
    t5: T5Stream<'a>,
    together: usize,
}

impl<'a> TextEncoders<'a> {
    /// Loads CLIP-L, and checks that T5 can be read.
    ///
    /// # Errors
    /// A file holds another network, or not all of this one.
    pub fn open(
        clip_file: &Checkpoint,
        t5_file: &'a Checkpoint,
        settings: &TextSettings,
        device: &Device,
    ) -> Result<Self, StageError> {
        let prefix = identity::prefix(clip_file, "clip_l")?;
        let loader = Loader::new(clip_file, prefix, device, FloatDType::F32);
        let mut config = ClipConfig::detect(&loader);
        config.activation = match settings.clip_activation {
            ClipActivation::QuickGelu => Activation::QuickGelu,
            ClipActivation::Gelu => Activation::Gelu,
        };
        let clip = ClipText::load(&loader, config)?;
        let prefix = identity::prefix(t5_file, "t5xxl")?;
        let t5 = T5Stream::open(Loader::new(t5_file, prefix, device, FloatDType::F32))?;
        let t5 = t5.keep_layers(settings.t5_resident_layers);
        Ok(Self { clip, t5, together: settings.text_batch_size.max(1) })
    }

    /// How many rows of T5 a set of texts should have; see [`T5Stream::rows_of_set`].
    #[must_use]
    pub fn rows_of_set(&self) -> usize {
        self.t5.rows_of_set()
    }

    /// Encodes a set of texts and hands over each, with its place in the set. `step` is told how many of
    /// how many layers are behind, and says whether to go on; where not, nothing is handed over.
    ///
    /// # Errors
    /// A layer cannot be read, or what `take` gives.
    pub fn encode(
        &self,
        set: &[Tokens],
        step: impl FnMut(usize, usize) -> bool,
        mut take: impl FnMut(usize, EncodedText) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let texts = set.iter().map(|tokens| tokens.t5.clone()).collect::<Vec<_>>();
        let Some(hidden) = self.t5.encode(&texts, step)? else { return Ok(()) };
        let mut hidden = hidden.into_iter().enumerate();
        for batch in set.chunks(self.together) {
            let ids = batch.iter().map(|tokens| tokens.clip.clone()).collect::<Vec<_>>();
            let pooled = self.clip.forward(&ids).pooled;
            for (row, (place, hidden)) in (0..batch.len()).zip(hidden.by_ref()) {
                let clip = record::values(pooled.clone().narrow(0, row, 1))?;
                let rows = hidden.dims()[0];
                take(place, EncodedText { clip, t5: record::values(hidden)?, rows })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_text_has_its_real_tokens_alone() {
        let settings = |attend_padding| TextSettings {
            attend_padding,
            ..TextSettings::of(&manifest::Cache::default(), 512)
        };
        let padded = Tokens::of("a cup of coffee", &settings(true));
        let masked = Tokens::of("a cup of coffee", &settings(false));
        assert_eq!((padded.t5.ids.len(), masked.t5.ids.len()), (512, padded.real));
        assert_eq!(padded.t5.ids[..padded.real], masked.t5.ids);
        // An empty text is its end mark.
        assert_eq!(Tokens::of("", &settings(false)).t5.ids, [1]);
    }
}
