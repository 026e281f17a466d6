//! Floor 0: digests, canonical encoding, the disk, atomic files, locks, units, clock, random streams.
//!
//! Knows nothing of pictures, networks or pipelines.

pub mod atomic;
mod canon;
pub mod clock;
mod digest;
pub mod disk;
mod element_bits;
pub mod escape;
mod lock;
mod random;
mod room;
mod text;

pub use canon::{Value, digest_named};
pub use digest::{Digest, NotADigest};
pub use element_bits::ElementBits;
pub use lock::Lock;
pub use random::Stream;
pub use room::disk_free;
pub use text::{bytes, did_you_mean, nearest, parse_bytes, plural};
