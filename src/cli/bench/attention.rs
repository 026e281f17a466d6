//! `fluxpipe bench attention`: attention as the blocks of FLUX.1 call it.

use serde::Serialize;

use super::{
    super::Outcome,
    on::{On, Place, Type, done},
};
use crate::stages::measure;

/// Measure the attention of FLUX.1's blocks, forwards and backwards
///
/// Random queries, keys and values in the sizes of a picture of 1024² and its text. Backwards counts twice
/// the arithmetic of forwards; scores that are computed again are not counted. Prints one line of JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench attention
  fluxpipe bench attention --device cpu --tokens 512
  fluxpipe bench attention --device cuda --batch 4")]
pub struct Attention {
    #[command(flatten)]
    on: On,

    /// Type of the tensors; bf16 on a CUDA device and f32 on the CPU if it is not given
    #[arg(long, value_enum)]
    dtype: Option<Type>,

    /// Pictures
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// Tokens of picture and text together
    #[arg(long, value_name = "N", default_value_t = 4608, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,

    /// Heads
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    heads: u32,

    /// Channels of a head
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    head_dim: u32,

    /// Samples, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    samples: u32,
}

/// The line that is printed.
#[derive(Debug, Serialize)]
struct Measured {
    bench: &'static str,
    #[serde(flatten)]
    place: Place,
    dtype: &'static str,
    batch: u32,
    heads: u32,
    tokens: u32,
    head_dim: u32,
    forward_seconds: f64,
    forward_tflop_per_second: f64,
    /// Forwards and then backwards.
    train_seconds: f64,
    train_tflop_per_second: f64,
}

impl Attention {
    pub(super) fn run(self) -> Outcome {
        let (chosen, place) = self.on.choose()?;
        let float = Type::or_usual(self.dtype, &chosen);
        let Self { batch, tokens, heads, head_dim, .. } = self;
        let sizes = measure::Attention {
            batch: batch as usize,
            heads: heads as usize,
            tokens: tokens as usize,
            head: head_dim as usize,
        };
        let taken = sizes.measure(&chosen.device, float, self.samples as usize);
        let (forward, train) = (taken.forward.median, taken.train.median);
        done(&Measured {
            bench: "attention",
            place,
            dtype: float.name(),
            batch,
            heads,
            tokens,
            head_dim,
            forward_seconds: forward,
            forward_tflop_per_second: sizes.operations() / forward / 1e12,
            train_seconds: train,
            train_tflop_per_second: 3.0 * sizes.operations() / train / 1e12,
        })
    }
}
