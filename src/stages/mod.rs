//! Floor 4: one file per stage kind: its items, its key parts, its work.
//!
//! A stage turns the manifest's parameters into recipes, the dataset into items, and items into
//! outputs by calling the networks. It does not know the scheduler or the screen: it sees them as
//! [`Work`](crate::pipeline::Work).

mod appearances;
mod batches;
mod build;
mod cache;
mod cache_notes;
pub mod captions;
mod finetune;
mod import;
mod label;
mod latents;
pub mod measure;
mod merge;
mod posterior;
mod probabilities;
mod record;
mod samples;
mod sidecar;
mod site;
mod tag;
mod texts;
mod variants;
mod views;
mod words;

pub use build::{build, site};
pub use site::{ProjectError, Sample, Site};
