//! Floor 0: digests, canonical encoding, atomic files, locks, units, clock, random streams.
//!
//! Knows nothing of pictures, networks or pipelines.

mod canon;
mod digest;
mod random;
mod text;

pub use canon::Value;
pub use digest::{Digest, NotADigest};
pub use random::Stream;
pub use text::{did_you_mean, plural};
