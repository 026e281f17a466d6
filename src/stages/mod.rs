//! Floor 4: one file or folder per stage kind: its items, its key parts, its work.
//!
//! A stage turns the manifest's parameters into recipes, the dataset into items, and items into
//! outputs by calling the networks. It does not know the scheduler or the screen: it sees them as
//! [`Work`](crate::pipeline::Work).

mod batches;
mod build;
pub mod cache;
pub mod captions;
mod finetune;
mod label;
pub mod losses;
pub mod measure;
mod merge;
pub mod overview;
pub mod pictures;
mod preflight;
mod prompts;
mod sample;
pub mod seen;
mod sidecar;
mod site;
mod tag;
mod text_encoders;
mod variants;

pub use build::{build, site};
pub use finetune::{PublishedCheckpoint, damaged_states, newest_checkpoint, refused};
pub use site::{ProjectError, Sample, Site};
pub use text_encoders::{EncodedText, TextEncoders, TextSettings, Tokens};
