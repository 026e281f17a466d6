//! The T5 v1.1 tokenizer: Unigram pieces over text with `▁` for spaces.

use std::sync::LazyLock;

use tokenizers::Tokenizer;

use super::Tokens;
use crate::base::Digest;

const VOCABULARY: &[u8] = include_bytes!("../../../assets/tokenizers/t5-v1_1/tokenizer.json");

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    Tokenizer::from_bytes(VOCABULARY).expect("invariant: the embedded vocabulary is well-formed")
});

/// Reads text for the T5 text encoder.
#[derive(Clone, Copy, Debug)]
pub struct T5Tokenizer;

impl T5Tokenizer {
    /// The id that fills up.
    pub const PADDING: u32 = 0;
    /// The id that ends a text, `</s>`.
    pub const END: u32 = 1;
    /// How many ids there are.
    pub const VOCABULARY: usize = 32_100;

    /// The ids of `text`, cut and padded to `length` (FLUX.1-dev reads 512, schnell 256).
    #[must_use]
    pub fn encode(text: &str, length: usize) -> Tokens {
        // The only failure of this pipeline is a normalizer that breaks a character, and none does.
        let encoding = TOKENIZER.encode_fast(text, false);
        let encoding = encoding.expect("invariant: Unigram with an unknown piece reads any text");
        Tokens::frame(encoding.get_ids(), None, Self::END, Self::PADDING, length)
    }

    /// Digest of the vocabulary, for the keys of what was encoded with it.
    #[must_use]
    pub fn digest() -> Digest {
        Digest::of(VOCABULARY)
    }
}
