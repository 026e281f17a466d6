//! Nucleus sampling: the next token is drawn from the likeliest ones.
//!
//! A draw is named by the seed, the picture and the place of the token in its text. So a caption is
//! the same whatever other pictures are captioned beside it, before it, or on which machine.

use crate::base::{Digest, Stream};

/// From what tokens are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Only so many of the likeliest tokens, and those as likely as the last of them; 0 takes all.
    pub top_k: usize,
    /// Of these only the likeliest that have at least this probability together, and one at least.
    pub top_p: f64,
    /// Names the draws, together with the picture.
    pub seed: u64,
}

impl Sampling {
    /// Draws the token at `place` of the text of the picture `content`, given what each is worth.
    pub(super) fn draw(&self, scores: &[f64], content: &Digest, place: usize) -> u32 {
        let mut draws = Stream::new(self.seed, "caption token", Some(content), &[place as u64]);
        picked(&self.kept(scores), draws.uniform())
    }

    /// The tokens that can be drawn with their probabilities, the likeliest first and of equals the
    /// lowest. None, if no score is a number.
    fn kept(&self, scores: &[f64]) -> Vec<(u32, f64)> {
        let least = least_of(scores, self.top_k);
        let mut kept: Vec<(u32, f64)> = (0..).zip(scores.iter().copied()).collect();
        kept.retain(|(_, score)| *score > f64::NEG_INFINITY && *score >= least);
        kept.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let largest = kept.first().map_or(0.0, |(_, score)| *score);
        kept.iter_mut().for_each(|(_, score)| *score = (*score - largest).exp());
        normalise(&mut kept);
        // From the unlikeliest upwards, as long as what is dropped leaves `top_p`.
        let mut dropped = 0.0;
        while kept.len() > 1 {
            dropped += kept[kept.len() - 1].1;
            if dropped > 1.0 - self.top_p {
                break;
            }
            kept.pop();
        }
        normalise(&mut kept);
        kept
    }
}

/// The `count`-th largest score; minus infinity if there are not so many, or `count` is 0.
fn least_of(scores: &[f64], count: usize) -> f64 {
    if count == 0 || count >= scores.len() {
        return f64::NEG_INFINITY;
    }
    let order = |score: &f64| if score.is_nan() { f64::NEG_INFINITY } else { *score };
    let mut scores: Vec<f64> = scores.iter().map(order).collect();
    *scores.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1
}

fn normalise(tokens: &mut [(u32, f64)]) {
    let sum: f64 = tokens.iter().map(|(_, weight)| weight).sum();
    tokens.iter_mut().for_each(|(_, weight)| *weight /= sum);
}

/// The token into whose share of `0..1` the number falls.
fn picked(tokens: &[(u32, f64)], number: f64) -> u32 {
    let mut below = 0.0;
    let found = tokens.iter().find(|(_, probability)| {
        below += probability;
        number < below
    });
    // The shares may end a rounding before 1.
    found.or(tokens.last()).map_or(0, |(token, _)| *token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sampling = Sampling { top_k: 0, top_p: 1.0, seed: 1 };

    fn scores(probabilities: &[f64]) -> Vec<f64> {
        probabilities.iter().map(|probability| probability.ln()).collect()
    }

    fn tokens(kept: &[(u32, f64)]) -> Vec<u32> {
        kept.iter().map(|(token, _)| *token).collect()
    }

    #[test]
    fn top_k_takes_the_likeliest_and_their_equals() {
        let scores = scores(&[0.1, 0.4, 0.1, 0.3, 0.1]);
        let kept = |top_k| tokens(&Sampling { top_k, ..ALL }.kept(&scores));
        assert_eq!(kept(1), [1]);
        assert_eq!(kept(2), [1, 3]);
        assert_eq!(kept(3), [1, 3, 0, 2, 4]);
        assert_eq!(kept(50), [1, 3, 0, 2, 4]);
        assert_eq!(kept(0), [1, 3, 0, 2, 4]);
    }

    #[test]
    fn top_p_takes_the_fewest_that_have_its_probability() {
        let scores = scores(&[0.1, 0.5, 0.25, 0.15]);
        let kept = |top_p| Sampling { top_p, ..ALL }.kept(&scores);
        assert_eq!(tokens(&kept(0.45)), [1]);
        assert_eq!(tokens(&kept(0.74)), [1, 2]);
        assert_eq!(tokens(&kept(0.76)), [1, 2, 3]);
        assert_eq!(tokens(&kept(1.0)), [1, 2, 3, 0]);
        assert_eq!(tokens(&kept(1e-9)), [1]);
        let shares = kept(0.74);
        assert!((shares[0].1 - 2.0 / 3.0).abs() < 1e-12, "{shares:?}");
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let (scores, count) = (scores(&[0.1, 0.5, 0.25, 0.15]), 20_000);
        let mut found = [0_u32; 4];
        for place in 0..count {
            let content = Digest::of(&(place as u64 / 100).to_le_bytes());
            found[ALL.draw(&scores, &content, place % 100) as usize] += 1;
        }
        for (found, probability) in found.into_iter().zip([0.1, 0.5, 0.25, 0.15]) {
            let expected = probability * count as f64;
            // Four standard deviations of a binomial count.
            let limit = 4.0 * (expected * (1.0 - probability)).sqrt();
            assert!((f64::from(found) - expected).abs() < limit, "{found} for {expected}");
        }
    }

    #[test]
    fn a_draw_has_a_name() {
        let (flat, content) = (vec![0.0; 1000], Digest::of(b"a picture"));
        let draw =
            |sampling: Sampling, content: &Digest, place| sampling.draw(&flat, content, place);
        let first = draw(ALL, &content, 4);
        assert_eq!(draw(ALL, &content, 4), first);
        assert_ne!(draw(ALL, &content, 5), first);
        assert_ne!(draw(ALL, &Digest::of(b"another"), 4), first);
        assert_ne!(draw(Sampling { seed: 2, ..ALL }, &content, 4), first);
    }

    #[test]
    fn what_is_no_number_is_never_drawn() {
        let content = Digest::of(b"a picture");
        let few = [f64::NAN, f64::NEG_INFINITY, -3.0, f64::NAN];
        for top_k in [0, 1, 2, 3] {
            assert_eq!(tokens(&Sampling { top_k, ..ALL }.kept(&few)), [2]);
        }
        assert_eq!(ALL.draw(&[f64::NAN; 4], &content, 0), 0);
        assert_eq!(ALL.draw(&[f64::NEG_INFINITY; 4], &content, 0), 0);
    }
}
