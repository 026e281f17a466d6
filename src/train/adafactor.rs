//! Adafactor, with the parameters and formulas of the transformers library.
//!
//! Second moments of a matrix are kept as row and column means, so the state of 12 billion weights is
//! some megabytes. Burn's own Adafactor differs in the relative step, in weight decay and in having no
//! first moment (ADR 4).

use burn::tensor::{FloatDType, Tensor};

use super::{optimizer::Given, rounding::Rounding};
use crate::device::kernels::{self, AdafactorStep, Moments};

/// Parameters of Adafactor. The defaults are those with which fluxpipe trains: a fixed learning rate
/// that a schedule decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Adafactor {
    /// Added to squared gradients.
    pub eps_1: f64,
    /// Lower bound of a parameter's size where `scale_parameter` is set.
    pub eps_2: f64,
    /// Upper bound of the root mean square of an update, before the learning rate.
    pub clip_threshold: f64,
    /// Exponent of the second moments' decay: `1 − step^decay_rate`.
    pub decay_rate: f64,
    /// Decay of a first moment; none is kept without it.
    pub beta1: Option<f64>,
    /// Share of a parameter that each step takes away, times the learning rate.
    pub weight_decay: f64,
    /// Whether the learning rate is multiplied by the parameter's root mean square.
    pub scale_parameter: bool,
    /// Whether the learning rate is `min(0.01, 1/√step)` instead of the given one.
    pub relative_step: bool,
    /// Whether the bound 0.01 of `relative_step` is reached by a warm-up of 1e-6 per step.
    pub warmup_init: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            eps_1: 1e-30,
            eps_2: 1e-3,
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            weight_decay: 0.0,
            scale_parameter: false,
            relative_step: false,
            warmup_init: false,
        }
    }
}

/// What Adafactor remembers of one parameter, in f32.
#[derive(Clone, Debug)]
pub struct AdafactorState {
    /// Steps taken.
    pub step: u32,
    /// Second moments.
    pub moments: Moments,
    /// First moment, flat, where `beta1` is set.
    pub first_moment: Option<Tensor<1>>,
}

impl Adafactor {
    /// One step: the new value of `parameter`, in its type and unrounded where that is f32. A tensor of
    /// more than two axes is a stack of matrices. `state` is `None` before the first step.
    #[must_use]
    pub fn update<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdafactorState>,
    ) -> (Tensor<D>, AdafactorState) {
        let exact = Rounding { seed: 0, step: 0, stored: FloatDType::F32 };
        let given = Given { name: "", learning_rate, scale: 1.0, rounding: &exact };
        self.step(given, parameter, gradient, state)
    }

    pub(super) fn step<const D: usize>(
        &self,
        given: Given<'_>,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdafactorState>,
    ) -> (Tensor<D>, AdafactorState) {
        let step = state.as_ref().map_or(0, |state| state.step) + 1;
        let (moments, first_moment) =
            state.map_or((None, None), |state| (Some(state.moments), state.first_moment));
        let numbers = AdafactorStep {
            scale: given.scale,
            eps_1: self.eps_1,
            decay: 1.0 - f64::from(step).powf(self.decay_rate),
            clip_threshold: self.clip_threshold,
            rate: self.rate(given.learning_rate, step),
            eps_2: self.scale_parameter.then_some(self.eps_2),
            beta1: self.beta1,
            weight_decay: self.weight_decay,
            rounding: given.rounding.bits(given.name, parameter.dtype()),
        };
        let (new, moments, first_moment) =
            kernels::adafactor(parameter, gradient, moments, first_moment, &numbers);
        (new, AdafactorState { step, moments, first_moment })
    }

    /// The learning rate of this step, before the parameter's size is seen.
    pub(super) fn rate(&self, given: f64, step: u32) -> f64 {
        let bound = if self.warmup_init { 1e-6 * f64::from(step) } else { 1e-2 };
        if self.relative_step { bound.min(1.0 / f64::from(step).sqrt()) } else { given }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Three steps at learning rate 0.05, with numbers from the published implementation.
    #[test]
    fn a_small_matrix_and_vector_take_the_known_steps() {
        let device = Device::flex();
        let matrix = |values: [f32; 6]| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), [2, 3]), &device)
        };
        let vector = |values: [f32; 2]| {
            Tensor::<1>::from_data(TensorData::new(values.to_vec(), [2]), &device)
        };
        let adafactor = Adafactor::default();
        let (mut p, mut p_state) = (matrix([-0.5, -0.25, 0.0, 0.25, 0.5, 0.75]), None);
        let (mut b, mut b_state) = (vector([0.5, -0.25]), None);
        for step in 1..=3 {
            let k = step as f32;
            let gradient = matrix([0.1, -0.2, 0.3, 0.05, 0.4, -0.6].map(|g| g * k));
            let (new, state) = adafactor.update(0.05, p, gradient, p_state);
            (p, p_state) = (new, Some(state));
            let (new, state) = adafactor.update(0.05, b, vector([0.01 * k, -0.03 * k]), b_state);
            (b, b_state) = (new, Some(state));
        }
        let close = |found: Vec<f32>, expected: &[f32]| {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{found} is not {expected}");
            }
        };
        let expected =
            [-0.753_373_1, -0.123_313_4, -0.126_686_6, 0.184_423, 0.368_846_1, 0.881_153_9];
        close(p.try_into_vec_as::<f32>().unwrap(), &expected);
        close(b.try_into_vec_as::<f32>().unwrap(), &[0.35, -0.1]);
        let Some(AdafactorState { moments: Moments::Factored { rows, columns }, .. }) = p_state
        else {
            panic!("a matrix has factored moments");
        };
        close(rows.try_into_vec_as::<f32>().unwrap(), &[0.248_710_6, 0.928_223_43]);
        let expected = [0.033_309_45, 0.532_951_24, 1.199_140_3];
        close(columns.try_into_vec_as::<f32>().unwrap(), &expected);
    }
}
