//! What a captioner cannot do, though its file is sound.

use miette::Diagnostic;

/// Why a captioner cannot be used as it is asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum BlipError {
    /// Pictures do not divide into patches.
    #[error("BLIP cannot take pictures of {side} pixels: its patches are {patch} pixels wide")]
    #[diagnostic(
        code(fluxpipe::blip::image_size),
        help("set `image_size` to a multiple of {patch}, or take it out")
    )]
    ImageSize {
        /// Wanted side of a picture, in pixels.
        side: usize,
        /// Side of a patch, in pixels.
        patch: usize,
    },
    /// The decoder has no place for a token behind the prompt.
    #[error(
        "the prompt of {tokens} tokens fills this BLIP, which writes texts of up to {positions}"
    )]
    #[diagnostic(code(fluxpipe::blip::prompt), help("write a shorter `prompt`"))]
    Prompt {
        /// Tokens of the prompt.
        tokens: usize,
        /// Longest text, in tokens.
        positions: usize,
    },
}
