//! Why a network cannot be made.

use std::{io, path::PathBuf};

use miette::Diagnostic;

use crate::weights::WeightsError;

/// Why a network cannot be made.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum NetworkError {
    /// The file of weights cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Weights(#[from] WeightsError),
    /// There is no room for the blocks that are not on the device.
    #[error("cannot make a scratch file of {bytes} in {}: {source}", folder.display())]
    #[diagnostic(
        code(fluxpipe::train::scratch),
        help(
            "swapped blocks lie there while a machine without a CUDA device trains: free some space, or keep more blocks in memory with a smaller `blocks_to_swap`"
        )
    )]
    Scratch {
        /// Where the file was to be.
        folder: PathBuf,
        /// How large, in words.
        bytes: String,
        /// What the system said.
        source: io::Error,
    },
}
