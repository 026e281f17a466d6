//! Layers of networks, computed quicker on the CPU than the backend's own operators do.
//!
//! Burn's CPU backend multiplies matrices at the rate of the machine, and spends more time than that
//! on what stands between the products: elementwise work runs on one thread, and every operator makes
//! a new array. So what networks are mostly made of is one function each here: a linear layer with its
//! bias and activation, attention without a matrix of all scores, normalisation of layers and groups,
//! convolution, the steps of the optimizers. On any other device, for other types than f32, and for tensors whose gradients are
//! wanted, they are what their name says in Burn's operators.
//!
//! Work is shared out over rayon's threads by rows, and each result is computed by one thread in one
//! order: the number of threads changes no bit of it.
//!
//! Measured in `docs/benchmarks.md`. Does not know what the tensors mean.

mod attention;
mod attention_backward;
#[cfg(test)]
mod backward_tests;
mod convolution;
#[cfg(test)]
mod convolution_tests;
mod gelu_tanh;
mod groups;
mod host;
mod layout;
mod linear_backward;
mod math;
mod modulate;
mod product;
mod rotate;
mod rotate_host;
mod rows;
mod steps;
mod sums;
#[cfg(test)]
mod tests;

pub use attention::attention;
pub use attention_backward::{attention_backward, mask_bias};
pub use convolution::{Convolution, Prepare, by_taps};
pub use gelu_tanh::{gelu_tanh, gelu_tanh_backward};
pub use groups::{ChannelAffine, GroupMoments};
pub use layout::{by_columns, by_columns_from};
pub use linear_backward::{linear_d_bias, linear_d_input, linear_d_weight, linear_forward};
pub use modulate::{
    GateGradients, ModulatedNormGradients, gated_sum, gated_sum_backward, modulated_norm,
    modulated_norm_backward,
};
pub use product::{linear, linear_onto};
pub use rotate::{Projected, ProjectedGradients, Rotation, rotated_heads, rotated_heads_backward};
pub use rows::{gated_gelu, gelu, layer_norm, rms_norm, softmax};
pub use steps::{
    AdafactorStep, AdamWStep, Moments, adafactor, adamw, blend_onto, round_stochastically, rounded,
    sum_of_squares,
};

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `x · Φ(x)`, with the error function.
    Gelu,
    /// `x · σ(1.702 x)`: what CLIP was trained with.
    QuickGelu,
}
