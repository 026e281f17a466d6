//! Drawn pictures with true captions: shapes on clean backgrounds, from a seed.
//!
//! The demo's networks learned from them, and the demo's pictures are some of them. A [`Scene`] says
//! what is in a picture; caption, tags and pixels follow from it. Knows no file and no stage.

mod paint;
mod scene;
mod shapes;

pub use paint::paint;
pub use scene::{Background, Colour, Count, Scene, Shape, Size, Texture};
