//! Floor 1: tensors on disk.
//!
//! Opens the files people have (safetensors, also sharded or fp8; `.pth`), lends their tensors to the
//! networks by checkpoint name, audits what is missing or misshapen, and writes checkpoints by
//! streaming. Does not know what any tensor means.

mod archive;
mod audit;
mod checkpoint;
mod dtype;
mod encoded;
mod error;
mod header;
mod loader;
mod npz;
mod pickle;
#[cfg(test)]
mod pth_tests;
mod shards;
mod writer;

pub use checkpoint::{Checkpoint, TensorInfo};
pub use dtype::Dtype;
pub use encoded::Encoded;
pub use error::{Problem, WeightsError};
pub use loader::Loader;
pub use npz::{Array, Npz};
pub use writer::{Entry, Writer, file_size};
