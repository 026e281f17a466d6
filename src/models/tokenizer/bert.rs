//! The BERT uncased tokenizer with the captioner's two marks, and back from ids to text.

use std::sync::LazyLock;

use tokenizers::{
    AddedToken, Tokenizer, models::wordpiece::WordPiece, normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
};

use crate::base::Digest;

const VOCABULARY: &[u8] = include_bytes!("../../../assets/tokenizers/bert-base-uncased/vocab.txt");

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| build().expect(BUILT));

const BUILT: &str = "invariant: the embedded vocabulary is well-formed";

fn build() -> tokenizers::Result<Tokenizer> {
    let vocabulary = WordPiece::read_bytes(VOCABULARY)?;
    let pieces = WordPiece::builder().vocab(vocabulary).unk_token("[UNK]".to_owned()).build()?;
    let mut tokenizer = Tokenizer::new(pieces);
    // Control characters out, CJK characters apart, accents away, lower case.
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"];
    tokenizer.add_special_tokens(specials.map(|special| AddedToken::from(special, true)))?;
    Ok(tokenizer)
}

/// Reads and writes text for the captioner's text decoder.
#[derive(Clone, Copy, Debug)]
pub struct BertTokenizer;

impl BertTokenizer {
    /// `[PAD]`
    pub const PADDING: u32 = 0;
    /// `[UNK]`
    pub const UNKNOWN: u32 = 100;
    /// `[CLS]`
    pub const START: u32 = 101;
    /// `[SEP]`, which also ends a caption.
    pub const END: u32 = 102;
    /// `[MASK]`
    pub const MASK: u32 = 103;
    /// `[DEC]`, the first id of a caption being written.
    pub const DECODE: u32 = 30522;
    /// `[ENC]`, the first id of a text that is matched with a picture.
    pub const ENCODE: u32 = 30523;

    /// The ids of `text` between `[CLS]` and `[SEP]`.
    #[must_use]
    pub fn encode(text: &str) -> Vec<u32> {
        let encoding = TOKENIZER.encode_fast(text, false);
        let encoding = encoding.expect("invariant: WordPiece with an unknown piece reads any text");
        let mut ids = vec![Self::START];
        ids.extend(encoding.get_ids());
        ids.push(Self::END);
        ids
    }

    /// The text of `ids`: specials left out, pieces joined, spaces before punctuation removed.
    /// Ids beyond the vocabulary are left out as well.
    #[must_use]
    pub fn decode(ids: &[u32]) -> String {
        let pieces = ids.iter().filter(|&&id| !is_special(id));
        let pieces = pieces.filter_map(|&id| TOKENIZER.id_to_token(id)).collect::<Vec<_>>();
        tidy(pieces.join(" ").replace(" ##", "").trim())
    }

    /// Digest of the vocabulary, for the keys of what was written with it.
    #[must_use]
    pub fn digest() -> Digest {
        Digest::of(VOCABULARY)
    }
}

fn is_special(id: u32) -> bool {
    use BertTokenizer as B;
    [B::PADDING, B::UNKNOWN, B::START, B::END, B::MASK, B::DECODE, B::ENCODE].contains(&id)
}

/// Undoes the tokenizer's spaces around punctuation and English clitics. The order is part of the
/// reference's behaviour.
fn tidy(text: &str) -> String {
    const REPLACED: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    REPLACED.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_have_the_ids_of_the_published_captioner() {
        for (name, id) in [("[DEC]", BertTokenizer::DECODE), ("[ENC]", BertTokenizer::ENCODE)] {
            assert_eq!(TOKENIZER.token_to_id(name), Some(id));
        }
        assert_eq!(BertTokenizer::encode("a picture of "), [101, 1037, 3861, 1997, 102]);
        assert_eq!(BertTokenizer::decode(&[30522, 1037, 3861, 1997, 102, 0]), "a picture of");
    }
}
