//! The optimizer: parameters and gradients in, new parameters out, with a state per parameter name.

use std::collections::BTreeMap;

use burn::tensor::{FloatDType, Tensor};

use super::{
    adafactor::{Adafactor, AdafactorState},
    adamw::{AdamW, AdamWState},
    rounding::Rounding,
};

/// Which optimizer, with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum OptimizerKind {
    /// Factored second moments: next to no state.
    Adafactor(Adafactor),
    /// Two f32 moments per weight.
    AdamW(AdamW),
}

/// An optimizer and all it remembers.
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    adafactor: BTreeMap<String, AdafactorState>,
    adamw: BTreeMap<String, AdamWState>,
}

impl Optimizer {
    /// Starts without memory.
    #[must_use]
    pub fn new(kind: OptimizerKind) -> Self {
        Self { kind, adafactor: BTreeMap::new(), adamw: BTreeMap::new() }
    }

    /// The new value of the parameter `name`, in the type it had. The arithmetic is f32; bf16 is
    /// rounded by `rounding`.
    #[must_use]
    pub fn update<const D: usize>(
        &mut self,
        name: &str,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        rounding: &Rounding,
    ) -> Tensor<D> {
        let dtype = parameter.dtype();
        let parameter = parameter.cast(FloatDType::F32);
        let gradient = gradient.cast(FloatDType::F32);
        let updated = match &self.kind {
            OptimizerKind::Adafactor(adafactor) => {
                let old = self.adafactor.remove(name);
                let (new, state) = adafactor.update(learning_rate, parameter, gradient, old);
                self.adafactor.insert(name.to_owned(), state);
                new
            }
            OptimizerKind::AdamW(adamw) => {
                let old = self.adamw.remove(name);
                let (new, state) = adamw.update(learning_rate, parameter, gradient, old);
                self.adamw.insert(name.to_owned(), state);
                new
            }
        };
        rounding.store(name, updated, dtype)
    }

    /// What Adafactor remembers of the parameter `name`.
    #[must_use]
    pub fn adafactor_state(&self, name: &str) -> Option<&AdafactorState> {
        self.adafactor.get(name)
    }
}
