//! Why there is no picture.

use std::{io, path::PathBuf};

use miette::Diagnostic;

/// Why there is no picture.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum PictureError {
    /// The decoder gives infinite numbers, or such that are none.
    #[error("the autoencoder gives numbers that are not finite, so there is no picture")]
    #[diagnostic(
        code(fluxpipe::pictures::not_finite),
        help("its file may be damaged, or of another model: `fluxpipe inspect` tells what it is")
    )]
    NotFinite,
    /// The decoder takes other latents than the transformer draws.
    #[error("the transformer draws {found} channels, the autoencoder takes {expected}")]
    #[diagnostic(
        code(fluxpipe::pictures::channels),
        help("take the autoencoder of this transformer: that of FLUX.1 takes 16")
    )]
    Channels {
        /// Of the latent.
        found: usize,
        /// Of the decoder.
        expected: usize,
    },
    /// The file of the transformer cannot be read again, to know its digest.
    #[error("cannot read {}: {source}", path.display())]
    #[diagnostic(code(fluxpipe::pictures::read), help("check that it is still there"))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Numbers cannot be fetched from the device.
    #[error("a picture cannot be fetched from the device: {0}")]
    #[diagnostic(
        code(fluxpipe::pictures::fetch),
        help("the device may be out of memory: draw a smaller picture, or try `--device cpu`")
    )]
    Fetch(String),
}
