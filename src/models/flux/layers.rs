//! The small parts that FLUX is made of, each with its vector-Jacobian product beside it.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor, activation},
};

pub use crate::models::layers::Linear;
use crate::{
    device::kernels::{self, ModulatedNormGradients, Projected, ProjectedGradients},
    models::gradients::Collected,
};

/// What norms add to a variance, so that nothing is divided by zero.
pub(super) const EPSILON: f64 = 1e-6;

/// Two linear layers with a SiLU between: how a time step, a guidance or a pooled text enters.
#[derive(Module, Debug)]
pub struct MlpEmbedder {
    /// `[hidden, in]`
    pub in_layer: Linear,
    /// `[hidden, hidden]`
    pub out_layer: Linear,
}

/// What an [`MlpEmbedder`] keeps for its backward pass.
#[derive(Clone, Debug)]
pub struct MlpEmbedderKept {
    /// Its input, `[B, in]`.
    x: Tensor<2>,
    /// Before the SiLU, `[B, hidden]`.
    inner: Tensor<2>,
}

impl MlpEmbedder {
    /// `[B, in]` → `[B, hidden]`
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> (Tensor<2>, MlpEmbedderKept) {
        let inner = self.in_layer.forward(x.clone());
        let out = self.out_layer.forward(activation::silu(inner.clone()));
        (out, MlpEmbedderKept { x, inner })
    }

    /// The gradient at the input.
    #[must_use]
    pub fn backward(
        &self,
        kept: MlpEmbedderKept,
        d_out: Tensor<2>,
        gradients: &mut Collected<'_>,
    ) -> Tensor<2> {
        let MlpEmbedderKept { x, inner } = kept;
        let d_active = self.out_layer.backward(activation::silu(inner.clone()), d_out, gradients);
        self.in_layer.backward(x, silu_backward(inner, d_active), gradients)
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
    /// `[B, N, hidden]` → `[B, N, hidden]`, and what was before the GELU, `[B, N, mlp]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let inner = self.layer_0.forward(x);
        (self.layer_2.forward(kernels::gelu_tanh(inner.clone(), None)), inner)
    }

    /// The gradient at the input `x`, which is made when it is needed.
    #[must_use]
    pub fn backward(
        &self,
        x: impl FnOnce() -> Tensor<3>,
        inner: Tensor<3>,
        d_out: Tensor<3>,
        gradients: &mut Collected<'_>,
    ) -> Tensor<3> {
        let active = kernels::gelu_tanh(inner.clone(), None);
        let d_active = self.layer_2.backward(active, d_out, gradients);
        let d_inner = kernels::gelu_tanh_backward(inner, d_active, None);
        self.layer_0.backward(x(), d_inner, gradients)
    }
}

/// Root-mean-square normalisation over the channels of a head, with a learned scale.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[head]`
    pub scale: Param<Tensor<1>>,
}

/// The norms of queries and keys.
#[derive(Module, Debug)]
pub struct QkNorm {
    /// For queries.
    pub query_norm: RmsNorm,
    /// For keys.
    pub key_norm: RmsNorm,
}

impl QkNorm {
    /// `[B, N, 3·hidden]` with the scales that its queries and keys are normalised by.
    pub(super) fn with(&self, qkv: Tensor<3>) -> Projected {
        let (query_scale, key_scale) = (self.query_norm.scale.val(), self.key_norm.scale.val());
        Projected { qkv, query_scale, key_scale }
    }

