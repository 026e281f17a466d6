//! Attention without an N×N matrix, whatever the device.

use burn::tensor::{Bool, Tensor, module, ops::AttentionModuleOptions};

use crate::device::{self, kernels};

/// Query rows that are computed together where keys are masked.
const CHUNK: usize = 512;

/// `softmax(q kᵀ / √head) v` for `[B, heads, N, head]`. `masked` is `[B, 1, 1, N]`, true for keys
/// that nobody attends to. Its gradients: [`kernels::attention_backward`].
///
/// On a GPU this is Burn's fused attention; on the CPU, and on a tape, it is ours.
#[must_use]
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    masked: Option<&Tensor<4, Bool>>,
) -> Tensor<4> {
    let [batch, heads, length, head] = q.dims();
    if device::is_cpu(&q.device()) {
        let scale = 1.0 / (head as f64).sqrt();
        return kernels::attention(q, k, v, masked.map(kernels::mask_bias), scale);
    }
    let options = AttentionModuleOptions::default();
    let Some(masked) = masked else {
        return module::attention(q, k, v, None, None, options);
    };
    // The fused kernels want one mask entry per query and key; in chunks that stays small.
    let keys = k.dims()[2];
    let chunks = (0..length).step_by(CHUNK).map(|from| {
        let count = CHUNK.min(length - from);
        let masked = masked.clone().expand([batch, heads, count, keys]);
        let q = q.clone().narrow(2, from, count);
        module::attention(q, k.clone(), v.clone(), Some(masked), None, options)
    });
    Tensor::cat(chunks.collect(), 2)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, activation::softmax};

    use super::*;
    use crate::{base::Stream, models::flux::relative_difference};

    fn random(name: &str, length: usize) -> Tensor<4> {
        let values = Stream::new(1, name, None, &[]).normals(2 * 3 * length * 8);
        Tensor::from_data(TensorData::new(values, [2, 3, length, 8]), &Device::flex())
    }

    /// More than one chunk, and a last chunk that is not full.
    const LENGTH: usize = CHUNK + 70;

    #[test]
    fn gradients_over_several_chunks_equal_those_of_the_whole_matrix() {
        let [q, k, v, d_out] = ["q", "k", "v", "d"].map(|name| random(name, LENGTH));
        let mut real = vec![false; 2 * LENGTH];
        real[LENGTH + 3..LENGTH + 40].fill(true);
        let masked = TensorData::new(real, [2, 1, 1, LENGTH]);
        let masked = Tensor::<4, Bool>::from_data(masked, &Device::flex());
        for masked in [None, Some(&masked)] {
            let [tq, tk, tv] = [&q, &k, &v].map(|x| x.clone().autodiff().require_grad());
            let mut scores = tq.clone().matmul(tk.clone().swap_dims(2, 3)) / 8_f64.sqrt();
            if let Some(masked) = masked {
                let masked = masked.clone().expand([2, 3, LENGTH, LENGTH]);
                scores = scores.mask_fill(masked, f32::NEG_INFINITY);
            }
            let whole = softmax(scores, 3).matmul(tv.clone());
            let out = attention(q.clone(), k.clone(), v.clone(), masked);
            let difference = relative_difference(out, whole.clone().inner());
            assert!(difference < 1e-6, "forward: {difference}");
            let mut found = (whole * d_out.clone().autodiff()).sum().backward();
            let gradients = kernels::attention_backward(&q, &k, &v, masked, &d_out);
            for (gradient, leaf) in gradients.into_iter().zip([tq, tk, tv]) {
                let expected = leaf.grad_remove(&mut found).unwrap();
                // f32 sums over 582 terms in another order.
                let difference = relative_difference(gradient, expected);
                assert!(difference < 2e-6, "backward: {difference}");
            }
        }
    }
}
