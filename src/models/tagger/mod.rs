//! Taggers: pictures in, a probability for each of many tags out, tags as text.
//!
//! A tagger is an ONNX graph ([`crate::models::onnx`]) with the list of its tags beside it. What the
//! probabilities mean is said by that list ([`TagTable`]); which tags become text, and how they are
//! written, by [`TagRules`]. Does not know where pictures come from, nor manifests, stages or the screen.

mod error;
mod network;
mod rules;
mod tags;
#[cfg(test)]
mod tests;

pub use error::{TaggerError, TagsError};
pub use network::{Layout, Signature, Tagger};
pub use rules::{Labels, TagOrder, TagRules, append, split};
pub use tags::{Category, Family, Tag, TagTable};