    /// Takes the gradients of the scales and gives that of `qkv`.
    pub(super) fn backward(
        &self,
        d: ProjectedGradients,
        gradients: &mut Collected<'_>,
    ) -> Tensor<3> {
        let ProjectedGradients { qkv, query_scale, key_scale } = d;
        for (norm, d_scale) in [(&self.query_norm, query_scale), (&self.key_norm, key_scale)] {
            gradients.add(&norm.scale, |onto| match onto {
                Some(onto) => onto + d_scale,
                None => d_scale,
            });
        }
        qkv
    }
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

/// Makes the shifts, scales and gates of a block out of the conditioning vector.
#[derive(Module, Debug)]
pub struct Modulation {
    /// `[3·hidden or 6·hidden, hidden]`
    pub lin: Linear,
}

impl Modulation {
    /// `[B, hidden]` → shift, scale, gate for the attention, then for the MLP: three parts (single) or
    /// six (double), each `[B, 1, hidden]`.
    #[must_use]
    pub fn forward(&self, vec: Tensor<2>) -> Parts {
        conditioned(&self.lin, vec)
    }

    /// Adds the gradient at `vec` to `d_vec`, for the gradients `d_parts` of all parts in their order.
    pub fn backward(
        &self,
        vec: Tensor<2>,
        d_parts: Vec<Tensor<3>>,
        d_vec: &mut Tensor<2>,
        gradients: &mut Collected<'_>,
    ) {
        conditioned_backward(&self.lin, vec, d_parts, d_vec, gradients);
    }
}

/// Shifts, scales and gates, one after the other: `[B, 1, parts · hidden]`.
#[derive(Clone, Debug)]
pub struct Parts(Tensor<3>);

impl Parts {
    /// The part `index` of parts of the width of a stream `x`: `[B, 1, hidden]`.
    #[must_use]
    pub fn of(&self, x: &Tensor<3>, index: usize) -> Tensor<3> {
        let width = x.dims()[2];
        self.0.clone().narrow(2, index * width, width)
    }

    /// The layer normalisation of `x` with the shift `index` and the scale behind it.
    pub(super) fn normed(&self, x: Tensor<3>, index: usize) -> Tensor<3> {
        let (shift, scale) = (self.of(&x, index), self.of(&x, index + 1));
        kernels::modulated_norm(x, shift, scale, EPSILON)
    }

    /// Gradients of [`normed`](Self::normed); that of `x` is added to `onto`.
    pub(super) fn normed_backward(
        &self,
        x: Tensor<3>,
        index: usize,
        d_normed: Tensor<3>,
        onto: Option<Tensor<3>>,
    ) -> ModulatedNormGradients {
        let scale = self.of(&x, index + 1);
        kernels::modulated_norm_backward(x, scale, EPSILON, d_normed, onto)
    }
}

/// A linear layer of the SiLU of the conditioning.
pub(super) fn conditioned(linear: &Linear, vec: Tensor<2>) -> Parts {
    Parts(linear.forward(activation::silu(vec)).unsqueeze_dim(1))
}

/// The vector-Jacobian product of [`conditioned`]: adds the gradient at `vec`, f32, to `d_vec`.
pub(super) fn conditioned_backward(
    linear: &Linear,
    vec: Tensor<2>,
    d_parts: Vec<Tensor<3>>,
    d_vec: &mut Tensor<2>,
    gradients: &mut Collected<'_>,
) {
    let d_parts = Tensor::cat(d_parts, 2).squeeze_dim::<2>(1).cast(float_dtype(&vec));
    let d_active = linear.backward(activation::silu(vec.clone()), d_parts, gradients);
    let d = silu_backward(vec.cast(FloatDType::F32), d_active.cast(FloatDType::F32));
    *d_vec = d_vec.clone() + d;
}

/// The vector-Jacobian product of `x · σ(x)`: `d_y · σ · (1 + x · (1 − σ))`, in f32.
fn silu_backward(x: Tensor<2>, d_y: Tensor<2>) -> Tensor<2> {
    let dtype = float_dtype(&x);
    let x = x.cast(FloatDType::F32);
    let share = activation::sigmoid(x.clone());
    let slope = share.clone() * (x * (-share + 1.0) + 1.0);
    (d_y.cast(FloatDType::F32) * slope).cast(dtype)
}

pub(super) fn float_dtype<const D: usize>(x: &Tensor<D>) -> FloatDType {
    FloatDType::from(x.dtype())
}
