//! FLUX.1, the rectified-flow transformer of Black Forest Labs, dev and schnell.
//!
//! 19 double blocks keep picture and text apart and let them attend to each other; 38 single blocks
//! run over both as one sequence. Every layer has its vector-Jacobian product beside it, written by
//! hand, and every block ([`Block`]) goes forwards and backwards without a tape and without an N×N
//! matrix. Weights stay in the checkpoint's `[out, in]` layout and type (f32 or bf16); norms and rotary
//! positions are computed in f32. Does not know files beyond [`Flux::load`], nor how it is trained.

mod attention;
mod blocks;
mod config;
mod double;
mod embedders;
mod last;
mod layers;
mod load;
mod model;
mod names;
mod packing;
mod positions;
mod single;
#[cfg(test)]
mod tests;

pub use attention::attention;
pub use blocks::Block;
pub use config::{FluxConfig, Layout, Naming};
pub use double::{DoubleBlock, DoubleKept};
pub use embedders::{Embedded, Embedders, EmbeddersKept, InputGradients};
pub use last::{AdaLn, LastKept, LastLayer};
pub use layers::{
    Linear, Mlp, MlpEmbedder, MlpEmbedderKept, Modulation, Parts, QkNorm, RmsNorm, SelfAttention,
};
pub use load::FluxParts;
pub use model::{Flux, FluxInput, Surroundings};
pub use names::checkpoint_name;
pub use packing::{pack, position_ids, unpack};
pub use positions::{rotation, sinusoid};
pub use single::{SingleBlock, SingleKept};

/// `‖a − b‖ / ‖b‖`, for tests.
#[cfg(test)]
pub(crate) fn relative_difference<const D: usize>(
    a: burn::tensor::Tensor<D>,
    b: burn::tensor::Tensor<D>,
) -> f64 {
    let [a, b] = [a, b].map(|x| x.try_into_vec_as::<f32>().unwrap());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(&b).map(|(&a, &b)| square(f64::from(a - b))).sum();
    (difference / b.iter().map(|&b| square(f64::from(b))).sum::<f64>()).sqrt()
}
