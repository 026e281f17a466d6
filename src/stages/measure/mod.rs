//! How long the parts of a pipeline take on a device: the work of `fluxpipe bench`.
//!
//! Each part is run as its stage runs it, on random numbers of the sizes that are asked for, since time
//! does not depend on what a network has learned. Knows no project and prints nothing.

mod attention;
mod captioner;
mod encoders;
mod products;
mod tagger;

use std::{io, path::PathBuf};

use burn::tensor::FloatDType;
use miette::Diagnostic;

pub use attention::{Attention, AttentionTaken};
pub use captioner::{CaptionsTaken, captions};
pub use encoders::{TextsTaken, clip, decode_latents, encode_pictures, encode_texts};
pub use products::{Product, products};
pub use tagger::tags;

/// The type in which something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// Of 32 bits.
    F32,
    /// Of 16 bits with the exponent of the 32.
    Bf16,
}

impl Float {
    /// Its name in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl From<Float> for FloatDType {
    fn from(float: Float) -> Self {
        match float {
            Float::F32 => Self::F32,
            Float::Bf16 => Self::BF16,
        }
    }
}

/// Why something cannot be measured.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum MeasureError {
    /// Random weights could not be made.
    #[error("the random network cannot be made: {0}")]
    #[diagnostic(
        code(fluxpipe::bench::network),
        help("it is made in memory, or in the folder that `--folder` names: is there room?")
    )]
    Network(#[from] io::Error),
    /// A graph over something else.
    #[error("{} is no graph over pictures: its inputs are {found}", path.display())]
    #[diagnostic(
        code(fluxpipe::bench::graph),
        help(
            "name the graph of a tagger, or leave `--graph` out to measure one of random weights"
        )
    )]
    Graph {
        /// The graph.
        path: PathBuf,
        /// Its inputs, in words.
        found: String,
    },
}
