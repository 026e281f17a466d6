//! How both halves of BLIP attend.

use burn::tensor::Tensor;

use crate::device::kernels;

/// `[B, N, heads·head]` → `[B, heads, N, head]`
pub(super) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, length, width] = x.dims();
    x.reshape([batch, length, heads, width / heads]).swap_dims(1, 2)
}

/// `[B, heads, N, head]` → `[B, N, heads·head]`
pub(super) fn join_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, length, head] = x.dims();
    x.swap_dims(1, 2).reshape([batch, length, heads * head])
}

/// `softmax(q kᵀ / √head + bias) v`, all `[B, heads, N, head]`; `bias` is `[1, 1, N, keys]`.
pub(super) fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<4>>,
) -> Tensor<4> {
    let scale = (q.dims()[3] as f64).sqrt().recip();
    kernels::attention(q, k, v, bias, scale)
}
