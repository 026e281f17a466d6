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
mod convolution;
#[cfg(test)]
mod convolution_tests;
mod groups;
mod host;
mod layout;
mod math;
mod product;
mod rows;
mod steps;
#[cfg(test)]
mod tests;

pub use attention::attention;
pub use convolution::{Convolution, Prepare, by_taps};
pub use groups::{ChannelAffine, GroupMoments};
pub use layout::{by_columns, by_columns_from};
pub use product::{linear, linear_onto};
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
