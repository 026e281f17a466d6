//! What is done to a row of logits before a token is chosen from it. Knows no tensors.

use crate::models::tokenizer::BertTokenizer;

/// What the text so far forbids or makes less likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// See [`super::GenerateSettings::repetition_penalty`].
    pub repetition_penalty: f64,
    /// A text shorter than this may not end.
    pub min_length: usize,
    /// A text of this length ends.
    pub max_length: usize,
}

impl Limits {
    /// Applies them to the scores of every token as the next one of `text`: logits or logarithms of
    /// probabilities.
    pub fn apply(&self, scores: &mut [f64], text: &[u32]) {
        let penalty = self.repetition_penalty;
        if penalty != 1.0 {
            let mut seen = text.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some(score) = scores.get_mut(token as usize) {
                    *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
                }
            }
        }
        if text.len() < self.min_length
            && let Some(end) = scores.get_mut(BertTokenizer::END as usize)
        {
            *end = f64::NEG_INFINITY;
        }
    }

    /// Whether `text` ends with its last token.
    pub fn end(&self, text: &[u32]) -> bool {
        text.last() == Some(&BertTokenizer::END) || text.len() >= self.max_length
    }
}

/// The logits of one text in f64.
pub(super) fn widened(logits: &[f32]) -> Vec<f64> {
    logits.iter().copied().map(f64::from).collect()
}

/// Logarithms of the probabilities that logits stand for, in f64.
pub(super) fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    let normaliser = largest + sum.ln();
    logits.iter().map(|&logit| f64::from(logit) - normaliser).collect()
}

/// The token with the largest score, the lowest of equals.
pub(super) fn likeliest(scores: &[f64]) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (token, &score) in (0_u32..).zip(scores) {
        if score > best.1 {
            best = (token, score);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { repetition_penalty: 2.0, min_length: 3, max_length: 4 };

    #[test]
    fn what_the_text_has_gets_less_likely_once_however_often_it_is_there() {
        let mut scores = vec![4.0, -4.0, 4.0, -4.0];
        LIMITS.apply(&mut scores, &[2, 3, 2, 30_000]);
        assert_eq!(scores, [4.0, -4.0, 2.0, -8.0]);
    }

    #[test]
    fn the_likeliest_token_is_the_first_of_equals_and_no_early_end() {
        let mut scores = vec![0.0; 200];
        (scores[7], scores[9], scores[BertTokenizer::END as usize]) = (1.0, 1.0, 2.0);
        assert_eq!(likeliest(&scores), BertTokenizer::END);
        LIMITS.apply(&mut scores, &[1, 2]);
        assert_eq!(likeliest(&scores), 7);
        assert_eq!(likeliest(&[f64::NAN; 3]), 0);
    }

    #[test]
    fn a_text_ends_with_its_mark_or_at_the_greatest_length() {
        assert!(!LIMITS.end(&[1, 2, 3]));
        assert!(LIMITS.end(&[1, BertTokenizer::END]));
        assert!(LIMITS.end(&[1, 2, 3, 4]));
    }
}
