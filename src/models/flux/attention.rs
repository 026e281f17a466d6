//! Attention without an N×N matrix, forwards and backwards.
//!
//! Burn 0.22 has a fused forward, but falls back to whole score matrices as soon as a tensor is
//! tracked. So training calls [`attention`] off the tape and takes the gradients from
//! [`attention_backward`], which walks over the queries in chunks.

use burn::tensor::{
    Bool, DType, FloatDType, Tensor, activation::softmax, module, ops::AttentionModuleOptions,
};

use super::layers::float_dtype;

/// Query rows per chunk: at 24 heads and 4608 keys, one chunk of f32 scores takes 226 MB.
const CHUNK: usize = 512;

/// `softmax(q kᵀ / √head) v` for `[B, heads, N, head]`. `masked` is `[B, 1, 1, N]`, true for keys
/// that nobody attends to.
#[must_use]
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    masked: Option<&Tensor<4, Bool>>,
) -> Tensor<4> {
    let options = AttentionModuleOptions::default();
    let Some(masked) = masked else {
        return module::attention(q, k, v, None, None, options);
    };
    // The fused kernels want one mask entry per query and key; in chunks that stays small.
    let [batch, heads, length, _] = q.dims();
    let keys = k.dims()[2];
    let chunks = chunks(length).map(|(from, count)| {
        let masked = masked.clone().expand([batch, heads, count, keys]);
        let q = q.clone().narrow(2, from, count);
        module::attention(q, k.clone(), v.clone(), Some(masked), None, options)
    });
    Tensor::cat(chunks.collect(), 2)
}

/// The vector-Jacobian product of [`attention`]: gradients of q, k and v from the gradient `d_out` of
/// its result. Scores and sums are f32; products run in the type of the inputs.
#[must_use]
pub fn attention_backward(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    masked: Option<&Tensor<4, Bool>>,
    d_out: &Tensor<4>,
) -> [Tensor<4>; 3] {
    let dtype = float_dtype(q);
    let [batch, heads, length, head] = q.dims();
    let keys = k.dims()[2];
    let scale = 1.0 / (head as f64).sqrt();
    let k_t = k.clone().swap_dims(2, 3);
    let v_t = v.clone().swap_dims(2, 3);
    let zeros = || Tensor::<4>::zeros([batch, heads, keys, head], (&k.device(), DType::F32));
    let (mut d_q, mut d_k, mut d_v) = (Vec::new(), zeros(), zeros());
    for (from, count) in chunks(length) {
        let q = q.clone().narrow(2, from, count);
        let d_out = d_out.clone().narrow(2, from, count);
        let mut scores = q.clone().matmul(k_t.clone()).cast(FloatDType::F32) * scale;
        if let Some(masked) = masked {
            let masked = masked.clone().expand([batch, heads, count, keys]);
            scores = scores.mask_fill(masked, f32::NEG_INFINITY);
        }
        let p = softmax(scores, 3);
        let p_t = p.clone().cast(dtype).swap_dims(2, 3);
        d_v = d_v + p_t.matmul(d_out.clone()).cast(FloatDType::F32);
        let d_p = d_out.matmul(v_t.clone()).cast(FloatDType::F32);
        let mean = (p.clone() * d_p.clone()).sum_dim(3);
        let d_scores = (p * (d_p - mean) * scale).cast(dtype);
        d_k = d_k + d_scores.clone().swap_dims(2, 3).matmul(q).cast(FloatDType::F32);
        d_q.push(d_scores.matmul(k.clone()));
    }
    [Tensor::cat(d_q, 2), d_k.cast(dtype), d_v.cast(dtype)]
}

fn chunks(length: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..length).step_by(CHUNK).map(move |from| (from, CHUNK.min(length - from)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

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
            let gradients = attention_backward(&q, &k, &v, masked, &d_out);
            for (gradient, leaf) in gradients.into_iter().zip([tq, tk, tv]) {
                let expected = leaf.grad_remove(&mut found).unwrap();
                // f32 sums over 582 terms in another order.
                let difference = relative_difference(gradient, expected);
                assert!(difference < 2e-6, "backward: {difference}");
            }
        }
    }
}
