//! Why a picture cannot be drawn.

use miette::Diagnostic;

use crate::base::bytes;

/// Why a picture cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Diagnostic)]
pub enum SamplingError {
    /// A size that cannot be cut into tokens.
    #[error("a picture of {width} x {height} pixels cannot be drawn: both must be multiples of 16")]
    #[diagnostic(
        code(fluxpipe::sampling::size),
        help("the next that can is {} x {}", up(*width), up(*height))
    )]
    Size {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
    /// No step at all.
    #[error("a picture cannot be drawn in 0 steps")]
    #[diagnostic(
        code(fluxpipe::sampling::steps),
        help("write a number from 1 on: FLUX.1-dev is drawn in 20 to 50 steps, schnell in 1 to 4")
    )]
    Steps,
    /// An encoded text of another size than the transformer takes.
    #[error("the encoded prompt does not fit the transformer: {reason}")]
    #[diagnostic(
        code(fluxpipe::sampling::text),
        help("CLIP-L, T5 and the transformer must be those of one model")
    )]
    Text {
        /// What does not fit, in words.
        reason: String,
    },
    /// The network gives infinite numbers, or such that are none.
    #[error("after step {step} of {steps} the picture has numbers that are not finite")]
    #[diagnostic(
        code(fluxpipe::sampling::not_finite),
        help(
            "the weights have diverged or are damaged: draw with an earlier checkpoint, or with a smaller `cfg`"
        )
    )]
    NotFinite {
        /// Counted from 1.
        step: usize,
        /// Of how many.
        steps: usize,
    },
    /// It is too large whatever is swapped.
    #[error("a picture of this size needs {} of device memory, {} can be had", bytes(*needed), bytes(*free))]
    #[diagnostic(
        code(fluxpipe::sampling::memory),
        help("draw a smaller one, or fewer together, or end other programs")
    )]
    Memory {
        /// What it needs at least.
        needed: u64,
        /// What can be had.
        free: u64,
    },
    /// The host cannot hold what the device cannot.
    #[error("the blocks that are swapped need {} of memory, {} is free", bytes(*needed), bytes(*free))]
    #[diagnostic(code(fluxpipe::sampling::host_memory), help("end other programs"))]
    HostMemory {
        /// What they need.
        needed: u64,
        /// What is free.
        free: u64,
    },
}

/// The next multiple of 16.
fn up(pixels: usize) -> usize {
    pixels.max(1).next_multiple_of(16)
}
