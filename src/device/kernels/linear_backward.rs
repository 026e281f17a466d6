//! Linear layers of many rows, forwards and backwards, with weights as checkpoints have them.

use burn::tensor::{FloatDType, Tensor, module};

/// `x Wᵀ + b` with `W` `[out, in]` as it lies in a checkpoint, since training changes it there.
/// `[..., in]` → `[..., out]`.
#[must_use]
pub fn linear_forward<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<D> {
    module::linear(x, weight.transpose(), Some(bias))
}

/// The gradient of [`linear_forward`] at `x`: `d_y W`, `[..., out]` → `[..., in]`.
#[must_use]
pub fn linear_d_input<const D: usize>(d_y: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    let mut shape = d_y.dims();
    shape[D - 1] = weight.dims()[1];
    rows(d_y).matmul(weight).reshape(shape)
}

/// The gradient of [`linear_forward`] at its weight, `d_yᵀ x`, added to `onto`: `[out, in]`. A sum of
/// two is f32: half precision would lose the smaller one.
#[must_use]
pub fn linear_d_weight<const D: usize>(
    x: Tensor<D>,
    d_y: Tensor<D>,
    onto: Option<Tensor<2>>,
) -> Tensor<2> {
    let product = rows(d_y).transpose().matmul(rows(x));
    match onto {
        Some(onto) => onto.cast(FloatDType::F32) + product.cast(FloatDType::F32),
        None => product,
    }
}

/// The gradient of [`linear_forward`] at its bias, the sum over all rows of `d_y`, added to `onto`:
/// `[out]`, f32.
#[must_use]
pub fn linear_d_bias<const D: usize>(d_y: Tensor<D>, onto: Option<Tensor<1>>) -> Tensor<1> {
    let out = [d_y.dims()[D - 1]];
    let sum = rows(d_y).cast(FloatDType::F32).sum_dim(0).reshape(out);
    match onto {
        Some(onto) => onto + sum,
        None => sum,
    }
}

/// All rows of the last axis.
fn rows<const D: usize>(x: Tensor<D>) -> Tensor<2> {
    let shape = x.dims();
    x.reshape([shape[..D - 1].iter().product(), shape[D - 1]])
}
