//! Layers that several networks are made of, with weights as the checkpoints have them.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::gradients::Collected;
use crate::{
    device::{
        self,
        kernels::{self, Activation},
    },
    weights::Loader,
};

/// `y = x Wᵀ + b`, with `W` as the checkpoint has it.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
}

/// Takes the weight `name` `[out, in]` below `loader`, laid out for inputs of many rows (see
/// [`kernels::linear`]). On the CPU it is decoded straight into that layout, by all threads.
#[must_use]
pub fn weight_for_many_rows(loader: &Loader<'_>, name: &str, shape: [usize; 2]) -> Tensor<2> {
    let encoded = device::is_cpu(loader.device()).then(|| loader.encoded(name, shape)).flatten();
    match encoded {
        Some(encoded) => kernels::by_columns_from(shape, |row, columns, values| {
            encoded.decode(row * shape[1] + columns.start, values);
        }),
        None => loader.tensor(name, shape),
    }
}

impl Linear {
    /// Takes `weight` and `bias` below `loader`, laid out for inputs of many rows.
    #[must_use]
    pub fn load_for_many_rows(loader: &Loader<'_>, input: usize, output: usize) -> Self {
        let weight = weight_for_many_rows(loader, "weight", [output, input]);
        Self { weight: Param::from_tensor(weight), bias: loader.param("bias", [output]) }
    }

    /// Takes `weight` and `bias` below `loader`.
    #[must_use]
    pub fn load(loader: &Loader<'_>, input: usize, output: usize) -> Self {
        Self {
            weight: loader.param("weight", [output, input]),
            bias: loader.param("bias", [output]),
        }
    }

    /// Laid out for inputs of many rows: see [`kernels::linear`].
    #[must_use]
    pub fn for_many_rows(self) -> Self {
        let weight = kernels::by_columns(self.weight.val());
        Self { weight: Param::from_tensor(weight), ..self }
    }

    /// `[..., in]` → `[..., out]`, with the weight as it lies in a checkpoint, whatever the number of rows:
    /// for a network that is trained.
    #[must_use]
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        kernels::linear_forward(x, self.weight.val(), self.bias.val())
    }

    /// The vector-Jacobian product of [`forward`](Self::forward) at `x` for the gradient `d_y` of its
    /// result: the gradient at `x`. Those at weight and bias are added to `gradients`.
    #[must_use]
    pub fn backward<const D: usize>(
        &self,
        x: Tensor<D>,
        d_y: Tensor<D>,
        gradients: &mut Collected<'_>,
    ) -> Tensor<D> {
        gradients.add(&self.weight, |onto| kernels::linear_d_weight(x, d_y.clone(), onto));
        gradients.add(&self.bias, |onto| kernels::linear_d_bias(d_y.clone(), onto));
        kernels::linear_d_input(d_y, self.weight.val())
    }

    /// The same where no gradients are wanted, which is quicker on the CPU.
    #[must_use]
    pub fn infer<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.then(x, Activation::None)
    }

    /// [`infer`](Self::infer) with an activation behind it.
    #[must_use]
    pub fn then<const D: usize>(&self, x: Tensor<D>, activation: Activation) -> Tensor<D> {
        kernels::linear(x, self.weight.val(), Some(self.bias.val()), activation)
    }

    /// `onto` plus what [`infer`](Self::infer) gives: what a residual connection does.
    #[must_use]
    pub fn onto<const D: usize>(&self, onto: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        kernels::linear_onto(onto, x, self.weight.val(), Some(self.bias.val()))
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
        kernels::layer_norm(x, self.weight.val(), self.bias.val(), self.epsilon)
    }
}
