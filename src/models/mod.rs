//! Floor 2: networks as pure Burn modules, and the tokenizers that feed them.
//!
//! A network takes tensors and gives tensors. It gets its weights from a [`crate::weights::Loader`]
//! and does not know files, manifests, captions or devices by name.

pub mod autoencoder;
pub mod clip;
pub mod t5;
pub mod tokenizer;
//! Floor 2: the networks, as plain Burn modules.
//!
//! Field names mirror the published checkpoints. Knows tensors and weights; knows no stages, no
//! manifest and no pictures on disk.

pub mod flux;
//! Floor 2: networks as Burn modules.
//!
//! A network takes tensors and gives tensors; it knows the names its published checkpoint uses, and
//! neither manifests nor stages.

pub mod tagger;
