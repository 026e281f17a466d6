//! GELU in its tanh form, as layers have it whose gradients are wanted.

use burn::tensor::{FloatDType, Tensor, activation};

/// `2 · √(2/π)`
const TWICE_ROOT: f64 = 1.595_769_121_605_730_7;
const CUBIC: f64 = 0.044_715;

/// `x · σ(2·√(2/π)·(x + 0.044715·x³))`, which is the tanh form. In f32, whatever the type.
#[must_use]
pub fn gelu_tanh(x: Tensor<3>) -> Tensor<3> {
    let dtype = FloatDType::from(x.dtype());
    let x = x.cast(FloatDType::F32);
    (x.clone() * logistic(x)).cast(dtype)
}

/// The vector-Jacobian product of [`gelu_tanh`] for the gradient `d_y` of its result. With `σ` the
/// logistic factor and `u` its argument: `d_x = d_y · (σ + x · σ · (1 − σ) · u′)`.
#[must_use]
pub fn gelu_tanh_backward(x: Tensor<3>, d_y: Tensor<3>) -> Tensor<3> {
    let dtype = FloatDType::from(x.dtype());
    let x = x.cast(FloatDType::F32);
    let share = logistic(x.clone());
    let slope = (x.clone().square() * (3.0 * CUBIC) + 1.0) * TWICE_ROOT;
    let derivative = share.clone() + x * share.clone() * (-share + 1.0) * slope;
    (d_y.cast(FloatDType::F32) * derivative).cast(dtype)
}

fn logistic(x: Tensor<3>) -> Tensor<3> {
    let cube = x.clone() * x.clone() * x.clone();
    activation::sigmoid((cube * CUBIC + x) * TWICE_ROOT)
}
