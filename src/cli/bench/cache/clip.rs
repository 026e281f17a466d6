//! `fluxpipe bench cache clip`: the small text encoder.

use serde::Serialize;

use super::super::{
    super::Outcome,
    on::{On, Place, done},
};
use crate::{models::random::ClipShape, stages::measure};

/// Measure CLIP-L on texts of 77 tokens
///
/// Random weights, held in memory. Prints one line of JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench cache clip
  fluxpipe bench cache clip --texts 8 --device cuda")]
pub struct Clip {
    #[command(flatten)]
    on: On,

    /// The network: that of FLUX.1, or that of the demo
    #[arg(long, value_enum, default_value_t = Shape::ClipL)]
    shape: Shape,

    /// Texts that are encoded at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    texts: u32,

    /// Samples, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    samples: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shape {
    ClipL,
    Tiny,
}

/// The line that is printed.
#[derive(Debug, Serialize)]
struct Measured {
    bench: &'static str,
    #[serde(flatten)]
    place: Place,
    network: &'static str,
    dtype: &'static str,
    texts: u32,
    tokens: u32,
    seconds: f64,
    seconds_min: f64,
    seconds_max: f64,
    seconds_per_text: f64,
}

impl Clip {
    pub(super) fn run(self) -> Outcome {
        let (chosen, place) = self.on.choose()?;
        let (network, shape) = match self.shape {
            Shape::ClipL => ("clip-l", ClipShape::LARGE),
            Shape::Tiny => ("tiny", ClipShape::SMALL),
        };
        let (texts, samples) = (self.texts as usize, self.samples as usize);
        let taken = measure::clip(shape, &chosen.device, texts, samples)?;
        done(&Measured {
            bench: "cache",
            place,
            network,
            dtype: "f32",
            texts: self.texts,
            tokens: 77,
            seconds: taken.median,
            seconds_min: taken.least,
            seconds_max: taken.most,
            seconds_per_text: taken.median / f64::from(self.texts),
        })
    }
}
