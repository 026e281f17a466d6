//! `fluxpipe bench gemm`: the matrix products of a block of FLUX.1.

use serde::Serialize;

use super::{
    super::Outcome,
    on::{On, Place, Type, done},
};
use crate::{
    device::rates,
    stages::measure::{self, Product},
};

/// Measure the matrix products of FLUX.1's blocks, forwards and backwards
///
/// The six linear layers of the blocks over the tokens of a picture of 1024² and its text, in the three
/// forms in which training needs them, and beside them a product of square matrices, which is what the
/// device reaches at best. Prints one line of JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench gemm
  fluxpipe bench gemm --device cpu --tokens 512
  fluxpipe bench gemm --device cuda --dtype f32")]
pub struct Gemm {
    #[command(flatten)]
    on: On,

    /// Type of the matrices; bf16 on a CUDA device and f32 on the CPU if it is not given
    #[arg(long, value_enum)]
    dtype: Option<Type>,

    /// Tokens of picture and text together
    #[arg(long, value_name = "N", default_value_t = 4608, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,

    /// Width of the streams
    #[arg(long, value_name = "N", default_value_t = 3072, value_parser = clap::value_parser!(u32).range(1..))]
    hidden: u32,

    /// Side of the square matrices; 8192 on a CUDA device and 1024 on the CPU if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    square: Option<u32>,

    /// Samples of each product, of which the median counts
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
    tokens: u32,
    hidden: u32,
    square: usize,
    /// Of the product of square matrices.
    square_tflop_per_second: f64,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    shape: &'static str,
    kind: &'static str,
    m: usize,
    k: usize,
    n: usize,
    ms: f64,
    ms_min: f64,
    ms_max: f64,
    tflop_per_second: f64,
}

impl From<Product> for Row {
    fn from(product: Product) -> Self {
        let Product { layer, kind, m, k, n, seconds } = product;
        Self {
            shape: layer,
            kind,
            m,
            k,
            n,
            ms: seconds.median * 1e3,
            ms_min: seconds.least * 1e3,
            ms_max: seconds.most * 1e3,
            tflop_per_second: product.rate() / 1e12,
        }
    }
}

impl Gemm {
    pub(super) fn run(self) -> Outcome {
        let Self { tokens, hidden, .. } = self;
        let (chosen, place) = self.on.choose()?;
        let float = Type::or_usual(self.dtype, &chosen);
        let usual = if crate::device::is_cpu(&chosen.device) { 1024 } else { 8192 };
        let square = self.square.unwrap_or(usual) as usize;
        let rate = rates::matrix_rate(&chosen.device, float.into(), square);
        let (tokens_, width, samples) = (tokens as usize, hidden as usize, self.samples as usize);
        let products = measure::products(&chosen.device, float, tokens_, width, samples);
        done(&Measured {
            bench: "gemm",
            place,
            dtype: float.name(),
            tokens,
            hidden,
            square,
            square_tflop_per_second: rate / 1e12,
            rows: products.into_iter().map(Row::from).collect(),
        })
    }
}
