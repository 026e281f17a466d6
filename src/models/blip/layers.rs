//! The small parts that both halves of BLIP are made of.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation::softmax, module::layer_norm, module::linear},
};

use crate::weights::Loader;

/// `y = x Wᵀ + b`, with `W` as the checkpoint has it.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// Takes `weight` and `bias` below `loader`.
    #[must_use]
    pub fn load(loader: &Loader<'_>, input: usize, output: usize) -> Self {
        Self {
            weight: loader.param("weight", [output, input]),
            bias: loader.param("bias", [output]),
        }
    }

    /// `[..., in]` → `[..., out]`
    #[must_use]
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val().transpose(), Some(self.bias.val()))
    }
}

/// Layer normalisation over the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`
    pub weight: Param<Tensor<1>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Takes `weight` and `bias` below `loader`.
    #[must_use]
    pub fn load(loader: &Loader<'_>, width: usize, epsilon: f64) -> Self {
        let (weight, bias) = (loader.param("weight", [width]), loader.param("bias", [width]));
        Self { weight, bias, epsilon }
    }

    /// `[..., width]` → `[..., width]`
    #[must_use]
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}

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
