//! Floor 4: one file per stage kind: its items, its key parts, its work.
//!
//! A stage turns the manifest's parameters into recipes, the dataset into items, and items into
//! outputs by calling the networks. It does not know the scheduler or the screen: it sees them as
//! [`Work`](crate::pipeline::Work).

mod batches;
mod build;
mod cache;
mod files;
mod finetune;
mod import;
mod label;
mod latents;
mod merge;
mod posterior;
mod probabilities;
mod record;
mod sidecar;
mod site;
mod tag;
mod texts;

pub use build::build;
pub use site::{ProjectError, Sample, Site};
