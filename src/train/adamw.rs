//! AdamW, with the parameters and formulas of PyTorch.

use burn::tensor::Tensor;

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
    /// One step: the new value of `parameter`, unrounded. All tensors are f32.
    #[must_use]
    pub fn update<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState>,
    ) -> (Tensor<D>, AdamWState) {
        let shape = parameter.dims();
        let gradient = gradient.flatten::<1>(0, D - 1);
        let zero = || gradient.zeros_like();
        let AdamWState { step, first, second } =
            state.unwrap_or_else(|| AdamWState { step: 0, first: zero(), second: zero() });
        let step = step + 1;
        let first = first * self.beta1 + gradient.clone() * (1.0 - self.beta1);
        let second = second * self.beta2 + gradient.square() * (1.0 - self.beta2);
        let bias_1 = 1.0 - self.beta1.powf(f64::from(step));
        let bias_2 = 1.0 - self.beta2.powf(f64::from(step));
        let size = second.clone().sqrt() / bias_2.sqrt() + self.eps;
        let change = (first.clone() / size * (learning_rate / bias_1)).reshape(shape);
        let kept = parameter * (1.0 - learning_rate * self.weight_decay);
        (kept - change, AdamWState { step, first, second })
    }
}
