//! fluxpipe turns a folder of pictures and one manifest into a fine-tuned FLUX.1 model.
//!
//! The floors of the house, from the top; imports point down only:
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 6 | [`cli`] | one file per command, exit codes |
//! | 5 | [`report`] | progress, tables, diagnostics, JSON events: the only place that prints |
//! | 4 | [`stages`] | one file per stage kind: its items, its key parts, its work |
//! | 3 | [`pipeline`] | graph, keys, store, plan, scheduler: generic over [`pipeline::Stage`] |
//! | 3 | [`train`] | flow matching, block-wise backpropagation, optimizers, checkpoints |
//! | 2 | [`models`], [`dataset`] | networks as Burn modules; pictures, captions, buckets |
//! | 2 | [`migrate`] | scripts of another trainer become a manifest |
//! | 1 | [`weights`], [`manifest`], [`device`] | tensors on disk; what the user wrote; where it runs |
//! | 0 | [`base`] | digests, canonical encoding, atomic files, locks, random streams |

pub mod base;
pub mod cli;
pub mod dataset;
pub mod device;
pub mod manifest;
pub mod migrate;
pub mod models;
pub mod pipeline;
pub mod report;
pub mod stages;
pub mod train;
pub mod weights;
