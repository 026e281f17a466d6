//! Rounding to bf16 by chance.
//!
//! Near 1 bf16 values are 2^-8 apart, and an update is often a hundredth of that: rounded to nearest,
//! a weight would never move. Rounded up or down by chance, in proportion to the distance, it moves
//! as it should on average.

use burn::tensor::{Tensor, TensorData};
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    super::host::{self, Host},
    cuda,
};
use crate::base::ElementBits;

/// So many elements are worth a task of their own.
const TASK: usize = 64 * 1024;

/// Rounds `value` (f32) stochastically to numbers that bf16 holds, and gives them as f32: a cast to bf16
/// is then exact. An element's bits are those of its place, row by row.
#[must_use]
pub fn rounded<const D: usize>(value: Tensor<D>, bits: ElementBits) -> Tensor<D> {
    let shape = value.dims();
    let Some(array) = Host::of(&value) else {
        let value = match cuda::rounded(value, bits) {
            Ok(rounded) => return rounded,
            Err(value) => value,
        };
        // Burn has no bit casts, so elsewhere this passes through the host.
        let device = value.device();
        let values = value.into_data().iter::<f32>().collect::<Vec<_>>();
        let values = rounded_all(values, bits);
        return Tensor::from_data(TensorData::new(values, shape), &device);
    };
    drop(value);
    host::tensor(rounded_all(array.into_buffer(), bits), shape)
}

fn rounded_all(mut values: Vec<f32>, bits: ElementBits) -> Vec<f32> {
    values.par_chunks_mut(TASK).enumerate().for_each(|(task, values)| {
        Arch::new().dispatch(Round { values, first: (task * TASK) as u32, bits });
    });
    values
}

struct Round<'a> {
    values: &'a mut [f32],
    first: u32,
    bits: ElementBits,
}

impl WithSimd for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for (place, value) in self.values.iter_mut().enumerate() {
            let random = self.bits.at(self.first.wrapping_add(place as u32));
            *value = round(*value, random >> 16);
        }
    }
}

/// Adds 16 random bits below the last bf16 bit and cuts there. Works on sign and magnitude, so it is
/// unbiased for both signs; infinities and NaN stay what they are.
#[inline(always)]
pub(super) fn round(value: f32, random: u32) -> f32 {
    // A finite magnitude may carry into the exponent, which is right; infinity has no low bits.
    let cut = value.to_bits().wrapping_add(random) & 0xffff_0000;
    // The low bits of a NaN could carry into its sign.
    f32::from_bits(if value.is_nan() { 0x7fc0_0000 } else { cut })
}

/// The same with bits that are given, 16 for each value.
///
/// # Panics
/// `values` and `bits` differ in length.
#[must_use]
pub fn round_stochastically(values: &[f32], bits: &[u16]) -> Vec<bf16> {
    assert_eq!(values.len(), bits.len(), "one random number per value");
    let pairs = values.iter().zip(bits);
    pairs.map(|(&value, &random)| bf16::from_f32(round(value, u32::from(random)))).collect()
}
