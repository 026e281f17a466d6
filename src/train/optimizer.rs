//! The optimizer: parameters and gradients in, new parameters out, with a state per parameter name.

use std::{collections::BTreeMap, io};

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    adafactor::{Adafactor, AdafactorState},
    adamw::{AdamW, AdamWState},
    optimizer_state::{self as state, Part},
    rounding::Rounding,
};
use crate::weights::{Checkpoint, Entry, WeightsError};

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

/// What a step is told besides tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// Name of the parameter.
    pub name: &'a str,
    pub learning_rate: f64,
    /// Factor on the gradient.
    pub scale: f64,
    pub rounding: &'a Rounding,
}

impl Optimizer {
    /// Starts without memory.
    #[must_use]
    pub fn new(kind: OptimizerKind) -> Self {
        Self { kind, adafactor: BTreeMap::new(), adamw: BTreeMap::new() }
    }

    /// The new value of the parameter `name`, in the type it had, rounded by `rounding`. The arithmetic
    /// is f32. Where nobody else holds the parameter its memory is used.
    #[must_use]
    pub fn update<const D: usize>(
        &mut self,
        name: &str,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        rounding: &Rounding,
    ) -> Tensor<D> {
        self.step(Given { name, learning_rate, scale: 1.0, rounding }, parameter, gradient)
    }

    pub(super) fn step<const D: usize>(
        &mut self,
        given: Given<'_>,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
    ) -> Tensor<D> {
        match &self.kind {
            OptimizerKind::Adafactor(adafactor) => {
                let old = self.adafactor.remove(given.name);
                let (new, state) = adafactor.step(given, parameter, gradient, old);
                self.adafactor.insert(given.name.to_owned(), state);
                new
            }
            OptimizerKind::AdamW(adamw) => {
                let old = self.adamw.remove(given.name);
                let (new, state) = adamw.step(given, parameter, gradient, old);
                self.adamw.insert(given.name.to_owned(), state);
                new
            }
        }
    }

    /// What Adafactor remembers of the parameter `name`.
    #[must_use]
    pub fn adafactor_state(&self, name: &str) -> Option<&AdafactorState> {
        self.adafactor.get(name)
    }

    /// Names, types and shapes of what [`Optimizer::for_each`] gives, in its order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.parts().map(|(name, part)| part.entry(name)).collect()
    }

    /// Gives all that is remembered, tensor by tensor, under the names `STATE:PARAMETER`: `step` (a whole
    /// number), and `exp_avg_sq_row`, `exp_avg_sq_col`, `exp_avg_sq`, `exp_avg` in f32, as PyTorch names
    /// them.
    ///
    /// # Errors
    /// What `take` said, or that a tensor cannot be read back from the device.
    pub fn for_each(
        &self,
        take: &mut dyn FnMut(&str, TensorData) -> io::Result<()>,
    ) -> io::Result<()> {
        for (name, part) in self.parts() {
            take(&name, part.data()?)?;
        }
        Ok(())
    }

    fn parts(&self) -> impl Iterator<Item = (String, Part<'_>)> {
        let adafactor = self.adafactor.iter().map(|(name, state)| (name, state.parts()));
        let adamw = self.adamw.iter().map(|(name, state)| (name, state.parts()));
        adafactor.chain(adamw).flat_map(|(name, parts)| {
            parts.into_iter().map(move |(state, part)| (format!("{state}:{name}"), part))
        })
    }

    /// Takes up what [`Optimizer::for_each`] gave, on `device`. Other tensors of the file are left alone.
    ///
    /// # Errors
    /// The file holds part of a parameter's state only, or cannot be read.
    pub fn restore(
        kind: OptimizerKind,
        file: &Checkpoint,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let mut optimizer = Self::new(kind);
        let prefix = format!("{}:", state::STEP);
        for name in file.names().filter_map(|name| name.strip_prefix(&prefix)) {
            let saved = state::Saved { file, device, name };
            match optimizer.kind {
                OptimizerKind::Adafactor(_) => {
                    optimizer.adafactor.insert(name.to_owned(), AdafactorState::restore(&saved)?);
                }
                OptimizerKind::AdamW(_) => {
                    optimizer.adamw.insert(name.to_owned(), AdamWState::restore(&saved)?);
                }
            }
        }
        Ok(optimizer)
    }
}

#[cfg(test)]
mod tests;
