//! Text to token ids, exactly as the networks were trained to read it.
//!
//! Three vocabularies ship inside the binary, so nothing is ever fetched: CLIP-L (byte-level BPE),
//! T5 v1.1 (Unigram) and BERT uncased (WordPiece, with the two marks of the captioner). Each is built
//! once, when first used. Does not know captions, samples or networks.

mod bert;
mod clip;
mod clip_text;
mod entities;
mod mojibake;
mod t5;

pub use bert::BertTokenizer;
pub use clip::ClipTokenizer;
pub use t5::T5Tokenizer;

/// A text as a network takes it: a fixed number of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// All ids, padding included.
    pub ids: Vec<u32>,
    /// How many of them are not padding; the marks at the ends count.
    pub real: usize,
    /// How many ids of the text did not fit and were left out.
    pub cut: usize,
}

impl Tokens {
    /// Frames `text` with its marks, cuts it to `length` ids in all and fills up with `padding`.
    fn frame(text: &[u32], start: Option<u32>, end: u32, padding: u32, length: usize) -> Self {
        let marks = usize::from(start.is_some()) + 1;
        let kept = text.len().min(length.saturating_sub(marks));
        let mut ids: Vec<u32> = start.into_iter().chain(text[..kept].iter().copied()).collect();
        ids.push(end);
        let real = ids.len();
        ids.resize(length.max(real), padding);
        Self { ids, real, cut: text.len() - kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_counts_what_is_real_and_what_is_cut() {
        let whole = Tokens::frame(&[5, 6], Some(1), 2, 0, 6);
        assert_eq!(whole, Tokens { ids: vec![1, 5, 6, 2, 0, 0], real: 4, cut: 0 });
        let cut = Tokens::frame(&[5, 6, 7], None, 2, 0, 3);
        assert_eq!(cut, Tokens { ids: vec![5, 6, 2], real: 3, cut: 1 });
    }
}
