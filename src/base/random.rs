//! Counter-based randomness: a draw is named, not taken in turn.
//!
//! A stream is named by a seed, a purpose and a list of counters (epoch, sample, step, ...). The same
//! name gives the same numbers on every machine, in every order of work and with every number of
//! workers, so a run that was killed and resumed draws what the uninterrupted run drew. The bits are
//! the extended output of BLAKE3 over the name.

use std::f64::consts::TAU;

use super::Digest;

/// A stream of random numbers with a name.
pub struct Stream {
    bits: blake3::OutputReader,
    spare: Option<f64>,
}

impl Stream {
    /// Opens the stream with this name. `content` ties a draw to a sample by what it holds, so that
    /// a renamed picture keeps its noise.
    #[must_use]
    pub fn new(seed: u64, purpose: &str, content: Option<&Digest>, counters: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("fluxpipe random stream v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(purpose.len() as u64).to_le_bytes());
        hasher.update(purpose.as_bytes());
        hasher.update(content.map_or(&[0; 32], Digest::as_bytes).as_slice());
        for counter in counters {
            hasher.update(&counter.to_le_bytes());
        }
        Self { bits: hasher.finalize_xof(), spare: None }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.bits.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Fills `bytes` with random bits.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.bits.fill(bytes);
    }

    /// A uniform number in `[0, 1)` with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number in `0..bound`; `bound` must not be 0. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A standard normal number (Box and Muller, in f64).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // 1 - u lies in (0, 1], so its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let angle = TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// `count` standard normal numbers.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal() as f32).collect()
    }

    /// Puts `values` into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_the_same_numbers_and_another_name_others() {
        let draw = |purpose: &str, step: u64| Stream::new(7, purpose, None, &[step]).bits();
        assert_eq!(draw("noise", 1), draw("noise", 1));
        assert_ne!(draw("noise", 1), draw("noise", 2));
        assert_ne!(draw("noise", 1), draw("sigma", 1));
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let draws = Stream::new(1, "test", None, &[]).normals(100_000);
        let mean = draws.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e5;
        let variance = draws.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 1e5;
        // Three standard errors of the mean and of the variance.
        assert!(mean.abs() < 0.0095, "{mean}");
        assert!((variance - 1.0).abs() < 0.0135, "{variance}");
    }
}
