//! What stands around the layers of a block that is conditioned: a normalisation whose scale and shift
//! come from the conditioning, and a sum whose second term passes a gate.

use burn::tensor::{FloatDType, Tensor};

/// Normalises over the last axis without learned weights, then scales and shifts:
/// `(x − mean) / √(variance + ε) · (1 + scale) + shift`. `[B, N, width]`, with `scale` and `shift`
/// `[B, 1, width]`. In f32, whatever the type, and returned in the type of `x`.
#[must_use]
pub fn modulated_norm(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>, epsilon: f64) -> Tensor<3> {
    let dtype = FloatDType::from(x.dtype());
    let (normal, _) = normalised(x, epsilon);
    let (shift, scale) = (shift.cast(FloatDType::F32), scale.cast(FloatDType::F32));
    (normal * (scale + 1.0) + shift).cast(dtype)
}

/// Gradients of [`modulated_norm`].
#[derive(Clone, Debug)]
pub struct ModulatedNormGradients {
    /// At `x`, added to what was there: `[B, N, width]`.
    pub x: Tensor<3>,
    /// At the shift: `[B, 1, width]`, f32.
    pub shift: Tensor<3>,
    /// At the scale: `[B, 1, width]`, f32.
    pub scale: Tensor<3>,
}

/// The vector-Jacobian product of [`modulated_norm`] for the gradient `d_y` of its result. What goes to
/// `x` is added to `onto`, the gradient that comes past the layer; where nobody else holds that, its
/// memory is used.
///
/// With `n` the normalised row, `s` what it was divided by and `g = d_y (1 + scale)`:
/// `d_x = (g − mean(g) − n · mean(g n)) / s`.
#[must_use]
pub fn modulated_norm_backward(
    x: Tensor<3>,
    scale: Tensor<3>,
    epsilon: f64,
    d_y: Tensor<3>,
    onto: Option<Tensor<3>>,
) -> ModulatedNormGradients {
    let dtype = FloatDType::from(x.dtype());
    let (normal, deviation) = normalised(x, epsilon);
    let (scale, d_y) = (scale.cast(FloatDType::F32), d_y.cast(FloatDType::F32));
    let shift_gradient = d_y.clone().sum_dim(1);
    let scale_gradient = (d_y.clone() * normal.clone()).sum_dim(1);
    let g = d_y * (scale + 1.0);
    let along = (g.clone() * normal.clone()).mean_dim(2);
    let d_x = ((g.clone() - g.mean_dim(2) - normal * along) / deviation).cast(dtype);
    let x = match onto {
        Some(onto) => onto + d_x,
        None => d_x,
    };
    ModulatedNormGradients { x, shift: shift_gradient, scale: scale_gradient }
}

/// Rows of mean 0 and variance 1 in f32, and what they were divided by.
fn normalised(x: Tensor<3>, epsilon: f64) -> (Tensor<3>, Tensor<3>) {
    let x = x.cast(FloatDType::F32);
    let centred = x.clone() - x.mean_dim(2);
    let deviation = (centred.clone().square().mean_dim(2) + epsilon).sqrt();
    (centred / deviation.clone(), deviation)
}

/// `x + gate · y`: a residual sum. `[B, N, width]`, with a gate of `[B, 1, width]`.
#[must_use]
pub fn gated_sum(x: Tensor<3>, gate: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    x + gate * y
}

/// Gradients of [`gated_sum`]; at `x` it is that of the result.
#[derive(Clone, Debug)]
pub struct GateGradients {
    /// At the gate: `[B, 1, width]`, f32.
    pub gate: Tensor<3>,
    /// At `y`: `[B, N, width]`.
    pub y: Tensor<3>,
}

/// The vector-Jacobian product of [`gated_sum`] for the gradient `d_sum` of its result.
#[must_use]
pub fn gated_sum_backward(gate: Tensor<3>, y: Tensor<3>, d_sum: Tensor<3>) -> GateGradients {
    let gate_gradient = (d_sum.clone().cast(FloatDType::F32) * y.cast(FloatDType::F32)).sum_dim(1);
    GateGradients { gate: gate_gradient, y: d_sum * gate }
}
