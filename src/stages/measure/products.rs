//! The matrix products of a FLUX.1 block, forwards and backwards.

use burn::tensor::{Device, Tensor};

use super::Float;
use crate::device::{
    kernels,
    rates::{self, Seconds},
};

/// The linear layers of the blocks: name, inputs and outputs as multiples of the width of the streams.
const LAYERS: [(&str, usize, usize); 6] = [
    ("qkv", 1, 3),
    ("out", 1, 1),
    ("mlp_up", 1, 4),
    ("mlp_down", 4, 1),
    ("single_enter", 1, 7),
    ("single_leave", 5, 1),
];

/// A product, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// The layer: `qkv`, `mlp_up`, ...
    pub layer: &'static str,
    /// `forward_bias` (`x Wᵀ + b`), `grad_input` (`dy W`) or `grad_weight` (`dyᵀ x`).
    pub kind: &'static str,
    /// Rows of `x`: tokens.
    pub m: usize,
    /// Inputs of the layer.
    pub k: usize,
    /// Outputs of the layer.
    pub n: usize,
    /// How long it took.
    pub seconds: Seconds,
}

impl Product {
    /// Additions and multiplications per second, without those of the bias.
    #[must_use]
    pub fn rate(&self) -> f64 {
        2.0 * (self.m * self.k * self.n) as f64 / self.seconds.median
    }
}

/// Operands of a layer's products.
struct Operands {
    /// `[tokens, in]`
    x: Tensor<2>,
    /// `[out, in]`
    weight: Tensor<2>,
    bias: Tensor<1>,
    /// `[tokens, out]`
    dy: Tensor<2>,
}

/// Measures the six layers of blocks of width `hidden` over so many tokens, each in the three forms in
/// which training needs them, with the functions that `models::flux` calls.
#[must_use]
pub fn products(
    device: &Device,
    float: Float,
    tokens: usize,
    hidden: usize,
    samples: usize,
) -> Vec<Product> {
    let layers = LAYERS.iter().flat_map(|&(layer, k, n)| {
        let (m, k, n) = (tokens, k * hidden, n * hidden);
        // Two sets in turn, so that no product finds all its operands in a cache.
        let sets = [0, 1].map(|_| Operands {
            x: rates::normal([m, k], 1.0, float.into(), device),
            weight: rates::normal([n, k], 0.02, float.into(), device),
            bias: rates::normal([n], 1.0, float.into(), device),
            dy: rates::normal([m, n], 1.0, float.into(), device),
        });
        FORMS.map(|(kind, form)| {
            let mut turn = 0;
            let seconds = rates::seconds(device, samples, || {
                turn ^= 1;
                let _ = form(&sets[turn]);
            });
            Product { layer, kind, m, k, n, seconds }
        })
    });
    layers.collect()
}

type Form = fn(&Operands) -> Tensor<2>;

const FORMS: [(&str, Form); 3] = [
    ("forward_bias", |o| kernels::linear_forward(o.x.clone(), o.weight.clone(), o.bias.clone())),
    ("grad_input", |o| kernels::linear_d_input(o.dy.clone(), o.weight.clone())),
    ("grad_weight", |o| kernels::linear_d_weight(o.x.clone(), o.dy.clone(), None)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    #[test]
    fn every_form_has_the_shape_of_what_it_is_the_gradient_of() {
        let [m, k, n] = [5, 4, 6];
        let normal = |shape| rates::normal(shape, 1.0, Float::F32.into(), &cpu());
        let bias = rates::normal([n], 1.0, Float::F32.into(), &cpu());
        let set = Operands { x: normal([m, k]), weight: normal([n, k]), bias, dy: normal([m, n]) };
        let shapes = FORMS.map(|(_, form)| form(&set).dims());
        assert_eq!(shapes, [[m, n], [m, k], [n, k]]);
    }
}
