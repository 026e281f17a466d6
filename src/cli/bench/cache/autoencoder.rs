//! `fluxpipe bench cache autoencoder`: pictures to latents, and back.

use serde::Serialize;

use super::super::{
    super::Outcome,
    on::{On, Place, done},
};
use crate::{models::random::AutoencoderShape, stages::measure};

/// Measure the autoencoder, pictures to latents or latents to pictures
///
/// Random weights, held in memory. Prints one line of JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench cache autoencoder
  fluxpipe bench cache autoencoder --resolution 1024 --bands 2
  fluxpipe bench cache autoencoder --decode --device cuda")]
pub struct Autoencoder {
    #[command(flatten)]
    on: On,

    /// The network: that of FLUX.1, or that of the demo
    #[arg(long, value_enum, default_value_t = Shape::Flux)]
    shape: Shape,

    /// Side of the pictures, a multiple of 8
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = side)]
    resolution: u32,

    /// Pictures at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,

    /// Levels that are computed in bands, as `vae_bands` of a manifest
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3))]
    bands: u32,

    /// Latents to pictures instead
    #[arg(long, conflicts_with = "bands")]
    decode: bool,

    /// Samples, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    samples: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shape {
    Flux,
    Tiny,
}

fn side(word: &str) -> Result<u32, String> {
    match word.parse() {
        Ok(side @ 8..=16_384) if side % 8 == 0 => Ok(side),
        _ => Err("a multiple of 8, at most 16384".to_owned()),
    }
}

/// The line that is printed.
#[derive(Debug, Serialize)]
struct Measured {
    bench: &'static str,
    #[serde(flatten)]
    place: Place,
    network: &'static str,
    shape: &'static str,
    dtype: &'static str,
    direction: &'static str,
    resolution: u32,
    batch: u32,
    bands: u32,
    seconds: f64,
    seconds_min: f64,
    seconds_max: f64,
    pictures_per_second: f64,
    peak_own_memory_bytes: Option<u64>,
}

impl Autoencoder {
    pub(super) fn run(self) -> Outcome {
        let (chosen, place) = self.on.choose()?;
        let (name, shape) = match self.shape {
            Shape::Flux => ("flux", AutoencoderShape::FULL),
            Shape::Tiny => ("tiny", AutoencoderShape::SMALL),
        };
        let Self { resolution, batch, bands, decode, .. } = self;
        let sizes @ [count, side, _] = [batch, resolution, bands].map(|size| size as usize);
        let samples = self.samples as usize;
        let (taken, peak) = if decode {
            measure::decode_latents(shape, &chosen.device, [count, side], samples)?
        } else {
            measure::encode_pictures(shape, &chosen.device, sizes, samples)?
        };
        done(&Measured {
            bench: "cache",
            place,
            network: "autoencoder",
            direction: if decode { "decode" } else { "encode" },
            shape: name,
            dtype: "f32",
            resolution,
            batch,
            bands,
            seconds: taken.median,
            seconds_min: taken.least,
            seconds_max: taken.most,
            pictures_per_second: f64::from(batch) / taken.median,
            peak_own_memory_bytes: peak,
        })
    }
}
