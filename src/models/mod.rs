//! Floor 2: the networks, as plain Burn modules.
//!
//! Field names mirror the published checkpoints. Knows tensors and weights; knows no stages, no
//! manifest and no pictures on disk.

pub mod flux;
