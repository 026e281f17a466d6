//! How long the cache stage's networks take here, out of files as people have them: the work of
//! `fluxpipe bench`. Knows no project.

use std::path::Path;

use burn::tensor::FloatDType;

use crate::{
    base::clock::Stopwatch,
    device::{self, memory},
    models::t5::{T5Stream, T5Text},
    pipeline::StageError,
    weights::{Checkpoint, Loader},
};

/// What the encoding of some texts took.
#[derive(Clone, Copy, Debug)]
pub struct TextsTaken {
    /// Layers of the network.
    pub layers: usize,
    /// Sets that went through all layers one after the other.
    pub sets: usize,
    /// From opening the file to the last encoding.
    pub seconds: f64,
    /// The most memory that was the program's own, in bytes, where the system tells.
    pub peak_own_memory: Option<u64>,
}

/// Encodes so many texts of so many tokens with the T5 in `file`, on the CPU, in sets as the stage does.
/// Their encodings are dropped set by set, as the stage drops them once they are stored.
///
/// # Errors
/// The file is not that of such a network, or cannot be read.
pub fn encode_texts(file: &Path, texts: usize, tokens: usize) -> Result<TextsTaken, StageError> {
    let device = device::cpu();
    let text = |index: usize| {
        let ids = (0..tokens).map(|place| ((index * 131 + place * 31) % 32_000) as u32).collect();
        T5Text { ids, attend: None }
    };
    let texts = (0..texts).map(text).collect::<Vec<_>>();
    memory::give_back();
    let (encoded, peak_own_memory) = memory::peak(|| -> Result<_, StageError> {
        let clock = Stopwatch::start();
        let checkpoint = Checkpoint::open(file)?;
        let t5 = T5Stream::open(Loader::new(&checkpoint, "", &device, FloatDType::F32))?;
        let (mut layers, mut sets) = (0, 0);
        for set in texts.chunks((t5.rows_of_set() / tokens.max(1)).max(1)) {
            let all = |_, all| {
                layers = all;
                true
            };
            t5.encode(set, all)?;
            sets += 1;
        }
        Ok((layers, sets, clock.seconds()))
    });
    let (layers, sets, seconds) = encoded?;
    Ok(TextsTaken { layers, sets, seconds, peak_own_memory })
}
