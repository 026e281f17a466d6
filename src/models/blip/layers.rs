//! How both halves of BLIP attend.

use burn::tensor::{Tensor, activation::softmax};

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

/// `softmax(q kᵀ / √head + bias) v`, all `[B, heads, N, head]`; `bias` is `[1, 1, N, keys]`. Written
/// out, because fused kernels multiply in half precision and the scores are small here.
pub(super) fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<4>>,
) -> Tensor<4> {
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let scores = q.matmul(k.swap_dims(2, 3)) * scale;
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    softmax(scores, 3).matmul(v)
}
