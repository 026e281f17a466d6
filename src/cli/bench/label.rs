//! `fluxpipe bench label`: the captioner of the label stage.

use serde::Serialize;

use super::{
    super::Outcome,
    on::{On, Place, done},
};
use crate::{
    models::{blip::BlipConfig, random},
    stages::measure,
};

/// Measure the captioner of the label stage
///
/// BLIP with random weights writes texts that all have as many tokens as were asked for. Prints one line
/// of JSON: how long it looks at a batch of pictures, and how long all takes until the texts are there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench label
  fluxpipe bench label --tokens 74 --num-beams 3
  fluxpipe bench label --device cuda --batch 8")]
pub struct Label {
    #[command(flatten)]
    on: On,

    /// The network: the published one, or that of the demo
    #[arg(long, value_enum, default_value_t = Shape::BlipLarge)]
    shape: Shape,

    /// Pictures that are captioned at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,

    /// Texts that run side by side; with 1 the likeliest token is taken
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    num_beams: u32,

    /// Tokens of each text
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=90))]
    tokens: u32,

    /// Samples, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    samples: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shape {
    BlipLarge,
    Tiny,
}

impl Shape {
    fn of_network(self) -> (&'static str, &'static BlipConfig) {
        match self {
            Self::BlipLarge => ("blip-large", &BlipConfig::LARGE),
            Self::Tiny => ("tiny", &random::SMALL_CAPTIONER),
        }
    }
}

/// The line that is printed.
#[derive(Debug, Serialize)]
struct Measured {
    bench: &'static str,
    #[serde(flatten)]
    place: Place,
    network: &'static str,
    dtype: &'static str,
    batch: u32,
    num_beams: u32,
    tokens: u32,
    looking_seconds: f64,
    /// Looking included.
    seconds: f64,
    seconds_min: f64,
    seconds_max: f64,
    pictures_per_second: f64,
}

impl Label {
    pub(super) fn run(self) -> Outcome {
        let (chosen, place) = self.on.choose()?;
        let (network, config) = self.shape.of_network();
        let Self { batch, num_beams, tokens, .. } = self;
        let sizes = [batch, num_beams, tokens].map(|size| size as usize);
        let taken = measure::captions(config, &chosen.device, sizes, self.samples as usize)?;
        done(&Measured {
            bench: "label",
            place,
            network,
            dtype: "f32",
            batch,
            num_beams,
            tokens,
            looking_seconds: taken.looking.median,
            seconds: taken.captions.median,
            seconds_min: taken.captions.least,
            seconds_max: taken.captions.most,
            pictures_per_second: f64::from(batch) / taken.captions.median,
        })
    }
}
