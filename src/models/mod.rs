//! Floor 2: networks as pure Burn modules, and the tokenizers that feed them.
//!
//! A network takes tensors and gives tensors. It gets its weights from a [`crate::weights::Loader`]
//! and does not know files, manifests, captions or devices by name.

pub mod autoencoder;
pub mod blip;
pub mod clip;
pub mod flux;
pub mod gradients;
pub mod identity;
pub mod layers;
pub mod onnx;
pub mod random;
pub mod t5;
pub mod tagger;
pub mod tokenizer;
