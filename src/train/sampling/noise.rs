//! The noise that a picture begins with: the numbers that PyTorch draws on the CPU for the same seed.
//!
//! ComfyUI draws `torch.randn([1, 16, h, w])` with `torch.manual_seed(seed)`, so the same seed, size and
//! prompt begin at the same picture there and here. The generator is the Mersenne Twister MT19937, seeded
//! with the lower 32 bits of the seed (Matsumoto and Nishimura, 2002); of each output the lower 24 bits are
//! a uniform number. PyTorch turns 16 of them at once into normal numbers (Box and Muller): the first eight
//! give the radii, the last eight the angles. Compared with torch 2.8, numbers differ by no more than the
//! rounding of `ln`, `sin` and `cos`.

use std::f32::consts::PI;

/// PyTorch takes uniform numbers in groups of so many.
const GROUP: usize = 16;

/// `count` standard normal numbers, those of `torch.randn(count)` after `torch.manual_seed(seed)`. Below 16
/// numbers PyTorch draws in another way, which is not followed: no latent is so small.
#[must_use]
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut bits = Mt19937::new(seed as u32);
    let mut values = (0..count.max(GROUP)).map(|_| bits.uniform()).collect::<Vec<_>>();
    let (groups, rest) = values.as_chunks_mut::<GROUP>();
    groups.iter_mut().for_each(to_normal);
    if !rest.is_empty() {
        // The last 16 are drawn anew, over numbers that are done.
        let last = values.len() - GROUP;
        let mut group = [0.0; GROUP];
        group.fill_with(|| bits.uniform());
        to_normal(&mut group);
        values[last..].copy_from_slice(&group);
    }
    values.truncate(count);
    values
}

/// Eight pairs of uniform numbers, eight apart, to as many pairs of normal numbers.
fn to_normal(group: &mut [f32; GROUP]) {
    let (radii, angles) = group.split_at_mut(GROUP / 2);
    for (u, v) in radii.iter_mut().zip(angles) {
        // 1 - u lies in (0, 1], so its logarithm is finite.
        let radius = (-2.0 * (1.0 - *u).ln()).sqrt();
        let angle = 2.0 * PI * *v;
        (*u, *v) = (radius * angle.cos(), radius * angle.sin());
    }
}

/// Numbers of the state.
const SIZE: usize = 624;
/// How far the twist reaches.
const SHIFT: usize = 397;

struct Mt19937 {
    state: [u32; SIZE],
    next: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = [seed; SIZE];
        for index in 1..SIZE {
            let before = state[index - 1];
            let mixed = (before ^ (before >> 30)).wrapping_mul(1_812_433_253);
            state[index] = mixed.wrapping_add(index as u32);
        }
        Self { state, next: SIZE }
    }

    fn bits(&mut self) -> u32 {
        if self.next == SIZE {
            self.twist();
            self.next = 0;
        }
        let mut bits = self.state[self.next];
        self.next += 1;
        bits ^= bits >> 11;
        bits ^= (bits << 7) & 0x9d2c_5680;
        bits ^= (bits << 15) & 0xefc6_0000;
        bits ^ (bits >> 18)
    }

    /// In `[0, 1)`, on a grid of `2^-24`.
    fn uniform(&mut self) -> f32 {
        (self.bits() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    fn twist(&mut self) {
        for index in 0..SIZE {
            let (high, low) = (self.state[index], self.state[(index + 1) % SIZE]);
            let joined = (high & 0x8000_0000) | (low & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + SHIFT) % SIZE] ^ (joined >> 1) ^ odd;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last four numbers of `torch.randn(count)` after `torch.manual_seed(seed)`,
    /// torch 2.8.0.
    const TORCH: [(u64, usize, [f64; 4], [f64; 4]); 4] = [
        (
            0,
            32,
            [-1.125_839_83, -1.152_360_2, -0.250_578_582, -0.433_878_809],
            [1.389_366_15, 1.586_334_23, 0.946_298_361, -0.843_676_746],
        ),
        (
            42,
            64,
            [1.926_915_29, 1.487_284_06, 0.900_717_199, -2.105_520_96],
            [-0.097_806_893_3, 1.844_594, -1.184_537_41, 1.383_549_33],
        ),
        // Only the lower 32 bits of a seed count.
        (
            1_234_567_890_123,
            65_536,
            [-0.568_541_527, -0.199_217_036, 1.039_984_46, -0.499_563_098],
            [0.717_385_65, 0.163_983_807, 0.878_828_287, -0.062_949_150_8],
        ),
        // Not whole groups.
        (
            7,
            37,
            [-0.820_134_521, 0.395_631_164, 0.898_908_496, -1.388_403_89],
            [0.157_711_908, 0.395_740_926, -1.367_739_68, -0.100_734_316],
        ),
    ];

    #[test]
    fn a_seed_gives_the_numbers_of_torch() {
        for (seed, count, first, last) in TORCH {
            let found = noise(seed, count);
            assert_eq!(found.len(), count);
            let ends = found[..4].iter().chain(&found[count - 4..]);
            for (found, known) in ends.zip(first.iter().chain(&last)) {
                // Some units in the last place of radius and angle.
                assert!(
                    (f64::from(*found) - known).abs() < 2e-6,
                    "seed {seed}: {found} is not {known}"
                );
            }
        }
    }

    #[test]
    fn all_groups_are_normal() {
        let found = noise(3, 1 << 17);
        let count = found.len() as f64;
        let mean = found.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = found.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / count;
        // Three standard errors.
        assert!(mean.abs() < 0.0083 && (variance - 1.0).abs() < 0.0117, "{mean} {variance}");
    }
}
