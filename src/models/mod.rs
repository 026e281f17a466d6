//! Floor 2: networks as Burn modules.
//!
//! A network takes tensors and gives tensors; it knows the names its published checkpoint uses, and
//! neither manifests nor stages.

pub mod tagger;
