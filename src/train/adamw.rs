//! AdamW, with the parameters and formulas of PyTorch.

use burn::tensor::{FloatDType, Tensor};

use super::optimizer::Given;
use crate::device::kernels::{self, AdamWStep};

/// Parameters of AdamW.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a parameter that each step takes away, times the learning rate.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// What AdamW remembers of one parameter: flat, f32.
#[derive(Clone, Debug)]
pub struct AdamWState {
    /// Steps taken.
    pub step: u32,
    /// Mean of the gradients.
    pub first: Tensor<1>,
    /// Mean of the squared gradients.
    pub second: Tensor<1>,
}

impl AdamW {
    /// One step: the new value of `parameter`, in its type. `state` is `None` before the first step.
    pub(super) fn step<const D: usize>(
        &self,
        given: Given<'_>,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState>,
    ) -> (Tensor<D>, AdamWState) {
        let zero = || {
            let shape = [parameter.dims().iter().product::<usize>()];
            Tensor::zeros(shape, (&parameter.device(), FloatDType::F32.into()))
        };
        let AdamWState { step, first, second } =
            state.unwrap_or_else(|| AdamWState { step: 0, first: zero(), second: zero() });
        let step = step + 1;
        let bias = |beta: f64| 1.0 - beta.powf(f64::from(step));
        let numbers = AdamWStep {
            scale: given.scale,
            beta1: self.beta1,
            beta2: self.beta2,
            rate: given.learning_rate / bias(self.beta1),
            root_bias: bias(self.beta2).sqrt(),
            eps: self.eps,
            weight_decay: given.learning_rate * self.weight_decay,
            rounding: given.rounding.bits(given.name, parameter.dtype()),
        };
        let (new, [first, second]) = kernels::adamw(parameter, gradient, [first, second], &numbers);
        (new, AdamWState { step, first, second })
    }
}
