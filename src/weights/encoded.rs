//! The bytes of one tensor, decoded where and when a network wants its numbers.

use std::borrow::Cow;

use rayon::prelude::*;

use super::Dtype;

/// So many elements are worth a task of their own.
const TASK: usize = 64 * 1024;

/// A tensor as it is stored. Of a file that is mapped, nothing is read before it is decoded.
#[derive(Clone, Debug)]
pub struct Encoded<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) dtype: Dtype,
    /// What every element is multiplied by: one, but for scaled 8-bit floats.
    pub(super) scale: f32,
}

impl Encoded<'_> {
    /// Decodes elements from `first` on (row-major) into `values`.
    pub fn decode(&self, first: usize, values: &mut [f32]) {
        let size = self.dtype.size();
        self.dtype.decode_into(&self.bytes[first * size..], values);
        // Exact: a product with one changes nothing, so it is left out.
        if self.scale.to_bits() != 1.0_f32.to_bits() {
            values.iter_mut().for_each(|value| *value *= self.scale);
        }
    }

    /// All elements, decoded by all threads.
    #[must_use]
    pub fn f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.bytes.len() / self.dtype.size()];
        let parts = values.par_chunks_mut(TASK).enumerate();
        parts.for_each(|(part, values)| self.decode(part * TASK, values));
        values
    }
}
