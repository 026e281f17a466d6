//! `fluxpipe bench cache`: the large text encoder, out of a file of full size.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::{
    super::{CliError, Outcome},
    on::{On, Place, done},
};
use crate::{
    base::{clock::Stopwatch, disk},
    device::Chosen,
    models::random::{self, T5Shape},
    stages::measure,
    weights::Dtype,
};

/// What is measured, of T5.
#[derive(Debug, clap::Args)]
pub struct T5 {
    #[command(flatten)]
    on: On,

    /// The network: that of FLUX.1, a published smaller one, or one of a few thousand weights
    #[arg(long, value_enum, default_value_t = Shape::T5Xxl)]
    shape: Shape,

    /// So many of its layers; all if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=24))]
    layers: Option<u32>,

    /// Number format of the file
    #[arg(long, value_enum, default_value_t = Format::Fp16)]
    dtype: Format,

    /// How many texts are encoded
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    texts: u32,

    /// Tokens of each text, padding included
    #[arg(long, value_name = "L", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=512))]
    tokens: u32,

    /// Where the file is written meanwhile; the system's folder for such files if it is not given
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shape {
    T5Xxl,
    T5Base,
    Tiny,
}

impl Shape {
    fn of_network(self) -> (&'static str, T5Shape) {
        match self {
            Self::T5Xxl => ("t5-xxl", T5Shape::XXL),
            Self::T5Base => ("t5-base", T5Shape::BASE),
            Self::Tiny => ("tiny", T5Shape::SMALL),
        }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Fp16,
    Bf16,
    Fp8,
    F32,
}

impl Format {
    fn dtype(self) -> Dtype {
        match self {
            Self::Fp16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
            Self::Fp8 => Dtype::F8E4M3,
            Self::F32 => Dtype::F32,
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
    texts: u32,
    tokens: u32,
    file_bytes: u64,
    /// Of making up the file: no part of the other times.
    write_seconds: f64,
    layers: usize,
    sets: usize,
    seconds: f64,
    /// One layer for all texts, its reading included.
    seconds_per_layer: f64,
    seconds_per_text: f64,
    gflop_per_second: f64,
    peak_own_memory_bytes: Option<u64>,
}

impl T5 {
    pub(super) fn run(self) -> Outcome {
        let (chosen, place) = self.on.choose()?;
        let system = std::env::temp_dir();
        let parent = self.folder.as_ref().unwrap_or(&system);
        let unwritable = |source| CliError::Write { path: parent.clone(), source };
        // Removed when it goes out of scope, whatever happens on the way.
        let folder = tempfile::tempdir_in(parent).map_err(unwritable)?;
        let file = folder.path().join("t5.safetensors");
        let clock = Stopwatch::start();
        self.write(&file).map_err(unwritable)?;
        let write_seconds = clock.seconds();
        done(&self.measure(&file, &chosen, place, write_seconds)?)
    }

    fn write(&self, file: &Path) -> std::io::Result<()> {
        let (_, shape) = self.of_network();
        let file = disk::File::create(file)?;
        random::write_t5(file, shape, self.dtype.dtype(), 1)
    }

    fn of_network(&self) -> (&'static str, T5Shape) {
        let (network, shape) = self.shape.of_network();
        let layers = self.layers.map_or(shape.layers, |layers| shape.layers.min(layers as usize));
        (network, T5Shape { layers, ..shape })
    }

    fn measure(
        &self,
        file: &Path,
        chosen: &Chosen,
        place: Place,
        write_seconds: f64,
    ) -> miette::Result<Measured> {
        let (network, shape) = self.of_network();
        let Self { texts, tokens, .. } = *self;
        let taken = measure::encode_texts(file, &chosen.device, texts as usize, tokens as usize)?;
        let operations = taken.layers as f64 * f64::from(texts) * shape.operations(tokens as usize);
        Ok(Measured {
            bench: "cache",
            place,
            network,
            dtype: self.dtype.dtype().name(),
            texts,
            tokens,
            file_bytes: std::fs::metadata(file).map_or(0, |metadata| metadata.len()),
            write_seconds,
            layers: taken.layers,
            sets: taken.sets,
            seconds: taken.seconds,
            seconds_per_layer: taken.seconds / taken.layers as f64,
            seconds_per_text: taken.seconds / f64::from(texts),
            gflop_per_second: operations / taken.seconds / 1e9,
            peak_own_memory_bytes: taken.peak_own_memory,
        })
    }
}
