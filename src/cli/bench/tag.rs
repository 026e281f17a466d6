//! `fluxpipe bench tag`: a graph of the tag stage.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    super::{CliError, Outcome},
    on::{On, Place, done},
};
use crate::{
    base::atomic,
    models::random::{self, VitShape},
    stages::measure,
};

/// Measure a tagger of the tag stage
///
/// Runs an ONNX graph on a batch of pictures: a vision transformer of the published taggers' sizes with
/// random weights, which is written into a folder that is removed again, or a graph of your own. Prints
/// one line of JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench tag
  fluxpipe bench tag --device cuda --batch 8
  fluxpipe bench tag --graph models/wd/model.onnx
  fluxpipe bench tag --keep vit.onnx     the graph stays, for other programs")]
pub struct Tag {
    #[command(flatten)]
    on: On,

    /// The network: ViT-B/16 at 448 as the taggers are, or one of a few thousand weights
    #[arg(long, value_enum, default_value_t = Shape::VitB)]
    shape: Shape,

    /// A graph of your own instead: pictures in, first output out
    #[arg(long, value_name = "FILE", conflicts_with = "shape")]
    graph: Option<PathBuf>,

    /// Write the random graph here, and leave it there
    #[arg(long, value_name = "FILE", conflicts_with = "graph")]
    keep: Option<PathBuf>,

    /// Pictures that are tagged at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,

    /// Samples, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    samples: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shape {
    VitB,
    Tiny,
}

impl Shape {
    fn of_network(self) -> (&'static str, VitShape) {
        match self {
            Self::VitB => ("vit-b16-448", VitShape::BASE),
            Self::Tiny => ("tiny", VitShape::SMALL),
        }
    }
}

/// The line that is printed.
#[derive(Debug, Serialize)]
struct Measured {
    bench: &'static str,
    #[serde(flatten)]
    place: Place,
    network: String,
    dtype: &'static str,
    batch: u32,
    /// Of the graph, after steps were joined.
    steps: usize,
    seconds: f64,
    seconds_min: f64,
    seconds_max: f64,
    pictures_per_second: f64,
    /// Where the sizes are known: not for a graph of the user's.
    gflop_per_second: Option<f64>,
}

impl Tag {
    pub(super) fn run(self) -> Outcome {
        let (chosen, place) = self.on.choose()?;
        let (network, shape) = self.shape.of_network();
        // Removed when it goes out of scope, whatever happens on the way.
        let system = std::env::temp_dir();
        let unwritable = |source| CliError::Write { path: system.clone(), source };
        let folder = tempfile::tempdir().map_err(unwritable)?;
        let path = match (&self.graph, &self.keep) {
            (Some(graph), _) => graph.clone(),
            (None, keep) => {
                let path = keep.clone().unwrap_or_else(|| folder.path().join("vit.onnx"));
                let written = random::vit(shape, 1).and_then(|bytes| atomic::write(&path, &bytes));
                written.map_err(|source| CliError::Write { path: path.clone(), source })?;
                path
            }
        };
        let batch = self.batch as usize;
        let (steps, taken) = measure::tags(&path, &chosen.device, batch, self.samples as usize)?;
        let operations = self.graph.is_none().then(|| f64::from(self.batch) * shape.operations());
        done(&Measured {
            bench: "tag",
            place,
            network: self.graph.map_or(network.to_owned(), |path| path.display().to_string()),
            dtype: "f32",
            batch: self.batch,
            steps,
            seconds: taken.median,
            seconds_min: taken.least,
            seconds_max: taken.most,
            pictures_per_second: f64::from(self.batch) / taken.median,
            gflop_per_second: operations.map(|operations| operations / taken.median / 1e9),
        })
    }
}
