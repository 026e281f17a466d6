//! ONNX graphs that a user brings, run on Burn tensors.
//!
//! Burn imports ONNX by generating code when the program is built, which cannot serve a file that
//! arrives later. So the graph is read when it is opened ([`Graph`]), turned into a list of calls
//! ([`Plan`]) and walked once per batch. The operators are a table of functions ([`ops`]), written
//! against the ONNX text; `fuse` makes one step of several that belong together.
//!
//! Of `onnx-ir` only the message types are used, not its typed graph: that needs every type and shape
//! beforehand, and its inference (0.22.0) refuses what Keras exports of MOAT do, a `ReduceProd` over a
//! shape. Here shapes are those of the values at hand, so a graph may leave its batch open or compute
//! its shapes while it runs.
//!
//! Does not know what a graph is for, nor manifests, stages or the screen.

mod element;
mod error;
mod fuse;
mod graph;
mod host;
mod initializer;
pub mod ops;
mod plan;
#[cfg(test)]
pub(in crate::models) mod tests;
mod value;

pub use element::Element;
pub use error::{OnnxError, Unsupported};
pub use graph::{Graph, Port};
pub use host::Host;
pub use plan::Plan;
pub use value::{Floats, Value};
