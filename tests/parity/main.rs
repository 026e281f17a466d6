//! Our numbers against those of the public Python implementations.
//!
//! A pack is a folder with a `manifest.json` that names its kind (`fixture`), its cases and its
//! tolerances, and tensors beside it. Packs are looked for in every folder of `FLUXPIPE_FIXTURES`
//! (colon-separated; default `tests/fixtures`). All sizes come from the pack, so a pack made with
//! other sizes and another seed checks the code and not the numbers.

mod encoders;
mod pack;
mod tokenizers;
