//! Optimizer steps: what turns a gradient into a new weight, in as few passes over memory as there can be.
//!
//! A step does little arithmetic per weight, so its time is that of reading and writing. In single
//! operators each of some twenty reads and writes whole arrays; here Adafactor takes three passes over a
//! matrix (the moments; the size of the change; the change with its rounding) and AdamW one. `host` does
//! so on the CPU, `cuda` with the kernels in `cubes` on CUDA; `plain` is the same in Burn's operators, for all
//! else.
//!
//! Knows formulas, not names, schedules or options: what those come to is in [`AdafactorStep`] and
//! [`AdamWStep`].

mod cubes;
mod cuda;
mod host;
mod launch;
mod passes;
mod plain;
mod rounding;
#[cfg(test)]
mod tests;

use burn::tensor::{DType, FloatDType, Tensor};

use crate::base::ElementBits;

pub use host::blend_onto;
pub use rounding::{round_stochastically, rounded};

/// Second moments of one parameter, in f32.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a network has hundreds of these, not millions")]
pub enum Moments {
    /// Of a matrix, or of each matrix in a stack: means over the last axis and over the one before.
    Factored {
        /// `[stack, rows]`
        rows: Tensor<2>,
        /// `[stack, columns]`
        columns: Tensor<2>,
    },
    /// Of a vector.
    Full(Tensor<1>),
}

/// The numbers of one step of Adafactor.
#[derive(Clone, Copy, Debug)]
pub struct AdafactorStep {
    /// Factor on the gradient.
    pub scale: f64,
    /// Added to squared gradients.
    pub eps_1: f64,
    /// Share of the old second moments in the new ones.
    pub decay: f64,
    /// Upper bound of the root mean square of the change, before the rate.
    pub clip_threshold: f64,
    /// Factor on the change.
    pub rate: f64,
    /// Where it is set the rate is multiplied by the parameter's root mean square, this at least.
    pub eps_2: Option<f64>,
    /// Share of the old first moment in the new one; none is kept without it.
    pub beta1: Option<f64>,
    /// Share of the parameter that is taken away, times the rate.
    pub weight_decay: f64,
    /// The bits by which the result is rounded to bf16. Without them it stays f32 in an f32 parameter.
    pub rounding: Option<ElementBits>,
}

/// The numbers of one step of AdamW.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Factor on the gradient.
    pub scale: f64,
    /// Share of the old first moment in the new one.
    pub beta1: f64,
    /// Share of the old second moment in the new one.
    pub beta2: f64,
    /// Factor on the first moment: learning rate over its bias.
    pub rate: f64,
    /// What the root of the second moment is divided by: the root of its bias.
    pub root_bias: f64,
    /// Added to that root.
    pub eps: f64,
    /// Share of the parameter that is taken away.
    pub weight_decay: f64,
    /// As in [`AdafactorStep`].
    pub rounding: Option<ElementBits>,
}

/// One step of Adafactor: the new parameter, in its type, the second moments and the first. A tensor of
/// more than two axes is a stack of matrices; moments are `None` before the first step. (Shazeer and
/// Stern 2018, as the transformers library writes it.) A bf16 parameter must come with `rounding`, or it
/// is rounded to nearest.
#[must_use]
pub fn adafactor<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<Moments>,
    first_moment: Option<Tensor<1>>,
    step: &AdafactorStep,
) -> (Tensor<D>, Moments, Option<Tensor<1>>) {
    if cuda::takes_adafactor(&parameter, &gradient, step) {
        return cuda::adafactor(parameter, gradient, moments, first_moment, step);
    }
    let dtype = FloatDType::from(parameter.dtype());
    let parameter = as_f32(parameter);
    let gradient = as_f32(gradient);
    let (new, moments, first_moment) = if D >= 2 && host::holds(&parameter, &gradient) {
        host::adafactor(parameter, gradient, moments, first_moment, step)
    } else {
        let (new, moments, first) =
            plain::adafactor(parameter, gradient, moments, first_moment, step);
        (stored(new, step.rounding), moments, first)
    };
    (of_type(new, dtype), moments, first_moment)
}

/// One step of AdamW: the new parameter, in its type, and the moments, flat and f32. (Loshchilov and
/// Hutter 2019, as PyTorch writes it.) Rounding is as in [`adafactor`].
#[must_use]
pub fn adamw<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<1>; 2],
    step: &AdamWStep,
) -> (Tensor<D>, [Tensor<1>; 2]) {
    if cuda::takes_adamw(&parameter, &gradient, step) {
        return cuda::adamw(parameter, gradient, moments, step);
    }
    let dtype = FloatDType::from(parameter.dtype());
    let parameter = as_f32(parameter);
    let gradient = as_f32(gradient);
    let (new, moments) = if host::holds(&parameter, &gradient) {
        host::adamw(parameter, gradient, moments, step)
    } else {
        let (new, moments) = plain::adamw(parameter, gradient, moments, step);
        (stored(new, step.rounding), moments)
    };
    (of_type(new, dtype), moments)
}

/// The sum of the squares of all elements.
#[must_use]
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> f64 {
    match host::sum_of_squares(&x) {
        Some(sum) => sum,
        None => f64::from(as_f32(x).square().sum().into_scalar::<f32>()),
    }
}

fn as_f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.dtype() == DType::F32 { x } else { x.cast(FloatDType::F32) }
}

fn of_type<const D: usize>(x: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    if FloatDType::from(x.dtype()) == dtype { x } else { x.cast(dtype) }
}

fn stored<const D: usize>(value: Tensor<D>, rounding: Option<ElementBits>) -> Tensor<D> {
    match rounding {
        Some(bits) => rounded(value, bits),
        None => value,
    }
}
