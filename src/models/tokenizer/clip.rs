//! The CLIP-L tokenizer: byte-level BPE over cleaned, lower-cased text.

use std::sync::LazyLock;

use tokenizers::{
    Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::{
        byte_level::ByteLevel,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

use super::{Tokens, clip_text};
use crate::base::Digest;

const VOCABULARY: &[u8] = include_bytes!("../../../assets/tokenizers/clip-l/vocab.json");
const MERGES: &str = include_str!("../../../assets/tokenizers/clip-l/merges.txt");

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// What is one word: the marks, English clitics, runs of letters, single digits, runs of the rest.
const WORD: &str =
    r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

static PARTS: LazyLock<Parts> = LazyLock::new(|| Parts::build().expect(BUILT));

const BUILT: &str = "invariant: the embedded vocabulary and the word pattern are well-formed";

struct Parts {
    words: Split,
    bytes: ByteLevel,
    pairs: BPE,
}

impl Parts {
    fn build() -> tokenizers::Result<Self> {
        let vocabulary: Vocab =
            serde_json::from_slice::<std::collections::BTreeMap<_, _>>(VOCABULARY)?
                .into_iter()
                .collect();
        // The first line names the format.
        let merges = MERGES.lines().skip(1).filter_map(|line| line.split_once(' '));
        let merges = merges.map(|(left, right)| (left.to_owned(), right.to_owned())).collect();
        let pairs = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .end_of_word_suffix("</w>".to_owned())
            .unk_token(END.to_owned())
            .build()?;
        let pattern = SplitPattern::Regex(WORD.to_owned());
        let words = Split::new(pattern, SplitDelimiterBehavior::Removed, true)?;
        Ok(Self { words, bytes: ByteLevel::new(false, true, false), pairs })
    }

    /// The ids of text that holds no mark as written by its user.
    fn encode(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        let mut split = PreTokenizedString::from(clip_text::clean(text));
        self.words.pre_tokenize(&mut split)?;
        self.bytes.pre_tokenize(&mut split)?;
        let mut ids = Vec::new();
        for (word, ..) in split.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            match word {
                // Marks in upper case become marks by the lower-casing.
                START => ids.push(ClipTokenizer::START),
                END => ids.push(ClipTokenizer::END),
                _ => ids.extend(self.pairs.tokenize(word)?.iter().map(|token| token.id)),
            }
        }
        Ok(ids)
    }
}

/// Reads text for the CLIP-L text encoder.
#[derive(Clone, Copy, Debug)]
pub struct ClipTokenizer;

impl ClipTokenizer {
    /// The id that begins a text.
    pub const START: u32 = 49406;
    /// The id that ends a text, and fills up.
    pub const END: u32 = 49407;
    /// How many ids the network reads.
    pub const LENGTH: usize = 77;

    /// The 77 ids of `text`: start, at most 75 of the text, end, and end again as padding.
    #[must_use]
    pub fn encode(text: &str) -> Tokens {
        let mut ids = Vec::new();
        let mut rest = text;
        // A mark in the text stands for itself, and the text around it is cleaned in parts.
        while let Some((before, mark, after)) = next_mark(rest) {
            ids.extend(encode_plain(before));
            ids.push(mark);
            rest = after;
        }
        ids.extend(encode_plain(rest));
        Tokens::frame(&ids, Some(Self::START), Self::END, Self::END, Self::LENGTH)
    }

    /// Digest of vocabulary and merges, for the keys of what was encoded with them.
    #[must_use]
    pub fn digest() -> Digest {
        Digest::of(&[VOCABULARY, MERGES.as_bytes()].concat())
    }
}

fn encode_plain(text: &str) -> Vec<u32> {
    PARTS.encode(text).expect("invariant: byte-level BPE reads any text")
}

fn next_mark(text: &str) -> Option<(&str, u32, &str)> {
    let marks = [(START, ClipTokenizer::START), (END, ClipTokenizer::END)];
    let found = marks.iter().filter_map(|(mark, id)| Some((text.find(mark)?, mark.len(), *id)));
    let (at, length, id) = found.min()?;
    Some((&text[..at], id, &text[at + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(text: &str) -> Vec<u32> {
        let tokens = ClipTokenizer::encode(text);
        tokens.ids[1..tokens.real - 1].to_vec()
    }

    #[test]
    fn digits_stand_alone_and_case_does_not_matter() {
        assert_eq!(real("CAT 12"), [2368, 272, 273]);
        assert_eq!(real("cat  12"), real("Cat\n1 2"));
    }

    #[test]
    fn marks_in_the_text_are_marks() {
        assert_eq!(real("hi <|endoftext|>"), [1883, 49407]);
        assert_eq!(real("hi <|ENDOFTEXT|>"), [1883, 49407]);
    }

    #[test]
    fn a_long_text_is_cut_and_says_by_how_much() {
        let tokens = ClipTokenizer::encode(&"a ".repeat(100));
        assert_eq!((tokens.ids.len(), tokens.real, tokens.cut), (77, 77, 25));
        assert_eq!(tokens.ids[76], ClipTokenizer::END);
    }
}
