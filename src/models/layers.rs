//! Layers that several networks are made of, with weights as the checkpoints have them.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, module::layer_norm, module::linear},
};

use crate::weights::Loader;

/// `y = x Wᵀ + b`, with `W` as the checkpoint has it.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// Takes `weight` and `bias` below `loader`.
    #[must_use]
    pub fn load(loader: &Loader<'_>, input: usize, output: usize) -> Self {
        Self {
            weight: loader.param("weight", [output, input]),
            bias: loader.param("bias", [output]),
        }
    }

    /// `[..., in]` → `[..., out]`
    #[must_use]
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val().transpose(), Some(self.bias.val()))
    }
}

/// Layer normalisation over the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`
    pub weight: Param<Tensor<1>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Takes `weight` and `bias` below `loader`.
    #[must_use]
    pub fn load(loader: &Loader<'_>, width: usize, epsilon: f64) -> Self {
        let (weight, bias) = (loader.param("weight", [width]), loader.param("bias", [width]));
        Self { weight, bias, epsilon }
    }

    /// `[..., width]` → `[..., width]`
    #[must_use]
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}
