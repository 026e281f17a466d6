//! Writing f32 results back into bf16 weights without bias.
//!
//! Near 1 bf16 values are 2^-8 apart, and an update is often a hundredth of that: rounded to nearest,
//! a weight would never move. Rounded up or down by chance, in proportion to the distance, it moves
//! as it should on average.

use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use half::bf16;

use crate::base::Stream;

/// Names the random bits of one optimizer step.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step, counted from 0.
    pub step: u64,
}

impl Rounding {
    /// `value` (f32) in the type that the parameter `name` is stored in. f32 stays as it is, bf16 is
    /// rounded stochastically, any other type to nearest.
    #[must_use]
    pub fn store<const D: usize>(&self, name: &str, value: Tensor<D>, dtype: DType) -> Tensor<D> {
        match dtype {
            DType::F32 => value,
            DType::BF16 => {
                let (device, shape) = (value.device(), value.dims());
                // Burn has no bit casts on device tensors, so this passes through the host.
                let data = value.into_data();
                let values = data.as_slice::<f32>().unwrap_or_else(|_| unreachable!("it is f32"));
                let rounded = round_stochastically(values, &self.bits(name, values.len()));
                Tensor::from_data(TensorData::new(rounded, shape), (&device, dtype))
            }
            _ => value.cast(FloatDType::from(dtype)),
        }
    }

    /// `count` times 16 random bits for the parameter `name`.
    fn bits(&self, name: &str, count: usize) -> Vec<u16> {
        let mut bits = vec![0_u16; count];
        let purpose = format!("round {name}");
        let mut stream = Stream::new(self.seed, &purpose, None, &[self.step]);
        stream.fill(bytemuck::cast_slice_mut(&mut bits));
        if cfg!(target_endian = "big") {
            bits.iter_mut().for_each(|word| *word = word.swap_bytes());
        }
        bits
    }
}

/// Adds 16 random bits below the last bf16 bit of each value and cuts there. Works on sign and
/// magnitude, so it is unbiased for both signs; infinities and NaN stay what they are.
///
/// # Panics
/// `values` and `bits` differ in length.
#[must_use]
pub fn round_stochastically(values: &[f32], bits: &[u16]) -> Vec<bf16> {
    assert_eq!(values.len(), bits.len(), "one random number per value");
    let round = |(&value, &random): (&f32, &u16)| {
        if value.is_nan() {
            return bf16::NAN;
        }
        // A finite magnitude may carry into the exponent, which is right; infinity has no low bits.
        bf16::from_bits(((value.to_bits() + u32::from(random)) >> 16) as u16)
    };
    values.iter().zip(bits).map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_up_as_often_as_it_is_near_the_upper_neighbour() {
        // 1.000732421875: three thirty-seconds of the way from 1 to its neighbour.
        let value = f32::from_bits(0x3f80_1800);
        let count = 200_000;
        let bits = Rounding { seed: 3, step: 5 }.bits("w", count);
        let rounded = round_stochastically(&vec![value; count], &bits);
        let up = rounded.iter().filter(|x| x.to_f32() == 1.007_812_5).count();
        assert!(rounded.iter().all(|x| [1.0, 1.007_812_5].contains(&x.to_f32())));
        // Binomial with p = 0x1800/0x10000; four standard deviations.
        let (found, p) = (up as f64 / count as f64, 0.09375);
        assert!((found - p).abs() < 4.0 * (p * (1.0 - p) / count as f64).sqrt(), "{found}");
    }

    #[test]
    fn signs_are_alike_and_specials_stay() {
        let bits = [0x8000, 0x8000, 0xffff, 0xffff, 0xffff];
        let values = [1.005_f32, -1.005, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let rounded = round_stochastically(&values, &bits);
        assert_eq!(rounded[0].to_f32(), -rounded[1].to_f32());
        assert_eq!(rounded[2].to_f32(), f32::INFINITY);
        assert_eq!(rounded[3].to_f32(), f32::NEG_INFINITY);
        assert!(rounded[4].is_nan());
    }

    #[test]
    fn the_bits_depend_on_seed_step_and_name() {
        let bits = |seed, step, name| Rounding { seed, step }.bits(name, 4);
        assert_eq!(bits(1, 2, "a"), bits(1, 2, "a"));
        assert_ne!(bits(1, 2, "a"), bits(2, 2, "a"));
        assert_ne!(bits(1, 2, "a"), bits(1, 3, "a"));
        assert_ne!(bits(1, 2, "a"), bits(1, 2, "b"));
    }
}
