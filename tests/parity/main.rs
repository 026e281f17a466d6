//! Our numbers against those of the public Python implementations.
//!
//! A pack is a folder with a `manifest.json` that names its kind (`fixture`), its cases and its
//! tolerances, and tensors beside it. Packs are looked for in every folder of `FLUXPIPE_FIXTURES`
//! (colon-separated; default `tests/fixtures`). All sizes come from the pack, so a pack made with
//! other sizes and another seed checks the code and not the numbers. `FLUXPIPE_TEST_DEVICE` names the
//! device that networks run on (default `cpu`); `device` says what may then differ.

/// A test filter sees the names of tests and not of binaries: this name makes `cargo test parity` run
/// these tests, and these alone.
#[path = "."]
mod parity {
    mod blip;
    mod blip_files;
    mod buckets;
    mod captions;
    mod device;
    mod encoders;
    mod flow;
    mod flux;
    mod metadata;
    mod onnx;
    mod optimizers;
    mod pack;
    mod pictures;
    mod preprocessing;
    mod tagger;
    mod tokenizers;
    mod train;
    mod weight_files;
}
