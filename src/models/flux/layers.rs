//! The small parts that FLUX is made of.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor, activation},
};

pub use crate::models::layers::Linear;

/// Two linear layers with a SiLU between: how a time step, a guidance or a pooled text enters.
#[derive(Module, Debug)]
pub struct MlpEmbedder {
    /// `[hidden, in]`
    pub in_layer: Linear,
    /// `[hidden, hidden]`
    pub out_layer: Linear,
}

impl MlpEmbedder {
    /// `[B, in]` → `[B, hidden]`
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.out_layer.forward(activation::silu(self.in_layer.forward(x)))
    }
}

/// Two linear layers with a GELU between; the checkpoint numbers them 0 and 2.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[mlp, hidden]`
    pub layer_0: Linear,
    /// `[hidden, mlp]`
    pub layer_2: Linear,
}

impl Mlp {
    /// `[B, N, hidden]` → `[B, N, hidden]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.layer_2.forward(gelu(self.layer_0.forward(x)))
    }
}

/// Root-mean-square normalisation over the last axis, with a learned scale.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[head]`
    pub scale: Param<Tensor<1>>,
}

impl RmsNorm {
    /// `[B, heads, N, head]`, computed in f32 and returned in the type of `x`.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let dtype = float_dtype(&x);
        let x = x.cast(FloatDType::F32);
        let scale = self.scale.val().cast(FloatDType::F32).unsqueeze();
        let size = (x.clone().square().mean_dim(3) + EPSILON).sqrt();
        (x / size * scale).cast(dtype)
    }
}

/// The norms of queries and keys.
#[derive(Module, Debug)]
pub struct QkNorm {
    /// For queries.
    pub query_norm: RmsNorm,
    /// For keys.
    pub key_norm: RmsNorm,
}

/// The weights of one stream's attention.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// `[3·hidden, hidden]`, rows in the order q, k, v.
    pub qkv: Linear,
    /// Norms of q and k.
    pub norm: QkNorm,
    /// `[hidden, hidden]`
    pub proj: Linear,
}

impl SelfAttention {
    /// `[B, N, hidden]` → q, k, v, each `[B, heads, N, head]`, q and k normalised.
    #[must_use]
    pub fn queries_keys_values(&self, x: Tensor<3>) -> [Tensor<4>; 3] {
        heads(self.qkv.forward(x), &self.norm)
    }
}

/// Makes the shifts, scales and gates of a block out of the conditioning vector.
#[derive(Module, Debug)]
pub struct Modulation {
    /// `[3·hidden or 6·hidden, hidden]`
    pub lin: Linear,
}

impl Modulation {
    /// `[B, hidden]` → `[B, 1, 3·hidden]` (single) or `[B, 1, 6·hidden]` (double): shift, scale, gate
    /// for the attention, then for the MLP.
    #[must_use]
    pub fn forward(&self, vec: Tensor<2>) -> Tensor<3> {
        self.lin.forward(activation::silu(vec)).unsqueeze_dim(1)
    }
}

const EPSILON: f64 = 1e-6;

/// Splits `[B, N, 3·hidden]` into q, k, v `[B, heads, N, head]` and normalises q and k. The number
/// of heads follows from the length of the norms' scales.
pub(super) fn heads(qkv: Tensor<3>, norm: &QkNorm) -> [Tensor<4>; 3] {
    let [batch, length, width] = qkv.dims();
    let head = norm.query_norm.scale.dims()[0];
    let count = width / 3 / head;
    let parts = qkv.chunk(3, 2).into_iter();
    let mut parts = parts.map(|part| part.reshape([batch, length, count, head]).swap_dims(1, 2));
    let mut next = || parts.next().unwrap_or_else(|| unreachable!("chunk(3) gives three parts"));
    let (q, k, v) = (next(), next(), next());
    [norm.query_norm.forward(q), norm.key_norm.forward(k), v]
}

/// Layer normalisation without learned scale, in f32, returned in the type of `x`, then
/// `(1 + scale) · x + shift`.
pub(super) fn modulated_norm(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    let dtype = float_dtype(&x);
    let x = x.cast(FloatDType::F32);
    let centred = x.clone() - x.mean_dim(2);
    let deviation = (centred.clone().square().mean_dim(2) + EPSILON).sqrt();
    (centred / deviation).cast(dtype) * (scale + 1.0) + shift
}

/// GELU in its tanh form, in f32: `x · σ(2·√(2/π)·(x + 0.044715·x³))`, which is the same function.
pub(super) fn gelu(x: Tensor<3>) -> Tensor<3> {
    const TWICE_ROOT: f64 = 1.595_769_121_605_730_7;
    let dtype = float_dtype(&x);
    let x = x.cast(FloatDType::F32);
    let inner = (x.clone() * x.clone() * x.clone() * 0.044_715 + x.clone()) * TWICE_ROOT;
    (x * activation::sigmoid(inner)).cast(dtype)
}

pub(super) fn float_dtype<const D: usize>(x: &Tensor<D>) -> FloatDType {
    FloatDType::from(x.dtype())
}
